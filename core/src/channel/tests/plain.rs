//! A foreign peer: plain WebRTC data channels.

use std::time::Instant;

use super::{CONTROL, FILE, RELIABLE, UNRELIABLE, limits, message};
use crate::channel::frame::MESSAGE_OVERHEAD;
use crate::channel::io::Continuity;
use crate::channel::kind::{ChannelConfig, Message, Ordering, Reliability};
use crate::channel::{ChannelOutput, Channels, Framing, Role, StreamKey};
use crate::config::ChannelLimits;
use crate::error::{OpenError, SendRefusal};
use crate::id::{ChannelId, MessageId, PeerId};

use super::pair::OPEN_TIMEOUT;

fn key(channel: ChannelId) -> StreamKey {
    StreamKey::Channel(channel)
}

fn outputs(channels: &mut Channels) -> Vec<ChannelOutput> {
    channels.check_invariants();
    std::iter::from_fn(|| channels.poll_output()).collect()
}

fn waiting(limits: &ChannelLimits) -> (Channels, Instant) {
    let own = PeerId::new("me").expect("valid");
    (Channels::new(own, limits, OPEN_TIMEOUT), Instant::now())
}

/// All kinds open, their outputs taken.
fn open(limits: &ChannelLimits, remote_max: usize) -> (Channels, Instant) {
    let (mut channels, now) = waiting(limits);
    channels.start(Framing::Plain, Role::Even, remote_max, now);
    (0..4).for_each(|id| channels.on_stream_open(key(ChannelId(id)), now));
    outputs(&mut channels);
    (channels, now)
}

/// Writes everything; gives stream, kind and bytes of each write.
fn write_all(channels: &mut Channels, now: Instant) -> Vec<(StreamKey, bool, Vec<u8>)> {
    let mut writes = Vec::new();
    while let Some(write) = channels.poll_write(now) {
        writes.push((write.stream, write.binary, write.data.to_vec()));
        channels.on_written(now);
    }
    writes
}

#[test]
fn the_kinds_are_opened_in_band_under_our_name() {
    let (mut channels, now) = waiting(&limits());
    channels.start(Framing::Plain, Role::Even, 65_536, now);
    let opened: Vec<_> = outputs(&mut channels)
        .into_iter()
        .map(|output| match output {
            ChannelOutput::OpenStream { stream, config } => {
                (stream, config.label, config.negotiated)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let labels = ["me/control", "me/reliable", "me/unreliable", "me/file"];
    let expected: Vec<_> = (0..4)
        .zip(labels)
        .map(|(id, label)| (key(ChannelId(id)), label.to_owned(), None))
        .collect();
    assert_eq!(opened, expected, "and no META");
}

#[test]
fn messages_go_unframed_and_are_delivered_when_the_transport_has_nothing_left() {
    let (mut channels, now) = open(&limits(), 65_536);
    assert_eq!(
        channels.send(RELIABLE, "text".into(), now),
        Ok(MessageId(0))
    );
    assert_eq!(
        channels.send(RELIABLE, message(60_000), now),
        Ok(MessageId(1))
    );
    let writes = write_all(&mut channels, now);
    assert_eq!(writes[0], (key(RELIABLE), false, b"text".to_vec()));
    assert_eq!(writes[1], (key(RELIABLE), true, vec![7; 60_000]));
    channels.on_backlog(key(RELIABLE), 1, now);
    let sent = ChannelOutput::Sent {
        channel: RELIABLE,
        through: MessageId(1),
    };
    assert_eq!(outputs(&mut channels), [sent]);
    channels.on_backlog(key(RELIABLE), 0, now);
    let delivered = ChannelOutput::Delivered {
        channel: RELIABLE,
        through: MessageId(1),
    };
    assert_eq!(outputs(&mut channels), [delivered]);
    assert!(channels.is_drained());
}

#[test]
fn the_message_limit_is_the_remote_one_and_ours_where_it_has_none() {
    for (remote, limit) in [
        (65_536, 65_536),
        (1_000, 1_000),
        (0, limits().max_message_size),
    ] {
        let (mut channels, now) = open(&limits(), remote);
        for channel in [RELIABLE, UNRELIABLE] {
            let refused = channels
                .send(channel, message(limit + 1), now)
                .expect_err("too large");
            assert_eq!(refused.reason, SendRefusal::TooLarge { limit });
            assert!(channels.send(channel, message(limit), now).is_ok());
            assert_eq!(write_all(&mut channels, now).len(), 1);
            channels.on_backlog(key(channel), 0, now);
        }
    }
}

#[test]
fn what_a_foreign_peer_cannot_take_is_told_in_order_and_not_sent() {
    let (mut channels, now) = waiting(&limits());
    for message in [message(10), message(0), message(2_000), message(20)] {
        assert!(channels.send(RELIABLE, message, now).is_ok());
    }
    channels.start(Framing::Plain, Role::Even, 1_000, now);
    channels.on_stream_open(key(RELIABLE), now);
    let lengths: Vec<_> = write_all(&mut channels, now)
        .iter()
        .map(|(.., data)| data.len())
        .collect();
    assert_eq!(lengths, [10, 0], "an empty message has a form of its own");
    outputs(&mut channels);
    channels.on_backlog(key(RELIABLE), 0, now);
    assert_eq!(
        write_all(&mut channels, now),
        [(key(RELIABLE), true, vec![7; 20])]
    );
    channels.on_backlog(key(RELIABLE), 0, now);
    let not = |id| ChannelOutput::NotDelivered {
        channel: RELIABLE,
        first: MessageId(id),
        last: MessageId(id),
        maybe: false,
    };
    let delivered = |id| ChannelOutput::Delivered {
        channel: RELIABLE,
        through: MessageId(id),
    };
    let sent = |id| ChannelOutput::Sent {
        channel: RELIABLE,
        through: MessageId(id),
    };
    let told = [delivered(1), not(2), sent(3), delivered(3)];
    assert_eq!(outputs(&mut channels), told);
}

#[test]
fn a_stream_that_the_foreign_peer_closes_is_closed() {
    let (mut channels, now) = open(&limits(), 65_536);
    for _ in 0..8 {
        assert!(channels.send(FILE, message(60_000), now).is_ok());
    }
    let written = write_all(&mut channels, now).len() as u64;
    outputs(&mut channels);
    channels.on_stream_closed(key(FILE), now);
    let not = |first, last, maybe| ChannelOutput::NotDelivered {
        channel: FILE,
        first: MessageId(first),
        last: MessageId(last),
        maybe,
    };
    let told = [
        not(0, written - 1, true),
        not(written, 7, false),
        ChannelOutput::Closed { channel: FILE },
    ];
    assert_eq!(outputs(&mut channels), told);
    let late = channels.send(FILE, message(1), now).expect_err("gone");
    assert_eq!(late.reason, SendRefusal::UnknownChannel);
}

#[test]
fn an_unreliable_channel_whose_window_is_full_drops_and_counts() {
    let (mut channels, now) = open(&limits(), 65_536);
    // Each message takes 64 bytes beside its payload.
    let rest = limits().receive_window - 64;
    channels.on_data(key(UNRELIABLE), true, vec![1; rest - 65], now);
    channels.on_data(key(UNRELIABLE), true, vec![1; 1], now);
    assert_eq!(outputs(&mut channels).len(), 2);
    channels.on_data(key(UNRELIABLE), true, vec![1; 1], now);
    assert_eq!(
        (
            outputs(&mut channels),
            channels.metrics(now)[2].messages_dropped
        ),
        (vec![], 1)
    );
    channels.release(UNRELIABLE, 1, now);
    channels.on_data(key(UNRELIABLE), true, vec![1; 1], now);
    assert_eq!(outputs(&mut channels).len(), 1);
}

#[test]
fn the_reliable_channel_with_the_least_room_decides_how_much_the_peer_may_send() {
    let (mut channels, now) = open(&limits(), 65_536);
    let window = limits().receive_window;
    let left = |channels: &Channels| channels.room().map(|room| room.left);
    assert_eq!(left(&channels), Some(window));
    channels.on_data(key(UNRELIABLE), true, vec![1; 10_000], now);
    assert_eq!(left(&channels), Some(window), "it drops what does not fit");
    channels.on_data(key(RELIABLE), true, vec![1; 1_000], now);
    channels.on_data(key(CONTROL), true, vec![1; 2_000], now);
    assert_eq!(left(&channels), Some(window - 2_000 - MESSAGE_OVERHEAD));
    channels.release(CONTROL, 2_000, now);
    assert_eq!(left(&channels), Some(window - 1_000 - MESSAGE_OVERHEAD));
    outputs(&mut channels);
}

#[test]
fn streams_of_the_foreign_peer_become_channels_up_to_the_limit() {
    let limits = ChannelLimits {
        max_channels: 5,
        ..limits()
    };
    let (mut channels, now) = open(&limits, 65_536);
    let offer = |channels: &mut Channels| {
        let reliability = Reliability::MaxRetransmits(1);
        channels.on_remote_stream(
            "l".into(),
            "p".into(),
            Ordering::Unordered,
            reliability,
            now,
        )
    };
    let stream = offer(&mut channels).expect("room");
    let StreamKey::Channel(channel) = stream else {
        panic!("a channel")
    };
    let (label, protocol) = ("l".to_owned(), "p".to_owned());
    let (ordering, reliability) = (Ordering::Unordered, Reliability::MaxRetransmits(1));
    let opened = ChannelOutput::Open {
        channel,
        label,
        protocol,
        ordering,
        reliability,
        remote: true,
    };
    assert_eq!(outputs(&mut channels), [opened]);
    channels.on_data(stream, false, b"hello".to_vec(), now);
    let came = ChannelOutput::Message {
        channel,
        message: Message::text("hello"),
    };
    assert_eq!(outputs(&mut channels), [came]);
    assert!(channels.send(channel, "hi".into(), now).is_ok());
    assert_eq!(
        write_all(&mut channels, now),
        [(stream, false, b"hi".to_vec())]
    );
    assert_eq!(offer(&mut channels), None);
}

fn labelled(label: usize, protocol: usize) -> ChannelConfig {
    ChannelConfig {
        protocol: "p".repeat(protocol),
        ..ChannelConfig::new("l".repeat(label))
    }
}

#[test]
fn a_label_too_long_to_announce_is_refused_unless_the_id_is_agreed() {
    let (mut channels, now) = open(&limits(), 65_536);
    let agreed = ChannelConfig {
        negotiated: Some(20),
        ..labelled(1_488, 1)
    };
    assert!(channels.open(labelled(1_000, 488), now).is_ok());
    assert_eq!(
        channels.open(labelled(1_000, 489), now),
        Err(OpenError::LabelTooLong)
    );
    assert!(channels.open(agreed, now).is_ok());
}

#[test]
fn a_label_too_long_for_what_the_remote_turns_out_to_be_closes_the_channel() {
    let (mut channels, now) = waiting(&limits());
    let channel = channels.open(labelled(1_488, 1), now).expect("room");
    assert!(channels.send(channel, message(5), now).is_ok());
    channels.start(Framing::Plain, Role::Even, 65_536, now);
    let told: Vec<_> = outputs(&mut channels)
        .into_iter()
        .filter(|output| {
            !matches!(output, ChannelOutput::OpenStream { stream, .. } if *stream != key(channel))
        })
        .collect();
    let id = MessageId(0);
    let expected = [
        ChannelOutput::NotDelivered {
            channel,
            first: id,
            last: id,
            maybe: false,
        },
        ChannelOutput::Closed { channel },
    ];
    assert_eq!(told, expected, "and the stream is not asked for");
    let late = channels.send(channel, message(1), now).expect_err("gone");
    assert_eq!(late.reason, SendRefusal::UnknownChannel);
    assert_eq!(channels.metrics(now).len(), 4);
}

#[test]
fn custom_channels_are_opened_in_band_or_with_the_agreed_id() {
    let (mut channels, now) = open(&limits(), 65_536);
    for negotiated in [None, Some(20)] {
        let config = ChannelConfig {
            negotiated,
            ..ChannelConfig::new("c")
        };
        let channel = channels.open(config, now).expect("room");
        let ChannelOutput::OpenStream { stream, config } = outputs(&mut channels).remove(0) else {
            panic!("a stream")
        };
        assert_eq!((stream, config.negotiated), (key(channel), negotiated));
        channels.on_stream_open(stream, now);
        assert_eq!(outputs(&mut channels).len(), 1, "open");
        assert_eq!(channels.close(channel, now), Ok(()));
        let closed = [
            ChannelOutput::Closed { channel },
            ChannelOutput::CloseStream { stream },
        ];
        assert_eq!(outputs(&mut channels), closed);
    }
}

#[test]
fn streams_of_the_foreign_peer_are_taken_until_their_names_fill_the_limit() {
    let (mut channels, now) = open(&limits(), 65_536);
    let mut offer = |length: usize| {
        let (label, protocol) = ("l".repeat(length), "p".repeat(4));
        let reliability = Reliability::Reliable;
        channels.on_remote_stream(label, protocol, Ordering::Ordered, reliability, now)
    };
    // 512 KiB, in eight names that are as long as one can be, all but.
    for n in 0..7 {
        assert!(offer(65_532).is_some(), "{n}");
    }
    assert!(offer(65_533).is_none(), "one byte too many");
    let last = offer(65_532).expect("exactly full");
    assert!(offer(0).is_none(), "even its protocol has no room");
    channels.on_stream_closed(last, now);
    outputs(&mut channels);
    let (label, protocol) = ("next".to_owned(), String::new());
    let next = channels.on_remote_stream(
        label,
        protocol,
        Ordering::Ordered,
        Reliability::Reliable,
        now,
    );
    assert!(next.is_some(), "there is room again");
}

#[test]
fn over_a_new_transport_a_foreign_peer_gets_what_was_not_handed_over() {
    // It keeps nothing, whatever is said of it.
    for continuity in [Continuity::Lost, Continuity::Kept] {
        let (mut channels, now) = open(&limits(), 65_536);
        let local = channels.open(ChannelConfig::new("c"), now).expect("room");
        channels.on_stream_open(key(local), now);
        let (label, protocol) = ("theirs".to_owned(), String::new());
        let remote = channels
            .on_remote_stream(
                label,
                protocol,
                Ordering::Ordered,
                Reliability::Reliable,
                now,
            )
            .expect("room");
        let StreamKey::Channel(remote) = remote else {
            panic!("a channel")
        };
        for _ in 0..8 {
            assert!(channels.send(FILE, message(60_000), now).is_ok());
        }
        assert!(channels.send(remote, message(1), now).is_ok());
        let files = |writes: Vec<(StreamKey, bool, Vec<u8>)>| {
            writes.iter().filter(|write| write.0 == key(FILE)).count() as u64
        };
        let written = files(write_all(&mut channels, now));
        assert!((1..8).contains(&written));
        outputs(&mut channels);
        channels.on_transport_replaced(continuity, now);
        assert_eq!(channels.backlog(), 0);
        let not = |channel, last| ChannelOutput::NotDelivered {
            channel,
            first: MessageId(0),
            last: MessageId(last),
            maybe: true,
        };
        let told = [
            not(FILE, written - 1),
            not(remote, 0),
            ChannelOutput::Closed { channel: remote },
        ];
        assert_eq!(outputs(&mut channels), told);
        assert!(!channels.is_ready());

        channels.start(Framing::Plain, Role::Even, 65_536, now);
        let opened: Vec<_> = outputs(&mut channels)
            .into_iter()
            .map(|output| match output {
                ChannelOutput::OpenStream { stream, config } => (stream, config.negotiated),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = (0..5).map(|id| (key(ChannelId(id)), None));
        assert_eq!(opened, expected.collect::<Vec<_>>());
        (0..5).for_each(|id| channels.on_stream_open(key(ChannelId(id)), now));
        assert_eq!(outputs(&mut channels), [], "the application knows them");
        assert!(channels.is_ready());
        let mut rest = 0;
        while rest < 8 - written {
            rest += files(write_all(&mut channels, now));
            channels.on_backlog(key(FILE), 0, now);
        }
        let delivered = ChannelOutput::Delivered {
            channel: FILE,
            through: MessageId(7),
        };
        assert_eq!(outputs(&mut channels).last(), Some(&delivered));
    }
}
