use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use str0m::channel::ChannelId;
use str0m::crypto::CryptoProvider;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::*;

#[test]
fn two_sides_connect_and_exchange_messages() {
    let mut pair = Pair::new(Side::null(1), Side::null(2), 0);
    pair.run_until(Duration::from_secs(1), Pair::is_open);
    pair.write(0, &[7; 20_000]);
    pair.write(1, b"hello");
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.sides[1].messages, [vec![7; 20_000]]);
    assert_eq!(pair.sides[0].messages, [b"hello".to_vec()]);
}

#[test]
fn lost_flights_are_repeated() {
    for lottery in 0..20 {
        let mut pair = Pair::new(Side::null(1), Side::null(2), 20);
        pair.lottery = lottery;
        pair.run_until(Duration::from_secs(60), Pair::is_connected);
    }
}

#[test]
fn the_handshake_is_the_same_in_every_run_byte_for_byte() {
    let run = || {
        let mut pair = Pair::new(Side::null(1), Side::null(2), 20);
        pair.run_until(Duration::from_secs(60), Pair::is_connected);
        pair.handshake
    };
    let first = run();
    assert!(first.len() >= 3);
    assert_eq!(run(), first);
}

#[test]
fn a_wrong_certificate_is_refused() {
    let (a, mut b) = (Side::null(1), Side::null(2));
    // What b announces is not what b shows.
    b.lies = true;
    let mut pair = Pair::new(a, b, 0);
    pair.run_for(Duration::from_secs(5));
    assert!(!pair.sides[0].rtc.is_alive() && !pair.sides[0].connected);
}

#[test]
fn plain_text_and_real_dtls_never_connect() {
    for (a, b) in [
        (Side::null(1), Side::real(2)),
        (Side::real(1), Side::null(2)),
    ] {
        let mut pair = Pair::new(a, b, 0);
        pair.run_for(Duration::from_secs(20));
        assert!(!pair.sides[0].connected && !pair.sides[1].connected);
    }
}

#[test]
fn each_side_is_connected_on_the_flight_of_dtls_13() {
    let mut ends = Ends::new();
    ends.deliver(0);
    assert_eq!((ends.events(0), ends.events(1)), (vec![], vec![]));
    ends.deliver(1);
    assert_eq!(ends.events(0), ["certificate two", "connected"]);
    ends.deliver(0);
    assert_eq!(ends.events(1), ["certificate one", "connected"]);
    ends.deliver(1);
    assert!(ends.instances[0].repeat.is_none());
}

#[test]
fn application_data_waits_for_the_handshake_and_adds_22_bytes() {
    let mut ends = Ends::new();
    assert_eq!(ends.instances[0].send_application_data(b"early"), Ok(0));
    ends.connect();
    assert_eq!(ends.instances[0].send_application_data(b"now"), Ok(3));
    assert_eq!(ends.deliver(0), [3 + 22]);
    assert_eq!(ends.events(1), ["now"]);
}

#[test]
fn a_close_is_done_when_it_was_answered() {
    let mut ends = Ends::new();
    ends.connect();
    ends.instances[0].close().expect("closed");
    assert!(ends.instances[0].is_closing());
    assert_eq!(
        ends.instances[0].send_application_data(b"late"),
        Err(DtlsImplError::ConnectionClosed)
    );
    ends.deliver(0);
    assert!(ends.instances[0].is_closing() && !ends.instances[0].is_closed());
    assert!(ends.instances[1].is_closing());
    assert_eq!(ends.events(1), ["closed"]);
    assert!(!ends.instances[1].is_closing() && !ends.instances[1].is_closed());
    ends.instances[1].close().expect("closed");
    ends.deliver(1);
    assert!(ends.instances[1].is_closed());
    assert_eq!(ends.events(0), ["closed"]);
    assert!(ends.instances[0].is_closed());
}

#[test]
fn a_close_during_the_handshake_is_silent_and_immediate() {
    let mut ends = Ends::new();
    ends.instances[0].close().expect("closed");
    assert!(ends.instances[0].is_closed());
    assert!(ends.deliver(0).is_empty());
}

#[test]
fn a_flight_is_repeated_until_the_limit_and_then_fails() {
    let mut ends = Ends::new();
    ends.drain(0);
    ends.instances[0].handle_timeout(ends.now).expect("started");
    let mut interval = FIRST_INTERVAL;
    for _ in 0..MAX_REPEATS {
        ends.instances[0]
            .handle_timeout(ends.now + interval - Duration::from_nanos(1))
            .expect("");
        assert!(ends.drain(0).is_empty());
        ends.now += interval;
        ends.instances[0]
            .handle_timeout(ends.now)
            .expect("repeated");
        assert_eq!(ends.drain(0).len(), 1);
        interval *= 2;
    }
    assert!(
        ends.instances[0]
            .handle_timeout(ends.now + interval)
            .is_err()
    );
}

#[test]
fn queues_refuse_at_their_bounds() {
    let mut ends = Ends::new();
    ends.connect();
    for _ in 0..MAX_OUTGOING {
        assert_eq!(ends.instances[0].send_application_data(b"x"), Ok(1));
    }
    assert_eq!(
        ends.instances[0].send_application_data(b"x"),
        Err(DtlsImplError::TransmitQueueFull)
    );
    let record = ends.drain(0).remove(0);
    for _ in 0..MAX_INCOMING {
        assert_eq!(ends.instances[1].handle_packet(&record), Ok(()));
    }
    assert_eq!(
        ends.instances[1].handle_packet(&record),
        Err(DtlsImplError::ReceiveQueueFull)
    );
}

#[test]
fn damaged_records_are_ignored() {
    let mut ends = Ends::new();
    ends.connect();
    ends.instances[0]
        .send_application_data(b"whole")
        .expect("sent");
    let record = ends.drain(0).remove(0);
    for at in 0..record.len() {
        let mut damaged = record.clone();
        damaged[at] ^= 0x80;
        ends.instances[1].handle_packet(&damaged).expect("ignored");
        ends.instances[1]
            .handle_packet(&record[..at])
            .expect("ignored");
    }
    // The sequence number and the text are not protected.
    assert_eq!(ends.events(1).len(), 2 + 5);
}

/// Two instances without an `Rtc` around them.
struct Ends {
    instances: [Instance; 2],
    seen: [Vec<String>; 2],
    kept: [Vec<Vec<u8>>; 2],
    now: Instant,
}

impl Ends {
    fn new() -> Self {
        let now = Instant::now();
        let mut instances =
            [b"one", b"two"].map(|certificate| Instance::new(certificate.to_vec(), now));
        instances[0].set_active(true);
        for instance in &mut instances {
            instance.handle_timeout(now).expect("started");
        }
        Self {
            instances,
            seen: Default::default(),
            kept: Default::default(),
            now,
        }
    }

    fn connect(&mut self) {
        for from in [0, 1, 0, 1] {
            self.deliver(from);
        }
        self.seen = Default::default();
    }

    /// Delivers what `from` has to send, and says how long each datagram was.
    fn deliver(&mut self, from: usize) -> Vec<usize> {
        let packets = self.drain(from);
        for packet in &packets {
            self.instances[1 - from]
                .handle_packet(packet)
                .expect("received");
        }
        packets.iter().map(Vec::len).collect()
    }

    fn drain(&mut self, index: usize) -> Vec<Vec<u8>> {
        let mut packets = std::mem::take(&mut self.kept[index]);
        let mut buf = [0; 2_000];
        loop {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match self.instances[index].poll_output(&mut buf) {
                DtlsOutput::Packet(packet) => packets.push(packet.to_vec()),
                DtlsOutput::PeerCert(c) => {
                    self.seen[index].push(format!("certificate {}", text(c)));
                }
                DtlsOutput::Connected => self.seen[index].push("connected".into()),
                DtlsOutput::ApplicationData(data) => self.seen[index].push(text(data)),
                DtlsOutput::CloseNotify => self.seen[index].push("closed".into()),
                DtlsOutput::Timeout(_) => return packets,
                other => panic!("{other:?}"),
            }
        }
    }

    /// What `index` has seen since last asked. Its packets are kept.
    fn events(&mut self, index: usize) -> Vec<String> {
        let packets = self.drain(index);
        self.kept[index].extend(packets);
        std::mem::take(&mut self.seen[index])
    }
}

struct Side {
    rtc: Rtc,
    addr: SocketAddr,
    channel: Option<ChannelId>,
    connected: bool,
    messages: Vec<Vec<u8>>,
    deadline: Instant,
    lies: bool,
}

static NULL_DTLS: NullDtls = NullDtls;

impl Side {
    fn null(host: u8) -> Self {
        let provider = CryptoProvider {
            dtls_provider: &NULL_DTLS,
            ..str0m::crypto::from_feature_flags()
        };
        let certificate = DtlsCert {
            certificate: vec![host; 32],
            private_key: Vec::new(),
        };
        Self::with(host, RtcConfig::new().set_dtls_cert(certificate), provider)
    }

    fn real(host: u8) -> Self {
        let config = RtcConfig::new().set_dtls_version(DtlsVersion::Auto);
        Self::with(host, config, str0m::crypto::from_feature_flags())
    }

    fn with(host: u8, config: RtcConfig, provider: CryptoProvider) -> Self {
        let now = Instant::now();
        let config = config.clear_codecs().set_snap_enabled(true);
        let mut rtc = config.set_crypto_provider(Arc::new(provider)).build(now);
        let addr = SocketAddr::from(([10, 0, 0, host], 5_000));
        rtc.add_local_candidate(Candidate::host(addr, "udp").expect("candidate"));
        Self {
            rtc,
            addr,
            channel: None,
            connected: false,
            messages: Vec::new(),
            deadline: now,
            lies: false,
        }
    }

    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for _ in 0..2 {
            if !self.rtc.is_alive() {
                self.deadline = now + Duration::from_secs(3_600);
                break;
            }
            let _ = self.rtc.handle_input(Input::Timeout(now));
            while let Some(bytes) = self.poll() {
                out.push(bytes);
            }
        }
        out
    }

    fn poll(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.rtc.poll_output().ok()? {
                Output::Transmit(t) => return Some(Vec::from(t.contents)),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::ChannelOpen(id, _)) => self.channel = Some(id),
                Output::Event(Event::ChannelData(data)) => self.messages.push(data.data),
                Output::Event(_) => {}
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return None;
                }
            }
        }
    }
}

/// Two sides on a link of 10 ms, under a clock that only this owns.
struct Pair {
    sides: [Side; 2],
    start: Instant,
    now: Instant,
    in_flight: VecDeque<(Instant, usize, Vec<u8>)>,
    /// When, by whom and what was sent of the handshake.
    handshake: Vec<(Duration, usize, Vec<u8>)>,
    loss_percent: u32,
    lottery: u32,
}

impl Pair {
    fn new(mut a: Side, mut b: Side, loss_percent: u32) -> Self {
        let now = a.deadline.max(b.deadline);
        let mut api = a.rtc.sdp_api();
        api.add_channel("test".into());
        let (offer, pending) = api.apply().expect("offer");
        let mut answer = b.rtc.sdp_api().accept_offer(offer).expect("answer");
        if b.lies {
            let other = a.rtc.direct_api().local_dtls_fingerprint().to_string();
            let own = b.rtc.direct_api().local_dtls_fingerprint().to_string();
            let text = answer.to_sdp_string().replace(&own, &other);
            answer = str0m::change::SdpAnswer::from_sdp_string(&text).expect("sdp");
        }
        a.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("accepted");
        Self {
            sides: [a, b],
            start: now,
            now,
            in_flight: VecDeque::new(),
            handshake: Vec::new(),
            loss_percent,
            lottery: 1,
        }
    }

    fn is_connected(&self) -> bool {
        self.sides.iter().all(|side| side.connected)
    }

    fn is_open(&self) -> bool {
        self.is_connected() && self.sides.iter().all(|side| side.channel.is_some())
    }

    fn write(&mut self, from: usize, message: &[u8]) {
        let side = &mut self.sides[from];
        let id = side.channel.expect("open");
        assert!(
            side.rtc
                .channel(id)
                .expect("channel")
                .write(true, message)
                .expect("written")
        );
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !done(self) {
            assert!(self.now < end, "not done in time");
            self.step(end);
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    fn step(&mut self, end: Instant) {
        self.flush(0);
        self.flush(1);
        let arrival = self.in_flight.front().map_or(end, |(at, ..)| *at);
        let deadline = self.sides[0].deadline.min(self.sides[1].deadline);
        self.now = arrival
            .min(deadline)
            .min(end)
            .max(self.now + Duration::from_micros(1));
        while self
            .in_flight
            .front()
            .is_some_and(|(at, ..)| *at <= self.now)
        {
            let Some((_, to, bytes)) = self.in_flight.pop_front() else {
                break;
            };
            self.deliver(to, &bytes);
        }
    }

    fn flush(&mut self, from: usize) {
        for bytes in self.sides[from].drain(self.now) {
            if matches!(bytes[0], 20..=23) {
                self.handshake
                    .push((self.now - self.start, from, bytes.clone()));
            }
            // ICE checks are spared: their times are not what is looked at.
            if bytes[0] < 20 || self.draw() >= self.loss_percent {
                self.in_flight
                    .push_back((self.now + Duration::from_millis(10), 1 - from, bytes));
            }
        }
    }

    fn draw(&mut self) -> u32 {
        self.lottery = self
            .lottery
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.lottery >> 16) % 100
    }

    fn deliver(&mut self, to: usize, bytes: &[u8]) {
        let (source, destination) = (self.sides[1 - to].addr, self.sides[to].addr);
        let receive = Receive::new(Protocol::Udp, source, destination, bytes).expect("datagram");
        if self.sides[to].rtc.is_alive() {
            let _ = self.sides[to]
                .rtc
                .handle_input(Input::Receive(self.now, receive));
            self.flush(to);
        }
    }
}
