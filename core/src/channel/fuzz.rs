//! The bodies of the fuzz targets `frames`, the codec and reassembly, and `channels`, the machine before a peer that says
//! anything.
#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::{ChannelLimits, Config};
use crate::fuzz::Script;
use crate::id::{ChannelId, PeerId};

use super::frame::{FRAGMENT_MIN, Header, MetaFrame, Open, Part, Ready};
use super::io::Continuity;
use super::kind::{ChannelConfig, Message, Ordering, Priority, Reliability};
use super::receive::{Overflow, Receiver};
use super::{ChannelOutput, Channels, Framing, Role, StreamKey};

/// Reads frames, or puts messages together. The first byte chooses.
///
/// # Panics
///
/// When a rule does not hold.
pub fn frames(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 2 {
        0 => check_codec(rest),
        _ => check_reassembly(&mut Script::new(rest)),
    }
}

/// Runs the channels of a peer. The first byte chooses what it is.
///
/// # Panics
///
/// When a rule does not hold.
pub fn channels(data: &[u8]) {
    if let Some((choice, rest)) = data.split_first() {
        Victim::new(choice % 2 != 0).run(&mut Script::new(rest));
    }
}

/// Every value has one encoding: what was read is written as it was.
fn check_codec(data: &[u8]) {
    let mut rest = data;
    if let Ok(header) = Header::decode(&mut rest) {
        let mut again = Vec::new();
        header.encode(&mut again);
        assert_eq!(again, data[..data.len() - rest.len()]);
        assert_eq!(super::header_len(data), again.len());
    }
    let mut rest = data;
    while let before = rest
        && let Ok(frame) = MetaFrame::decode(&mut rest)
    {
        let mut again = Vec::new();
        frame.encode(&mut again);
        assert_eq!(again, before[..before.len() - rest.len()]);
    }
}

/// A message that is cut anywhere is put together again, whatever was sent before it.
fn check_reassembly(script: &mut Script<'_>) {
    let mut receiver = Receiver::new(WINDOW, MESSAGE_MAX);
    receiver.set_mode(Overflow::Drop, true);
    for _ in 0..script.byte() % 4 {
        let header = any_header(script);
        let payload = Bytes::copy_from_slice(script.slice(MESSAGE_MAX));
        if receiver.on_frame(header, payload, true).is_err() {
            receiver.drop_partial();
        }
        receiver.check_invariants();
    }
    receiver.drop_partial();
    receiver.release(WINDOW);
    let message = pattern(usize::from(script.short()) % MESSAGE_MAX);
    let mut got = None;
    for (part, payload) in cut(&message, script) {
        assert_eq!(got, None, "complete before its end");
        let header = Header { epoch: 0, part };
        let payload = Bytes::copy_from_slice(payload);
        got = receiver
            .on_frame(header, payload, true)
            .expect("well-formed");
        receiver.check_invariants();
    }
    assert_eq!(got, Some(Message::binary(message)));
}

/// Cuts where the script says. Each part but the last has at least [`FRAGMENT_MIN`] bytes.
fn cut<'a>(message: &'a [u8], script: &mut Script<'_>) -> Vec<(Part, &'a [u8])> {
    let mut pieces = Vec::new();
    let mut rest = message;
    loop {
        let len = FRAGMENT_MIN + usize::from(script.byte()) * 16;
        // The last is never empty.
        if script.is_over() || len >= rest.len() {
            break;
        }
        let (piece, after) = rest.split_at(len);
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let last = pieces.len() - 1;
    let total = u32::try_from(message.len()).expect("bounded");
    let part = |n| match (n == 0, n == last) {
        (true, true) => Part::Whole,
        (true, false) => Part::First { total },
        (false, false) => Part::Middle,
        (false, true) => Part::Last,
    };
    let numbered = pieces.into_iter().enumerate();
    numbered.map(|(n, piece)| (part(n), piece)).collect()
}

/// Bytes that differ from their neighbours. Made in one piece: the fuzzer counts each turn of a loop.
fn pattern(len: usize) -> Vec<u8> {
    let period: [u8; 251] = std::array::from_fn(|n| n.to_le_bytes()[0]);
    let mut pattern = period.repeat(len / period.len() + 1);
    pattern.truncate(len);
    pattern
}

fn any_header(script: &mut Script<'_>) -> Header {
    let bits = script.byte();
    let part = match bits & 3 {
        0 => Part::Middle,
        1 => Part::First {
            total: u32::from(script.short()),
        },
        2 => Part::Last,
        _ => Part::Whole,
    };
    let epoch = bits >> 4;
    Header { epoch, part }
}

/// The channels of an honest side, whose peer and whose transport do what the script says.
struct Victim {
    channels: Channels,
    framing: Framing,
    now: Instant,
    /// The streams that the transport has, open or about to be.
    streams: BTreeSet<StreamKey>,
    is_over: bool,
}

impl Victim {
    fn new(is_foreign: bool) -> Self {
        let now = Instant::now();
        let own = PeerId::new("victim").expect("valid");
        let mut channels = Channels::new(own, &limits(), OPEN_TIMEOUT);
        let framing = if is_foreign {
            Framing::Plain
        } else {
            Framing::Bowline
        };
        channels.start(framing, Role::Even, 0, now);
        Self {
            channels,
            framing,
            now,
            streams: BTreeSet::new(),
            is_over: false,
        }
    }

    fn run(mut self, script: &mut Script<'_>) {
        self.drain();
        for _ in 0..STEPS_MAX {
            if script.is_over() || self.is_over {
                break;
            }
            self.step(script);
            self.drain();
            self.channels.check_invariants();
        }
        self.channels.abandon(self.now);
        self.drain();
        assert_eq!(self.channels.poll_timeout(), None, "nothing is left to do");
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 14 {
            0 => self.say(&any_meta(script)),
            1 => self.hear(StreamKey::Meta, script.slice(SLICE_MAX)),
            2 => {
                let data = script.slice(SLICE_MAX);
                self.with_stream(script, |victim, stream| victim.hear(stream, data));
            }
            3 => self.hear_frame(script),
            4 => self.send(script),
            5 => {
                let config = any_config(script);
                let _ = self.channels.open(config, self.now);
            }
            6 => {
                let _ = self.channels.close(any_channel(script), self.now);
            }
            7 => {
                let (channel, bytes) = (any_channel(script), usize::from(script.short()));
                self.channels.release(channel, bytes, self.now);
            }
            8 => self.advance(Duration::from_millis(u64::from(script.short()))),
            9 => self.with_stream(script, |victim, stream| {
                victim.streams.remove(&stream);
                victim.channels.on_stream_closed(stream, victim.now);
            }),
            10 => self.with_stream(script, |victim, stream| {
                victim.channels.on_stream_open(stream, victim.now);
            }),
            11 => self.remote_stream(script),
            12 => match script.byte() & 7 {
                6 => self.replace_transport(Continuity::Kept),
                7 => self.replace_transport(Continuity::Lost),
                bits => self.channels.on_path(bits & 1 == 0, self.now),
            },
            _ => self.write(script.byte()),
        }
    }

    /// The peer says it on META, in one frame.
    fn say(&mut self, frame: &MetaFrame) {
        let mut data = Vec::new();
        let part = Part::Whole;
        Header { epoch: 0, part }.encode(&mut data);
        frame.encode(&mut data);
        self.hear(StreamKey::Meta, &data);
    }

    fn hear_frame(&mut self, script: &mut Script<'_>) {
        let mut data = Vec::new();
        any_header(script).encode(&mut data);
        data.extend_from_slice(script.slice(SLICE_MAX));
        self.with_stream(script, |victim, stream| victim.hear(stream, &data));
    }

    fn hear(&mut self, stream: StreamKey, data: &[u8]) {
        let binary = data.len().is_multiple_of(2);
        if self.streams.contains(&stream) {
            self.channels
                .on_data(stream, binary, data.to_vec(), self.now);
        }
    }

    fn send(&mut self, script: &mut Script<'_>) {
        let (channel, len) = (any_channel(script), usize::from(script.short()));
        let message = Message::binary(pattern(len));
        if let Err(error) = self.channels.send(channel, message.clone(), self.now) {
            assert_eq!(error.message, message, "handed back");
        }
    }

    fn remote_stream(&mut self, script: &mut Script<'_>) {
        let (ordering, reliability) = (any_ordering(script), any_reliability(script));
        let label = String::from_utf8_lossy(script.slice(SLICE_MAX)).into_owned();
        let stream =
            self.channels
                .on_remote_stream(label, String::new(), ordering, reliability, self.now);
        self.streams.extend(stream);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.channels.handle_timeout(self.now);
        self.drain();
        let next = self.channels.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "no spinning");
    }

    fn replace_transport(&mut self, continuity: Continuity) {
        self.streams.clear();
        self.channels.on_transport_replaced(continuity, self.now);
        self.channels.start(self.framing, Role::Even, 0, self.now);
    }

    /// The transport takes some writes; then it has no room.
    fn write(&mut self, most: u8) {
        for _ in 0..most {
            let Some(write) = self.channels.poll_write(self.now) else {
                return;
            };
            let is_framed = self.framing == Framing::Bowline;
            assert!(!is_framed || !write.data.is_empty(), "frames have headers");
            assert!(
                self.streams.contains(&write.stream),
                "writes only to streams"
            );
            self.channels.on_written(self.now);
        }
        if self.channels.poll_write(self.now).is_some() {
            self.channels.on_write_refused(self.now);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.channels.poll_output() {
            match output {
                ChannelOutput::OpenStream { stream, .. } => {
                    assert!(self.streams.insert(stream), "one stream for a key");
                    self.channels.on_stream_open(stream, self.now);
                }
                ChannelOutput::CloseStream { stream } => {
                    if self.streams.remove(&stream) {
                        self.channels.on_stream_closed(stream, self.now);
                    }
                }
                ChannelOutput::Fault(_) | ChannelOutput::Broken => self.is_over = true,
                ChannelOutput::Open { .. }
                | ChannelOutput::Closed { .. }
                | ChannelOutput::Error { .. }
                | ChannelOutput::Writable { .. }
                | ChannelOutput::Message { .. }
                | ChannelOutput::Sent { .. }
                | ChannelOutput::Delivered { .. }
                | ChannelOutput::NotDelivered { .. } => {}
            }
        }
    }

    fn with_stream(&mut self, script: &mut Script<'_>, with: impl FnOnce(&mut Self, StreamKey)) {
        let nth = usize::from(script.byte()) % self.streams.len().max(1);
        if let Some(stream) = self.streams.iter().nth(nth).copied() {
            with(self, stream);
        }
    }
}

fn any_channel(script: &mut Script<'_>) -> ChannelId {
    ChannelId(u32::from(script.byte() % 12))
}

fn any_ordering(script: &mut Script<'_>) -> Ordering {
    script.pick(&[Ordering::Ordered, Ordering::Unordered])
}

fn any_reliability(script: &mut Script<'_>) -> Reliability {
    let number = script.byte();
    match number % 3 {
        0 => Reliability::Reliable,
        1 => Reliability::MaxRetransmits(u16::from(number)),
        _ => Reliability::MaxLifetime(Duration::from_millis(u64::from(number))),
    }
}

fn any_config(script: &mut Script<'_>) -> ChannelConfig {
    let id = script.byte();
    ChannelConfig {
        label: "custom".to_owned(),
        protocol: String::new(),
        ordering: any_ordering(script),
        reliability: any_reliability(script),
        priority: script.pick(&[Priority::High, Priority::Normal, Priority::Bulk]),
        negotiated: (id & 1 == 0).then_some(u16::from(id >> 1) % 16),
    }
}

fn any_meta(script: &mut Script<'_>) -> MetaFrame {
    let (choice, stream) = (script.byte(), u16::from(script.byte() % 16));
    let number = u64::from(script.short());
    match choice % 7 {
        0 => MetaFrame::Hello {
            max_message_size: number,
        },
        1 => MetaFrame::Open(Open {
            stream,
            label: String::new(),
            protocol: String::new(),
            ordering: any_ordering(script),
            reliability: any_reliability(script),
            priority: Priority::Normal,
        }),
        2 => MetaFrame::Ready(Ready {
            stream,
            epoch: choice >> 4,
            ordered: choice & 1 == 0,
            reliable: choice & 2 == 0,
            negotiated: choice & 8 == 0,
            received: u64::from(script.byte()),
            position: number,
            partial: u64::from(script.byte()) * 64,
        }),
        3 => MetaFrame::Close { stream },
        4 => MetaFrame::Closed { stream },
        5 => MetaFrame::Ack {
            stream,
            received: number,
        },
        _ => MetaFrame::Credit {
            stream,
            bytes: number * 64,
        },
    }
}

/// Small, so that a short script comes to each.
fn limits() -> ChannelLimits {
    ChannelLimits {
        max_channels: 8,
        queue_bytes: 128 * 1024,
        queue_messages: 16,
        peer_queue_bytes: 256 * 1024,
        low_water: 32 * 1024,
        ..Config::default().channels().clone()
    }
}

const WINDOW: usize = 256 * 1024;
const MESSAGE_MAX: usize = 64 * 1024;
const SLICE_MAX: usize = 4 * 1024;
const STEPS_MAX: usize = 500;
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
