//! Relays: allocations on each TURN server, shared by all peers, made again when they are lost.
//!
//! A relay reaches addresses of its own family only (RFC 8656 section 9.1), and every peer that has a relay has one of IPv4,
//! because servers give that to who asks for none (section 7.2). So one of IPv4 is always asked for, also over IPv6,
//! which behind NAT64 leads to servers that have nothing else; and one of IPv6 where the server is reached over it.
//!
//! Each has a socket or connection of its own. So a new allocation is always a new 5-tuple, which is what a 437 asks for
//! (RFC 8656 section 6.4), and credentials can change while the old allocation serves those who use it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::output::Carried;
use super::servers::backoff;
use crate::event::ServerFault;
use crate::ice::nat::Family;
use crate::ice::policy::is_global;
use crate::ice::server::{IceServer, ServerTransport};
use crate::ice::stun::Outgoing;
use crate::ice::turn::{Allocation, Bounds, Framing, Via};
use crate::need::{Need, NeedId};
use crate::rng::Rng;
use crate::tape::Tape;

/// The relay on one server.
pub(super) struct Relay {
    pub(super) ice: IceServer,
    /// That of the relayed address.
    pub(super) family: Family,
    /// The addresses of the server. The one at `place` is used, and the next when it is not reached.
    addresses: Vec<SocketAddr>,
    place: usize,
    /// Where servers have sent us, in order: not to be sent there again.
    redirects: Vec<SocketAddr>,
    pub(super) stage: Stage,
    failures: u32,
    /// Whether the server has granted an allocation, and it has not failed since.
    is_granted: bool,
    /// Whether it was ever granted or has failed: gathering waits for no more.
    pub(super) settled: bool,
    /// The server is none of the present ones any more: no new one is made when this one ends.
    pub(super) retired: bool,
}

/// How far a relay is.
pub(super) enum Stage {
    /// It is begun then; `None`: never again, only other credentials could help.
    Waiting(Option<Instant>),
    /// A socket or connection was asked for.
    Opening(NeedId),
    /// Requests and data flow.
    Live(Box<Live>),
}

/// A relay that has a socket or connection.
pub(super) struct Live {
    pub(super) need: NeedId,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) allocation: Allocation,
    /// The address it was last told to have.
    pub(super) relayed: Option<SocketAddr>,
    /// With a connection, the bytes that are not a whole message yet.
    pub(super) framing: Option<Framing>,
}

impl Relay {
    pub(super) fn new(
        ice: IceServer,
        family: Family,
        addresses: Vec<SocketAddr>,
        now: Instant,
    ) -> Self {
        Self {
            ice,
            family,
            addresses,
            place: 0,
            redirects: Vec::new(),
            stage: Stage::Waiting(Some(now)),
            failures: 0,
            is_granted: false,
            settled: false,
            retired: false,
        }
    }

    /// The address of the server that is used now.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.redirects
            .last()
            .or_else(|| self.addresses.get(self.place))
            .copied()
    }

    /// What it needs from the embedder to begin, from a socket at `ip`.
    pub(super) fn open(&mut self, need: NeedId, ip: IpAddr) -> Option<Need> {
        let remote = self.remote()?;
        self.stage = Stage::Opening(need);
        Some(match self.ice.transport() {
            ServerTransport::Udp => Need::Bind { need, ip },
            ServerTransport::Tcp => Need::Connect {
                need,
                remote,
                tls: None,
            },
            ServerTransport::Tls => Need::Connect {
                need,
                remote,
                tls: Some(self.ice.host().tls_name()),
            },
        })
    }

    /// It has a socket or connection.
    pub(super) fn on_opened(
        &mut self,
        local: SocketAddr,
        bounds: Bounds,
        tape: Tape,
        rng: Rng,
        now: Instant,
    ) {
        let (Stage::Opening(need), Some(remote)) = (&self.stage, self.remote()) else {
            return;
        };
        let Some(login) = self.ice.login() else {
            return;
        };
        let is_stream = self.ice.transport() != ServerTransport::Udp;
        let via = if is_stream {
            Via::Stream
        } else {
            Via::Datagrams
        };
        self.stage = Stage::Live(Box::new(Live {
            need: *need,
            local,
            remote,
            allocation: Allocation::new(self.family, via, login, bounds, tape, rng, now),
            relayed: None,
            framing: is_stream.then(Framing::default),
        }));
    }

    /// It failed, or the server has lost it: decides when it is begun again, and where.
    pub(super) fn on_failed(&mut self, fault: ServerFault, now: Instant) {
        self.settled = true;
        let is_reached = !matches!(fault, ServerFault::Unreachable);
        if !is_reached && self.redirects.pop().is_none() && !self.addresses.is_empty() {
            self.place = (self.place + 1) % self.addresses.len();
        }
        let was_granted = std::mem::take(&mut self.is_granted);
        let again = match fault {
            // What worked may only need another nonce, whatever the server says. If not, the next answer tells.
            ServerFault::Unauthorized | ServerFault::Expired | ServerFault::ClockSkew
                if was_granted =>
            {
                Some(now)
            }
            // Only other credentials, or another server, can help.
            ServerFault::Unauthorized
            | ServerFault::Expired
            | ServerFault::ClockSkew
            | ServerFault::Family
            | ServerFault::Transport => None,
            // A fresh socket mends it, at once the first time.
            ServerFault::Mismatch if self.failures == 0 => Some(now),
            ServerFault::Mismatch
            | ServerFault::Unresolved
            | ServerFault::Unreachable
            | ServerFault::Forbidden
            | ServerFault::Quota
            | ServerFault::Capacity
            | ServerFault::Redirect
            | ServerFault::Protocol => Some(now + backoff(self.failures)),
        };
        self.failures += 1;
        self.stage = Stage::Waiting(again);
    }

    /// The server sends us to another. Returns false when it must not be followed: in a circle, too far, or to an address
    /// that may not be used.
    pub(super) fn on_redirected(&mut self, to: SocketAddr, now: Instant) -> bool {
        let known = self.redirects.contains(&to) || self.remote() == Some(to);
        if known || self.redirects.len() >= MAX_REDIRECTS {
            self.redirects.clear();
            return false;
        }
        self.redirects.push(to);
        self.stage = Stage::Waiting(Some(now));
        true
    }

    pub(super) fn on_granted(&mut self) {
        self.settled = true;
        self.failures = 0;
        self.is_granted = true;
    }

    /// When it wants to begin, or its allocation a request. The caller paces them.
    pub(super) fn next_request_at(&self, now: Instant) -> Option<Instant> {
        match &self.stage {
            Stage::Waiting(at) => at.filter(|_| !self.retired),
            Stage::Opening(_) => None,
            Stage::Live(live) => live.allocation.next_request_at(now),
        }
    }

    /// Whether somebody relays through it.
    pub(super) fn is_used(&self) -> bool {
        match &self.stage {
            Stage::Live(live) => live.allocation.is_used(),
            Stage::Waiting(_) | Stage::Opening(_) => false,
        }
    }

    /// Whether it is over for good.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.stage, Stage::Waiting(None))
    }

    pub(super) fn live(&mut self) -> Option<&mut Live> {
        match &mut self.stage {
            Stage::Live(live) => Some(live),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        }
    }

    /// The need that it has open.
    pub(super) fn need(&self) -> Option<NeedId> {
        match &self.stage {
            Stage::Waiting(_) => None,
            Stage::Opening(need) => Some(*need),
            Stage::Live(live) => Some(live.need),
        }
    }
}

impl Live {
    /// Its UDP socket. The ports of TCP are others.
    pub(super) fn socket(&self) -> Option<SocketAddr> {
        self.framing.is_none().then_some(self.local)
    }

    /// A message for the server, on its way.
    pub(super) fn carry(&self, contents: Vec<u8>) -> Carried {
        if self.framing.is_some() {
            Carried::Stream {
                need: self.need,
                contents,
            }
        } else {
            Carried::Datagram(Outgoing {
                source: self.local,
                destination: self.remote,
                contents,
            })
        }
    }

    /// A public server does not get to private addresses, and must not be asked to (RFC 8656 section 21.1.4).
    pub(super) fn reach(&mut self, peer: SocketAddr, now: Instant) {
        let is_public = self.relayed.is_some_and(|relayed| is_global(relayed.ip()));
        let same_family = self
            .relayed
            .is_some_and(|relayed| relayed.is_ipv4() == peer.is_ipv4());
        let is_asked = !planted!(PermissionForgotten);
        if is_asked
            && same_family
            && (is_global(peer.ip()) || !is_public)
            && !self.allocation.want(peer, now)
        {
            tracing::debug!(%peer, "a relay reaches no more addresses");
        }
    }
}

/// How often a server may send us on to another.
const MAX_REDIRECTS: usize = 3;
