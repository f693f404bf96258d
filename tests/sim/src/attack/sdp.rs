//! Descriptions by hand.

use std::net::SocketAddr;

/// What a description of a data channel peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The ICE user name fragment.
    pub ufrag: String,
    /// The ICE password.
    pub password: String,
    /// The certificate's fingerprint, after `sha-256`.
    pub fingerprint: String,
    /// `actpass`, `active` or `passive`.
    pub setup: String,
    /// The candidates.
    pub candidates: Vec<SocketAddr>,
    /// The SCTP INIT chunk (SNAP), in Base64.
    pub sctp_init: Option<String>,
}

impl Description {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut lines = vec![
            "v=0".to_owned(),
            "o=- 4611731400430051336 2 IN IP4 127.0.0.1".to_owned(),
            "s=-".to_owned(),
            "t=0 0".to_owned(),
            "a=group:BUNDLE 0".to_owned(),
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel".to_owned(),
            "c=IN IP4 0.0.0.0".to_owned(),
            format!("a=ice-ufrag:{}", self.ufrag),
            format!("a=ice-pwd:{}", self.password),
            "a=ice-options:trickle".to_owned(),
            format!("a=fingerprint:sha-256 {}", self.fingerprint),
            format!("a=setup:{}", self.setup),
            "a=mid:0".to_owned(),
            "a=sctp-port:5000".to_owned(),
            "a=max-message-size:262144".to_owned(),
        ];
        lines.extend(
            self.sctp_init
                .iter()
                .map(|init| format!("a=sctp-init:{init}")),
        );
        let candidates = self.candidates.iter().enumerate();
        lines.extend(candidates.map(|(n, at)| format!("a={}", candidate(n, *at))));
        lines.push(String::new());
        lines.join("\r\n")
    }

    /// Reads what an endpoint of bowline wrote.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        let address = |line: &str| -> Option<SocketAddr> {
            let mut words = line.strip_prefix("a=candidate:")?.split(' ').skip(4);
            let ip = words.next()?.parse().ok()?;
            Some(SocketAddr::new(ip, words.next()?.parse().ok()?))
        };
        Some(Self {
            ufrag: value("a=ice-ufrag:")?,
            password: value("a=ice-pwd:")?,
            fingerprint: value("a=fingerprint:sha-256 ")?,
            setup: value("a=setup:")?,
            candidates: text.lines().filter_map(address).collect(),
            sctp_init: value("a=sctp-init:"),
        })
    }
}

/// The line of a host candidate, without `a=`.
#[must_use]
pub fn candidate(number: usize, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!("candidate:{number} 1 udp 2130706431 {ip} {port} typ host")
}
