//! The life of a peer: every way in which it begins, is interrupted and ends, and when.

use std::time::Duration;

use bowline::sdp::{DtlsRole, Rewrite};
use bowline::{
    Cause, ChannelConfig, ChannelKind, Config, ConnectOptions, Event, Input, Kept, Message, Output,
    PeerState, Phase, Rung, SessionMemory, SignalRefusal, UnixTime,
};

use crate::common::{Parcel, World, id, json, millis, secs, variants};

/// What the terminal event of a node that failed explains, the likeliest cause first.
fn explanation(world: &World, n: usize) -> String {
    let explained = world.events(n).iter().rev().find_map(|event| match event {
        Event::State {
            to: PeerState::Failed,
            explanation,
            ..
        } => explanation.as_ref(),
        _ => None,
    });
    explained.expect("a failure is explained").to_string()
}

/// Runs until an attempt to connect fails, which it must at its deadline exactly, and tells why.
fn failure(world: &mut World) -> (Cause, String) {
    let start = world.now;
    world.connect(0, "bob");
    world.run(secs(15) - millis(1));
    assert_eq!(world.end(0), None, "not before its time");
    world.run(millis(1));
    let (state, cause, at) = world.end(0).expect("ended");
    assert_eq!((state, at), (PeerState::Failed, start + secs(15)));
    world.heal();
    world.run(secs(30));
    world.assert_at_rest();
    (cause, explanation(world, 0))
}

#[test]
fn connecting_without_signalling_fails_in_time_and_says_so() {
    let mut world = World::pair();
    world.lose(|parcel| parcel.is_signal());
    let (cause, why) = failure(&mut world);
    assert_eq!(cause, Cause::Timeout(Phase::Signalling));
    assert!(why.contains("not reachable over signalling"), "{why}");
}

#[test]
fn connecting_to_a_peer_that_does_not_accept_fails_in_time_and_says_so() {
    let mut world = World::pair();
    world.nodes[1].accepts = false;
    let (cause, why) = failure(&mut world);
    assert_eq!(cause, Cause::Timeout(Phase::Answer));
    assert!(why.contains("has not accepted yet"), "{why}");
    assert_eq!(
        world.end(1).map(|(state, ..)| state),
        Some(PeerState::Closed)
    );
}

#[test]
fn connecting_where_udp_is_blocked_fails_in_time_and_says_so() {
    let mut world = World::pair();
    world.lose(|parcel| parcel.is_datagram());
    let (cause, why) = failure(&mut world);
    assert_eq!(cause, Cause::Timeout(Phase::Checks));
    assert!(why.contains("udp between the two is blocked"), "{why}");
    assert!(world.end(1).is_some());
}

#[test]
fn connecting_without_a_socket_says_so() {
    let mut world = World::pair();
    let (local, now) = (world.nodes[0].address, world.now);
    world
        .endpoint(0)
        .handle_input(Input::SocketClosed { local }, now);
    let (_, why) = failure(&mut world);
    assert!(why.contains("no socket is bound here"), "{why}");
}

#[test]
fn connecting_where_only_the_handshake_is_blocked_fails_in_time_and_says_so() {
    let mut world = World::pair();
    world.lose(|parcel| parcel.is_dtls());
    let (cause, why) = failure(&mut world);
    assert_eq!(cause, Cause::Timeout(Phase::Handshake));
    assert!(why.contains("handshake"), "{why}");
}

#[test]
fn a_time_limit_that_never_passes_is_no_limit() {
    let mut world = World::pair();
    let now = world.now;
    let options = ConnectOptions::default().timeout(Duration::MAX);
    world
        .endpoint(0)
        .connect(id("bob"), options, now)
        .expect("starts");
    world.run(secs(1));
    assert!(world.is_connected(0, "bob"));
}

#[test]
fn a_refusal_ends_both_sides_at_once() {
    let mut world = World::pair();
    world.nodes[1].accepts = false;
    world.connect(0, "bob");
    world.run(millis(100));
    let now = world.now;
    world.endpoint(1).refuse(id("alice"), now).expect("waits");
    assert!(
        world.endpoint(1).refuse(id("alice"), now).is_err(),
        "only once"
    );
    world.run(millis(100));
    assert_eq!(
        world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::PeerRefused)
    );
    assert_eq!(
        world.end(1).map(|(_, cause, _)| cause),
        Some(Cause::Refused)
    );
    world.run(secs(3));
    world.assert_at_rest();
}

#[test]
fn an_offer_that_nobody_accepts_is_refused_in_time() {
    let mut world = World::pair();
    world.nodes[1].accepts = false;
    let now = world.now;
    let options = ConnectOptions::default().timeout(secs(60));
    world
        .endpoint(0)
        .connect(id("bob"), options, now)
        .expect("starts");
    world.run(secs(20));
    let (state, cause, at) = world.end(1).expect("ended");
    assert_eq!((state, cause), (PeerState::Closed, Cause::Refused));
    assert_eq!(
        at,
        now + secs(15) + millis(10),
        "from the arrival of the offer"
    );
    assert_eq!(
        world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::PeerRefused)
    );
}

#[test]
fn a_peer_that_is_busy_says_so_and_keeps_what_it_has() {
    let config = Config::builder().max_peers(1).build().expect("valid");
    let mut world = World::new(&["alice", "bob", "carol"], &config);
    world.connect(0, "bob");
    world.run(secs(1));
    world.connect(2, "bob");
    world.run(secs(1));
    let (state, cause, _) = world.end(2).expect("ended");
    assert_eq!((state, cause), (PeerState::Closed, Cause::PeerBusy));
    assert!(world.is_connected(1, "alice"));
    assert_eq!(world.stats(1).signals_refused, 1);
}

#[test]
fn closing_at_any_moment_of_connecting_ends_both_sides_cleanly() {
    for (closer, other) in [(0, "bob"), (1, "alice")] {
        for after in (0..150).step_by(5).map(millis) {
            let mut world = World::pair();
            world.connect(0, "bob");
            world.run(after);
            let now = world.now;
            let Ok(mut peer) = world.endpoint(closer).peer(id(other)) else {
                continue;
            };
            peer.close(now);
            world.run(secs(10));
            let (state, ..) = world.end(closer).expect("ended");
            assert_eq!(state, PeerState::Closed, "{closer} after {after:?}");
            if world.nodes[1 - closer].events.is_empty() {
                continue;
            }
            let (state, ..) = world.end(1 - closer).expect("ended");
            assert_eq!(state, PeerState::Closed, "{} after {after:?}", 1 - closer);
            world.assert_at_rest();
        }
    }
}

#[test]
fn closing_twice_changes_nothing() {
    let mut world = World::connected();
    for _ in 0..3 {
        let now = world.now;
        if let Ok(mut bob) = world.endpoint(0).peer(id("bob")) {
            bob.close(now);
            bob.close(now);
        }
        world.run(millis(1));
    }
    world.run(secs(3));
    world.assert_at_rest();
}

#[test]
fn a_peer_that_vanishes_is_missed_and_given_up_within_the_budget() {
    let mut world = World::connected();
    let cut = world.now;
    world.lose(|_| true);
    world.run(secs(120));
    for n in 0..2 {
        let lost = world.events(n).iter().find_map(|event| match event {
            Event::State {
                to: PeerState::Disconnected,
                at,
                cause,
                ..
            } => Some((*at, *cause)),
            _ => None,
        });
        let (lost, cause) = lost.expect("it is missed");
        assert_eq!(cause, Cause::PathLost);
        assert!(
            (secs(5)..=secs(9)).contains(&(lost - cut)),
            "{:?}",
            lost - cut
        );
        let (state, cause, at) = world.end(n).expect("given up");
        assert_eq!(
            (state, cause),
            (PeerState::Failed, Cause::Timeout(Phase::Restart))
        );
        assert_eq!(at, lost + secs(60), "the budget");
        assert!(explanation(&world, n).contains("fell silent"));
    }
    world.assert_at_rest();
}

#[test]
fn a_partition_within_the_budget_heals_and_loses_nothing() {
    for outage in [5, 30, 60] {
        let mut world = World::connected();
        world.lose(|_| true);
        for n in 0..outage {
            let now = world.now;
            for (side, other) in [(0, "bob"), (1, "alice")] {
                let mut peer = world.peer(side, other);
                peer.send(ChannelKind::Reliable, vec![n], now)
                    .expect("queued");
                peer.send(ChannelKind::File, vec![n; 3_000], now)
                    .expect("queued");
            }
            world.run(secs(1));
        }
        world.heal();
        // The path is back at once; SCTP tries again after at most 60 s (RFC 9260 §16, RTO.Max).
        world.run(if outage < 40 { secs(5) } else { secs(65) });
        for n in 0..2 {
            let of = |channel| move |(c, m): (u32, Message)| (c == channel).then_some(m);
            let reliable: Vec<_> = world.messages(n).into_iter().filter_map(of(1)).collect();
            let file: Vec<_> = world.messages(n).into_iter().filter_map(of(3)).collect();
            let sent = |len: usize| (0..outage).map(move |n| Message::binary(vec![n; len]));
            assert!(reliable.into_iter().eq(sent(1)), "outage of {outage} s");
            assert!(file.into_iter().eq(sent(3_000)), "outage of {outage} s");
            assert_eq!(world.saw_state(n, PeerState::Disconnected), outage >= 30);
        }
        assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    }
}

#[test]
fn a_farewell_that_is_lost_on_the_path_arrives_over_signalling() {
    let mut world = World::connected();
    let now = world.now;
    world.lose(|parcel| parcel.is_datagram());
    world.peer(0, "bob").close(now);
    world.run(millis(100));
    let (state, cause, _) = world.end(1).expect("the peer heard at once");
    assert_eq!((state, cause), (PeerState::Closed, Cause::RemoteClose));
    world.run(secs(2));
    let (state, cause, _) = world.end(0).expect("ended");
    assert_eq!((state, cause), (PeerState::Closed, Cause::LocalClose));
    world.run(secs(1));
    world.assert_at_rest();
}

#[test]
fn a_farewell_arrives_on_the_path_when_signalling_is_dead() {
    let mut world = World::connected();
    let now = world.now;
    world.lose(|parcel| parcel.is_signal());
    world.peer(0, "bob").close(now);
    world.run(millis(100));
    assert_eq!(
        world.end(1).map(|(_, cause, _)| cause),
        Some(Cause::RemoteClose)
    );
    assert_eq!(
        world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::LocalClose)
    );
    world.run(secs(3));
    world.assert_at_rest();
}

#[test]
fn a_close_that_nobody_hears_ends_after_drain_and_linger() {
    let mut world = World::connected();
    let now = world.now;
    world.lose(|_| true);
    let mut bob = world.peer(0, "bob");
    bob.send(ChannelKind::Reliable, "lost", now)
        .expect("queued");
    bob.close(now);
    world.run(secs(10));
    let (state, cause, at) = world.end(0).expect("ended");
    assert_eq!(
        (state, cause, at),
        (PeerState::Closed, Cause::LocalClose, now + secs(5 + 2))
    );
    let lost = world
        .events(0)
        .iter()
        .any(|e| matches!(e, Event::NotDelivered { maybe: true, .. }));
    assert!(lost, "what was not acknowledged is told");
    assert_eq!(world.nodes[0].deadline, None);
}

#[test]
fn both_sides_may_close_at_once() {
    let mut world = World::connected();
    let now = world.now;
    for (n, other) in [(0, "bob"), (1, "alice")] {
        let mut peer = world.peer(n, other);
        peer.send(ChannelKind::Reliable, "last words", now)
            .expect("queued");
        peer.close(now);
    }
    world.run(secs(1));
    for n in 0..2 {
        let (state, cause, _) = world.end(n).expect("ended");
        assert_eq!(state, PeerState::Closed);
        assert!(
            matches!(cause, Cause::LocalClose | Cause::RemoteClose),
            "{cause}"
        );
        assert_eq!(world.messages(n).len(), 1, "what was queued arrived");
    }
    world.run(secs(3));
    world.assert_at_rest();
}

#[test]
fn a_peer_that_restarted_takes_the_place_of_its_old_self() {
    for (restarted, other, own) in [(0, "bob", "alice"), (1, "alice", "bob")] {
        let mut world = World::connected();
        world.restart(restarted, 77, &Config::default());
        world.connect(restarted, other);
        world.run(secs(2));
        assert!(world.is_connected(restarted, other) && world.is_connected(1 - restarted, own));
        let (state, cause, _) = world.end(1 - restarted).expect("the old session ended");
        assert_eq!((state, cause), (PeerState::Closed, Cause::Replaced));
        let now = world.now;
        world
            .peer(restarted, other)
            .send(ChannelKind::Reliable, "back", now)
            .expect("queued");
        world.run(millis(100));
        assert_eq!(world.messages(1 - restarted), [(1, Message::text("back"))]);
    }
}

fn is_offer(parcel: &Parcel) -> bool {
    parcel.kind().as_deref() == Some("offer")
}

/// The first offer that was sent.
fn first_offer(world: &World) -> Parcel {
    let mut sent = world.sent.iter().map(|(_, parcel)| parcel);
    sent.find(|parcel| is_offer(parcel))
        .cloned()
        .expect("offered")
}

#[test]
fn a_late_offer_of_a_process_that_is_gone_changes_nothing() {
    let mut world = World::pair();
    world.lose(Parcel::is_signal);
    world.connect(0, "bob");
    world.run(millis(100));
    let late = first_offer(&world);
    world.restart(0, 77, &Config::default());
    world.heal();
    world.connect(0, "bob");
    world.run(secs(1));
    world.deliver(late);
    world.run(secs(1));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    assert_eq!(world.end(1), None, "the session that is up goes on");
}

#[test]
fn a_new_process_that_answered_an_old_offer_has_not_the_channels_of_the_one_before() {
    let mut world = World::connected();
    let old = first_offer(&world);
    let say = |world: &mut World, text: &str| {
        let now = world.now;
        let mut bob = world.peer(0, "bob");
        bob.send(ChannelKind::Reliable, text, now).expect("queued");
    };
    for _ in 0..5 {
        say(&mut world, "to the first process");
    }
    world.run(secs(1));
    world.restart(1, 77, &Config::default());
    world.deliver(old);
    world.run(millis(500));
    let has_answered = |event: &Event| matches!(event, Event::NegotiationDone { .. });
    assert!(world.events(1).iter().any(has_answered));
    world.run(secs(15));

    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    assert_eq!(world.end(0), None);
    let end = world.end(1).map(|(state, cause, _)| (state, cause));
    assert_eq!(end, Some((PeerState::Closed, Cause::Replaced)));
    say(&mut world, "to the second");
    world.run(secs(1));
    let received = world.messages(1).into_iter().map(|(_, message)| message);
    assert_eq!(
        received.collect::<Vec<_>>(),
        [Message::text("to the second")]
    );
}

#[test]
fn an_old_offer_of_a_key_does_not_replace_a_session_whose_path_is_lost() {
    let mut world = World::new_unbound(&["alice", "bob"], &Config::default());
    (0..2).for_each(|n| world.enkey(n, n as u8 + 1));
    world.bind();
    let ids = [0, 1].map(|n| world.endpoint(n).id());
    let [alice, bob] = ids.each_ref().map(|id| id.as_str());
    world.lose(Parcel::is_signal);
    world.connect(0, bob);
    world.run(secs(1));
    let mut sent = world.sent.iter().map(|(_, parcel)| parcel);
    let late = sent.find(|parcel| parcel.is_signal()).cloned();
    world.enkey(0, 77);
    world.bind();
    world.heal();
    world.connect(0, bob);
    world.run(secs(1));
    assert!(world.is_connected(0, bob) && world.is_connected(1, alice));
    world.lose(Parcel::is_datagram);
    world.run(secs(10));
    assert!(world.saw_state(1, PeerState::Disconnected));
    world.deliver(late.expect("an offer"));
    world.run(millis(1));
    let stale = Event::SignalRefused {
        peer: Some(ids[0]),
        reason: SignalRefusal::Stale,
    };
    assert!(world.events(1).contains(&stale));
    assert_eq!(world.end(1), None);
    world.heal();
    world.run(secs(15));
    assert!(world.is_connected(0, bob) && world.is_connected(1, alice));
    assert_eq!((world.end(0), world.end(1)), (None, None));
}

#[test]
fn a_process_that_remembers_takes_no_old_offer_for_a_new_one() {
    for remembers in [false, true] {
        let mut world = World::connected();
        let late = first_offer(&world);
        let memory = world.endpoint(1).session_memory();
        let text = serde_json::to_string(&memory).expect("names and numbers");
        let memory: SessionMemory = serde_json::from_str(&text).expect("its own JSON");
        world.nodes[0].asleep = true;
        world.restart(1, 77, &Config::default());
        let now = world.now;
        if remembers {
            world.endpoint(1).remember_sessions(&memory, now);
        }
        world.deliver(late);
        world.run(millis(100));
        let is_asked = |event: &Event| matches!(event, Event::Incoming { .. });
        assert_eq!(world.events(1).iter().any(is_asked), !remembers);
        let again = world.endpoint(1).session_memory();
        assert_eq!(again, memory, "it goes on to the next process");
    }
}

#[test]
fn no_more_sessions_are_remembered_than_the_bound() {
    let sessions = (0..3).map(|n| format!(r#"["p{n}","{n:032x}"]"#));
    let text = format!("[{}]", sessions.collect::<Vec<_>>().join(","));
    let memory: SessionMemory = serde_json::from_str(&text).expect("a memory");
    let config = Config::builder().max_ended_sessions(2).build();
    let mut world = World::new(&["alice"], &config.expect("valid"));
    let now = world.now;
    world.endpoint(0).remember_sessions(&memory, now);
    let kept = serde_json::to_string(&world.endpoint(0).session_memory());
    let (_, last) = text.split_once("],").expect("three");
    assert_eq!(kept.expect("JSON"), format!("[{last}"));
}

#[test]
fn a_peer_that_restarted_with_a_clock_set_back_is_taken_when_the_connection_is_lost() {
    let mut world = World::connected();
    world.run(secs(60));
    let now = world.now;
    world.peer(0, "bob").restart_ice(now);
    world.run(secs(1));
    world.restart(0, 77, &Config::default());
    let (now, unix_time) = (world.now, UnixTime::from_millis(0));
    let clock = Input::WallClockSet { unix_time };
    world.nodes[0].endpoint.handle_input(clock, now);
    world.connect(0, "bob");
    world.run(millis(800));
    assert_eq!(world.end(1), None, "older than what is up");
    let stale = Event::SignalRefused {
        peer: Some(id("alice")),
        reason: SignalRefusal::Stale,
    };
    assert!(world.events(1).contains(&stale));
    world.run(secs(12));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
}

#[test]
fn a_late_offer_of_a_closed_session_changes_nothing() {
    // Alice calls again, or Bob, who never heard of the first call, calls her.
    for (caller, other) in [(0, "bob"), (1, "alice")] {
        let mut world = World::pair();
        world.lose(Parcel::is_signal);
        world.connect(0, "bob");
        let now = world.now;
        world.peer(0, "bob").close(now);
        world.run(secs(5));
        assert!(world.end(0).is_some() && world.events(1).is_empty());
        let late = first_offer(&world);
        world.heal();
        world.connect(caller, other);
        world.run(secs(1));
        world.deliver(late);
        world.run(secs(1));
        assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
        assert_eq!(world.end(1), None, "the session that is up goes on");
    }
}

#[test]
fn a_peer_that_forgot_is_noticed_when_the_path_is_lost_and_met_anew() {
    let mut world = World::connected();
    world.restart(1, 77, &Config::default());
    world.run(secs(12));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    let kept = world.events(0).iter().find_map(|event| match event {
        Event::Restored { rung, kept, .. } => Some((*rung, *kept)),
        _ => None,
    });
    assert_eq!(kept, Some((Some(Rung::Rebuild), Kept::Queues)));
    let now = world.now;
    let mut bob = world.peer(0, "bob");
    bob.send(ChannelKind::Reliable, "again", now)
        .expect("queued");
    world.run(millis(100));
    assert_eq!(world.messages(1), [(1, Message::text("again"))]);
}

#[test]
fn a_machine_that_slept_for_hours_ends_or_heals_and_harms_nothing() {
    for asleep in [vec![0], vec![1], vec![0, 1]] {
        let mut world = World::connected();
        for n in &asleep {
            world.nodes[*n].asleep = true;
        }
        world.run(secs(8 * 3_600));
        for n in &asleep {
            world.nodes[*n].asleep = false;
        }
        world.run(secs(120));
        let ended = world.end(0).is_some() && world.end(1).is_some();
        let connected = world.is_connected(0, "bob") && world.is_connected(1, "alice");
        assert!(ended || connected, "{asleep:?}");
        if connected {
            let now = world.now;
            world
                .peer(0, "bob")
                .send(ChannelKind::Reliable, "awake", now)
                .expect("queued");
            world.run(secs(1));
            assert_eq!(world.messages(1), [(1, Message::text("awake"))]);
        }
    }
}

#[test]
fn a_clock_that_goes_back_is_taken_to_stand_still() {
    let mut world = World::connected();
    let before = world.now - millis(900);
    world
        .peer(0, "bob")
        .send(ChannelKind::Reliable, "earlier", before)
        .expect("queued");
    world.endpoint(0).handle_input(Input::Timeout, before);
    let now = world.now;
    world.endpoint(0).handle_input(Input::Timeout, now);
    world.run(secs(1));
    assert_eq!(world.messages(1), [(1, Message::text("earlier"))]);
}

#[test]
fn every_event_is_told_by_some_run() {
    let config = Config::builder()
        .queue_bytes(2_000)
        .low_water(1_000)
        .rewrite_sent(Rewrite::ForceSetup(DtlsRole::Client))
        .build()
        .expect("valid");
    let mut world = World::connected_with(&config);
    let now = world.now;
    let mut bob = world.peer(0, "bob");
    bob.send(ChannelKind::Reliable, vec![0; 1_500], now)
        .expect("queued");
    bob.send(ChannelKind::Reliable, vec![0; 1_500], now)
        .expect_err("full");
    let custom = bob
        .open_channel(ChannelConfig::new("custom"), now)
        .expect("opens");
    let agreed = ChannelConfig {
        negotiated: Some(100),
        ..ChannelConfig::new("one side only")
    };
    bob.open_channel(agreed, now).expect("opens");
    bob.restart_ice(now);
    world.run(secs(12));
    let now = world.now;
    world
        .endpoint(0)
        .handle_input(Input::Signal { text: "garbage" }, now);
    let mut bob = world.peer(0, "bob");
    bob.close_channel(custom, now).expect("closes");
    // An offer of another session that cannot be used, and a candidate of the present one likewise.
    let Parcel::Signal { text, .. } = first_offer(&world) else {
        panic!("an offer is a signal");
    };
    let mut bad = json(&text);
    bad["session"] = "00112233445566778899aabbccddeeff".into();
    bad["sdp"] = "v=0\r\n".into();
    bad["time"] = u64::from(u32::MAX).into();
    world.endpoint(1).handle_input(
        Input::Signal {
            text: &bad.to_string(),
        },
        now,
    );
    let mut candidate = json(&text);
    candidate["type"] = "ice-candidate".into();
    candidate["seq"] = 900.into();
    candidate["candidate"] = "candidate:nonsense".into();
    candidate["ufrag"] = world.remote_ufrag("bob").into();
    world.endpoint(1).handle_input(
        Input::Signal {
            text: &candidate.to_string(),
        },
        now,
    );
    world.run(secs(1));
    let now = world.now;
    world.peer(0, "bob").rebuild(now);
    world.run(secs(5));
    world.lose(|_| true);
    let now = world.now;
    let mut bob = world.peer(0, "bob");
    bob.send(ChannelKind::Reliable, "late", now)
        .expect("queued");
    world.run(secs(120));
    let mut told = variants(world.events(0));
    told.append(&mut variants(world.events(1)));
    let expected = [
        "CandidateAdded",
        "CandidateIgnored",
        "ChannelClosed",
        "ChannelError",
        "ChannelOpen",
        "Delivered",
        "DescriptionRewritten",
        "Incoming",
        "Initialised",
        "Message",
        "Metrics",
        "NegotiationDone",
        "NegotiationFailed",
        "NotDelivered",
        "PathChanged",
        "PathHealth",
        "ReconnectAttempt",
        "ReconnectScheduled",
        "Restored",
        "Sent",
        "SignalReceived",
        "SignalRefused",
        "SignalSent",
        "State",
        "Writable",
    ];
    assert!(told.iter().eq(expected), "{told:?}");
}

fn restarts(world: &mut World, n: usize, other: &str) -> u32 {
    let now = world.now;
    world.peer(n, other).metrics(now).restarts
}

#[test]
fn a_burst_of_restarts_is_bounded_and_ends() {
    for (n, other) in [(0, "bob"), (1, "alice")] {
        let mut world = World::connected();
        for _ in 0..50 {
            let now = world.now;
            world.peer(n, other).restart_ice(now);
            world.run(millis(100));
        }
        world.run(secs(60));
        let begun = restarts(&mut world, n, other);
        assert!((1..=10).contains(&begun), "{begun}");
        world.run(secs(120));
        assert_eq!(restarts(&mut world, n, other), begun, "it ends");
        assert!(!world.saw_state(0, PeerState::Disconnected));
    }
}

#[test]
fn a_peer_can_be_called_again_while_its_end_is_being_told() {
    let mut world = World::connected();
    let now = world.now;
    world.lose(|parcel| parcel.is_datagram());
    world.peer(1, "alice").close(now);
    world.run(millis(5));
    let bye = world
        .sent
        .iter()
        .rev()
        .find(|(_, p)| p.kind().as_deref() == Some("bye"))
        .cloned();
    world.deliver(bye.expect("it was said").1);
    let mut buf = Vec::new();
    let is_end = |output: &Output| {
        matches!(
            output,
            Output::Event(Event::State {
                to: PeerState::Closed,
                ..
            })
        )
    };
    while !is_end(&world.endpoint(0).poll_output(&mut buf)) {}
    let called = world
        .endpoint(0)
        .connect(id("bob"), ConnectOptions::default(), now);
    assert_eq!(called, Ok(()));
}

#[test]
fn a_peer_that_has_ended_hears_nothing_more_in_the_same_breath() {
    let mut world = World::connected();
    let now = world.now;
    world.peer(1, "alice").restart_ice(now);
    world.peer(1, "alice").close(now);
    world.lose(|_| true);
    world.run(millis(5));
    let find = |kind: &str| {
        let sent = world
            .sent
            .iter()
            .rev()
            .find(|(_, p)| p.kind().as_deref() == Some(kind));
        sent.cloned().expect("it was sent").1
    };
    let (bye, restart) = (find("bye"), find("ice-restart"));
    // The world checks that nothing is told after the end.
    world.deliver(bye);
    world.deliver(restart);
    world.run(secs(1));
    assert_eq!(
        world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::RemoteClose)
    );
}

#[test]
fn a_socket_that_comes_after_a_close_is_no_news_of_the_peer() {
    let mut world = World::new_unbound(&["alice"], &Config::default());
    world.connect(0, "bob");
    let now = world.now;
    world.peer(0, "bob").close(now);
    world.bind();
    // The world checks that nothing is told of a peer that has ended.
    world.drain();
    assert!(matches!(
        world.events(0).last(),
        Some(Event::State {
            to: PeerState::Closed,
            ..
        })
    ));
}

#[test]
fn any_datagrams_of_the_handshake_may_be_lost() {
    // Two of the first ten, in every combination: flights then have gaps, which are acknowledged.
    for lost in (0..10).flat_map(|first| (first..10).map(move |second| [first, second])) {
        let config = Config::builder().mtu(576).build().expect("valid");
        let mut world = World::new(&["alice", "bob"], &config);
        let mut seen = 0;
        world.network(move |_, parcel| {
            let count = usize::from(parcel.is_dtls());
            seen += count;
            // Some overtake others.
            let delay = millis(10 + 7 * (seen as u64 % 3));
            let is_lost = count == 1 && lost.contains(&(seen - 1));
            if is_lost {
                vec![]
            } else {
                vec![(delay, parcel)]
            }
        });
        world.connect(0, "bob");
        world.run(secs(5));
        assert!(
            world.is_connected(0, "bob") && world.is_connected(1, "alice"),
            "{lost:?}"
        );
    }
}

#[test]
fn an_offer_that_is_answered_is_not_repeated() {
    let mut world = World::pair();
    world.lose(|parcel| parcel.kind().as_deref() == Some("ack"));
    world.connect(0, "bob");
    world.run(secs(10));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    let offers = world.sent.iter().filter(|(_, parcel)| is_offer(parcel));
    assert_eq!(offers.count(), 1);
}
