//! Another transport takes the place of the one in use.

use std::time::Duration;

use super::pair::{OPEN_TIMEOUT, Outcome, Pair, Side, limits};
use super::{
    CONTROL, FILE, RELIABLE, UNRELIABLE, errors, message, outcomes, received, tight_limits,
};
use crate::channel::kind::{ChannelConfig, Message, Ordering};
use crate::channel::{ChannelOutput, Framing, Role};
use crate::event::ChannelFault;
use crate::id::ChannelId;

fn agreed() -> ChannelConfig {
    ChannelConfig {
        negotiated: Some(100),
        ..ChannelConfig::new("or-agreed")
    }
}

/// The channel that the side knows last.
fn last(pair: &Pair, side: usize) -> ChannelId {
    *pair.sides[side].apps.keys().last().expect("the kinds")
}

fn move_both(pair: &mut Pair) {
    pair.move_side(0);
    pair.move_side(1);
}

/// Nothing but messages and what became of them was told since the events were cleared.
fn assert_untold(sides: &[Side]) {
    for side in sides {
        let told = side.events.iter().find(|event| {
            matches!(
                event,
                ChannelOutput::Open { .. }
                    | ChannelOutput::Closed { .. }
                    | ChannelOutput::Error { .. }
                    | ChannelOutput::Fault(_)
            )
        });
        assert_eq!(told, None);
    }
}

fn clear_events(pair: &mut Pair) {
    pair.sides.iter_mut().for_each(|side| side.events.clear());
}

fn assert_all_delivered(pair: &Pair, side: usize, channel: ChannelId, other: ChannelId) {
    let all = &pair.sides[side].apps[&channel].accepted;
    assert!(all.iter().all(|(_, told)| *told == Outcome::Delivered));
    let sent: Vec<_> = all.iter().map(|(message, _)| message.clone()).collect();
    assert_eq!(received(pair, 1 - side, other), sent);
}

/// Messages of both sides on a kind and a custom channel are under way while the sides move, some steps apart.
#[test]
fn channels_go_on_over_new_transports_without_a_loss_or_a_word() {
    for seed in 0..60 {
        let mut pair = Pair::new([limits(), limits()], seed);
        pair.start();
        let custom = pair.open(0, ChannelConfig::new("or")).expect("room");
        pair.settle();
        let theirs = last(&pair, 1);
        clear_events(&mut pair);
        // At the same step, in either order, one after the other and twice in a row.
        for moves in [[0, 1].as_slice(), &[1, 0], &[0, 0, 1], &[1, 0, 0, 1, 0, 1]] {
            for side in moves {
                for n in 0..20 {
                    pair.send(0, RELIABLE, Message::binary(vec![n; 9_000]));
                    pair.send(1, RELIABLE, Message::binary(vec![n; 17_000]));
                    pair.send(0, custom, Message::binary(vec![n; 500]));
                }
                pair.move_side(*side);
                let steps = pair.rng.usize(0..120) * pair.rng.usize(0..2);
                (0..steps).for_each(|_| _ = pair.step());
                pair.release_all();
            }
            pair.join();
            pair.settle();
        }
        assert_untold(&pair.sides);
        for side in 0..2 {
            assert_all_delivered(&pair, side, RELIABLE, RELIABLE);
            assert!(pair.sides[side].channels.is_ready());
        }
        assert_all_delivered(&pair, 0, custom, theirs);
        pair.finish();
    }
}

#[test]
fn a_side_that_moves_long_before_the_other_waits_for_it() {
    let mut pair = Pair::connected();
    let custom = pair.open(0, ChannelConfig::new("or")).expect("room");
    pair.settle();
    let theirs = last(&pair, 1);
    clear_events(&mut pair);
    pair.move_side(0);
    assert!(pair.send(0, custom, message(10)));
    // The other goes on writing where nobody listens.
    assert!(pair.send(1, theirs, message(20)));
    pair.settle();
    pair.advance(10 * OPEN_TIMEOUT);
    pair.settle();
    assert_eq!(pair.sides[0].channels.poll_timeout(), None);
    assert!(!pair.sides[0].channels.is_ready());
    assert_eq!(received(&pair, 0, custom), []);
    pair.join();
    pair.settle();
    assert!(pair.sides[0].channels.is_ready());
    assert_untold(&pair.sides);
    assert_all_delivered(&pair, 0, custom, theirs);
    assert_all_delivered(&pair, 1, theirs, custom);
    pair.finish();
}

#[test]
fn what_arrived_and_was_not_acknowledged_is_not_sent_again() {
    let mut pair = Pair::connected();
    (0..5).for_each(|n| assert!(pair.send(0, RELIABLE, message(1_000 + n))));
    while pair.step() {}
    assert_eq!(received(&pair, 1, RELIABLE).len(), 5);
    assert_eq!(outcomes(&pair, 0, RELIABLE), [Outcome::Open; 5]);
    move_both(&mut pair);
    let written = pair.sides[0].written;
    pair.settle();
    assert_all_delivered(&pair, 0, RELIABLE, RELIABLE);
    assert!(pair.sides[0].written - written < 1_000);
    pair.finish();
}

#[test]
fn a_large_message_goes_on_with_the_next_byte_on_the_new_transport() {
    let mut pair = Pair::connected();
    assert!(pair.send(0, FILE, message(1_000_000)));
    while pair.sides[1].partial(FILE) < 800_000 {
        assert!(pair.step());
    }
    let held = usize::try_from(pair.sides[1].partial(FILE)).expect("small");
    move_both(&mut pair);
    let written = pair.sides[0].written;
    pair.settle();
    assert_all_delivered(&pair, 0, FILE, FILE);
    let again = pair.sides[0].written - written;
    assert!(again < 1_000_000 - held + 1_000, "{again}");
    pair.finish();
}

#[test]
fn credit_that_was_lost_with_the_transport_is_given_again() {
    let mut pair = Pair::new([tight_limits(), tight_limits()], 3);
    pair.start();
    for _ in 0..6 {
        for _ in 0..8 {
            pair.send(0, RELIABLE, message(30_000));
            while pair.step() {}
        }
        // CREDIT is said to a side that does not listen any more.
        pair.move_side(0);
        pair.release_all();
        while pair.step() {}
        pair.join();
    }
    pair.settle();
    assert_all_delivered(&pair, 0, RELIABLE, RELIABLE);
    pair.finish();
}

#[test]
fn a_channel_that_was_being_opened_opens_on_the_new_transport() {
    // Nothing of it was heard, or OPEN was and READY was not.
    for steps in 0..12 {
        let mut pair = Pair::connected();
        let custom = pair.open(0, ChannelConfig::new("or")).expect("room");
        assert!(pair.send(0, custom, message(70_000)));
        (0..steps).for_each(|_| _ = pair.step());
        pair.move_side(steps % 2);
        pair.join();
        pair.settle();
        let theirs = last(&pair, 1);
        assert_all_delivered(&pair, 0, custom, theirs);
        assert!(pair.send(1, theirs, message(5)));
        pair.settle();
        assert_all_delivered(&pair, 1, theirs, custom);
        assert_eq!((errors(&pair, 0), errors(&pair, 1)), (vec![], vec![]));
        pair.finish();
    }
}

#[test]
fn a_channel_that_is_opened_between_the_two_moves_opens() {
    for side in 0..2 {
        let mut pair = Pair::connected();
        pair.move_side(0);
        let custom = pair.open(side, ChannelConfig::new("or")).expect("room");
        assert!(pair.send(side, custom, message(70_000)));
        while pair.step() {}
        pair.join();
        pair.settle();
        let theirs = last(&pair, 1 - side);
        assert_all_delivered(&pair, side, custom, theirs);
        pair.finish();
    }
}

#[test]
fn an_agreed_channel_that_one_side_has_opened_opens_after_the_move() {
    for first in 0..2 {
        let mut pair = Pair::connected();
        let one = pair.open(first, agreed()).expect("room");
        assert!(pair.send(first, one, message(100_000)));
        // READY comes early, and is forgotten with the transport.
        while pair.step() {}
        move_both(&mut pair);
        while pair.step() {}
        let other = pair.open(1 - first, agreed()).expect("room");
        pair.settle();
        assert_all_delivered(&pair, first, one, other);
        pair.finish();
    }
}

#[test]
fn an_agreed_channel_that_the_other_side_never_opens_still_times_out() {
    let mut pair = Pair::connected();
    let channel = pair.open(0, agreed()).expect("room");
    move_both(&mut pair);
    while pair.step() {}
    pair.advance(OPEN_TIMEOUT - Duration::from_millis(1));
    assert!(!pair.sides[0].apps[&channel].is_closed);
    pair.advance(Duration::from_millis(1));
    assert_eq!(errors(&pair, 0), [ChannelFault::OpenTimeout]);
    pair.finish();
}

#[test]
fn a_channel_that_was_being_closed_is_closed_on_both_sides_and_forgotten() {
    // CLOSE was not heard, or CLOSED was not.
    for steps in 0..12 {
        for closer in 0..2 {
            let mut pair = Pair::connected();
            let custom = pair.open(0, ChannelConfig::new("or")).expect("room");
            let one = pair.open(0, agreed()).expect("room");
            let other = pair.open(1, agreed()).expect("room");
            pair.settle();
            let mut ids = pair.sides[1].apps.keys().copied();
            let theirs = ids.find(|id| id.0 >= 4 && *id != other);
            let theirs = theirs.expect("opened");
            let ends = [[custom, one], [theirs, other]];
            ends[closer].iter().for_each(|id| pair.close(closer, *id));
            (0..steps).for_each(|_| _ = pair.step());
            pair.move_side(closer);
            pair.join();
            pair.settle();
            for (side, ids) in ends.iter().enumerate() {
                let apps = &pair.sides[side].apps;
                assert!(ids.iter().all(|id| apps[id].is_closed), "{steps}");
                assert_eq!(pair.sides[side].channels.count(), 4);
                assert!(!errors(&pair, side).contains(&ChannelFault::OpenTimeout));
            }
            // The agreed id is good again.
            let one = pair.open(0, agreed()).expect("free");
            let other = pair.open(1, agreed()).expect("free");
            assert!(pair.send(0, one, message(9)));
            pair.settle();
            assert_eq!(received(&pair, 1, other), [message(9)]);
        }
    }
}

#[test]
fn a_stream_that_was_being_reset_goes_on_on_the_new_transport() {
    for steps in 0..8 {
        let mut pair = Pair::connected();
        (0..20).for_each(|_| assert!(pair.send(0, RELIABLE, message(9_000))));
        pair.reset(1);
        (0..steps).for_each(|_| _ = pair.step());
        move_both(&mut pair);
        pair.settle();
        assert_all_delivered(&pair, 0, RELIABLE, RELIABLE);
        pair.finish();
    }
}

#[test]
fn each_transport_may_reset_a_stream_three_times() {
    let mut pair = Pair::connected();
    for _ in 0..2 {
        for _ in 0..3 {
            pair.reset(3);
            pair.reset(4);
            pair.settle();
        }
        assert!(!pair.sides[0].apps[&FILE].is_closed);
        move_both(&mut pair);
        pair.settle();
    }
    assert!(pair.send(0, FILE, message(10)));
    for _ in 0..4 {
        assert!(!pair.sides[0].apps[&FILE].is_closed);
        pair.reset(3);
        pair.settle();
    }
    assert!((0..2).all(|side| pair.sides[side].apps[&FILE].is_closed));
    pair.finish();
}

#[test]
fn a_transport_whose_meta_stream_does_not_hold_can_be_replaced() {
    let mut pair = Pair::connected();
    for _ in 0..4 {
        pair.reset(4);
        while pair.step() {}
    }
    assert!(pair.sides[0].events.contains(&ChannelOutput::Broken));
    assert!(pair.send(0, RELIABLE, message(100)));
    move_both(&mut pair);
    pair.settle();
    assert_all_delivered(&pair, 0, RELIABLE, RELIABLE);
}

#[test]
fn what_cannot_be_sent_again_is_told_or_lost_as_its_channel_says() {
    let mut pair = Pair::connected();
    let config = ChannelConfig {
        ordering: Ordering::Unordered,
        ..ChannelConfig::new("ur")
    };
    let unordered = pair.open(0, config).expect("room");
    pair.settle();
    assert!(pair.send(0, unordered, message(100)));
    assert!(pair.send(0, UNRELIABLE, message(100)));
    move_both(&mut pair);
    pair.settle();
    assert_eq!(outcomes(&pair, 0, unordered), [Outcome::Maybe]);
    assert_eq!(received(&pair, 1, UNRELIABLE), []);
    assert!(pair.send(0, unordered, message(101)));
    assert!(pair.send(0, UNRELIABLE, message(101)));
    pair.settle();
    assert_eq!(outcomes(&pair, 0, unordered)[1], Outcome::Delivered);
    assert_eq!(received(&pair, 1, UNRELIABLE), [message(101)]);
    pair.finish();
}

#[test]
fn a_graceful_close_is_drained_over_a_new_transport() {
    let mut pair = Pair::connected();
    (0..20).for_each(|_| assert!(pair.send(0, FILE, message(16_000))));
    assert!(pair.send(0, CONTROL, "the last word".into()));
    pair.sides[0].channels.begin_drain();
    move_both(&mut pair);
    assert!(!pair.sides[0].channels.is_drained());
    pair.settle();
    assert!(pair.sides[0].channels.is_drained());
    assert_all_delivered(&pair, 0, FILE, FILE);
    pair.finish();
}

#[test]
fn a_side_whose_first_transport_never_came_up_meets_the_other_on_the_second() {
    let mut pair = Pair::new([limits(), limits()], 4);
    let now = pair.now;
    assert!(pair.send(0, RELIABLE, message(100)));
    assert!(pair.send(1, RELIABLE, message(200)));
    pair.sides[0]
        .channels
        .start(Framing::Bowline, Role::Even, 0, now);
    pair.pump();
    // The second has not spoken with anybody yet.
    pair.move_side(0);
    pair.join();
    pair.start();
    pair.settle();
    for side in 0..2 {
        assert_all_delivered(&pair, side, RELIABLE, RELIABLE);
        assert!(pair.sides[side].channels.is_ready());
    }
    pair.finish();
}

/// One side comes back as another process. What it has not acknowledged is told, what was not handed over is sent to it,
/// and the counting goes on.
#[test]
fn a_peer_that_lost_its_memory_gets_what_was_not_handed_over_and_the_rest_is_told() {
    let mut pair = Pair::connected();
    assert!(pair.send(0, RELIABLE, message(1)));
    pair.settle();
    (2..5).for_each(|len| assert!(pair.send(0, RELIABLE, message(len))));
    while pair.step() {}
    pair.restart(1);
    // The old transport takes no more than its backlog.
    pair.refusals = 100;
    (5..8).for_each(|len| assert!(pair.send(0, RELIABLE, message(len))));
    clear_events(&mut pair);
    pair.join();
    let first = pair.sides[0]
        .events
        .iter()
        .find(|event| !matches!(event, ChannelOutput::Sent { .. }));
    assert!(
        matches!(first, Some(ChannelOutput::NotDelivered { channel: RELIABLE, first, last, maybe: true })
            if (first.0, last.0) == (1, 3)),
        "{first:?}"
    );
    pair.refusals = 0;
    pair.settle();
    let delivered = [Outcome::Delivered; 3];
    let told = outcomes(&pair, 0, RELIABLE);
    assert_eq!(told[..4], [&delivered[..1], &[Outcome::Maybe; 3]].concat());
    assert_eq!(told[4..], delivered);
    assert_eq!(received(&pair, 1, RELIABLE), [5, 6, 7].map(message));
    assert_untold(&pair.sides[..1]);
    assert_eq!(
        pair.sides[0].channels.metrics(pair.now)[1].messages_queued,
        7
    );
    // Much more than the first credit, both ways.
    for _ in 0..20 {
        assert!(pair.send(0, FILE, message(200_000)));
        assert!(pair.send(1, FILE, message(200_000)));
        pair.settle();
    }
    assert_all_delivered(&pair, 0, FILE, FILE);
    // It knows the channels now, and may move like any other.
    move_both(&mut pair);
    pair.settle();
    assert!((0..2).all(|side| pair.sides[side].channels.is_ready()));
    pair.finish();
}

#[test]
fn a_message_that_was_half_there_begins_anew_with_a_peer_that_lost_its_memory() {
    for restarted in 0..2 {
        let mut pair = Pair::connected();
        assert!(pair.send(0, FILE, message(600_000)));
        while pair.sides[1].partial(FILE) < 300_000 {
            assert!(pair.step());
        }
        pair.restart(restarted);
        pair.join();
        if restarted == 0 {
            assert_eq!(pair.sides[1].partial(FILE), 0, "its rest never comes");
            assert!(pair.send(0, FILE, message(500_000)));
        }
        pair.settle();
        let len = if restarted == 0 { 500_000 } else { 600_000 };
        assert_eq!(received(&pair, 1, FILE), [message(len)]);
        assert_eq!(outcomes(&pair, 0, FILE), [Outcome::Delivered]);
        let metrics = pair.sides[1].channels.metrics(pair.now)[3];
        assert_eq!(metrics.messages_received, 1);
        pair.finish();
    }
}

#[test]
fn a_peer_that_lost_its_memory_loses_its_channels_and_hears_of_ours() {
    let mut pair = Pair::connected();
    let ours = pair.open(0, ChannelConfig::new("or-ours")).expect("room");
    pair.open(1, ChannelConfig::new("or-theirs")).expect("room");
    let one = pair.open(0, agreed()).expect("room");
    pair.open(1, agreed()).expect("room");
    let closing = pair
        .open(0, ChannelConfig::new("or-closing"))
        .expect("room");
    pair.settle();
    let apps = &pair.sides[0].apps;
    let theirs = apps.iter().find(|(_, app)| app.label == "or-theirs");
    let theirs = *theirs.expect("opened").0;
    assert!(pair.send(0, theirs, message(10)));
    pair.close(0, closing);
    pair.restart(1);
    clear_events(&mut pair);
    pair.join();
    let closed: Vec<_> = pair.sides[0]
        .events
        .iter()
        .filter(|event| matches!(event, ChannelOutput::Closed { .. }))
        .collect();
    assert_eq!(closed, [&ChannelOutput::Closed { channel: theirs }]);
    assert_eq!(outcomes(&pair, 0, theirs), [Outcome::Maybe]);
    while pair.step() {}
    assert_eq!(pair.sides[0].channels.count(), 6);
    let announced = last(&pair, 1);
    assert_eq!(pair.sides[1].apps[&announced].label, "or-ours");
    assert!(pair.send(0, ours, message(70_000)));
    assert!(pair.send(1, announced, message(70_000)));
    let other = pair.open(1, agreed()).expect("room");
    assert!(pair.send(1, other, message(70_000)));
    pair.settle();
    assert_all_delivered(&pair, 0, ours, announced);
    assert_all_delivered(&pair, 1, announced, ours);
    assert_all_delivered(&pair, 1, other, one);
    pair.finish();
}

#[test]
fn a_peer_that_lost_its_memory_is_told_which_kinds_are_closed() {
    let mut pair = Pair::connected();
    for _ in 0..4 {
        pair.reset(3);
        pair.settle();
    }
    assert!(pair.sides[0].apps[&FILE].is_closed);
    pair.restart(1);
    while pair.step() {}
    assert!(pair.send(1, FILE, message(10)));
    pair.join();
    pair.settle();
    assert!(pair.sides[1].apps[&FILE].is_closed);
    assert_eq!(outcomes(&pair, 1, FILE), [Outcome::Maybe]);
    pair.finish();
}

#[test]
fn a_peer_that_moved_and_says_nothing_of_a_channel_is_asked_again() {
    let mut pair = Pair::connected();
    move_both(&mut pair);
    pair.sides[1].hold_back(FILE);
    while pair.step() {}
    pair.advance(OPEN_TIMEOUT);
    while pair.step() {}
    assert!(!pair.sides[0].channels.is_ready());
    pair.sides[1].let_go(FILE);
    assert!(pair.send(0, FILE, message(10)));
    pair.settle();
    assert_all_delivered(&pair, 0, FILE, FILE);
    pair.finish();
}

#[test]
fn what_the_application_holds_counts_against_a_peer_that_lost_its_memory() {
    let mut pair = Pair::connected();
    let window = limits().receive_window;
    let mut count = 0_u32;
    let mut fill = |pair: &mut Pair| {
        for _ in 0..300 {
            count += 1;
            let body = [&count.to_be_bytes()[..], &[0; 16_380]].concat();
            pair.send(1, RELIABLE, Message::binary(body));
            while pair.step() {}
            pair.advance(Duration::from_millis(25));
        }
        let unreleased = &pair.sides[0].apps[&RELIABLE].unreleased;
        unreleased.iter().map(|len| len + 64).sum::<usize>()
    };
    assert!(fill(&mut pair) <= window);
    pair.restart(1);
    pair.join();
    let held = fill(&mut pair);
    assert!(held > window && held <= window + 66_000, "{held}");
    assert_eq!(pair.faults(), []);
    pair.finish();
}
