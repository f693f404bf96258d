//! The pool against servers that answer by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use stun_types::attribute::{AttributeStaticType, ErrorCode, MessageIntegrity, Nonce, Realm};
use stun_types::message::{
    IntegrityAlgorithm, LongTermCredentials, Message, MessageClass, MessageType, MessageWrite,
    MessageWriteExt, MessageWriteVec,
};
use turn_types::attribute::{Lifetime, XorRelayedAddress};
use turn_types::message::ALLOCATE;

use super::*;
use crate::config::ConfigBuilder;
use crate::ice::stun::Outgoing;
use crate::ice::stun::message::build::{Success, success};
use crate::rng::Seed;
use crate::time::{UnixTime, WallClock};

const BASE: &str = "192.0.2.1:4000";
const BASE6: &str = "[2001:db8::1]:4000";
const STUN: &str = "198.51.100.1:3478";
const TURN: &str = "198.51.100.2:3478";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn stun_server() -> IceServer {
    format!("stun:{STUN}").parse().expect("valid")
}

fn turn_server(user: &str) -> IceServer {
    let server: IceServer = format!("turn:{TURN}").parse().expect("valid");
    server.credentials(user, "secret").expect("fits")
}

/// A pool, its present, and what it has said.
struct Stage {
    gatherer: Gatherer,
    now: Instant,
    /// Datagrams that were sent: from, to and contents.
    sent: Vec<Outgoing>,
    needs: Vec<Need>,
    found: Vec<LocalCandidate>,
    gone: Vec<LocalCandidate>,
    moved: Vec<SocketAddr>,
    states: Vec<GatheringState>,
    faults: Vec<ServerFault>,
}

impl Stage {
    fn new(servers: &[IceServer]) -> Self {
        Self::with_policy(servers, TransportPolicy::All)
    }

    fn with_policy(servers: &[IceServer], policy: TransportPolicy) -> Self {
        Self::configured(servers, |config| config.policy(policy))
    }

    fn configured(
        servers: &[IceServer],
        further: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
    ) -> Self {
        let mut config = further(Config::builder());
        for server in servers {
            config = config.ice_server(server.clone());
        }
        let config = config.build().expect("valid");
        let now = Instant::now();
        let rng = Rng::new(&Seed::from([5; 32]));
        // A Friday in 2026.
        let wall = WallClock::new(now, UnixTime::from_millis(1_790_000_000_000));
        let mut stage = Self {
            gatherer: Gatherer::new(&config, rng, now, wall),
            now,
            sent: Vec::new(),
            needs: Vec::new(),
            found: Vec::new(),
            gone: Vec::new(),
            moved: Vec::new(),
            states: Vec::new(),
            faults: Vec::new(),
        };
        stage.take();
        stage
    }

    fn bind(&mut self) {
        self.bind_at(BASE);
    }

    fn bind_at(&mut self, base: &str) {
        self.gatherer.on_socket_bound(at(base), self.now);
        self.take();
    }

    fn take(&mut self) {
        while let Some(output) = self.gatherer.poll_output() {
            match output {
                GatherOutput::Carried(Carried::Datagram(outgoing)) => self.sent.push(outgoing),
                GatherOutput::Carried(Carried::Stream { .. }) => {}
                GatherOutput::Need(need) => self.needs.push(need),
                GatherOutput::Found(candidate) => self.found.push(candidate),
                GatherOutput::Gone(candidate) => self.gone.push(candidate),
                GatherOutput::Moved { base } => self.moved.push(base),
                GatherOutput::State(state) => self.states.push(state),
                GatherOutput::Failed { fault, .. } => self.faults.push(fault),
            }
        }
    }

    /// Lets time pass, waking the pool exactly when it asks for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.gatherer.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a deadline that is past");
            self.now = at;
            self.gatherer.handle_timeout(at);
            self.take();
            assert!(
                self.gatherer.poll_timeout().is_none_or(|next| next > at),
                "it spins"
            );
        }
        self.now = end;
    }

    fn hear(&mut self, local: SocketAddr, remote: SocketAddr, contents: &[u8]) -> Taken {
        let taken = self
            .gatherer
            .handle_datagram(local, remote, contents, self.now);
        self.take();
        taken
    }

    /// The STUN server answers the last question.
    fn answer(&mut self, mapped: &str) {
        let request = self.sent.pop().expect("a question");
        let answer = success(
            &request.contents,
            &Success {
                xor_mapped: Some(at(mapped)),
                ..Success::default()
            },
        );
        let taken = self.hear(request.source, request.destination, &answer);
        assert_eq!(taken, Taken::Yes);
    }

    /// The embedder binds the socket that was asked for.
    fn bind_relay(&mut self, local: &str) {
        let Some(Need::Bind { need, .. }) = self.needs.pop() else {
            panic!("a socket is needed");
        };
        self.gatherer.on_bound(need, Some(at(local)), self.now);
        self.take();
    }

    /// The TURN server answers its last request: with a challenge when it is not signed, and else with `code` or an
    /// allocation.
    fn answer_turn(&mut self, code: Option<u16>) {
        let request = self.sent.pop().expect("a request");
        let contents = turn_answer(&request.contents, code);
        self.hear(request.source, request.destination, &contents);
    }

    /// The TURN server challenges and then answers.
    fn allocate(&mut self, local: &str, code: Option<u16>) {
        self.pass(Duration::from_millis(100));
        self.sent.clear();
        self.bind_relay(local);
        self.pass(Duration::from_millis(100));
        self.sent.retain(|outgoing| outgoing.source == at(local));
        self.answer_turn(None);
        self.answer_turn(code);
    }
}

fn turn_answer(request: &[u8], code: Option<u16>) -> Vec<u8> {
    let request = Message::from_bytes(request).expect("well-formed");
    let signed = request.raw_attribute(MessageIntegrity::TYPE).is_some();
    let class = match code {
        None if signed => MessageClass::Success,
        _ => MessageClass::Error,
    };
    let kind = MessageType::from_class_method(class, request.method());
    let mut answer = Message::builder(kind, request.transaction_id(), MessageWriteVec::new());
    if class == MessageClass::Error {
        let error = ErrorCode::new(code.unwrap_or(401), "no").expect("a code");
        answer.add_attribute(&error).expect("room");
    }
    if !signed {
        answer
            .add_attribute(&Realm::new("r").expect("short"))
            .expect("room");
        answer
            .add_attribute(&Nonce::new("n").expect("short"))
            .expect("room");
        return answer.finish();
    }
    if class == MessageClass::Success {
        answer.add_attribute(&Lifetime::new(600)).expect("room");
    }
    if request.has_method(ALLOCATE) && class == MessageClass::Success {
        let relayed = XorRelayedAddress::new(at("203.0.113.9:50000"), request.transaction_id());
        answer.add_attribute(&relayed).expect("room");
    }
    let key = LongTermCredentials::new("alice".into(), "secret".into())
        .to_key("r".into())
        .make_key(IntegrityAlgorithm::Sha1);
    answer
        .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
        .expect("room");
    answer.finish()
}

fn reflexive(address: &str) -> LocalCandidate {
    LocalCandidate {
        kind: CandidateType::ServerReflexive,
        address: at(address),
        base: at(BASE),
    }
}

fn relayed(base: &str) -> LocalCandidate {
    LocalCandidate {
        kind: CandidateType::Relayed,
        address: at("203.0.113.9:50000"),
        base: at(base),
    }
}

#[test]
fn without_servers_sockets_are_candidates_and_nothing_is_sent() {
    let mut stage = Stage::new(&[]);
    stage.bind();
    assert_eq!(stage.found, [LocalCandidate::host(at(BASE))]);
    assert_eq!(stage.gatherer.poll_timeout(), None);
    stage.gatherer.on_socket_closed(at(BASE), stage.now);
    stage.take();
    assert_eq!(stage.gone, [LocalCandidate::host(at(BASE))]);
    assert!(stage.states.is_empty() && stage.sent.is_empty());
}

#[test]
fn a_stun_server_tells_a_candidate_and_is_asked_again_in_intervals() {
    let mut stage = Stage::new(&[stun_server()]);
    assert_eq!(stage.gatherer.poll_timeout(), None, "there is no socket");
    stage.bind();
    assert_eq!(stage.states, [GatheringState::Gathering]);
    stage.answer("203.0.113.1:7000");
    assert_eq!(stage.found[1..], [reflexive("203.0.113.1:7000")]);
    assert_eq!(stage.states[1..], [GatheringState::Complete]);
    stage.pass(Duration::from_secs(19));
    assert!(stage.sent.is_empty());
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.sent.len(), 1, "the mapping is kept open");
    stage.answer("203.0.113.1:7000");
    assert_eq!(stage.found.len(), 2, "nothing is new");
}

#[test]
fn a_mapping_that_changes_replaces_its_candidate() {
    let mut stage = Stage::new(&[stun_server()]);
    stage.bind();
    stage.answer("203.0.113.1:7000");
    stage.pass(Duration::from_secs(20));
    stage.answer("203.0.113.2:8000");
    assert_eq!(stage.gone, [reflexive("203.0.113.1:7000")]);
    assert_eq!(stage.found[2..], [reflexive("203.0.113.2:8000")]);
    assert_eq!(stage.moved, [at(BASE)]);
}

#[test]
fn a_mapping_that_is_in_doubt_is_asked_for_at_once_and_not_again_soon() {
    let mut stage = Stage::new(&[stun_server()]);
    stage.bind();
    stage.answer("203.0.113.1:7000");
    stage.pass(Duration::from_secs(3));
    for (pause, asked) in [(0, 1), (1_999, 0), (1, 1)] {
        stage.pass(Duration::from_millis(pause));
        stage.sent.clear();
        stage.gatherer.doubt(stage.now);
        stage.take();
        assert_eq!(stage.sent.len(), asked, "after {pause} ms");
        if asked == 1 {
            stage.answer("203.0.113.1:7000");
        }
    }
    assert!(stage.gone.is_empty() && stage.moved.is_empty());
}

#[test]
fn a_host_on_the_internet_has_no_other_address() {
    let mut stage = Stage::new(&[stun_server()]);
    stage.bind();
    stage.answer(BASE);
    assert_eq!(stage.found.len(), 1);
    assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
}

#[test]
fn a_server_that_sees_an_ipv4_address_behind_nat64_is_well_and_gives_no_candidate() {
    let server = "stun:[64:ff9b::198.51.100.1]".parse().expect("valid");
    let mut stage = Stage::new(&[server]);
    stage.bind_at(BASE6);
    stage.answer("203.0.113.1:7000");
    stage.pass(Duration::from_secs(3_600));
    assert_eq!(stage.found, [LocalCandidate::host(at(BASE6))]);
    assert!(stage.faults.is_empty() && stage.sent.is_empty());
    assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
    let mut view = PoolView::default();
    stage.gatherer.refresh(&mut view);
    assert!(view.udp_works && view.servers[0].answered);
}

#[test]
fn a_silent_server_is_told_of_once_and_asked_again() {
    let mut stage = Stage::new(&[stun_server()]);
    stage.bind();
    stage.pass(Duration::from_millis(39_499));
    assert!(stage.faults.is_empty());
    stage.pass(Duration::from_millis(1));
    assert_eq!(stage.faults, [ServerFault::Unreachable]);
    assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
    stage.pass(Duration::from_secs(300));
    assert_eq!(stage.faults.len(), 1);
    stage.answer("203.0.113.1:7000");
    assert_eq!(stage.found.len(), 2);
}

#[test]
fn what_is_begun_with_servers_is_paced() {
    let servers: Vec<IceServer> = (1..=8)
        .map(|n| format!("stun:198.51.100.{n}").parse().expect("valid"))
        .collect();
    let mut stage = Stage::new(&servers);
    stage.bind();
    let start = stage.now;
    for begun in 1..=8_u32 {
        assert_eq!(stage.sent.len(), usize::try_from(begun).expect("small"));
        assert_eq!(stage.now - start, Duration::from_millis(20) * (begun - 1));
        stage.pass(Duration::from_millis(20));
    }
}

#[test]
fn a_turn_server_gives_a_relay_on_a_socket_of_its_own() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    assert_eq!(stage.found[1..], [relayed("192.0.2.1:5000")]);
    assert!(stage.gatherer.is_relayed(at("203.0.113.9:50000")));
}

#[test]
fn data_travels_through_the_relay_both_ways_once_its_peer_is_known() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    let socket = at("192.0.2.1:5000");
    stage.allocate("192.0.2.1:5000", None);
    let (peer, relay) = (at("203.0.113.77:9"), at("203.0.113.9:50000"));
    stage.gatherer.reach(peer, stage.now);
    stage.take();
    stage.pass(Duration::from_millis(100));
    stage.sent.retain(|outgoing| outgoing.source == socket);
    stage.answer_turn(None);
    let carried = stage.gatherer.relay(relay, peer, vec![1, 2], stage.now);
    let expected = Outgoing {
        source: socket,
        destination: at(TURN),
        contents: vec![0x40, 0, 0, 2, 1, 2],
    };
    assert_eq!(carried, Some(Carried::Datagram(expected)));
    let taken = stage.hear(socket, at(TURN), &[0x40, 0, 0, 1, 9]);
    let data = RelayedData {
        relayed: relay,
        peer,
        data: 4..5,
    };
    assert_eq!(taken, Taken::Data(data));
    let forged = stage.hear(socket, at(STUN), &[0x40, 0, 0, 1, 9]);
    assert_eq!(forged, Taken::Yes, "dropped: it is not of the server");
}

#[test]
fn a_public_relay_is_not_asked_to_reach_private_addresses() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    stage.gatherer.reach(at("192.168.1.2:9"), stage.now);
    stage.take();
    stage.pass(Duration::from_secs(1));
    assert!(
        stage
            .sent
            .iter()
            .all(|outgoing| outgoing.source == at(BASE))
    );
}

#[test]
fn each_fault_of_a_relay_is_told_and_only_those_that_time_can_mend_are_tried_again() {
    for (user, code, fault, again) in [
        ("alice", 401, ServerFault::Unauthorized, false),
        ("1000:alice", 401, ServerFault::Expired, false),
        ("99999999999:alice", 401, ServerFault::ClockSkew, false),
        ("alice", 486, ServerFault::Quota, true),
        ("alice", 508, ServerFault::Capacity, true),
        ("alice", 440, ServerFault::Family, false),
        ("alice", 403, ServerFault::Forbidden, true),
    ] {
        let mut stage = Stage::new(&[turn_server(user)]);
        stage.bind();
        stage.answer(BASE);
        stage.allocate("192.0.2.1:5000", Some(code));
        assert_eq!(stage.faults, [fault], "{code}");
        assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
        let closed = stage.needs.pop();
        assert!(matches!(closed, Some(Need::Close { .. })), "{closed:?}");
        stage.pass(Duration::from_secs(5));
        let tried = matches!(stage.needs.pop(), Some(Need::Bind { .. }));
        assert_eq!(tried, again, "{code}");
    }
}

#[test]
fn over_ipv6_relays_of_both_families_are_asked_for_and_one_that_is_refused_is_no_fault() {
    let server: IceServer = "turn:[2001:db8::9]".parse().expect("valid");
    for grants in [true, false] {
        let mut stage = Stage::new(&[server.clone().credentials("alice", "secret").expect("fits")]);
        stage.bind_at(BASE6);
        stage.answer(BASE6);
        stage.pass(Duration::from_millis(100));
        let ipv4 = stage.needs.pop().expect("a socket for that of ipv4");
        stage.allocate("[2001:db8::1]:5000", Some(440));
        assert!(stage.faults.is_empty());
        stage.needs.push(ipv4);
        stage.allocate("[2001:db8::1]:5001", (!grants).then_some(440));
        if grants {
            assert_eq!(stage.found[1..], [relayed("[2001:db8::1]:5001")]);
            assert!(stage.faults.is_empty());
        } else {
            assert_eq!(stage.faults, [ServerFault::Family]);
        }
        assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
    }
}

#[test]
fn upon_a_mismatch_a_relay_begins_anew_on_another_socket_at_once() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", Some(437));
    assert_eq!(stage.faults, [ServerFault::Mismatch]);
    stage.allocate("192.0.2.1:5001", None);
    assert_eq!(stage.found[1..], [relayed("192.0.2.1:5001")]);
}

#[test]
fn a_relay_that_the_server_has_lost_goes_and_comes_back() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    stage.pass(Duration::from_secs(301));
    stage
        .sent
        .retain(|outgoing| outgoing.source == at("192.0.2.1:5000"));
    stage.answer_turn(Some(437));
    assert_eq!(stage.gone, [relayed("192.0.2.1:5000")]);
    assert!(!stage.gatherer.is_relayed(at("203.0.113.9:50000")));
    stage.allocate("192.0.2.1:5001", None);
    assert_eq!(stage.found.last(), Some(&relayed("192.0.2.1:5001")));
}

#[test]
fn credentials_that_worked_are_tried_once_more_before_they_are_given_up() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    stage.pass(Duration::from_secs(301));
    stage
        .sent
        .retain(|outgoing| outgoing.source == at("192.0.2.1:5000"));
    stage.answer_turn(Some(401));
    assert_eq!(stage.faults, [ServerFault::Unauthorized]);
    stage.allocate("192.0.2.1:5001", Some(401));
    stage.needs.clear();
    stage.pass(Duration::from_secs(600));
    assert!(stage.needs.is_empty(), "{:?}", stage.needs);
}

#[test]
fn new_credentials_make_a_new_relay_and_the_old_one_goes_when_nobody_uses_it() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    let peer = at("203.0.113.77:9");
    stage.gatherer.reach(peer, stage.now);
    stage
        .gatherer
        .set_servers(vec![turn_server("bob")], stage.now);
    stage.take();
    stage.pass(Duration::from_millis(100));
    assert!(matches!(stage.needs.last(), Some(Need::Bind { .. })));
    assert!(stage.gone.is_empty(), "it is in use");
    assert_eq!(stage.gatherer.retired(), [at("203.0.113.9:50000")]);
    stage.gatherer.unreach(peer, stage.now);
    stage.take();
    assert_eq!(stage.gone, [relayed("192.0.2.1:5000")]);
}

#[test]
fn servers_that_stay_keep_their_relay() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    let servers = vec![stun_server(), turn_server("alice")];
    stage.gatherer.set_servers(servers, stage.now);
    stage.take();
    stage.pass(Duration::from_secs(1));
    assert!(stage.gone.is_empty());
    assert!(stage.needs.is_empty(), "{:?}", stage.needs);
}

#[test]
fn a_server_that_is_named_and_stays_keeps_its_relay_too() {
    let named = "turn:turn.example.org".parse::<IceServer>().expect("valid");
    let named = named.credentials("alice", "secret").expect("fits");
    let mut stage = Stage::new(std::slice::from_ref(&named));
    stage.bind();
    let Some(Need::Resolve { need, .. }) = stage.needs.pop() else {
        panic!("a name is to be resolved");
    };
    let found = [at(TURN).ip()];
    stage.gatherer.on_resolved(need, &found, stage.now);
    stage.take();
    stage.allocate("192.0.2.1:5000", None);
    let servers = vec![named, stun_server()];
    stage.gatherer.set_servers(servers, stage.now);
    stage.take();
    stage.pass(Duration::from_secs(1));
    assert!(stage.gone.is_empty());
    assert!(stage.needs.is_empty(), "{:?}", stage.needs);
}

#[test]
fn with_the_relay_policy_nothing_but_the_relay_is_used() {
    let servers = [stun_server(), turn_server("alice")];
    let mut stage = Stage::with_policy(&servers, TransportPolicy::Relay);
    stage.bind();
    assert!(stage.found.is_empty());
    stage.allocate("192.0.2.1:5000", None);
    assert_eq!(stage.found, [relayed("192.0.2.1:5000")]);
    assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
    stage.pass(Duration::from_secs(60));
    let to_turn = |outgoing: &Outgoing| outgoing.destination == at(TURN);
    assert!(stage.sent.iter().all(to_turn));
}

#[test]
fn with_the_public_policy_private_addresses_are_not_announced() {
    let mut stage = Stage::with_policy(&[stun_server()], TransportPolicy::Public);
    let private = at("192.168.1.2:4000");
    stage.gatherer.on_socket_bound(private, stage.now);
    stage.take();
    assert!(stage.found.is_empty());
    stage.answer("203.0.113.1:7000");
    assert_eq!(stage.found.len(), 1);
    assert_eq!(stage.found[0].kind, CandidateType::ServerReflexive);
    stage.bind();
    assert_eq!(
        stage.found[1],
        LocalCandidate::host(at(BASE)),
        "a public one"
    );
}

#[test]
fn a_name_is_resolved_by_the_embedder() {
    let mut stage = Stage::new(&["stun:stun.example.org".parse().expect("valid")]);
    assert!(stage.needs.is_empty(), "there is no socket");
    stage.bind();
    let Some(Need::Resolve { need, host }) = stage.needs.pop() else {
        panic!("a name is to be resolved");
    };
    assert_eq!(host, "stun.example.org");
    let found = ["127.0.0.1", "198.51.100.1", "2001:db8::1"].map(|ip| ip.parse().expect("one"));
    stage.gatherer.on_resolved(need, &found, stage.now);
    stage.take();
    assert_eq!(stage.sent.len(), 1, "only where a socket of ours can reach");
    assert_eq!(stage.sent[0].destination, at(STUN));
    stage.gatherer.on_resolved(need, &found, stage.now);
    stage.pass(Duration::from_millis(100));
    assert_eq!(stage.sent.len(), 1, "a need is answered once");
}

#[test]
fn a_name_that_is_not_resolved_is_told_and_tried_again() {
    let mut stage = Stage::new(&["stun:stun.example.org".parse().expect("valid")]);
    stage.bind();
    let Some(Need::Resolve { need, .. }) = stage.needs.pop() else {
        panic!("a name is to be resolved");
    };
    stage.gatherer.on_resolved(need, &[], stage.now);
    stage.take();
    assert_eq!(stage.faults, [ServerFault::Unresolved]);
    assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
    stage.pass(Duration::from_secs(2));
    assert!(matches!(stage.needs.pop(), Some(Need::Resolve { .. })));
}

#[test]
fn a_pool_at_rest_has_given_everything_back_and_wakes_again() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    stage.gatherer.rest(stage.now);
    stage.take();
    assert!(stage.gatherer.is_busy());
    assert_eq!(stage.gone, [relayed("192.0.2.1:5000")]);
    stage.answer_turn(None);
    assert!(!stage.gatherer.is_busy());
    assert!(matches!(stage.needs.pop(), Some(Need::Close { .. })));
    assert_eq!(stage.gatherer.poll_timeout(), None, "nothing is due");
    stage.gatherer.wake(stage.now);
    stage.allocate("192.0.2.1:5001", None);
    assert_eq!(stage.found.last(), Some(&relayed("192.0.2.1:5001")));
}

#[test]
fn an_interface_that_goes_takes_its_relay_along() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    let other = at("192.0.2.2:4000");
    stage.gatherer.on_socket_bound(other, stage.now);
    stage.gatherer.on_socket_closed(at(BASE), stage.now);
    stage.take();
    assert!(stage.gone.contains(&relayed("192.0.2.1:5000")));
    stage.pass(Duration::from_millis(100));
    let Some(Need::Bind { ip, .. }) = stage.needs.pop() else {
        panic!("a socket is needed");
    };
    assert_eq!(ip, other.ip());
}

#[test]
fn where_only_relays_are_wanted_the_name_of_a_stun_server_neither_spins_nor_delays() {
    let named: IceServer = "stun:stun.example.org".parse().expect("valid");
    let mut stage = Stage::with_policy(&[named, turn_server("alice")], TransportPolicy::Relay);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    stage.pass(Duration::from_secs(1));
    assert_eq!(stage.states.last(), Some(&GatheringState::Complete));
    assert_eq!(stage.needs, []);
    assert_eq!(stage.gatherer.stun_servers(), Some(vec![at(TURN)]));
}

#[test]
fn a_refresh_that_is_not_answered_is_repeated_without_another_call() {
    let mut stage = Stage::new(&[turn_server("alice")]);
    stage.bind();
    stage.allocate("192.0.2.1:5000", None);
    // `pass` asserts that every deadline is later than the call before.
    stage.pass(Duration::from_secs(599));
    assert_eq!(stage.gatherer.candidates().len(), 2);
}

#[test]
fn a_stream_that_closes_leaves_the_socket_with_its_port_alone() {
    let tcp: IceServer = "turn:198.51.100.3:3478?transport=tcp"
        .parse()
        .expect("valid");
    let tcp = tcp.credentials("alice", "secret").expect("fits");
    let mut stage = Stage::new(&[turn_server("alice"), tcp]);
    stage.bind();
    stage.pass(Duration::from_millis(100));
    let local = at("192.0.2.1:5000");
    for need in std::mem::take(&mut stage.needs) {
        match need {
            Need::Bind { need, .. } => stage.gatherer.on_bound(need, Some(local), stage.now),
            Need::Connect { need, .. } => {
                stage.gatherer.on_opened(need, local, stage.now);
                stage.gatherer.on_stream_closed(need, stage.now);
            }
            other => panic!("{other:?} is not needed"),
        }
    }
    stage.take();
    assert_eq!(stage.hear(local, at(TURN), &[9]), Taken::Yes);
}

#[test]
fn nothing_is_asked_for_candidates_of_types_that_are_denied() {
    use CandidateType::{Host, Relayed, ServerReflexive};
    let asked = |denied: &[CandidateType]| {
        let servers = [stun_server(), turn_server("user")];
        let denied_types = denied.to_vec();
        let mut stage = Stage::configured(&servers, |config| config.denied_types(denied_types));
        stage.bind();
        stage.pass(Duration::from_millis(100));
        let remotes: BTreeSet<_> = stage.sent.iter().map(|sent| sent.destination).collect();
        let relays = stage
            .needs
            .iter()
            .any(|need| matches!(need, Need::Bind { .. }));
        (stage.found.len(), remotes.len(), relays)
    };
    assert_eq!(asked(&[]), (1, 2, true));
    assert_eq!(asked(&[Host]), (0, 2, true));
    assert_eq!(asked(&[ServerReflexive]), (1, 0, true));
    assert_eq!(asked(&[Relayed]), (1, 2, false));
    assert_eq!(asked(&[ServerReflexive, Relayed]), (1, 0, false));
}

#[test]
fn what_the_application_does_not_want_is_no_candidate() {
    let mut stage = Stage::new(&[stun_server()]);
    let mut filter = CandidateFilter::default();
    let unwanted = at("203.0.113.9:7");
    filter.set_judge(Arc::new(move |info: &CandidateInfo| {
        assert_eq!(info.peer, None);
        info.address != unwanted
    }));
    stage.gatherer.set_filter(filter);
    stage.bind();
    stage.answer("203.0.113.9:7");
    stage.pass(Duration::from_secs(20));
    stage.answer("203.0.113.9:8");
    let types: Vec<_> = stage
        .found
        .iter()
        .map(|found| (found.kind, found.address))
        .collect();
    let outer = (CandidateType::ServerReflexive, at("203.0.113.9:8"));
    assert_eq!(types, [(CandidateType::Host, at(BASE)), outer]);
}

#[test]
fn a_socket_at_an_address_that_names_hardware_gives_way_while_another_is_bound() {
    let mut stage = Stage::new(&[]);
    let hardware = at("[2001:db8::211:22ff:fe33:4455]:4000");
    let private = at("[2001:db8::9]:4000");
    for local in [hardware, private] {
        stage.gatherer.on_socket_bound(local, stage.now);
    }
    stage.take();
    assert_eq!(stage.gone, [LocalCandidate::host(hardware)]);
    assert_eq!(stage.gatherer.candidates(), [LocalCandidate::host(private)]);
    assert_eq!(stage.gatherer.sockets(), [private]);
    stage.gatherer.on_socket_closed(private, stage.now);
    stage.take();
    let back = [LocalCandidate::host(hardware)];
    assert_eq!(stage.gatherer.candidates(), back);
    assert_eq!(stage.gatherer.sockets(), [hardware]);
}
