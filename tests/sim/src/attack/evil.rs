//! A peer that knows the protocols, and breaks them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use bowline::PeerId;
use bowline::simulation::{DtlsCert, DtlsInstance, DtlsOutput, DtlsProvider as _, DtlsVersion};
use serde_json::{Value, json};

use crate::null_dtls::NullDtls;
use crate::time::Time;

use super::sctp::{self, Init};
use super::sdp::Description;
use super::stun::{self, Check};
use super::{Attacker, Hands, Heard, Script};

/// A peer that calls the victim, completes ICE and DTLS ([`NullDtls`]) with it, and then sends the SCTP packets that
/// its [`Script`] makes. It does all that a real peer would: it answers checks, heartbeats, channels and stream
/// resets, and acknowledges what comes, until its script tells it not to.
pub struct EvilPeer {
    victim: PeerId,
    script: Box<dyn Script>,
    framed: bool,
    certificate: Vec<u8>,
    ufrag: String,
    password: String,
    session: String,
    /// The candidates that it announces; `None` for its true ones.
    announced: Option<Vec<SocketAddr>>,
    /// The victim's description and address, once it has answered.
    theirs: Option<(Description, SocketAddr)>,
    dtls: Option<Box<dyn DtlsInstance>>,
    dtls_due: Option<Time>,
    check_due: Option<Time>,
    checks: u32,
    script_due: Option<Time>,
    wire: Wire,
    is_up: bool,
    is_over: bool,
}

impl EvilPeer {
    /// A peer that calls `victim` at once, poses as a browser, and runs `script` when the association is up.
    #[must_use]
    pub fn new(victim: PeerId, script: impl Script + 'static) -> Self {
        Self {
            victim,
            script: Box::new(script),
            framed: false,
            certificate: b"the certificate of an evil peer".to_vec(),
            ufrag: "evilufrag".to_owned(),
            password: "anEvilPasswordOfAnEvilPeer1234567".to_owned(),
            session: "e0".repeat(16),
            announced: None,
            theirs: None,
            dtls: None,
            dtls_due: None,
            check_due: None,
            checks: 0,
            script_due: None,
            wire: Wire::new(),
            is_up: false,
            is_over: false,
        }
    }

    /// Poses as a peer that speaks bowline's frames.
    #[must_use]
    pub fn framed(self) -> Self {
        Self {
            framed: true,
            ..self
        }
    }

    /// Announces these candidates instead of its own address.
    #[must_use]
    pub fn announcing(self, candidates: Vec<SocketAddr>) -> Self {
        Self {
            announced: Some(candidates),
            ..self
        }
    }

    fn offer(&self, hands: &Hands<'_>) -> String {
        let sha256 = str0m::crypto::from_feature_flags().sha256_provider;
        let hash = sha256.sha256(&self.certificate);
        let hex: Vec<_> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        let description = Description {
            ufrag: self.ufrag.clone(),
            password: self.password.clone(),
            fingerprint: hex.join(":"),
            setup: "actpass".to_owned(),
            candidates: self
                .announced
                .clone()
                .unwrap_or_else(|| hands.addresses().to_vec()),
            sctp_init: Some(Base64::encode_string(&self.wire.local.encode())),
        };
        let mut offer = self.envelope(hands, 1, "offer");
        offer["sdp"] = description.encode().into();
        if self.framed {
            offer["bowline"] = json!({ "version": 1, "max_message_size": 1 << 20 });
        }
        offer.to_string()
    }

    fn envelope(&self, hands: &Hands<'_>, seq: u32, kind: &str) -> Value {
        json!({
            "v": 1, "from": hands.name(), "to": self.victim, "session": self.session, "generation": 0,
            "seq": seq, "type": kind,
        })
    }

    fn on_answer(&mut self, sdp: &str, hands: &mut Hands<'_>) {
        let Some(description) = Description::decode(sdp) else {
            return;
        };
        let Some(address) = description.candidates.first().copied() else {
            return;
        };
        let init = description.sctp_init.as_deref().and_then(|text| {
            let chunk = Base64::decode_vec(text).ok()?;
            Init::decode(&chunk)
        });
        let Some(init) = init else {
            return;
        };
        self.wire.meet(init);
        let certificate = DtlsCert {
            certificate: self.certificate.clone(),
            private_key: Vec::new(),
        };
        let version = DtlsVersion::Dtls13;
        let dtls = NullDtls.new_dtls(&certificate, hands.instant(), version, None);
        self.dtls = dtls.ok().map(|mut dtls| {
            dtls.set_active(description.setup == "passive");
            dtls
        });
        self.dtls_due = Some(hands.in_a(RETRY));
        self.theirs = Some((description, address));
        self.check(hands);
    }

    /// Sends a check that nominates.
    fn check(&mut self, hands: &mut Hands<'_>) {
        let (Some((theirs, address)), Some(own)) = (&self.theirs, hands.addresses().first()) else {
            return;
        };
        self.checks += 1;
        let mut transaction = *b"evil peer...";
        transaction[8..].copy_from_slice(&self.checks.to_be_bytes());
        let check = Check {
            transaction,
            user_name: format!("{}:{}", theirs.ufrag, self.ufrag),
            password: theirs.password.clone(),
            nominates: true,
        };
        hands.send(*own, *address, check.encode());
        self.check_due = Some(hands.in_a(if self.is_up { KEEPALIVE } else { RETRY }));
    }

    /// Takes what DTLS has to say, and what comes of it.
    fn drain(&mut self, hands: &mut Hands<'_>) {
        let (Some(dtls), Some((_, address)), Some(own)) =
            (&mut self.dtls, &self.theirs, hands.addresses().first())
        else {
            return;
        };
        let (own, address) = (*own, *address);
        let mut buf = vec![0; 65_536];
        loop {
            match dtls.poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => hands.send(own, address, packet.to_vec()),
                DtlsOutput::Connected => {
                    self.is_up = true;
                    self.script_due = Some(hands.now());
                }
                DtlsOutput::ApplicationData(packet) => {
                    self.wire.on_packet(packet);
                }
                DtlsOutput::CloseNotify => self.is_over = true,
                DtlsOutput::Timeout(at) => {
                    let wait = at.saturating_duration_since(hands.instant());
                    self.dtls_due = Some(hands.in_a(wait)).filter(|_| !self.is_up);
                    break;
                }
                DtlsOutput::PeerCert(_) => {}
                // Nothing else is of use here.
                _ => {}
            }
        }
    }

    /// Sends the packets that were made.
    fn flush(&mut self, hands: &mut Hands<'_>) {
        for packet in std::mem::take(&mut self.wire.packets) {
            if let Some(dtls) = &mut self.dtls {
                let _closed = dtls.send_application_data(&packet);
            }
            self.drain(hands);
        }
    }
}

impl Attacker for EvilPeer {
    fn on_start(&mut self, hands: &mut Hands<'_>) {
        let offer = self.offer(hands);
        hands.signal(self.victim, offer);
    }

    fn on_timeout(&mut self, hands: &mut Hands<'_>) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= hands.now());
        let (script, check, dtls) = (
            due(self.script_due),
            due(self.check_due),
            due(self.dtls_due),
        );
        if check {
            self.check(hands);
        }
        if dtls && let Some(dtls) = &mut self.dtls {
            let _failed = dtls.handle_timeout(hands.instant());
            self.drain(hands);
        }
        if script {
            self.script_due = self.script.turn(&mut self.wire, hands.now());
            self.flush(hands);
        }
    }

    fn on_signal(&mut self, text: &str, hands: &mut Hands<'_>) {
        let Ok(signal) = serde_json::from_str::<Value>(text) else {
            return;
        };
        if signal["session"] != self.session.as_str() {
            return;
        }
        if signal["seq"] != 0 {
            let mut ack = self.envelope(hands, 0, "ack");
            ack["ack"] = signal["seq"].clone();
            hands.signal(self.victim, ack.to_string());
        }
        match (signal["type"].as_str(), signal["sdp"].as_str()) {
            (Some("answer"), Some(sdp)) if self.theirs.is_none() => self.on_answer(sdp, hands),
            (Some("bye"), _) => self.is_over = true,
            _ => {}
        }
    }

    fn on_datagram(&mut self, datagram: &Heard<'_>, hands: &mut Hands<'_>) {
        if self.is_over {
            return;
        }
        if let Some(transaction) = stun::check_transaction(datagram.contents) {
            let answer = stun::answer(transaction, datagram.source, &self.password);
            return hands.send(datagram.destination, datagram.source, answer);
        }
        if let (Some(20..=63), Some(dtls)) = (datagram.contents.first(), &mut self.dtls) {
            let _bad = dtls.handle_packet(datagram.contents);
            self.drain(hands);
            self.flush(hands);
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let due = [self.script_due, self.check_due, self.dtls_due];
        due.into_iter()
            .flatten()
            .min()
            .filter(|_| !self.is_over && self.theirs.is_some())
    }
}

impl fmt::Debug for EvilPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvilPeer")
            .field("victim", &self.victim)
            .field("is_up", &self.is_up)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

/// The evil end of an SCTP association: numbers chunks, and collects the packets to send.
#[derive(Debug)]
pub struct Wire {
    local: Init,
    remote: Option<Init>,
    next: u32,
    heard: u32,
    acknowledged: u32,
    resets: u32,
    /// The receive window that acknowledgements announce.
    window: u32,
    is_silent: bool,
    packets: Vec<Vec<u8>>,
}

impl Wire {
    fn new() -> Self {
        let local = Init {
            tag: 0x0e_0e_0e_0e,
            window: WINDOW,
            first: 1,
        };
        Self {
            local,
            remote: None,
            next: local.first,
            heard: 0,
            acknowledged: 0,
            resets: local.first,
            window: local.window,
            is_silent: false,
            packets: Vec::new(),
        }
    }

    /// A DATA chunk with the next number.
    pub fn data(&mut self, data: sctp::Data<'_>) -> Vec<u8> {
        let chunk = data.encode(self.next);
        self.next = self.next.wrapping_add(1);
        chunk
    }

    /// Leaves a number out.
    pub fn skip(&mut self) {
        self.next = self.next.wrapping_add(1);
    }

    /// Sends a packet of chunks.
    pub fn send(&mut self, chunks: &[Vec<u8>]) {
        if let Some(remote) = self.remote {
            self.packets.push(sctp::packet(remote.tag, chunks));
        }
    }

    /// Asks to reset streams of ours.
    pub fn reset(&mut self, streams: &[u16]) {
        let last = self.next.wrapping_sub(1);
        let chunk = sctp::reset_request(self.resets, 0, last, streams);
        self.resets = self.resets.wrapping_add(1);
        self.send(&[chunk]);
    }

    /// Announces a receive window of so many bytes from now on.
    pub fn set_window(&mut self, bytes: u32) {
        self.window = bytes;
    }

    /// Acknowledges nothing any more.
    pub fn fall_silent(&mut self) {
        self.is_silent = true;
    }

    /// How many chunks of the victim have come.
    #[must_use]
    pub fn heard_data(&self) -> u32 {
        let first = self.remote.map_or(1, |remote| remote.first);
        self.heard.wrapping_sub(first).wrapping_add(1)
    }

    /// How many numbers were used that the victim has not acknowledged.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.next.wrapping_sub(self.acknowledged).wrapping_sub(1)
    }

    /// The acknowledgement of a channel that the victim announces (RFC 8832 §5.2).
    fn channel_ack(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let is_dcep = sctp::word(chunk, 12) == Some(sctp::DCEP);
        let is_open = is_dcep && chunk.get(16) == Some(&sctp::CHANNEL_OPEN);
        let [high, low] = *chunk.get(8..)?.first_chunk()?;
        let stream = u16::from_be_bytes([high, low]);
        let ack = [sctp::CHANNEL_ACK];
        is_open.then(|| self.data(sctp::Data::whole(stream, 0, sctp::DCEP, &ack)))
    }

    fn meet(&mut self, remote: Init) {
        self.remote = Some(remote);
        self.heard = remote.first.wrapping_sub(1);
    }

    fn on_packet(&mut self, packet: &[u8]) {
        let mut replies = Vec::new();
        let mut has_data = false;
        for (kind, chunk) in sctp::chunks(packet) {
            match kind {
                sctp::DATA => {
                    has_data = true;
                    let number = sctp::word(chunk, 4).unwrap_or_default();
                    if number == self.heard.wrapping_add(1) {
                        self.heard = number;
                    }
                    replies.extend(self.channel_ack(chunk));
                }
                sctp::SACK => {
                    self.acknowledged = sctp::word(chunk, 4).unwrap_or(self.acknowledged);
                }
                sctp::HEARTBEAT => {
                    let mut reply = chunk.to_vec();
                    reply[0] = sctp::HEARTBEAT_ACK;
                    reply.resize(reply.len().next_multiple_of(4), 0);
                    replies.push(reply);
                }
                sctp::RE_CONFIG => replies.extend(sctp::reset_reply(chunk)),
                _ => {}
            }
        }
        if has_data && !self.is_silent {
            replies.push(sctp::sack(self.heard, self.window));
        }
        if !replies.is_empty() {
            self.send(&replies);
        }
    }
}

/// The receive window that is announced at first.
const WINDOW: u32 = 1 << 20;
/// From one check to the next, while the path is not up.
const RETRY: Duration = Duration::from_millis(200);
/// From one check to the next, afterwards.
const KEEPALIVE: Duration = Duration::from_secs(5);
