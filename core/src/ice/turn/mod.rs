//! An allocation on a TURN server (RFC 8656): an address of its own, from which it relays.
//!
//! The messages are those of `turn-types`, and `stun-proto` signs and verifies them by the long-term credential mechanism (RFC
//! 8489 section 9.2). The machine is ours, not that of `turn-client-proto`: ids come from the seeded generator, so that a
//! recording can be replayed, an error tells its code, and ChannelData over streams is padded. See
//! `docs/ARCHITECTURE.md`.
//!
//! An answer counts with the id of an open transaction and with the right MESSAGE-INTEGRITY; others are as good as not
//! received, but for 401 and 438, which no key can sign. Data counts when it is of a permitted peer. The caller sees to it
//! that what comes in here came from the server, at the socket of this allocation.

mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod held;
mod message;
mod peers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stun_proto::auth::{LongTermClientAuth, LongTermClientValidation};
use stun_types::message::{LongTermCredentials, Message, MessageClass};

use super::nat::Family;
use super::server::Credentials;
use super::stun::{Ladder, TransactionId};
use crate::event::ServerFault;
use crate::rng::Rng;
use crate::tape::{Tape, Taped};

pub(crate) use framing::Framing;

use held::Held;
use message::{Incoming, LIFETIME, Request};
use peers::{Access, Peers};

/// One allocation, from the first request to its end.
pub(crate) struct Allocation {
    /// That of the relayed address.
    family: Family,
    via: Via,
    auth: LongTermClientAuth,
    tape: Tape,
    rng: Rng,
    open: BTreeMap<TransactionId, Transaction>,
    life: Life,
    peers: Peers,
    held: Held,
    keepalive: Duration,
    /// When the mapping of a NAT on the way is kept open, unless something is sent before.
    keep_at: Instant,
    /// Since when we have sent and heard nothing of the server.
    quiet_since: Option<Instant>,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<AllocationEvent>,
}

/// How the server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// Datagrams: requests are repeated.
    Datagrams,
    /// A stream: they are not, and ChannelData is padded.
    Stream,
}

/// The bounds of one allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// To how many addresses it relays at most.
    pub(crate) max_peers: usize,
    /// After which silence of ours the way to the server is kept open (RFC 8445 section 11).
    pub(crate) keepalive: Duration,
}

/// ```text
/// New --> Asking --> Granted --> Deleting --> Ended
///            |          |                       ^
///            +----------+-----------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The first request waits for its turn.
    New,
    /// The server has not granted anything yet.
    Asking,
    /// There is a relayed address.
    Granted {
        relayed: SocketAddr,
        /// When the next refresh is due; `None` while one is under way.
        refresh_at: Option<Instant>,
        expires_at: Instant,
    },
    /// The end was asked for. The answer is not waited for any longer than this.
    Deleting { until: Instant },
    /// Nothing more happens.
    Ended,
}

/// What an allocation tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllocationEvent {
    /// The server relays from this address.
    Granted(SocketAddr),
    /// It is over.
    Ended(End),
}

/// Why an allocation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It failed, or the server has lost it.
    Fault(ServerFault),
    /// The server, authenticated, sends us to another (RFC 8489 section 10).
    Redirected(SocketAddr),
    /// We have given it back.
    Deleted,
}

/// What came in a datagram or message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    /// Data of a permitted peer, and where it stands.
    Data {
        peer: SocketAddr,
        data: Range<usize>,
    },
    /// A response, which is dealt with.
    Response,
    /// Nothing that counts.
    Ignored,
}

/// What the credentials say of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// It is signed with our key.
    Valid,
    /// It asks for a request that is signed otherwise.
    Renew,
    /// Neither.
    Invalid,
}

impl Taped for Verdict {}

/// A request that waits for its answer.
#[derive(Debug)]
struct Transaction {
    request: Request,
    /// For whom it is, where it is for a peer.
    peer: Option<SocketAddr>,
    bytes: Vec<u8>,
    signed: bool,
    /// How often the server has asked for another nonce.
    renewals: u32,
    sent: u32,
    due: Instant,
    /// The code of an answer that was not authenticated: a hint, should there be no other.
    hint: Option<u16>,
}

impl Allocation {
    /// Asks for nothing yet: see [`Allocation::next_request_at`].
    pub(crate) fn new(
        family: Family,
        via: Via,
        credentials: &Credentials,
        bounds: Bounds,
        tape: Tape,
        rng: Rng,
        now: Instant,
    ) -> Self {
        let Credentials { username, password } = credentials;
        let mut auth = LongTermClientAuth::new();
        auth.set_credentials(LongTermCredentials::new(username.clone(), password.clone()));
        Self {
            family,
            via,
            auth,
            tape,
            rng,
            open: BTreeMap::new(),
            life: Life::New,
            peers: Peers::new(bounds.max_peers),
            held: Held::default(),
            keepalive: bounds.keepalive,
            keep_at: now + bounds.keepalive,
            quiet_since: None,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The relayed address, once and while there is one.
    pub(crate) fn relayed(&self) -> Option<SocketAddr> {
        match self.life {
            Life::Granted { relayed, .. } => Some(relayed),
            Life::New | Life::Asking | Life::Deleting { .. } | Life::Ended => None,
        }
    }

    /// Somebody wants to reach `peer` through this allocation. Returns false at the limit.
    pub(crate) fn want(&mut self, peer: SocketAddr, now: Instant) -> bool {
        let fits = (self.family == Family::Ipv6) == peer.is_ipv6();
        fits && self.peers.want(peer, now)
    }

    /// One of those who wanted `peer` does not any more. Without any its channel is not refreshed.
    pub(crate) fn release(&mut self, peer: SocketAddr, now: Instant) {
        self.peers.release(peer, now);
    }

    /// Whether somebody wants to reach a peer through it.
    pub(crate) fn is_used(&self) -> bool {
        self.peers.is_used()
    }

    /// Relays `data` to a peer: gives the message for the server. What comes before the server permits the peer is held
    /// for a moment; what is not permitted goes nowhere.
    pub(crate) fn send(
        &mut self,
        peer: SocketAddr,
        data: Vec<u8>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        self.relayed()?;
        self.keep_at = now + self.keepalive;
        self.quiet_since.get_or_insert(now);
        match self.peers.access(peer, now) {
            (Access::Channel { .. }, channel) => self.channel_data(channel, &data),
            (Access::Indications { .. }, _) => self.indication(peer, &data),
            (Access::Refused, _) => None,
            (Access::None, _) => {
                if self.peers.contains(peer) {
                    self.held.push(peer, data);
                }
                None
            }
        }
    }

    /// Takes a whole message of the server.
    pub(crate) fn receive(&mut self, message: &[u8], now: Instant) -> Received {
        if self.life == Life::Ended {
            return Received::Ignored;
        }
        let received = self.take(message, now);
        if received != Received::Ignored {
            self.quiet_since = None;
        }
        received
    }

    fn take(&mut self, message: &[u8], now: Instant) -> Received {
        match message::read(message) {
            Some(Incoming::Channel { channel, data }) => {
                match self.peers.of_channel(channel, now) {
                    Some(peer) => Received::Data { peer, data },
                    None => Received::Ignored,
                }
            }
            // RFC 8656 section 11.4: data without a permission is discarded.
            Some(Incoming::Data { peer, data }) if self.peers.permits(peer.ip(), now) => {
                Received::Data { peer, data }
            }
            Some(Incoming::Response(id, response)) => self.on_response(id, &response, now),
            Some(Incoming::Data { .. }) | None => Received::Ignored,
        }
    }

    /// When the next request wants to be begun, if one does. The caller paces requests over all servers.
    pub(crate) fn next_request_at(&self, now: Instant) -> Option<Instant> {
        match self.life {
            Life::New => Some(now),
            Life::Granted { refresh_at, .. } => [
                refresh_or_probe_at(refresh_at, self.quiet_since),
                self.peers.poll_timeout(),
            ]
            .into_iter()
            .flatten()
            .min(),
            Life::Asking | Life::Deleting { .. } | Life::Ended => None,
        }
    }

    /// Begins the next request that is due.
    pub(crate) fn begin_request(&mut self, now: Instant) {
        let quiet_since = self.quiet_since;
        match &mut self.life {
            Life::New => {
                self.life = Life::Asking;
                let ipv6 = self.family == Family::Ipv6;
                self.ask(Request::Allocate { ipv6 }, None, now);
            }
            Life::Granted { refresh_at, .. }
                if refresh_or_probe_at(*refresh_at, quiet_since).is_some_and(|at| at <= now) =>
            {
                *refresh_at = None;
                self.quiet_since = None;
                self.ask(Request::Refresh { seconds: LIFETIME }, None, now);
            }
            Life::Granted { .. } => {
                if let Some((peer, request)) = self.peers.poll_request(now) {
                    self.ask(request, Some(peer), now);
                }
            }
            Life::Asking | Life::Deleting { .. } | Life::Ended => {}
        }
    }

    /// Gives the allocation back (RFC 8656 section 8).
    pub(crate) fn delete(&mut self, now: Instant) {
        match self.life {
            Life::Granted { .. } if planted!(AllocationKept) => self.end(End::Deleted),
            Life::Granted { .. } => {
                self.open.clear();
                self.life = Life::Deleting {
                    until: now + LINGER,
                };
                self.ask(Request::Refresh { seconds: 0 }, None, now);
            }
            // The server may have granted it already: it expires by itself.
            Life::New | Life::Asking => self.end(End::Deleted),
            Life::Deleting { .. } | Life::Ended => {}
        }
    }

    /// Repeats requests, gives them up, and ends with the life of the allocation.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.life {
            Life::Granted { expires_at, .. } if expires_at <= now => {
                return self.end(End::Fault(ServerFault::Unreachable));
            }
            Life::Deleting { until } if until <= now => return self.end(End::Deleted),
            Life::New
            | Life::Asking
            | Life::Granted { .. }
            | Life::Deleting { .. }
            | Life::Ended => {}
        }
        if self.keeps_open() && self.keep_at <= now {
            self.keep_at = now + self.keepalive;
            let id = TransactionId::draw(&mut self.rng);
            self.outbox.push_back(message::keepalive(id));
        }
        let ladder = self.via.ladder();
        let mut expired = Vec::new();
        for (id, transaction) in &mut self.open {
            if transaction.due > now {
                continue;
            }
            if transaction.sent >= ladder.requests {
                expired.push(*id);
            } else {
                self.outbox.push_back(transaction.send(ladder, now));
            }
        }
        for id in expired {
            if let Some(transaction) = self.open.remove(&id) {
                self.on_unanswered(&transaction, now);
            }
        }
    }

    /// When [`Allocation::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let repeat = self.open.values().map(|transaction| transaction.due).min();
        let expiry = match self.life {
            Life::Granted { expires_at, .. } => Some(expires_at),
            Life::Deleting { until } => Some(until),
            Life::New | Life::Asking | Life::Ended => None,
        };
        let keepalive = self.keeps_open().then_some(self.keep_at);
        [repeat, expiry, keepalive].into_iter().flatten().min()
    }

    /// The next message for the server.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<AllocationEvent> {
        self.events.pop_front()
    }

    fn keeps_open(&self) -> bool {
        self.via == Via::Datagrams && self.relayed().is_some()
    }

    fn ask(&mut self, request: Request, peer: Option<SocketAddr>, now: Instant) {
        self.ask_again(request, peer, 0, now);
    }

    fn ask_again(
        &mut self,
        request: Request,
        peer: Option<SocketAddr>,
        renewals: u32,
        now: Instant,
    ) {
        let id = TransactionId::draw(&mut self.rng);
        let Some(bytes) = request.build(id, &mut self.auth) else {
            return self.end(End::Fault(ServerFault::Protocol));
        };
        self.keep_at = now + self.keepalive;
        // Before the server has named its realm there is nothing to sign with.
        let signed = self.auth.message_signature_bytes() > 0;
        let mut transaction = Transaction {
            request,
            peer,
            bytes,
            signed,
            renewals,
            sent: 0,
            due: now,
            hint: None,
        };
        self.outbox
            .push_back(transaction.send(self.via.ladder(), now));
        self.open.insert(id, transaction);
    }

    fn on_response(&mut self, id: TransactionId, response: &Message<'_>, now: Instant) -> Received {
        let Some(signed) = self.open.get(&id).map(|transaction| transaction.signed) else {
            return Received::Ignored;
        };
        let code = message::error_code(response);
        let verdict = self.verify(response);
        let Some(transaction) = self.open.get_mut(&id) else {
            return Received::Ignored;
        };
        match (response.class(), code, verdict) {
            (MessageClass::Error, Some(401 | 438), Verdict::Renew) => self.renew(id, now),
            // No key can sign these, and asking the same again would not help.
            (MessageClass::Error, Some(401), _) => self.close(id, Err(401), now),
            (MessageClass::Error, Some(300), Verdict::Valid) if signed => {
                let end = match message::alternate(response) {
                    Some(server) => End::Redirected(server),
                    None => End::Fault(ServerFault::Protocol),
                };
                self.end(end);
            }
            // The first request is not signed, so its answer need not be: some servers ask for no credentials.
            (MessageClass::Error, Some(code), verdict) if verdict == Verdict::Valid || !signed => {
                self.close(id, Err(code), now);
            }
            (MessageClass::Error, Some(code), _) => transaction.hint = Some(code),
            (MessageClass::Success, _, verdict) if verdict == Verdict::Valid || !signed => {
                self.close(id, Ok(response), now);
            }
            _ => return Received::Ignored,
        }
        Received::Response
    }

    /// What the credentials say of a response. They are in no recording, so the verdict is.
    fn verify(&mut self, response: &Message<'_>) -> Verdict {
        let verdict = match self.auth.validate_incoming_message(response) {
            Ok(LongTermClientValidation::Validated(_)) => Verdict::Valid,
            Ok(LongTermClientValidation::ResendRequest(_)) => Verdict::Renew,
            Err(_) => Verdict::Invalid,
        };
        if self.tape.is_playing() {
            return self.tape.replay("turn_verdict").unwrap_or(verdict);
        }
        self.tape.keep("turn_verdict", &verdict, false);
        verdict
    }

    /// Asks the same with the nonce that the server wants now.
    fn renew(&mut self, id: TransactionId, now: Instant) {
        let Some(transaction) = self.open.remove(&id) else {
            return;
        };
        let Transaction {
            request,
            peer,
            renewals,
            ..
        } = transaction;
        if renewals >= MAX_RENEWALS {
            return self.end(End::Fault(ServerFault::Protocol));
        }
        self.ask_again(request, peer, renewals + 1, now);
    }

    /// Ends a transaction with its answer.
    fn close(&mut self, id: TransactionId, answer: Result<&Message<'_>, u16>, now: Instant) {
        let Some(transaction) = self.open.remove(&id) else {
            return;
        };
        // What coturn says to peers where there is no allocation: refreshing it gets the 437.
        if matches!(answer, Err(BAD_REQUEST)) {
            self.refresh_by(now);
        }
        match (transaction.request, answer) {
            (Request::Allocate { ipv6 }, Ok(response)) => self.on_granted(response, ipv6, now),
            (Request::Refresh { seconds: 0 }, _) => self.end(End::Deleted),
            (Request::Refresh { .. }, Ok(response)) => self.on_refreshed(response, now),
            (Request::Permit { .. } | Request::Bind { .. }, Ok(_)) => {
                self.on_peer_granted(&transaction, now);
            }
            // The allocation is gone, or not ours any more (RFC 8656 section 6: 437 and 441).
            (Request::Permit { .. } | Request::Bind { .. }, Err(code))
                if !matches!(code, 401 | 437 | 441) =>
            {
                if let Some(peer) = transaction.peer {
                    self.peers.on_refused(peer, code, now);
                    self.held.take(peer).for_each(drop);
                }
            }
            (_, Err(code)) => self.end(End::Fault(fault(code))),
        }
    }

    fn on_granted(&mut self, response: &Message<'_>, ipv6: bool, now: Instant) {
        let granted = message::granted(response, ipv6);
        let Some((granted, life)) = granted.and_then(|g| Some((g, life(g.seconds)?))) else {
            return self.end(End::Fault(ServerFault::Protocol));
        };
        self.life = Life::Granted {
            relayed: granted.relayed,
            refresh_at: Some(now + life / 2),
            expires_at: now + life,
        };
        self.events
            .push_back(AllocationEvent::Granted(granted.relayed));
    }

    fn on_refreshed(&mut self, response: &Message<'_>, now: Instant) {
        let Life::Granted { relayed, .. } = self.life else {
            return;
        };
        let Some(life) = message::lifetime(response).and_then(life) else {
            return self.end(End::Fault(ServerFault::Protocol));
        };
        self.life = Life::Granted {
            relayed,
            refresh_at: Some(now + life / 2),
            expires_at: now + life,
        };
    }

    /// Refreshes at this time at the latest.
    fn refresh_by(&mut self, time: Instant) {
        if let Life::Granted {
            refresh_at: Some(at),
            ..
        } = &mut self.life
        {
            *at = time.min(*at);
        }
    }

    fn on_peer_granted(&mut self, transaction: &Transaction, now: Instant) {
        let Some(peer) = transaction.peer else {
            return;
        };
        let by_channel = matches!(transaction.request, Request::Bind { .. });
        self.peers.on_granted(peer, by_channel, now);
        let held: Vec<_> = self.held.take(peer).collect();
        for data in held {
            let message = self.send(peer, data, now);
            self.outbox.extend(message);
        }
    }

    fn on_unanswered(&mut self, transaction: &Transaction, now: Instant) {
        let hinted = transaction.hint.map_or(ServerFault::Unreachable, fault);
        match (transaction.request, transaction.peer) {
            (Request::Allocate { .. }, _) => self.end(End::Fault(hinted)),
            (Request::Refresh { seconds: 0 }, _) => self.end(End::Deleted),
            (Request::Refresh { .. }, _) => {
                if let Life::Granted { refresh_at, .. } = &mut self.life {
                    *refresh_at = Some(now);
                }
            }
            (Request::Permit { .. } | Request::Bind { .. }, Some(peer)) => {
                self.peers.on_unanswered(peer, now);
                self.held.take(peer).for_each(drop);
            }
            (Request::Permit { .. } | Request::Bind { .. }, None) => {}
        }
    }

    fn end(&mut self, end: End) {
        if self.life != Life::Ended {
            self.life = Life::Ended;
            self.open.clear();
            self.events.push_back(AllocationEvent::Ended(end));
        }
    }

    fn channel_data(&self, channel: u16, data: &[u8]) -> Option<Vec<u8>> {
        message::channel_data(channel, data, self.via == Via::Stream)
    }

    fn indication(&mut self, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
        message::send_indication(TransactionId::draw(&mut self.rng), peer, data)
    }
}

impl Via {
    fn ladder(self) -> Ladder {
        match self {
            Self::Datagrams => Ladder::STANDARD,
            // RFC 8489 section 6.2.2: Ti, without repetition.
            Self::Stream => Ladder {
                rto: Ladder::STANDARD.total(),
                requests: 1,
                patience: 1,
            },
        }
    }
}

impl Transaction {
    fn send(&mut self, ladder: Ladder, now: Instant) -> Vec<u8> {
        self.sent += 1;
        self.due = now + ladder.wait(self.sent);
        self.bytes.clone()
    }
}

/// When a refresh is due: in its time, or when the server has been silent for [`SUSPICION`], to hear whether it still knows
/// the allocation. `None` while one is under way.
fn refresh_or_probe_at(
    refresh_at: Option<Instant>,
    quiet_since: Option<Instant>,
) -> Option<Instant> {
    let refresh = refresh_at?;
    Some(quiet_since.map_or(refresh, |since| refresh.min(since + SUSPICION)))
}

/// A life that the server grants, in bounds: `None` when it is too short to be kept alive.
fn life(seconds: u32) -> Option<Duration> {
    (seconds >= MIN_LIFE).then(|| Duration::from_secs(seconds.min(MAX_LIFE).into()))
}

/// What a code says of the server.
fn fault(code: u16) -> ServerFault {
    match code {
        300 => ServerFault::Redirect,
        401 | 441 => ServerFault::Unauthorized,
        403 => ServerFault::Forbidden,
        437 => ServerFault::Mismatch,
        440 | 443 => ServerFault::Family,
        442 => ServerFault::Transport,
        486 => ServerFault::Quota,
        508 => ServerFault::Capacity,
        _ => ServerFault::Protocol,
    }
}

/// How long the answer to a deletion is waited for: the allocation expires by itself if it was lost.
const LINGER: Duration = Duration::from_secs(2);
/// How long a server may be silent while something is sent through it. Checks of a path in use go out every three
/// seconds and are answered.
const SUSPICION: Duration = Duration::from_secs(5);
/// How often one request is signed anew because the server wants another nonce. One renewal is usual.
const MAX_RENEWALS: u32 = 4;
const BAD_REQUEST: u16 = 400;
/// The shortest life of an allocation that is taken, in seconds. RFC 8656 section 3.2 has 600 by default.
const MIN_LIFE: u32 = 10;
/// The longest, in seconds: a longer one is refreshed as often as this (RFC 8656 section 7.2: "maximum [..] 3600").
const MAX_LIFE: u32 = 3_600;
