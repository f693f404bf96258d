use std::time::Duration;

use bowline::{ChannelKind, Event, PeerState, SendRefusal};
use bowline_sim::{Incoming, LinkConfig, PeerSpec, Refused, World};

use super::{close_all, connected, pair, states};

const KIND: ChannelKind = ChannelKind::Reliable;

#[test]
fn a_graceful_close_delivers_what_was_sent_before_it_under_loss() {
    for seed in 0..20 {
        let mut world = connected(seed, LinkConfig::default().lossy(0.05));
        for kind in [
            ChannelKind::Control,
            ChannelKind::Reliable,
            ChannelKind::File,
        ] {
            for _ in 0..20 {
                world
                    .send(0, 1, kind, "before the close")
                    .expect("connected");
            }
        }
        world.close(0, 1).expect("connected");
        let refused = world.send(0, 1, KIND, "after the close");
        assert_eq!(refused, Err(Refused::Send(SendRefusal::Closing)));
        world.run_for(Duration::from_secs(60));
        for kind in [
            ChannelKind::Control,
            ChannelKind::Reliable,
            ChannelKind::File,
        ] {
            assert_eq!(
                world.received(1, 0, kind).messages,
                20,
                "seed {seed}, {kind}"
            );
        }
        assert_eq!(states(&world, 0).last(), Some(&PeerState::Closed));
        assert_eq!(states(&world, 1).last(), Some(&PeerState::Closed));
        close_all(&mut world);
    }
}

#[test]
fn a_close_that_cannot_deliver_ends_at_its_deadline_and_tells_what_is_lost() {
    let mut world = connected(1, LinkConfig::default());
    world.partition(0, 1, Duration::from_secs(3_600));
    world.send(0, 1, KIND, "never arrives").expect("connected");
    world.close(0, 1).expect("connected");
    world.run_for(Duration::from_secs(8));
    assert_eq!(world.state(0, 1), Some(PeerState::Closed));
    let told = world
        .events(0)
        .iter()
        .any(|(_, event)| matches!(event, Event::NotDelivered { .. }));
    assert!(told);
    world.run_for(Duration::from_secs(120));
    close_all(&mut world);
}

#[test]
fn both_sides_may_close_at_once() {
    let mut world = connected(1, LinkConfig::default());
    for (from, to) in [(0, 1), (1, 0)] {
        world
            .send(from, to, KIND, "a last word")
            .expect("connected");
        world.close(from, to).expect("connected");
    }
    world.run_for(Duration::from_secs(30));
    for (host, peer) in [(0, 1), (1, 0)] {
        assert_eq!(world.state(host, peer), Some(PeerState::Closed));
        assert_eq!(world.received(host, peer, KIND).messages, 1, "{host}");
    }
    close_all(&mut world);
}

#[test]
fn a_close_while_connecting_ends_both_sides_at_every_moment() {
    for ms in 0..60 {
        let mut world = pair(ms, LinkConfig::default());
        world.connect(0, 1).expect("alice knows nobody");
        world.run_for(Duration::from_millis(ms * 5));
        // From the other side where that one knows of the connection already.
        let closer = if ms % 2 == 1 && !world.ended(1, 0) {
            (1, 0)
        } else {
            (0, 1)
        };
        world.close(closer.0, closer.1).expect("the peer exists");
        world.run_for(Duration::from_secs(60));
        assert!(world.ended(0, 1) && world.ended(1, 0), "at {} ms", ms * 5);
        close_all(&mut world);
    }
}

#[test]
fn a_message_can_be_sent_in_every_state_but_the_last() {
    let spec = PeerSpec {
        incoming: Incoming::Wait,
        ..PeerSpec::new("bob")
    };
    let mut world = World::builder(1).peer("alice").peer_with(spec).build();
    assert_eq!(
        world.send(0, 1, KIND, "to nobody"),
        Err(Refused::UnknownPeer)
    );
    world.connect(0, 1).expect("alice knows nobody");
    world.send(0, 1, KIND, "while connecting").expect("kept");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.state(1, 0), Some(PeerState::New));
    world
        .send(1, 0, KIND, "while the offer waits")
        .expect("kept");
    world.accept(1, 0).expect("the offer waits");
    assert!(world.run_until(|w| w.connected(0, 1), Duration::from_secs(10)));
    world.send(0, 1, KIND, "while connected").expect("sent");
    world.partition(0, 1, Duration::from_secs(35));
    let lost = world.run_until(
        |w| w.state(0, 1) == Some(PeerState::Disconnected),
        Duration::from_secs(35),
    );
    assert!(lost);
    world.send(0, 1, KIND, "while disconnected").expect("kept");
    let all =
        |w: &World| w.received(1, 0, KIND).messages == 3 && w.received(0, 1, KIND).messages == 1;
    assert!(world.run_until(all, Duration::from_secs(150)));
    world.close(0, 1).expect("connected");
    assert_eq!(
        world.send(0, 1, KIND, "while closing"),
        Err(Refused::Send(SendRefusal::Closing))
    );
    world.run_for(Duration::from_secs(30));
    assert_eq!(
        world.send(0, 1, KIND, "after the end"),
        Err(Refused::UnknownPeer)
    );
    close_all(&mut world);
}
