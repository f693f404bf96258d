//! A client for Binding transactions with STUN servers (RFC 8489): where does the world see this socket?
//!
//! The servers ask for no credentials, so an answer can be forged by whoever sees the request. All others are kept out:
//! an answer counts only with the id of an open transaction, 96 bits from the seeded generator, at the socket from which
//! was asked, and from the address that was to answer. The first one ends the transaction, and its id means nothing any
//! more. A server that sends us elsewhere (300, ALTERNATE-SERVER) is not followed: that takes an authenticated answer
//! (RFC 8489 section 10).
//!
//! Nothing is paced here. Whoever begins transactions keeps to the pace of its usage (RFC 8445 section 14.2).

pub(in crate::ice) mod message;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::rng::Rng;

pub(crate) use message::{ChangeRequest, TransactionId};

use super::policy::canonical;
use message::Answer;

/// Open Binding transactions: their requests and repetitions go out, their answers come in.
#[derive(Debug)]
pub(crate) struct BindingClient {
    rng: Rng,
    ladder: Ladder,
    /// In the order in which they were begun; at most [`MAX_OPEN`].
    open: Vec<Transaction>,
}

impl BindingClient {
    /// No transactions yet. `rng` is this client's own stream.
    pub(crate) fn new(ladder: Ladder, rng: Rng) -> Self {
        Self {
            rng,
            ladder,
            open: Vec::new(),
        }
    }

    /// Begins a transaction. Its first request is due at once.
    ///
    /// # Errors
    ///
    /// [`TooManyOpen`] when [`MAX_OPEN`] are.
    pub(crate) fn begin(
        &mut self,
        request: BindingRequest,
        now: Instant,
    ) -> Result<TransactionId, TooManyOpen> {
        if self.open.len() >= MAX_OPEN {
            return Err(TooManyOpen);
        }
        let id = TransactionId::draw(&mut self.rng);
        self.open.push(Transaction {
            id,
            request,
            first_sent: now,
            sent: 0,
            due: now,
        });
        Ok(id)
    }

    /// Ends a transaction whose answer is not needed any more, without an outcome.
    pub(crate) fn cancel(&mut self, id: TransactionId) {
        self.open.retain(|transaction| transaction.id != id);
    }

    /// Takes a datagram when it answers an open transaction. `None`: it is none of ours, or as good as not received.
    pub(crate) fn handle_response(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<Outcome> {
        let id = TransactionId::of_response(datagram)?;
        let is_answered = |t: &Transaction| t.id == id && t.request.expects(local, remote);
        let at = self.open.iter().position(is_answered)?;
        let answer = message::read(datagram)?;
        let transaction = self.open.remove(at);
        Some(transaction.answered(answer, remote, now))
    }

    /// A request that is due, if one is. Call until there is none.
    #[must_use]
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        let ladder = self.ladder;
        let due = |t: &&mut Transaction| t.due <= now && t.sent < ladder.requests;
        self.open
            .iter_mut()
            .find(due)
            .map(|transaction| transaction.send(ladder, now))
    }

    /// A transaction that has waited for its answer long enough, if one has. Call until there is none.
    #[must_use]
    pub(crate) fn poll_expired(&mut self, now: Instant) -> Option<Outcome> {
        let has_expired = |t: &Transaction| t.due <= now && t.sent >= self.ladder.requests;
        let at = self.open.iter().position(has_expired)?;
        let transaction = self.open.remove(at);
        Some(transaction.ended(Err(BindingFault::TimedOut)))
    }

    /// When [`BindingClient::poll_transmit`] or [`BindingClient::poll_expired`] will have something.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.open.iter().map(|transaction| transaction.due).min()
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }
}

/// What to ask whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BindingRequest {
    /// The socket of ours from which is asked.
    local: SocketAddr,
    /// Who is asked.
    server: SocketAddr,
    /// From where the answer is to come.
    change: ChangeRequest,
    /// From which address it counts; `None` is any.
    answers_from: Option<SocketAddr>,
}

impl BindingRequest {
    /// Asks `server`, which is to answer from the address that was asked (RFC 8489 section 6.3).
    pub(crate) fn plain(local: SocketAddr, server: SocketAddr) -> Self {
        Self {
            local,
            server,
            change: ChangeRequest::default(),
            answers_from: Some(canonical(server)),
        }
    }

    /// Asks `server`, which is to answer from `answers_from` (RFC 5780 section 7.2). `None`: from wherever.
    pub(crate) fn changing(
        local: SocketAddr,
        server: SocketAddr,
        change: ChangeRequest,
        answers_from: Option<SocketAddr>,
    ) -> Self {
        Self {
            local,
            server,
            change,
            answers_from: answers_from.map(canonical),
        }
    }

    fn expects(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let from_there = |expected| expected == canonical(remote);
        self.local == local && self.answers_from.is_none_or(from_there)
    }
}

/// When a request is repeated, and when it is given up (RFC 8489 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ladder {
    /// RTO: from the first request to the second. Doubles with each.
    pub(crate) rto: Duration,
    /// Rc: how many requests are sent, 1 or more.
    pub(crate) requests: u32,
    /// Rm: how many RTO an answer is waited for after the last.
    pub(crate) patience: u32,
}

impl Ladder {
    /// What RFC 8489 recommends: 7 requests, given up after 39.5 s.
    pub(crate) const STANDARD: Self = Self {
        rto: Duration::from_millis(500),
        requests: 7,
        patience: 16,
    };

    /// From the first request until it is given up.
    pub(crate) fn total(&self) -> Duration {
        (1..=self.requests).map(|sent| self.wait(sent)).sum()
    }

    /// How long is waited after the request number `sent`, from 1.
    pub(super) fn wait(&self, sent: u32) -> Duration {
        let times = if sent < self.requests {
            1_u32.checked_shl(sent.saturating_sub(1))
        } else {
            Some(self.patience)
        };
        self.rto.saturating_mul(times.unwrap_or(u32::MAX))
    }
}

/// A request to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The socket of ours.
    pub(crate) source: SocketAddr,
    /// Where to.
    pub(crate) destination: SocketAddr,
    /// One datagram.
    pub(crate) contents: Vec<u8>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Which one.
    pub(crate) id: TransactionId,
    /// The socket from which was asked.
    pub(crate) local: SocketAddr,
    /// Who was asked.
    pub(crate) server: SocketAddr,
    /// What came of it.
    pub(crate) result: Result<Binding, BindingFault>,
}

/// What a server saw of a request, and says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Where the request seemed to come from. Of the family of the socket, unicast, with a port.
    pub(crate) mapped: SocketAddr,
    /// From where the answer came.
    pub(crate) from: SocketAddr,
    /// RESPONSE-ORIGIN: from where the server says that it came (RFC 5780 section 7.3).
    pub(crate) origin: Option<SocketAddr>,
    /// OTHER-ADDRESS: what else the server listens on (RFC 5780 section 7.4). Its word only, and not checked.
    pub(crate) other: Option<SocketAddr>,
    /// The round trip. `None` when the request was repeated: which copy was answered is not known (RFC 6298 section 3).
    pub(crate) rtt: Option<Duration>,
}

/// Why a transaction brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum BindingFault {
    /// No answer came.
    #[error("no answer")]
    TimedOut,
    /// The server refused.
    #[error("refused with code {code}")]
    Refused {
        /// The code of RFC 8489 section 14.8.
        code: u16,
    },
    /// The answer lacks a mapped address, or has what would have to be understood.
    #[error("an answer without use")]
    Unusable,
    /// The mapped address is of the other family, as behind NAT64: no candidate of this socket can have it.
    #[error("a mapped address of the other family")]
    Family,
}

/// [`MAX_OPEN`] transactions are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many open STUN transactions")]
pub(crate) struct TooManyOpen;

/// The open transactions of one client: 8 sockets with 8 servers each.
pub(crate) const MAX_OPEN: usize = 64;

/// One transaction that waits for its answer.
#[derive(Debug)]
struct Transaction {
    id: TransactionId,
    request: BindingRequest,
    /// When the first request was sent, or will be.
    first_sent: Instant,
    /// Requests sent.
    sent: u32,
    /// When the next request goes out, or after the last one, when it is given up.
    due: Instant,
}

impl Transaction {
    /// Each wait begins when the request before it was sent: a driver that was late is not followed by a burst.
    fn send(&mut self, ladder: Ladder, now: Instant) -> Outgoing {
        if self.sent == 0 {
            self.first_sent = now;
        }
        self.sent += 1;
        self.due = now + ladder.wait(self.sent);
        Outgoing {
            source: self.request.local,
            destination: self.request.server,
            contents: message::request(self.id, self.request.change),
        }
    }

    fn answered(self, answer: Answer, from: SocketAddr, now: Instant) -> Outcome {
        let result = match answer {
            Answer::Success {
                mapped,
                origin,
                other,
            } => {
                let mapped = canonical(mapped);
                if mapped.is_ipv4() == canonical(self.request.local).is_ipv4() {
                    Ok(Binding {
                        mapped,
                        from: canonical(from),
                        origin,
                        other,
                        rtt: (self.sent == 1)
                            .then(|| now.saturating_duration_since(self.first_sent)),
                    })
                } else {
                    Err(BindingFault::Family)
                }
            }
            Answer::Refused { code } => Err(BindingFault::Refused { code }),
            Answer::Unusable => Err(BindingFault::Unusable),
        };
        self.ended(result)
    }

    fn ended(self, result: Result<Binding, BindingFault>) -> Outcome {
        Outcome {
            id: self.id,
            local: self.request.local,
            server: self.request.server,
            result,
        }
    }
}
