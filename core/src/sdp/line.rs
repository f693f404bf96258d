//! The lines of a description: what each is, and whether it obeys the grammar of RFC 8866 section 9.
//!
//! A line is looked at once, and what it says is checked at every level, so that a value that is read later is right.
//! Attributes that are not interpreted need a name that is a token, and no more.

use super::fault::SdpFault;
use super::value::{self, Fingerprint, Setup, is_token};

/// A line of a description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Its number in the text that was read, counted from 1.
    pub(super) number: u32,
    /// Where it begins in the text that is kept.
    pub(super) start: u32,
    /// Where it ends there, without CRLF.
    pub(super) end: u32,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a line is, where that matters to anybody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Version,
    Origin,
    Name,
    Information,
    Uri,
    Email,
    Phone,
    Connection,
    Bandwidth,
    Time,
    Repeat,
    Zone,
    Key,
    Media,
    Mid,
    IceUfrag,
    IcePwd,
    IceOptions,
    IceLite,
    Fingerprint,
    Setup,
    Candidate,
    EndOfCandidates,
    Group,
    BundleOnly,
    RtcpMux,
    SctpPort,
    MaxMessageSize,
    Direction,
    Rtpmap,
    Fmtp,
    RtcpFb,
    ImageAttr,
    Extmap,
    Rid,
    /// An attribute that is not interpreted.
    Attribute,
}

impl Kind {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Attribute as usize + 1;

    /// Tells what a line is, and gives its value: what follows `type=`, or the name of the attribute and a colon.
    ///
    /// # Errors
    ///
    /// What is wrong with the line.
    pub(super) fn of(line: &str) -> Result<(Self, &str), SdpFault> {
        let (letter, value) = split(line).ok_or(SdpFault::Line)?;
        let kind = match letter {
            b'v' => Self::Version,
            b'o' => Self::Origin,
            b's' => Self::Name,
            b'i' => Self::Information,
            b'u' => Self::Uri,
            b'e' => Self::Email,
            b'p' => Self::Phone,
            b'c' => Self::Connection,
            b'b' => Self::Bandwidth,
            b't' => Self::Time,
            b'r' => Self::Repeat,
            b'z' => Self::Zone,
            b'k' => Self::Key,
            b'm' => Self::Media,
            b'a' => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                if !is_token(name) {
                    return Err(SdpFault::AttributeName);
                }
                return Ok((Self::of_attribute(name), value));
            }
            _ => return Err(SdpFault::UnknownType),
        };
        Ok((kind, value))
    }

    fn of_attribute(name: &str) -> Self {
        match name {
            "mid" => Self::Mid,
            "ice-ufrag" => Self::IceUfrag,
            "ice-pwd" => Self::IcePwd,
            "ice-options" => Self::IceOptions,
            "ice-lite" => Self::IceLite,
            "fingerprint" => Self::Fingerprint,
            "setup" => Self::Setup,
            "candidate" => Self::Candidate,
            "end-of-candidates" => Self::EndOfCandidates,
            "group" => Self::Group,
            "bundle-only" => Self::BundleOnly,
            "rtcp-mux" => Self::RtcpMux,
            "sctp-port" => Self::SctpPort,
            "max-message-size" => Self::MaxMessageSize,
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => Self::Direction,
            "rtpmap" => Self::Rtpmap,
            "fmtp" => Self::Fmtp,
            "rtcp-fb" => Self::RtcpFb,
            "imageattr" => Self::ImageAttr,
            "extmap" => Self::Extmap,
            "rid" => Self::Rid,
            _ => Self::Attribute,
        }
    }

    /// Whether `value` is one that a line of this kind may have.
    ///
    /// Not checked here are ICE credentials, which is for sessions to do: many descriptions that are only read have others
    /// than RFC 8839 allows. Nor are codecs, extensions and candidates: a line of them that cannot be read is passed over by
    /// its reader, and spoils no other.
    pub(super) fn check(self, value: &str) -> Result<(), SdpFault> {
        let (obeys, fault) = match self {
            Self::Version => (value == "0", SdpFault::Version),
            Self::Origin => (is_origin(value), SdpFault::Field),
            Self::Connection => (is_connection(value), SdpFault::Field),
            Self::Bandwidth => (is_bandwidth(value), SdpFault::Field),
            Self::Time => (is_time(value), SdpFault::Field),
            Self::Repeat => (is_repeat(value), SdpFault::Field),
            Self::Zone => (is_zone(value), SdpFault::Field),
            Self::Media => (MediaLine::read(value).is_some(), SdpFault::Field),
            Self::Mid => (is_token(value), SdpFault::Mid),
            Self::Fingerprint => (Fingerprint::obeys(value), SdpFault::Fingerprint),
            Self::Setup => (Setup::from_name(value).is_some(), SdpFault::Setup),
            Self::Group => (words(value).all(is_token), SdpFault::Group),
            Self::SctpPort => (value::port(value).is_some(), SdpFault::SctpPort),
            Self::MaxMessageSize => (is_number(value), SdpFault::MaxMessageSize),
            Self::Name
            | Self::Information
            | Self::Uri
            | Self::Email
            | Self::Phone
            | Self::Key
            | Self::IceUfrag
            | Self::IcePwd
            | Self::IceOptions
            | Self::IceLite
            | Self::Candidate
            | Self::EndOfCandidates
            | Self::BundleOnly
            | Self::RtcpMux
            | Self::Direction
            | Self::Rtpmap
            | Self::Fmtp
            | Self::RtcpFb
            | Self::ImageAttr
            | Self::Extmap
            | Self::Rid
            | Self::Attribute => (true, SdpFault::Line),
        };
        if obeys { Ok(()) } else { Err(fault) }
    }

    /// Whether a level may have one line of this kind and no more: a second one would be read by some and not by others.
    pub(super) fn stands_once(self, in_section: bool) -> bool {
        // A section may have several addresses, one for each layer of an encoding (RFC 8866 section 5.7).
        let is_of_session = self == Self::Connection && !in_section;
        is_of_session
            || matches!(
                self,
                Self::Version
                    | Self::Origin
                    | Self::Name
                    | Self::Information
                    | Self::Uri
                    | Self::Zone
                    | Self::Key
                    | Self::Mid
                    | Self::IceUfrag
                    | Self::IcePwd
                    | Self::Setup
                    | Self::SctpPort
                    | Self::MaxMessageSize
            )
    }

    /// Whether only the head of a description has such lines (RFC 8866 section 5).
    pub(super) fn is_of_the_head(self) -> bool {
        matches!(
            self,
            Self::Version
                | Self::Origin
                | Self::Name
                | Self::Uri
                | Self::Email
                | Self::Phone
                | Self::Time
                | Self::Repeat
                | Self::Zone
        )
    }
}

/// What an `m=` line says (RFC 8866 section 5.14).
#[derive(Debug, Clone, Copy)]
pub(super) struct MediaLine<'a> {
    pub(super) media: &'a str,
    pub(super) port: u16,
    /// The port as it is written, with the number of ports where that is given.
    pub(super) ports: &'a str,
    pub(super) protocol: &'a str,
    pub(super) formats: &'a str,
}

impl<'a> MediaLine<'a> {
    pub(super) fn read(value: &'a str) -> Option<Self> {
        let mut fields = value.splitn(4, ' ');
        let media = fields.next().filter(|media| is_token(media))?;
        let ports = fields.next()?;
        let (port, count) = ports
            .split_once('/')
            .map_or((ports, None), |(p, n)| (p, Some(n)));
        let port = value::port(port)?;
        count.map_or(Some(0), value::port)?;
        let protocol = fields.next()?;
        let formats = fields.next()?;
        let is_whole = protocol.split('/').all(is_token) && words(formats).next().is_some();
        is_whole.then_some(Self {
            media,
            port,
            ports,
            protocol,
            formats,
        })
    }
}

/// What a single space separates. Runs of spaces are seen in the wild and count as one.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(' ').filter(|word| !word.is_empty())
}

/// The type letter and the value. NUL and a bare CR are not allowed in a value.
fn split(line: &str) -> Option<(u8, &str)> {
    let [letter, b'=', ..] = line.as_bytes() else {
        return None;
    };
    let value = line.get(2..)?;
    let has_control = |found, b| found | (b == b'\0') | (b == b'\r');
    let is_plain = !value.bytes().fold(false, has_control);
    (letter.is_ascii_lowercase() && is_plain).then_some((*letter, value))
}

fn is_origin(value: &str) -> bool {
    let mut fields = words(value);
    let mut next = || fields.next().unwrap_or_default();
    let [_user, id, version, net, address, host] = std::array::from_fn(|_| next());
    let is_whole = is_number(id) && is_number(version) && is_token(net) && is_token(address);
    is_whole && !host.is_empty() && fields.next().is_none()
}

fn is_connection(value: &str) -> bool {
    let mut fields = words(value);
    let mut next = || fields.next().unwrap_or_default();
    let [net, address, host] = std::array::from_fn(|_| next());
    is_token(net) && is_token(address) && !host.is_empty() && fields.next().is_none()
}

fn is_bandwidth(value: &str) -> bool {
    value
        .split_once(':')
        .is_some_and(|(kind, number)| is_token(kind) && is_number(number))
}

fn is_time(value: &str) -> bool {
    let mut fields = words(value);
    fields.clone().count() == 2 && fields.all(is_number)
}

fn is_repeat(value: &str) -> bool {
    let mut fields = words(value);
    fields.clone().nth(1).is_some() && fields.all(is_typed_time)
}

fn is_zone(value: &str) -> bool {
    let mut fields = words(value);
    while let Some(time) = fields.next() {
        let offset = fields.next().unwrap_or_default();
        let offset = offset.strip_prefix('-').unwrap_or(offset);
        if !is_number(time) || !is_typed_time(offset) {
            return false;
        }
    }
    true
}

/// RFC 8866 section 9, `typed-time`: `7d`, `1h`, `0`.
fn is_typed_time(text: &str) -> bool {
    is_number(text.strip_suffix(['d', 'h', 'm', 's']).unwrap_or(text))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
