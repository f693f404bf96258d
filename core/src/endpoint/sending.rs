//! From the peers to the sockets: what they send, at its pace and through relays.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::gate::{self, Gate};
use super::slots::PeerKey;
use super::transmit::TransmitQueue;
use super::{Endpoint, Slot};
use crate::config::MIN_PACING;
use crate::event::Path;
use crate::ice::gather::{Carried, Gatherer};
use crate::metrics::EndpointStats;
use crate::need::NeedId;
use crate::peer::Datagram;

impl Endpoint {
    /// Takes the datagrams of a peer. Checks to addresses that have not asked for any wait for their turn.
    pub(super) fn take_datagrams(&mut self, key: PeerKey) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let mut wires = Wires {
            gatherer: &mut self.gatherer,
            transmits: &mut self.transmits,
            streams: &mut self.streams,
            stats: &mut self.stats,
            now: self.now,
        };
        let mut asked = Vec::new();
        while let Some(datagram) = slot.peer.poll_datagram(self.now) {
            let (local, remote) = (datagram.source, datagram.destination);
            let gate = gate::classify(&datagram.contents);
            match gate {
                Gate::Request { .. } => {
                    // In another private network the peer can have the address that we have in ours.
                    if wires.gatherer.sockets().contains(&remote) {
                        continue;
                    }
                    if !slot.is_asked_by(remote) {
                        self.pacer.push(key, datagram);
                        continue;
                    }
                    if let Some(id) = transaction_of(&datagram) {
                        self.demux.add_check(id, key, remote, self.now);
                    }
                    slot.peer.on_check_sent(&datagram, self.now);
                }
                // The transport answers, and secures, only to addresses that it has authenticated.
                Gate::Response { .. } | Gate::Dtls => {
                    let tuple = (local, remote);
                    if !slot.tuples.contains(&tuple) && self.demux.add_tuple(tuple, key) {
                        slot.tuples.push_back(tuple);
                        asked.push(tuple);
                    }
                    if slot.tuples.len() > MAX_TUPLES
                        && let Some(oldest) = slot.tuples.pop_front()
                    {
                        self.demux.remove_tuple(oldest);
                    }
                }
                Gate::Indication | Gate::Unsupported | Gate::Drop(_) => {}
            }
            if matches!(gate, Gate::Dtls) {
                let path = Path { local, remote };
                if !slot.peer.may_send(path, self.now) {
                    wires.stats.datagrams_withheld += 1;
                    continue;
                }
                slot.peer.on_path_used(path, &mut self.ctx, self.now);
            }
            wires.send(slot, datagram);
        }
        let due = asked
            .into_iter()
            .filter_map(|tuple| self.pacer.take(key, tuple));
        for check in due.collect::<Vec<_>>() {
            self.send_check(key, check);
        }
        self.send_checks();
    }

    /// Sends the checks whose turn it is.
    pub(super) fn send_checks(&mut self) {
        if let Some(at) = self.gatherer.begun_at() {
            self.pacer.hold(at);
        }
        while let Some((key, check)) = self.pacer.poll(self.now) {
            self.gatherer.hold(self.now + MIN_PACING);
            self.send_check(key, check);
        }
        // What became due for a relay by this.
        self.take_gathered();
    }

    fn send_check(&mut self, key: PeerKey, check: Datagram) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if let Some(id) = transaction_of(&check) {
            self.demux.add_check(id, key, check.destination, self.now);
        }
        slot.peer.on_check_sent(&check, self.now);
        let mut wires = Wires {
            gatherer: &mut self.gatherer,
            transmits: &mut self.transmits,
            streams: &mut self.streams,
            stats: &mut self.stats,
            now: self.now,
        };
        wires.send(slot, check);
    }
}

impl Slot {
    /// Whether a check that was made with our password has come from an address, which asks for ours.
    fn is_asked_by(&self, remote: SocketAddr) -> bool {
        self.tuples.iter().any(|(_, known)| *known == remote)
    }
}

/// Where datagrams of peers go out.
struct Wires<'a> {
    gatherer: &'a mut Gatherer,
    transmits: &'a mut TransmitQueue,
    streams: &'a mut VecDeque<(NeedId, Vec<u8>)>,
    stats: &'a mut EndpointStats,
    now: Instant,
}

impl Wires<'_> {
    fn send(&mut self, slot: &mut Slot, datagram: Datagram) {
        let (local, remote) = (datagram.source, datagram.destination);
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += datagram.contents.len() as u64;
        if !self.gatherer.is_relayed(local) {
            return self.transmits.push(datagram);
        }
        slot.reach(remote, self.gatherer, self.now);
        let contents = datagram.contents;
        match self.gatherer.relay(local, remote, contents, self.now) {
            Some(Carried::Datagram(datagram)) => self.transmits.push(datagram.into()),
            Some(Carried::Stream { need, contents }) => self.streams.push_back((need, contents)),
            None => {}
        }
    }
}

fn transaction_of(check: &Datagram) -> Option<[u8; 12]> {
    check.contents.get(8..20)?.try_into().ok()
}

/// Pairs of addresses that lead to one peer. An ICE agent has at most 100 pairs; at the bound the oldest is forgotten,
/// and a check brings it back.
pub(super) const MAX_TUPLES: usize = 256;
