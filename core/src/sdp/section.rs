//! What a media section says, and the transport that carries it.

use super::description::{Description, Level, Value};
use super::fault::{SdpError, SdpFault};
use super::line::{Kind, MediaLine, words};
use super::value::{Direction, Fingerprint, Setup, port, saturating_number};

/// A media section of a [`Description`].
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    description: &'a Description,
    /// Its level: 1 for the first section.
    level: usize,
}

impl<'a> Section<'a> {
    pub(super) fn new(description: &'a Description, level: usize) -> Self {
        Self { description, level }
    }

    /// Which of the sections it is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.level - 1
    }

    /// The line of its `m=`, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.first(Kind::Media).map_or(0, |line| line.line)
    }

    /// The medium: `audio`, `video`, `application`.
    #[must_use]
    pub fn media(&self) -> &'a str {
        self.media_line().map_or("", |m| m.media)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.media_line().map_or(0, |m| m.port)
    }

    /// The protocol, for example `UDP/TLS/RTP/SAVPF`.
    #[must_use]
    pub fn protocol(&self) -> &'a str {
        self.media_line().map_or("", |m| m.protocol)
    }

    /// The formats: payload types where the protocol is RTP.
    pub fn formats(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        words(self.media_line().map_or("", |m| m.formats))
    }

    /// Whether it is refused or was given up: a port of 0, unless it is only there to be bundled (RFC 9143 section 6).
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.port() == 0 && self.first(Kind::BundleOnly).is_none()
    }

    /// Whether it carries data channels, in the form of RFC 8841 or the one before it.
    #[must_use]
    pub fn is_data_channel(&self) -> bool {
        self.media() == "application"
            && match self.protocol() {
                "UDP/DTLS/SCTP" => self.formats().eq(["webrtc-datachannel"]),
                LEGACY_PROTOCOL => true,
                _ => false,
            }
    }

    /// Whether its protocol is RTP.
    #[must_use]
    pub fn is_rtp(&self) -> bool {
        self.protocol().split('/').any(|part| part == "RTP")
    }

    /// The identification tag (RFC 5888).
    #[must_use]
    pub fn mid(&self) -> Option<&'a str> {
        self.first(Kind::Mid).map(|mid| mid.value)
    }

    /// Which way its media flows.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let stated = self.first(Kind::Direction);
        let stated = stated.or_else(|| {
            self.description
                .first(self.description.head(), Kind::Direction)
        });
        let name = stated.and_then(|line| line.text.strip_prefix("a="));
        name.and_then(Direction::from_name).unwrap_or_default()
    }

    /// Whether RTP and RTCP share a port (RFC 5761). Where it is bundled, the section that speaks for the transport may say
    /// so for all.
    #[must_use]
    pub fn has_rtcp_mux(&self) -> bool {
        let own = self.description.level(self.level);
        own.has(Kind::RtcpMux) || self.description.level(own.speaker).has(Kind::RtcpMux)
    }

    /// The SCTP port of data channels: of `a=sctp-port` or, in the form before RFC 8841, of the `m=` line.
    #[must_use]
    pub fn sctp_port(&self) -> Option<u16> {
        match self.first(Kind::SctpPort) {
            Some(stated) => port(stated.value),
            // `m=application 9 DTLS/SCTP 5000`, with `a=sctpmap:5000 webrtc-datachannel 256`.
            None if self.protocol() == LEGACY_PROTOCOL => self.formats().next().and_then(port),
            None => None,
        }
    }

    /// The largest message on data channels that the describing side takes, in bytes. `None` when there is no limit; 65,536
    /// when nothing is said (RFC 8841 section 6).
    #[must_use]
    pub fn max_message_size(&self) -> Option<u64> {
        match self.first(Kind::MaxMessageSize) {
            Some(stated) => saturating_number(stated.value).filter(|size| *size != 0),
            None => Some(DEFAULT_MAX_MESSAGE_SIZE),
        }
    }

    /// The payload types of the `m=` line with what is said of them, in their order, which is that of preference.
    ///
    /// What is no payload type of RTP is left out, and what stands twice counts once.
    #[must_use]
    pub fn codecs(&self) -> Vec<Codec<'a>> {
        let mut names = [None; 1 + Codec::MAX_PAYLOAD_TYPE as usize];
        for map in self.all(Kind::Rtpmap) {
            let name = words(map.value)
                .nth(1)
                .and_then(|map| map.split('/').next());
            let slot =
                Codec::of_line(map.value).and_then(|number| names.get_mut(usize::from(number)));
            if let (Some(slot @ None), Some(_)) = (slot, name) {
                *slot = name;
            }
        }
        let mut listed = [false; 1 + Codec::MAX_PAYLOAD_TYPE as usize];
        let mut is_new = |number: &u8| {
            let slot = listed.get_mut(usize::from(*number));
            slot.is_some_and(|listed| !std::mem::replace(listed, true))
        };
        let known = |number: u8| names.get(usize::from(number)).copied().flatten();
        self.formats()
            .filter_map(Codec::payload_type)
            .filter(|number| is_new(number))
            .map(|payload_type| Codec {
                payload_type,
                name: known(payload_type).or_else(|| Codec::static_name(payload_type)),
            })
            .collect()
    }

    /// What carries it: its own transport, or that of its BUNDLE group.
    #[must_use]
    pub fn transport(&self) -> Transport<'a> {
        let own = self.description.level(self.level);
        Transport {
            description: self.description,
            levels: [
                self.description.level(own.speaker),
                own,
                self.description.head(),
            ],
        }
    }

    pub(super) fn media_line(&self) -> Option<MediaLine<'a>> {
        MediaLine::read(self.first(Kind::Media)?.value)
    }

    pub(super) fn first(&self, kind: Kind) -> Option<Value<'a>> {
        self.description
            .first(self.description.level(self.level), kind)
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.description
            .all(self.description.level(self.level), kind)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        self.description
            .lines_of(self.description.level(self.level))
    }

    /// The index of the line after its last one.
    pub(super) fn end(&self) -> usize {
        self.description.level(self.level).end as usize
    }

    /// A fault of the whole section.
    pub(super) fn fault(&self, fault: SdpFault) -> SdpError {
        fault.at(self.line())
    }
}

/// A payload type of RTP, and the codec that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec<'a> {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding name, in the case in which it is written: of `a=rtpmap`, or the one that RFC 3551 assigns.
    pub name: Option<&'a str>,
}

impl Codec<'_> {
    pub(super) const MAX_PAYLOAD_TYPE: u8 = 127;

    /// Whether it is of that name. Case makes no difference (RFC 4855 section 3).
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether it carries no media of its own, but repairs, packs, fills or signals beside what does.
    pub(super) fn is_auxiliary(&self) -> bool {
        AUXILIARY.iter().any(|name| self.is(name))
    }

    /// The payload type that a line of an attribute begins with.
    pub(super) fn of_line(value: &str) -> Option<u8> {
        value.split(' ').next().and_then(Self::payload_type)
    }

    pub(super) fn payload_type(text: &str) -> Option<u8> {
        u8::try_from(saturating_number(text)?)
            .ok()
            .filter(|number| *number <= Self::MAX_PAYLOAD_TYPE)
    }

    /// RFC 3551 section 6, tables 4 and 5: what needs no `a=rtpmap`.
    const fn static_name(payload_type: u8) -> Option<&'static str> {
        Some(match payload_type {
            0 => "PCMU",
            3 => "GSM",
            4 => "G723",
            5 | 6 | 16 | 17 => "DVI4",
            7 => "LPC",
            8 => "PCMA",
            9 => "G722",
            10 | 11 => "L16",
            12 => "QCELP",
            13 => "CN",
            14 => "MPA",
            15 => "G728",
            18 => "G729",
            25 => "CelB",
            26 => "JPEG",
            28 => "nv",
            31 => "H261",
            32 => "MPV",
            33 => "MP2T",
            34 => "H263",
            _ => return None,
        })
    }
}

/// ICE and DTLS of a section, from the levels at which they can stand.
///
/// In a BUNDLE group the section that the group names first speaks for the transport of all (RFC 9143 section 7.2), and media
/// level overrides session level (RFC 8866 section 5.13).
#[derive(Debug, Clone, Copy)]
pub struct Transport<'a> {
    description: &'a Description,
    /// By rank: who speaks, the section itself, the head.
    levels: [&'a Level; 3],
}

impl<'a> Transport<'a> {
    /// The ICE user name fragment. [`Description::validate`] checks its characters and its length.
    #[must_use]
    pub fn ice_ufrag(&self) -> Option<&'a str> {
        self.ufrag().map(|line| line.value)
    }

    /// The ICE password: a secret, for whoever has it can answer connectivity checks. [`Description::validate`] checks its
    /// characters and its length.
    #[must_use]
    pub fn ice_pwd(&self) -> Option<&'a str> {
        self.pwd().map(|line| line.value)
    }

    /// The certificate fingerprints, in the order of the text.
    pub fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> + use<'a> {
        self.fingerprint_lines()
            .filter_map(|line| Fingerprint::read(line.value))
    }

    /// The DTLS role.
    #[must_use]
    pub fn setup(&self) -> Option<Setup> {
        Setup::from_name(self.setup_line()?.value)
    }

    /// The candidates, each `candidate:..` as in the text. Their grammar is not checked.
    pub fn candidates(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let [speaker, ..] = self.levels;
        self.description
            .all(speaker, Kind::Candidate)
            .filter_map(|line| line.text.strip_prefix("a="))
    }

    /// Whether no candidate follows (RFC 8840 section 8.2).
    #[must_use]
    pub fn is_end_of_candidates(&self) -> bool {
        let [speaker, _, head] = self.levels;
        speaker.has(Kind::EndOfCandidates) || head.has(Kind::EndOfCandidates)
    }

    /// Whether the describing side trickles candidates (RFC 8840 section 4.1).
    #[must_use]
    pub fn is_trickling(&self) -> bool {
        let mut options = self
            .levels
            .iter()
            .flat_map(|level| self.description.all(level, Kind::IceOptions))
            .flat_map(|line| words(line.value));
        options.any(|option| option == "trickle")
    }

    pub(super) fn ufrag(&self) -> Option<Value<'a>> {
        self.description
            .first(self.level_of(Part::Ice)?, Kind::IceUfrag)
    }

    pub(super) fn pwd(&self) -> Option<Value<'a>> {
        self.description
            .first(self.level_of(Part::Ice)?, Kind::IcePwd)
    }

    pub(super) fn fingerprint_lines(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let description = self.description;
        let level = self.level_of(Part::Fingerprints);
        level
            .into_iter()
            .flat_map(|level| description.all(level, Kind::Fingerprint))
    }

    pub(super) fn setup_line(&self) -> Option<Value<'a>> {
        self.description
            .first(self.level_of(Part::Setup)?, Kind::Setup)
    }

    /// Finds where a reader who takes the first values from the top, as the transport underneath does, finds others, so that
    /// two readers would disagree on the peer.
    pub(super) fn conflict(&self) -> Option<SdpError> {
        let from_top = || (0..self.description.levels()).map(|level| self.description.level(level));
        Part::ALL.into_iter().find_map(|part| {
            let values = |level| {
                part.kinds()
                    .iter()
                    .flat_map(move |kind| self.description.all(level, *kind))
            };
            let (taken, first) = (
                self.level_of(part)?,
                from_top().find(|level| part.is_in(level))?,
            );
            let is_same = std::ptr::eq(taken, first)
                || values(taken)
                    .map(|v| v.value)
                    .eq(values(first).map(|v| v.value));
            let line = values(first).next().map_or(0, |value| value.line);
            (!is_same).then(|| part.conflict().at(line))
        })
    }

    fn level_of(&self, part: Part) -> Option<&'a Level> {
        self.levels.into_iter().find(|level| part.is_in(level))
    }
}

/// What is taken or left together.
#[derive(Debug, Clone, Copy)]
enum Part {
    Ice,
    Fingerprints,
    Setup,
}

impl Part {
    const ALL: [Self; 3] = [Self::Ice, Self::Fingerprints, Self::Setup];

    const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Ice => &[Kind::IceUfrag, Kind::IcePwd],
            Self::Fingerprints => &[Kind::Fingerprint],
            Self::Setup => &[Kind::Setup],
        }
    }

    const fn conflict(self) -> SdpFault {
        match self {
            Self::Ice => SdpFault::ConflictingIceCredentials,
            Self::Fingerprints => SdpFault::ConflictingFingerprints,
            Self::Setup => SdpFault::ConflictingSetup,
        }
    }

    fn is_in(self, level: &Level) -> bool {
        self.kinds().iter().any(|kind| level.has(*kind))
    }
}

const AUXILIARY: [&str; 7] = [
    "rtx",
    "red",
    "ulpfec",
    "flexfec",
    "flexfec-03",
    "CN",
    "telephone-event",
];
/// The form before RFC 8841.
const LEGACY_PROTOCOL: &str = "DTLS/SCTP";
/// RFC 8841 section 6, where the attribute is absent.
const DEFAULT_MAX_MESSAGE_SIZE: u64 = 65_536;
