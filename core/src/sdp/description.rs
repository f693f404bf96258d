//! What a session description says to a data channel peer.
//!
//! `sdp-types` is the grammar: it checks the fields of each line and gives the tree. Three things it does not give,
//! and they are taken from a light scan of the lines that runs first: the line number of each attribute, the order of
//! the lines (it accepts a text without `o=`), and whether an attribute has a name. The scan also bounds the number of
//! media sections before a tree is built.
//!
//! Both passes look at each byte a constant number of times. What follows them looks at each attribute once, and
//! compares the mids of BUNDLE groups with at most [`MAX_SECTIONS`](super::outline::MAX_SECTIONS) sections, so the
//! whole is linear in the length.
//!
//! Sections other than the data channel's are read only where BUNDLE makes them carry its transport.

use sdp_types::{Attribute, Media, ParserError, Session};

use super::fault::{SdpError, SdpFault};
use super::outline::Outline;
use super::value::{Fingerprint, Located, Secret, Setup, is_token, parse_ufrag, saturating_number};

/// A session description, reduced to what a data channel peer needs. Every value in it obeys its grammar.
///
/// Whether the values suffice for a session is decided by [`validate`](super::validate()). Without a data channel
/// section only the sections are counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Description {
    /// How many media sections there are, of any kind.
    pub(crate) sections: usize,
    /// The first data channel section that is not rejected, or else the first.
    pub(crate) application: Option<Application>,
    /// The user name fragment of the transport of that section.
    pub(crate) ufrag: Option<Located<String>>,
    /// The password of that transport.
    pub(crate) pwd: Option<Located<Secret>>,
    /// The certificate fingerprints of that transport, in the order of the text.
    pub(crate) fingerprints: Vec<Located<Fingerprint>>,
    /// The DTLS role of that transport.
    pub(crate) setup: Option<Located<Setup>>,
    /// The candidate lines of that transport, `candidate:..` without `a=`, unchecked.
    pub(crate) candidates: Vec<Located<String>>,
    /// Whether no candidate follows.
    pub(crate) end_of_candidates: bool,
    /// Whether the peer trickles candidates (RFC 8840).
    pub(crate) trickle: bool,
    /// Whether the peer is an ICE lite agent, so that we have to control (RFC 8445 section 6.1.1).
    pub(crate) ice_lite: bool,
    /// Where a reader from the top finds another value of the transport than the one taken here.
    pub(crate) conflict: Option<SdpError>,
}

impl Description {
    /// The longest description that is looked at, in bytes.
    pub(crate) const MAX_LEN: usize = 1024 * 1024;

    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// [`SdpError`] at a line that does not obey its grammar.
    pub(crate) fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > Self::MAX_LEN {
            return Err(SdpFault::TooLong.at(0));
        }
        Self::read(text)
    }

    /// Reads a text of any length.
    pub(super) fn read(text: &str) -> Result<Self, SdpError> {
        let outline = Outline::scan(text)?;
        let tree = Session::parse(text.as_bytes()).map_err(|e| from_grammar(&e))?;
        let mut lines = outline.attributes.into_iter();
        let session = Level::read(tree.attributes, &mut lines)?;
        let mut sections = Vec::with_capacity(tree.medias.len());
        for (media, line) in tree.medias.into_iter().zip(outline.sections) {
            sections.push(Section::read(media, line, &mut lines)?);
        }
        Self::resolve(&session, &sections)
    }

    /// Takes the values that count for the data channel section from the levels at which they can stand.
    fn resolve(session: &Level, sections: &[Section]) -> Result<Self, SdpError> {
        let Some(own) = choose(sections) else {
            return Ok(Self {
                sections: sections.len(),
                ..Self::default()
            });
        };
        let bundle = Bundle::of(own, session, sections);
        let speaker = bundle.tagged.unwrap_or(own);
        let transport = Transport {
            ranked: vec![&speaker.level, &own.level, session],
            from_top: std::iter::once(session)
                .chain(sections.iter().map(|s| &s.level))
                .collect(),
        };
        let ice = transport.take(Part::Ice);
        let setup = transport.take(Part::Setup);
        let fingerprints = transport
            .take(Part::Fingerprints)
            .map_or(&[][..], |l| &l.fingerprints);
        Ok(Self {
            sections: sections.len(),
            application: Some(Application::read(own, &bundle)?),
            ufrag: parse_opt(ice.and_then(|l| l.ufrag.as_ref()), parse_ufrag)?,
            pwd: parse_opt(ice.and_then(|l| l.pwd.as_ref()), Secret::parse_pwd)?,
            fingerprints: fingerprints
                .iter()
                .map(|f| f.parse(Fingerprint::parse))
                .collect::<Result<_, _>>()?,
            setup: parse_opt(setup.and_then(|l| l.setup.as_ref()), Setup::parse)?,
            candidates: speaker.level.candidates.clone(),
            end_of_candidates: speaker.level.end_of_candidates || session.end_of_candidates,
            trickle: transport.ranked.iter().any(|level| level.trickle),
            ice_lite: session.ice_lite,
            conflict: transport.conflict(),
        })
    }
}

/// The data channel section (RFC 8841).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Application {
    /// The line of its `m=`.
    pub(crate) line: usize,
    /// Whether the peer refuses it.
    pub(crate) rejected: bool,
    /// Its identification tag.
    pub(crate) mid: Option<String>,
    /// The SCTP port: of `a=sctp-port` or, in the form before RFC 8841, of the `m=` line.
    pub(crate) sctp_port: Option<u16>,
    /// The largest message that the peer takes, in bytes: 65,536 when it does not say, `u64::MAX` without limit.
    pub(crate) max_message_size: u64,
    /// Whether the SCTP association is negotiated in the descriptions.
    pub(crate) sctp_init: bool,
    /// The line of a BUNDLE group with this section and with a mid that no section has.
    pub(crate) dangling_bundle: Option<usize>,
}

impl Application {
    fn read(own: &Section, bundle: &Bundle<'_>) -> Result<Self, SdpError> {
        let sctp_port = match &own.level.sctp_port {
            Some(port) => Some(port.parse(parse_sctp_port)?.value),
            // `m=application 9 DTLS/SCTP 5000`, with `a=sctpmap:5000 webrtc-datachannel 256`.
            None if own.proto == LEGACY_PROTO => own.fmt.parse().ok(),
            None => None,
        };
        let max_message_size = match &own.level.max_message_size {
            Some(size) => size.parse(parse_max_message_size)?.value,
            None => DEFAULT_MAX_MESSAGE_SIZE,
        };
        Ok(Self {
            line: own.line,
            rejected: own.is_rejected(),
            mid: parse_opt(own.level.mid.as_ref(), parse_mid)?.map(|mid| mid.value),
            sctp_port,
            max_message_size,
            sctp_init: own.level.sctp_init,
            dangling_bundle: bundle.dangling,
        })
    }
}

/// The attributes at session level or in a section, those that mean something to a data channel peer.
#[derive(Debug, Default)]
struct Level {
    ufrag: Option<Located<String>>,
    pwd: Option<Located<String>>,
    fingerprints: Vec<Located<String>>,
    setup: Option<Located<String>>,
    candidates: Vec<Located<String>>,
    end_of_candidates: bool,
    trickle: bool,
    ice_lite: bool,
    groups: Vec<Located<String>>,
    mid: Option<Located<String>>,
    sctp_port: Option<Located<String>>,
    max_message_size: Option<Located<String>>,
    sctp_init: bool,
    bundle_only: bool,
}

impl Level {
    /// Takes one line number of `lines` for each attribute.
    fn read(
        attributes: Vec<Attribute>,
        lines: &mut impl Iterator<Item = usize>,
    ) -> Result<Self, SdpError> {
        let mut level = Self::default();
        for (attribute, line) in attributes.into_iter().zip(lines) {
            level.add(
                &attribute.attribute,
                attribute.value.unwrap_or_default(),
                line,
            )?;
        }
        Ok(level)
    }

    fn add(&mut self, name: &str, value: String, line: usize) -> Result<(), SdpError> {
        match name {
            "ice-ufrag" => return set(&mut self.ufrag, value, line),
            "ice-pwd" => return set(&mut self.pwd, value, line),
            "setup" => return set(&mut self.setup, value, line),
            "mid" => return set(&mut self.mid, value, line),
            "sctp-port" => return set(&mut self.sctp_port, value, line),
            "max-message-size" => return set(&mut self.max_message_size, value, line),
            "fingerprint" => self.fingerprints.push(Located { line, value }),
            "candidate" => {
                self.candidates.push(Located {
                    line,
                    value: format!("candidate:{value}"),
                });
            }
            "end-of-candidates" => self.end_of_candidates = true,
            "ice-options" => self.trickle |= value.split(' ').any(|option| option == "trickle"),
            "ice-lite" => self.ice_lite = true,
            "group" => self.groups.push(Located { line, value }),
            "sctp-init" => self.sctp_init = !value.is_empty(),
            "bundle-only" => self.bundle_only = true,
            _ => {}
        }
        Ok(())
    }

    fn values(&self, part: Part) -> Vec<&Located<String>> {
        match part {
            Part::Ice => self.ufrag.iter().chain(&self.pwd).collect(),
            Part::Fingerprints => self.fingerprints.iter().collect(),
            Part::Setup => self.setup.iter().collect(),
        }
    }
}

/// One media section.
#[derive(Debug)]
struct Section {
    line: usize,
    media: String,
    port: u16,
    proto: String,
    fmt: String,
    level: Level,
}

impl Section {
    fn read(
        media: Media,
        line: usize,
        lines: &mut impl Iterator<Item = usize>,
    ) -> Result<Self, SdpError> {
        let level = Level::read(media.attributes, lines)?;
        Ok(Self {
            line,
            media: media.media,
            port: media.port,
            proto: media.proto,
            fmt: media.fmt,
            level,
        })
    }

    /// RFC 9143 section 6: a port of 0 refuses the section, unless it is only there to be bundled.
    fn is_rejected(&self) -> bool {
        self.port == 0 && !self.level.bundle_only
    }

    fn is_data_channel(&self) -> bool {
        let format = match self.proto.as_str() {
            PROTO => self.fmt == "webrtc-datachannel",
            LEGACY_PROTO => true,
            _ => false,
        };
        self.media == "application" && format
    }

    fn has_mid(&self, tag: &str) -> bool {
        self.level.mid.as_ref().is_some_and(|mid| mid.value == tag)
    }
}

/// The BUNDLE group of a section (RFC 9143).
#[derive(Debug, Default)]
struct Bundle<'a> {
    /// The section that the first mid of the group names.
    tagged: Option<&'a Section>,
    /// The line of the group, when one of its mids names no section.
    dangling: Option<usize>,
}

impl<'a> Bundle<'a> {
    fn of(own: &Section, session: &Level, sections: &'a [Section]) -> Self {
        let group = session.groups.iter().find_map(|group| {
            let mids = group.value.strip_prefix("BUNDLE ")?;
            mids.split(' ')
                .any(|mid| own.has_mid(mid))
                .then_some((group.line, mids))
        });
        let Some((line, mids)) = group else {
            return Self::default();
        };
        let named = |mid: &str| sections.iter().find(|section| section.has_mid(mid));
        let dangling = mids.split(' ').any(|mid| named(mid).is_none());
        Self {
            tagged: mids.split(' ').next().and_then(named),
            dangling: dangling.then_some(line),
        }
    }
}

/// What is taken or left together.
#[derive(Debug, Clone, Copy)]
enum Part {
    Ice,
    Fingerprints,
    Setup,
}

/// The levels at which the values of the transport can stand.
struct Transport<'a> {
    /// By what they mean: in a BUNDLE group the tagged section speaks for the transport of all (RFC 9143 section
    /// 7.1.3), and media level overrides session level (RFC 8866 section 5.13).
    ranked: Vec<&'a Level>,
    /// By where they stand, which is how the transport underneath reads them.
    from_top: Vec<&'a Level>,
}

impl<'a> Transport<'a> {
    fn take(&self, part: Part) -> Option<&'a Level> {
        self.ranked
            .iter()
            .find(|level| !level.values(part).is_empty())
            .copied()
    }

    /// Finds where the two orders lead to different values, so that two readers would disagree on the peer.
    fn conflict(&self) -> Option<SdpError> {
        let parts = [
            (Part::Ice, SdpFault::ConflictingIceCredentials),
            (Part::Fingerprints, SdpFault::ConflictingFingerprints),
            (Part::Setup, SdpFault::ConflictingSetup),
        ];
        parts.into_iter().find_map(|(part, fault)| {
            let taken = self.take(part)?.values(part);
            let first = self
                .from_top
                .iter()
                .map(|l| l.values(part))
                .find(|v| !v.is_empty())?;
            let same = taken
                .iter()
                .map(|v| &v.value)
                .eq(first.iter().map(|v| &v.value));
            (!same).then(|| fault.at(first.first().map_or(0, |v| v.line)))
        })
    }
}

fn choose(sections: &[Section]) -> Option<&Section> {
    let mut channels = sections.iter().filter(|section| section.is_data_channel());
    let first = channels.next()?;
    if !first.is_rejected() {
        return Some(first);
    }
    channels
        .find(|section| !section.is_rejected())
        .or(Some(first))
}

fn set(slot: &mut Option<Located<String>>, value: String, line: usize) -> Result<(), SdpError> {
    if slot.is_some() {
        return Err(SdpFault::Repeated.at(line));
    }
    *slot = Some(Located { line, value });
    Ok(())
}

fn parse_opt<T>(
    value: Option<&Located<String>>,
    parser: impl Fn(&str) -> Result<T, SdpFault>,
) -> Result<Option<Located<T>>, SdpError> {
    value.map(|value| value.parse(parser)).transpose()
}

fn parse_mid(text: &str) -> Result<String, SdpFault> {
    if is_token(text) {
        Ok(text.to_owned())
    } else {
        Err(SdpFault::Mid)
    }
}

fn parse_sctp_port(text: &str) -> Result<u16, SdpFault> {
    let number = saturating_number(text).ok_or(SdpFault::SctpPort)?;
    u16::try_from(number).map_err(|_| SdpFault::SctpPort)
}

/// RFC 8841 section 6: 0 means any size.
fn parse_max_message_size(text: &str) -> Result<u64, SdpFault> {
    match saturating_number(text).ok_or(SdpFault::MaxMessageSize)? {
        0 => Ok(u64::MAX),
        size => Ok(size),
    }
}

/// Keeps the line of an error of the grammar and drops its text, which may quote the description.
fn from_grammar(error: &ParserError) -> SdpError {
    match error {
        ParserError::InvalidLineFormat(line, _) => SdpFault::Line.at(*line),
        ParserError::InvalidVersion(line, _) => SdpFault::Version.at(*line),
        ParserError::InvalidFieldEncoding(line, _)
        | ParserError::InvalidFieldFormat(line, _)
        | ParserError::MissingField(line, _)
        | ParserError::FieldTrailingData(line, _) => SdpFault::Field.at(*line),
        ParserError::MultipleVersions(line)
        | ParserError::MultipleOrigins(line)
        | ParserError::MultipleSessionNames(line)
        | ParserError::MultipleSessionDescription(line)
        | ParserError::MultipleUris(line)
        | ParserError::MultipleConnections(line)
        | ParserError::MultipleTimeZones(line)
        | ParserError::MultipleMediaTitles(line)
        | ParserError::MultipleKeys(line) => SdpFault::Repeated.at(*line),
        ParserError::RepeatWithoutTime(line) => SdpFault::Order.at(*line),
        // What is left is deprecated or `NoVersion`, which the scan of the lines has excluded.
        _ => SdpFault::Order.at(0),
    }
}

const PROTO: &str = "UDP/DTLS/SCTP";
/// The form before RFC 8841.
const LEGACY_PROTO: &str = "DTLS/SCTP";
/// RFC 8841 section 6, where the attribute is absent.
const DEFAULT_MAX_MESSAGE_SIZE: u64 = 65_536;
