//! STUN and TURN servers, as URIs name them (RFC 7064, RFC 7065).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::time::UnixTime;

/// A STUN or TURN server.
///
/// ```
/// use bowline::IceServer;
///
/// let stun: IceServer = "stun:stun.example.org".parse()?;
/// let turn: IceServer = "turns:turn.example.org:443".parse()?;
/// let turn = turn.credentials("alice", "correct horse")?;
/// assert_eq!(turn.to_string(), "turns:turn.example.org:443?transport=tcp");
/// # Ok::<(), bowline::IceServerError>(())
/// ```
///
/// `stun:` and `turn:` speak UDP unless `?transport=tcp` says otherwise; `stuns:` and `turns:` speak TLS over TCP. TURN
/// over DTLS is not supported. The password is shown by no `Debug`, and no recording holds it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IceServer {
    relay: bool,
    host: Host,
    port: u16,
    transport: ServerTransport,
    credentials: Option<Credentials>,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, in lower case, to be resolved.
    Name(String),
}

/// A user name and password (RFC 8489 section 9.2).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    /// Never written anywhere: a server that is read back has none.
    #[serde(skip)]
    pub(crate) password: String,
}

impl IceServer {
    /// Sets the user name and password of the long-term credential mechanism (RFC 8489 section 9.2), which TURN needs.
    ///
    /// Time-limited credentials of a REST service are a user name `<expiry>:<name>`, the expiry in seconds since 1970, with
    /// the password that belongs to it; [`IceServer::expires`] reads the expiry back.
    ///
    /// # Errors
    ///
    /// [`IceServerError::Credentials`] for a STUN server, an empty user name or password, or a user name of 509 bytes or
    /// more (RFC 8489 section 14.3).
    pub fn credentials(
        self,
        username: impl Into<String>,
        password: impl Into<String>,
    ) -> Result<Self, IceServerError> {
        let (username, password) = (username.into(), password.into());
        let fits = (1..MAX_USERNAME).contains(&username.len()) && !password.is_empty();
        if !self.relay || !fits {
            return Err(IceServerError::Credentials);
        }
        Ok(Self {
            credentials: Some(Credentials { username, password }),
            ..self
        })
    }

    /// Whether it relays: TURN, not STUN alone.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        self.relay
    }

    /// How it is spoken to.
    #[must_use]
    pub fn transport(&self) -> ServerTransport {
        self.transport
    }

    /// When the credentials end, if the user name says so as those of REST services do.
    #[must_use]
    pub fn expires(&self) -> Option<UnixTime> {
        let (expiry, _) = self.credentials.as_ref()?.username.split_once(':')?;
        let seconds = expiry.parse().ok()?;
        Some(UnixTime::from_duration(Duration::from_secs(seconds)))
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn login(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Checks what only shows when a server is put to use.
    ///
    /// # Errors
    ///
    /// [`IceServerError::Credentials`] for a TURN server without any.
    pub(crate) fn check(&self) -> Result<(), IceServerError> {
        if self.relay && self.credentials.is_none() {
            return Err(IceServerError::Credentials);
        }
        Ok(())
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    /// Reads a URI of RFC 7064 section 3.1 or RFC 7065 section 3.1.
    fn from_str(uri: &str) -> Result<Self, IceServerError> {
        if uri.len() > MAX_URI {
            return Err(IceServerError::TooLong);
        }
        let (scheme, rest) = uri.split_once(':').ok_or(IceServerError::Scheme)?;
        let (relay, secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "stuns" => (false, true),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return Err(IceServerError::Scheme),
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) if relay => (authority, Some(query)),
            Some(_) => return Err(IceServerError::Transport),
            None => (rest, None),
        };
        let transport = match (query.map(str::to_ascii_lowercase).as_deref(), secure) {
            (None | Some("transport=tcp"), true) => ServerTransport::Tls,
            (None | Some("transport=udp"), false) => ServerTransport::Udp,
            (Some("transport=tcp"), false) => ServerTransport::Tcp,
            (Some(_), _) => return Err(IceServerError::Transport),
        };
        let (host, port) = split_port(authority)?;
        Ok(Self {
            relay,
            host: Host::parse(host)?,
            port: match port {
                Some(port) => parse_port(port)?,
                None if secure => 5_349,
                None => 3_478,
            },
            transport,
            credentials: None,
        })
    }
}

impl fmt::Display for IceServer {
    /// The URI with its port and, for TURN, its transport. No credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = self.transport == ServerTransport::Tls;
        let scheme = match (self.relay, secure) {
            (false, false) => "stun",
            (false, true) => "stuns",
            (true, false) => "turn",
            (true, true) => "turns",
        };
        write!(f, "{scheme}:{}:{}", self.host, self.port)?;
        match self.transport {
            _ if !self.relay => Ok(()),
            ServerTransport::Udp => f.write_str("?transport=udp"),
            ServerTransport::Tcp | ServerTransport::Tls => f.write_str("?transport=tcp"),
        }
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceServer({self}")?;
        if let Some(credentials) = &self.credentials {
            write!(f, " as {:?}", credentials.username)?;
        }
        f.write_str(")")
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, IceServerError> {
        if let Some(literal) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            let ip: Ipv6Addr = literal.parse().map_err(|_| IceServerError::Host)?;
            return Ok(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(IpAddr::V4(ip)));
        }
        // A name that ends in a number, decimal or not, is a mistyped address, as everywhere on the web.
        let is_numeric = |label: &str| match label.split_at_checked(2) {
            Some(("0x" | "0X", hex)) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
            Some(_) | None => label.bytes().all(|b| b.is_ascii_digit()),
        };
        let text = text.strip_suffix('.').unwrap_or(text);
        let labels_fit = text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
        let last = text.rsplit('.').next().unwrap_or_default();
        if text.len() > MAX_NAME || !labels_fit || is_numeric(last) {
            return Err(IceServerError::Host);
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl Host {
    /// What a certificate of this host is for: without brackets.
    pub(crate) fn tls_name(&self) -> String {
        match self {
            Self::Ip(ip) => ip.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, ..)", self.username)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.password);
    }
}

/// The colon before a port is the last one, and outside of the brackets of an IPv6 address.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), IceServerError> {
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => {
            (&authority[..at], Some(&authority[at + 1..]))
        }
        Some(_) | None => (authority, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(IceServerError::Host);
    }
    Ok((host, port))
}

fn parse_port(text: &str) -> Result<u16, IceServerError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(IceServerError::Port),
    }
}

/// A server that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// The URI is longer than 512 bytes.
    #[error("the uri is longer than {MAX_URI} bytes")]
    TooLong,
    /// The scheme is not `stun`, `stuns`, `turn` or `turns`.
    #[error("the scheme is not stun, stuns, turn or turns")]
    Scheme,
    /// The host is neither an address nor a name. IPv6 addresses stand in brackets.
    #[error("the host is neither an address nor a name")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The transport is unknown, not supported with this scheme, or given to a STUN server.
    #[error("the transport is not supported with this scheme")]
    Transport,
    /// A TURN server without credentials, a STUN server with some, or credentials that are empty or too long.
    #[error("a turn server needs a user name and a password, and a stun server takes none")]
    Credentials,
    /// More servers than [`Limits::max_ice_servers`](crate::config::Limits::max_ice_servers).
    #[error("more ice servers than the limit")]
    TooMany,
}

/// The longest URI, in bytes.
const MAX_URI: usize = 512;
/// The longest name (RFC 1035 section 2.3.4), in bytes.
const MAX_NAME: usize = 253;
/// RFC 8489 section 14.3: USERNAME is less than 509 bytes.
const MAX_USERNAME: usize = 509;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(uri: &str) -> Result<String, IceServerError> {
        uri.parse::<IceServer>().map(|server| server.to_string())
    }

    #[test]
    fn uris_of_both_rfcs_are_read_with_their_defaults() {
        for (uri, expected) in [
            ("stun:example.org", "stun:example.org:3478"),
            ("STUN:Example.ORG:8000", "stun:example.org:8000"),
            ("stuns:example.org", "stuns:example.org:5349"),
            ("turn:192.0.2.1", "turn:192.0.2.1:3478?transport=udp"),
            (
                "turn:example.org?transport=udp",
                "turn:example.org:3478?transport=udp",
            ),
            (
                "turn:example.org:8000?transport=TCP",
                "turn:example.org:8000?transport=tcp",
            ),
            ("turns:example.org", "turns:example.org:5349?transport=tcp"),
            (
                "turns:example.org?transport=tcp",
                "turns:example.org:5349?transport=tcp",
            ),
            ("stun:[2001:db8::1]:9", "stun:[2001:db8::1]:9"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]:3478"),
            ("stun:[::ffff:192.0.2.1]", "stun:192.0.2.1:3478"),
            ("stun:example.org.", "stun:example.org:3478"),
        ] {
            assert_eq!(read(uri).as_deref(), Ok(expected), "{uri}");
        }
    }

    #[test]
    fn each_broken_rule_has_its_error() {
        for (uri, expected) in [
            ("", IceServerError::Scheme),
            ("example.org", IceServerError::Scheme),
            ("http:example.org", IceServerError::Scheme),
            ("stun:", IceServerError::Host),
            ("stun://example.org", IceServerError::Host),
            ("stun:a..b", IceServerError::Host),
            ("stun:1.2.3", IceServerError::Host),
            ("stun:1.2.3.256", IceServerError::Host),
            ("stun:0x7f000001", IceServerError::Host),
            ("stun:127.0.0.0X1", IceServerError::Host),
            ("stun:2001:db8::1", IceServerError::Host),
            ("stun:[192.0.2.1]", IceServerError::Host),
            ("stun:[fe80::1%eth0]", IceServerError::Host),
            ("stun:user@example.org", IceServerError::Host),
            ("stun:exa mple.org", IceServerError::Host),
            ("stun:example.org:", IceServerError::Port),
            ("stun:example.org:0", IceServerError::Port),
            ("stun:example.org:+1", IceServerError::Port),
            ("stun:example.org:65536", IceServerError::Port),
            ("stun:example.org?transport=udp", IceServerError::Transport),
            ("turn:example.org?transport=sctp", IceServerError::Transport),
            ("turn:example.org?", IceServerError::Transport),
            ("turns:example.org?transport=udp", IceServerError::Transport),
        ] {
            assert_eq!(read(uri), Err(expected), "{uri}");
        }
    }

    #[test]
    fn lengths_are_accepted_at_their_bounds_and_not_beyond() {
        let name = |len: usize| format!("stun:{}", "a.".repeat(len / 2) + &"b".repeat(len % 2));
        assert!(read(&name(MAX_NAME)).is_ok());
        assert_eq!(read(&name(MAX_NAME + 2)), Err(IceServerError::Host));
        assert_eq!(read(&name(MAX_URI)), Err(IceServerError::TooLong));
        let turn: IceServer = "turn:example.org".parse().expect("valid");
        let longest = "u".repeat(MAX_USERNAME - 1);
        assert!(turn.clone().credentials(longest.clone(), "p").is_ok());
        for (username, password) in [(longest + "u", "p"), (String::new(), "p"), ("u".into(), "")] {
            let refused = turn.clone().credentials(username, password);
            assert_eq!(refused, Err(IceServerError::Credentials));
        }
    }

    #[test]
    fn turn_needs_credentials_and_stun_takes_none() {
        let server = |uri: &str| uri.parse::<IceServer>().expect("valid");
        assert_eq!(server("turn:a").check(), Err(IceServerError::Credentials));
        assert_eq!(server("stun:a").check(), Ok(()));
        let refused = server("stun:a").credentials("u", "p");
        assert_eq!(refused, Err(IceServerError::Credentials));
        let accepted = server("turn:a").credentials("u", "p").expect("fits");
        assert_eq!(accepted.check(), Ok(()));
    }

    #[test]
    fn time_limited_credentials_tell_when_they_end() {
        let server = |username: &str| {
            let server: IceServer = "turn:a".parse().expect("valid");
            server.credentials(username, "p").expect("fits").expires()
        };
        assert_eq!(
            server("1700000000:alice"),
            Some(UnixTime::from_millis(1_700_000_000_000))
        );
        assert_eq!(server("alice"), None);
        assert_eq!(server("alice:1700000000"), None);
    }

    #[test]
    fn a_password_is_neither_shown_nor_written() {
        let server: IceServer = "turn:a".parse().expect("valid");
        let server = server.credentials("u", "correct horse").expect("fits");
        let written = serde_json::to_string(&server).expect("written");
        assert!(!format!("{server:?} {server} {written}").contains("horse"));
        let read: IceServer = serde_json::from_str(&written).expect("read");
        assert_eq!(read.to_string(), server.to_string());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_written_is_read_alike(text in "(stun|stuns|turn|turns):\\PC{0,40}") {
            if let Ok(server) = text.parse::<IceServer>() {
                prop_assert_eq!(server.to_string().parse(), Ok(server));
            }
        }
    }
}
