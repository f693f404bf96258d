use std::time::Duration;

use bowline::{
    Cause, ChannelConfig, ChannelKind, Config, Event, Identity, Message, NotInvolved, PeerState,
    Rollover, UnixTime,
};
use bowline_tokio::relay::Relay;
use bowline_tokio::signalling::{MemoryHub, websocket};
use bowline_tokio::{ConnectError, Connection, Delivery, IncomingPolicy};

use crate::common::{Pair, connect, id, on_loopback, on_loopback_as, pair, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_endpoints_talk_on_all_four_kinds() {
    let Pair {
        to_bob, to_alice, ..
    } = pair().await;
    for kind in ChannelKind::ALL {
        let sent = to_bob
            .send(kind, format!("by {kind}"))
            .await
            .expect("queued");
        let message = soon("the message", to_alice.recv_from(kind)).await;
        assert_eq!(message, Some(Message::text(format!("by {kind}"))));
        let expected = if kind == ChannelKind::Unreliable {
            Delivery::Sent
        } else {
            Delivery::Delivered
        };
        assert_eq!(
            soon("the delivery", to_bob.delivered(sent)).await,
            expected,
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_round_trips_come_back_in_order() {
    let Pair {
        to_bob, to_alice, ..
    } = pair().await;
    let echo = tokio::spawn(async move {
        while let Some((channel, message)) = to_alice.recv().await {
            to_alice.send(channel, message).await.expect("queued");
        }
    });
    for number in 0..1_000 {
        to_bob
            .send(ChannelKind::Reliable, format!("{number}"))
            .await
            .expect("queued");
        let (channel, message) = soon("the echo", to_bob.recv()).await.expect("connected");
        assert_eq!(
            (channel, message.as_text()),
            (ChannelKind::Reliable.id(), Some(&*number.to_string()))
        );
    }
    soon("closing", to_bob.close()).await;
    soon("the end of the echo", echo).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_megabytes_arrive_whole() {
    let Pair {
        to_bob, to_alice, ..
    } = pair().await;
    let chunk = |number: u32| Message::binary(vec![number.to_be_bytes()[3]; 50_000]);
    let sending = async {
        for number in 0..400 {
            to_bob
                .send(ChannelKind::File, chunk(number))
                .await
                .expect("queued");
        }
    };
    let receiving = async {
        for number in 0..400 {
            let message = to_alice.recv_from(ChannelKind::File).await;
            assert!(message == Some(chunk(number)), "chunk {number}");
        }
    };
    soon("the file", async { tokio::join!(sending, receiving) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_close_delivers_what_is_queued_and_tells_both_sides() {
    let Pair {
        alice,
        bob,
        to_bob,
        to_alice,
    } = pair().await;
    for number in 0..100 {
        to_bob
            .send(ChannelKind::Reliable, vec![number; 1_000])
            .await
            .expect("queued");
    }
    let report = soon("closing", to_bob.close()).await;
    assert_eq!(
        (report.state, report.cause),
        (PeerState::Closed, Some(Cause::LocalClose))
    );
    assert_eq!(report.undelivered, []);
    for number in 0..100 {
        let message = soon("a message", to_alice.recv_from(ChannelKind::Reliable)).await;
        assert_eq!(message, Some(Message::binary(vec![number; 1_000])));
    }
    let seen = soon("the news", to_alice.closed()).await;
    assert_eq!(
        (seen.state, seen.cause),
        (PeerState::Closed, Some(Cause::RemoteClose))
    );
    assert_eq!(soon("the end", to_alice.recv()).await, None);
    soon("closing", async {
        tokio::join!(alice.close(), bob.close())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_found_through_the_relay() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let link = |name| websocket(&relay.url(), id(name)).expect("a valid url");
    let alice = on_loopback("alice", link("alice")).bind().expect("binds");
    let bob = on_loopback("bob", link("bob")).bind().expect("binds");
    let (to_bob, to_alice) = connect(&alice, &bob).await;
    to_bob
        .send(ChannelKind::Control, "hello")
        .await
        .expect("queued");
    assert_eq!(
        soon("the message", to_alice.recv_from(ChannelKind::Control)).await,
        Some("hello".into())
    );
    // What is up needs the relay no more.
    relay.close().await;
    to_alice
        .send(ChannelKind::Control, "hello yourself")
        .await
        .expect("queued");
    assert_eq!(
        soon("the message", to_bob.recv_from(ChannelKind::Control)).await,
        Some("hello yourself".into())
    );
}

/// Nothing is sent while the link is down, the core knows why, and it goes on when the link is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_for_the_signalling_link() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let (url, address) = (relay.url(), relay.local_addr());
    relay.close().await;
    let endpoint = |name: &str| {
        let link = websocket(&url, id(name)).expect("a valid url");
        on_loopback(name, link).bind().expect("binds")
    };
    let (alice, bob) = (endpoint("alice"), endpoint("bob"));
    let mut link = alice.signalling_status().expect("there is a link");
    let refused = link.wait_for(|link| link.last_error.is_some());
    soon("the refusal", refused).await.expect("there is a link");
    let to_bob = alice.begin(bob.id()).expect("alice knows nobody");
    // The driver hears of the link when the test does, and tells the core in its next turn.
    let knows_why = async {
        let explained = || to_bob.explain().expect("it is known").to_string();
        while !explained().contains("the signalling link is down here") {
            tokio::task::yield_now().await;
        }
    };
    soon("the reason", knows_why).await;

    let _relay = Relay::bind(address).await.expect("binds");
    to_bob
        .send(ChannelKind::Control, "hello")
        .await
        .expect("queued");
    let incoming = soon("the call", bob.accept()).await.expect("it is open");
    let to_alice = soon("the connection", incoming.accept()).await;
    let to_alice = to_alice.expect("comes up");
    let message = soon("the message", to_alice.recv_from(ChannelKind::Control)).await;
    assert_eq!(message, Some("hello".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_connect_at_once() {
    let hub = MemoryHub::new();
    for policy in [IncomingPolicy::Ask, IncomingPolicy::Accept] {
        let alice = on_loopback("alice", hub.join(id("alice")))
            .incoming(policy)
            .bind()
            .expect("binds");
        let bob = on_loopback("bob", hub.join(id("bob")))
            .incoming(policy)
            .bind()
            .expect("binds");
        let both = async { tokio::join!(alice.connect(bob.id()), bob.connect(alice.id())) };
        let (to_bob, to_alice) = soon("the connection", both).await;
        let (to_bob, to_alice) = (to_bob.expect("comes up"), to_alice.expect("comes up"));
        to_bob
            .send(ChannelKind::Control, "one")
            .await
            .expect("queued");
        to_alice
            .send(ChannelKind::Control, "two")
            .await
            .expect("queued");
        assert_eq!(
            soon("one", to_alice.recv()).await.map(|m| m.1),
            Some("one".into())
        );
        assert_eq!(
            soon("two", to_bob.recv()).await.map(|m| m.1),
            Some("two".into())
        );
        assert_eq!((alice.peers().len(), bob.peers().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_second_connect_gives_the_same_connection() {
    let Pair {
        alice,
        to_bob,
        to_alice,
        ..
    } = pair().await;
    let again = soon("the same", alice.connect(to_bob.peer()))
        .await
        .expect("is up");
    drop(to_bob);
    again
        .send(ChannelKind::Control, "still here")
        .await
        .expect("queued");
    assert_eq!(
        soon("the message", to_alice.recv()).await.map(|m| m.1),
        Some("still here".into())
    );
}

#[tokio::test]
async fn a_refused_peer_learns_that_it_was_refused() {
    let hub = MemoryHub::new();
    let alice = on_loopback("alice", hub.join(id("alice")))
        .bind()
        .expect("binds");
    let bob = on_loopback("bob", hub.join(id("bob")))
        .bind()
        .expect("binds");
    let refusing = async { bob.accept().await.expect("open").refuse() };
    let (failed, ()) = soon("the refusal", async {
        tokio::join!(alice.connect(bob.id()), refusing)
    })
    .await;
    assert!(
        matches!(
            failed,
            Err(ConnectError::Ended {
                cause: Cause::PeerRefused,
                ..
            })
        ),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_connect_to_nobody_fails_with_an_explanation() {
    let config = Config::builder()
        .loopback(true)
        .connect_timeout(Duration::from_millis(300))
        .build();
    let alice = on_loopback("alice", MemoryHub::new().join(id("alice")));
    let alice = alice.config(config.expect("valid")).bind().expect("binds");
    let failed = soon("the failure", alice.connect(id("nobody")))
        .await
        .map(|c: Connection| c.peer());
    match failed {
        Err(ConnectError::Ended {
            state: PeerState::Failed,
            cause: Cause::Timeout(_),
            explanation,
        }) => {
            let text = explanation.expect("the core knows").to_string();
            assert!(text.contains("not reachable over signalling"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let oneself = soon("the refusal", alice.connect(alice.id()))
        .await
        .map(|c| c.peer());
    assert_eq!(
        oneself,
        Err(ConnectError::NotBegun(bowline::ConnectError::Oneself))
    );
}

#[tokio::test]
async fn a_custom_channel_carries_both_ways_and_closes() {
    let Pair {
        to_bob, to_alice, ..
    } = pair().await;
    let here = to_bob
        .open_channel(ChannelConfig::new("chat"))
        .expect("opens");
    to_bob.send(here, "hello").await.expect("queued");
    let opened = soon("the channel", to_alice.accept_channel())
        .await
        .expect("connected");
    assert_eq!(opened.label, "chat");
    assert_eq!(
        soon("the message", to_alice.recv_from(opened.id)).await,
        Some("hello".into())
    );
    to_alice.send(opened.id, "hi").await.expect("queued");
    assert_eq!(
        soon("the answer", to_bob.recv_from(here)).await,
        Some("hi".into())
    );
    to_bob.close_channel(here).expect("is custom");
    assert_eq!(
        soon("the end of the channel", to_alice.recv_from(opened.id)).await,
        None
    );
    assert_eq!(
        soon("the end of the channel", to_bob.recv_from(here)).await,
        None
    );
    assert!(to_bob.close_channel(ChannelKind::File.id()).is_err());
}

#[tokio::test]
async fn events_tell_every_change_of_state() {
    let hub = MemoryHub::new();
    let alice = on_loopback("alice", hub.join(id("alice")))
        .bind()
        .expect("binds");
    let bob = on_loopback("bob", hub.join(id("bob")))
        .bind()
        .expect("binds");
    let mut events = alice.events();
    let (to_bob, _to_alice) = connect(&alice, &bob).await;
    soon("closing", to_bob.close()).await;
    soon("closing", alice.close()).await;
    let mut states = Vec::new();
    while let Some(event) = soon("an event", events.next()).await {
        if let Event::State { to, .. } = event.expect("not that many") {
            states.push(to);
        }
    }
    assert_eq!(
        states,
        [
            PeerState::Connecting,
            PeerState::Connected,
            PeerState::Closed
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_moves_to_new_sockets_and_loses_nothing() {
    let Pair {
        bob,
        to_bob,
        to_alice,
        ..
    } = pair().await;
    let mut status = to_alice.watch_status();
    let before = bob.local_addrs();
    bob.suspend();
    soon(
        "the loss",
        status.wait_for(|s| s.state == PeerState::Disconnected),
    )
    .await
    .expect("lives");
    for number in 0..10 {
        to_bob
            .send(ChannelKind::Reliable, format!("{number}"))
            .await
            .expect("kept");
    }
    bob.rebind().expect("binds");
    soon(
        "the repair",
        status.wait_for(|s| s.state == PeerState::Connected),
    )
    .await
    .expect("lives");
    assert_ne!(bob.local_addrs(), before);
    for number in 0..10 {
        let message = soon("a message", to_alice.recv_from(ChannelKind::Reliable)).await;
        assert_eq!(message, Some(format!("{number}").into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_endpoint_of_an_old_key_names_the_new_one_and_refuses_everybody() {
    let hub = MemoryHub::new();
    let identity = |n: u8| Identity::from_private_key([n; 32]);
    let bound = |n: u8| {
        let identity = identity(n);
        let link = hub.join(identity.id());
        on_loopback_as(identity, link).bind().expect("binds")
    };
    let [alice, old, new] = [1, 2, 3].map(bound);
    let until = UnixTime::from_millis(u64::from(u32::MAX) * 1_000);
    let rollover = Rollover::new(&identity(2), &identity(3), until).expect("two keys");
    let mut events = alice.events();
    let (_to_old, to_alice) = connect(&alice, &old).await;
    assert_eq!(alice.announce_rollover(rollover.clone()), Err(NotInvolved));
    old.announce_rollover(rollover.clone()).expect("its key");
    let report = soon("the end", to_alice.closed()).await;
    assert_eq!(report.cause, Some(Cause::LocalClose));
    let told = async {
        loop {
            if let Some(Ok(Event::KeyRollover { rollover })) = events.next().await {
                return rollover;
            }
        }
    };
    assert_eq!(*soon("the news", told).await, rollover);
    let again = soon("the refusal", alice.connect(old.id())).await;
    assert!(again.is_err());
    let begun = soon("the refusal", old.connect(alice.id())).await;
    let given_up = bowline::ConnectError::GivenUp;
    assert!(matches!(begun, Err(ConnectError::NotBegun(why)) if why == given_up));
    connect(&alice, &new).await;
}
