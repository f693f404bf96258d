//! Named changes of descriptions.
//!
//! A rewrite says what shall be, and lines are what it changes: each is kept, dropped, replaced or has others put before it. What
//! comes of it is read again like any other text, so that what is given out obeys the grammar, whatever was put in. A rewrite
//! that finds nothing to change changes nothing.

mod codecs;
mod draft;

use serde::{Deserialize, Serialize};

use crate::config::{AddressRange, CandidateType};

use super::description::{Description, Value};
use super::fault::SdpError;
use super::line::{Kind, words};
use super::section::Section;
use super::validate::Role;
use super::value::{Setup, Token};
use draft::Draft;

/// A change of a description. Several are made one after the other.
///
/// ```
/// use bowline::sdp::{Bandwidth, Change, Description, Rewrite, Role, Sections};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let offer = Description::parse(
///     "v=0\no=- 1 2 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\nc=IN IP4 0.0.0.0\n\
///      a=rtpmap:96 VP8/90000\na=rtpmap:97 H264/90000\n",
/// )?;
/// let rewrites = [
///     Rewrite::PreferCodecs(vec!["H264".parse()?]),
///     Rewrite::Bandwidth { sections: Sections::Media("video".parse()?), limit: Bandwidth::As(500) },
/// ];
/// let (offer, changes) = offer.rewrite(Role::Offer, &rewrites)?;
/// assert!(offer.as_str().contains("m=video 9 UDP/TLS/RTP/SAVPF 97 96\r\nc=IN IP4 0.0.0.0\r\nb=AS:500\r\n"));
/// assert_eq!(changes[0], Change::CodecsOrdered { section: 0, payload_types: vec![97, 96] });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rewrite {
    /// These codecs come first in each section of RTP that has them, in this order; the others follow in theirs.
    PreferCodecs(Vec<Token>),
    /// The codec is taken out of each section of RTP, with all that is said of its payload types, and with the
    /// retransmissions (`rtx`) and the redundancy (`red`) of them. A section without another codec is left as it is.
    RemoveCodec(Token),
    /// The bandwidth limit (RFC 8866 section 5.8, RFC 3890) of sections, in place of one of the same type.
    Bandwidth {
        /// The sections.
        sections: Sections,
        /// The limit.
        limit: Bandwidth,
    },
    /// Candidates that fit the pattern are taken out.
    StripCandidates(CandidatePattern),
    /// Who leaves the choice of the DTLS role, with `a=setup:actpass`, makes it. Nothing else is changed: the other side has
    /// chosen already, and an answer says what was chosen.
    ForceSetup(DtlsRole),
    /// Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01) is offered in each section of
    /// RTP that is not rejected: its header extension, and the feedback for each codec that carries media. An answer is left
    /// as it is, because it may have only what was offered (RFC 8285 section 6). So is a section without a free extension
    /// id of 1 to 14.
    RequireTransportCc,
}

/// Which sections a rewrite is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sections {
    /// All of them.
    All,
    /// Those of a medium: `audio`, `video`, `application`.
    Media(Token),
    /// The one with this identification tag.
    Mid(Token),
}

impl Sections {
    fn contain(&self, section: &Section<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Media(media) => section.media() == media.as_str(),
            Self::Mid(mid) => section.mid() == Some(mid.as_str()),
        }
    }
}

/// A limit on the bandwidth of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bandwidth {
    /// `b=AS`, in kbit/s, with the headers of IP and UDP.
    As(u64),
    /// `b=TIAS`, in bit/s, without the headers of the layers below RTP.
    Tias(u64),
}

impl Bandwidth {
    fn parts(self) -> (&'static str, u64) {
        match self {
            Self::As(limit) => ("AS", limit),
            Self::Tias(limit) => ("TIAS", limit),
        }
    }
}

/// The end of DTLS that the describing side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DtlsRole {
    /// `a=setup:active`.
    Client,
    /// `a=setup:passive`.
    Server,
}

impl DtlsRole {
    fn setup(self) -> Setup {
        match self {
            Self::Client => Setup::Active,
            Self::Server => Setup::Passive,
        }
    }
}

/// Candidates: those that have everything that is set. The default is all of them.
///
/// A candidate whose line cannot be read has nothing, and one with a name in place of its address is in no network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidatePattern {
    /// The type. Peer-reflexive ones count as server-reflexive.
    pub candidate_type: Option<CandidateType>,
    /// The transport protocol.
    pub transport: Option<CandidateTransport>,
    /// Where the address is.
    pub network: Option<AddressRange>,
}

/// The transport protocol of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CandidateTransport {
    /// UDP.
    Udp,
    /// TCP (RFC 6544).
    Tcp,
}

impl CandidatePattern {
    /// Whether a candidate is one of them. `line` is what follows `candidate:`.
    fn fits(&self, line: &str) -> bool {
        let mut fields = words(line);
        let mut field = |skipped| fields.nth(skipped).unwrap_or_default();
        let (transport, address, name) = (field(2), field(1), field(2));
        let candidate_type = match name {
            "host" => Some(CandidateType::Host),
            "srflx" | "prflx" => Some(CandidateType::ServerReflexive),
            "relay" => Some(CandidateType::Relayed),
            _ => None,
        };
        let transport = match transport {
            udp if udp.eq_ignore_ascii_case("udp") => Some(CandidateTransport::Udp),
            tcp if tcp.eq_ignore_ascii_case("tcp") => Some(CandidateTransport::Tcp),
            _ => None,
        };
        let is_in = |network: AddressRange| address.parse().is_ok_and(|ip| network.contains(ip));
        (self.candidate_type.is_none() || self.candidate_type == candidate_type)
            && (self.transport.is_none() || self.transport == transport)
            && self.network.is_none_or(is_in)
    }
}

/// What a rewrite has changed. Sections are counted from 0; `None` is the session level.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// The codecs of a section have another order.
    CodecsOrdered {
        /// The section.
        section: usize,
        /// The payload types in their order now.
        payload_types: Vec<u8>,
    },
    /// A codec was removed from a section.
    CodecRemoved {
        /// The section.
        section: usize,
        /// Its payload types, and those of what depended on it.
        payload_types: Vec<u8>,
    },
    /// The bandwidth of a section is limited.
    BandwidthSet {
        /// The section.
        section: usize,
        /// The limit now.
        limit: Bandwidth,
    },
    /// Candidates were removed.
    CandidatesStripped {
        /// Where.
        section: Option<usize>,
        /// How many.
        count: usize,
    },
    /// The DTLS role was chosen.
    SetupForced {
        /// Where.
        section: Option<usize>,
        /// The role now.
        setup: Setup,
    },
    /// Transport-wide congestion control is offered.
    TransportCcAdded {
        /// The section.
        section: usize,
    },
}

impl Description {
    /// Makes changes, one after the other, in a description that is sent or was received in `role`. Gives what comes of it,
    /// and what was changed.
    ///
    /// # Errors
    ///
    /// [`SdpError`] when what was added makes it longer than the limits allow.
    pub fn rewrite(
        &self,
        role: Role,
        rewrites: &[Rewrite],
    ) -> Result<(Self, Vec<Change>), SdpError> {
        let mut changes = Vec::new();
        let mut description = self.clone();
        for rewrite in rewrites {
            let mut draft = Draft::of(&description);
            let before = changes.len();
            rewrite.apply(role, &mut draft, &mut changes);
            if changes.len() > before {
                description = draft.finish()?;
            }
        }
        Ok((description, changes))
    }
}

impl Rewrite {
    /// Whether it strips a candidate, `candidate:..`, that comes by itself.
    pub(crate) fn strips(&self, candidate: &str) -> bool {
        let value = candidate.strip_prefix("candidate:").unwrap_or(candidate);
        matches!(self, Self::StripCandidates(pattern) if pattern.fits(value))
    }

    fn apply(&self, role: Role, draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
        match self {
            Self::PreferCodecs(codecs) => codecs::prefer(codecs, draft, changes),
            Self::RemoveCodec(codec) => codecs::remove(codec, draft, changes),
            Self::Bandwidth { sections, limit } => limit.set(sections, draft, changes),
            Self::StripCandidates(pattern) => pattern.strip(draft, changes),
            Self::ForceSetup(dtls) => dtls.force(draft, changes),
            Self::RequireTransportCc => match role {
                Role::Offer => codecs::require_transport_cc(draft, changes),
                Role::Answer => {}
            },
        }
    }
}

impl Bandwidth {
    fn set(self, sections: &Sections, draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
        let (kind, limit) = self.parts();
        let wanted = format!("b={kind}:{limit}");
        let description = draft.description();
        for section in description.sections().filter(|s| sections.contain(s)) {
            let is_of_kind = |line: &Value<'_>| line.value.split(':').next() == Some(kind);
            let old: Vec<_> = section.all(Kind::Bandwidth).filter(is_of_kind).collect();
            if matches!(old[..], [only] if only.text == wanted) {
                continue;
            }
            let end = end_of_bandwidths(&section);
            match old.split_first() {
                Some((first, others)) if first.index < end => {
                    draft.replace(first.index, wanted.clone());
                    others.iter().for_each(|line| draft.drop(line.index));
                }
                _ => {
                    old.iter().for_each(|line| draft.drop(line.index));
                    draft.insert(end, wanted.clone());
                }
            }
            changes.push(Change::BandwidthSet {
                section: section.index(),
                limit: self,
            });
        }
    }
}

/// The index of the line before which those of bandwidth end: they stand after `i=` and `c=` and before `k=` and `a=` (RFC
/// 8866 section 5).
fn end_of_bandwidths(section: &Section<'_>) -> usize {
    let is_before = |line: &Value<'_>| {
        matches!(
            line.kind,
            Kind::Media | Kind::Information | Kind::Connection | Kind::Bandwidth
        )
    };
    let after = section.lines().find(|line| !is_before(line));
    after.map_or(section.end(), |line| line.index)
}

impl CandidatePattern {
    fn strip(&self, draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
        let description = draft.description();
        for (section, level) in description.all_levels() {
            let stripped = description
                .all(level, Kind::Candidate)
                .filter(|line| self.fits(line.value));
            let count = stripped.map(|line| draft.drop(line.index)).count();
            if count > 0 {
                changes.push(Change::CandidatesStripped { section, count });
            }
        }
    }
}

impl DtlsRole {
    fn force(self, draft: &mut Draft<'_>, changes: &mut Vec<Change>) {
        let description = draft.description();
        for (section, level) in description.all_levels() {
            let stated = description.first(level, Kind::Setup);
            let Some(line) =
                stated.filter(|line| Setup::from_name(line.value) == Some(Setup::Actpass))
            else {
                continue;
            };
            let setup = self.setup();
            draft.replace(line.index, format!("a=setup:{setup}"));
            changes.push(Change::SetupForced { section, setup });
        }
    }
}
