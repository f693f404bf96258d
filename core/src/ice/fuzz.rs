//! The bodies of the fuzz targets `candidate` and `candidate_differential`.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;
use crate::event::CandidateRefusal;
use crate::fuzz::text_of;

use super::candidate::{Address, Candidate, CandidateError, Kind};
use super::{AddressPolicy, Admitted, RemoteCandidates};

/// Reads each line of the input as a candidate, and lets policy decide on all of them.
///
/// # Panics
///
/// When a rule does not hold.
pub fn candidate(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    check_line(text);
    let policy = AddressPolicy::new(&Config::default());
    let mut admitted: Vec<SocketAddr> = Vec::new();
    let mut candidates = RemoteCandidates::new(policy, "abcd", MAX);
    let mut named_so_far = 0;
    for line in text.lines() {
        check_line(line);
        let accepted = match candidates.admit(line) {
            Ok(Admitted::Address(accepted)) => accepted,
            Ok(Admitted::Name(named)) => {
                named_so_far += 1;
                assert!(admitted.len() + named_so_far <= MAX);
                assert!(candidates.is_of(&named));
                continue;
            }
            Err(_) => continue,
        };
        let ip = accepted.address.ip();
        assert!(!ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified());
        assert_eq!(ip, ip.to_canonical(), "no filter is passed around");
        assert!(!admitted.contains(&accepted.address), "no duplicates");
        assert!(candidates.contains(accepted.address));
        admitted.push(accepted.address);
        assert!(admitted.len() + named_so_far <= MAX);
    }
    candidates.end();
    assert_eq!(candidates.admit(text), Err(CandidateRefusal::AfterEnd));
}

/// What is read is written so that it is read alike, in one line.
fn check_line(line: &str) {
    let Ok(read) = Candidate::parse(line) else {
        return;
    };
    let written = read.to_string();
    assert!(!written.bytes().any(|b| b.is_ascii_control()));
    assert_eq!(Candidate::parse(&written).as_ref(), Ok(&read));
    assert_eq!(Candidate::parse(&format!("a={written}")), Ok(read));
}

const MAX: usize = 4;

/// Reads each line of the input as str0m does too.
///
/// # Panics
///
/// When the two disagree for no known reason.
pub fn candidate_differential(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    for line in text.lines() {
        let _ = difference(line);
    }
}

/// Why str0m reads something else than we do. Only we are strict, as RFC 8839 section 5.1 has it, and only we take
/// host names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// We have a limit on the length.
    TooLong,
    /// It takes tabs, line breaks and every other white space of Unicode for a space, and several for one.
    Spacing,
    /// It takes any foundation.
    Foundation,
    /// It takes the component 0 and those over 256, and a plus sign.
    Component,
    /// It takes the priority 0 and those over 2^31 - 1, and a plus sign.
    Priority,
    /// It takes a plus sign before a port.
    Port,
    /// It knows `ssltcp` and `tls`.
    Transport,
    /// It takes the TCP type in either case.
    TcpType,
    /// It takes any user name fragment.
    Ufrag,
    /// It does not take host names.
    HostName,
}

impl Difference {
    /// The reason for which we refuse what str0m takes.
    fn of(error: CandidateError, line: &str) -> Option<Self> {
        if is_spaced_oddly(line) {
            return Some(Self::Spacing);
        }
        match error {
            CandidateError::TooLong => Some(Self::TooLong),
            CandidateError::Control => Some(Self::Spacing),
            CandidateError::Foundation => Some(Self::Foundation),
            CandidateError::Component => Some(Self::Component),
            CandidateError::Priority => Some(Self::Priority),
            CandidateError::Port => Some(Self::Port),
            CandidateError::UnknownTransport => Some(Self::Transport),
            CandidateError::TcpType => Some(Self::TcpType),
            CandidateError::Extension => Some(Self::Ufrag),
            CandidateError::Incomplete
            | CandidateError::Address
            | CandidateError::Typ
            | CandidateError::UnknownType => None,
        }
    }
}

/// The difference, if there is one.
fn difference(line: &str) -> Option<Difference> {
    let line = line.strip_prefix("a=").unwrap_or(line);
    let line = line.strip_prefix("candidate:").unwrap_or(line);
    let line = format!("candidate:{line}");
    let theirs = str0m::Candidate::from_sdp_string(&line);
    match (Candidate::parse(&line), theirs) {
        (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) => {
            let reason = Difference::of(error, &line);
            assert!(reason.is_some(), "only str0m takes {line:?}: {error}");
            reason
        }
        (Ok(_), Err(error)) => {
            let reason = if names_a_host(&line) {
                Difference::HostName
            } else {
                assert!(is_spaced_oddly(&line), "str0m refuses {line:?}: {error}");
                Difference::Spacing
            };
            Some(reason)
        }
        (Ok(_), Ok(_)) if is_spaced_oddly(&line) => Some(Difference::Spacing),
        (Ok(ours), Ok(theirs)) => {
            assert_same(&ours, &theirs);
            None
        }
    }
}

/// As the address, or as a related address, of which we take the last.
fn names_a_host(line: &str) -> bool {
    let fields: Vec<&str> = line.split(' ').collect();
    let related = fields.windows(2).filter(|pair| pair[0] == "raddr");
    let mut addresses = related.map(|pair| pair[1]).chain(fields.get(4).copied());
    addresses.any(|address| address.parse::<IpAddr>().is_err())
}

fn is_spaced_oddly(line: &str) -> bool {
    let other = |c: char| c.is_whitespace() && c != ' ';
    line.contains(other) || line.contains("  ") || line.contains("candidate: ")
}

fn assert_same(ours: &Candidate, theirs: &str0m::Candidate) {
    let kind = match ours.kind {
        Kind::Host => str0m::CandidateKind::Host,
        Kind::ServerReflexive => str0m::CandidateKind::ServerReflexive,
        Kind::PeerReflexive => str0m::CandidateKind::PeerReflexive,
        Kind::Relay => str0m::CandidateKind::Relayed,
    };
    assert_eq!(theirs.kind(), kind);
    assert_eq!(theirs.prio(), ours.priority);
    assert_eq!(theirs.ufrag(), ours.ufrag());
    assert_eq!(theirs.proto().to_string(), ours.transport.to_string());
    let address = theirs.addr();
    assert_eq!(Address::Ip(address.ip().to_canonical()), ours.address);
    assert_eq!(address.port(), ours.port);
    // What it does not show, it writes: foundation, component and related address.
    let written = Candidate::parse(&theirs.to_sdp_string()).expect("as we have read it");
    let common = Candidate {
        generation: None,
        related_address: ours
            .related_address
            .clone()
            .filter(|_| ours.related_port.is_some()),
        related_port: ours.related_port.filter(|_| ours.related_address.is_some()),
        ..ours.clone()
    };
    assert_eq!(written, common);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_known_difference_from_str0m_has_an_example() {
        let long = format!("1 1 udp 1 192.0.2.1 5 typ host x {}", "y".repeat(1_024));
        let examples = [
            (long.as_str(), Difference::TooLong),
            ("1 1 udp 1 192.0.2.1 5  typ host", Difference::Spacing),
            ("1 1 udp 1 192.0.2.1\t5 typ host", Difference::Spacing),
            ("a-b 1 udp 1 192.0.2.1 5 typ host", Difference::Foundation),
            ("1 257 udp 1 192.0.2.1 5 typ host", Difference::Component),
            ("1 1 udp 0 192.0.2.1 5 typ host", Difference::Priority),
            ("1 1 udp 1 192.0.2.1 +5 typ host", Difference::Port),
            ("1 1 tls 1 192.0.2.1 5 typ host", Difference::Transport),
            (
                "1 1 tcp 1 192.0.2.1 5 typ host tcptype ACTIVE",
                Difference::TcpType,
            ),
            (
                "1 1 udp 1 192.0.2.1 5 typ host ufrag a-b",
                Difference::Ufrag,
            ),
            ("1 1 udp 1 name.local 5 typ host", Difference::HostName),
        ];
        for (line, expected) in examples {
            assert_eq!(difference(line), Some(expected), "{line}");
        }
        assert_eq!(difference("1 1 udp 1 192.0.2.1 5 typ host"), None);
    }
}
