//! From the peers to the sockets: what they send, at its pace and through relays.

use std::net::SocketAddr;

use super::Endpoint;
use super::gate::{self, Gate};
use super::slots::PeerKey;
use crate::config::MIN_PACING;
use crate::event::Path;
use crate::ice::gather::Carried;
use crate::peer::Datagram;

impl Endpoint {
    /// Takes the datagrams of a peer. Checks to addresses that have not asked for any wait for their turn.
    pub(super) fn take_datagrams(&mut self, key: PeerKey) {
        while let Some(datagram) = self.poll_datagram(key) {
            let remote = datagram.destination;
            match gate::classify(&datagram.contents) {
                // In another private network the peer can have the address that we have in ours.
                Gate::Request { .. } if self.gatherer.sockets().contains(&remote) => {}
                Gate::Request { .. } if self.is_asked(key, datagram.destination) => {
                    self.send_check(key, datagram);
                }
                Gate::Request { .. } => self.pacer.push(key, datagram),
                // The transport answers, and secures, only to addresses that it has authenticated.
                Gate::Response { .. } => self.send_authenticated(key, datagram),
                Gate::Dtls => {
                    if self.may_send(key, &datagram) || planted!(ConsentUnasked) {
                        self.send_authenticated(key, datagram);
                    } else {
                        self.stats.datagrams_withheld += 1;
                    }
                }
                Gate::Indication | Gate::Unsupported | Gate::Drop(_) => self.send(key, datagram),
            }
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

    fn poll_datagram(&mut self, key: PeerKey) -> Option<Datagram> {
        self.slots.get_mut(key)?.peer.poll_datagram(self.now)
    }

    /// Whether a check that was made with our password has come from an address, which asks for ours.
    fn is_asked(&self, key: PeerKey, remote: SocketAddr) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.tuples.iter().any(|(_, known)| *known == remote))
    }

    /// Whether the peer has consented to secured data where this datagram goes. Notes that data goes there.
    fn may_send(&mut self, key: PeerKey, datagram: &Datagram) -> bool {
        let Some(slot) = self.slots.get_mut(key) else {
            return false;
        };
        let path = Path {
            local: datagram.source,
            remote: datagram.destination,
        };
        slot.peer.on_secured(datagram, self.now);
        // The transport goes on sending from a candidate that is gone until it has another pair.
        let may = self.ctx.is_ours(path.local) && slot.peer.may_send(path, self.now);
        if may {
            slot.peer.on_path_used(path, &mut self.ctx, self.now);
        }
        may
    }

    /// Sends to a pair of addresses that is the peer's, and the check that waits for it behind the first.
    fn send_authenticated(&mut self, key: PeerKey, datagram: Datagram) {
        let tuple = (datagram.source, datagram.destination);
        let is_new = self.note_tuple(key, tuple);
        self.send(key, datagram);
        if is_new && let Some(check) = self.pacer.take(key, tuple) {
            self.send_check(key, check);
        }
    }

    /// Has what comes on a pair of addresses brought to the peer. Returns whether it is new.
    fn note_tuple(&mut self, key: PeerKey, tuple: (SocketAddr, SocketAddr)) -> bool {
        let Some(slot) = self.slots.get_mut(key) else {
            return false;
        };
        if slot.tuples.contains(&tuple) || !self.demux.add_tuple(tuple, key) {
            return false;
        }
        slot.tuples.push_back(tuple);
        if slot.tuples.len() > MAX_TUPLES
            && let Some(oldest) = slot.tuples.pop_front()
        {
            self.demux.remove_tuple(oldest);
        }
        true
    }

    /// A check on a pair of addresses was answered with the password of the peer: it is there, and whoever else held the pair is not.
    pub(super) fn claim_tuple(&mut self, key: PeerKey, tuple: (SocketAddr, SocketAddr)) {
        let holder = self.demux.by_tuple(tuple);
        let Some(holder) = holder.filter(|holder| *holder != key) else {
            return;
        };
        self.demux.remove_tuple(tuple);
        if let Some(slot) = self.slots.get_mut(holder) {
            slot.tuples.retain(|held| *held != tuple);
        }
        self.note_tuple(key, tuple);
    }

    fn send_check(&mut self, key: PeerKey, check: Datagram) {
        if let Some(id) = transaction_of(&check) {
            self.demux.add_check(id, key, check.destination, self.now);
        }
        if let Some(slot) = self.slots.get_mut(key) {
            slot.peer.on_check_sent(&check, self.now);
        }
        self.send(key, check);
    }

    fn send(&mut self, key: PeerKey, datagram: Datagram) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let (local, remote) = (datagram.source, datagram.destination);
        slot.peer.on_sent(datagram.contents.len());
        self.stats.datagrams_sent += 1;
        self.stats.bytes_sent += datagram.contents.len() as u64;
        if !self.gatherer.is_relayed(local) {
            return self.transmits.push(datagram);
        }
        slot.reach(remote, &mut self.gatherer, self.now);
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
