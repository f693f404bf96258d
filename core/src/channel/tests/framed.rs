//! One side of a bowline connection, the other played by the test.

use std::time::{Duration, Instant};

use super::{CONTROL, FILE, RELIABLE, limits, message, meta};
use crate::channel::frame::{MetaFrame, Ready};
use crate::channel::io::Continuity;
use crate::channel::kind::ChannelConfig;
use crate::channel::{ChannelOutput, Channels, Framing, MESH_CHANNEL, Role, StreamKey};
use crate::config::ChannelLimits;
use crate::event::PeerFault;
use crate::id::{ChannelId, MessageId, PeerId};
use crate::linear::cpu_time;

use super::pair::OPEN_TIMEOUT;

fn key(channel: ChannelId) -> StreamKey {
    StreamKey::Channel(channel)
}

/// All kinds and META open, and the greeting written.
fn open(limits: &ChannelLimits) -> (Channels, Instant) {
    let (own, now) = (PeerId::new("me").expect("valid"), Instant::now());
    let mut channels = Channels::new(own, limits, OPEN_TIMEOUT);
    channels.start(Framing::Bowline, Role::Even, 0, now);
    channels.on_stream_open(StreamKey::Meta, now);
    (0..4).for_each(|id| channels.on_stream_open(key(ChannelId(id)), now));
    write_all(&mut channels, now);
    outputs(&mut channels);
    (channels, now)
}

fn outputs(channels: &mut Channels) -> Vec<ChannelOutput> {
    channels.check_invariants();
    std::iter::from_fn(|| channels.poll_output()).collect()
}

/// Writes all there is, each write being acknowledged by the transport at once. Gives the lengths.
fn write_all(channels: &mut Channels, now: Instant) -> Vec<usize> {
    let mut lens = Vec::new();
    while let Some(write) = channels.poll_write(now) {
        let stream = write.stream;
        lens.push(write.data.len());
        channels.on_written(now);
        channels.on_backlog(stream, 0, now);
    }
    lens
}

fn hear(channels: &mut Channels, frames: &[MetaFrame], now: Instant) {
    channels.on_data(StreamKey::Meta, true, meta(frames), now);
}

#[test]
fn a_peer_that_greets_again_and_again_costs_no_more_with_many_channels() {
    let greeting = MetaFrame::Hello {
        max_message_size: 70_000,
    };
    let greetings = meta(&vec![greeting; 8_000]);
    let cost = |custom: usize| {
        let (mut channels, now) = open(&limits());
        for _ in 0..custom {
            let config = ChannelConfig::new("custom");
            channels.open(config, now).expect("below the limit");
        }
        let run = |_| {
            let data = greetings.clone();
            cpu_time(|| channels.on_data(StreamKey::Meta, true, data, now))
        };
        (0..5).map(run).min().expect("five")
    };
    let (few, many) = (cost(0), cost(200));
    assert!(many < few * 4, "{few:?} with 4 channels, {many:?} with 204");
}

#[test]
fn the_first_greeting_counts() {
    let (mut channels, now) = open(&limits());
    let greet = |max_message_size| MetaFrame::Hello { max_message_size };
    hear(&mut channels, &[greet(100_000), greet(10), greet(0)], now);
    assert!(channels.send(RELIABLE, message(100_000), now).is_ok());
    assert!(channels.send(RELIABLE, message(100_001), now).is_err());
}

#[test]
fn after_the_end_no_write_is_tried_again() {
    let (mut channels, now) = open(&limits());
    channels.send(RELIABLE, message(1), now).expect("room");
    assert!(channels.poll_write(now).is_some());
    channels.on_write_refused(now);
    assert!(channels.poll_timeout().is_some());
    channels.abandon(now);
    assert_eq!(channels.poll_timeout(), None);
}

#[test]
fn what_is_kept_for_a_peer_that_does_not_acknowledge_is_bounded() {
    let (mut channels, now) = open(&limits());
    let credit = MetaFrame::Credit {
        stream: 1,
        bytes: u64::MAX,
    };
    hear(&mut channels, &[credit], now);
    let mut accepted = 0;
    while channels.send(RELIABLE, message(1_000), now).is_ok() {
        accepted += 1;
        if accepted % 100 == 0 {
            write_all(&mut channels, now);
        }
        channels.check_invariants();
    }
    let bound = limits().backlog_max + limits().queue_bytes;
    let written = channels.metrics(now)[1].messages_sent;
    // Each message counts with an allowance of 64 bytes.
    assert_eq!(written, bound.div_ceil(1_064) as u64);
    assert_eq!(channels.metrics(now)[1].messages_unacknowledged, written);
    hear(
        &mut channels,
        &[MetaFrame::Ack {
            stream: 1,
            received: 1,
        }],
        now,
    );
    assert_eq!(
        write_all(&mut channels, now).len(),
        1,
        "goes on with the room that is made"
    );
}

#[test]
fn a_message_that_is_under_way_is_finished_when_a_smaller_limit_is_heard_of() {
    let (mut channels, now) = open(&limits());
    channels.on_backlog(key(FILE), 1_000_000, now);
    assert!(channels.send(CONTROL, message(30_000), now).is_ok());
    channels.on_backlog(key(FILE), 64 * 1024, now);
    assert_eq!(
        channels.poll_write(now).map(|write| write.data.len()),
        Some(16_389)
    );
    channels.on_written(now);
    hear(
        &mut channels,
        &[MetaFrame::Hello {
            max_message_size: 1_000,
        }],
        now,
    );
    assert_eq!(write_all(&mut channels, now), [30_000 - 16_384 + 1]);
}

#[test]
fn a_refused_write_waits_for_room_or_a_moment() {
    let (mut channels, now) = open(&limits());
    assert!(channels.send(FILE, message(100), now).is_ok());
    assert!(channels.send(RELIABLE, message(50), now).is_ok());
    assert_eq!(
        channels.poll_write(now).map(|write| write.data.len()),
        Some(51)
    );
    channels.on_written(now);
    assert_eq!(
        channels.poll_write(now).map(|write| write.data.len()),
        Some(101)
    );
    channels.on_write_refused(now);
    assert!(channels.poll_write(now).is_none());
    let retry = channels.poll_timeout().expect("tries again");
    assert_eq!(retry, now + Duration::from_millis(10));
    channels.on_backlog(key(RELIABLE), 10, now);
    assert_eq!(
        channels.poll_write(now).map(|write| write.data.len()),
        Some(101),
        "room"
    );
    channels.on_write_refused(now);
    channels.handle_timeout(retry);
    assert_eq!(
        channels.poll_write(retry).map(|write| write.data.len()),
        Some(101),
        "a moment"
    );
}

#[test]
fn writable_comes_at_the_low_water_mark_and_not_before() {
    let limits = ChannelLimits {
        low_water: 300,
        queue_bytes: 1_000,
        ..limits()
    };
    let (mut channels, now) = open(&limits);
    (0..10).for_each(|_| assert!(channels.send(RELIABLE, message(100), now).is_ok()));
    assert!(channels.send(RELIABLE, message(1), now).is_err());
    let writable = ChannelOutput::Writable { channel: RELIABLE };
    for left in (0..10).rev() {
        assert!(channels.poll_write(now).is_some());
        channels.on_written(now);
        let is_told = outputs(&mut channels).contains(&writable);
        assert_eq!(is_told, left == 3, "{left} messages are left");
    }
}

#[test]
fn a_channel_that_ends_makes_room_for_those_that_were_refused() {
    let limits = ChannelLimits {
        peer_queue_bytes: 1_000,
        queue_bytes: 1_000,
        low_water: 0,
        ..limits()
    };
    let (mut channels, now) = open(&limits);
    let custom = channels
        .open(crate::ChannelConfig::new("c"), now)
        .expect("room");
    assert!(channels.send(custom, message(1_000), now).is_ok());
    assert!(channels.send(RELIABLE, message(1), now).is_err());
    outputs(&mut channels);
    assert_eq!(channels.close(custom, now), Ok(()));
    let writable = ChannelOutput::Writable { channel: RELIABLE };
    assert!(outputs(&mut channels).contains(&writable));
}

#[test]
fn what_was_learnt_of_a_path_is_forgotten_when_it_was_lost() {
    let (mut channels, mut now) = open(&limits());
    let credit = MetaFrame::Credit {
        stream: 1,
        bytes: u64::MAX,
    };
    hear(&mut channels, &[credit], now);
    assert!(channels.send(RELIABLE, message(60_000), now).is_ok());
    for _ in 0..6 {
        assert!(channels.send(RELIABLE, message(60_000), now).is_ok());
        let mut written = 0;
        while let Some(write) = channels.poll_write(now) {
            written += write.data.len();
            channels.on_written(now);
        }
        assert!(written > 0);
        now += Duration::from_millis(20);
        channels.on_backlog(key(RELIABLE), 0, now);
        let received = channels.metrics(now)[1].messages_sent;
        hear(
            &mut channels,
            &[MetaFrame::Ack {
                stream: 1,
                received,
            }],
            now,
        );
    }
    assert!(channels.backlog.cap() > 64 * 1024);
    channels.on_path(true, now);
    assert!(channels.backlog.cap() > 64 * 1024, "it was not lost");
    channels.on_path(false, now);
    channels.on_path(true, now);
    assert_eq!(channels.backlog.cap(), 64 * 1024);
}

#[test]
fn sent_is_told_merged_and_before_delivered() {
    let (mut channels, now) = open(&limits());
    (0..5).for_each(|_| assert!(channels.send(RELIABLE, message(10), now).is_ok()));
    write_all(&mut channels, now);
    hear(
        &mut channels,
        &[MetaFrame::Ack {
            stream: 1,
            received: 3,
        }],
        now,
    );
    let through = MessageId;
    let told = [
        ChannelOutput::Sent {
            channel: RELIABLE,
            through: through(4),
        },
        ChannelOutput::Delivered {
            channel: RELIABLE,
            through: through(2),
        },
    ];
    assert_eq!(outputs(&mut channels), told);
}

fn ready(received: u64, position: u64, partial: u64) -> MetaFrame {
    MetaFrame::Ready(Ready {
        stream: 3,
        epoch: 1,
        ordered: true,
        reliable: true,
        negotiated: false,
        received,
        position,
        partial,
    })
}

#[test]
fn a_peer_that_holds_more_than_was_sent_is_at_fault() {
    let after = |frame: MetaFrame| {
        let (mut channels, now) = open(&limits());
        assert!(channels.send(FILE, message(30_000), now).is_ok());
        assert_eq!(write_all(&mut channels, now), [16_389, 13_617]);
        outputs(&mut channels);
        channels.on_transport_replaced(Continuity::Kept, now);
        channels.on_stream_open(StreamKey::Meta, now);
        channels.on_stream_open(key(FILE), now);
        hear(&mut channels, &[frame], now);
        let fault = outputs(&mut channels)
            .into_iter()
            .find_map(|output| match output {
                ChannelOutput::Fault(fault) => Some(fault),
                _ => None,
            });
        let lens = write_all(&mut channels, now);
        (fault, lens.last().copied())
    };
    assert_eq!(after(ready(0, 0, 29_999)), (None, Some(2)), "one byte");
    assert_eq!(after(ready(0, 0, 0)), (None, Some(13_617)), "all again");
    for frame in [ready(0, 0, 30_000), ready(0, 1, 0), ready(2, 0, 0)] {
        assert_eq!(after(frame).0, Some(PeerFault::Frame));
    }
}

#[test]
fn what_was_asked_of_the_old_transport_is_not_asked_of_the_new_one() {
    let (mut channels, now) = open(&limits());
    let custom = channels.open(ChannelConfig::new("c"), now).expect("room");
    channels.on_stream_open(key(custom), now);
    write_all(&mut channels, now);
    channels.close(custom, now).expect("known");
    write_all(&mut channels, now);
    channels.on_transport_replaced(Continuity::Kept, now);
    channels.on_transport_replaced(Continuity::Kept, now);
    let asked: Vec<_> = outputs(&mut channels)
        .into_iter()
        .filter_map(|output| match output {
            ChannelOutput::OpenStream { stream, .. } => Some(stream),
            ChannelOutput::CloseStream { .. } => panic!("of the old transport"),
            _ => None,
        })
        .collect();
    let kinds = (0..4).map(ChannelId).chain([MESH_CHANNEL]).map(key);
    assert_eq!(
        asked,
        [StreamKey::Meta]
            .into_iter()
            .chain(kinds)
            .collect::<Vec<_>>()
    );
}
