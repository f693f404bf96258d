//! Whether a remote description can start, or go on with, a session.
//!
//! The rules are those of RFC 9429 section 5.8 as far as they concern a data channel peer, and three of our own: only
//! fingerprints of collision resistant hashes count, the certificate stays the same for the life of a session, and a
//! description in which two readers could find different transports is refused rather than interpreted.

use super::description::{Application, Description};
use super::fault::{SdpError, SdpFault};
use super::value::{Fingerprint, Secret, Setup};

/// Whether a description offers or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It offers.
    Offer,
    /// It answers.
    Answer,
}

/// What a session can use: a remote transport and its data channel section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Remote {
    /// The ICE user name fragment.
    pub(crate) ufrag: String,
    /// The ICE password.
    pub(crate) pwd: Secret,
    /// The certificate fingerprints of accepted hashes, at least one, sorted with sha-256 first.
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// The DTLS role, never `Holdconn`, and in an answer never `Actpass`.
    pub(crate) setup: Setup,
    /// The identification tag of the data channel section.
    pub(crate) mid: String,
    /// The SCTP port.
    pub(crate) sctp_port: u16,
    /// The largest message that the peer takes, in bytes; `u64::MAX` without limit.
    pub(crate) max_message_size: u64,
    /// Whether the SCTP association is negotiated in the descriptions.
    pub(crate) sctp_init: bool,
    /// Candidate lines, `candidate:..`, to be admitted one by one.
    pub(crate) candidates: Vec<String>,
    /// Whether no candidate follows.
    pub(crate) end_of_candidates: bool,
    /// Whether the peer trickles candidates.
    pub(crate) trickle: bool,
    /// Whether the peer is an ICE lite agent, so that we have to control.
    pub(crate) ice_lite: bool,
    /// Whether the ICE credentials are others than those of the previous description.
    pub(crate) ice_restart: bool,
}

/// Checks that `description` can be used in `role`, after `previous` in the same session.
///
/// # Errors
///
/// [`SdpError`] with the first rule that is broken.
pub(crate) fn validate(
    description: &Description,
    role: Role,
    previous: Option<&Remote>,
) -> Result<Remote, SdpError> {
    let application = description
        .application
        .as_ref()
        .ok_or(SdpFault::NoApplication.at(0))?;
    let (mid, sctp_port) = check_application(application)?;
    if let Some(conflict) = description.conflict {
        return Err(conflict);
    }
    let fingerprints = check_fingerprints(description, application, previous)?;
    let setup = check_setup(description, application, role)?;
    let (Some(ufrag), Some(pwd)) = (&description.ufrag, &description.pwd) else {
        return Err(SdpFault::NoIceCredentials.at(application.line));
    };
    let changed = |previous: &Remote| (ufrag.value != previous.ufrag, pwd.value != previous.pwd);
    let ice_restart = match previous.map(changed) {
        None | Some((false, false)) => false,
        Some((true, true)) => true,
        Some((true, false) | (false, true)) => return Err(SdpFault::HalfIceRestart.at(ufrag.line)),
    };
    Ok(Remote {
        ufrag: ufrag.value.clone(),
        pwd: pwd.value.clone(),
        fingerprints,
        setup,
        mid,
        sctp_port,
        max_message_size: application.max_message_size,
        sctp_init: application.sctp_init,
        candidates: description
            .candidates
            .iter()
            .map(|c| c.value.clone())
            .collect(),
        end_of_candidates: description.end_of_candidates,
        trickle: description.trickle,
        ice_lite: description.ice_lite,
        ice_restart,
    })
}

fn check_application(application: &Application) -> Result<(String, u16), SdpError> {
    let line = application.line;
    if application.rejected {
        return Err(SdpFault::RejectedApplication.at(line));
    }
    let mid = application.mid.clone().ok_or(SdpFault::NoMid.at(line))?;
    if let Some(group) = application.dangling_bundle {
        return Err(SdpFault::UnknownBundleMid.at(group));
    }
    // RFC 8841 section 5 gives no default.
    let port = application.sctp_port.filter(|port| *port != 0);
    Ok((mid, port.ok_or(SdpFault::NoSctpPort.at(line))?))
}

/// The accepted fingerprints. Weak ones beside them are ignored, so that a peer may still announce both.
fn check_fingerprints(
    description: &Description,
    application: &Application,
    previous: Option<&Remote>,
) -> Result<Vec<Fingerprint>, SdpError> {
    let first = description
        .fingerprints
        .first()
        .ok_or(SdpFault::NoFingerprint.at(application.line))?;
    let all = description
        .fingerprints
        .iter()
        .map(|located| &located.value);
    let mut strong: Vec<Fingerprint> = all.filter(|f| f.hash.is_strong()).cloned().collect();
    strong.sort();
    strong.dedup();
    if strong.is_empty() {
        return Err(SdpFault::WeakFingerprint.at(first.line));
    }
    if previous.is_some_and(|previous| previous.fingerprints != strong) {
        return Err(SdpFault::FingerprintChanged.at(first.line));
    }
    Ok(strong)
}

/// RFC 8842 section 5.3: an answer decides. A missing role is not guessed.
fn check_setup(
    description: &Description,
    application: &Application,
    role: Role,
) -> Result<Setup, SdpError> {
    let setup = description
        .setup
        .as_ref()
        .ok_or(SdpFault::NoSetup.at(application.line))?;
    match (role, setup.value) {
        (Role::Offer, Setup::Actpass) | (_, Setup::Active | Setup::Passive) => Ok(setup.value),
        (Role::Answer, Setup::Actpass) | (_, Setup::Holdconn) => {
            Err(SdpFault::WrongSetup.at(setup.line))
        }
    }
}
