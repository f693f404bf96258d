//! str0m without bowline: two of them in memory.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::config::DtlsVersion;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::pair::Pace;

/// One peer.
pub(crate) struct Side {
    rtc: Rtc,
    address: SocketAddr,
    deadline: Instant,
    channel: Option<ChannelId>,
    open: bool,
    received: u64,
}

/// Two peers and the datagrams between them, each way in its order.
pub(crate) struct RawPair {
    sides: [Side; 2],
    wire: VecDeque<(Instant, usize, Vec<u8>)>,
    pace: Pace,
    now: Instant,
}

/// As str0m is out of the box.
pub(crate) fn defaults() -> RtcConfig {
    Rtc::builder()
}

/// As bowline configures it: no media, the newest DTLS that the peer has, SNAP, and so much room in SCTP's buffer.
pub(crate) fn data_only(buffer: usize) -> RtcConfig {
    Rtc::builder()
        .clear_codecs()
        .clear_extension_map()
        .set_dtls_version(DtlsVersion::Auto)
        .set_snap_enabled(true)
        .set_sctp_max_buffered_amount(buffer)
}

impl RawPair {
    /// Connects two peers by SDP with one pre-negotiated channel.
    pub(crate) fn connect(config: &RtcConfig, pace: Pace) -> Self {
        let now = Instant::now();
        let mut sides = ["192.0.2.1:4000", "192.0.2.2:4000"]
            .map(|address| Side::new(config, address.parse().expect("an address"), now));
        let [a, b] = &mut sides;
        let channel = ChannelConfig {
            negotiated: Some(0),
            ..ChannelConfig::default()
        };
        let mut api = a.rtc.sdp_api();
        a.channel = Some(api.add_channel_with_config(channel.clone()));
        let (offer, pending) = api.apply().expect("a channel was added");
        let offer = SdpOffer::from_sdp_string(&offer.to_sdp_string()).expect("its own offer");
        let answer = b
            .rtc
            .sdp_api()
            .accept_offer(offer)
            .expect("an acceptable offer");
        b.channel = Some(b.rtc.direct_api().create_data_channel(channel));
        let answer = SdpAnswer::from_sdp_string(&answer.to_sdp_string()).expect("its own answer");
        a.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("an acceptable answer");
        let mut pair = Self {
            sides,
            wire: VecDeque::new(),
            pace,
            now,
        };
        for side in [0, 1] {
            pair.wake(side);
        }
        let end = now + Duration::from_secs(15);
        while !pair
            .sides
            .iter()
            .all(|side| side.open && side.rtc.is_connected())
        {
            assert!(pair.now < end, "two peers without loss connect");
            pair.step();
        }
        pair
    }

    /// Sends messages of `size` bytes from one to the other, the queue always full, until `total` bytes arrived.
    pub(crate) fn send(&mut self, size: usize, total: u64) {
        let message = vec![7; size];
        let end = self.sides[1].received + total;
        while self.sides[1].received < end {
            while self.sides[0].write(&message) {
                // The documented rule: one mutation, then all its output.
                self.drain(0);
            }
            self.step();
        }
    }

    /// The next datagram or deadline.
    fn step(&mut self) {
        let arrival = self.wire.front().map(|(at, ..)| *at);
        let wakeup = self
            .sides
            .iter()
            .map(|side| side.deadline)
            .min()
            .expect("two sides");
        match arrival {
            Some(at) if at <= wakeup => {
                self.now = self.pace.at(self.now.max(at));
                if let Some((_, side, contents)) = self.wire.pop_front() {
                    self.deliver(side, &contents);
                }
            }
            Some(_) | None => {
                self.now = self.pace.at(self.now.max(wakeup));
                for side in [0, 1] {
                    if self.sides[side].deadline <= self.now {
                        self.wake(side);
                    }
                }
            }
        }
    }

    fn deliver(&mut self, side: usize, contents: &[u8]) {
        let (source, destination) = (self.sides[1 - side].address, self.sides[side].address);
        let contents = contents.try_into().expect("what str0m sent");
        let receive = Receive {
            proto: Protocol::Udp,
            source,
            destination,
            contents,
        };
        let rtc = &mut self.sides[side].rtc;
        rtc.handle_input(Input::Receive(self.now, receive))
            .expect("str0m takes it");
        self.drain(side);
    }

    fn wake(&mut self, side: usize) {
        let rtc = &mut self.sides[side].rtc;
        rtc.handle_input(Input::Timeout(self.now))
            .expect("str0m takes it");
        self.drain(side);
    }

    fn drain(&mut self, side: usize) {
        let Self {
            sides,
            wire,
            pace,
            now,
        } = self;
        let this = &mut sides[side];
        loop {
            match this.rtc.poll_output().expect("str0m works") {
                Output::Timeout(at) => break this.deadline = at,
                Output::Transmit(t) => {
                    wire.push_back((*now + pace.delay(), 1 - side, t.contents.into()))
                }
                Output::Event(Event::ChannelOpen(..)) => this.open = true,
                Output::Event(Event::ChannelData(data)) => this.received += data.data.len() as u64,
                Output::Event(_) => {}
            }
        }
    }
}

impl Side {
    fn new(config: &RtcConfig, address: SocketAddr, now: Instant) -> Self {
        let mut rtc = config.clone().build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).expect("an address"));
        Self {
            rtc,
            address,
            deadline: now,
            channel: None,
            open: false,
            received: 0,
        }
    }

    fn write(&mut self, message: &[u8]) -> bool {
        let mut channel = self
            .channel
            .and_then(|id| self.rtc.channel(id))
            .expect("it is open");
        channel.write(true, message).expect("the channel works")
    }
}
