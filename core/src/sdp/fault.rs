//! Why a description is refused. Faults carry a line number and never text of the description, which holds secrets.

use thiserror::Error;

use crate::event::NegotiationFault;

/// A fault and the line at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[error("line {line}: {reason} ({})", reason.reference())]
pub struct SdpError {
    /// The line, counted from 1; 0 when the fault is that of the whole text.
    pub line: usize,
    /// What is wrong there.
    pub reason: SdpFault,
}

impl SdpFault {
    pub(super) const fn at(self, line: usize) -> SdpError {
        SdpError { line, reason: self }
    }
}

impl SdpError {
    /// What the application is told.
    pub(crate) fn negotiation_fault(self) -> NegotiationFault {
        self.reason.negotiation_fault()
    }
}

/// Makes the faults with what is told of each: what is wrong, which rule it breaks, and what a negotiation fails of.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident: $what:literal, $reference:literal, $fault:ident;)*) => {
        /// What is wrong with a description: the rule that it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
        #[non_exhaustive]
        pub enum SdpFault {
            $($(#[doc = $doc])+ #[error($what)] $name,)*
        }

        impl SdpFault {
            /// All of them.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Where the rule stands: an RFC and its section, or a limit of this crate.
            #[must_use]
            pub const fn reference(self) -> &'static str {
                match self {
                    $(Self::$name => $reference,)*
                }
            }

            const fn negotiation_fault(self) -> NegotiationFault {
                match self {
                    $(Self::$name => NegotiationFault::$fault,)*
                }
            }
        }
    };
}

faults! {
    /// Longer than [`Description::MAX_LEN`](super::Description::MAX_LEN).
    TooLong: "longer than the limit", "a limit of bowline", Malformed;
    /// More lines than [`Description::MAX_LINES`](super::Description::MAX_LINES).
    TooManyLines: "more lines than the limit", "a limit of bowline", Malformed;
    /// More media sections than [`Description::MAX_SECTIONS`](super::Description::MAX_SECTIONS).
    TooManySections: "more media sections than the limit", "a limit of bowline", Malformed;
    /// Not of the form `type=value`, or with a NUL or a bare CR.
    Line: "not of the form type=value", "RFC 8866 section 5", Malformed;
    /// A line of a type that RFC 8866 does not have.
    UnknownType: "a line of an unknown type", "RFC 8866 section 5", Malformed;
    /// Not version 0.
    Version: "not version 0", "RFC 8866 section 5.1", Malformed;
    /// Not the line that is due here, or one of the head in a media section.
    Order: "out of order", "RFC 8866 section 5", Malformed;
    /// A session without `t=`.
    NoTime: "no time description", "RFC 8866 section 5", Malformed;
    /// A media section without `c=`, and none at session level.
    NoConnection: "no connection data", "RFC 8866 section 5.7", Malformed;
    /// A field of a line that is not an attribute.
    Field: "malformed field", "RFC 8866 section 9", Malformed;
    /// A line or attribute that may stand once stands twice.
    Repeated: "repeated", "RFC 8866 section 5", Malformed;
    /// An attribute whose name is not a token.
    AttributeName: "malformed attribute name", "RFC 8866 section 9", Malformed;
    /// A user name fragment that is not 4 to 256 ice-chars.
    IceUfrag: "malformed ice user name fragment", "RFC 8839 section 5.4", IceCredentials;
    /// A password that is not 22 to 256 ice-chars.
    IcePwd: "malformed ice password", "RFC 8839 section 5.4", IceCredentials;
    /// A fingerprint that is not a hash name and bytes of its length.
    Fingerprint: "malformed fingerprint", "RFC 8122 section 5", Fingerprint;
    /// A DTLS role that does not exist.
    Setup: "malformed setup", "RFC 4145 section 4", Setup;
    /// An identification tag that is not a token.
    Mid: "malformed mid", "RFC 5888 section 4", Malformed;
    /// A group whose semantics or tags are not tokens.
    Group: "malformed group", "RFC 5888 section 5", Malformed;
    /// An SCTP port that is not a number of 16 bits.
    SctpPort: "malformed sctp port", "RFC 8841 section 5", Malformed;
    /// A maximum message size that is not a number.
    MaxMessageSize: "malformed maximum message size", "RFC 8841 section 6", Malformed;
    /// No data channel section.
    NoApplication: "no data channel section", "a limit of bowline", NoApplication;
    /// The data channel section is refused by its port 0.
    RejectedApplication: "rejected data channel section", "RFC 3264 section 6", NoApplication;
    /// The data channel section has no identification tag.
    NoMid: "no mid", "RFC 9429 section 5.2.1", Unsupported;
    /// Two sections with the same identification tag.
    RepeatedMid: "a mid of another section", "RFC 5888 section 4", Malformed;
    /// A BUNDLE group names a section that does not exist.
    UnknownBundleMid: "a bundle group with an unknown mid", "a limit of bowline", Unsupported;
    /// Two BUNDLE groups name the same section.
    RepeatedBundleMid: "a mid of another bundle group", "RFC 9143 section 5", Unsupported;
    /// A section that is not in the BUNDLE group of the others, where [`Rules::bundle`](super::Rules::bundle) wants it.
    NotBundled: "not bundled", "RFC 9429 section 4.1.1", Unsupported;
    /// RTP without `a=rtcp-mux`, where [`Rules::rtcp_mux`](super::Rules::rtcp_mux) wants it.
    NoRtcpMux: "no multiplexing of rtp and rtcp", "RFC 9429 section 4.1.1", Unsupported;
    /// No SCTP port, for which there is no default.
    NoSctpPort: "no sctp port", "RFC 8841 section 5", Unsupported;
    /// No ICE user name fragment, or no password.
    NoIceCredentials: "no ice credentials", "RFC 8839 section 5.4", IceCredentials;
    /// Different ICE credentials where one set is due.
    ConflictingIceCredentials: "conflicting ice credentials", "a limit of bowline", IceCredentials;
    /// The user name fragment changed without the password, or the other way round.
    HalfIceRestart: "half an ice restart", "RFC 8445 section 9", IceCredentials;
    /// No certificate fingerprint.
    NoFingerprint: "no fingerprint", "RFC 9429 section 5.8.3", Fingerprint;
    /// No certificate fingerprint of a hash that resists collisions.
    WeakFingerprint: "weak fingerprint", "RFC 8122 section 5", Fingerprint;
    /// Different certificate fingerprints where one set is due.
    ConflictingFingerprints: "conflicting fingerprints", "RFC 9429 section 5.2.1", Fingerprint;
    /// Not the fingerprints of before, where DTLS does not begin anew.
    FingerprintChanged: "the fingerprint changed", "RFC 8842 section 5.5", FingerprintChanged;
    /// No DTLS role.
    NoSetup: "no setup", "RFC 8842 section 5", Setup;
    /// Different DTLS roles where one is due.
    ConflictingSetup: "conflicting setup", "RFC 9143 section 11", Setup;
    /// A DTLS role that an offer, an answer, or the answer to this offer may not have.
    WrongSetup: "wrong setup", "RFC 8842 section 5", Setup;
    /// The same session with an older version.
    OldVersion: "a version before the last one", "RFC 3264 section 8", Unsupported;
    /// Fewer media sections than before, or not as many as were offered.
    MissingSection: "a media section is missing", "RFC 3264 section 8", Unsupported;
    /// An answer with a media section that was not offered.
    ExtraSection: "a media section that was not offered", "RFC 3264 section 6", Unsupported;
    /// Another kind of media or protocol than the section at this place has.
    SectionKind: "another medium than the section at this place", "RFC 9429 section 5.8.3", Unsupported;
    /// Another identification tag than the section at this place has.
    SectionMid: "another mid than the section at this place", "RFC 5888 section 9.1", Unsupported;
    /// A section that was offered with port 0 is accepted.
    AcceptedRejected: "a section that was offered as rejected is accepted", "RFC 3264 section 8.2", Unsupported;
    /// A group of an answer with a section that is in no such group of the offer.
    BundleNotOffered: "bundled with what was not offered for it", "RFC 9143 section 7.3", Unsupported;
    /// An answer with `a=rtcp-mux` where the offer has none.
    RtcpMuxNotOffered: "rtcp multiplexing was not offered", "RFC 5761 section 5.1.1", Unsupported;
    /// A direction that does not answer the one of the offer.
    WrongDirection: "a direction that was not offered", "RFC 3264 section 6.1", Unsupported;
}
