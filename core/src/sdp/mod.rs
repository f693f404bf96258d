//! Session descriptions (SDP, RFC 8866): what they say, whether they make sense, and what may be changed in them.
//!
//! A [`Description`] is read from text and printed as text. [`Description::validate`] and its neighbours decide whether it can
//! be used, by itself, after another one, or as the answer to one; a refusal is an [`SdpError`], with the line, the rule
//! and where the rule stands.
//!
//! A [`Rewrite`] names a change, and [`Description::rewrite`] makes it and tells what it was ([`Change`]).
//!
//! Everything is linear in the length of the text, and nothing here touches a transport.

mod description;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod line;
mod own;
mod remote;
mod rewrite;
mod section;
mod validate;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use description::Description;
pub use fault::{SdpError, SdpFault};
pub use rewrite::{
    Bandwidth, CandidatePattern, CandidateTransport, Change, DtlsRole, Rewrite, Sections,
};
pub use section::{Codec, Section, Transport};
pub use validate::{BundlePolicy, FingerprintPolicy, Role, RtcpMuxPolicy, Rules};
pub use value::{Direction, Fingerprint, HashFunction, InvalidToken, Setup, Token};

pub(crate) use own::{Announcement, announce, for_transport, sctp_init, sha256_fingerprints};
pub(crate) use remote::Remote;
