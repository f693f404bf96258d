//! Whether the values of a description make sense together, and beside another description.
//!
//! The rules are those of RFC 9429 section 5.8, and of the RFCs that it cites for offers and answers. Only fingerprints of
//! hashes that resist collisions count, and what a browser would guess is refused: a DTLS role that is missing is not
//! taken for any.

use std::collections::BTreeMap;

use super::description::Description;
use super::fault::{SdpError, SdpFault};
use super::line::Kind;
use super::section::{Section, Transport};
use super::value::{Fingerprint, Setup, is_pwd, is_ufrag, saturating_number};

/// Whether a description offers or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It offers.
    Offer,
    /// It answers.
    Answer,
}

/// What a description has to keep where RFC 9429 leaves a choice. The default is what an [`Endpoint`](crate::Endpoint)
/// asks of its peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether sections may have transports of their own.
    pub bundle: BundlePolicy,
    /// Whether RTCP may have a port of its own.
    pub rtcp_mux: RtcpMuxPolicy,
    /// Which certificate fingerprints count.
    pub fingerprints: FingerprintPolicy,
}

/// Whether sections may have transports of their own (RFC 9429 section 4.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BundlePolicy {
    /// They may.
    #[default]
    Balanced,
    /// All that are not rejected are in one BUNDLE group.
    MaxBundle,
}

/// Whether RTCP may have a port of its own (RFC 9429 section 4.1.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RtcpMuxPolicy {
    /// It may not: each section of RTP that is not rejected has `a=rtcp-mux`.
    #[default]
    Require,
    /// It may.
    Negotiate,
}

/// Which certificate fingerprints count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FingerprintPolicy {
    /// Those of SHA-256 and stronger hashes. Weak ones beside them are ignored, so that a peer may still announce both.
    #[default]
    Strong,
    /// Those of SHA-1 and SHA-224 as well, for peers of old; of MD2, MD5 and what is unknown never.
    AllowWeak,
}

impl FingerprintPolicy {
    fn accepts(self, fingerprint: &Fingerprint) -> bool {
        use super::value::HashFunction::{Sha1, Sha224};
        let is_weak = matches!(fingerprint.hash, Sha1 | Sha224);
        fingerprint.hash.is_strong() || (self == Self::AllowWeak && is_weak)
    }
}

impl Description {
    /// Checks that a description can be used in `role`.
    ///
    /// Identification tags are those of one section, groups name sections that exist, and each section that is not rejected
    /// has ICE credentials, a fingerprint that counts, a DTLS role, and for data channels an SCTP port.
    ///
    /// # Errors
    ///
    /// [`SdpError`] with a rule that is broken.
    pub fn validate(&self, role: Role, rules: &Rules) -> Result<(), SdpError> {
        self.check_mids()?;
        self.check_bundles(rules.bundle)?;
        for section in self.sections().filter(|section| !section.is_rejected()) {
            let transport = section.transport();
            if section.is_data_channel() {
                check_sctp_port(section)?;
            }
            check_fingerprints(section, transport, rules.fingerprints)?;
            check_setup(section, transport, role)?;
            check_credentials(section, transport)?;
            if rules.rtcp_mux == RtcpMuxPolicy::Require
                && section.is_rtp()
                && !section.has_rtcp_mux()
            {
                return Err(section.fault(SdpFault::NoRtcpMux));
            }
        }
        Ok(())
    }

    /// Checks that a description can follow `previous`, the last one of the same side in the same session: the order of the
    /// sections stays (RFC 3264 section 8), the version does not go back, ICE restarts with both credentials or not at all,
    /// and the certificate stays unless ICE restarts.
    ///
    /// # Errors
    ///
    /// [`SdpError`] with the first rule that is broken.
    pub fn validate_after(&self, previous: &Self) -> Result<(), SdpError> {
        let ((session, version), (session_before, version_before)) =
            (self.origin(), previous.origin());
        if session == session_before
            && saturating_number(version) < saturating_number(version_before)
        {
            let line = self
                .first(self.head(), Kind::Origin)
                .map_or(0, |origin| origin.line);
            return Err(SdpFault::OldVersion.at(line));
        }
        if self.sections().len() < previous.sections().len() {
            return Err(SdpFault::MissingSection.at(0));
        }
        for (section, before) in self.sections().zip(previous.sections()) {
            // The place of a rejected section may be taken by another one.
            if before.is_rejected() {
                continue;
            }
            if section.media() != before.media() {
                return Err(section.fault(SdpFault::SectionKind));
            }
            if before.mid().is_some() && section.mid() != before.mid() {
                return Err(section.fault(SdpFault::SectionMid));
            }
            if !section.is_rejected() {
                check_transport_after(section, before)?;
            }
        }
        Ok(())
    }

    /// Checks that a description answers `offer` (RFC 3264 section 6): section for section, with groups, multiplexing,
    /// directions and DTLS roles that were offered.
    ///
    /// # Errors
    ///
    /// [`SdpError`] with the first rule that is broken.
    pub fn validate_answer(&self, offer: &Self) -> Result<(), SdpError> {
        if self.sections().len() < offer.sections().len() {
            return Err(SdpFault::MissingSection.at(0));
        }
        if let Some(extra) = self.sections().nth(offer.sections().len()) {
            return Err(extra.fault(SdpFault::ExtraSection));
        }
        for (section, offered) in self.sections().zip(offer.sections()) {
            check_answer(section, offered)?;
        }
        self.check_bundles_offered(offer)
    }

    fn check_mids(&self) -> Result<(), SdpError> {
        let mids = self.mids();
        for (level, section) in (1..).zip(self.sections()) {
            let Some(mid) = section.first(Kind::Mid) else {
                continue;
            };
            if mids.get(mid.value) != Some(&level) {
                return Err(SdpFault::RepeatedMid.at(mid.line));
            }
        }
        Ok(())
    }

    fn check_bundles(&self, policy: BundlePolicy) -> Result<(), SdpError> {
        let bundles = self.sections_bundled()?;
        if policy == BundlePolicy::Balanced {
            return Ok(());
        }
        let mut active = self.sections().filter(|section| !section.is_rejected());
        let line = |section: &Section<'_>| section.mid().and_then(|mid| bundles.get(mid).copied());
        let Some(first) = active.next() else {
            return Ok(());
        };
        let group = line(&first).ok_or(first.fault(SdpFault::NotBundled))?;
        match active.find(|section| line(section) != Some(group)) {
            Some(alone) => Err(alone.fault(SdpFault::NotBundled)),
            None => Ok(()),
        }
    }

    /// The line of the BUNDLE group that each identification tag is in.
    fn sections_bundled(&self) -> Result<BTreeMap<&str, usize>, SdpError> {
        let mids = self.mids();
        let mut bundles = BTreeMap::new();
        for (line, tags) in self.bundle_lines() {
            for tag in tags {
                if !mids.contains_key(tag) {
                    return Err(SdpFault::UnknownBundleMid.at(line));
                }
                if *bundles.entry(tag).or_insert(line) != line {
                    return Err(SdpFault::RepeatedBundleMid.at(line));
                }
            }
        }
        Ok(bundles)
    }

    fn check_bundles_offered(&self, offer: &Self) -> Result<(), SdpError> {
        let mut offered = BTreeMap::new();
        for (line, tags) in offer.bundle_lines() {
            for tag in tags {
                offered.entry(tag).or_insert(line);
            }
        }
        for (line, tags) in self.bundle_lines() {
            let mut group = None;
            for tag in tags {
                let of = offered.get(tag).copied();
                if of.is_none() || *group.get_or_insert(of) != of {
                    return Err(SdpFault::BundleNotOffered.at(line));
                }
            }
        }
        Ok(())
    }
}

fn check_credentials(section: Section<'_>, transport: Transport<'_>) -> Result<(), SdpError> {
    let (Some(ufrag), Some(pwd)) = (transport.ufrag(), transport.pwd()) else {
        return Err(section.fault(SdpFault::NoIceCredentials));
    };
    if !is_ufrag(ufrag.value) {
        return Err(SdpFault::IceUfrag.at(ufrag.line));
    }
    if !is_pwd(pwd.value) {
        return Err(SdpFault::IcePwd.at(pwd.line));
    }
    Ok(())
}

fn check_sctp_port(section: Section<'_>) -> Result<(), SdpError> {
    // RFC 8841 section 5 gives no default.
    match section.sctp_port() {
        None | Some(0) => Err(section.fault(SdpFault::NoSctpPort)),
        Some(_) => Ok(()),
    }
}

fn check_fingerprints(
    section: Section<'_>,
    transport: Transport<'_>,
    policy: FingerprintPolicy,
) -> Result<(), SdpError> {
    let mut lines = transport.fingerprint_lines();
    let first = lines.next().ok_or(section.fault(SdpFault::NoFingerprint))?;
    let is_accepted = |line: &str| Fingerprint::read(line).is_some_and(|f| policy.accepts(&f));
    if is_accepted(first.value) || lines.any(|line| is_accepted(line.value)) {
        Ok(())
    } else {
        Err(SdpFault::WeakFingerprint.at(first.line))
    }
}

/// RFC 8842 section 5.3: an answer decides. A missing role is not guessed.
fn check_setup(section: Section<'_>, transport: Transport<'_>, role: Role) -> Result<(), SdpError> {
    let (Some(setup), Some(line)) = (transport.setup(), transport.setup_line()) else {
        return Err(section.fault(SdpFault::NoSetup));
    };
    match (role, setup) {
        (Role::Offer, Setup::Actpass) | (_, Setup::Active | Setup::Passive) => Ok(()),
        (Role::Answer, Setup::Actpass) | (_, Setup::Holdconn) => {
            Err(SdpFault::WrongSetup.at(line.line))
        }
    }
}

fn check_transport_after(section: Section<'_>, before: Section<'_>) -> Result<(), SdpError> {
    let (transport, before) = (section.transport(), before.transport());
    let ufrag = transport.ufrag();
    let is_new_ufrag = transport.ice_ufrag() != before.ice_ufrag();
    let is_new_pwd = transport.ice_pwd() != before.ice_pwd();
    if is_new_ufrag != is_new_pwd {
        let line = ufrag.map_or(section.line(), |ufrag| ufrag.line);
        return Err(SdpFault::HalfIceRestart.at(line));
    }
    if !is_new_ufrag && sorted(transport) != sorted(before) {
        let first = transport.fingerprint_lines().next();
        let line = first.map_or(section.line(), |first| first.line);
        return Err(SdpFault::FingerprintChanged.at(line));
    }
    Ok(())
}

fn sorted(transport: Transport<'_>) -> Vec<Fingerprint> {
    let mut all: Vec<Fingerprint> = transport.fingerprints().collect();
    all.sort();
    all.dedup();
    all
}

fn check_answer(section: Section<'_>, offered: Section<'_>) -> Result<(), SdpError> {
    if (section.media(), section.protocol()) != (offered.media(), offered.protocol()) {
        return Err(section.fault(SdpFault::SectionKind));
    }
    if offered.mid().is_some() && section.mid().is_some() && section.mid() != offered.mid() {
        return Err(section.fault(SdpFault::SectionMid));
    }
    if section.is_rejected() {
        return Ok(());
    }
    if offered.is_rejected() {
        return Err(section.fault(SdpFault::AcceptedRejected));
    }
    if section.is_rtp() && section.has_rtcp_mux() && !offered.has_rtcp_mux() {
        return Err(section.fault(SdpFault::RtcpMuxNotOffered));
    }
    let (sends, receives) = section.direction().ways();
    let (offers_to_send, offers_to_receive) = offered.direction().ways();
    if (sends && !offers_to_receive) || (receives && !offers_to_send) {
        return Err(section.fault(SdpFault::WrongDirection));
    }
    let transport = section.transport();
    let fits = match (offered.transport().setup(), transport.setup()) {
        (Some(Setup::Active), setup) => setup == Some(Setup::Passive),
        (Some(Setup::Passive), setup) => setup == Some(Setup::Active),
        _ => true,
    };
    let line = transport
        .setup_line()
        .map_or(section.line(), |line| line.line);
    if fits {
        Ok(())
    } else {
        Err(SdpFault::WrongSetup.at(line))
    }
}
