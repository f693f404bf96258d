//! Why a description is refused. Faults carry a line number and never text of the description, which holds secrets.

use thiserror::Error;

use crate::event::NegotiationFault;

/// A fault and the line at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub(crate) struct SdpError {
    /// The line, counted from 1; 0 when the fault is that of the whole text.
    pub(crate) line: usize,
    /// What is wrong there.
    pub(crate) reason: SdpFault,
}

impl SdpError {
    /// What the application is told.
    pub(crate) fn negotiation_fault(self) -> NegotiationFault {
        self.reason.negotiation_fault()
    }
}

/// What is wrong with a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub(crate) enum SdpFault {
    /// Longer than the limit.
    #[error("longer than the limit")]
    TooLong,
    /// More media sections than the limit.
    #[error("more media sections than the limit")]
    TooManySections,
    /// Not of the form `type=value`.
    #[error("not of the form type=value")]
    Line,
    /// Not version 0.
    #[error("not version 0")]
    Version,
    /// Not the line that RFC 8866 section 5 wants here.
    #[error("out of order")]
    Order,
    /// A session without `t=`.
    #[error("no time description")]
    NoTime,
    /// A media section without `c=`, and none at session level.
    #[error("no connection data")]
    NoConnection,
    /// A field of a line that is not an attribute.
    #[error("malformed field")]
    Field,
    /// A line or attribute that may stand once stands twice.
    #[error("repeated")]
    Repeated,
    /// An attribute whose name is not a token.
    #[error("malformed attribute name")]
    AttributeName,
    /// A user name fragment that is not 4 to 256 ice-chars.
    #[error("malformed ice user name fragment")]
    IceUfrag,
    /// A password that is not 22 to 256 ice-chars.
    #[error("malformed ice password")]
    IcePwd,
    /// A fingerprint that is not a hash name and bytes of its length.
    #[error("malformed fingerprint")]
    Fingerprint,
    /// A DTLS role that does not exist.
    #[error("malformed setup")]
    Setup,
    /// An identification tag that is not a token.
    #[error("malformed mid")]
    Mid,
    /// An SCTP port that is not a number of 16 bits.
    #[error("malformed sctp port")]
    SctpPort,
    /// A maximum message size that is not a number.
    #[error("malformed maximum message size")]
    MaxMessageSize,
    /// No data channel section.
    #[error("no data channel section")]
    NoApplication,
    /// The data channel section is refused by its port 0.
    #[error("rejected data channel section")]
    RejectedApplication,
    /// The data channel section has no identification tag.
    #[error("no mid")]
    NoMid,
    /// A BUNDLE group names a section that does not exist.
    #[error("a bundle group with an unknown mid")]
    UnknownBundleMid,
    /// No SCTP port, for which there is no default (RFC 8841 section 5).
    #[error("no sctp port")]
    NoSctpPort,
    /// No ICE user name fragment, or no password.
    #[error("no ice credentials")]
    NoIceCredentials,
    /// Different ICE credentials where one set is due.
    #[error("conflicting ice credentials")]
    ConflictingIceCredentials,
    /// The user name fragment changed without the password, or the other way round.
    #[error("half an ice restart")]
    HalfIceRestart,
    /// No certificate fingerprint.
    #[error("no fingerprint")]
    NoFingerprint,
    /// No certificate fingerprint of a hash that resists collisions.
    #[error("weak fingerprint")]
    WeakFingerprint,
    /// Different certificate fingerprints where one set is due.
    #[error("conflicting fingerprints")]
    ConflictingFingerprints,
    /// Not the fingerprints of this session.
    #[error("the fingerprint changed")]
    FingerprintChanged,
    /// No DTLS role.
    #[error("no setup")]
    NoSetup,
    /// Different DTLS roles where one is due.
    #[error("conflicting setup")]
    ConflictingSetup,
    /// A DTLS role that an offer or an answer may not have.
    #[error("wrong setup")]
    WrongSetup,
}

impl SdpFault {
    pub(super) fn at(self, line: usize) -> SdpError {
        SdpError { line, reason: self }
    }

    fn negotiation_fault(self) -> NegotiationFault {
        match self {
            Self::TooLong
            | Self::TooManySections
            | Self::Line
            | Self::Version
            | Self::Order
            | Self::NoTime
            | Self::NoConnection
            | Self::Field
            | Self::Repeated
            | Self::AttributeName
            | Self::Mid
            | Self::SctpPort
            | Self::MaxMessageSize => NegotiationFault::Malformed,
            Self::NoApplication | Self::RejectedApplication => NegotiationFault::NoApplication,
            Self::IceUfrag
            | Self::IcePwd
            | Self::NoIceCredentials
            | Self::ConflictingIceCredentials
            | Self::HalfIceRestart => NegotiationFault::IceCredentials,
            Self::Fingerprint
            | Self::NoFingerprint
            | Self::WeakFingerprint
            | Self::ConflictingFingerprints => NegotiationFault::Fingerprint,
            Self::FingerprintChanged => NegotiationFault::FingerprintChanged,
            Self::Setup | Self::NoSetup | Self::ConflictingSetup | Self::WrongSetup => {
                NegotiationFault::Setup
            }
            Self::NoMid | Self::UnknownBundleMid | Self::NoSctpPort => {
                NegotiationFault::Unsupported
            }
        }
    }
}
