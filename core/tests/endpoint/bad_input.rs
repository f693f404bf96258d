//! Input that no honest peer sends, and limits: what is wrong is refused and counted, and nobody else is harmed.
//!
//! Alice is the target. She is connected to Carol all the time, and that connection must not notice anything.

use std::net::SocketAddr;

use bowline::sdp::{SdpError, SdpFault};
use bowline::{
    CandidateRefusal, Cause, ChannelConfig, ChannelKind, Config, ConnectError, ConnectOptions,
    Event, Input, Message, NegotiationFault, OpenError, PeerState, SendRefusal, Side,
    SignalRefusal, UnknownPeer,
};
use serde_json::{Value, json};

use crate::common::{Parcel, World, address, id, json, millis, secs};

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const SESSION: &str = "00112233445566778899aabbccddeeff";

/// Alice with Carol connected to her, and Bob, who is not.
fn neighbours() -> World {
    neighbours_with(&Config::default())
}

/// They wait for a server that is silent, so that their descriptions do not end their candidates.
fn gathering_neighbours() -> World {
    let silent = "stun:192.0.2.99".parse().expect("a uri");
    let config = Config::builder().ice_server(silent).build();
    neighbours_with(&config.expect("valid"))
}

fn neighbours_with(config: &Config) -> World {
    let mut world = World::new(&["alice", "bob", "carol"], config);
    world.connect(CAROL, "alice");
    world.run(secs(1));
    assert_unharmed(&mut world);
    world
}

/// Carol and Alice hear each other, and have been connected all the time.
fn assert_unharmed(world: &mut World) {
    let now = world.now;
    let before = [world.messages(ALICE).len(), world.messages(CAROL).len()];
    for (n, other) in [(ALICE, "carol"), (CAROL, "alice")] {
        for kind in [
            ChannelKind::Control,
            ChannelKind::Reliable,
            ChannelKind::File,
        ] {
            world
                .peer(n, other)
                .send(kind, "still there", now)
                .expect("queued");
        }
    }
    world.run(millis(200));
    assert_eq!(world.messages(ALICE).len(), before[0] + 3);
    assert_eq!(world.messages(CAROL).len(), before[1] + 3);
    let is_harm = |event: &&Event| match event {
        Event::State { peer, to, .. } => *peer == id("carol") && *to > PeerState::Connected,
        _ => false,
    };
    assert_eq!(world.events(ALICE).iter().find(is_harm), None);
}

/// What was told to Alice since her event number `since`, but for refusals and figures.
fn changes(world: &World, since: usize) -> Vec<Event> {
    let told = |e: &&Event| !matches!(e, Event::SignalRefused { .. } | Event::Metrics { .. });
    world.events(ALICE)[since..]
        .iter()
        .filter(told)
        .cloned()
        .collect()
}

/// Why Alice refused signalling since her event number `since`.
fn refusals(world: &World, since: usize) -> Vec<SignalRefusal> {
    let refused = |event: &Event| match event {
        Event::SignalRefused { reason, .. } => Some(*reason),
        _ => None,
    };
    world.events(ALICE)[since..]
        .iter()
        .filter_map(refused)
        .collect()
}

fn signal(world: &mut World, n: usize, text: &str) {
    let now = world.now;
    world.endpoint(n).handle_input(Input::Signal { text }, now);
    world.drain();
}

/// A signalling message to Alice from Bob.
fn envelope(seq: u64, fields: Value) -> Value {
    let mut envelope = json!({
        "v": 1, "from": "bob", "to": "alice", "session": SESSION, "generation": 0, "seq": seq,
    });
    for (name, value) in fields.as_object().expect("fields") {
        envelope[name] = value.clone();
    }
    envelope
}

fn candidate(seq: u64, ufrag: &str, port: u16) -> Value {
    let line = format!("candidate:1 1 udp 2130706431 198.51.100.7 {port} typ host");
    envelope(
        seq,
        json!({ "type": "ice-candidate", "candidate": line, "ufrag": ufrag }),
    )
}

/// The text of the last signalling message of a kind to a peer.
fn last_signal(world: &World, to: &str, kind: &str) -> String {
    let text = |parcel: &Parcel| match parcel {
        Parcel::Signal { to: receiver, text } if *receiver == id(to) => Some(text.clone()),
        Parcel::Signal { .. } | Parcel::Datagram { .. } => None,
    };
    let mut sent = world
        .sent
        .iter()
        .rev()
        .filter(|(_, p)| p.kind().as_deref() == Some(kind));
    sent.find_map(|(_, parcel)| text(parcel))
        .expect("it was sent")
}

#[test]
fn garbage_of_every_first_byte_and_length_is_counted_and_dropped() {
    let mut world = neighbours();
    world.connect(BOB, "alice");
    world.run(secs(1));
    let (now, since, before) = (world.now, world.events(ALICE).len(), world.stats(ALICE));
    let stranger = SocketAddr::from(([203, 0, 113, 9], 9));
    let mut sent = 0;
    for first in 0..=255 {
        for len in [
            1, 2, 12, 13, 19, 20, 28, 100, 1_200, 2_048, 2_049, 9_000, 65_507,
        ] {
            let mut garbage: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
            garbage[0] = first;
            sent += 1;
            world.nodes[ALICE].datagram(stranger, address(ALICE), &garbage, now);
            // The same from an address that a peer uses, where DTLS has to tell.
            world.nodes[ALICE].datagram(address(BOB), address(ALICE), &garbage, now);
        }
    }
    world.nodes[ALICE].datagram(stranger, address(ALICE), &[], now);
    world.run(millis(100));
    let stats = world.stats(ALICE);
    assert_eq!(changes(&world, since), []);
    let dropped = stats.dropped.total() - before.dropped.total();
    let dtls_sized = 44 * 10;
    assert_eq!(
        dropped,
        2 * sent - dtls_sized,
        "all but what looks like DTLS of a peer"
    );
    assert!(stats.dropped.bad_stun > 0 && stats.dropped.garbage > 0);
    assert!(stats.dropped.unknown_source > 0 && stats.dropped.unsupported > 0);
    assert_unharmed(&mut world);
    let now = world.now;
    world
        .peer(BOB, "alice")
        .send(ChannelKind::Reliable, "me too", now)
        .expect("queued");
    world.run(millis(100));
    assert_eq!(
        world.messages(ALICE).last().map(|(_, m)| m.clone()),
        Some(Message::text("me too"))
    );
}

#[test]
fn several_datagrams_in_one_input_are_each_judged() {
    let mut world = neighbours();
    let (now, local) = (world.now, address(ALICE));
    let before = world.stats(ALICE).dropped.garbage;
    for segment_size in [0, 1, 7, 100, usize::MAX] {
        let contents = &[5; 70];
        let input = Input::Datagrams {
            local,
            remote: address(BOB),
            contents,
            segment_size,
        };
        world.endpoint(ALICE).handle_input(input, now);
    }
    assert_eq!(
        world.stats(ALICE).dropped.garbage - before,
        70 + 70 + 10 + 1 + 1
    );
}

#[test]
fn signals_that_are_cut_or_garbage_are_refused() {
    let mut world = neighbours();
    world.lose(|parcel| parcel.kind().as_deref() == Some("offer"));
    world.connect(BOB, "alice");
    world.run(millis(50));
    world.heal();
    let offer = last_signal(&world, "alice", "offer");
    let (since, before) = (
        world.events(ALICE).len(),
        world.stats(ALICE).signals_refused,
    );
    let cuts: Vec<_> = (0..offer.len())
        .filter(|at| offer.is_char_boundary(*at))
        .collect();
    for at in &cuts {
        signal(&mut world, ALICE, &offer[..*at]);
    }
    for text in [
        "null",
        "[]",
        "{}",
        "{\"v\":1}",
        "\u{0}",
        "💣",
        &"[".repeat(60_000),
    ] {
        signal(&mut world, ALICE, text);
    }
    assert_eq!(changes(&world, since), []);
    assert_eq!(
        world.stats(ALICE).signals_refused - before,
        cuts.len() as u64 + 7
    );
    assert_eq!(world.stats(ALICE).peers, 1);
    let unknown = offer.replace("\"v\":1", "\"v\":2");
    let since = world.events(ALICE).len();
    signal(&mut world, ALICE, &unknown);
    assert_eq!(refusals(&world, since), [SignalRefusal::Version]);
    assert_unharmed(&mut world);
}

#[test]
fn a_signal_at_the_limit_is_read_and_one_byte_more_is_not() {
    let mut world = neighbours();
    let limit = Config::default().limits().max_signal_size;
    let mut bye = envelope(
        1,
        json!({ "type": "bye", "reason": "closed", "padding": "" }),
    );
    bye["padding"] = "x".repeat(limit - bye.to_string().len()).into();
    let text = bye.to_string();
    assert_eq!(text.len(), limit);
    let since = world.events(ALICE).len();
    signal(&mut world, ALICE, &text);
    assert_eq!(refusals(&world, since), []);
    signal(&mut world, ALICE, &format!("{text} "));
    assert_eq!(refusals(&world, since), [SignalRefusal::TooLarge]);
    assert_unharmed(&mut world);
}

/// Descriptions that must not be used, and why.
fn spoilt(sdp: &str) -> Vec<(String, NegotiationFault)> {
    let without = |start: &str| -> String {
        let kept = sdp
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with(start));
        kept.collect()
    };
    let fingerprint = sdp
        .lines()
        .find(|line| line.starts_with("a=fingerprint:"))
        .expect("there");
    let setup = sdp
        .lines()
        .find(|line| line.starts_with("a=setup:"))
        .expect("there");
    let sha1 = format!("a=fingerprint:sha-1 {}", ["AB"; 20].join(":"));
    vec![
        (without("a=ice-ufrag"), NegotiationFault::IceCredentials),
        (without("a=ice-pwd"), NegotiationFault::IceCredentials),
        (without("a=fingerprint"), NegotiationFault::Fingerprint),
        (
            sdp.replace(fingerprint, &sha1),
            NegotiationFault::Fingerprint,
        ),
        (
            sdp.replace(setup, "a=setup:holdconn"),
            NegotiationFault::Setup,
        ),
        (without("a=setup"), NegotiationFault::Setup),
        ("v=0\r\n".to_owned(), NegotiationFault::Malformed),
        (String::new(), NegotiationFault::Malformed),
    ]
}

/// Lets Bob call Alice with every description of one kind spoilt in the way number `spoiler`.
fn call_with_spoilt(kind: &'static str, spoiler: usize) -> (World, NegotiationFault) {
    let mut world = neighbours();
    let expected = spoilt(
        json(&last_signal(&world, "alice", "offer"))["sdp"]
            .as_str()
            .expect("text"),
    );
    world.network(move |_, mut parcel| {
        if parcel.kind().as_deref() == Some(kind)
            && let Parcel::Signal { text, .. } = &mut parcel
        {
            let mut envelope = json(text);
            let sdp = envelope["sdp"].as_str().expect("text");
            envelope["sdp"] = spoilt(sdp)[spoiler].0.clone().into();
            *text = envelope.to_string();
        }
        vec![(millis(10), parcel)]
    });
    (world, expected[spoiler].1)
}

#[test]
fn offers_and_answers_that_cannot_be_used_end_the_attempt_on_both_sides() {
    for spoiler in 0..8 {
        for (kind, caller) in [("offer", BOB), ("answer", ALICE)] {
            let (mut world, fault) = call_with_spoilt(kind, spoiler);
            world.connect(caller, ["alice", "bob"][1 - caller]);
            world.run(millis(500));
            world.heal();
            let (state, cause, _) = world.end(ALICE).expect("ended");
            assert_eq!(
                (state, cause),
                (PeerState::Failed, Cause::Negotiation(fault)),
                "{kind} {spoiler}"
            );
            let (state, cause, _) = world.end(BOB).expect("ended");
            assert_eq!(
                (state, cause),
                (PeerState::Closed, Cause::RemoteClose),
                "{kind} {spoiler}"
            );
            assert_unharmed(&mut world);
        }
    }
}

#[test]
fn a_restart_that_cannot_be_used_leaves_the_connection_as_it_is() {
    for spoiler in 0..8 {
        let (mut world, _) = call_with_spoilt("offer", spoiler);
        world.heal();
        let restart = last_signal(&world, "alice", "offer");
        let sdp = json(&restart)["sdp"].as_str().expect("text").to_owned();
        let mut restart = json(&restart);
        restart["generation"] = 1.into();
        restart["seq"] = 500.into();
        restart["sdp"] = spoilt(&sdp)[spoiler].0.clone().into();
        let since = world.events(ALICE).len();
        signal(&mut world, ALICE, &restart.to_string());
        assert!(
            matches!(
                changes(&world, since)[..],
                [Event::NegotiationFailed { .. }, ..]
            ),
            "{spoiler}"
        );
        assert_unharmed(&mut world);
    }
}

#[test]
fn another_certificate_in_the_same_session_is_refused() {
    let mut world = neighbours();
    let mut restart = json(&last_signal(&world, "alice", "offer"));
    let sdp = restart["sdp"].as_str().expect("text").to_owned();
    let fingerprint = sdp
        .lines()
        .find(|line| line.starts_with("a=fingerprint:"))
        .expect("there");
    let other = format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":"));
    restart["sdp"] = sdp.replace(fingerprint, &other).into();
    restart["generation"] = 1.into();
    restart["seq"] = 500.into();
    let since = world.events(ALICE).len();
    signal(&mut world, ALICE, &restart.to_string());
    let line = 1 + sdp.lines().position(|l| l == fingerprint).expect("there");
    let reason = SdpFault::FingerprintChanged;
    let failed = Event::NegotiationFailed {
        peer: id("carol"),
        reason: NegotiationFault::FingerprintChanged,
        error: Some(SdpError { line, reason }),
    };
    assert_eq!(changes(&world, since)[0], failed);
    assert_unharmed(&mut world);
}

#[test]
fn a_session_that_names_itself_as_left_is_taken_all_the_same() {
    let mut world = World::connected();
    world.restart(BOB, 77, &Config::default());
    world.network(|_, mut parcel| {
        let is_offer = parcel.kind().as_deref() == Some("offer");
        if let Parcel::Signal { text, .. } = &mut parcel
            && is_offer
        {
            let mut offer = json(text);
            offer["replaces"] = json!([offer["session"]]);
            *text = offer.to_string();
        }
        vec![(millis(10), parcel)]
    });
    world.connect(BOB, "alice");
    world.run(secs(2));
    assert!(world.is_connected(ALICE, "bob") && world.is_connected(BOB, "alice"));
    let now = world.now;
    world.peer(BOB, "alice").close(now);
    world.run(secs(5));
    world.assert_at_rest();
}

#[test]
fn what_names_a_user_that_nobody_has_is_counted_and_dropped() {
    let mut world = neighbours();
    world.connect(BOB, "carol");
    world.run(secs(1));
    let to_carol = |parcel: &Parcel| match parcel {
        Parcel::Datagram { to, bytes, .. } if *to == address(CAROL) && bytes[0] == 0 => {
            Some(bytes.clone())
        }
        Parcel::Datagram { .. } | Parcel::Signal { .. } => None,
    };
    let check = world
        .sent
        .iter()
        .rev()
        .find_map(|(_, p)| to_carol(p))
        .expect("checks were sent");
    let response = |parcel: &Parcel| match parcel {
        Parcel::Datagram { bytes, .. } if bytes[0] == 1 => Some(bytes.clone()),
        Parcel::Datagram { .. } | Parcel::Signal { .. } => None,
    };
    let answer = world
        .sent
        .iter()
        .rev()
        .find_map(|(_, p)| response(p))
        .expect("answers were sent");
    let (now, before) = (world.now, world.stats(ALICE).dropped);
    world.nodes[ALICE].datagram(address(BOB), address(ALICE), &check, now);
    world.nodes[ALICE].datagram(address(BOB), address(ALICE), &answer, now);
    let after = world.stats(ALICE).dropped;
    assert_eq!(after.unknown_ufrag - before.unknown_ufrag, 1);
    assert_eq!(after.unknown_transaction - before.unknown_transaction, 1);
    assert_unharmed(&mut world);
}

#[test]
fn checks_from_more_sources_than_the_limit_are_dropped() {
    let mut world = neighbours();
    let check = |parcel: &Parcel| match parcel {
        Parcel::Datagram { from, to, bytes }
            if (*from, *to) == (address(CAROL), address(ALICE)) =>
        {
            (bytes[0] == 0).then(|| bytes.clone())
        }
        Parcel::Datagram { .. } | Parcel::Signal { .. } => None,
    };
    let check = world
        .sent
        .iter()
        .rev()
        .find_map(|(_, p)| check(p))
        .expect("checks were sent");
    let now = world.now;
    for port in 1..=40 {
        let source = SocketAddr::from(([198, 51, 100, 1], port));
        world.nodes[ALICE].datagram(source, address(ALICE), &check, now);
    }
    assert_eq!(world.stats(ALICE).dropped.too_many_sources, 40 - 32);
    assert_unharmed(&mut world);
    world.run(secs(30));
    assert_unharmed(&mut world);
}

#[test]
fn replays_of_everything_change_nothing_while_connected_nor_after_the_end() {
    let mut world = neighbours();
    world.connect(BOB, "alice");
    world.run(secs(1));
    let now = world.now;
    for kind in ChannelKind::ALL {
        world
            .peer(BOB, "alice")
            .send(kind, "once", now)
            .expect("queued");
    }
    world.peer(ALICE, "bob").restart_ice(now);
    world.run(secs(1));
    let recorded: Vec<_> = world
        .sent
        .iter()
        .map(|(_, parcel)| parcel.clone())
        .collect();
    replay_all(&mut world, &recorded);
    assert!(world.is_connected(ALICE, "bob") && world.is_connected(BOB, "alice"));
    assert_unharmed(&mut world);

    let now = world.now;
    world.peer(BOB, "alice").close(now);
    world.run(secs(3));
    let recorded: Vec<_> = world
        .sent
        .iter()
        .map(|(_, parcel)| parcel.clone())
        .collect();
    let of_bob = |parcel: &&Parcel| match parcel {
        Parcel::Datagram { from, to, .. } => [*from, *to].contains(&address(BOB)),
        Parcel::Signal { text, .. } => text.contains("\"bob\""),
    };
    let recorded: Vec<_> = recorded.iter().filter(of_bob).cloned().collect();
    let before = world.stats(ALICE);
    replay_all(&mut world, &recorded);
    assert_eq!(
        world.endpoint(ALICE).peers().collect::<Vec<_>>(),
        [id("carol")]
    );
    assert_eq!(world.endpoint(BOB).peers().count(), 0);
    assert_eq!(world.nodes[BOB].deadline, None);
    let after = world.stats(ALICE);
    assert!(after.signals_duplicate > before.signals_duplicate);
    assert!(after.dropped.unknown_source > before.dropped.unknown_source);
    assert_unharmed(&mut world);
}

/// Delivers everything again, forwards and backwards, and asserts that nobody was told anything.
fn replay_all(world: &mut World, recorded: &[Parcel]) {
    let told = |world: &World, n: usize| {
        let told = |e: &&Event| !matches!(e, Event::SignalRefused { .. } | Event::Metrics { .. });
        world.events(n).iter().filter(told).count()
    };
    let before: Vec<_> = (0..3).map(|n| told(world, n)).collect();
    for parcel in recorded.iter().chain(recorded.iter().rev()) {
        world.deliver(parcel.clone());
        world.drain();
    }
    world.run(secs(3));
    let after: Vec<_> = (0..3).map(|n| told(world, n)).collect();
    assert_eq!(before, after, "a replay was taken for new");
}

/// Whoever carries signals can keep the word that a session is unknown, from before the peer had taken the offer.
#[test]
fn a_denial_from_before_the_peer_was_seen_ends_nothing() {
    let mut world = neighbours();
    let session = world.events(ALICE).iter().find_map(|event| match event {
        Event::NegotiationDone { session, .. } => Some(session.to_string()),
        _ => None,
    });
    let session = session.expect("they have negotiated");
    let dated = |time: u64, fields: Value| {
        let mut message = envelope(0, fields);
        message["from"] = json!("carol");
        message["session"] = json!(session);
        message["time"] = json!(time);
        message.to_string()
    };
    let denial = json!({ "type": "bye", "reason": "unknown-session" });
    let before = world.events(ALICE).len();
    let numbered = json!({ "seq": 900, "type": "end-of-candidates", "ufrag": "other" });
    signal(&mut world, ALICE, &dated(1_000, numbered));
    signal(&mut world, ALICE, &dated(999, denial.clone()));
    world.run(secs(1));
    assert_eq!(refusals(&world, before), [SignalRefusal::Stale]);
    assert!(world.is_connected(ALICE, "carol"));
    assert!(!world.saw_state(ALICE, PeerState::Disconnected));
    signal(&mut world, ALICE, &dated(1_000, denial));
    assert!(!world.is_connected(ALICE, "carol"));
}

#[test]
fn signals_that_are_reflected_or_for_others_are_refused() {
    let mut world = neighbours();
    world.connect(BOB, "alice");
    world.run(secs(1));
    let signals: Vec<_> = world
        .sent
        .iter()
        .filter(|(_, p)| p.is_signal())
        .cloned()
        .collect();
    for (_, parcel) in signals {
        let Parcel::Signal { to, text } = parcel else {
            continue;
        };
        if to == id("alice") {
            continue;
        }
        let since = world.events(ALICE).len();
        signal(&mut world, ALICE, &text);
        let reflected = json(&text)["from"] == "alice";
        let expected = if reflected {
            SignalRefusal::Reflected
        } else {
            SignalRefusal::Misaddressed
        };
        assert_eq!(refusals(&world, since), [expected]);
        assert_eq!(changes(&world, since), []);
    }
    let since = world.events(ALICE).len();
    let mut for_carol = envelope(1, json!({ "type": "bye", "reason": "closed" }));
    for_carol["to"] = "carol".into();
    signal(&mut world, ALICE, &for_carol.to_string());
    assert_eq!(refusals(&world, since), [SignalRefusal::Misaddressed]);
    assert_unharmed(&mut world);
}

#[test]
fn signals_of_sessions_that_nobody_has_are_refused() {
    let mut world = neighbours();
    let since = world.events(ALICE).len();
    let sdp = json(&last_signal(&world, "alice", "offer"))["sdp"].clone();
    for kind in ["answer", "offer", "ice-restart"] {
        let mut message = envelope(1, json!({ "type": kind, "sdp": sdp }));
        message["generation"] = 1.into();
        signal(&mut world, ALICE, &message.to_string());
    }
    assert_eq!(refusals(&world, since), [SignalRefusal::UnknownSession; 3]);
    assert_eq!(changes(&world, since), []);
    assert_eq!(world.stats(ALICE).peers, 1);
    assert_unharmed(&mut world);
}

#[test]
fn candidates_beyond_the_limit_are_ignored_and_told() {
    let mut world = gathering_neighbours();
    world.connect(BOB, "alice");
    world.run(secs(1));
    let session = json(&last_signal(&world, "alice", "offer"))["session"].clone();
    let ufrag = world.remote_ufrag("alice");
    for n in 0..70_u16 {
        let mut candidate = candidate(100 + u64::from(n), &ufrag, 1_000 + n);
        candidate["session"] = session.clone();
        signal(&mut world, ALICE, &candidate.to_string());
    }
    let bob = id("bob");
    let added = |e: &&Event| matches!(e, Event::CandidateAdded { peer, side: Side::Remote, .. } if *peer == bob);
    let (peer, reason) = (bob, CandidateRefusal::TooMany);
    let too_many = Event::CandidateIgnored { peer, reason };
    assert_eq!(world.events(ALICE).iter().filter(added).count(), 64);
    assert_eq!(
        world
            .events(ALICE)
            .iter()
            .filter(|e| **e == too_many)
            .count(),
        1 + 70 - 64
    );
    world.run(secs(5));
    assert_unharmed(&mut world);
}

#[test]
fn candidates_are_judged_by_their_description_and_by_the_end_of_candidates() {
    let mut world = gathering_neighbours();
    world.connect(BOB, "alice");
    world.run(secs(1));
    let session = json(&last_signal(&world, "alice", "offer"))["session"].clone();
    let ufrag = world.remote_ufrag("alice");
    let since = world.events(ALICE).len();
    let mut send = |mut message: Value| {
        message["session"] = session.clone();
        signal(&mut world, ALICE, &message.to_string());
    };
    send(candidate(100, "another", 1));
    send(envelope(
        150,
        json!({ "type": "end-of-candidates", "ufrag": ufrag }),
    ));
    send(candidate(140, &ufrag, 2));
    send(candidate(160, &ufrag, 3));
    send(candidate(141, &ufrag, 2));
    let bob = id("bob");
    let ignored = |event: &Event| match event {
        Event::CandidateIgnored { peer, reason } if *peer == bob => Some(Some(*reason)),
        Event::CandidateAdded { peer, address, .. } if *peer == bob => {
            assert_eq!(address.port(), 2);
            Some(None)
        }
        _ => None,
    };
    let outcomes: Vec<_> = world.events(ALICE)[since..]
        .iter()
        .filter_map(ignored)
        .collect();
    let expected = [
        Some(CandidateRefusal::Generation),
        None,
        Some(CandidateRefusal::AfterEnd),
        Some(CandidateRefusal::Duplicate),
    ];
    assert_eq!(outcomes, expected);
    assert_unharmed(&mut world);
}

#[test]
fn a_candidate_before_its_offer_waits_for_it() {
    let mut world = gathering_neighbours();
    world.lose(|parcel| parcel.kind().as_deref() == Some("offer"));
    world.connect(BOB, "alice");
    world.run(millis(100));
    let offer = json(&last_signal(&world, "alice", "offer"));
    let mut early = candidate(100, &world.remote_ufrag("alice"), 7);
    early["session"] = offer["session"].clone();
    let since = world.events(ALICE).len();
    signal(&mut world, ALICE, &early.to_string());
    assert_eq!(changes(&world, since), []);
    world.heal();
    world.run(secs(2));
    assert!(world.is_connected(ALICE, "bob"));
    let is_early =
        |e: &Event| matches!(e, Event::CandidateAdded { address, .. } if address.port() == 7);
    assert!(world.events(ALICE).iter().any(is_early));
    assert_unharmed(&mut world);
}

#[test]
fn strangers_cannot_make_an_endpoint_keep_more_than_the_limits() {
    let mut world = neighbours();
    world.nodes[ALICE].accepts = false;
    let offer = json(&last_signal(&world, "alice", "offer"));
    let limits = Config::default().limits().clone();
    for n in 0..2_000_u32 {
        let from = format!("stranger-{n}");
        let session = format!("{n:032x}");
        for mut message in [candidate(2, "ufrag", 1), offer.clone()] {
            message["from"] = from.clone().into();
            message["session"] = session.clone().into();
            signal(&mut world, ALICE, &message.to_string());
        }
        let stats = world.stats(ALICE);
        assert!(stats.incoming <= limits.max_incoming && stats.peers <= limits.max_incoming + 1);
    }
    assert_eq!(world.stats(ALICE).incoming, limits.max_incoming);
    assert_unharmed(&mut world);
    // All of them are forgotten in time, and nothing goes on being sent to them.
    world.run(secs(60));
    assert_eq!(world.stats(ALICE).peers, 1);
    let sent = world.stats(ALICE).signals_sent;
    world.run(secs(60));
    assert_eq!(world.stats(ALICE).signals_sent, sent);
    assert_unharmed(&mut world);
}

#[test]
fn channel_ids_in_use_are_refused() {
    let mut world = World::connected();
    let now = world.now;
    let with_id = |n: u16| ChannelConfig {
        negotiated: Some(n),
        ..ChannelConfig::new("agreed")
    };
    let mut bob = world.peer(0, "bob");
    for taken in [0, 1, 2, 3, 4, 5, 65_534, 65_535] {
        assert_eq!(
            bob.open_channel(with_id(taken), now),
            Err(OpenError::StreamId(taken))
        );
    }
    for free in [6, 100, 65_533] {
        bob.open_channel(with_id(free), now).expect("opens");
        assert_eq!(
            bob.open_channel(with_id(free), now),
            Err(OpenError::StreamId(free))
        );
    }
    let long = "x".repeat(65_536);
    assert_eq!(
        bob.open_channel(ChannelConfig::new(long), now),
        Err(OpenError::LabelTooLong)
    );
    world.run(secs(15));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
}

#[test]
fn channels_beyond_the_limit_are_refused_in_every_state() {
    let mut world = World::pair();
    world.connect(0, "bob");
    for wait in [0, 15, 1_000] {
        world.run(millis(wait));
        let now = world.now;
        let mut opened = 0;
        for n in 0..10_000 {
            match world
                .peer(0, "bob")
                .open_channel(ChannelConfig::new(format!("{n}")), now)
            {
                Ok(_) => opened += 1,
                Err(error) => assert_eq!(error, OpenError::TooManyChannels(256)),
            }
        }
        assert_eq!(opened, if wait == 0 { 252 } else { 0 });
    }
    world.run(secs(2));
    assert!(world.is_connected(0, "bob"));
    let open = |e: &&Event| matches!(e, Event::ChannelOpen { .. });
    assert_eq!(world.events(1).iter().filter(open).count(), 256);
    let now = world.now;
    assert_eq!(world.peer(0, "bob").metrics(now).channels.len(), 256);
}

#[test]
fn a_message_is_accepted_or_handed_back_in_every_state() {
    let mut world = World::pair();
    let message = Message::text("mine");
    assert!(matches!(
        world.endpoint(0).peer(id("bob")),
        Err(UnknownPeer)
    ));
    world.nodes[1].accepts = false;
    world.connect(0, "bob");
    let mut accepted = 0;
    let mut send = |world: &mut World, expected: Option<SendRefusal>| {
        let now = world.now;
        let sent = world
            .peer(0, "bob")
            .send(ChannelKind::Reliable, message.clone(), now);
        match sent {
            Ok(id) => {
                assert_eq!((id.0, expected), (accepted, None));
                accepted += 1;
            }
            Err(error) => assert_eq!((Some(error.reason), &error.message), (expected, &message)),
        }
    };
    // Connecting, and offered at the other side.
    send(&mut world, None);
    world.run(millis(50));
    let now = world.now;
    world
        .peer(1, "alice")
        .send(ChannelKind::Reliable, "before accepting", now)
        .expect("queued");
    world.endpoint(1).accept(id("alice"), now).expect("waits");
    world.run(millis(25));
    send(&mut world, None);
    world.run(secs(1));
    assert!(world.is_connected(0, "bob"));
    send(&mut world, None);
    let now = world.now;
    let unknown = world
        .peer(0, "bob")
        .open_channel(ChannelConfig::new("short"), now)
        .expect("opens");
    world
        .peer(0, "bob")
        .close_channel(unknown, now)
        .expect("closes");
    let error = world
        .peer(0, "bob")
        .send(unknown, "gone", now)
        .expect_err("closed");
    assert_eq!(
        (error.reason, error.message),
        (SendRefusal::UnknownChannel, Message::text("gone"))
    );
    world.run(secs(1));
    world.lose(|_| true);
    world.run(secs(30));
    assert_eq!(world.peer(0, "bob").state(), PeerState::Disconnected);
    send(&mut world, None);
    let now = world.now;
    world.peer(0, "bob").close(now);
    send(&mut world, Some(SendRefusal::Closing));
    world.run(secs(6));
    send(&mut world, Some(SendRefusal::Closing));
    world.run(secs(3));
    assert!(matches!(
        world.endpoint(0).peer(id("bob")),
        Err(UnknownPeer)
    ));
    assert_eq!(world.messages(1).len(), 3);
}

#[test]
fn the_limit_on_peers_holds_for_both_directions() {
    let config = Config::builder().max_peers(2).build().expect("valid");
    let mut world = World::new(&["alice", "bob", "carol", "dave"], &config);
    let now = world.now;
    assert_eq!(
        world
            .endpoint(0)
            .connect(id("alice"), ConnectOptions::default(), now),
        Err(ConnectError::Oneself)
    );
    world.connect(0, "bob");
    world.connect(2, "alice");
    world.run(secs(1));
    assert_eq!(world.stats(0).connected, 2);
    let now = world.now;
    for (peer, error) in [
        ("dave", ConnectError::TooManyPeers(2)),
        ("bob", ConnectError::AlreadyExists),
    ] {
        let refused = world
            .endpoint(0)
            .connect(id(peer), ConnectOptions::default(), now);
        assert_eq!(refused, Err(error));
    }
    world.connect(3, "alice");
    world.run(secs(1));
    assert_eq!(
        world.end(3).map(|(_, cause, _)| cause),
        Some(Cause::PeerBusy)
    );
    let now = world.now;
    world.peer(0, "bob").close(now);
    world.run(secs(3));
    world.connect(3, "alice");
    world.run(secs(1));
    assert!(world.is_connected(3, "alice"), "there is room again");
}

#[test]
fn the_limit_on_offers_that_wait_holds() {
    let config = Config::builder().max_incoming(2).build().expect("valid");
    let mut world = World::new(&["alice", "bob", "carol", "dave"], &config);
    world.nodes[0].accepts = false;
    for n in 1..4 {
        world.connect(n, "alice");
        world.run(millis(100));
    }
    assert_eq!(world.stats(0).incoming, 2);
    assert_eq!(
        world.end(3).map(|(_, cause, _)| cause),
        Some(Cause::PeerBusy)
    );
    let now = world.now;
    world.endpoint(0).accept(id("bob"), now).expect("waits");
    world.connect(3, "alice");
    world.run(millis(100));
    assert_eq!(world.stats(0).incoming, 2, "there is room again");
}

/// Somebody on the path sends a check of Carol on to Alice, from where Bob is: whoever really is there takes the place.
#[test]
fn a_check_that_is_sent_on_from_the_address_of_another_keeps_nobody_out() {
    let mut world = neighbours();
    let mut datagrams = world.sent.iter().filter_map(|(_, parcel)| match parcel {
        Parcel::Datagram { from, to, bytes } => Some((*from, *to, bytes)),
        Parcel::Signal { .. } => None,
    });
    let (alice, bob, carol) = (address(ALICE), address(BOB), address(CAROL));
    let check = datagrams
        .find(|(from, to, bytes)| (*from, *to) == (carol, alice) && bytes.starts_with(&REQUEST));
    let bytes = check.expect("she has sent some").2.clone();
    let (from, to) = (bob, alice);
    world.deliver(Parcel::Datagram { from, to, bytes });
    world.drain();
    let is_answer = |parcel: &Parcel| match parcel {
        Parcel::Datagram { from, to, bytes } => {
            (*from, *to) == (alice, bob) && bytes.starts_with(&ANSWER)
        }
        Parcel::Signal { .. } => false,
    };
    let answered = world.sent.iter().any(|(_, parcel)| is_answer(parcel));
    assert!(answered, "it has the password of Alice");
    world.connect(BOB, "alice");
    world.run(secs(3));
    assert!(world.is_connected(BOB, "alice") && world.is_connected(ALICE, "bob"));
    assert_unharmed(&mut world);
}

/// The first bytes of a check and of an answer to one (RFC 8489 section 5).
const REQUEST: [u8; 2] = [0, 1];
const ANSWER: [u8; 2] = [1, 1];
