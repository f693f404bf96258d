//! Between the pool of our candidates and the peers that share it.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Endpoint, Slot};
use crate::event::{Event, GatheringState};
use crate::ice::gather::{Carried, GatherOutput, Gatherer};
use crate::need::NeedId;
use crate::peer::{self, Datagram};
use crate::tape::Tape;

impl Endpoint {
    /// What secrets tell comes from this recording, or goes into it.
    pub(super) fn set_tape(&mut self, tape: Tape) {
        self.gatherer.set_tape(tape.clone());
        self.ctx.filter.set_tape(tape.clone());
        self.gatherer.set_filter(self.ctx.filter.clone());
        self.ctx.tape = tape;
    }

    pub(super) fn on_socket_bound(&mut self, local: SocketAddr) {
        self.gatherer.on_socket_bound(local, self.now);
        self.take_gathered();
    }

    pub(super) fn on_socket_closed(&mut self, local: SocketAddr) {
        self.gatherer.on_socket_closed(local, self.now);
        self.take_gathered();
    }

    pub(super) fn on_stream_data(&mut self, need: NeedId, contents: &[u8]) {
        let mut data = Vec::new();
        self.gatherer
            .handle_stream(need, contents, self.now, &mut |relayed, peer, bytes| {
                data.push((relayed, peer, bytes.to_vec()));
            });
        self.take_gathered();
        for (relayed, peer, bytes) in data {
            self.stats.datagrams_received += 1;
            self.stats.bytes_received += bytes.len() as u64;
            self.on_peer_datagram(relayed, peer, &bytes);
        }
    }

    /// Gives relays back once no peer of a closed endpoint is left.
    pub(super) fn rest_when_closed(&mut self) {
        if self.closing && self.by_id.is_empty() {
            self.gatherer.rest(self.now);
        }
        self.take_gathered();
    }

    /// Takes what the pool says, to the world and to every peer.
    pub(super) fn take_gathered(&mut self) {
        self.gatherer.refresh(&mut self.ctx.pool);
        self.ctx.gathered = self.gatherer.is_gathered();
        while let Some(output) = self.gatherer.poll_output() {
            match output {
                GatherOutput::Carried(Carried::Datagram(datagram)) => {
                    self.stats.datagrams_sent += 1;
                    self.stats.bytes_sent += datagram.contents.len() as u64;
                    self.transmits.push(datagram.into());
                }
                GatherOutput::Carried(Carried::Stream { need, contents }) => {
                    self.streams.push_back((need, contents));
                }
                GatherOutput::Need(need) => self.needs.push_back(need),
                GatherOutput::Found(candidate) => {
                    self.ctx.local = self.gatherer.candidates().to_vec();
                    self.with_all(|peer, ctx, now| peer.on_local_candidate(candidate, ctx, now));
                }
                GatherOutput::Gone(candidate) => {
                    self.ctx.local = self.gatherer.candidates().to_vec();
                    self.with_all(|peer, ctx, now| {
                        peer.on_local_candidate_gone(candidate, ctx, now)
                    });
                }
                GatherOutput::Moved { base } => {
                    self.with_all(|peer, _, now| peer.on_moved(base, now));
                }
                GatherOutput::State(state) => {
                    self.ctx.events.push_back(Event::Gathering { state });
                    if state == GatheringState::Complete {
                        self.with_all(peer::Peer::on_gathered);
                    }
                }
                GatherOutput::Failed { server, fault } => {
                    self.ctx
                        .events
                        .push_back(Event::IceServerFailed { server, fault });
                }
            }
        }
    }

    /// Peers have named addresses that relays have to reach.
    pub(super) fn reach_by_relays(&mut self) {
        for (id, address) in std::mem::take(&mut self.ctx.reached) {
            let key = self.by_id.get(&id).copied();
            if let Some(slot) = key.and_then(|key| self.slots.get_mut(key)) {
                slot.reach(address, &mut self.gatherer, self.now);
            }
        }
        self.take_gathered();
    }

    /// The path of a peer has fallen silent. If that is because a box between forgot us, servers tell our new address.
    pub(super) fn doubt_addresses(&mut self) {
        if std::mem::take(&mut self.ctx.doubted) {
            self.gatherer.doubt(self.now);
            self.take_gathered();
        }
    }
}

impl Slot {
    /// Lets relays reach an address of this peer, unless they do.
    pub(super) fn reach(&mut self, address: SocketAddr, gatherer: &mut Gatherer, now: Instant) {
        if self.reached.len() < MAX_REACHED && self.reached.insert(address) {
            gatherer.reach(address, now);
        }
    }
}

impl From<crate::ice::stun::Outgoing> for Datagram {
    fn from(outgoing: crate::ice::stun::Outgoing) -> Self {
        Self {
            source: outgoing.source,
            destination: outgoing.destination,
            contents: outgoing.contents,
        }
    }
}

/// Addresses of one peer that relays reach: those of a generation, and as many that its checks came from. Further ones
/// are not reached through relays.
pub(super) const MAX_REACHED: usize = 128;
