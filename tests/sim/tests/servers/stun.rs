//! Binding requests and behaviour discovery (RFC 5780).

use std::net::SocketAddr;
use std::time::Duration;

use bowline_sim::{Action, Misbehaviour, NatConfig, PeerSpec, ServerSpec, Time, World};
use turn_server_proto::types::stun::attribute::{AttributeType, RawAttribute, XorMappedAddress};
use turn_server_proto::types::stun::message::{
    BINDING, Message, MessageWrite as _, MessageWriteExt as _, MessageWriteVec,
};

use crate::station::{Station, plain_address};

const CHANGE_REQUEST: u16 = 0x0003;
const MAPPED_ADDRESS: u16 = 0x0001;
const RESPONSE_ORIGIN: u16 = 0x802b;
const OTHER_ADDRESS: u16 = 0x802c;

/// A client behind a box, and a server.
struct Lab {
    world: World,
    client: Station,
}

impl Lab {
    fn new(nat: NatConfig) -> Self {
        let client = PeerSpec {
            behind: Some(0),
            ..PeerSpec::new("client")
        };
        let both = ServerSpec {
            ipv6: true,
            ..ServerSpec::new("stun")
        };
        let mut world = World::builder(1)
            .gateway("home", nat)
            .peer_with(client)
            .server(both)
            .build();
        let client = Station::new(&mut world, 0);
        Self { world, client }
    }

    fn misbehaving(how: Misbehaviour) -> Self {
        let mut lab = Self::new(NatConfig::full_cone());
        let how = Some(how);
        lab.world.apply(Action::Misbehave { server: 0, how });
        lab
    }

    /// Asks, and gives the source of the answer and the answer.
    fn ask(&mut self, server: SocketAddr, change: Option<u8>) -> Option<(SocketAddr, Vec<u8>)> {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        if let Some(flags) = change {
            let kind = AttributeType::new(CHANGE_REQUEST);
            let flags = RawAttribute::new_owned(kind, Box::new([0, 0, 0, flags]));
            request.add_attribute(&flags).expect("room");
        }
        request.add_fingerprint().expect("room");
        self.client.state().outbox.push((server, request.finish()));
        self.client.state().heard.clear();
        self.world.run_for(Duration::from_millis(100));
        self.client.state().heard.first().cloned()
    }

    fn server(&self, place: usize) -> SocketAddr {
        self.world.server_addresses(0)[place]
    }

    fn mapped(&mut self, server: SocketAddr) -> SocketAddr {
        let (_, answer) = self.ask(server, None).expect("an answer");
        seen(&answer)
    }
}

fn seen(answer: &[u8]) -> SocketAddr {
    let message = Message::from_bytes(answer).expect("a STUN message");
    let seen = message.attribute::<XorMappedAddress>().expect("an address");
    seen.addr(message.transaction_id())
}

#[test]
fn a_binding_response_tells_what_was_seen_who_answers_and_who_else_could() {
    let mut lab = Lab::new(NatConfig::full_cone());
    let external = lab.world.network().external(0);
    let (source, answer) = lab.ask(lab.server(0), None).expect("an answer");
    assert_eq!(source, lab.server(0));
    assert_eq!(seen(&answer).ip(), external);
    assert_eq!(plain_address(&answer, MAPPED_ADDRESS), Some(seen(&answer)));
    assert_eq!(plain_address(&answer, RESPONSE_ORIGIN), Some(lab.server(0)));
    assert_eq!(plain_address(&answer, OTHER_ADDRESS), Some(lab.server(3)));
}

#[test]
fn a_change_request_is_answered_from_the_other_address_or_port() {
    let mut lab = Lab::new(NatConfig::full_cone());
    for asked in 0..4 {
        for (flags, place) in [(0, asked), (2, asked ^ 1), (4, asked ^ 2), (6, asked ^ 3)] {
            let server = lab.server(asked);
            let (source, answer) = lab.ask(server, Some(flags)).expect("an answer");
            assert_eq!(source, lab.server(place), "{flags} at {server}");
            assert_eq!(plain_address(&answer, RESPONSE_ORIGIN), Some(source));
        }
    }
}

#[test]
fn behaviour_discovery_tells_the_boxes_apart() {
    let mappings = |nat| {
        let mut lab = Lab::new(nat);
        let first = lab.mapped(lab.server(0));
        let other = lab.server(2);
        lab.mapped(other) == first
    };
    assert!(mappings(NatConfig::port_restricted()));
    assert!(!mappings(NatConfig::symmetric()));
    let answered = |nat| {
        let mut lab = Lab::new(nat);
        [6, 2].map(|flags| lab.ask(lab.server(0), Some(flags)).is_some())
    };
    assert_eq!(answered(NatConfig::full_cone()), [true, true]);
    assert_eq!(answered(NatConfig::address_restricted()), [false, true]);
    assert_eq!(answered(NatConfig::port_restricted()), [false, false]);
}

#[test]
fn a_server_may_lie_or_not_know_the_other_address_or_refuse_attributes() {
    let address: SocketAddr = "198.51.100.9:9".parse().expect("an address");
    let mut lab = Lab::misbehaving(Misbehaviour::LyingAddress { address });
    assert_eq!(lab.mapped(lab.server(0)), address);

    let mut lab = Lab::misbehaving(Misbehaviour::NoOtherAddress);
    let (_, answer) = lab.ask(lab.server(0), None).expect("an answer");
    assert_eq!(plain_address(&answer, OTHER_ADDRESS), None);
    lab.ask(lab.server(0), Some(6)).expect("an answer");
    assert_eq!(lab.client.codes(), [420]);

    let mut lab = Lab::misbehaving(Misbehaviour::UnknownAttributes);
    lab.ask(lab.server(0), None).expect("an answer");
    assert_eq!(lab.client.codes(), [420]);
}

#[test]
fn a_server_may_be_silent_or_slow_or_down_and_recovers_with_a_heal() {
    let mut lab = Lab::misbehaving(Misbehaviour::Silent);
    assert_eq!(lab.ask(lab.server(0), None), None);

    let how = Some(Misbehaviour::Slow { delay_ms: 500 });
    lab.world.apply(Action::Misbehave { server: 0, how });
    assert_eq!(lab.ask(lab.server(0), None), None);
    let asked = lab.world.now();
    let client = lab.client.clone();
    let heard = |_: &World| !client.state().heard.is_empty();
    assert!(lab.world.run_until(heard, Duration::from_secs(1)));
    let waited = lab.world.now().since(asked).as_millis() + 100;
    assert!((520..=530).contains(&waited), "{waited} ms");

    lab.world.apply(Action::CrashServer { server: 0 });
    assert_eq!(lab.ask(lab.server(0), None), None);
    lab.world.apply(Action::Heal);
    assert!(lab.ask(lab.server(0), None).is_some());
    lab.world.apply(Action::CrashServer { server: 0 });
    lab.world.apply(Action::StartServer { server: 0 });
    assert!(lab.ask(lab.server(0), None).is_some());
    assert!(lab.world.now() < Time::from_secs(3));
}

#[test]
fn a_server_of_both_families_listens_on_eight_addresses() {
    let lab = Lab::new(NatConfig::open());
    let all: Vec<_> = lab.world.server_addresses(0).to_vec();
    assert_eq!(all.len(), 8);
    assert_eq!(all[3].to_string(), "192.0.2.2:3479");
    assert_eq!(all[4].to_string(), "[2001:db8::1]:3478");
}
