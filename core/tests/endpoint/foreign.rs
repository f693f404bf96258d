//! A peer that is no bowline: a bare `str0m::Rtc` behind plain signalling, as a browser would be.

use std::time::{Duration, Instant};

use bowline::{
    Cause, ChannelConfig, ChannelId, ChannelKind, Config, ConnectOptions, Event, Message,
    OpenError, Ordering, PeerState, Reliability, SendRefusal,
};
use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{
    ChannelConfig as StrChannelConfig, ChannelId as StrChannelId, Reliability as StrReliability,
};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event as StrEvent, Input as StrInput, Output as StrOutput, Rtc, RtcConfig};

use crate::common::{Parcel, World, address, id, json, millis, secs};

const SESSION: &str = "00112233445566778899aabbccddeeff";
/// What str0m announces in its descriptions.
const FOREIGN_MAX: usize = 262_144;

/// The foreign peer, whose name is `browser`.
struct Foreign {
    rtc: Rtc,
    session: String,
    seq: u64,
    pending: Option<SdpPendingOffer>,
    deadline: Instant,
    outbox: Vec<Parcel>,
    open: Vec<(StrChannelId, String)>,
    received: Vec<(StrChannelId, bool, Vec<u8>)>,
    closed: Vec<StrChannelId>,
    byes: Vec<String>,
    /// What stands in place of the choice of DTLS roles in the offers that it sees.
    offered_setup: &'static str,
    /// Whether its answer repeats what it does not know, as libdatachannel's does.
    echoes_sctp_init: bool,
}

impl Foreign {
    fn new(now: Instant) -> Self {
        Self::with(Rtc::builder(), now)
    }

    fn with(builder: RtcConfig, now: Instant) -> Self {
        let address = address(100);
        let mut rtc = builder.build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("valid"))
            .expect("added");
        Self {
            rtc,
            session: SESSION.to_owned(),
            seq: 0,
            pending: None,
            deadline: now,
            outbox: Vec::new(),
            open: Vec::new(),
            received: Vec::new(),
            closed: Vec::new(),
            byes: Vec::new(),
            offered_setup: "actpass",
            echoes_sctp_init: false,
        }
    }

    fn offer(&mut self, now: Instant) {
        let mut api = self.rtc.sdp_api();
        api.add_channel("theirs".to_owned());
        let (offer, pending) = api.apply().expect("there is something to offer");
        self.pending = Some(pending);
        self.signal(json!({ "type": "offer", "sdp": offer.to_sdp_string() }));
        self.settle(now);
    }

    /// Sends a message without the field by which bowline peers know each other.
    fn signal(&mut self, fields: Value) {
        let numbered = fields["type"] != "ack";
        self.seq += u64::from(numbered);
        let mut envelope = json!({
            "v": 1, "from": "browser", "to": "alice", "session": self.session, "generation": 0,
            "seq": if numbered { self.seq } else { 0 },
        });
        for (name, value) in fields.as_object().expect("fields") {
            envelope[name] = value.clone();
        }
        self.outbox.push(Parcel::Signal {
            to: id("alice"),
            text: envelope.to_string(),
        });
    }

    fn handle(&mut self, parcel: Parcel, now: Instant) {
        match parcel {
            Parcel::Datagram { from, to, bytes } => {
                let receive =
                    Receive::new(Protocol::Udp, from, to, &bytes).expect("a known protocol");
                let _ = self.rtc.handle_input(StrInput::Receive(now, receive));
            }
            Parcel::Signal { text, .. } => self.on_signal(&json(&text)),
        }
        self.settle(now);
    }

    fn on_signal(&mut self, envelope: &Value) {
        if envelope["seq"] != 0 {
            self.session = envelope["session"].as_str().expect("text").to_owned();
            self.signal(json!({ "type": "ack", "ack": envelope["seq"] }));
        }
        let sdp = || envelope["sdp"].as_str().expect("text");
        match envelope["type"].as_str().expect("text") {
            // Repetitions find nothing pending.
            "answer" => {
                if let Some(pending) = self.pending.take() {
                    let answer = SdpAnswer::from_sdp_string(sdp()).expect("an answer");
                    self.rtc
                        .sdp_api()
                        .accept_answer(pending, answer)
                        .expect("fits");
                }
            }
            "offer" if self.seq == 0 => {
                let setup = format!("a=setup:{}", self.offered_setup);
                let sdp = sdp().replace("a=setup:actpass", &setup);
                let offer = SdpOffer::from_sdp_string(&sdp).expect("an offer");
                let answer = self.rtc.sdp_api().accept_offer(offer).expect("fits");
                let mut answer = answer.to_sdp_string();
                if self.echoes_sctp_init {
                    let ours = sdp.lines().find(|l| l.starts_with("a=sctp-init:"));
                    answer += &format!("{}\r\n", ours.expect("bowline offers SNAP"));
                }
                self.signal(json!({ "type": "answer", "sdp": answer }));
            }
            "bye" => self
                .byes
                .push(envelope["reason"].as_str().expect("text").to_owned()),
            _ => {}
        }
    }

    fn settle(&mut self, now: Instant) {
        for _ in 0..2 {
            self.drain();
            let _ = self.rtc.handle_input(StrInput::Timeout(now));
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(StrOutput::Timeout(at)) => {
                    self.deadline = at;
                    return;
                }
                Ok(StrOutput::Transmit(t)) => {
                    let (from, to, bytes) = (t.source, t.destination, t.contents.into());
                    self.outbox.push(Parcel::Datagram { from, to, bytes });
                }
                Ok(StrOutput::Event(StrEvent::ChannelOpen(id, label))) => {
                    self.open.push((id, label))
                }
                Ok(StrOutput::Event(StrEvent::ChannelData(data))) => {
                    self.received.push((data.id, data.binary, data.data));
                }
                Ok(StrOutput::Event(StrEvent::ChannelClose(id))) => self.closed.push(id),
                Ok(StrOutput::Event(_)) => {}
                Err(error) => panic!("the foreign peer failed: {error}"),
            }
        }
    }

    /// The channel with this label.
    fn channel(&self, label: &str) -> StrChannelId {
        let found = self.open.iter().find(|(_, open)| open == label);
        found
            .unwrap_or_else(|| panic!("no channel {label} in {:?}", self.open))
            .0
    }

    /// Writes a message, and says whether there was room.
    fn write(&mut self, channel: StrChannelId, binary: bool, data: &[u8], now: Instant) -> bool {
        let wrote = self
            .rtc
            .channel(channel)
            .is_some_and(|mut c| c.write(binary, data).expect("fits"));
        self.settle(now);
        wrote
    }

    fn received_on(&self, label: &str) -> Vec<(bool, Vec<u8>)> {
        let channel = self.channel(label);
        let on = self.received.iter().filter(|(id, ..)| *id == channel);
        on.map(|(_, binary, data)| (*binary, data.clone()))
            .collect()
    }
}

/// Alice and the foreign peer.
struct Duo {
    world: World,
    foreign: Foreign,
}

impl Duo {
    fn new(config: &Config) -> Self {
        let world = World::new(&["alice"], config);
        let foreign = Foreign::new(world.now);
        Self { world, foreign }
    }

    /// Connected, with the offer made by the one or the other.
    fn connected(foreign_offers: bool, config: &Config) -> Self {
        Self::new(config).connect(foreign_offers)
    }

    fn connect(self, foreign_offers: bool) -> Self {
        let mut duo = self;
        let now = duo.world.now;
        if foreign_offers {
            duo.foreign.offer(now);
        } else {
            duo.world
                .endpoint(0)
                .connect(id("browser"), ConnectOptions::default(), now)
                .expect("starts");
        }
        duo.run(secs(3));
        assert!(
            duo.world.is_connected(0, "browser"),
            "foreign offers: {foreign_offers}"
        );
        duo
    }

    fn run(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        self.world.advance_to(self.world.now);
        loop {
            let now = self.world.now;
            for parcel in std::mem::take(&mut self.world.outside) {
                self.foreign.handle(parcel, now);
            }
            if self.foreign.deadline <= now {
                self.foreign.settle(now);
            }
            for parcel in std::mem::take(&mut self.foreign.outbox) {
                self.world.post(parcel);
            }
            // str0m may give a deadline that is not later.
            let due = self.foreign.deadline.max(now + millis(1));
            let next = self.world.next_at().map_or(due, |at| at.min(due));
            if next > end {
                break;
            }
            self.world.advance_to(next);
        }
        self.world.now = end;
    }

    fn send(
        &mut self,
        channel: impl Into<ChannelId>,
        message: Message,
    ) -> Result<u64, SendRefusal> {
        let now = self.world.now;
        let sent = self.world.peer(0, "browser").send(channel, message, now);
        sent.map(|id| id.0).map_err(|error| error.reason)
    }

    /// The channel that Alice was told to be open under this label, and the whole of what she was told.
    fn opened(&self, wanted: &str) -> (ChannelId, Event) {
        let found = self.world.events(0).iter().find_map(|event| match event {
            Event::ChannelOpen { channel, label, .. } if label == wanted => {
                Some((*channel, event.clone()))
            }
            _ => None,
        });
        found.expect("it was told")
    }
}

#[test]
fn the_four_kinds_are_in_band_channels_whoever_offers() {
    for foreign_offers in [false, true] {
        let mut duo = Duo::connected(foreign_offers, &Config::default());
        for kind in ChannelKind::ALL {
            duo.send(kind, Message::text("hello")).expect("queued");
        }
        duo.run(secs(1));
        for kind in ChannelKind::ALL {
            let label = format!("alice/{kind}");
            assert_eq!(
                duo.foreign.received_on(&label),
                [(false, b"hello".to_vec())],
                "{label}"
            );
            let channel = duo.foreign.channel(&label);
            let config = duo
                .foreign
                .rtc
                .channel(channel)
                .expect("open")
                .config()
                .expect("known")
                .clone();
            let unreliable = kind == ChannelKind::Unreliable;
            let expected = match unreliable {
                true => StrReliability::MaxRetransmits { retransmits: 0 },
                false => StrReliability::Reliable,
            };
            assert_eq!(
                (config.ordered, config.reliability),
                (!unreliable, expected),
                "{label}"
            );
        }
        let seen: Vec<_> = duo
            .foreign
            .open
            .iter()
            .filter(|(_, label)| label.is_empty())
            .collect();
        assert!(
            seen.is_empty(),
            "the internal stream is never announced: {seen:?}"
        );
    }
}

#[test]
fn text_and_binary_and_empty_messages_arrive_in_order() {
    for foreign_offers in [false, true] {
        let mut duo = Duo::connected(foreign_offers, &Config::default());
        let messages = [
            Message::text("first"),
            Message::text(""),
            Message::binary(vec![0, 255, 0]),
            Message::binary(vec![]),
            Message::text("last"),
        ];
        for message in messages.clone() {
            duo.send(ChannelKind::Reliable, message).expect("queued");
        }
        duo.run(secs(1));
        let received = duo.foreign.received_on("alice/reliable");
        let kinds: Vec<_> = received.iter().map(|(binary, _)| *binary).collect();
        assert_eq!(kinds, [false, false, true, true, false]);
        for (n, message) in messages.iter().enumerate().filter(|(_, m)| !m.is_empty()) {
            assert_eq!(received[n].1, message.data);
        }
        let channel = duo.foreign.channel("alice/reliable");
        let now = duo.world.now;
        assert!(duo.foreign.write(channel, false, b"and back", now));
        assert!(duo.foreign.write(channel, true, &[1, 2, 3], now));
        duo.run(secs(1));
        let expected = [
            (1, Message::text("and back")),
            (1, Message::binary(vec![1, 2, 3])),
        ];
        assert_eq!(duo.world.messages(0), expected);
        let delivered = duo
            .world
            .events(0)
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Delivered {
                    channel, through, ..
                } if *channel == ChannelKind::Reliable.id() => Some(through.0),
                _ => None,
            });
        assert_eq!(delivered, Some(4), "told when SCTP has acknowledged it");
    }
}

#[test]
fn a_message_of_the_size_that_the_peer_takes_arrives_and_a_larger_one_is_refused() {
    let mut duo = Duo::connected(false, &Config::default());
    let largest: Vec<u8> = (0..FOREIGN_MAX).map(|n| (n % 251) as u8).collect();
    duo.send(ChannelKind::File, Message::binary(largest.clone()))
        .expect("queued");
    let too_large = Message::binary(vec![0; FOREIGN_MAX + 1]);
    let refusal = duo
        .send(ChannelKind::File, too_large)
        .expect_err("too large");
    assert_eq!(refusal, SendRefusal::TooLarge { limit: FOREIGN_MAX });
    duo.run(secs(10));
    let received = duo.foreign.received_on("alice/file");
    assert_eq!(received.len(), 1);
    assert!(received[0].1 == largest, "the bytes are the same");
}

#[test]
fn channels_that_the_peer_opens_are_told_with_their_mode_and_can_be_closed_by_either_side() {
    let mut duo = Duo::connected(true, &Config::default());
    let (_, theirs) = duo.opened("theirs");
    assert!(matches!(
        theirs,
        Event::ChannelOpen {
            remote: true,
            ordering: Ordering::Ordered,
            ..
        }
    ));
    for (label, reliability, expected) in [
        (
            "a",
            StrReliability::MaxRetransmits { retransmits: 3 },
            Reliability::MaxRetransmits(3),
        ),
        (
            "b",
            StrReliability::MaxPacketLifetime { lifetime: 250 },
            Reliability::MaxLifetime(millis(250)),
        ),
        ("c", StrReliability::Reliable, Reliability::Reliable),
    ] {
        let config = StrChannelConfig {
            label: label.to_owned(),
            ordered: false,
            reliability,
            negotiated: None,
            protocol: "text/1".to_owned(),
        };
        duo.foreign.rtc.direct_api().create_data_channel(config);
        duo.foreign.settle(duo.world.now);
        duo.run(secs(1));
        let (channel, event) = duo.opened(label);
        let expected = Event::ChannelOpen {
            peer: id("browser"),
            channel,
            label: label.to_owned(),
            protocol: "text/1".to_owned(),
            ordering: Ordering::Unordered,
            reliability: expected,
            remote: true,
        };
        assert_eq!(event, expected);
        duo.send(channel, Message::text("seen")).expect("queued");
        duo.run(secs(1));
        assert_eq!(duo.foreign.received_on(label), [(false, b"seen".to_vec())]);
    }
    let (now, closed) = (duo.world.now, duo.opened("a").0);
    let theirs = duo.foreign.channel("b");
    duo.world
        .peer(0, "browser")
        .close_channel(closed, now)
        .expect("a custom channel");
    duo.foreign.rtc.direct_api().close_data_channel(theirs);
    duo.foreign.settle(now);
    duo.run(secs(2));
    let told = |channel: ChannelId| {
        let is = |e: &&Event| matches!(e, Event::ChannelClosed { channel: c, .. } if *c == channel);
        duo.world.events(0).iter().filter(is).count()
    };
    assert_eq!(
        (
            told(closed),
            told(duo.opened("b").0),
            told(duo.opened("c").0)
        ),
        (1, 1, 0)
    );
    assert!(duo.foreign.closed.contains(&duo.foreign.channel("a")));
    assert!(duo.world.is_connected(0, "browser"));
}

#[test]
fn a_peer_that_is_the_dtls_client_can_use_every_even_stream() {
    let mut duo = Duo::new(&Config::default());
    duo.foreign.offered_setup = "passive";
    let mut duo = duo.connect(false);
    let labels: Vec<_> = (0..8).map(|n| format!("theirs {n}")).collect();
    for label in &labels {
        let channel = StrChannelConfig {
            label: label.clone(),
            ..StrChannelConfig::default()
        };
        duo.foreign.rtc.direct_api().create_data_channel(channel);
        duo.foreign.settle(duo.world.now);
    }
    duo.run(secs(2));
    for label in &labels {
        let (channel, _) = duo.opened(label);
        duo.send(channel, Message::text("seen")).expect("queued");
        duo.run(secs(1));
        assert_eq!(duo.foreign.received_on(label), [(false, b"seen".to_vec())]);
    }
}

#[test]
fn an_answer_may_repeat_our_own_sctp_init() {
    let mut duo = Duo::new(&Config::default());
    duo.foreign = Foreign::with(Rtc::builder().set_snap_enabled(false), duo.world.now);
    duo.foreign.echoes_sctp_init = true;
    let mut duo = duo.connect(false);
    duo.send(ChannelKind::Reliable, Message::text("hello"))
        .expect("queued");
    duo.run(secs(1));
    let expected = [(false, b"hello".to_vec())];
    assert_eq!(duo.foreign.received_on("alice/reliable"), expected);
}

#[test]
fn a_stream_that_is_in_use_in_band_cannot_be_agreed_on() {
    for foreign_offers in [false, true] {
        let mut duo = Duo::connected(foreign_offers, &Config::default());
        let theirs = duo.foreign.channel("alice/file");
        let api = duo.foreign.rtc.direct_api();
        let in_use = api
            .sctp_stream_id_by_channel_id(theirs)
            .expect("it is open");
        for (id, is_free) in [(in_use, false), (in_use + 100, true)] {
            let now = duo.world.now;
            let config = ChannelConfig {
                negotiated: Some(id),
                ..ChannelConfig::new("agreed")
            };
            let channel = duo
                .world
                .peer(0, "browser")
                .open_channel(config, now)
                .expect("begun");
            duo.run(secs(1));
            let is_closed =
                |e: &Event| matches!(e, Event::ChannelClosed { channel: c, .. } if *c == channel);
            assert_eq!(
                duo.world.events(0).iter().any(is_closed),
                !is_free,
                "stream {id}"
            );
        }
        duo.send(ChannelKind::File, Message::text("unharmed"))
            .expect("queued");
        duo.run(secs(1));
        assert_eq!(
            duo.foreign.received_on("alice/file"),
            [(false, b"unharmed".to_vec())]
        );
    }
}

/// RFC 8832 section 5 has no order for agreed streams: either side may send as soon as its own is open.
#[test]
fn an_agreed_stream_opens_although_the_peer_has_sent_on_it_before() {
    let mut duo = Duo::connected(true, &Config::default());
    let config = StrChannelConfig {
        label: "agreed".to_owned(),
        negotiated: Some(100),
        ..StrChannelConfig::default()
    };
    duo.foreign.rtc.direct_api().create_data_channel(config);
    duo.foreign.settle(duo.world.now);
    let theirs = duo.foreign.channel("agreed");
    let now = duo.world.now;
    assert!(duo.foreign.write(theirs, false, b"too early", now));
    duo.run(millis(100));

    let config = ChannelConfig {
        negotiated: Some(100),
        ..ChannelConfig::new("agreed")
    };
    let now = duo.world.now;
    let mut browser = duo.world.peer(0, "browser");
    let ours = browser.open_channel(config, now).expect("begun");
    browser.send(ours, "from us", now).expect("queued");
    duo.run(millis(100));
    let opened =
        duo.world.events(0).iter().filter(
            |event| matches!(event, Event::ChannelOpen { channel, .. } if *channel == ours),
        );
    assert_eq!(opened.count(), 1);
    let now = duo.world.now;
    assert!(duo.foreign.write(theirs, false, b"from them", now));
    duo.run(millis(100));
    assert_eq!(
        duo.foreign.received_on("agreed"),
        [(false, b"from us".to_vec())]
    );
    let last = duo.world.messages(0).pop().map(|(_, message)| message);
    assert_eq!(last, Some(Message::text("from them")));
}

#[test]
fn a_label_that_is_too_long_to_be_announced_closes_only_its_channel() {
    let mut duo = Duo::connected(false, &Config::default());
    for (label, protocol) in [
        (1_488, 0),
        (1_400, 88),
        (0, 1_488),
        (1_489, 0),
        (1_400, 89),
        (65_535, 65_535),
    ] {
        let now = duo.world.now;
        let label_text = "l".repeat(label);
        let mut config = ChannelConfig::new(label_text.clone());
        config.protocol = "p".repeat(protocol);
        let since = duo.world.events(0).len();
        let opened = duo.world.peer(0, "browser").open_channel(config, now);
        match opened {
            Ok(channel) => duo.send(channel, Message::text("hello")).expect("queued"),
            Err(error) => {
                assert_eq!(error, OpenError::LabelTooLong, "{label} and {protocol}");
                assert!(label + protocol > 1_488);
                continue;
            }
        };
        duo.run(secs(15));
        let told = &duo.world.events(0)[since..];
        let is_open = told.iter().any(|e| matches!(e, Event::ChannelOpen { .. }));
        let is_closed = told
            .iter()
            .any(|e| matches!(e, Event::ChannelClosed { .. }));
        let fits = label + protocol <= 1_488;
        assert_eq!(
            (is_open, is_closed),
            (fits, !fits),
            "{label} and {protocol}: {told:?}"
        );
        if fits {
            let channel = duo.foreign.open.last().expect("open").0;
            assert_eq!(
                duo.foreign.received.last().map(|(id, ..)| *id),
                Some(channel)
            );
        }
        duo.send(ChannelKind::Control, Message::text("alive"))
            .expect("queued");
        duo.run(secs(1));
    }
    assert_eq!(
        duo.foreign.received_on("alice/control").len(),
        3,
        "those that fit"
    );
}

/// SCTP has one window for all channels (RFC 9260 section 6.2.1), and the acknowledgements say what there is room for.
#[test]
fn a_peer_that_sends_more_than_is_read_is_held_back_and_loses_nothing() {
    const SIZE: usize = 20_000;
    const COUNT: usize = 200;
    const WINDOW: usize = 400_000;
    let config = Config::builder().receive_window(WINDOW).build();
    let mut duo = Duo::connected(true, &config.expect("valid"));
    duo.world.nodes[0].releases = false;
    let theirs = duo.foreign.channel("theirs");
    let mut written = 0u8;
    let mut fill = |duo: &mut Duo| {
        let now = duo.world.now;
        while usize::from(written) < COUNT && duo.foreign.write(theirs, true, &[written; SIZE], now)
        {
            written += 1;
        }
    };
    for _ in 0..100 {
        fill(&mut duo);
        duo.run(millis(100));
    }
    let unread: usize = duo.world.messages(0).iter().map(|(_, m)| m.len()).sum();
    // It has asked now and then whether there is room, with a chunk each time.
    assert!(
        (WINDOW - SIZE..=WINDOW + 3 * SIZE).contains(&unread),
        "{unread}"
    );

    let (channel, _) = duo.opened("theirs");
    let (began, mut read) = (duo.world.now, 0);
    while read < COUNT {
        assert!(
            duo.world.now - began < secs(2),
            "{read} of {COUNT} in two seconds"
        );
        for (_, message) in duo.world.messages(0).into_iter().skip(read) {
            assert_eq!(&message.data[..], [read as u8; SIZE]);
            let now = duo.world.now;
            duo.world.peer(0, "browser").release(channel, SIZE, now);
            read += 1;
        }
        fill(&mut duo);
        duo.run(millis(5));
    }
    let is_error = |event: &Event| matches!(event, Event::ChannelError { .. });
    assert!(!duo.world.events(0).iter().any(is_error));
}

/// str0m asks with a chunk for each delayed acknowledgement, five times a second.
#[test]
fn a_peer_that_asks_for_room_for_an_hour_is_held_back_and_loses_nothing() {
    const SIZE: usize = 100_000;
    const COUNT: usize = 30;
    const WINDOW: usize = 100_000;
    const SPARE: usize = 2 * 1024 * 1024;
    let config = Config::builder().receive_window(WINDOW).build();
    let mut duo = Duo::connected(true, &config.expect("valid"));
    duo.world.nodes[0].releases = false;
    let theirs = duo.foreign.channel("theirs");
    let mut written = 0;
    let mut fill = |duo: &mut Duo| {
        let now = duo.world.now;
        while written < COUNT && duo.foreign.write(theirs, true, &[7; SIZE], now) {
            written += 1;
        }
    };
    for _ in 0..360 {
        fill(&mut duo);
        duo.run(secs(10));
    }
    let unread = duo.world.messages(0).len() * SIZE;
    let most = WINDOW + SPARE + SIZE;
    assert!((SPARE..=most).contains(&unread), "{unread}");
    assert!(duo.world.is_connected(0, "browser"));

    let (channel, _) = duo.opened("theirs");
    let (began, mut read) = (duo.world.now, 0);
    while read < COUNT {
        // A sender repeats what was dropped when its timer runs out: after a minute at the latest (RTO.max).
        assert!(duo.world.now - began < secs(70), "{read} of {COUNT}");
        let all = duo.world.messages(0).len();
        for _ in read..all {
            let now = duo.world.now;
            duo.world.peer(0, "browser").release(channel, SIZE, now);
        }
        read = all;
        fill(&mut duo);
        duo.run(millis(50));
    }
}

#[test]
fn a_window_that_is_full_on_one_channel_is_open_again_when_that_is_closed() {
    let config = Config::builder().receive_window(100_000).build();
    let mut duo = Duo::connected(true, &config.expect("valid"));
    duo.world.nodes[0].releases = false;
    let theirs = duo.foreign.channel("theirs");
    let control = duo.foreign.channel("alice/control");
    let now = duo.world.now;
    for _ in 0..6 {
        assert!(duo.foreign.write(theirs, true, &[7; 20_000], now));
    }
    duo.run(secs(1));
    let now = duo.world.now;
    assert!(duo.foreign.write(control, false, b"behind them", now));
    let (channel, _) = duo.opened("theirs");
    let mut browser = duo.world.peer(0, "browser");
    browser.close_channel(channel, now).expect("a custom one");
    duo.run(millis(100));
    let last = duo.world.messages(0).pop();
    assert_eq!(last, Some((0, Message::text("behind them"))));
}

#[test]
fn channels_beyond_the_limit_are_closed_again_and_the_others_live() {
    let config = Config::builder().max_channels(6).build().expect("valid");
    let mut duo = Duo::connected(true, &config);
    let open = |duo: &mut Duo, labels: &[&str]| {
        for label in labels {
            let label = (*label).to_owned();
            let config = StrChannelConfig {
                label,
                ..StrChannelConfig::default()
            };
            duo.foreign.rtc.direct_api().create_data_channel(config);
        }
        duo.foreign.settle(duo.world.now);
        duo.run(secs(1));
    };
    open(&mut duo, &["sixth", "seventh"]);
    let now = duo.world.now;
    assert_eq!(duo.world.peer(0, "browser").metrics(now).channels.len(), 6);
    assert_eq!(duo.foreign.closed, [duo.foreign.channel("seventh")]);
    assert!(duo.world.is_connected(0, "browser"));
    open(&mut duo, &["eighth", "ninth", "tenth"]);
    let now = duo.world.now;
    assert_eq!(duo.world.peer(0, "browser").metrics(now).channels.len(), 6);
    assert!(duo.world.is_connected(0, "browser"));
}

#[test]
fn a_foreign_peer_can_close_by_signalling_and_by_its_transport() {
    for by_signalling in [true, false] {
        let mut duo = Duo::connected(false, &Config::default());
        if by_signalling {
            duo.foreign
                .signal(json!({ "type": "bye", "reason": "closed" }));
        } else {
            duo.foreign.rtc.close().expect("says farewell");
            duo.foreign.settle(duo.world.now);
        }
        duo.run(secs(1));
        let (state, cause, _) = duo.world.end(0).expect("ended");
        assert_eq!((state, cause), (PeerState::Closed, Cause::RemoteClose));
    }
}

#[test]
fn closing_tells_a_foreign_peer_and_delivers_what_is_queued() {
    let mut duo = Duo::connected(false, &Config::default());
    for _ in 0..20 {
        duo.send(ChannelKind::File, Message::binary(vec![9; 10_000]))
            .expect("queued");
    }
    let now = duo.world.now;
    duo.world.peer(0, "browser").close(now);
    duo.run(secs(8));
    assert_eq!(duo.foreign.received_on("alice/file").len(), 20);
    assert_eq!(duo.foreign.byes.first().map(String::as_str), Some("closed"));
    assert_eq!(
        duo.world.end(0).map(|(_, cause, _)| cause),
        Some(Cause::LocalClose)
    );
    assert!(
        !duo.world
            .events(0)
            .iter()
            .any(|e| matches!(e, Event::NotDelivered { .. }))
    );
    duo.world.assert_at_rest();
}
