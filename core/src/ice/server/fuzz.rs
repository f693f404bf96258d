//! The body of the fuzz target `ice_server`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{IceServer, MAX_NAME, MAX_URI, ServerTransport};
use crate::fuzz::text_of;

/// Reads each line of the input as the URI of a server.
///
/// # Panics
///
/// When a rule does not hold.
pub fn ice_server(data: &[u8]) {
    let Some(text) = text_of(data) else { return };
    check(text);
    text.lines().for_each(check);
}

/// What is accepted obeys the RFCs, and is written so that it is read alike.
fn check(uri: &str) {
    let Ok(server) = uri.parse::<IceServer>() else {
        return;
    };
    assert!(uri.len() <= MAX_URI);
    check_grammar(uri, &server);
    let written = server.to_string();
    check_grammar(&written, &server);
    assert_eq!(written, written.to_ascii_lowercase());
    assert_eq!(written.parse::<IceServer>().as_ref(), Ok(&server));
    let json = serde_json::to_string(&server).expect("it has no maps");
    let read: IceServer = serde_json::from_str(&json).expect("as it was written");
    assert_eq!(read, server);
}

/// RFC 7064 section 3.1 and RFC 7065 section 3.1, read from the end: what is not a query, and then a port, is a host.
fn check_grammar(uri: &str, server: &IceServer) {
    let lower = uri.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once(':').expect("a scheme");
    let (rest, query) = match rest.rsplit_once("?transport=") {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let (relay, transport, port) = match (scheme, query) {
        ("stun", None) => (false, ServerTransport::Udp, 3_478),
        ("stuns", None) => (false, ServerTransport::Tls, 5_349),
        ("turn", None | Some("udp")) => (true, ServerTransport::Udp, 3_478),
        ("turn", Some("tcp")) => (true, ServerTransport::Tcp, 3_478),
        ("turns", None | Some("tcp")) => (true, ServerTransport::Tls, 5_349),
        other => panic!("{other:?} of {uri:?}"),
    };
    assert_eq!((server.is_relay(), server.transport()), (relay, transport));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, text)) if digits(text) && !is_in_brackets(rest) => {
            (host, text.parse::<u16>().expect("up to 65535"))
        }
        Some(_) | None => (rest, port),
    };
    assert_ne!(port, 0, "{uri:?}");
    assert_eq!(server.port(), port, "{uri:?}");
    check_host(host);
}

fn is_in_brackets(text: &str) -> bool {
    text.starts_with('[') && text.ends_with(']')
}

/// RFC 3986 section 3.2.2, of which names are only those that DNS may have (RFC 1123 section 2.1, and underscores).
fn check_host(host: &str) {
    if is_in_brackets(host) {
        let literal = &host[1..host.len() - 1];
        literal.parse::<Ipv6Addr>().expect("an IPv6 address");
        return;
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    assert!((1..=MAX_NAME).contains(&name.len()), "{host:?}");
    for label in name.split('.') {
        assert!((1..=63).contains(&label.len()), "{host:?}");
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(label.chars().all(fits), "{host:?}");
    }
    // The URL standard, "ends in a number": resolvers read these as IPv4 addresses.
    let last = name.rsplit('.').next().expect("one at least");
    let number = last.strip_prefix("0x").map_or_else(
        || last.chars().all(|c| c.is_ascii_digit()),
        |hex| hex.chars().all(|c| c.is_ascii_hexdigit()),
    );
    assert!(!number, "{host:?}");
}
