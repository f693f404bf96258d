//! The simulated network: hosts with several addresses, boxes between them, and a directed link between every two hosts.

mod accounts;
mod class;
mod firewall;
mod gateways;
pub(crate) mod link;
mod nat;
mod route;
mod theory;

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use accounts::{Accounts, DropCause};
pub use class::Class;
pub use firewall::Firewall;
pub use link::{Burst, LinkConfig};
pub use nat::{Filtering, Mapping, NatConfig, Ports};
pub use route::GatewayId;
pub use theory::has_path;

pub(crate) use nat::embedded::embed_ip;

use crate::marks::{Mark, Marks};
use crate::rng::Purpose;
use crate::time::Time;
use link::{Damage, Link, Verdict};
use route::{Hop, INTERNET, RealmId, Routes};

/// The number of a host: the order in which it was added to the world.
pub type HostId = usize;

/// A datagram on its way.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) to: HostId,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) contents: Vec<u8>,
    /// When it was sent first.
    pub(crate) sent: Time,
    /// Where the destination is looked up when it arrives.
    realm: RealmId,
}

/// What became of a datagram that was handed to the network.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and nearly always the large one"
)]
pub(crate) enum Fate {
    /// It arrives, once or twice.
    Underway {
        to: HostId,
        first: (Time, Datagram),
        again: Option<(Time, Datagram)>,
    },
    /// It does not.
    Dropped {
        to: Option<HostId>,
        cause: DropCause,
    },
}

/// The network.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    default: LinkConfig,
    links: BTreeMap<(HostId, HostId), Link>,
    routes: Routes,
    accounts: Accounts,
    marks: Marks,
    /// Buffers of datagrams that have arrived, to be filled again.
    spare: Vec<Vec<u8>>,
}

impl Network {
    /// A network without hosts, whose links are like `default` until they are set.
    #[must_use]
    pub fn new(seed: u64, default: LinkConfig) -> Self {
        Self {
            seed,
            default,
            links: BTreeMap::new(),
            routes: Routes::new(seed),
            accounts: Accounts::default(),
            marks: Marks::default(),
            spare: Vec::new(),
        }
    }

    /// Gives an address to a host, in the network where the host is.
    pub fn attach(&mut self, host: HostId, address: SocketAddr) {
        self.routes.attach(host, address);
    }

    /// Takes an address on the internet away. What is on its way there is lost.
    pub fn detach(&mut self, address: SocketAddr) {
        self.routes.detach(INTERNET, address);
    }

    /// Takes an address away from a host, wherever it is.
    pub fn detach_from(&mut self, host: HostId, address: SocketAddr) {
        let home = self.routes.home(host);
        if self.routes.owner(home, address) == Some(host) {
            self.routes.detach(home, address);
        }
    }

    /// Sets one direction between two hosts.
    pub fn set_link(&mut self, from: HostId, to: HostId, config: LinkConfig) {
        self.link(from, to).config = config;
    }

    /// The present properties of one direction between two hosts.
    pub fn link_config(&mut self, from: HostId, to: HostId) -> LinkConfig {
        self.link(from, to).config.clone()
    }

    /// Loses all that `from` sends to `to` before `until`.
    pub fn partition(&mut self, from: HostId, to: HostId, until: Time) {
        self.link(from, to).partition(until);
    }

    /// Holds back all that `from` sends to `to` until `until`.
    pub fn clog(&mut self, from: HostId, to: HostId, until: Time) {
        self.link(from, to).clog(until);
    }

    /// Ends every fault on every link. Latencies and rates stay. Firewalls are as they were configured.
    pub fn heal(&mut self) {
        self.default = self.default.healed();
        self.links.values_mut().for_each(Link::heal);
        self.routes.heal();
    }

    /// What became of every datagram so far.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.accounts
    }

    /// What links and boxes did so far.
    pub(crate) fn marks(&self) -> Marks {
        let mut marks = self.marks;
        self.links.values().for_each(|link| marks.add(link.marks));
        marks.add(self.routes.marks());
        marks
    }

    /// Decides what becomes of a datagram.
    pub(crate) fn send(
        &mut self,
        from: HostId,
        tuple: (SocketAddr, SocketAddr),
        contents: &[u8],
        now: Time,
    ) -> Fate {
        let home = self.routes.home(from);
        let sends = self.routes.owner(home, tuple.0) == Some(from);
        self.carry(from, tuple, contents, sends, now)
    }

    /// Decides what becomes of a datagram whose source may be anybody's.
    pub(crate) fn inject(
        &mut self,
        from: HostId,
        tuple: (SocketAddr, SocketAddr),
        contents: &[u8],
        now: Time,
    ) -> Fate {
        self.carry(from, tuple, contents, true, now)
    }

    fn carry(
        &mut self,
        from: HostId,
        tuple: (SocketAddr, SocketAddr),
        contents: &[u8],
        sends: bool,
        now: Time,
    ) -> Fate {
        self.accounts.on_sent(contents.len());
        let (to, hop) = match self.route(from, tuple, contents, sends, now) {
            Ok(way) => way,
            Err(cause) => {
                self.on_dropped(cause);
                return Fate::Dropped { to: None, cause };
            }
        };
        let class = Class::of(contents);
        match self.link(from, to).pass(contents.len(), class, now) {
            Verdict::Dropped(cause) => {
                self.on_dropped(cause);
                self.note_refusal(cause, class, (to, from), now);
                Fate::Dropped {
                    to: Some(to),
                    cause,
                }
            }
            Verdict::Arrives { at, again, damage } => {
                self.accounts.on_underway(1 + u64::from(again.is_some()));
                let mut make = |damage: Damage| {
                    let mut copy = self.spare.pop().unwrap_or_default();
                    copy.extend_from_slice(contents);
                    damage.apply(&mut copy);
                    Datagram {
                        to,
                        source: hop.source,
                        destination: hop.destination,
                        contents: copy,
                        sent: now,
                        realm: hop.realm,
                    }
                };
                let first = (at, make(damage));
                let again = again.map(|at| (at, make(Damage::None)));
                self.count_damage(damage);
                Fate::Underway { to, first, again }
            }
        }
    }

    /// Takes a datagram inward through the boxes of its receiver, when it arrives there. `None` when one drops it.
    pub(crate) fn land(&mut self, mut datagram: Datagram, now: Time) -> Option<Datagram> {
        if self.routes.count() == 0 {
            return Some(datagram);
        }
        let hop = Hop {
            realm: datagram.realm,
            source: datagram.source,
            destination: datagram.destination,
        };
        match self.routes.inward(hop, &datagram.contents, now) {
            Ok((to, hop)) => {
                datagram.to = to;
                datagram.realm = hop.realm;
                datagram.source = hop.source;
                datagram.destination = hop.destination;
                Some(datagram)
            }
            Err(cause) => {
                self.accounts.on_lost(cause);
                self.marks
                    .set_if(cause == DropCause::Firewall, Mark::UdpBlocked);
                self.recycle(datagram);
                None
            }
        }
    }

    /// Takes a datagram that has arrived. `None` when nobody has its address any more.
    pub(crate) fn arrive(&mut self, datagram: Datagram, listens: bool) -> Option<Datagram> {
        let owner = self.routes.owner(datagram.realm, datagram.destination);
        let taken = owner == Some(datagram.to) && listens;
        self.accounts.on_arrived(taken);
        if taken {
            return Some(datagram);
        }
        self.recycle(datagram);
        None
    }

    /// Takes back the buffer of a datagram.
    pub(crate) fn recycle(&mut self, datagram: Datagram) {
        let mut buffer = datagram.contents;
        if self.spare.len() < MAX_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// The host that a datagram leads to, and where its way turns inward.
    fn route(
        &mut self,
        from: HostId,
        (source, destination): (SocketAddr, SocketAddr),
        contents: &[u8],
        sends: bool,
        now: Time,
    ) -> Result<(HostId, Hop), DropCause> {
        if !sends || source.is_ipv4() != destination.is_ipv4() {
            return Err(DropCause::Unrouted);
        }
        let hop = Hop {
            realm: self.routes.home(from),
            source,
            destination,
        };
        // Between hosts of one realm, which is where most datagrams go, nothing else is looked at.
        if let Some(to) = self.routes.owner(hop.realm, destination) {
            return Ok((to, hop));
        }
        let hop = self.routes.outward(hop, contents, now)?;
        Ok((self.routes.lead(hop, now)?, hop))
    }

    fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        let Self {
            seed,
            default,
            links,
            ..
        } = self;
        links.entry((from, to)).or_insert_with(|| {
            let (from, to) = (short(from), short(to));
            Link::new(default.clone(), *seed, |fault| Purpose::Link {
                from,
                to,
                fault,
            })
        })
    }

    fn on_dropped(&mut self, cause: DropCause) {
        self.accounts.on_dropped(cause);
        let mark = match cause {
            DropCause::Loss => Mark::Loss,
            DropCause::Burst => Mark::BurstLoss,
            DropCause::Queue => Mark::FullLink,
            DropCause::Mtu => Mark::MtuBlackHole,
            DropCause::NatHairpin => Mark::HairpinRefused,
            DropCause::Firewall => Mark::UdpBlocked,
            DropCause::Partition
            | DropCause::Filter
            | DropCause::Unrouted
            | DropCause::Gone
            | DropCause::NoMapping
            | DropCause::NatFilter
            | DropCause::NatPorts => return,
        };
        self.marks.set(mark);
    }

    /// What a link drops of its own accord depends on the way back, or on the datagram.
    fn note_refusal(&mut self, cause: DropCause, class: Class, back: (HostId, HostId), now: Time) {
        let back_is_down = self.links.get(&back).is_some_and(|link| link.is_down(now));
        let mark = match (cause, class) {
            (DropCause::Partition, _) if back_is_down => Mark::TwoWayPartition,
            (DropCause::Partition, _) => Mark::OneWayPartition,
            (DropCause::Filter, Class::Stun) => Mark::FilterStun,
            (DropCause::Filter, Class::Handshake) => Mark::FilterHandshake,
            (DropCause::Filter, Class::Dtls) => Mark::FilterData,
            _ => return,
        };
        self.marks.set(mark);
    }

    fn count_damage(&mut self, damage: Damage) {
        match damage {
            Damage::None => {}
            Damage::Truncated(_) => self.accounts.truncated += 1,
            Damage::Flipped(_) => self.accounts.flipped += 1,
        }
    }
}

/// The number of a host, as random streams name it.
pub(crate) fn short(host: HostId) -> u16 {
    u16::try_from(host).expect("the builder refuses more than 4,096 hosts")
}

/// Buffers kept for reuse.
const MAX_SPARE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "10.0.0.1:5000";
    const B: &str = "10.0.0.2:5000";
    const B6: &str = "[fd00::2]:5000";

    fn network(link: LinkConfig) -> Network {
        let mut network = Network::new(3, link);
        for (host, address) in [(0, A), (1, B), (1, B6)] {
            network.attach(host, at(address));
        }
        network
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    #[test]
    fn every_datagram_is_accounted_for_under_every_fault_at_once() {
        let link = LinkConfig {
            loss: 0.1,
            duplicate: 0.2,
            reorder: 0.2,
            truncate: 0.1,
            flip: 0.1,
            burst: Some(Burst {
                enter: 0.05,
                leave: 0.3,
                loss: 0.8,
            }),
            rate: Some(100_000),
            queue: 5_000,
            mtu: 1_000,
            ..LinkConfig::default()
        };
        let mut network = network(link);
        let mut arriving = Vec::new();
        for i in 0..5_000u64 {
            let len = usize::try_from(i % 1_100).expect("small");
            let fate = network.send(0, (at(A), at(B)), &vec![22; len], Time::from_millis(i));
            if let Fate::Underway { first, again, .. } = fate {
                arriving.extend([Some(first), again].into_iter().flatten());
            }
            assert!(network.accounts().balance());
        }
        assert_eq!(network.accounts().in_flight, arriving.len() as u64);
        for (_, datagram) in arriving {
            let taken = network.arrive(datagram, true);
            assert!(taken.is_some());
        }
        let accounts = network.accounts();
        assert!(accounts.balance());
        assert_eq!(accounts.in_flight, 0);
        for cause in [
            DropCause::Loss,
            DropCause::Burst,
            DropCause::Queue,
            DropCause::Mtu,
        ] {
            assert!(accounts.dropped_by(cause) > 0, "{cause:?}");
        }
        assert!(accounts.duplicated > 0 && accounts.truncated > 0 && accounts.flipped > 0);
    }

    #[test]
    fn a_datagram_to_nobody_of_another_family_or_from_a_foreign_source_is_not_routed() {
        let mut network = network(LinkConfig::default());
        for (source, destination) in [(A, "10.0.0.9:1"), (A, B6), (B, A)] {
            let fate = network.send(0, (at(source), at(destination)), b"x", Time::ZERO);
            assert!(
                matches!(
                    fate,
                    Fate::Dropped {
                        cause: DropCause::Unrouted,
                        ..
                    }
                ),
                "{destination}"
            );
        }
        assert_eq!(network.accounts().dropped_by(DropCause::Unrouted), 3);
    }

    #[test]
    fn what_is_on_its_way_to_an_address_that_goes_is_lost() {
        let mut network = network(LinkConfig::default());
        let fate = network.send(0, (at(A), at(B)), b"x", Time::ZERO);
        let Fate::Underway {
            first: (_, datagram),
            ..
        } = fate
        else {
            panic!("a perfect link");
        };
        network.detach(at(B));
        assert!(network.arrive(datagram, true).is_none());
        assert_eq!(network.accounts().dropped_by(DropCause::Gone), 1);
    }

    #[test]
    fn the_two_directions_of_a_pair_are_set_apart() {
        let mut network = network(LinkConfig::default());
        network.partition(0, 1, Time::from_secs(1));
        let there = network.send(0, (at(A), at(B)), b"x", Time::ZERO);
        let back = network.send(1, (at(B), at(A)), b"x", Time::ZERO);
        assert!(matches!(
            there,
            Fate::Dropped {
                cause: DropCause::Partition,
                ..
            }
        ));
        assert!(matches!(back, Fate::Underway { .. }));
        network.heal();
        let there = network.send(0, (at(A), at(B)), b"x", Time::ZERO);
        assert!(matches!(there, Fate::Underway { .. }));
    }
}
