//! The machine as a whole: two of them and a transport that misbehaves.

mod chaos;
mod framed;
mod pair;
mod plain;
mod resume;

use std::time::Duration;

use crate::channel::frame::{Header, MetaFrame, Open, Part};
use crate::channel::kind::{ChannelConfig, ChannelKind, Message, Ordering, Priority, Reliability};
use crate::channel::{ChannelOutput, Framing, Role, StreamKey};
use crate::config::ChannelLimits;
use crate::error::{OpenError, SendRefusal, UnknownChannel};
use crate::event::{ChannelFault, PeerFault};
use crate::id::{ChannelId, MessageId};

use pair::{OPEN_TIMEOUT, Outcome, Pair, limits, tight_limits};

const CONTROL: ChannelId = ChannelKind::Control.id();
const RELIABLE: ChannelId = ChannelKind::Reliable.id();
const UNRELIABLE: ChannelId = ChannelKind::Unreliable.id();
const FILE: ChannelId = ChannelKind::File.id();

fn message(len: usize) -> Message {
    Message::binary(vec![7; len])
}

fn outcomes(pair: &Pair, side: usize, channel: ChannelId) -> Vec<Outcome> {
    pair.sides[side].apps[&channel]
        .accepted
        .iter()
        .map(|(_, outcome)| *outcome)
        .collect()
}

fn received(pair: &Pair, side: usize, channel: ChannelId) -> Vec<Message> {
    pair.sides[side].apps[&channel].received.clone()
}

fn errors(pair: &Pair, side: usize) -> Vec<ChannelFault> {
    let events = pair.sides[side].events.iter();
    events
        .filter_map(|event| match event {
            ChannelOutput::Error { error, .. } => Some(*error),
            _ => None,
        })
        .collect()
}

#[test]
fn messages_queue_before_the_transport_is_there_and_arrive_in_order() {
    let mut pair = Pair::new([limits(), limits()], 1);
    let texts = ["one", "", "three"];
    for text in texts {
        assert!(pair.send(0, RELIABLE, text.into()));
    }
    pair.start();
    pair.settle();
    assert_eq!(received(&pair, 1, RELIABLE), texts.map(Message::from));
    assert_eq!(outcomes(&pair, 0, RELIABLE), [Outcome::Delivered; 3]);
    pair.finish();
}

#[test]
fn the_four_kinds_open_once_with_our_name_in_the_label() {
    let pair = Pair::connected();
    let labels: Vec<_> = pair.sides[0]
        .events
        .iter()
        .map(|event| match event {
            ChannelOutput::Open {
                label,
                remote: false,
                ..
            } => label.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let mut sorted = labels.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        ["a/control", "a/file", "a/reliable", "a/unreliable"]
    );
}

#[test]
fn a_message_of_the_largest_size_arrives_and_one_past_it_is_handed_back() {
    let mut pair = Pair::connected();
    let max = limits().max_message_size;
    assert!(pair.send(0, FILE, message(max)));
    let refused = pair.sides[0]
        .channels
        .send(FILE, message(max + 1), pair.now)
        .expect_err("large");
    assert_eq!(refused.reason, SendRefusal::TooLarge { limit: max });
    assert_eq!(refused.message, message(max + 1));
    pair.settle();
    assert_eq!(received(&pair, 1, FILE), [message(max)]);
    pair.finish();
}

#[test]
fn a_message_without_order_or_reliability_is_one_sctp_message_of_at_most_64_kib() {
    let mut pair = Pair::connected();
    let most = 65_535;
    assert!(pair.send(0, UNRELIABLE, message(most)));
    assert_eq!(
        pair.sides[0]
            .channels
            .send(UNRELIABLE, message(most + 1), pair.now)
            .expect_err("large")
            .reason,
        SendRefusal::TooLarge { limit: most }
    );
    pair.settle();
    assert_eq!(received(&pair, 1, UNRELIABLE), [message(most)]);
}

#[test]
fn the_smaller_of_two_message_limits_holds_for_both() {
    let small = ChannelLimits {
        max_message_size: 100_000,
        ..limits()
    };
    let mut pair = Pair::new([limits(), small], 2);
    // Accepted before the limit was known: told, not sent.
    assert!(pair.send(0, RELIABLE, message(1)));
    assert!(pair.send(0, RELIABLE, message(100_001)));
    assert!(pair.send(0, RELIABLE, message(100_000)));
    pair.start();
    pair.settle();
    assert_eq!(
        outcomes(&pair, 0, RELIABLE),
        [Outcome::Delivered, Outcome::Never, Outcome::Delivered]
    );
    let refused = pair.sides[0]
        .channels
        .send(RELIABLE, message(100_001), pair.now);
    assert_eq!(
        refused.expect_err("large").reason,
        SendRefusal::TooLarge { limit: 100_000 }
    );
    assert_eq!(pair.faults(), []);
    pair.finish();
}

#[test]
fn a_full_queue_hands_back_and_tells_writable_once_at_the_low_water_mark() {
    let limits = ChannelLimits {
        queue_bytes: 1_000,
        low_water: 300,
        ..limits()
    };
    let mut pair = Pair::new([limits.clone(), limits], 3);
    for _ in 0..10 {
        assert!(pair.send(0, RELIABLE, message(100)));
    }
    assert!(!pair.send(0, RELIABLE, message(1)));
    assert!(!pair.send(0, RELIABLE, message(1)));
    assert!(
        pair.send(0, CONTROL, message(1_000)),
        "a full queue blocks no other channel"
    );
    pair.start();
    pair.settle();
    let writable = ChannelOutput::Writable { channel: RELIABLE };
    assert_eq!(
        pair.sides[0]
            .events
            .iter()
            .filter(|event| **event == writable)
            .count(),
        1
    );
    pair.finish();
}

#[test]
fn queues_are_bounded_in_messages_and_over_all_channels() {
    let limits = ChannelLimits {
        queue_messages: 3,
        queue_bytes: 1_000,
        low_water: 10,
        peer_queue_bytes: 2_000,
        ..limits()
    };
    let mut pair = Pair::new([limits.clone(), limits], 4);
    (0..3).for_each(|_| assert!(pair.send(0, CONTROL, message(0))));
    assert!(!pair.send(0, CONTROL, message(0)), "three messages");
    assert!(pair.send(0, RELIABLE, message(1_000)));
    assert!(pair.send(0, FILE, message(1_000)));
    assert!(
        !pair.send(0, UNRELIABLE, message(1)),
        "2,000 bytes over all channels"
    );
    assert!(pair.send(0, UNRELIABLE, message(0)));
    assert_eq!(pair.sides[0].channels.queued(FILE), 1_000);
    pair.start();
    pair.settle();
    for channel in [CONTROL, UNRELIABLE] {
        assert!(
            pair.sides[0]
                .events
                .contains(&ChannelOutput::Writable { channel })
        );
    }
    pair.finish();
}

#[test]
fn a_message_larger_than_the_queue_is_accepted_when_the_queue_is_empty() {
    let limits = ChannelLimits {
        queue_bytes: 1_000,
        low_water: 10,
        ..limits()
    };
    let mut pair = Pair::new([limits.clone(), limits], 5);
    assert!(pair.send(0, RELIABLE, message(50_000)));
    assert!(!pair.send(0, RELIABLE, message(50_000)));
    pair.start();
    pair.settle();
    assert!(
        pair.sides[0]
            .events
            .contains(&ChannelOutput::Writable { channel: RELIABLE })
    );
    assert!(pair.send(0, RELIABLE, message(50_000)));
    pair.finish();
}

#[test]
fn an_application_that_does_not_consume_stops_the_sender_at_the_window() {
    let window = limits().receive_window;
    let mut pair = Pair::connected();
    let mut sent = 0;
    for _ in 0..2_000 {
        sent += usize::from(pair.send(0, RELIABLE, message(16_384))) * 16_384;
        while pair.step() {}
        pair.advance(Duration::from_millis(25));
    }
    let unreleased = &pair.sides[1].apps[&RELIABLE].unreleased;
    let unreleased: usize = unreleased.iter().map(|len| len + 64).sum();
    assert!(
        unreleased <= window && unreleased > window - 16_384,
        "{unreleased}"
    );
    assert!(sent > window, "the queue fills too");
    assert!(pair.send(0, CONTROL, message(10)), "others go on");
    while pair.step() {}
    assert_eq!(received(&pair, 1, CONTROL).len(), 1);
    pair.finish();
}

#[test]
fn empty_and_tiny_messages_stop_at_the_window_and_go_on_when_they_are_released() {
    let ordered = ChannelConfig::new("or");
    let unordered = ChannelConfig {
        ordering: Ordering::Unordered,
        ..ChannelConfig::new("ur")
    };
    for (config, len) in [(ordered.clone(), 0), (ordered, 1), (unordered, 0)] {
        let limits = ChannelLimits {
            receive_window: 131_200,
            ..tight_limits()
        };
        let mut pair = Pair::new([limits.clone(), limits], 9);
        pair.start();
        let channel = pair.open(0, config.clone()).expect("room");
        pair.settle();
        let other = *pair.sides[1].apps.keys().last().expect("opened");
        let stop = |pair: &mut Pair| {
            for _ in 0..3_000 {
                pair.send(0, channel, message(len));
                while pair.step() {}
            }
            pair.advance(Duration::from_secs(1));
            while pair.step() {}
            pair.sides[1].apps[&other].unreleased.len()
        };
        let most = 131_200 / (len + 64);
        assert_eq!(stop(&mut pair), most, "{config:?}");
        pair.release(1, other, usize::MAX);
        assert_eq!(stop(&mut pair), most, "{config:?}");
        assert_eq!(received(&pair, 1, other).len(), 2 * most);
        assert_eq!(pair.faults(), []);
        pair.finish();
    }
}

#[test]
fn what_a_reset_lost_takes_no_credit_on_a_channel_that_sends_nothing_again() {
    let mut pair = Pair::new([tight_limits(), tight_limits()], 10);
    pair.start();
    let config = ChannelConfig {
        ordering: Ordering::Unordered,
        ..ChannelConfig::new("ur")
    };
    let channel = pair.open(0, config).expect("room");
    pair.settle();
    for _ in 0..3 {
        assert!(pair.send(0, channel, message(30_000)));
        assert!(pair.send(0, channel, message(30_000)));
        pair.sides[0].wires.get_mut(&6).expect("written").clear();
        pair.reset(6);
        pair.settle();
    }
    assert_eq!(outcomes(&pair, 0, channel), [Outcome::Maybe; 6]);
    assert!(pair.send(0, channel, message(65_535)));
    pair.settle();
    assert_eq!(outcomes(&pair, 0, channel)[6], Outcome::Delivered);
    pair.finish();
}

#[test]
fn acknowledgements_of_1_kib_messages_cost_less_than_a_hundredth() {
    let mut pair = Pair::connected();
    let before = (pair.sides[0].written, pair.sides[1].meta_written);
    for _ in 0..3_000 {
        assert!(pair.send(0, RELIABLE, message(1_024)));
        while pair.step() {}
        pair.release_all();
        // 40 Mbit/s.
        pair.advance(Duration::from_micros(200));
    }
    let data = pair.sides[0].written - before.0;
    let meta = pair.sides[1].meta_written - before.1;
    assert!(data > 3_000 * 1_024 && meta > 0);
    assert!(meta * 100 < data, "{meta} bytes for {data}");
    // Each message on META also costs a packet of at most 100 bytes of headers: one for 32 messages.
    assert!((meta + 3_000 / 32 * 100) * 100 < data);
}

#[test]
fn a_lone_message_is_acknowledged_after_the_delay_and_no_later() {
    let mut pair = Pair::connected();
    pair.send(0, RELIABLE, message(1));
    while pair.step() {}
    assert_eq!(outcomes(&pair, 0, RELIABLE), [Outcome::Open]);
    pair.advance(Duration::from_millis(19));
    while pair.step() {}
    assert_eq!(outcomes(&pair, 0, RELIABLE), [Outcome::Open]);
    pair.advance(Duration::from_millis(1));
    while pair.step() {}
    assert_eq!(outcomes(&pair, 0, RELIABLE), [Outcome::Delivered]);
}

#[test]
fn control_overtakes_bulk_and_is_not_held_by_a_full_backlog() {
    let mut pair = Pair::connected();
    (0..20).for_each(|_| assert!(pair.send(0, FILE, message(50_000))));
    let written = pair.sides[0].written;
    assert!(pair.send(0, CONTROL, message(30_000)));
    assert!(pair.sides[0].written >= written + 30_000, "written at once");
    pair.finish();
}

#[test]
fn custom_channels_of_every_mode_open_on_both_sides_and_carry_messages() {
    let mut pair = Pair::connected();
    let modes = [
        ("or", Ordering::Ordered, Reliability::Reliable),
        ("ur", Ordering::Unordered, Reliability::Reliable),
        ("o", Ordering::Ordered, Reliability::MaxRetransmits(3)),
        (
            "u",
            Ordering::Unordered,
            Reliability::MaxLifetime(Duration::from_millis(500)),
        ),
    ];
    for (label, ordering, reliability) in modes {
        let label = format!("{label}1");
        let config = ChannelConfig {
            ordering,
            reliability,
            protocol: "p".into(),
            ..ChannelConfig::new(&label)
        };
        let channel = pair.open(1, config).expect("room");
        assert!(
            pair.send(1, channel, message(40_000)),
            "queues before it is open"
        );
        pair.settle();
        let open = pair.sides[0].events.iter().find_map(|event| match event {
            ChannelOutput::Open {
                channel,
                label: l,
                protocol,
                remote: true,
                ..
            } if *l == label => Some((*channel, protocol.clone())),
            _ => None,
        });
        let (theirs, protocol) = open.expect("opened at the other side");
        assert_eq!(
            (received(&pair, 0, theirs), protocol.as_str()),
            (vec![message(40_000)], "p")
        );
        assert!(pair.send(0, theirs, message(1)));
        pair.settle();
        assert_eq!(received(&pair, 1, channel), [message(1)]);
    }
    pair.finish();
}

#[test]
fn labels_of_65535_bytes_pass_and_longer_ones_are_refused() {
    let mut pair = Pair::connected();
    let text = "r".repeat(65_535);
    let config = |label: &str, protocol: &str| ChannelConfig {
        protocol: protocol.to_owned(),
        ..ChannelConfig::new(label)
    };
    assert!(pair.open(0, config(&text, &text)).is_some());
    pair.settle();
    assert!(pair.sides[1].apps.values().any(|app| app.label == text));
    let long = "r".repeat(65_536);
    for config in [config(&long, ""), config("", &long)] {
        assert_eq!(
            pair.sides[0].channels.open(config, pair.now),
            Err(OpenError::LabelTooLong)
        );
    }
}

#[test]
fn stream_ids_that_are_taken_or_reserved_are_refused() {
    let mut pair = Pair::connected();
    let config = |id| ChannelConfig {
        negotiated: Some(id),
        ..ChannelConfig::new("or")
    };
    let mut open = |id| pair.sides[0].channels.open(config(id), pair.now);
    for id in [0, 3, 4, 5, 65_534, 65_535] {
        assert_eq!(open(id), Err(OpenError::StreamId(id)));
    }
    assert!(open(6).is_ok() && open(65_533).is_ok());
    assert_eq!(open(6), Err(OpenError::StreamId(6)));
}

#[test]
fn a_lifetime_is_whole_milliseconds_up_to_65535() {
    let mut pair = Pair::connected();
    let mut open = |time| {
        let reliability = Reliability::MaxLifetime(time);
        let config = ChannelConfig {
            reliability,
            ..ChannelConfig::new("u")
        };
        pair.sides[0].channels.open(config, pair.now).map(|_| ())
    };
    assert_eq!(open(Duration::from_millis(65_535)), Ok(()));
    assert_eq!(
        open(Duration::from_millis(65_536)),
        Err(OpenError::Lifetime)
    );
    assert_eq!(open(Duration::from_micros(1_500)), Err(OpenError::Lifetime));
}

#[test]
fn an_agreed_channel_waits_for_the_other_side_in_either_order() {
    for first in 0..2 {
        let mut pair = Pair::connected();
        let config = ChannelConfig {
            negotiated: Some(100),
            ..ChannelConfig::new("or-agreed")
        };
        let one = pair.open(first, config.clone()).expect("room");
        // More than the initial credit: what the first side grants must not get lost.
        pair.send(first, one, message(100_000));
        while pair.step() {}
        assert_eq!(outcomes(&pair, first, one), [Outcome::Open]);
        let other = pair.open(1 - first, config).expect("room");
        pair.settle();
        assert_eq!(outcomes(&pair, first, one), [Outcome::Delivered]);
        assert_eq!(received(&pair, 1 - first, other), [message(100_000)]);
        pair.finish();
    }
}

#[test]
fn an_agreed_channel_can_be_closed_and_opened_again_under_the_same_id() {
    let mut pair = Pair::connected();
    for round in 0..5 {
        let config = ChannelConfig {
            negotiated: Some(100),
            ..ChannelConfig::new(format!("or{round}"))
        };
        let one = pair.open(0, config.clone()).expect("the id is free");
        let other = pair.open(1, config).expect("the id is free");
        assert!(pair.send(0, one, message(round)));
        pair.settle();
        assert_eq!(received(&pair, 1, other), [message(round)]);
        pair.close(round % 2, if round % 2 == 0 { one } else { other });
        pair.settle();
        assert!(pair.sides[0].apps[&one].is_closed && pair.sides[1].apps[&other].is_closed);
    }
    pair.finish();
}

#[test]
fn an_agreed_channel_that_the_other_side_treats_otherwise_is_closed() {
    let mut pair = Pair::connected();
    let config = ChannelConfig {
        negotiated: Some(100),
        ..ChannelConfig::new("or")
    };
    let one = pair.open(0, config.clone()).expect("room");
    let config = ChannelConfig {
        ordering: Ordering::Unordered,
        ..config
    };
    let other = pair.open(1, config).expect("room");
    pair.settle();
    assert!(pair.sides[0].apps[&one].is_closed && pair.sides[1].apps[&other].is_closed);
    pair.finish();
}

#[test]
fn a_channel_that_nobody_opens_on_the_other_side_times_out() {
    let mut pair = Pair::connected();
    let config = ChannelConfig {
        negotiated: Some(100),
        ..ChannelConfig::new("or")
    };
    let channel = pair.open(0, config).expect("room");
    pair.send(0, channel, message(5));
    while pair.step() {}
    // While the path is down the time does not count.
    pair.sides[0].channels.on_path(false, pair.now);
    pair.advance(10 * OPEN_TIMEOUT);
    pair.sides[0].channels.on_path(true, pair.now);
    pair.advance(OPEN_TIMEOUT - Duration::from_millis(1));
    assert!(!pair.sides[0].apps[&channel].is_closed);
    pair.advance(Duration::from_millis(1));
    assert_eq!(errors(&pair, 0), [ChannelFault::OpenTimeout]);
    assert!(pair.sides[0].apps[&channel].is_closed);
    assert_eq!(outcomes(&pair, 0, channel), [Outcome::Never]);
    pair.finish();
}

#[test]
fn a_closed_channel_tells_what_it_had_not_delivered_and_is_closed_at_the_other_side() {
    let mut pair = Pair::connected();
    let channel = pair.open(0, ChannelConfig::new("or")).expect("room");
    pair.settle();
    let other = *pair.sides[1].apps.keys().last().expect("opened");
    (0..10).for_each(|_| assert!(pair.send(0, channel, message(16_000))));
    pair.close(0, channel);
    let told = outcomes(&pair, 0, channel);
    assert_eq!(told.first(), Some(&Outcome::Maybe), "was written");
    assert_eq!(told.last(), Some(&Outcome::Never), "was not");
    assert_eq!(
        pair.sides[0].channels.close(channel, pair.now),
        Err(UnknownChannel)
    );
    let late = pair.sides[0].channels.send(channel, message(1), pair.now);
    assert_eq!(late.expect_err("gone").reason, SendRefusal::UnknownChannel);
    pair.settle();
    assert!(pair.sides[1].apps[&other].is_closed);
    assert_eq!(
        pair.sides[0].channels.close(CONTROL, pair.now),
        Err(UnknownChannel)
    );
    pair.finish();
}

#[test]
fn the_limit_on_channels_holds_on_both_sides_and_frees_with_closed_ones() {
    let four = |max_channels| ChannelLimits {
        max_channels,
        ..limits()
    };
    let mut pair = Pair::new([four(6), four(5)], 6);
    pair.start();
    pair.settle();
    let config = || ChannelConfig::new("or");
    let (first, second) = (
        pair.open(0, config()).expect("5"),
        pair.open(0, config()).expect("6"),
    );
    let full = pair.sides[0].channels.open(config(), pair.now);
    assert_eq!(full, Err(OpenError::TooManyChannels(6)));
    pair.settle();
    let apps = &pair.sides[0].apps;
    assert!(
        !apps[&first].is_closed && apps[&second].is_closed,
        "the other side takes one"
    );
    assert_eq!(
        pair.sides[1].channels.open(config(), pair.now),
        Err(OpenError::TooManyChannels(5))
    );
    pair.close(0, first);
    pair.settle();
    assert!(pair.sides[1].channels.open(config(), pair.now).is_ok());
    assert_eq!(pair.faults(), []);
}

#[test]
fn stream_ids_are_given_out_in_turn_and_used_again_unless_the_peer_never_had_them() {
    let mut pair = Pair::connected();
    let mut used = Vec::new();
    for round in 0..600 {
        let channel = pair.open(0, ChannelConfig::new("or")).expect("room");
        used.push(
            pair.sides[0].channels.entries[&channel]
                .stream
                .expect("given"),
        );
        if round == 100 {
            // Closed before the peer has heard of it.
            pair.close(0, channel);
        }
        pair.settle();
        pair.close(0, channel);
        pair.settle();
    }
    assert!(used.iter().all(|id| *id >= 6 && id.is_multiple_of(2)));
    assert!((0..255).all(|n| used[n] < used[n + 1]), "in turn");
    let mut distinct = used.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 256);
    let spent = used.iter().filter(|id| **id == used[100]);
    assert_eq!(spent.count(), 1, "not again");
    assert_eq!(pair.faults(), []);
    pair.finish();
}

#[test]
fn while_all_ids_in_turn_are_in_use_others_are_given_out() {
    let limits = ChannelLimits {
        max_channels: 400,
        ..limits()
    };
    let mut pair = Pair::new([limits.clone(), limits.clone()], 11);
    pair.start();
    for _ in 0..396 {
        assert!(pair.open(0, ChannelConfig::new("or")).is_some());
    }
    assert!(pair.open(0, ChannelConfig::new("or")).is_none());
    let highest = pair.sides[0].channels.by_stream.last_key_value();
    assert_eq!(highest.map(|(id, _)| *id), Some(6 + 2 * 395));
    assert_eq!(crate::channel::max_streams(&limits), 2 * 400 + 8);
}

fn meta(frames: &[MetaFrame]) -> Vec<u8> {
    let mut data = Vec::new();
    Header {
        epoch: 0,
        part: Part::Whole,
    }
    .encode(&mut data);
    frames.iter().for_each(|frame| frame.encode(&mut data));
    data
}

fn open_frame(stream: u16) -> MetaFrame {
    MetaFrame::Open(Open {
        stream,
        label: "r".into(),
        protocol: String::new(),
        ordering: Ordering::Ordered,
        reliability: Reliability::Reliable,
        priority: Priority::Normal,
    })
}

#[test]
fn a_peer_that_ignores_the_limit_on_channels_grossly_is_at_fault() {
    let mut pair = Pair::connected();
    let side = &mut pair.sides[0].channels;
    let room = u16::try_from(limits().max_channels - 4).expect("small");
    for n in 0..room + 1_024 {
        side.on_data(
            StreamKey::Meta,
            true,
            meta(&[open_frame(7 + 2 * n)]),
            pair.now,
        );
    }
    assert!(
        !std::iter::from_fn(|| side.poll_output()).any(|o| matches!(o, ChannelOutput::Fault(_)))
    );
    side.on_data(
        StreamKey::Meta,
        true,
        meta(&[open_frame(7 + 2 * (room + 1_024))]),
        pair.now,
    );
    let fault = std::iter::from_fn(|| side.poll_output()).last();
    assert_eq!(
        fault,
        Some(ChannelOutput::Fault(PeerFault::TooManyChannels))
    );
}

#[test]
fn frames_that_break_the_protocol_are_faults_and_end_the_machine() {
    let whole = |epoch: u8| vec![3 | epoch << 4, 1];
    let key = StreamKey::Channel;
    let cases: Vec<(StreamKey, Vec<u8>, PeerFault)> = vec![
        (key(RELIABLE), vec![], PeerFault::Frame),
        (key(RELIABLE), vec![4], PeerFault::Frame),
        (key(RELIABLE), whole(1), PeerFault::Frame),
        (
            key(UNRELIABLE),
            [&[1, 0, 0, 16, 0][..], &[0; 2_000]].concat(),
            PeerFault::Frame,
        ),
        (
            key(FILE),
            [&[1, 255, 0, 0, 0][..], &[0; 2_000]].concat(),
            PeerFault::MessageTooLarge,
        ),
        (StreamKey::Meta, meta(&[open_frame(6)]), PeerFault::Frame),
        (StreamKey::Meta, meta(&[open_frame(5)]), PeerFault::Frame),
        (
            StreamKey::Meta,
            meta(&[MetaFrame::Close { stream: 4 }]),
            PeerFault::Frame,
        ),
        (
            StreamKey::Meta,
            meta(&[MetaFrame::Ack {
                stream: 1,
                received: 1,
            }]),
            PeerFault::Frame,
        ),
        (StreamKey::Meta, vec![3, 99], PeerFault::Frame),
    ];
    for (stream, data, fault) in cases {
        let mut pair = Pair::connected();
        let side = &mut pair.sides[0].channels;
        side.on_data(stream, true, data.clone(), pair.now);
        assert_eq!(
            side.poll_output(),
            Some(ChannelOutput::Fault(fault)),
            "{stream:?} {data:?}"
        );
        let late = side.send(RELIABLE, message(1), pair.now).expect_err("over");
        assert_eq!(late.reason, SendRefusal::Closing);
        side.on_data(stream, true, data, pair.now);
        assert_eq!(side.poll_output(), None, "one fault");
    }
}

#[test]
fn a_reset_stream_is_opened_again_and_nothing_is_lost_or_doubled() {
    for seed in 0..50 {
        let mut pair = Pair::new([limits(), limits()], seed);
        pair.start();
        while pair.step() {}
        for n in 0..60 {
            assert!(pair.send(0, RELIABLE, Message::binary(vec![n; 9_000])));
            assert!(pair.send(1, RELIABLE, Message::binary(vec![n; 17_000])));
        }
        for _ in 0..3 {
            (0..pair.rng.u8(5..40)).for_each(|_| _ = pair.step());
            pair.reset(1);
            while pair.step() {}
        }
        pair.settle();
        for side in 0..2 {
            let all: Vec<_> = pair.sides[side].apps[&RELIABLE].accepted.clone();
            let got = received(&pair, 1 - side, RELIABLE);
            assert!(
                all.iter()
                    .all(|(_, outcome)| *outcome == Outcome::Delivered),
                "{seed}"
            );
            assert!(all.iter().map(|(message, _)| message).eq(&got), "{seed}");
            assert!(
                errors(&pair, side)
                    .iter()
                    .all(|error| *error == ChannelFault::Reset)
            );
            assert!(!errors(&pair, side).is_empty());
        }
        pair.finish();
    }
}

#[test]
fn after_a_reset_a_large_message_goes_on_where_it_stopped() {
    let mut pair = Pair::connected();
    let large = 900_000;
    assert!(pair.send(0, FILE, message(large)));
    let mut held = 0;
    for round in 1..4 {
        while pair.sides[1].partial(FILE) < round * 200_000 {
            assert!(pair.step());
        }
        pair.reset(3);
        assert!(pair.sides[1].partial(FILE) >= held, "nothing is forgotten");
        held = pair.sides[1].partial(FILE);
    }
    let written = pair.sides[0].written;
    pair.settle();
    assert_eq!(received(&pair, 1, FILE), [message(large)]);
    // The last third, and what was written to the stream before its reset was heard of.
    let again = pair.sides[0].written - written;
    assert!(again < 600_000, "{again} bytes");
    assert_eq!(pair.faults(), []);
    pair.finish();
}

#[test]
fn a_stream_is_opened_again_three_times_and_then_closed_with_the_rest_told() {
    let mut pair = Pair::connected();
    for round in 0..4 {
        assert!(!pair.sides[0].apps[&FILE].is_closed, "{round}");
        (0..20).for_each(|_| _ = pair.send(0, FILE, message(16_000)));
        pair.reset(3);
        while pair.step() {}
    }
    pair.settle();
    assert!((0..2).all(|side| pair.sides[side].apps[&FILE].is_closed));
    assert!(outcomes(&pair, 0, FILE).contains(&Outcome::Maybe));
    assert!(pair.send(0, RELIABLE, message(1)), "the others live");
    pair.finish();
}

#[test]
fn a_reset_meta_stream_is_opened_again_and_says_everything_again() {
    for seed in 0..30 {
        let mut pair = Pair::new([limits(), limits()], seed);
        pair.start();
        let channel = pair.open(0, ChannelConfig::new("or")).expect("room");
        for round in 0..3 {
            // Its OPEN takes several frames.
            let label = "r".repeat(60_000) + &round.to_string();
            assert!(pair.open(1, ChannelConfig::new(label)).is_some());
            assert!(pair.send(1, FILE, message(200_000)));
            (0..30).for_each(|_| _ = pair.send(0, channel, message(16_000)));
            (0..pair.rng.u8(2..40)).for_each(|_| _ = pair.step());
            pair.reset(4);
            if round == 0 {
                pair.reset(3);
            }
        }
        pair.settle();
        let told = outcomes(&pair, 0, channel);
        assert!(
            told.iter().all(|outcome| *outcome == Outcome::Delivered),
            "{seed}"
        );
        pair.finish();
    }
}

#[test]
fn a_meta_stream_that_is_reset_too_often_is_reported() {
    let mut pair = Pair::connected();
    for _ in 0..4 {
        assert!(!pair.sides[0].events.contains(&ChannelOutput::Broken));
        pair.reset(4);
        while pair.step() {}
    }
    assert!(pair.sides[0].events.contains(&ChannelOutput::Broken));
}

#[test]
fn without_order_a_reset_tells_that_delivery_is_unknown_and_counts_on() {
    let mut pair = Pair::connected();
    let config = ChannelConfig {
        ordering: Ordering::Unordered,
        ..ChannelConfig::new("ur")
    };
    let channel = pair.open(0, config).expect("room");
    pair.settle();
    (0..4).for_each(|n| assert!(pair.send(0, channel, Message::binary(vec![n; 100]))));
    pair.sides[0].wires.get_mut(&6).expect("written").pop_back();
    pair.reset(6);
    pair.settle();
    assert_eq!(outcomes(&pair, 0, channel), [Outcome::Maybe; 4]);
    assert!(pair.send(0, channel, Message::binary(vec![9; 100])));
    pair.settle();
    assert_eq!(outcomes(&pair, 0, channel)[4], Outcome::Delivered);
    pair.finish();
}

#[test]
fn a_graceful_close_delivers_bulk_first_and_the_last_word_on_control_last() {
    let mut pair = Pair::connected();
    let custom = pair.open(0, ChannelConfig::new("or")).expect("room");
    pair.settle();
    pair.refusals = 100;
    for channel in [CONTROL, RELIABLE, custom, UNRELIABLE, FILE] {
        (0..3).for_each(|_| assert!(pair.send(0, channel, message(20_000))));
    }
    pair.refusals = 0;
    pair.sides[0].channels.begin_drain();
    let late = pair.sides[0]
        .channels
        .send(CONTROL, message(1), pair.now)
        .expect_err("closing");
    assert_eq!(late.reason, SendRefusal::Closing);
    let config = ChannelConfig::new("or");
    assert_eq!(
        pair.sides[0].channels.open(config, pair.now),
        Err(OpenError::Closing)
    );
    assert!(!pair.sides[0].channels.is_drained());
    pair.settle();
    assert!(pair.sides[0].channels.is_drained());
    let order: Vec<_> = pair.sides[1]
        .events
        .iter()
        .filter_map(|event| match event {
            ChannelOutput::Message { channel, .. } => Some(channel.0),
            _ => None,
        })
        .collect();
    assert_eq!(order, [3, 3, 3, 2, 2, 2, 4, 4, 4, 1, 1, 1, 0, 0, 0]);
}

#[test]
fn abandoning_tells_every_message_once_and_closes_every_channel() {
    let mut pair = Pair::connected();
    for channel in [CONTROL, RELIABLE, FILE] {
        (0..20).for_each(|_| assert!(pair.send(0, channel, message(16_000))));
    }
    pair.sides[0].channels.abandon(pair.now);
    pair.pump();
    for channel in [CONTROL, RELIABLE, FILE] {
        assert!(
            outcomes(&pair, 0, channel)
                .iter()
                .all(|outcome| *outcome != Outcome::Open)
        );
        assert!(pair.sides[0].apps[&channel].is_closed);
    }
    assert_eq!(pair.sides[0].channels.poll_timeout(), None);
    assert!(pair.sides[0].channels.poll_write(pair.now).is_none());
}

#[test]
fn the_metrics_count_messages_and_payload() {
    let mut pair = Pair::connected();
    (0..3).for_each(|_| assert!(pair.send(0, RELIABLE, message(20_000))));
    pair.settle();
    let metrics = pair.sides[0].channels.metrics(pair.now);
    let sent = metrics[1];
    assert_eq!(
        (sent.messages_queued, sent.messages_sent, sent.bytes_sent),
        (3, 3, 60_000)
    );
    let got = pair.sides[1].channels.metrics(pair.now)[1];
    assert_eq!((got.messages_received, got.bytes_received), (3, 60_000));
}

#[test]
fn the_metrics_tell_what_waits_for_how_long_and_what_is_not_acknowledged() {
    let (mut pair, second) = (Pair::new([limits(), limits()], 2), Duration::from_secs(1));
    let start = pair.now;
    assert!(pair.send(0, RELIABLE, message(100)));
    pair.now += second;
    assert!(pair.send(0, RELIABLE, message(200)));
    let at = |pair: &Pair, now| pair.sides[0].channels.metrics(now)[1];
    let waiting = at(&pair, start + second * 3);
    assert_eq!((waiting.queue_messages, waiting.queue_bytes), (2, 300));
    assert_eq!(waiting.queue_age, Some(second * 3));
    assert_eq!(waiting.messages_unacknowledged, 0);
    pair.start();
    pair.settle();
    let done = at(&pair, pair.now);
    assert_eq!((done.queue_messages, done.queue_bytes), (0, 0));
    assert_eq!((done.queue_age, done.messages_unacknowledged), (None, 0));
}

#[test]
fn a_refused_write_is_offered_again_unchanged() {
    let mut pair = Pair::connected();
    pair.refusals = 60;
    for n in 0..40 {
        assert!(pair.send(0, RELIABLE, Message::binary(vec![n; 20_000])));
        pair.advance(Duration::from_millis(10));
    }
    pair.settle();
    assert_eq!(received(&pair, 1, RELIABLE).len(), 40);
    pair.finish();
}

#[test]
fn starting_twice_counts_once() {
    let mut pair = Pair::connected();
    pair.sides[0]
        .channels
        .start(Framing::Plain, Role::Odd, 0, pair.now);
    assert_eq!(pair.sides[0].channels.poll_output(), None);
}

#[test]
fn tight_limits_do_not_stop_a_large_message() {
    let mut pair = Pair::new([tight_limits(), tight_limits()], 8);
    pair.start();
    assert!(pair.send(0, RELIABLE, message(300_000)));
    assert!(!pair.send(0, RELIABLE, message(300_001)));
    pair.settle();
    assert_eq!(received(&pair, 1, RELIABLE).len(), 1);
    assert_eq!(
        pair.sides[0].events.last(),
        Some(&ChannelOutput::Delivered {
            channel: RELIABLE,
            through: MessageId(0)
        })
    );
    pair.finish();
}

/// Both sides open, close and open again under one id at any time, and META is reset meanwhile.
#[test]
fn an_agreed_id_is_good_again_after_any_churn() {
    for seed in 0..300 {
        let mut pair = Pair::new([limits(), limits()], seed);
        pair.start();
        let mut count = 0;
        let mut open = |pair: &mut Pair, side: usize| {
            count += 1;
            let label = format!("or{count}");
            pair.open(
                side,
                ChannelConfig {
                    negotiated: Some(100),
                    ..ChannelConfig::new(label)
                },
            )
        };
        for round in 0..30 {
            let side = pair.rng.usize(0..2);
            match pair.agreed(side) {
                Some(channel) if pair.rng.bool() => pair.close(side, channel),
                Some(_) => {}
                None => _ = open(&mut pair, side),
            }
            (0..pair.rng.u8(0..8)).for_each(|_| _ = pair.step());
            if round % 10 == 9 {
                pair.reset(4);
            }
        }
        pair.settle();
        for _ in 0..4 {
            (0..2).for_each(|side| {
                if pair.agreed(side).is_none() {
                    open(&mut pair, side);
                }
            });
            pair.settle();
        }
        let [a, b] = [0, 1].map(|side| pair.agreed(side).expect("open"));
        assert!(pair.send(0, a, message(100)) && pair.send(1, b, message(200)));
        pair.settle();
        assert_eq!(received(&pair, 1, b), [message(100)], "{seed}");
        assert_eq!(received(&pair, 0, a), [message(200)], "{seed}");
    }
}
