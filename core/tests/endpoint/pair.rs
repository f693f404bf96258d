//! Two endpoints joined by a perfect network of 10 ms: what an embedding application sees.

use bowline::{Cause, ChannelConfig, ChannelKind, ConnectOptions, Event, Message, PeerState};

use crate::common::{DELAY, Parcel, World, address, id, millis, secs};

#[test]
fn two_peers_connect_and_exchange_messages_on_all_four_kinds() {
    let mut world = World::connected();
    let now = world.now;
    for kind in ChannelKind::ALL {
        let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
        bob.send(kind, format!("hello on {kind}"), now)
            .expect("queued");
        bob.send(kind, Message::binary(vec![0, 255]), now)
            .expect("queued");
        bob.send(kind, Message::text(""), now).expect("queued");
    }
    world.run(secs(1));
    let mut got = world.messages(1);
    got.sort_by_key(|(channel, _)| *channel);
    let expected: Vec<_> = ChannelKind::ALL
        .into_iter()
        .zip(0..)
        .flat_map(|(kind, n)| {
            [
                (n, Message::text(format!("hello on {kind}"))),
                (n, Message::binary(vec![0, 255])),
                (n, Message::text("")),
            ]
        })
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn what_is_sent_before_the_connection_is_up_arrives_in_order() {
    let mut world = World::pair();
    let now = world.now;
    world
        .endpoint(0)
        .connect(id("bob"), ConnectOptions::default(), now)
        .expect("starts");
    for n in 0..100_u32 {
        let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
        bob.send(ChannelKind::Reliable, n.to_be_bytes().to_vec(), now)
            .expect("queued");
    }
    world.run(secs(1));
    let got: Vec<_> = world
        .messages(1)
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    let sent: Vec<_> = (0..100_u32)
        .map(|n| Message::binary(n.to_be_bytes().to_vec()))
        .collect();
    assert_eq!(got, sent);
}

#[test]
fn a_message_far_larger_than_sctp_takes_arrives_whole() {
    let mut world = World::connected();
    let now = world.now;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
    bob.send(ChannelKind::File, large.clone(), now)
        .expect("queued");
    world.run(secs(30));
    let got = world.messages(1);
    assert_eq!(got.len(), 1);
    assert!(got[0].1.data == large, "the bytes are the same");
}

#[test]
fn a_graceful_close_delivers_what_is_queued_and_is_told_in_half_a_round_trip() {
    let mut world = World::connected();
    let now = world.now;
    let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
    for n in 0..50_u8 {
        bob.send(ChannelKind::File, vec![n; 10_000], now)
            .expect("queued");
    }
    bob.close(now);
    world.run(secs(5));
    assert_eq!(world.messages(1).len(), 50);
    let end = |n: usize| {
        world.events(n).iter().rev().find_map(|event| match event {
            Event::State {
                to: PeerState::Closed,
                cause,
                at,
                ..
            } => Some((*cause, *at)),
            _ => None,
        })
    };
    let (ours, _) = end(0).expect("alice saw the end");
    let (theirs, _) = end(1).expect("bob saw the end");
    assert_eq!((ours, theirs), (Cause::LocalClose, Cause::RemoteClose));
    assert!(
        !world
            .events(0)
            .iter()
            .any(|e| matches!(e, Event::NotDelivered { .. }))
    );
    assert!(
        matches!(world.events(0).last(), Some(Event::State { .. })),
        "nothing after the end"
    );
    for n in 0..2 {
        assert_eq!(world.endpoint(n).peers().count(), 0);
        assert_eq!(world.nodes[n].deadline, None, "no deadline is left");
    }
}

#[test]
fn both_sides_may_call_at_once() {
    let mut world = World::pair();
    let now = world.now;
    world
        .endpoint(0)
        .connect(id("bob"), ConnectOptions::default(), now)
        .expect("starts");
    world
        .endpoint(1)
        .connect(id("alice"), ConnectOptions::default(), now)
        .expect("starts");
    world.run(secs(2));
    let session = |n: usize| {
        world.events(n).iter().find_map(|event| match event {
            Event::NegotiationDone { session, .. } => Some(*session),
            _ => None,
        })
    };
    assert!(session(0).is_some());
    assert_eq!(session(0), session(1));
    for n in 0..2 {
        let connected = |e: &&Event| {
            matches!(
                e,
                Event::State {
                    to: PeerState::Connected,
                    ..
                }
            )
        };
        assert_eq!(world.events(n).iter().filter(connected).count(), 1);
    }
}

#[test]
fn an_ice_restart_keeps_the_session_and_loses_nothing() {
    let mut world = World::connected();
    for n in 0..40_u8 {
        let now = world.now;
        for side in 0..2 {
            let other = id(["bob", "alice"][side]);
            let mut peer = world.endpoint(side).peer(other).expect("exists");
            peer.send(ChannelKind::Reliable, vec![n], now)
                .expect("queued");
            if n == 10 && side == 0 || n == 25 && side == 1 {
                peer.restart_ice(now);
            }
        }
        world.run(millis(10));
    }
    world.run(secs(2));
    let sent: Vec<_> = (0..40_u8).map(|n| (1, Message::binary(vec![n]))).collect();
    for n in 0..2 {
        assert_eq!(world.messages(n), sent);
        let done = |e: &&Event| matches!(e, Event::NegotiationDone { .. });
        assert_eq!(
            world.events(n).iter().filter(done).count(),
            3,
            "an offer and two restarts"
        );
        assert!(!world.saw_state(n, PeerState::Disconnected));
    }
}

#[test]
fn labels_of_65535_bytes_pass_between_bowline_peers() {
    let mut world = World::connected();
    let now = world.now;
    let label = "x".repeat(65_535);
    world
        .peer(0, "bob")
        .open_channel(ChannelConfig::new(&label), now)
        .expect("opens");
    world.run(secs(2));
    for n in 0..2 {
        let opened = world
            .events(n)
            .iter()
            .any(|e| matches!(e, Event::ChannelOpen { label: l, .. } if *l == label));
        assert!(opened, "{n}");
    }
}

#[test]
fn custom_channels_open_on_both_sides_with_their_labels() {
    let mut world = World::connected();
    let now = world.now;
    let mut config = ChannelConfig::new("chat");
    config.protocol = "text/1".to_owned();
    let mut bob = world.endpoint(0).peer(id("bob")).expect("exists");
    let channel = bob.open_channel(config, now).expect("opens");
    bob.send(channel, "first", now).expect("queued");
    world.run(secs(1));
    let opened = |n: usize| {
        world.events(n).iter().find_map(|event| match event {
            Event::ChannelOpen {
                label,
                protocol,
                remote,
                ..
            } if label == "chat" => Some((protocol.clone(), *remote)),
            _ => None,
        })
    };
    assert_eq!(opened(0), Some(("text/1".to_owned(), false)));
    assert_eq!(opened(1), Some(("text/1".to_owned(), true)));
    assert_eq!(world.messages(1).len(), 1);
}

/// RFC 9260 section 6.2: one acknowledgement may stand for many packets. Section 7.2.4: three that tell of a gap have the
/// missing chunk repeated at once, so while there is one each packet needs its own.
#[test]
fn what_comes_together_is_acknowledged_together_unless_something_is_missing() {
    // With the `n`th secured datagram lost: how many there were from each side, and when the message had come.
    let answered = |lost: Option<usize>| {
        let mut world = World::connected();
        world.sent.clear();
        let mut count = 0;
        world.lose(move |parcel| {
            let is_data = parcel.is_dtls() && parcel.is_from(address(0));
            count += usize::from(is_data);
            is_data && Some(count) == lost
        });
        let start = world.now;
        let mut bob = world.peer(0, "bob");
        bob.send(ChannelKind::File, vec![7; 400_000], start)
            .expect("queued");
        world.run(secs(5));
        let told = world
            .timed_events(1)
            .find(|(_, event)| matches!(event, Event::Message { .. }));
        let (at, _) = told.expect("it comes");
        let sent = [0, 1].map(|n| {
            let secured = world.sent.iter().filter(|(_, parcel)| parcel.is_dtls());
            secured.filter(|(_, p)| p.is_from(address(n))).count()
        });
        (sent, at - start)
    };
    let ([data, acknowledgements], took) = answered(None);
    assert!(acknowledgements < data / 5, "{acknowledgements} for {data}");
    // Behind the fourth from the end come three.
    for lost in [100, 250, data - 10, data - 6, data - 5, data - 4] {
        let (_, with_loss) = answered(Some(lost));
        assert!(
            with_loss <= took + 6 * DELAY,
            "{lost} of {data}: {with_loss:?}"
        );
    }
}

#[test]
fn a_channel_may_be_closed_before_the_transport_is_up() {
    let mut world = World::pair();
    world.lose(Parcel::is_dtls);
    world.connect(0, "bob");
    world.run(secs(1));
    for label in ["first", "second", "third"] {
        let now = world.now;
        let mut bob = world.peer(0, "bob");
        let channel = bob
            .open_channel(ChannelConfig::new(label), now)
            .expect("there is room");
        bob.send(channel, label, now).expect("queued");
        world.run(millis(20));
        if label != "third" {
            let now = world.now;
            let mut bob = world.peer(0, "bob");
            bob.close_channel(channel, now).expect("it is there");
            world.run(millis(20));
        }
    }
    world.heal();
    world.run(secs(10));
    assert!(world.is_connected(0, "bob") && world.is_connected(1, "alice"));
    let received: Vec<_> = world.messages(1).into_iter().map(|(_, m)| m).collect();
    assert_eq!(received, [Message::text("third")]);
    let opened = world.events(1).iter().filter_map(|event| match event {
        Event::ChannelOpen { label, .. } if label.ends_with('d') || label == "first" => Some(label),
        _ => None,
    });
    assert_eq!(opened.collect::<Vec<_>>(), ["third"]);
}
