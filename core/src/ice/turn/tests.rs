//! An allocation against a server that is scripted by hand.

use stun_types::attribute::{AlternateServer, ErrorCode, Nonce, Realm};
use stun_types::message::{
    IntegrityAlgorithm, IntegrityKey, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
};
use turn_types::attribute::{Data, Lifetime, XorPeerAddress, XorRelayedAddress};
use turn_types::message::DATA;

use super::*;
use crate::ice::IceServer;
use crate::rng::Seed;

/// A TURN server that says what it is told to.
struct Server {
    nonce: String,
    password: &'static str,
    /// Whether its answers carry MESSAGE-INTEGRITY.
    signs: bool,
}

impl Server {
    fn new() -> Self {
        Self {
            nonce: "one".into(),
            password: "secret",
            signs: true,
        }
    }

    fn key(&self) -> IntegrityKey {
        LongTermCredentials::new("alice".into(), self.password.into())
            .to_key("realm".into())
            .make_key(IntegrityAlgorithm::Sha1)
    }

    fn answer(
        &self,
        request: &[u8],
        class: MessageClass,
        fill: impl FnOnce(&mut MessageWriteVec, &Message<'_>),
    ) -> Vec<u8> {
        let request = Message::from_bytes(request).expect("well-formed");
        let kind = MessageType::from_class_method(class, request.method());
        let mut answer = Message::builder(kind, request.transaction_id(), MessageWriteVec::new());
        fill(&mut answer, &request);
        if self.signs {
            let key = self.key();
            answer
                .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
                .expect("room");
        }
        answer.finish()
    }

    fn success(&self, request: &[u8], seconds: u32) -> Vec<u8> {
        self.answer(request, MessageClass::Success, |answer, request| {
            let relayed = XorRelayedAddress::new(relayed(), request.transaction_id());
            answer.add_attribute(&relayed).expect("room");
            answer.add_attribute(&Lifetime::new(seconds)).expect("room");
        })
    }

    fn error(&self, request: &[u8], code: u16) -> Vec<u8> {
        self.answer(request, MessageClass::Error, |answer, _| {
            let error = ErrorCode::new(code, "no").expect("a code");
            answer.add_attribute(&error).expect("room");
        })
    }

    /// 401 or 438 with what to sign with.
    fn challenge(&self, request: &[u8], code: u16) -> Vec<u8> {
        let unsigned = Self {
            signs: false,
            nonce: self.nonce.clone(),
            ..*self
        };
        unsigned.answer(request, MessageClass::Error, |answer, _| {
            let error = ErrorCode::new(code, "who").expect("a code");
            answer.add_attribute(&error).expect("room");
            let nonce = Nonce::new(&unsigned.nonce).expect("short");
            answer.add_attribute(&nonce).expect("room");
            let realm = Realm::new("realm").expect("short");
            answer.add_attribute(&realm).expect("room");
        })
    }

    fn verifies(&self, request: &[u8]) -> bool {
        let request = Message::from_bytes(request).expect("well-formed");
        request.validate_integrity_with_key(&self.key()).is_ok()
    }
}

/// Longer than what most tests here wait for.
const KEEPALIVE: Duration = Duration::from_secs(5_000);

fn relayed() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 50_000))
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn allocation(via: Via) -> Allocation {
    let server: IceServer = "turn:example.org".parse().expect("valid");
    let server = server.credentials("alice", "secret").expect("fits");
    let rng = Rng::new(&Seed::from([3; 32]));
    let login = server.login().expect("set");
    let bounds = Bounds {
        max_peers: 64,
        keepalive: KEEPALIVE,
    };
    let now = Instant::now();
    Allocation::new(Family::Ipv4, via, login, bounds, Tape::default(), rng, now)
}

/// The only request that goes out now.
fn request(allocation: &mut Allocation) -> Vec<u8> {
    let request = allocation.poll_transmit().expect("a request");
    assert_eq!(allocation.poll_transmit(), None);
    request
}

/// Begins what is due, and gives its request.
fn begin(allocation: &mut Allocation, now: Instant) -> Vec<u8> {
    let due = allocation.next_request_at(now).expect("a request is due");
    assert!(due <= now);
    allocation.begin_request(now);
    request(allocation)
}

fn granted(server: &Server, now: Instant) -> Allocation {
    let mut allocation = allocation(Via::Datagrams);
    let first = begin(&mut allocation, now);
    allocation.receive(&server.challenge(&first, 401), now);
    let second = request(&mut allocation);
    assert!(server.verifies(&second));
    allocation.receive(&server.success(&second, 600), now);
    let event = allocation.poll_event();
    assert_eq!(event, Some(AllocationEvent::Granted(relayed())));
    allocation
}

/// An allocation with a channel to peer 1.
fn bound(server: &Server, now: Instant) -> Allocation {
    let mut allocation = granted(server, now);
    assert!(allocation.want(peer(1), now));
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.success(&bind, 0), now);
    allocation
}

fn ended(allocation: &mut Allocation) -> Option<End> {
    match allocation.poll_event() {
        Some(AllocationEvent::Ended(end)) => Some(end),
        Some(AllocationEvent::Granted(_)) | None => None,
    }
}

#[test]
fn the_first_request_is_unsigned_and_the_second_signed_with_the_servers_nonce() {
    let now = Instant::now();
    let allocation = granted(&Server::new(), now);
    assert_eq!(allocation.relayed(), Some(relayed()));
}

#[test]
fn a_wrong_password_ends_the_allocation_at_the_second_401() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = allocation(Via::Datagrams);
    let first = begin(&mut allocation, now);
    allocation.receive(&server.challenge(&first, 401), now);
    let second = request(&mut allocation);
    allocation.receive(&server.challenge(&second, 401), now);
    let fault = ServerFault::Unauthorized;
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));
}

#[test]
fn each_code_tells_its_fault() {
    for (code, fault) in [
        (400, ServerFault::Protocol),
        (403, ServerFault::Forbidden),
        (437, ServerFault::Mismatch),
        (440, ServerFault::Family),
        (441, ServerFault::Unauthorized),
        (442, ServerFault::Transport),
        (443, ServerFault::Family),
        (486, ServerFault::Quota),
        (500, ServerFault::Protocol),
        (508, ServerFault::Capacity),
    ] {
        let now = Instant::now();
        let server = Server::new();
        let mut allocation = allocation(Via::Datagrams);
        let first = begin(&mut allocation, now);
        allocation.receive(&server.challenge(&first, 401), now);
        let second = request(&mut allocation);
        allocation.receive(&server.error(&second, code), now);
        assert_eq!(ended(&mut allocation), Some(End::Fault(fault)), "{code}");
    }
}

#[test]
fn upon_a_stale_nonce_the_request_is_signed_anew_and_a_server_that_never_stops_is_left() {
    let now = Instant::now();
    let mut server = Server::new();
    let mut allocation = bound(&server, now);
    let later = now + Duration::from_secs(150);
    let mut bind = begin(&mut allocation, later);
    for round in 0..MAX_RENEWALS {
        server.nonce = format!("nonce {round}");
        allocation.receive(&server.challenge(&bind, 438), later);
        bind = request(&mut allocation);
        assert!(server.verifies(&bind));
    }
    allocation.receive(&server.challenge(&bind, 438), later);
    let fault = ServerFault::Protocol;
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));
}

#[test]
fn answers_that_are_not_signed_are_as_good_as_not_received() {
    let now = Instant::now();
    let server = Server::new();
    let unsigned = Server {
        signs: false,
        ..Server::new()
    };
    let forged = Server {
        password: "guessed",
        ..Server::new()
    };
    let mut allocation = allocation(Via::Datagrams);
    let first = begin(&mut allocation, now);
    allocation.receive(&server.challenge(&first, 401), now);
    let second = request(&mut allocation);
    for other in [&unsigned, &forged] {
        allocation.receive(&other.success(&second, 600), now);
        allocation.receive(&other.error(&second, 486), now);
    }
    assert_eq!(allocation.poll_event(), None);
    allocation.receive(&server.success(&second, 600), now);
    assert_eq!(allocation.relayed(), Some(relayed()));
}

#[test]
fn an_error_that_is_not_signed_names_the_fault_once_the_request_is_given_up() {
    let mut now = Instant::now();
    let server = Server::new();
    let unsigned = Server {
        signs: false,
        ..Server::new()
    };
    let mut allocation = allocation(Via::Datagrams);
    let first = begin(&mut allocation, now);
    allocation.receive(&server.challenge(&first, 401), now);
    let second = request(&mut allocation);
    allocation.receive(&unsigned.error(&second, 486), now);
    while let Some(at) = allocation.poll_timeout() {
        now = at;
        allocation.handle_timeout(now);
    }
    assert_eq!(ended(&mut allocation), Some(End::Fault(ServerFault::Quota)));
}

#[test]
fn requests_are_repeated_as_rfc_8489_says_and_a_silent_server_is_unreachable() {
    let start = Instant::now();
    let mut allocation = allocation(Via::Datagrams);
    let first = begin(&mut allocation, start);
    let mut sent = vec![0];
    let mut end = None;
    while let Some(at) = allocation.poll_timeout() {
        allocation.handle_timeout(at);
        let millis = (at - start).as_millis();
        match allocation.poll_transmit() {
            Some(again) => {
                assert_eq!(again, first);
                sent.push(millis);
            }
            None => end = Some(millis),
        }
    }
    assert_eq!(sent, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(end, Some(39_500));
    let fault = ServerFault::Unreachable;
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));
}

#[test]
fn over_a_stream_a_request_is_sent_once_and_given_up_at_the_same_time() {
    let start = Instant::now();
    let mut allocation = allocation(Via::Stream);
    begin(&mut allocation, start);
    let at = allocation.poll_timeout().expect("a deadline");
    assert_eq!(at - start, Duration::from_millis(39_500));
    allocation.handle_timeout(at);
    assert_eq!(allocation.poll_transmit(), None);
    assert!(ended(&mut allocation).is_some());
}

#[test]
fn an_allocation_is_refreshed_at_half_its_life_and_ends_when_that_fails() {
    let start = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, start);
    let half = start + Duration::from_secs(300);
    assert_eq!(allocation.next_request_at(start), Some(half));
    let refresh = begin(&mut allocation, half);
    allocation.receive(&server.success(&refresh, 1_200), half);
    let next = half + Duration::from_secs(600);
    assert_eq!(allocation.next_request_at(half), Some(next));

    let end = half + Duration::from_secs(1_200);
    let mut now = next;
    let mut attempts = 0;
    while now < end {
        if allocation.next_request_at(now).is_some_and(|at| at <= now) {
            allocation.begin_request(now);
            attempts += 1;
        }
        allocation.handle_timeout(now);
        while allocation.poll_transmit().is_some() {}
        let paced = allocation.next_request_at(now);
        let next = [allocation.poll_timeout(), paced]
            .into_iter()
            .flatten()
            .min();
        now = next.expect("it waits for its end");
    }
    allocation.handle_timeout(now);
    assert_eq!(now, end);
    assert!(attempts > 10, "{attempts}");
    assert!(ended(&mut allocation).is_some());
}

#[test]
fn the_life_that_a_server_grants_is_taken_within_bounds() {
    let now = Instant::now();
    let server = Server::new();
    for (seconds, refresh) in [(10, Some(5)), (u32::MAX, Some(1_800)), (9, None), (0, None)] {
        let mut allocation = allocation(Via::Datagrams);
        let first = begin(&mut allocation, now);
        allocation.receive(&server.challenge(&first, 401), now);
        let second = request(&mut allocation);
        allocation.receive(&server.success(&second, seconds), now);
        let at = allocation.next_request_at(now);
        assert_eq!(
            at,
            refresh.map(|s| now + Duration::from_secs(s)),
            "{seconds}"
        );
    }
}

#[test]
fn a_server_that_has_lost_the_allocation_says_so_and_it_ends() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    let half = now + Duration::from_secs(300);
    let refresh = begin(&mut allocation, half);
    allocation.receive(&server.error(&refresh, 437), half);
    let fault = ServerFault::Mismatch;
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));

    let mut allocation = granted(&server, now);
    allocation.want(peer(1), now);
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.error(&bind, 437), now);
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));
}

#[test]
fn a_bad_request_for_a_peer_makes_the_allocation_doubtful() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    allocation.want(peer(1), now);
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.error(&bind, 400), now);
    let refresh = begin(&mut allocation, now);
    allocation.receive(&server.error(&refresh, 437), now);
    let fault = ServerFault::Mismatch;
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));
}

#[test]
fn only_an_authenticated_server_sends_us_elsewhere() {
    let now = Instant::now();
    let server = Server::new();
    let elsewhere = SocketAddr::from(([203, 0, 113, 1], 3_478));
    let redirect = |server: &Server, request: &[u8]| {
        server.answer(request, MessageClass::Error, |answer, _| {
            let error = ErrorCode::new(300, "there").expect("a code");
            answer.add_attribute(&error).expect("room");
            let alternate = AlternateServer::new(elsewhere);
            answer.add_attribute(&alternate).expect("room");
        })
    };
    let mut first_try = allocation(Via::Datagrams);
    let first = begin(&mut first_try, now);
    first_try.receive(&redirect(&server, &first), now);
    let fault = ServerFault::Redirect;
    assert_eq!(ended(&mut first_try), Some(End::Fault(fault)));

    let mut signed = allocation(Via::Datagrams);
    let first = begin(&mut signed, now);
    signed.receive(&server.challenge(&first, 401), now);
    let second = request(&mut signed);
    signed.receive(&redirect(&server, &second), now);
    assert_eq!(ended(&mut signed), Some(End::Redirected(elsewhere)));
}

#[test]
fn data_travels_in_the_smallest_form_and_waits_until_its_peer_is_permitted() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    assert_eq!(
        allocation.send(peer(1), vec![9], now),
        None,
        "nobody wants it"
    );
    allocation.want(peer(1), now);
    assert_eq!(allocation.send(peer(1), vec![1, 2, 3], now), None);
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.success(&bind, 0), now);
    assert_eq!(request(&mut allocation), [0x40, 0, 0, 3, 1, 2, 3]);
    let sent = allocation.send(peer(1), vec![4], now);
    assert_eq!(sent, Some(vec![0x40, 0, 0, 1, 4]));
}

#[test]
fn channel_data_over_a_stream_is_padded() {
    for (len, whole) in [(0, 4), (1, 8), (3, 8), (4, 8), (5, 12)] {
        let message = message::channel_data(0x4000, &vec![7; len], true).expect("short");
        assert_eq!(message.len(), whole, "{len}");
        let message = message::channel_data(0x4000, &vec![7; len], false).expect("short");
        assert_eq!(message.len(), 4 + len);
    }
}

#[test]
fn where_there_is_no_channel_data_travels_in_indications() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    allocation.want(peer(1), now);
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.error(&bind, 508), now);
    let permit = begin(&mut allocation, now);
    allocation.receive(&server.success(&permit, 0), now);
    let sent = allocation
        .send(peer(1), vec![1, 2, 3, 4, 5], now)
        .expect("sent");
    let sent = Message::from_bytes(&sent).expect("well-formed");
    let data = sent.attribute::<Data<'_>>().expect("data");
    assert_eq!(data.data(), [1, 2, 3, 4, 5]);
    let to = sent.attribute::<XorPeerAddress>().expect("a peer");
    assert_eq!(to.addr(sent.transaction_id()), peer(1));
}

#[test]
fn data_of_strangers_is_dropped_and_that_of_permitted_addresses_comes_through() {
    let now = Instant::now();
    let mut allocation = bound(&Server::new(), now);
    let indication = |from: SocketAddr| {
        let kind = MessageType::from_class_method(MessageClass::Indication, DATA);
        let mut message = Message::builder(kind, 7.into(), MessageWriteVec::new());
        let address = XorPeerAddress::new(from, 7.into());
        message.add_attribute(&address).expect("room");
        message.add_attribute(&Data::new(b"data")).expect("room");
        message.finish()
    };
    let known = indication(peer(2));
    match allocation.receive(&known, now) {
        Received::Data { peer: from, data } => {
            assert_eq!((from, &known[data]), (peer(2), &b"data"[..]));
        }
        other => panic!("{other:?}"),
    }
    let stranger = indication(SocketAddr::from(([192, 0, 2, 9], 1)));
    assert_eq!(allocation.receive(&stranger, now), Received::Ignored);

    let channel = [0x40, 0, 0, 2, 5, 6];
    let expected = Received::Data {
        peer: peer(1),
        data: 4..6,
    };
    assert_eq!(allocation.receive(&channel, now), expected);
    let short = [0x40, 0, 0, 3, 5, 6];
    assert_eq!(allocation.receive(&short, now), Received::Ignored);
    let unbound = [0x40, 1, 0, 2, 5, 6];
    assert_eq!(allocation.receive(&unbound, now), Received::Ignored);
}

#[test]
fn what_the_server_forbids_goes_nowhere() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    allocation.want(peer(1), now);
    allocation.send(peer(1), vec![1], now);
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.error(&bind, 403), now);
    assert_eq!(allocation.poll_transmit(), None);
    assert_eq!(allocation.send(peer(1), vec![2], now), None);
    assert_eq!(allocation.poll_event(), None, "the allocation lives");
}

#[test]
fn a_deleted_allocation_says_so_to_the_server_and_ends_with_its_answer() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    allocation.delete(now);
    let refresh = request(&mut allocation);
    let lifetime = {
        let message = Message::from_bytes(&refresh).expect("well-formed");
        message.attribute::<Lifetime>().expect("there").seconds()
    };
    assert_eq!(lifetime, 0);
    assert_eq!(allocation.relayed(), None);
    allocation.receive(&server.success(&refresh, 0), now);
    assert_eq!(ended(&mut allocation), Some(End::Deleted));
    assert_eq!(allocation.poll_timeout(), None);
}

#[test]
fn a_way_that_is_silent_is_kept_open_by_indications() {
    let now = Instant::now();
    let mut allocation = bound(&Server::new(), now);
    let keepalive = Duration::from_secs(20);
    (allocation.keepalive, allocation.keep_at) = (keepalive, now + keepalive);
    let mut at = now;
    for _ in 0..3 {
        at += keepalive;
        assert_eq!(allocation.poll_timeout(), Some(at));
        allocation.handle_timeout(at);
        let sent = request(&mut allocation);
        assert_eq!((sent.len(), &sent[..2]), (20, &[0, 0x11][..]));
    }
    let sent = at + keepalive / 2;
    assert!(allocation.send(peer(1), vec![1], sent).is_some());
    assert_eq!(allocation.poll_timeout(), Some(sent + keepalive));
}

#[test]
fn the_answer_to_a_deletion_is_not_waited_for_long() {
    let now = Instant::now();
    let mut allocation = granted(&Server::new(), now);
    allocation.delete(now);
    let end = now + LINGER;
    while let Some(at) = allocation.poll_timeout() {
        assert!(at <= end);
        allocation.handle_timeout(at);
        if at == end {
            break;
        }
    }
    assert_eq!(ended(&mut allocation), Some(End::Deleted));
    assert_eq!(allocation.poll_timeout(), None);
}

#[test]
fn a_server_that_falls_silent_is_asked_whether_it_still_knows_the_allocation() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = bound(&server, now);
    let soon = now + Duration::from_secs(1);
    allocation.send(peer(1), vec![1], soon);
    allocation.send(peer(1), vec![2], soon + Duration::from_secs(2));
    assert_eq!(allocation.next_request_at(now), Some(soon + SUSPICION));
    allocation.receive(&[0x40, 0, 0, 1, 9], soon);
    let usual = now + Duration::from_secs(150);
    assert_eq!(allocation.next_request_at(now), Some(usual), "it was heard");
    allocation.send(peer(1), vec![3], soon);
    let refresh = begin(&mut allocation, soon + SUSPICION);
    allocation.receive(&server.error(&refresh, 437), soon + SUSPICION);
    let fault = ServerFault::Mismatch;
    assert_eq!(ended(&mut allocation), Some(End::Fault(fault)));
}

#[test]
fn a_replayed_answer_counts_once() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = granted(&server, now);
    let half = now + Duration::from_secs(300);
    let refresh = begin(&mut allocation, half);
    let answer = server.success(&refresh, 600);
    assert_eq!(allocation.receive(&answer, half), Received::Response);
    assert_eq!(allocation.receive(&answer, half), Received::Ignored);
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_server_panic(
        messages in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120), 0..20),
    ) {
        let now = Instant::now();
        let mut allocation = bound(&Server::new(), now);
        for message in messages {
            let _ = allocation.receive(&message, now);
        }
        proptest::prop_assert_eq!(allocation.relayed(), Some(relayed()));
    }
}

#[test]
fn after_the_end_nothing_is_relayed() {
    let now = Instant::now();
    let server = Server::new();
    let mut allocation = bound(&server, now);
    let data = [0x40, 0, 0, 1, 9];
    assert_ne!(allocation.receive(&data, now), Received::Ignored);
    assert!(allocation.want(peer(2), now));
    let bind = begin(&mut allocation, now);
    allocation.receive(&server.error(&bind, 437), now);
    assert_eq!(allocation.receive(&data, now), Received::Ignored);
    assert_eq!(allocation.send(peer(1), vec![1], now), None);
}
