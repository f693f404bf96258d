//! Candidate lines (RFC 8839 section 5.1).

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

/// A candidate. What exists has a line that obeys the grammar.
///
/// Unknown extensions of a parsed line are ignored, as RFC 8839 section 5.1 asks, and are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(super) foundation: String,
    pub(super) component: u16,
    pub(super) transport: Transport,
    pub(super) priority: u32,
    pub(super) address: Address,
    pub(super) port: u16,
    pub(super) kind: Kind,
    pub(super) related_address: Option<Address>,
    pub(super) related_port: Option<u16>,
    pub(super) generation: Option<u32>,
    pub(super) ufrag: Option<String>,
}

impl Candidate {
    /// The longest line that is looked at, in bytes.
    pub(crate) const MAX_LEN: usize = 1_024;

    /// Reads a line, with or without `a=` and `candidate:` before it.
    ///
    /// # Errors
    ///
    /// [`CandidateError`] with the first field that does not obey the grammar.
    pub(crate) fn parse(line: &str) -> Result<Self, CandidateError> {
        if line.len() > Self::MAX_LEN {
            return Err(CandidateError::TooLong);
        }
        Self::read(line)
    }

    /// Reads a line of any length.
    fn read(line: &str) -> Result<Self, CandidateError> {
        // A line break or NUL could end the line early when it is written elsewhere.
        if line.bytes().any(|b| b.is_ascii_control()) {
            return Err(CandidateError::Control);
        }
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let mut fields = line.split(' ');
        let mut next = || fields.next().ok_or(CandidateError::Incomplete);
        let foundation = parse_foundation(next()?)?;
        let component = parse_component(next()?)?;
        let transport = next()?;
        let priority = parse_priority(next()?)?;
        let address = Address::parse(next()?)?;
        let port = parse_port(next()?)?;
        if next()? != "typ" {
            return Err(CandidateError::Typ);
        }
        let kind = Kind::parse(next()?)?;
        let extensions = Extensions::parse(fields)?;
        Ok(Self {
            foundation,
            component,
            transport: Transport::parse(transport, extensions.tcp_type)?,
            priority,
            address,
            port,
            kind,
            related_address: extensions.related_address,
            related_port: extensions.related_port,
            generation: extensions.generation,
            ufrag: extensions.ufrag,
        })
    }

    /// The component, 1 to 256. With multiplexed RTCP and for data there is only 1.
    pub(crate) fn component(&self) -> u16 {
        self.component
    }

    /// The transport protocol.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// The address, or the name that hides it.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The same candidate at `ip`, which its name was resolved to.
    pub(super) fn at(&self, ip: IpAddr) -> Self {
        Self {
            address: Address::Ip(ip.to_canonical()),
            ..self.clone()
        }
    }

    /// The port; 0 and 9 stand for none in TCP active candidates.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The user name fragment of its generation, when the line names one.
    pub(crate) fn ufrag(&self) -> Option<&str> {
        self.ufrag.as_deref()
    }
}

impl fmt::Display for Candidate {
    /// The line, from `candidate:` on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            foundation,
            component,
            transport,
            priority,
            address,
            port,
            kind,
            ..
        } = self;
        write!(
            f,
            "candidate:{foundation} {component} {transport} {priority} {address} {port} typ {kind}"
        )?;
        if let Some(address) = &self.related_address {
            write!(f, " raddr {address}")?;
        }
        if let Some(port) = self.related_port {
            write!(f, " rport {port}")?;
        }
        if let Transport::Tcp(Some(tcp_type)) = transport {
            write!(f, " tcptype {tcp_type}")?;
        }
        if let Some(generation) = self.generation {
            write!(f, " generation {generation}")?;
        }
        if let Some(ufrag) = &self.ufrag {
            write!(f, " ufrag {ufrag}")?;
        }
        Ok(())
    }
}

/// The type of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Of an interface.
    Host,
    /// Seen by a STUN server.
    ServerReflexive,
    /// Seen by the peer.
    PeerReflexive,
    /// On a TURN server.
    Relay,
}

impl Kind {
    fn parse(text: &str) -> Result<Self, CandidateError> {
        match text {
            "host" => Ok(Self::Host),
            "srflx" => Ok(Self::ServerReflexive),
            "prflx" => Ok(Self::PeerReflexive),
            "relay" => Ok(Self::Relay),
            _ => Err(CandidateError::UnknownType),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        })
    }
}

/// The transport protocol of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// UDP.
    Udp,
    /// TCP (RFC 6544), with its type where the line has one.
    Tcp(Option<TcpType>),
}

impl Transport {
    fn parse(text: &str, tcp_type: Option<TcpType>) -> Result<Self, CandidateError> {
        if text.eq_ignore_ascii_case("udp") {
            Ok(Self::Udp)
        } else if text.eq_ignore_ascii_case("tcp") {
            Ok(Self::Tcp(tcp_type))
        } else {
            Err(CandidateError::UnknownTransport)
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "udp",
            Self::Tcp(_) => "tcp",
        })
    }
}

/// The side of a TCP connection that a candidate takes (RFC 6544 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcpType {
    /// It opens.
    Active,
    /// It accepts.
    Passive,
    /// Both at once.
    SimultaneousOpen,
}

impl TcpType {
    fn parse(text: &str) -> Result<Self, CandidateError> {
        match text {
            "active" => Ok(Self::Active),
            "passive" => Ok(Self::Passive),
            "so" => Ok(Self::SimultaneousOpen),
            _ => Err(CandidateError::TcpType),
        }
    }
}

impl fmt::Display for TcpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::SimultaneousOpen => "so",
        })
    }
}

/// The connection address of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// An IP address. IPv4-mapped ones are IPv4 here, so that no filter on IPv4 is passed around.
    Ip(IpAddr),
    /// A host name: of mDNS (`.local`), or of the DNS. It is up to policy whether it is resolved.
    Name(String),
}

impl Address {
    /// Octets with leading zeros are refused, as readers differ on their base, and zone ids, as they mean something on
    /// the sender's host only.
    fn parse(text: &str) -> Result<Self, CandidateError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip.to_canonical()));
        }
        if is_host_name(text) {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(CandidateError::Address)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

/// Why a line is not a candidate. Carries nothing of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum CandidateError {
    /// Longer than [`Candidate::MAX_LEN`].
    #[error("longer than the limit")]
    TooLong,
    /// A control character.
    #[error("a control character")]
    Control,
    /// It ends before its type.
    #[error("incomplete")]
    Incomplete,
    /// A foundation that is not 1 to 32 ice-chars.
    #[error("malformed foundation")]
    Foundation,
    /// A component that is not 1 to 256.
    #[error("malformed component")]
    Component,
    /// A transport other than UDP and TCP.
    #[error("unknown transport")]
    UnknownTransport,
    /// A priority that is not 1 to 2^31 - 1.
    #[error("malformed priority")]
    Priority,
    /// Neither an IP address nor a host name.
    #[error("malformed address")]
    Address,
    /// A port that is not a number of 16 bits.
    #[error("malformed port")]
    Port,
    /// The word `typ` is not where it has to be.
    #[error("no type")]
    Typ,
    /// A type that is not known. Such candidates are to be ignored (RFC 8839 section 5.1).
    #[error("unknown type")]
    UnknownType,
    /// A TCP type that does not exist.
    #[error("unknown tcp type")]
    TcpType,
    /// An extension that is known and malformed.
    #[error("malformed extension")]
    Extension,
}

/// What follows the type, in pairs of name and value.
#[derive(Default)]
struct Extensions {
    related_address: Option<Address>,
    related_port: Option<u16>,
    tcp_type: Option<TcpType>,
    generation: Option<u32>,
    ufrag: Option<String>,
}

impl Extensions {
    /// A last name without a value is taken as one with an empty value, which the grammar allows.
    fn parse<'a>(mut fields: impl Iterator<Item = &'a str>) -> Result<Self, CandidateError> {
        let mut extensions = Self::default();
        while let Some(name) = fields.next() {
            let value = fields.next().unwrap_or_default();
            match name {
                "raddr" => extensions.related_address = Some(Address::parse(value)?),
                "rport" => extensions.related_port = Some(parse_port(value)?),
                "tcptype" => extensions.tcp_type = Some(TcpType::parse(value)?),
                "generation" => extensions.generation = parse_number(value),
                "ufrag" => extensions.ufrag = Some(parse_ufrag(value)?),
                _ => {}
            }
        }
        Ok(extensions)
    }
}

fn parse_foundation(text: &str) -> Result<String, CandidateError> {
    let allowed = (1..=MAX_FOUNDATION).contains(&text.len()) && text.bytes().all(is_ice_char);
    if allowed {
        Ok(text.to_owned())
    } else {
        Err(CandidateError::Foundation)
    }
}

fn parse_component(text: &str) -> Result<u16, CandidateError> {
    parse_number(text)
        .filter(|n| (1..=256).contains(n))
        .ok_or(CandidateError::Component)
}

fn parse_priority(text: &str) -> Result<u32, CandidateError> {
    parse_number(text)
        .filter(|n| (1..=MAX_PRIORITY).contains(n))
        .ok_or(CandidateError::Priority)
}

fn parse_port(text: &str) -> Result<u16, CandidateError> {
    parse_number(text).ok_or(CandidateError::Port)
}

/// The generation is found by comparison with the fragments in use, so its length does not matter here: shorter ones
/// than RFC 8839 wants belong to no generation.
fn parse_ufrag(text: &str) -> Result<String, CandidateError> {
    let allowed = (1..=256).contains(&text.len()) && text.bytes().all(is_ice_char);
    if allowed {
        Ok(text.to_owned())
    } else {
        Err(CandidateError::Extension)
    }
}

/// Digits only: `parse` alone would take a sign.
fn parse_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn is_ice_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/')
}

/// Labels of letters, digits and hyphens, the last of which is not a number, as in an address it would be.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= MAX_NAME
        && text.split('.').all(label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

const MAX_FOUNDATION: usize = 32;
const MAX_PRIORITY: u32 = (1 << 31) - 1;
/// RFC 1035 section 2.3.4, less the root label.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linear::{LONG, assert_linear};

    #[test]
    fn work_is_linear_in_the_length_of_a_line() {
        let shapes = [
            ("1 1 udp 1 192.0.2.1 5 typ host", " x y"),
            ("1 1 udp 1 192.0.2.1 5 typ host", " ufrag abcd"),
            ("1 1 udp 1 192.0.2.1 5 typ host", " raddr 192.0.2.1"),
            ("1 1 udp 1 192.0.2.1 5 typ host", " "),
            ("1 1 udp 1 192.0.2.1 ", "5"),
            ("1 1 udp 1 ", "a."),
            ("1 1 udp 1 ", ":"),
            ("1 1 udp ", "0"),
            ("1 1 ", "udp"),
            ("", "a=candidate:"),
            ("", "x"),
        ];
        for (head, unit) in shapes {
            let line = |len: usize| format!("{head}{}", unit.repeat(len / unit.len()));
            assert_linear(unit, LONG, line, |line| drop(Candidate::read(line)));
        }
    }

    #[test]
    fn a_line_is_read_with_any_prefix_and_written_with_one() {
        let line = "candidate:1 1 udp 1694498815 192.0.2.7 50000 typ srflx raddr 10.0.0.1 rport 9 \
                    generation 0 ufrag abcd";
        for prefix in ["a=", ""] {
            let parsed = Candidate::parse(&format!("{prefix}{line}")).expect("valid");
            assert_eq!(parsed.to_string(), line);
        }
        let bare = line.strip_prefix("candidate:").expect("a prefix");
        assert_eq!(Candidate::parse(bare), Candidate::parse(line));
    }

    #[test]
    fn each_field_has_its_limits() {
        let line = |foundation: &str, component: &str, priority: &str, port: &str| {
            let line = format!("{foundation} {component} udp {priority} 192.0.2.1 {port} typ host");
            Candidate::parse(&line).err()
        };
        let longest = "x".repeat(32);
        assert_eq!(line(&longest, "256", "2147483647", "65535"), None);
        assert_eq!(line("+", "1", "1", "0"), None);
        assert_eq!(
            line(&format!("{longest}x"), "1", "1", "1"),
            Some(CandidateError::Foundation)
        );
        assert_eq!(line("", "1", "1", "1"), Some(CandidateError::Foundation));
        assert_eq!(line("a-b", "1", "1", "1"), Some(CandidateError::Foundation));
        for component in ["0", "257", "+1", "", "99999999"] {
            assert_eq!(
                line("1", component, "1", "1"),
                Some(CandidateError::Component),
                "{component}"
            );
        }
        for priority in ["0", "2147483648", "-1", "4294967296"] {
            assert_eq!(
                line("1", "1", priority, "1"),
                Some(CandidateError::Priority),
                "{priority}"
            );
        }
        for port in ["65536", "", "-1", "+1"] {
            assert_eq!(
                line("1", "1", "1", port),
                Some(CandidateError::Port),
                "{port}"
            );
        }
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_a_longer_one_refused() {
        let line = "1 1 udp 1 192.0.2.1 5 typ host x ";
        let at = |len: usize| format!("{line}{}", "y".repeat(len - line.len()));
        assert!(Candidate::parse(&at(Candidate::MAX_LEN)).is_ok());
        assert_eq!(
            Candidate::parse(&at(Candidate::MAX_LEN + 1)),
            Err(CandidateError::TooLong)
        );
    }

    #[test]
    fn an_unknown_type_or_transport_is_told_apart_from_a_malformed_line() {
        let error = |line: &str| Candidate::parse(line).expect_err("refused");
        assert_eq!(
            error("1 1 udp 1 192.0.2.1 5 typ moon"),
            CandidateError::UnknownType
        );
        assert_eq!(
            error("1 1 ssltcp 1 192.0.2.1 5 typ host"),
            CandidateError::UnknownTransport
        );
        assert_eq!(
            error("1 1 udp 1 192.0.2.1 5 type host"),
            CandidateError::Typ
        );
        assert_eq!(
            error("1 1 tcp 1 192.0.2.1 5 typ host tcptype x"),
            CandidateError::TcpType
        );
        assert_eq!(
            error("1 1 udp 1 192.0.2.1 5 typ"),
            CandidateError::Incomplete
        );
        assert_eq!(error(""), CandidateError::Foundation);
    }

    #[test]
    fn an_ipv4_mapped_address_becomes_the_ipv4_one() {
        let parsed = Candidate::parse("1 1 udp 1 ::ffff:127.0.0.1 5 typ host").expect("valid");
        assert_eq!(parsed.address(), &Address::Ip([127, 0, 0, 1].into()));
    }

    #[test]
    fn ambiguous_addresses_are_neither_addresses_nor_names() {
        for address in [
            "192.0.2.001",
            "372.16.356",
            "1%92.168.1",
            "fe80::1%eth0",
            "192.0.2",
            "a..b",
            "",
        ] {
            let line = format!("1 1 udp 1 {address} 5 typ host");
            assert_eq!(
                Candidate::parse(&line),
                Err(CandidateError::Address),
                "{address}"
            );
        }
    }

    #[test]
    fn a_line_break_in_any_place_is_refused() {
        for line in [
            "1 1 udp 1 192.0.2.1\r\na=setup:active 5 typ host",
            "1 1 udp 1 192.0.2.1 5 typ host x \0",
        ] {
            assert_eq!(Candidate::parse(line), Err(CandidateError::Control));
        }
    }

    prop_compose! {
        fn any_address()(address in prop_oneof![
            any::<[u8; 4]>().prop_map(|a| Address::Ip(IpAddr::from(a))),
            any::<[u8; 16]>().prop_map(|a| Address::Ip(IpAddr::from(a).to_canonical())),
            "[a-z0-9-]{1,20}(\\.[a-z]{1,8}){1,3}".prop_map(Address::Name),
        ]) -> Address { address }
    }

    prop_compose! {
        fn any_candidate()(
            foundation in "[A-Za-z0-9+/]{1,32}",
            component in 1..=256_u16,
            transport in prop::sample::select(vec![
                Transport::Udp,
                Transport::Tcp(None),
                Transport::Tcp(Some(TcpType::Active)),
                Transport::Tcp(Some(TcpType::Passive)),
                Transport::Tcp(Some(TcpType::SimultaneousOpen)),
            ]),
            priority in 1..=MAX_PRIORITY,
            address in any_address(),
            port in any::<u16>(),
            kind in prop::sample::select(vec![
                Kind::Host, Kind::ServerReflexive, Kind::PeerReflexive, Kind::Relay,
            ]),
            related_address in prop::option::of(any_address()),
            related_port in any::<Option<u16>>(),
            generation in any::<Option<u32>>(),
            ufrag in prop::option::of("[A-Za-z0-9+/]{1,256}"),
        ) -> Candidate {
            Candidate {
                foundation, component, transport, priority, address, port, kind,
                related_address, related_port, generation, ufrag,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(candidate in any_candidate()) {
            prop_assert_eq!(Candidate::parse(&candidate.to_string()), Ok(candidate));
        }

        #[test]
        fn what_is_read_is_written_so_that_it_is_read_alike(
            line in "(a=)?(candidate:)?[!-~]{1,8} [0-9]{1,3} (udp|TCP|x) [0-9]{1,10} [0-9a-f:.%]{2,24} \
                     [0-9]{1,5} typ (host|relay|x)( [ -~]{0,40})?",
        ) {
            if let Ok(parsed) = Candidate::parse(&line) {
                prop_assert_eq!(Candidate::parse(&parsed.to_string()), Ok(parsed));
            }
        }

        #[test]
        fn no_line_panics(line in any::<String>()) {
            let _ = Candidate::parse(&line);
        }
    }
}
