//! Rule 19: nothing is sent through an allocation, a permission or a channel that is over, and an allocation that is not needed
//! any more is given back.
//!
//! Kept is what a host may believe: what it asked its TURN servers for over datagrams, and what arrived of their answers. That a
//! server has crashed meanwhile, or that a box has given the host another port, it cannot know. Streams are not looked
//! at: the network has none.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turn_server_proto::types::attribute::{ChannelNumber, Lifetime, XorPeerAddress};
use turn_server_proto::types::message::{ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};
use turn_server_proto::types::stun::message::{Message, MessageClass};

use crate::findings::{Findings, Invariant};
use crate::time::Time;

/// From which socket of the host, and to which address of a server.
type Way = (SocketAddr, SocketAddr);

/// The allocations of one host.
#[derive(Debug, Default)]
pub(crate) struct Relays(BTreeMap<Way, Allocation>);

#[derive(Debug, Default)]
struct Allocation {
    /// When it is over; `None` is before it began.
    until: Option<Time>,
    /// The transaction that made it.
    made_by: Option<[u8; 12]>,
    permissions: BTreeMap<IpAddr, Time>,
    channels: BTreeMap<u16, Channel>,
    asked: BTreeMap<[u8; 12], Asked>,
    /// Whether its end was asked for.
    ends: bool,
    /// Whether the last answer was an error, which may say that it is lost.
    is_refused: bool,
    /// Whether its socket went with its interface.
    is_unplugged: bool,
}

#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    /// When it is over; `None` is before the server has confirmed it.
    until: Option<Time>,
    /// Until when its number is of no other peer: the server may have bound it.
    reserved: Time,
}

#[derive(Debug)]
enum Asked {
    Life,
    Permissions(Vec<IpAddr>),
    Channel(u16, IpAddr),
}

impl Relays {
    /// A host sends a datagram to a server. At most `max_peers` may be permitted at a time.
    pub(crate) fn on_sent(
        &mut self,
        way: Way,
        contents: &[u8],
        max_peers: usize,
        findings: &mut Findings,
    ) {
        let now = findings.now;
        match contents {
            [0x40..=0x4f, ..] => {
                let Some(number) = contents.first_chunk().map(|n| u16::from_be_bytes(*n)) else {
                    return;
                };
                let allocation = self.0.entry(way).or_default();
                let peer = allocation.channel(number, now);
                let open = peer.is_some_and(|peer| allocation.permits(peer, now));
                findings.check(Invariant::TurnCare, open, || {
                    format!("data on the channel {number:#x} over {way:?}: {allocation:?}")
                });
            }
            [0..=3, ..] => {
                let message = Message::from_bytes(contents).ok();
                if let Some(message) = message {
                    self.on_message(way, &message, max_peers, findings);
                }
            }
            _ => {}
        }
    }

    /// An answer of a server arrives at the host.
    pub(crate) fn on_received(&mut self, way: Way, contents: &[u8], now: Time) {
        let Some(message) = Message::from_bytes(contents)
            .ok()
            .filter(|m| m.is_response())
        else {
            return;
        };
        let Some(allocation) = self.0.get_mut(&way) else {
            return;
        };
        let id = id(contents);
        let Some(asked) = id.and_then(|id| allocation.asked.remove(&id)) else {
            return;
        };
        let succeeds = message.has_class(MessageClass::Success);
        allocation.is_refused = !succeeds;
        match asked {
            Asked::Life if succeeds => {
                let lifetime = message.attribute::<Lifetime>();
                let secs = lifetime.map_or(0, |lifetime| lifetime.seconds());
                // What was asked again because its answer was late is answered again, and makes no other.
                if message.has_method(ALLOCATE) && allocation.made_by != id {
                    allocation.made_by = id;
                    allocation.permissions.clear();
                    allocation.channels.clear();
                }
                allocation.until = Some(now.after(Duration::from_secs(secs.into())));
            }
            Asked::Permissions(peers) if succeeds => {
                for peer in peers {
                    allocation.permissions.insert(peer, now.after(PERMISSION));
                }
            }
            Asked::Channel(number, peer) if succeeds => {
                allocation.permissions.insert(peer, now.after(PERMISSION));
                if let Some(channel) = allocation.channels.get_mut(&number) {
                    channel.until = Some(now.after(CHANNEL));
                }
            }
            Asked::Channel(number, _) => {
                let never = |channel: &Channel| channel.until.is_none();
                if allocation.channels.get(&number).is_some_and(never) {
                    allocation.channels.remove(&number);
                }
            }
            Asked::Life | Asked::Permissions(_) => {}
        }
    }

    /// An interface goes, and its sockets with it, though the host may close them only when another with its address is there.
    pub(crate) fn on_interface_lost(&mut self, ip: IpAddr) {
        let lost = self.0.iter_mut().filter(|(way, _)| way.0.ip() == ip);
        lost.for_each(|(_, allocation)| allocation.is_unplugged = true);
    }

    /// The host closes a socket, although its interface is there.
    pub(crate) fn on_closed(&mut self, local: SocketAddr, findings: &mut Findings) {
        let now = findings.now;
        for (way, allocation) in self.0.iter().filter(|(way, _)| way.0 == local) {
            let lost = allocation.is_refused || allocation.is_unplugged;
            let over = !allocation.is_live(now) || lost || allocation.ends;
            findings.check(Invariant::TurnCare, over, || {
                format!("an allocation over {way:?} is left and not given back")
            });
        }
        self.0.retain(|way, _| way.0 != local);
    }

    fn on_message(
        &mut self,
        way: Way,
        message: &Message<'_>,
        max_peers: usize,
        findings: &mut Findings,
    ) {
        let now = findings.now;
        let allocation = self.0.entry(way).or_default();
        let peers: Vec<SocketAddr> = peers(message).collect();
        if message.has_class(MessageClass::Indication) && message.has_method(SEND) {
            let open = peers.iter().all(|peer| allocation.permits(peer.ip(), now));
            return findings.check(Invariant::TurnCare, open, || {
                format!("data to {peers:?} over {way:?}: {allocation:?}")
            });
        }
        let lifetime = message.attribute::<Lifetime>().ok();
        allocation.ends |=
            message.has_method(REFRESH) && lifetime.is_some_and(|l| l.seconds() == 0);
        let asked = match message.method() {
            ALLOCATE | REFRESH => Asked::Life,
            CREATE_PERMISSION => Asked::Permissions(peers.iter().map(SocketAddr::ip).collect()),
            CHANNEL_BIND => {
                let number = message.attribute::<ChannelNumber>().ok();
                let Some((number, peer)) = number.zip(peers.first()) else {
                    return;
                };
                allocation.bind(number.channel(), *peer, findings);
                Asked::Channel(number.channel(), peer.ip())
            }
            _ => return,
        };
        let permitted = allocation.permissions.values();
        let count = permitted.filter(|until| **until >= now).count();
        findings.check(Invariant::TurnCare, count <= max_peers, || {
            format!("{count} permissions over {way:?}, bound {max_peers}")
        });
        if message.has_class(MessageClass::Request)
            && let Some(id) = id(message.as_bytes())
        {
            allocation.asked.insert(id, asked);
        }
    }
}

impl Allocation {
    fn is_live(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until >= now)
    }

    fn permits(&self, peer: IpAddr, now: Time) -> bool {
        let permission = self.permissions.get(&peer);
        self.is_live(now) && permission.is_some_and(|until| *until >= now)
    }

    /// To whom a channel leads.
    fn channel(&self, number: u16, now: Time) -> Option<IpAddr> {
        let channel = self.channels.get(&number)?;
        let live = channel.until.is_some_and(|until| until >= now);
        live.then(|| channel.peer.ip())
    }

    /// A channel is asked for, or asked for again.
    fn bind(&mut self, number: u16, peer: SocketAddr, findings: &mut Findings) {
        let now = findings.now;
        let reserved = now.after(CHANNEL + QUARANTINE);
        let channel = self.channels.entry(number).or_insert(Channel {
            peer,
            until: None,
            reserved,
        });
        let free = channel.peer == peer || channel.reserved < now;
        findings.check(Invariant::TurnCare, free, || {
            format!("the channel {number:#x} for {peer} is still that of {channel:?}")
        });
        if channel.peer != peer {
            (channel.peer, channel.until) = (peer, None);
        }
        channel.reserved = reserved;
    }
}

/// The transaction of a STUN message.
fn id(contents: &[u8]) -> Option<[u8; 12]> {
    contents.get(8..)?.first_chunk().copied()
}

/// The addresses of all peers that a message names.
fn peers(message: &Message<'_>) -> impl Iterator<Item = SocketAddr> {
    let id = message.transaction_id();
    let attributes = message.iter_attributes();
    let named = attributes.filter_map(|(_, raw)| XorPeerAddress::try_from(&raw).ok());
    named.map(move |peer| peer.addr(id))
}

/// How long a permission lasts (RFC 8656 section 9).
const PERMISSION: Duration = Duration::from_secs(300);
/// How long a channel lasts (RFC 8656 section 12).
const CHANNEL: Duration = Duration::from_secs(600);
/// How long after its end the number of a channel is of no other peer (RFC 8656 section 12).
const QUARANTINE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use turn_server_proto::types::stun::message::{
        MessageType, MessageWrite as _, MessageWriteExt as _, MessageWriteVec, Method,
        TransactionId,
    };

    const MAX_PEERS: usize = 2;

    fn way() -> Way {
        let at = |address: &str| address.parse().expect("an address");
        (at("10.0.0.1:5000"), at("192.0.2.1:3478"))
    }

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 5_000))
    }

    fn message(class: MessageClass, method: Method, id: u128) -> MessageWriteVec {
        let kind = MessageType::from_class_method(class, method);
        Message::builder(kind, TransactionId::from(id), MessageWriteVec::new())
    }

    /// A host whose allocation lasts from the beginning for 600 s.
    struct Stage {
        relays: Relays,
        findings: Findings,
        id: u128,
    }

    impl Stage {
        fn new() -> Self {
            let mut stage = Self {
                relays: Relays::default(),
                findings: Findings::default(),
                id: 0,
            };
            stage.ask(ALLOCATE, None, None, true);
            stage
        }

        fn at(&mut self, secs: u64) {
            self.findings.now = Time::from_secs(secs);
        }

        /// The host asks for something and hears of success, or of nothing.
        fn ask(
            &mut self,
            method: Method,
            peer: Option<SocketAddr>,
            channel: Option<u16>,
            answered: bool,
        ) {
            self.id += 1;
            let mut request = message(MessageClass::Request, method, self.id);
            if let Some(peer) = peer {
                let peer = XorPeerAddress::new(peer, TransactionId::from(self.id));
                request.add_attribute(&peer).expect("room");
            }
            if let Some(channel) = channel {
                request
                    .add_attribute(&ChannelNumber::new(channel))
                    .expect("room");
            }
            self.send(&request.finish());
            if answered {
                let mut answer = message(MessageClass::Success, method, self.id);
                answer.add_attribute(&Lifetime::new(600)).expect("room");
                let now = self.findings.now;
                self.relays.on_received(way(), &answer.finish(), now);
            }
        }

        fn send(&mut self, contents: &[u8]) {
            self.relays
                .on_sent(way(), contents, MAX_PEERS, &mut self.findings);
        }

        fn indicate(&mut self, peer: SocketAddr) {
            let mut indication = message(MessageClass::Indication, SEND, 99);
            let peer = XorPeerAddress::new(peer, TransactionId::from(99));
            indication.add_attribute(&peer).expect("room");
            self.send(&indication.finish());
        }

        fn broken(&self) -> usize {
            let rules = self.findings.violations.iter().map(|v| v.invariant);
            rules
                .inspect(|rule| assert_eq!(*rule, Invariant::TurnCare))
                .count()
        }
    }

    #[test]
    fn data_needs_a_permission_that_lasts() {
        let mut stage = Stage::new();
        stage.ask(CREATE_PERMISSION, Some(peer(2)), None, true);
        stage.at(300);
        stage.indicate(peer(2));
        assert_eq!(stage.broken(), 0);
        stage.indicate(peer(3));
        assert_eq!(stage.broken(), 1, "nobody permitted it");
        stage.at(301);
        stage.indicate(peer(2));
        assert_eq!(stage.broken(), 2, "it is over");
    }

    #[test]
    fn a_channel_must_be_confirmed_and_its_permission_last() {
        let mut stage = Stage::new();
        stage.ask(CHANNEL_BIND, Some(peer(2)), Some(0x4000), false);
        stage.send(&[0x40, 0, 0, 0]);
        assert_eq!(stage.broken(), 1, "the server said nothing");
        stage.ask(CHANNEL_BIND, Some(peer(2)), Some(0x4000), true);
        stage.at(300);
        stage.send(&[0x40, 0, 0, 0]);
        assert_eq!(stage.broken(), 1);
        stage.at(301);
        stage.send(&[0x40, 0, 0, 0]);
        assert_eq!(stage.broken(), 2, "the permission is over");
        stage.ask(CREATE_PERMISSION, Some(peer(2)), None, true);
        stage.at(600);
        stage.send(&[0x40, 0, 0, 0]);
        assert_eq!(stage.broken(), 2);
        stage.at(601);
        stage.send(&[0x40, 0, 0, 0]);
        assert_eq!(stage.broken(), 3, "allocation and channel are over");
    }

    #[test]
    fn a_channel_number_is_of_no_other_peer_until_its_quarantine_is_over() {
        let mut stage = Stage::new();
        stage.ask(CHANNEL_BIND, Some(peer(2)), Some(0x4000), false);
        stage.at(900);
        stage.ask(CHANNEL_BIND, Some(peer(3)), Some(0x4000), false);
        assert_eq!(stage.broken(), 1);
        let mut stage = Stage::new();
        stage.ask(CHANNEL_BIND, Some(peer(2)), Some(0x4000), false);
        stage.at(901);
        stage.ask(CHANNEL_BIND, Some(peer(3)), Some(0x4000), false);
        assert_eq!(stage.broken(), 0);
    }

    #[test]
    fn an_allocation_that_is_answered_twice_keeps_its_channels_and_another_has_none() {
        let mut stage = Stage::new();
        let again = |stage: &mut Stage, id: u128| {
            stage.id = id - 1;
            stage.ask(ALLOCATE, None, None, true);
            stage.id = 10;
            stage.send(&[0x40, 0, 0, 0]);
            stage.broken()
        };
        stage.ask(CHANNEL_BIND, Some(peer(2)), Some(0x4000), true);
        assert_eq!(again(&mut stage, 1), 0);
        assert_eq!(again(&mut stage, 3), 1);
    }

    #[test]
    fn permissions_are_counted() {
        let mut stage = Stage::new();
        for last in 2..5 {
            stage.ask(CREATE_PERMISSION, Some(peer(last)), None, true);
        }
        assert_eq!(stage.broken(), 0);
        stage.ask(CREATE_PERMISSION, Some(peer(2)), None, true);
        assert_eq!(stage.broken(), 1, "three are permitted, and two may be");
    }
}
