//! A race for the DTLS handshake.

use std::fmt;
use std::net::SocketAddr;

use bowline::simulation::{DtlsCert, DtlsInstance, DtlsOutput, DtlsVersion};

use super::{Attacker, Hands, Heard};

/// What an impostor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A ClientHello of its own to the side that accepts the handshake, and what follows from the answers.
    Client,
    /// The answer of a server with another certificate to the side that begins the handshake, and what follows.
    Server,
    /// A fatal alert in clear, to both.
    Alert,
    /// Records of every type whose contents are garbage, to both.
    Garbage,
    /// The datagram that it has just heard with one bit in each eight bytes flipped, to both.
    Damaged,
    /// The first half of the datagram that it has just heard, to both.
    Cut,
    /// The datagram that it has just heard, ten times, to both: to its sender, too.
    Copies,
}

impl Forgery {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Client,
        Self::Server,
        Self::Alert,
        Self::Garbage,
        Self::Damaged,
        Self::Cut,
        Self::Copies,
    ];
}

/// Hears the handshake of two others, and at one of its datagrams forges what the other side could have sent, from its
/// address. With a faster link than theirs it is always first. It speaks real DTLS: see [`Dtls::Real`].
///
/// [`Dtls::Real`]: crate::Dtls::Real
pub struct Impostor {
    ends: [SocketAddr; 2],
    forgery: Forgery,
    step: usize,
    heard: usize,
    /// The side that began the handshake.
    client: Option<SocketAddr>,
    /// The impostor's own end of a handshake.
    dtls: Option<Box<dyn DtlsInstance>>,
}

impl Impostor {
    /// An impostor that forges when it hears the datagram number `step` of DTLS between `a` and `b`, counted from 0.
    #[must_use]
    pub fn new(a: SocketAddr, b: SocketAddr, forgery: Forgery, step: usize) -> Self {
        Self {
            ends: [a, b],
            forgery,
            step,
            heard: 0,
            client: None,
            dtls: None,
        }
    }

    fn begin(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        let heard = datagram.contents;
        match self.forgery {
            Forgery::Client | Forgery::Server => {
                self.dtls = instance(hands, self.forgery == Forgery::Client);
            }
            Forgery::Alert => self.send_to_both(&alert(), hands),
            Forgery::Garbage => {
                for kind in 20..=26 {
                    self.send_to_both(&record(kind), hands);
                }
                // The unified header of DTLS 1.3 (RFC 9147 §4).
                self.send_to_both(&[0x2f; 60], hands);
            }
            Forgery::Damaged => {
                let flip = |(n, byte): (usize, &u8)| byte ^ u8::from(n % 8 == 7);
                let damaged: Vec<_> = heard.iter().enumerate().map(flip).collect();
                self.send_to_both(&damaged, hands);
            }
            Forgery::Cut => self.send_to_both(&heard[..heard.len() / 2], hands),
            Forgery::Copies => {
                for _ in 0..10 {
                    self.send_to_both(heard, hands);
                }
            }
        }
    }

    /// Goes on with a handshake of its own: takes what its victim said, and says what follows.
    fn go_on(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        let Some(victim) = self.victim() else {
            return;
        };
        let [a, b] = self.ends;
        let posed_as = if victim == a { b } else { a };
        let Some(dtls) = &mut self.dtls else {
            return;
        };
        let _failed = dtls.handle_timeout(hands.instant());
        if datagram.source == victim {
            let _failed = dtls.handle_packet(datagram.contents);
        }
        let mut buf = vec![0; 65_536];
        // A handshake takes fewer. The bound is for one that has failed.
        for _ in 0..64 {
            match dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => hands.send(posed_as, victim, packet.to_vec()),
                DtlsOutput::Timeout(_) => break,
                _ => {}
            }
        }
    }

    /// With whom the impostor shakes hands.
    fn victim(&self) -> Option<SocketAddr> {
        let client = self.client?;
        let wants_client = self.forgery == Forgery::Server;
        let is_victim = |end: &&SocketAddr| (**end == client) == wants_client;
        self.ends.iter().find(is_victim).copied()
    }

    fn send_to_both(&self, contents: &[u8], hands: &mut Hands<'_>) {
        let [a, b] = self.ends;
        hands.send(a, b, contents.to_vec());
        hands.send(b, a, contents.to_vec());
    }
}

impl Attacker for Impostor {
    fn overhear_datagram(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        let between = [datagram.source, datagram.destination];
        let is_theirs = between.iter().all(|end| self.ends.contains(end));
        if !is_theirs || !matches!(datagram.contents.first(), Some(20..=63)) {
            return;
        }
        self.client.get_or_insert(datagram.source);
        if self.heard == self.step {
            self.begin(datagram, hands);
        }
        self.heard += 1;
        self.go_on(datagram, hands);
    }
}

impl fmt::Debug for Impostor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impostor")
            .field("forgery", &self.forgery)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// An end of a handshake with a certificate of its own.
fn instance(hands: &Hands<'_>, active: bool) -> Option<Box<dyn DtlsInstance>> {
    let provider = str0m::crypto::from_feature_flags().dtls_provider;
    let certificate: DtlsCert = provider.generate_certificate()?;
    let version = DtlsVersion::Auto;
    let mut dtls = provider
        .new_dtls(&certificate, hands.instant(), version, None)
        .ok()?;
    dtls.set_active(active);
    Some(dtls)
}

/// handshake_failure, fatal.
fn alert() -> Vec<u8> {
    let mut alert = vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2];
    alert.extend([2, 40]);
    alert
}

/// A record of DTLS 1.2 of one type, with garbage in it.
fn record(kind: u8) -> Vec<u8> {
    let mut record = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 100];
    record.extend((0..100_u8).map(|n| n.wrapping_mul(37)));
    record
}
