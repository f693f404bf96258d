//! The relays of the pool: which there are, how they begin, and what becomes of them when they end.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::output::{GatherOutput, LocalCandidate, RelayedData, Taken};
use super::relays::{Relay, Stage};
use super::{Gatherer, Purpose};
use crate::config::CandidateType;
use crate::event::ServerFault;
use crate::ice::nat::Family;
use crate::ice::policy::canonical;
use crate::ice::server::IceServer;
use crate::ice::turn::{AllocationEvent, End, Received};
use crate::need::Need;

impl Gatherer {
    /// Relays for each TURN server that can be reached from a socket of ours; those of other servers retire.
    pub(super) fn plan_relays(&mut self, now: Instant) {
        let mut wanted = Vec::new();
        for server in self
            .servers
            .iter()
            .filter(|s| s.ice.is_relay() && self.wants(CandidateType::Relayed) && !self.resting)
        {
            let reachable = |address: &SocketAddr| self.base_for(address.ip()).is_some();
            let addresses: Vec<_> = server.socket_addresses().filter(reachable).collect();
            if addresses.iter().any(SocketAddr::is_ipv6) {
                wanted.push((server.ice.clone(), Family::Ipv6, addresses.clone()));
            }
            if !addresses.is_empty() {
                wanted.push((server.ice.clone(), Family::Ipv4, addresses));
            }
        }
        let is_for =
            |relay: &Relay, ice: &IceServer, family| relay.ice == *ice && relay.family == family;
        for relay in self.relays.values_mut() {
            let is_wanted = |(ice, family, _): &(_, _, _)| is_for(relay, ice, *family);
            relay.retired = !wanted.iter().any(is_wanted);
        }
        self.give_back_unused(now);
        for (ice, family, addresses) in wanted {
            if !self
                .relays
                .values()
                .any(|relay| is_for(relay, &ice, family))
            {
                let relay = Relay::new(ice, family, addresses, now);
                self.relays.insert(self.next_relay, relay);
                self.next_relay += 1;
            }
        }
    }

    /// Ends the relays of former servers that nobody uses.
    pub(super) fn give_back_unused(&mut self, now: Instant) {
        let is_idle = |relay: &Relay| relay.retired && (self.resting || !relay.is_used());
        let idle: Vec<u64> = self
            .relays
            .iter()
            .filter(|(_, relay)| is_idle(relay))
            .map(|(key, _)| *key)
            .collect();
        for key in idle {
            self.give_back(key, now);
        }
    }

    pub(super) fn open_relay(&mut self, key: u64, now: Instant) {
        let Some(remote) = self.relays.get(&key).and_then(Relay::remote) else {
            return;
        };
        let need = self.new_need(Purpose::Relay(key));
        let ip = self.base_for(remote.ip()).map(|base| base.ip());
        let opened = self
            .relays
            .get_mut(&key)
            .and_then(|relay| relay.open(need, ip?));
        match opened {
            Some(opened) => self.outputs.push_back(GatherOutput::Need(opened)),
            None => {
                self.by_need.remove(&need);
                self.end_relay(key, End::Fault(ServerFault::Unreachable), now);
            }
        }
        self.note_asked(remote, now);
    }

    pub(super) fn drive_relay(&mut self, key: u64, now: Instant) {
        let Some(live) = self.relays.get_mut(&key).and_then(Relay::live) else {
            return;
        };
        if live.allocation.poll_timeout().is_some_and(|at| at <= now) {
            live.allocation.handle_timeout(now);
        }
        while let Some(contents) = live.allocation.poll_transmit() {
            let carried = live.carry(contents);
            self.outputs.push_back(GatherOutput::Carried(carried));
        }
        while let Some(event) = self
            .relays
            .get_mut(&key)
            .and_then(Relay::live)
            .and_then(|live| live.allocation.poll_event())
        {
            match event {
                AllocationEvent::Granted(relayed) => self.on_granted(key, relayed, now),
                AllocationEvent::Ended(end) => self.end_relay(key, end, now),
            }
        }
    }

    pub(super) fn on_relay_datagram(
        &mut self,
        key: u64,
        remote: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) -> Taken {
        let Some(live) = self.relays.get_mut(&key).and_then(Relay::live) else {
            return Taken::Yes;
        };
        // RFC 8489 section 6.3: an answer comes from where was asked.
        if live.remote != canonical(remote) {
            return Taken::Yes;
        }
        let relayed = live.relayed;
        match (live.allocation.receive(contents, now), relayed) {
            (Received::Data { peer, data }, Some(relayed)) => Taken::Data(RelayedData {
                relayed,
                peer: canonical(peer),
                data,
            }),
            (Received::Data { .. } | Received::Ignored, _) => Taken::Yes,
            (Received::Response, _) => {
                self.drive(now);
                Taken::Yes
            }
        }
    }

    fn on_granted(&mut self, key: u64, relayed: SocketAddr, now: Instant) {
        self.revision += 1;
        let relayed = canonical(relayed);
        if !self.addresses.allows(relayed) || self.by_relayed.contains_key(&relayed) {
            return self.end_relay(key, End::Fault(ServerFault::Protocol), now);
        }
        let Some(relay) = self.relays.get_mut(&key) else {
            return;
        };
        relay.on_granted();
        let ice = relay.ice.clone();
        if let Some(live) = relay.live() {
            live.relayed = Some(relayed);
            for peer in self.reached.keys() {
                live.reach(*peer, now);
            }
            let base = live.local;
            self.by_relayed.insert(relayed, key);
            self.found(LocalCandidate {
                kind: CandidateType::Relayed,
                address: relayed,
                base,
            });
        }
        for server in self.servers.iter_mut().filter(|server| server.ice == ice) {
            server.answered = true;
            server.told = None;
        }
    }

    /// The candidate of a relay goes, and its socket is closed.
    pub(super) fn close_relay(&mut self, key: u64) {
        self.revision += 1;
        let Some(relay) = self.relays.get_mut(&key) else {
            return;
        };
        let need = relay.need();
        let live = relay.live().map(|live| (live.socket(), live.relayed));
        if let Some((socket, relayed)) = live {
            if let Some(socket) = socket {
                self.by_local.remove(&socket);
            }
            if let Some(relayed) = relayed {
                self.forget_relayed(relayed);
            }
        }
        if let Some(need) = need
            && self.by_need.remove(&need).is_some()
        {
            self.outputs
                .push_back(GatherOutput::Need(Need::Close { need }));
        }
    }

    /// A relay is over, and may begin anew.
    pub(super) fn end_relay(&mut self, key: u64, end: End, now: Instant) {
        self.close_relay(key);
        let fault = match end {
            End::Deleted => None,
            End::Fault(fault) => Some(fault),
            End::Redirected(to) => {
                let to = canonical(to);
                let usable = self.addresses.allows(to) && self.base_for(to.ip()).is_some();
                let relay = self.relays.get_mut(&key);
                let follows = relay.is_some_and(|relay| usable && relay.on_redirected(to, now));
                (!follows).then_some(ServerFault::Redirect)
            }
        };
        let Some(relay) = self.relays.get_mut(&key) else {
            return;
        };
        if relay.retired || end == End::Deleted {
            self.relays.remove(&key);
            return;
        }
        if let Some(fault) = fault {
            let fault = self.judge(key, fault, now);
            let ice = self.relays.get_mut(&key).map(|relay| {
                relay.on_failed(fault, now);
                relay.ice.clone()
            });
            let at = self
                .servers
                .iter()
                .position(|server| Some(&server.ice) == ice.as_ref());
            if let Some(server) = at {
                // Whoever refuses is there.
                self.servers[server].answered |= fault != ServerFault::Unreachable;
                let ice = &self.servers[server].ice;
                let goes_on = |relay: &Relay| relay.ice == *ice && !relay.is_given_up();
                // A server of one family is used in that.
                if fault != ServerFault::Family || !self.relays.values().any(goes_on) {
                    self.fail(server, fault);
                }
            }
        }
    }

    /// Credentials that are limited in time and refused: are they over, or is a clock wrong?
    fn judge(&self, key: u64, fault: ServerFault, now: Instant) -> ServerFault {
        let expires = self.relays.get(&key).and_then(|relay| relay.ice.expires());
        let present = self.wall.at(now);
        match (fault, expires) {
            (ServerFault::Unauthorized, Some(at)) if at <= present => ServerFault::Expired,
            (ServerFault::Unauthorized, Some(_)) => ServerFault::ClockSkew,
            _ => fault,
        }
    }

    /// The interface of some relays is gone: they begin anew from another.
    pub(super) fn leave_interface(&mut self, ip: IpAddr, now: Instant) {
        let is_there = |relay: &mut Relay| relay.live().is_some_and(|live| live.local.ip() == ip);
        let keys: Vec<u64> = self
            .relays
            .iter_mut()
            .filter_map(|(key, relay)| is_there(relay).then_some(*key))
            .collect();
        for key in keys {
            self.close_relay(key);
            if let Some(relay) = self.relays.get_mut(&key) {
                relay.stage = Stage::Waiting(Some(now));
            }
        }
    }

    /// Asks the server to end an allocation, or forgets a relay that has none.
    fn give_back(&mut self, key: u64, now: Instant) {
        match self.relays.get_mut(&key).and_then(Relay::live) {
            Some(live) => {
                live.allocation.delete(now);
                if let Some(relayed) = live.relayed.take() {
                    self.forget_relayed(relayed);
                }
            }
            None => self.end_relay(key, End::Deleted, now),
        }
    }

    fn forget_relayed(&mut self, relayed: SocketAddr) {
        self.by_relayed.remove(&relayed);
        self.lost(|c| c.kind == CandidateType::Relayed && c.address == relayed);
    }
}
