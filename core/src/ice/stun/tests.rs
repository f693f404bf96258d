use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::message::build::{self, Success};
use super::*;
use crate::rng::{Rng, Seed};

#[test]
fn requests_go_out_at_the_instants_of_the_rfc_and_then_time_is_up() {
    let (mut client, start) = client();
    let id = client.begin(plain(), start).expect("room");
    let mut sent = Vec::new();
    let mut outcome = None;
    while let Some(due) = client.poll_timeout() {
        let request = client.poll_transmit(due);
        outcome = client.poll_expired(due);
        assert!(request.is_some() != outcome.is_some(), "one for each wake");
        sent.extend(request.map(|_| millis(due - start)));
        if outcome.is_some() {
            assert_eq!(millis(due - start), 39_500);
        }
    }
    assert_eq!(sent, [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    let outcome = outcome.expect("an end");
    assert_eq!(outcome.id, id);
    assert_eq!(outcome.result, Err(BindingFault::TimedOut));
    assert_eq!(Ladder::STANDARD.total(), Duration::from_millis(39_500));
    assert!(client.is_idle());
}

#[test]
fn nothing_is_sent_or_given_up_before_its_time() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    assert!(client.poll_transmit(start).is_some());
    let early = start + Duration::from_nanos(499_999_999);
    assert_eq!(client.poll_transmit(early), None);
    assert_eq!(client.poll_expired(early), None);
}

#[test]
fn a_late_driver_sends_one_request_and_not_a_burst() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    assert!(client.poll_transmit(start).is_some());
    let late = start + Duration::from_secs(20);
    assert!(client.poll_transmit(late).is_some());
    assert_eq!(client.poll_transmit(late), None);
    assert_eq!(client.poll_timeout(), Some(late + Duration::from_secs(1)));
}

#[test]
fn a_repetition_has_the_same_bytes() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let first = client.poll_transmit(start);
    let second = client.poll_transmit(start + Duration::from_millis(500));
    assert!(first.is_some());
    assert_eq!(first, second);
}

#[test]
fn a_server_tells_where_we_are_seen() {
    let (mut client, start) = client();
    let id = client.begin(plain(), start).expect("room");
    let request = sent(&mut client, start);
    let later = start + Duration::from_millis(40);
    let outcome = client.handle_response(local(), server(), &answer(&request), later);
    let binding = Binding {
        mapped: address("192.0.2.9:7"),
        from: server(),
        origin: None,
        other: None,
        rtt: Some(Duration::from_millis(40)),
    };
    let expected = Outcome {
        id,
        local: local(),
        server: server(),
        result: Ok(binding),
    };
    assert_eq!(outcome, Some(expected));
}

#[test]
fn after_a_repetition_there_is_no_round_trip_time() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let request = sent(&mut client, start);
    let later = start + Duration::from_millis(500);
    sent(&mut client, later);
    let outcome = client.handle_response(local(), server(), &answer(&request), later);
    let binding = outcome.expect("an answer").result.expect("a success");
    assert_eq!(binding.rtt, None);
}

#[test]
fn an_answer_from_elsewhere_or_at_another_socket_does_not_count() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let answer = answer(&sent(&mut client, start));
    for remote in ["198.51.100.1:3479", "198.51.100.2:3478"].map(address) {
        assert_eq!(
            client.handle_response(local(), remote, &answer, start),
            None
        );
    }
    let other_socket = address("10.0.0.1:4001");
    let elsewhere = client.handle_response(other_socket, server(), &answer, start);
    assert_eq!(elsewhere, None);
    let outcome = client.handle_response(local(), server(), &answer, start);
    assert!(outcome.is_some_and(|outcome| outcome.result.is_ok()));
}

#[test]
fn an_ipv4_mapped_source_is_the_ipv4_address_it_is() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let answer = answer(&sent(&mut client, start));
    let mapped = address("[::ffff:198.51.100.1]:3478");
    let outcome = client.handle_response(local(), mapped, &answer, start);
    assert!(outcome.is_some_and(|outcome| outcome.result.is_ok()));
}

#[test]
fn an_answer_to_another_id_does_not_count() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let right = answer(&sent(&mut client, start));
    for bit in 0..96 {
        let mut guess = right[..right.len() - 8].to_vec();
        guess[8 + bit / 8] ^= 1 << (bit % 8);
        let len = u8::try_from(guess.len() - 20).expect("short");
        guess[3] = len;
        let outcome = client.handle_response(local(), server(), &guess, start);
        assert_eq!(outcome, None, "{bit}");
    }
}

#[test]
fn the_first_answer_wins_and_a_replay_finds_nothing() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let answer = answer(&sent(&mut client, start));
    let handle = |client: &mut BindingClient| {
        client
            .handle_response(local(), server(), &answer, start)
            .is_some()
    };
    assert!(handle(&mut client));
    assert!(!handle(&mut client));
    client.begin(plain(), start).expect("room");
    sent(&mut client, start);
    assert!(!handle(&mut client), "ids are fresh");
}

#[test]
fn a_malformed_answer_is_as_good_as_not_received() {
    let (mut client, start) = client();
    client.begin(plain(), start).expect("room");
    let answer = answer(&sent(&mut client, start));
    let cut = &answer[..answer.len() - 1];
    assert_eq!(client.handle_response(local(), server(), cut, start), None);
    let mut wrong_fingerprint = answer.clone();
    *wrong_fingerprint.last_mut().expect("bytes") ^= 1;
    let outcome = client.handle_response(local(), server(), &wrong_fingerprint, start);
    assert_eq!(outcome, None);
    let outcome = client.handle_response(local(), server(), &answer, start);
    assert!(outcome.is_some());
}

#[test]
fn an_error_ends_a_transaction_with_its_code_and_a_redirection_is_one() {
    for code in [300, 401, 420, 500] {
        let (mut client, start) = client();
        client.begin(plain(), start).expect("room");
        let error = build::error(&sent(&mut client, start), code);
        let outcome = client.handle_response(local(), server(), &error, start);
        let result = outcome.expect("an end").result;
        assert_eq!(result, Err(BindingFault::Refused { code }));
        assert!(client.is_idle(), "nobody else is asked");
    }
}

#[test]
fn an_answer_of_no_use_ends_a_transaction() {
    let useless = Success::default();
    let other_family = Success {
        xor_mapped: Some(address("[2001:db8::1]:7")),
        ..Success::default()
    };
    for (success, fault) in [
        (useless, BindingFault::Unusable),
        (other_family, BindingFault::Family),
    ] {
        let (mut client, start) = client();
        client.begin(plain(), start).expect("room");
        let answer = build::success(&sent(&mut client, start), &success);
        let outcome = client.handle_response(local(), server(), &answer, start);
        assert_eq!(outcome.expect("an end").result, Err(fault));
    }
}

#[test]
fn a_changed_address_answers_where_the_request_says_so() {
    let other = address("198.51.100.2:3479");
    let change = ChangeRequest {
        ip: true,
        port: true,
    };
    for (answers_from, remote, counts) in [
        (Some(other), other, true),
        (Some(other), server(), false),
        (None, other, true),
        (None, server(), true),
    ] {
        let (mut client, start) = client();
        let request = BindingRequest::changing(local(), server(), change, answers_from);
        client.begin(request, start).expect("room");
        let bytes = sent(&mut client, start);
        assert_eq!(build::change_of(&bytes), change);
        let outcome = client.handle_response(local(), remote, &answer(&bytes), start);
        assert_eq!(outcome.is_some(), counts, "{answers_from:?} {remote}");
    }
}

#[test]
fn open_transactions_are_bounded() {
    let (mut client, start) = client();
    for _ in 0..MAX_OPEN {
        client.begin(plain(), start).expect("room");
    }
    assert_eq!(client.begin(plain(), start), Err(TooManyOpen));
    let answer = answer(&sent(&mut client, start));
    client.handle_response(local(), server(), &answer, start);
    assert!(client.begin(plain(), start).is_ok(), "one has ended");
}

#[test]
fn a_cancelled_transaction_sends_and_takes_nothing_more() {
    let (mut client, start) = client();
    let cancelled = client.begin(plain(), start).expect("room");
    let answer = answer(&sent(&mut client, start));
    let kept = client.begin(plain(), start).expect("room");
    client.cancel(cancelled);
    assert_eq!(
        client.handle_response(local(), server(), &answer, start),
        None
    );
    assert_eq!(client.open.iter().map(|t| t.id).collect::<Vec<_>>(), [kept]);
}

#[test]
fn a_seed_repeats_its_requests() {
    let run = || {
        let (mut client, start) = client();
        client.begin(plain(), start).expect("room");
        sent(&mut client, start)
    };
    assert_eq!(run(), run());
}

proptest! {
    /// From the right address with the right id, where it is read the furthest.
    #[test]
    fn no_answer_panics(
        body in proptest::collection::vec(any::<u8>(), 0..120),
        kind in prop_oneof![Just([1_u8, 1]), Just([1, 0x11]), any::<[u8; 2]>()],
        len in prop_oneof![Just(None), any::<u16>().prop_map(Some)],
    ) {
        let (mut client, start) = client();
        client.begin(plain(), start).expect("room");
        let request = sent(&mut client, start);
        let right_len = u16::try_from(body.len()).expect("short");
        let len = len.unwrap_or(right_len).to_be_bytes();
        let bytes = [&kind[..], &len, &request[4..20], &body].concat();
        let outcome = client.handle_response(local(), server(), &bytes, start);
        prop_assert_eq!(outcome.is_some(), client.is_idle());
    }
}

fn client() -> (BindingClient, Instant) {
    let rng = Rng::new(&Seed::from([1; 32]));
    (BindingClient::new(Ladder::STANDARD, rng), Instant::now())
}

fn plain() -> BindingRequest {
    BindingRequest::plain(local(), server())
}

fn sent(client: &mut BindingClient, now: Instant) -> Vec<u8> {
    client.poll_transmit(now).expect("a request").contents
}

fn answer(request: &[u8]) -> Vec<u8> {
    let success = Success {
        xor_mapped: Some(address("192.0.2.9:7")),
        ..Success::default()
    };
    build::success(request, &success)
}

fn local() -> SocketAddr {
    address("10.0.0.1:4000")
}

fn server() -> SocketAddr {
    address("198.51.100.1:3478")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}
