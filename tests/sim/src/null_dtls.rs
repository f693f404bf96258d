//! DTLS 1.3 without cryptography: its messages, times and sizes in plain text.
//!
//! What stays: the flights (client hello; server flight; client finish; acknowledgement) and on which of them each side is
//! connected, their usual sizes, repetition of lost flights with a doubling interval, the exchange of certificates, of
//! which str0m checks the fingerprint, the 22 bytes that each record adds, and `close_notify` with its half-closed
//! state. What goes: keys, hence SRTP; protection from replays (SCTP discards them); acknowledgements of single
//! records. It draws no random numbers, so that a simulation has the same bytes in each run.
//!
//! A record begins with a byte that RFC 7983 gives to DTLS but no version of DTLS can read, and ends with a text that no
//! cipher is going to produce, so that this never connects to the real one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bowline::simulation::{
    CryptoError, DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion,
    ProtocolVersion, TimeoutError,
};

/// DTLS WITHOUT ANY SECURITY, for simulations.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullDtls;

impl DtlsProvider for NullDtls {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(Instance::new(
            certificate.certificate.clone(),
            now,
        )))
    }
}

/// One end of a connection.
///
/// ```text
///  active:   Start --"" or time--> HelloSent --flight--> Connected (repeats its finish until acknowledged)
///  passive:  Start --hello--> FlightSent --finish--> Connected
///  both:     Connected --close()--> HalfClosed --close_notify--> Closed
///            Connected --close_notify, close()--> Closed
///            otherwise --close()--> Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    HelloSent,
    FlightSent,
    Connected,
    /// We have closed, the peer has not.
    HalfClosed,
    Closed,
}

/// What a record carries. Handshakes are where RFC 7983 and TLS have them, and data where DTLS 1.3 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Hello = 20,
    Flight = 21,
    Finish = 22,
    Ack = 23,
    Data = 52,
    Close = 53,
}

#[derive(Debug)]
struct Instance {
    state: State,
    active: bool,
    now: Instant,
    certificate: Vec<u8>,
    peer_certificate: Vec<u8>,
    /// Events that were not polled yet.
    certificate_pending: bool,
    connected_pending: bool,
    close_received: bool,
    close_reported: bool,
    sequence: u16,
    /// Records to send.
    outgoing: Queue,
    /// Application data that came in.
    incoming: Queue,
    repeat: Option<Repeat>,
}

/// The flight that is repeated until it is answered.
#[derive(Debug)]
struct Repeat {
    kind: Kind,
    interval: Duration,
    /// Runs from the first time that is told after the flight was polled.
    due: Option<Instant>,
    left: u32,
}

impl Instance {
    fn new(certificate: Vec<u8>, now: Instant) -> Self {
        Self {
            state: State::Start,
            active: false,
            now,
            certificate,
            peer_certificate: Vec::new(),
            certificate_pending: false,
            connected_pending: false,
            close_received: false,
            close_reported: false,
            sequence: 0,
            outgoing: Queue::default(),
            incoming: Queue::default(),
            repeat: None,
        }
    }

    fn start(&mut self) {
        if self.active && self.state == State::Start {
            self.state = State::HelloSent;
            self.begin_flight(Kind::Hello);
        }
    }

    fn begin_flight(&mut self, kind: Kind) {
        self.send_handshake(kind);
        self.repeat = Some(Repeat {
            kind,
            interval: FIRST_INTERVAL,
            due: None,
            left: MAX_REPEATS,
        });
    }

    /// Queues a message of the handshake. One that finds no room counts as lost.
    fn send_handshake(&mut self, kind: Kind) {
        let certificate = match kind {
            Kind::Flight | Kind::Finish => std::mem::take(&mut self.certificate),
            Kind::Hello | Kind::Ack | Kind::Data | Kind::Close => Vec::new(),
        };
        let usual = match kind {
            Kind::Hello => HELLO_SIZE,
            Kind::Flight => FLIGHT_SIZE,
            Kind::Finish => FINISH_SIZE,
            Kind::Ack => ACK_SIZE,
            Kind::Close => CLOSE_SIZE,
            Kind::Data => 0,
        };
        let length = u16::try_from(certificate.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes();
        let padding = usual.saturating_sub(OVERHEAD + length.len() + certificate.len());
        let _ = self.send(
            kind,
            &[&length, &certificate, &ZEROES[..padding.min(ZEROES.len())]],
        );
        if !certificate.is_empty() {
            self.certificate = certificate;
        }
    }

    fn send(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<(), DtlsImplError> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let length = u16::try_from(payload + TRAILER.len())
            .map_err(|_| DtlsImplError::TransmitQueueFull)?
            .to_be_bytes();
        let sequence = self.sequence.to_be_bytes();
        let header = [kind as u8, sequence[0], sequence[1], length[0], length[1]];
        if self.outgoing.len() >= MAX_OUTGOING {
            return Err(DtlsImplError::TransmitQueueFull);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.outgoing.push(
            std::iter::once(&header[..])
                .chain(parts.iter().copied())
                .chain([TRAILER]),
        );
        Ok(())
    }

    fn on_hello(&mut self) {
        match self.state {
            State::Start if !self.active => {
                self.state = State::FlightSent;
                self.begin_flight(Kind::Flight);
            }
            // Our answer was lost.
            State::FlightSent => self.send_handshake(Kind::Flight),
            State::Start
            | State::HelloSent
            | State::Connected
            | State::HalfClosed
            | State::Closed => {}
        }
    }

    fn on_flight(&mut self, payload: &[u8]) {
        match self.state {
            State::HelloSent => {
                if self.on_connected(payload) {
                    self.begin_flight(Kind::Finish);
                }
            }
            State::Connected if self.active => self.send_handshake(Kind::Finish),
            State::Start
            | State::FlightSent
            | State::Connected
            | State::HalfClosed
            | State::Closed => {}
        }
    }

    fn on_finish(&mut self, payload: &[u8]) {
        match self.state {
            State::FlightSent => {
                if self.on_connected(payload) {
                    self.repeat = None;
                    self.send_handshake(Kind::Ack);
                }
            }
            State::Connected if !self.active => self.send_handshake(Kind::Ack),
            State::Start
            | State::HelloSent
            | State::Connected
            | State::HalfClosed
            | State::Closed => {}
        }
    }

    fn on_connected(&mut self, payload: &[u8]) -> bool {
        let Some(certificate) = read_certificate(payload) else {
            return false;
        };
        self.peer_certificate = certificate.to_vec();
        self.certificate_pending = true;
        self.connected_pending = true;
        self.state = State::Connected;
        true
    }

    fn on_data(&mut self, payload: &[u8]) -> Result<(), DtlsImplError> {
        if !self.can_receive() {
            return Ok(());
        }
        // Only a peer that has our finish sends data.
        self.repeat = None;
        if self.incoming.len() >= MAX_INCOMING {
            return Err(DtlsImplError::ReceiveQueueFull);
        }
        self.incoming.push([payload]);
        Ok(())
    }

    fn on_close_notify(&mut self) {
        if self.can_receive() {
            self.repeat = None;
            self.close_received = true;
            if self.state == State::HalfClosed {
                self.state = State::Closed;
            }
        }
    }

    fn can_receive(&self) -> bool {
        let open = matches!(self.state, State::Connected | State::HalfClosed);
        open && !self.close_received
    }

    fn close_pending(&self) -> bool {
        self.close_received && !self.close_reported
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if packet.is_empty() {
            self.start();
            return Ok(());
        }
        let Some((kind, payload)) = parse(packet) else {
            return Ok(());
        };
        match kind {
            Kind::Hello => self.on_hello(),
            Kind::Flight => self.on_flight(payload),
            Kind::Finish => self.on_finish(payload),
            Kind::Ack => self.repeat = None,
            Kind::Data => self.on_data(payload)?,
            Kind::Close => self.on_close_notify(),
        }
        Ok(())
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        if self.certificate_pending {
            let needed = self.peer_certificate.len();
            let Some(room) = buf.get_mut(..needed) else {
                return DtlsOutput::BufferTooSmall { needed };
            };
            room.copy_from_slice(&self.peer_certificate);
            self.certificate_pending = false;
            return DtlsOutput::PeerCert(room);
        }
        if std::mem::take(&mut self.connected_pending) {
            return DtlsOutput::Connected;
        }
        if let Some(needed) = self.incoming.next_len() {
            return match self.incoming.pop(buf) {
                Some(len) => DtlsOutput::ApplicationData(&buf[..len]),
                None => DtlsOutput::BufferTooSmall { needed },
            };
        }
        if let Some(needed) = self.outgoing.next_len() {
            return match self.outgoing.pop(buf) {
                Some(len) => DtlsOutput::Packet(&buf[..len]),
                None => DtlsOutput::BufferTooSmall { needed },
            };
        }
        if self.close_pending() {
            self.close_reported = true;
            return DtlsOutput::CloseNotify;
        }
        let due = self
            .repeat
            .as_ref()
            .map(|repeat| repeat.due.unwrap_or(self.now));
        DtlsOutput::Timeout(due.unwrap_or(self.now + IDLE))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = self.now.max(now);
        self.start();
        let Some(repeat) = self.repeat.as_mut().filter(|_| self.outgoing.len() == 0) else {
            return Ok(());
        };
        let due = *repeat.due.get_or_insert(self.now + repeat.interval);
        if due > self.now {
            return Ok(());
        }
        if repeat.left == 0 {
            self.repeat = None;
            return Err(DtlsImplError::Timeout(TimeoutError::Handshake));
        }
        repeat.left -= 1;
        repeat.interval *= 2;
        repeat.due = Some(self.now + repeat.interval);
        let kind = repeat.kind;
        self.send_handshake(kind);
        Ok(())
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        match self.state {
            // str0m takes this for `WouldBlock` and tries again.
            State::Start | State::HelloSent | State::FlightSent => Ok(0),
            State::Connected => self.send(Kind::Data, &[data]).map(|()| data.len()),
            State::HalfClosed | State::Closed => Err(DtlsImplError::ConnectionClosed),
        }
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        let connected = matches!(self.state, State::Connected | State::HalfClosed);
        connected.then_some(ProtocolVersion::DTLS1_3)
    }

    fn is_closing(&self) -> bool {
        let begun = matches!(self.state, State::HalfClosed | State::Closed);
        (begun && !self.is_closed()) || self.close_pending()
    }

    fn is_closed(&self) -> bool {
        let drained = self.outgoing.len() == 0 && !self.close_pending();
        self.state == State::Closed && drained
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        match self.state {
            State::Connected => {
                self.repeat = None;
                self.send_handshake(Kind::Close);
                self.state = if self.close_received {
                    State::Closed
                } else {
                    State::HalfClosed
                };
            }
            State::Start | State::HelloSent | State::FlightSent => {
                self.repeat = None;
                self.outgoing = Queue::default();
                self.state = State::Closed;
            }
            State::HalfClosed | State::Closed => {}
        }
        Ok(())
    }
}

/// Byte strings, first in first out, in one allocation that is kept.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    lengths: VecDeque<usize>,
    start: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.lengths.len()
    }

    fn next_len(&self) -> Option<usize> {
        self.lengths.front().copied()
    }

    fn push<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) {
        let before = self.bytes.len();
        parts
            .into_iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        self.lengths.push_back(self.bytes.len() - before);
    }

    /// Moves the first to `buf` and says how long it is. It stays if it does not fit.
    fn pop(&mut self, buf: &mut [u8]) -> Option<usize> {
        let len = self.next_len()?;
        let end = self.start + len;
        buf.get_mut(..len)?
            .copy_from_slice(self.bytes.get(self.start..end)?);
        self.lengths.pop_front();
        self.start = end;
        if self.lengths.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        Some(len)
    }
}

fn parse(packet: &[u8]) -> Option<(Kind, &[u8])> {
    let ([kind, _, _, high, low], rest) = packet.split_first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let payload = rest
        .strip_suffix(TRAILER)
        .filter(|_| rest.len() == length)?;
    let kind = [
        Kind::Hello,
        Kind::Flight,
        Kind::Finish,
        Kind::Ack,
        Kind::Data,
        Kind::Close,
    ]
    .into_iter()
    .find(|k| *k as u8 == *kind)?;
    Some((kind, payload))
}

fn read_certificate(payload: &[u8]) -> Option<&[u8]> {
    let (length, rest) = payload.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// What DTLS 1.3 adds: a header with sequence number and length, ...
const HEADER: usize = 5;
/// ... the type of the content and the tag.
const TRAILER: &[u8] = b"bowline-null-dtls";
const OVERHEAD: usize = HEADER + TRAILER.len();

// The sizes of datagrams that two bowline endpoints exchange with DTLS 1.3 at an MTU of 1,200 bytes.
const HELLO_SIZE: usize = 1_200;
const FLIGHT_SIZE: usize = 710;
const FINISH_SIZE: usize = 507;
const ACK_SIZE: usize = 66;
const CLOSE_SIZE: usize = 24;
static ZEROES: [u8; HELLO_SIZE] = [0; HELLO_SIZE];

const FIRST_INTERVAL: Duration = Duration::from_millis(250);
/// Repetitions of one flight. After them the handshake has failed.
const MAX_REPEATS: u32 = 20;
/// How far ahead the deadline is of who waits for nothing.
const IDLE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Datagrams that wait to be polled, as many as dimpl keeps.
const MAX_OUTGOING: usize = 10;
/// Messages that wait to be polled, as many as dimpl keeps.
const MAX_INCOMING: usize = 30;

#[cfg(test)]
mod tests;
