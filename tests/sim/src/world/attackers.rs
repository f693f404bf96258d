//! Hosts that attackers have taken over.

use std::net::SocketAddr;

use bowline::simulation::Protector;
use bowline::{PeerId, Seed, UnixTime};

use crate::attack::{Attacker, Deed, Hands, Heard, HeardSignal};
use crate::net::{Datagram, HostId};
use crate::rng::{Purpose, Stream};
use crate::time::Time;

use super::World;
use super::builder::identity;

impl World {
    /// An attacker takes the place of a host, before anybody has met it: its endpoint is gone.
    ///
    /// What the other hosts are told about it is not held against the model.
    pub fn take_over(&mut self, host: HostId, attacker: impl Attacker + 'static) {
        drop(self.remove_endpoint(host));
        let node = &mut self.nodes[host];
        let purpose = Purpose::Attacker(u32::try_from(host).unwrap_or(u32::MAX));
        let seed = Seed::from(Stream::new(self.seed, purpose).bytes32());
        let protection = node.spec.config.signalling().protection;
        let identity = identity(&node.spec.name, self.keyed);
        let protector = Protector::new(identity, protection, &seed);
        node.attacker = Some((Box::new(attacker), protector));
        self.attackers.push(host);
        self.let_attack(host, |attacker, hands| attacker.on_start(hands));
    }

    /// Attackers do and hear nothing any more.
    pub fn end_attacks(&mut self) {
        for host in std::mem::take(&mut self.attackers) {
            self.nodes[host].deadline = None;
        }
    }

    /// Whether a host has nothing to do of its own accord: for an attacker, that it is done.
    #[must_use]
    pub fn is_resting(&self, host: HostId) -> bool {
        self.nodes[host].next_wakeup().is_none()
    }

    pub(super) fn on_datagram_to_attacker(&mut self, host: HostId, datagram: &Datagram) {
        let heard = Heard {
            source: datagram.source,
            destination: datagram.destination,
            contents: &datagram.contents,
        };
        self.let_attack(host, |attacker, hands| attacker.on_datagram(&heard, hands));
    }

    pub(super) fn overhear_datagram(&mut self, tuple: (SocketAddr, SocketAddr), contents: &[u8]) {
        let (source, destination) = tuple;
        let heard = Heard {
            source,
            destination,
            contents,
        };
        for host in self.attackers.clone() {
            self.let_attack(host, |attacker, hands| {
                attacker.overhear_datagram(&heard, hands);
            });
        }
    }

    pub(super) fn overhear_signal(&mut self, to: PeerId, text: &str, serial: u64) {
        let heard = HeardSignal { to, text, serial };
        for host in self.attackers.clone() {
            self.let_attack(host, |attacker, hands| {
                attacker.overhear_signal(&heard, hands);
            });
        }
    }

    /// Gives the attacker of a host its turn, and does what it wants.
    pub(super) fn let_attack(
        &mut self,
        host: HostId,
        turn: impl FnOnce(&mut dyn Attacker, &mut Hands<'_>),
    ) {
        if !self.attackers.contains(&host) {
            return;
        }
        let unix_time = UnixTime::from_millis(self.unix_millis);
        let unix_time = unix_time.plus(self.clock.now().since(Time::ZERO));
        let node = &mut self.nodes[host];
        let Some((mut attacker, mut protector)) = node.attacker.take() else {
            return;
        };
        let mut hands = Hands {
            now: self.clock.now(),
            instant: self.clock.instant(),
            name: node.id,
            addresses: &node.addresses,
            unix_time,
            protector: &mut protector,
            deeds: Vec::new(),
        };
        turn(attacker.as_mut(), &mut hands);
        let deeds = hands.deeds;
        node.deadline = attacker.poll_timeout();
        node.attacker = Some((attacker, protector));
        deeds.into_iter().for_each(|deed| self.do_deed(host, deed));
    }

    fn do_deed(&mut self, host: HostId, deed: Deed) {
        let attacker = self.nodes[host].attacker.as_ref();
        if let Some(mark) = attacker.and_then(|(attacker, _)| attacker.mark()) {
            self.marks.set(mark);
        }
        match deed {
            Deed::Datagram {
                source,
                destination,
                contents,
            } => {
                let tuple = (source, destination);
                let now = self.clock.now();
                let fate = self.network.inject(host, tuple, &contents, now);
                self.dispatch(host, &contents, fate);
            }
            Deed::Signal { to, text, copy_of } => {
                let serial = self.post(host, to, text, copy_of);
                self.forged.extend(serial.filter(|_| copy_of.is_none()));
            }
        }
    }
}
