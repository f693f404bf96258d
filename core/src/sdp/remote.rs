//! A remote description that can start, or go on with, a session of data channels.
//!
//! Beside the rules of [`Description::validate`] it keeps two of our own: the certificate stays the same for the life of a
//! session, and a description in which two readers could find different transports is refused rather than interpreted.

use super::description::Description;
use super::fault::{SdpError, SdpFault};
use super::section::{Section, Transport};
use super::validate::{Role, Rules};
use super::value::{Fingerprint, HashFunction};

/// A validated remote description with a data channel section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remote {
    description: Description,
    /// Which section is that of the data channels.
    section: usize,
    /// The certificate fingerprints that count, at least one, sorted with sha-256 first.
    fingerprints: Vec<Fingerprint>,
}

impl Remote {
    /// Checks that `description` can be used in `role`, after `previous` in the same session.
    ///
    /// # Errors
    ///
    /// [`SdpError`] with the first rule that is broken.
    pub(crate) fn new(
        description: Description,
        role: Role,
        previous: Option<&Self>,
    ) -> Result<Self, SdpError> {
        let section = data_channel(&description)?;
        section.mid().ok_or(section.fault(SdpFault::NoMid))?;
        description.validate(role, &Rules::default())?;
        let transport = section.transport();
        if let Some(conflict) = transport.conflict() {
            return Err(conflict);
        }
        let fingerprints = strong_fingerprints(transport);
        if let Some(previous) = previous {
            description.validate_after(&previous.description)?;
            if previous.fingerprints != fingerprints {
                let first = transport.fingerprint_lines().next();
                let line = first.map_or(section.line(), |first| first.line);
                return Err(SdpFault::FingerprintChanged.at(line));
            }
        }
        Ok(Self {
            section: section.index(),
            fingerprints,
            description,
        })
    }

    /// Checks that it answers our `offer`.
    ///
    /// # Errors
    ///
    /// [`SdpError`] with the first rule that is broken.
    pub(crate) fn answers(self, offer: &Description) -> Result<Self, SdpError> {
        self.description.validate_answer(offer)?;
        Ok(self)
    }

    /// The description as text.
    pub(crate) fn text(&self) -> &str {
        self.description.as_str()
    }

    /// The ICE user name fragment.
    pub(crate) fn ufrag(&self) -> &str {
        self.transport()
            .and_then(|t| t.ice_ufrag())
            .unwrap_or_default()
    }

    /// The ICE password.
    pub(crate) fn pwd(&self) -> &str {
        self.transport()
            .and_then(|t| t.ice_pwd())
            .unwrap_or_default()
    }

    /// Whether there is a fingerprint that the transport can verify.
    pub(crate) fn has_sha256(&self) -> bool {
        let mut hashes = self.fingerprints.iter().map(|f| f.hash);
        hashes.any(|hash| hash == HashFunction::Sha256)
    }

    /// The largest message that the peer takes, in bytes; `None` without limit.
    pub(crate) fn max_message_size(&self) -> Option<u64> {
        self.section()?.max_message_size()
    }

    /// Candidate lines, `candidate:..`, to be admitted one by one.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &str> {
        self.transport().into_iter().flat_map(|t| t.candidates())
    }

    /// Whether no candidate follows.
    pub(crate) fn is_end_of_candidates(&self) -> bool {
        self.transport().is_some_and(|t| t.is_end_of_candidates())
    }

    /// The data channel section.
    pub(super) fn section(&self) -> Option<Section<'_>> {
        self.description.sections().nth(self.section)
    }

    fn transport(&self) -> Option<Transport<'_>> {
        Some(self.section()?.transport())
    }
}

/// The first data channel section that is not rejected.
fn data_channel(description: &Description) -> Result<Section<'_>, SdpError> {
    let mut channels = description.sections().filter(Section::is_data_channel);
    let first = channels.next().ok_or(SdpFault::NoApplication.at(0))?;
    [first]
        .into_iter()
        .chain(channels)
        .find(|section| !section.is_rejected())
        .ok_or(first.fault(SdpFault::RejectedApplication))
}

/// Weak ones beside them are ignored.
fn strong_fingerprints(transport: Transport<'_>) -> Vec<Fingerprint> {
    let mut strong: Vec<Fingerprint> = transport
        .fingerprints()
        .filter(|f| f.hash.is_strong())
        .collect();
    strong.sort();
    strong.dedup();
    strong
}
