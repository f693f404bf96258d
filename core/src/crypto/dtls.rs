//! The DTLS instance that str0m drives: dimpl (or a simulator's), with watched time, bounded input and repaired SCTP.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, ProtocolVersion,
};
use str0m_proto::crypto::{CryptoError, DtlsVersion};

use super::attempt::Attempts;
use super::guard::{SctpGuard, Verdict};
use super::retransmitted::Sent;
use super::sctp::{self, Repairs, chunks};
use super::timer::Timer;
use super::{Maker, Shared};

/// A DTLS instance between str0m and the one that does the work.
///
/// - Time passes through a [`Timer`].
/// - A handshake that somebody else has got into is begun anew, see [`attempt`](super::attempt).
/// - What is received passes the [`SctpGuard`]; after a fault nothing is passed on.
/// - What was received is handed up in one go, so that SCTP acknowledges once for several packets. While one is missing
///   it is one at a time: the sender repeats at once what three acknowledgements miss (RFC 9260 section 7.2.4).
/// - What is sent is repaired, see [`sctp`], and refused until the handshake is done, so that it waits in SCTP, where it
///   has its place, and not in a second queue behind it.
/// - When the [`Window`](super::window::Window) has grown, our last acknowledgement is sent again.
/// - Output that does not fit the caller's buffer is shortened or dropped: str0m's is fixed, and it would ask again
///   for ever. dimpl panics when a peer's certificate does not fit (both versions), so its output goes to a
///   buffer of ours that holds any certificate that can have been received.
pub(super) struct Instance {
    dtls: Box<dyn DtlsInstance>,
    maker: Maker,
    attempts: Attempts,
    active: bool,
    timer: Timer,
    guard: SctpGuard,
    sent: Sent,
    shared: Arc<Shared>,
    connected: bool,
    /// Whether SCTP is to acknowledge before it is given more.
    pauses: bool,
    /// What the instance puts out. At least as long as all that came in before the handshake was done.
    output: Vec<u8>,
    /// Our last acknowledgement, if it announced less than the stack below wanted to, as that wanted it.
    lowered: Option<Vec<u8>>,
    /// A packet on its way out, repaired.
    repaired: Vec<u8>,
    /// The longest plaintext that fits one datagram.
    max_plaintext: usize,
}

impl Instance {
    pub(super) fn new(
        maker: Maker,
        guard: SctpGuard,
        shared: Arc<Shared>,
        now: Instant,
    ) -> Result<Self, CryptoError> {
        Ok(Self {
            dtls: maker.make(now)?,
            attempts: Attempts::new(),
            active: false,
            timer: Timer::new(maker.retry, now),
            guard,
            sent: Sent::default(),
            shared,
            connected: false,
            pauses: false,
            output: vec![0; USUAL_OUTPUT],
            lowered: None,
            repaired: Vec::new(),
            max_plaintext: maker.mtu.saturating_sub(MAX_RECORD_OVERHEAD),
            maker,
        })
    }

    /// Makes a fresh attempt at the handshake in place of the present one.
    fn restart(&mut self) {
        let now = self.timer.now();
        let Ok(mut dtls) = self.maker.make(now) else {
            return;
        };
        tracing::debug!("the dtls handshake begins anew");
        dtls.set_active(self.active);
        self.timer = Timer::new(self.maker.retry, now);
        // An instance must have been told the time before it hears anything.
        let _not_begun = dtls.handle_timeout(now);
        self.dtls = dtls;
    }

    fn handle_handshake_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if packet.len() > MAX_HANDSHAKE_DATAGRAM {
            tracing::trace!(len = packet.len(), "drop an oversized handshake datagram");
            return Ok(());
        }
        // str0m passes an empty one to start the handshake.
        let now = self.timer.now();
        if !self.active && !packet.is_empty() && self.attempts.on_datagram(packet, now) {
            self.restart();
        }
        self.make_room_for_certificate(packet.len());
        // An error tells of the packet, which may be anybody's: the attempt goes on.
        self.dtls.handle_packet(packet)
    }

    /// Repeats the last acknowledgement with the window that there is now.
    fn announce_window(&mut self) {
        let Some(packet) = self.lowered.as_deref().and_then(sctp::acknowledgement) else {
            return;
        };
        // It is sent, and looked at, as if the stack below had sent it. A failure is as a loss: the sender asks by itself.
        let _ = self.send_application_data(&packet);
    }

    fn hold(&self) -> bool {
        self.shared.hold_retransmissions.load(Ordering::Relaxed)
    }

    fn make_room_for_certificate(&mut self, received: usize) {
        let len = self
            .output
            .len()
            .saturating_add(received)
            .min(MAX_HANDSHAKE_INPUT);
        self.output.resize(len, 0);
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.active = active;
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if self.connected {
            self.dtls.handle_packet(packet)
        } else {
            self.handle_handshake_packet(packet)
        }
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let hold = self.hold();
        if let Some(der) = self.attempts.refused_certificate(self.timer.now()) {
            return self.shared.show(&der, buf);
        }
        if std::mem::take(&mut self.pauses) {
            return DtlsOutput::Timeout(self.timer.now());
        }
        loop {
            match self.dtls.poll_output(&mut self.output) {
                DtlsOutput::BufferTooSmall { needed } => {
                    if needed <= self.output.len() || needed > MAX_RECORD {
                        return DtlsOutput::BufferTooSmall { needed };
                    }
                    self.output.resize(needed, 0);
                }
                DtlsOutput::Packet(packet) => {
                    self.timer.on_packet_sent();
                    self.attempts.on_answer();
                    let fits = packet.len() <= buf.len();
                    if fits && self.connected && self.shared.convoy.join(packet) {
                        continue;
                    }
                    match copy(packet, buf) {
                        Some(len) => return DtlsOutput::Packet(&buf[..len]),
                        None => tracing::debug!(len = packet.len(), "drop an oversized record"),
                    }
                }
                DtlsOutput::ApplicationData(data) => {
                    if let Some(len) =
                        admit(data, &mut self.guard, &self.shared, &mut self.repaired, buf)
                    {
                        self.pauses = self.guard.misses_data();
                        return DtlsOutput::ApplicationData(&buf[..len]);
                    }
                }
                DtlsOutput::PeerCert(der) => {
                    let is_wrong = !self.shared.is_expected(der);
                    if is_wrong {
                        self.shared.on_wrong_certificate();
                    }
                    if is_wrong && self.attempts.on_wrong_certificate(der, self.timer.now()) {
                        self.restart();
                        continue;
                    }
                    return self.shared.show(der, buf);
                }
                DtlsOutput::Connected => {
                    self.connected = true;
                    self.attempts = Attempts::new();
                    self.output = vec![0; USUAL_OUTPUT];
                    return DtlsOutput::Connected;
                }
                DtlsOutput::KeyingMaterial(keys, profile) => {
                    return DtlsOutput::KeyingMaterial(keys, profile);
                }
                DtlsOutput::CloseNotify => return DtlsOutput::CloseNotify,
                DtlsOutput::Timeout(_) if self.shared.window.is_update_due() => {
                    self.announce_window();
                }
                DtlsOutput::Timeout(deadline) => {
                    let at = self.timer.poll_timeout(deadline, hold);
                    let due = self.attempts.poll_timeout(self.active);
                    return DtlsOutput::Timeout(due.map_or(at, |due| at.min(due)));
                }
                // The enum is open. What it may hold one day is not known to matter.
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        let hold = self.hold();
        let inner = self.timer.handle_timeout(now, hold);
        if !self.connected && self.active && self.attempts.on_time(now, hold) {
            self.restart();
            return Ok(());
        }
        match inner {
            Some(inner) => self.dtls.handle_timeout(inner),
            None => Ok(()),
        }
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        if !self.connected {
            return Ok(0);
        }
        let in_use = self.shared.marker_in_use.load(Ordering::Relaxed);
        let window = self.shared.window.room();
        let repairs = Repairs {
            marker: in_use.then_some(&self.shared.marker),
            limit: self.max_plaintext,
            window,
        };
        let suspect = in_use || data.len() > self.max_plaintext || window < u32::MAX;
        let repaired = suspect && sctp::repair(data, repairs, &mut self.repaired);
        let packet = if repaired { &self.repaired } else { data };
        let sent = match self.dtls.send_application_data(packet) {
            // It has room again when what waits there is taken. Until then SCTP keeps this.
            Err(DtlsImplError::TransmitQueueFull) => 0,
            sent => sent?,
        };
        if sent != packet.len() {
            return Ok(0);
        }
        self.shared.retransmitted.add(self.sent.on_packet(data));
        if let Some(wanted) = self.guard.on_sent(data) {
            let is_lowered = self.shared.window.on_announced(wanted);
            self.lowered = is_lowered.then(|| data.to_vec());
        }
        Ok(data.len())
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("dtls", &self.dtls)
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

/// Copies received `data` to `buf` if the guard lets it pass, and says how long it is.
fn admit(
    data: &[u8],
    guard: &mut SctpGuard,
    shared: &Shared,
    repaired: &mut Vec<u8>,
    buf: &mut [u8],
) -> Option<usize> {
    if shared.fault.get().is_some() {
        return None;
    }
    if shared.window.is_shut() && chunks(data).any(|chunk| chunk.data().is_some()) {
        tracing::trace!("drop what there is no room for");
        shared.window.on_dropped();
        return None;
    }
    match guard.handle_packet(data, shared.delivered.load(Ordering::Relaxed)) {
        Ok(Verdict::Pass) => {}
        Ok(Verdict::Drop) => {
            tracing::trace!("drop what is too far ahead");
            return None;
        }
        Err(fault) => {
            tracing::debug!(%fault, "the peer broke a rule of sctp");
            shared.fault.get_or_init(|| fault);
            return None;
        }
    }
    let repairs = Repairs {
        marker: None,
        limit: buf.len(),
        window: u32::MAX,
    };
    if data.len() > buf.len() && sctp::repair(data, repairs, repaired) {
        return copy(repaired, buf);
    }
    copy(data, buf)
}

impl Shared {
    /// Passes a certificate on to str0m, which compares its fingerprint. One that does not fit, or is another peer's, is
    /// passed on as none at all, which matches no fingerprint.
    fn show<'a>(&self, der: &[u8], buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let shown = self.is_the_peers(der).then(|| copy(der, buf)).flatten();
        DtlsOutput::PeerCert(&buf[..shown.unwrap_or_default()])
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> Option<usize> {
    to.get_mut(..from.len())?.copy_from_slice(from);
    Some(from.len())
}

/// dimpl behind str0m's trait.
pub(super) struct Dimpl(dimpl::Dtls);

impl Dimpl {
    pub(super) fn new(
        config: &Arc<dimpl::Config>,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
    ) -> Result<Self, CryptoError> {
        let (config, certificate) = (Arc::clone(config), certificate.clone());
        match version {
            DtlsVersion::Dtls12 => Ok(Self(dimpl::Dtls::new_12(config, certificate, now))),
            DtlsVersion::Dtls13 => Ok(Self(dimpl::Dtls::new_13(config, certificate, now))),
            DtlsVersion::Auto => Ok(Self(dimpl::Dtls::new_auto(config, certificate, now))),
            other => Err(CryptoError::Other(format!("{other} is not supported"))),
        }
    }
}

impl DtlsInstance for Dimpl {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}

impl fmt::Debug for Dimpl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dimpl(..)")
    }
}

/// Datagrams that dimpl keeps before it has made use of them. Past it, it refuses them.
pub(super) const MAX_QUEUED_DATAGRAMS: usize = 30;
/// The longest datagram of a handshake. Longer ones are dropped; honest ones keep to a path's MTU.
const MAX_HANDSHAKE_DATAGRAM: usize = 2_048;
/// The longest message, a certificate among them, that a handshake can be made to put together.
const MAX_HANDSHAKE_INPUT: usize = USUAL_OUTPUT + MAX_QUEUED_DATAGRAMS * MAX_HANDSHAKE_DATAGRAM;
/// Room for any datagram of a usual size.
const USUAL_OUTPUT: usize = 2_048;
/// The longest datagram of UDP.
const MAX_RECORD: usize = 65_535;
/// What DTLS adds to a packet at most: header, explicit nonce and tag of version 1.2 with AES-GCM.
const MAX_RECORD_OVERHEAD: usize = 13 + 8 + 16;
