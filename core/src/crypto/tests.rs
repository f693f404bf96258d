use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use str0m::channel::ChannelId;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use str0m_proto::crypto::dtls::DtlsOutput;

use super::sctp::tests::{data_chunk, packet, sack_chunk};
use super::*;
use crate::Config;
use crate::id::PeerId;
use crate::rng::{Rng, Seed};

#[test]
fn every_dtls_mode_connects_and_carries_messages() {
    use DtlsVersion::{Auto, Dtls12, Dtls13};
    for (a, b) in [
        (Dtls12, Dtls12),
        (Dtls13, Dtls13),
        (Auto, Auto),
        (Auto, Dtls12),
        (Dtls13, Auto),
    ] {
        let mut pair = Pair::connect(Side::ours(1, 1, a), Side::ours(2, 2, b));
        pair.exchange();
    }
}

#[test]
fn the_standard_provider_of_str0m_is_a_peer_like_any_other() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        Pair::connect(Side::ours(1, 1, version), Side::plain(2, version)).exchange();
        Pair::connect(Side::plain(1, version), Side::ours(2, 2, version)).exchange();
    }
}

#[test]
fn sizes_and_times_of_all_datagrams_are_equal_in_every_run() {
    for (version, loss) in [
        (DtlsVersion::Dtls12, 0),
        (DtlsVersion::Dtls13, 0),
        (DtlsVersion::Auto, 0),
    ] {
        let run = || {
            let mut pair = Pair::new(Side::ours(1, 1, version), Side::ours(2, 2, version), loss);
            pair.run_until(Pair::is_open);
            pair.exchange();
            pair.trace
        };
        let first = run();
        assert!(first.len() > 10);
        for n in 1..20 {
            assert_eq!(run(), first, "{version:?}, run {n}");
        }
    }
}

#[test]
fn retransmissions_of_a_lossy_handshake_are_equal_in_every_run() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto] {
        let run = || {
            let mut pair = Pair::new(Side::ours(1, 1, version), Side::ours(2, 2, version), 35);
            pair.run_until(|p| p.sides.iter().all(|s| s.connected));
            pair.trace
        };
        let first = run();
        for n in 1..8 {
            assert_eq!(run(), first, "{version:?}, run {n}");
        }
    }
}

#[test]
fn a_handshake_outlives_a_long_search_for_the_path() {
    let version = DtlsVersion::Auto;
    let mut pair = Pair::new(Side::ours(1, 1, version), Side::ours(2, 2, version), 0);
    for side in &mut pair.sides {
        side.crypto().hold_retransmissions(true);
        side.holds = true;
    }
    pair.blocked = true;
    pair.run_for(Duration::from_secs(12));
    pair.blocked = false;
    pair.run_until(Pair::is_open);
    // One client hello and one server hello.
    assert_eq!(
        pair.trace
            .iter()
            .filter(|(_, _, first, _)| *first == HANDSHAKE)
            .count(),
        2
    );
}

#[test]
fn a_wrong_fingerprint_is_refused() {
    let mut a = Side::ours(1, 1, DtlsVersion::Dtls13);
    let b = Side::ours(2, 2, DtlsVersion::Dtls13);
    let other = crypto(3).fingerprint().to_owned();
    a.believed_fingerprint = Some(other);
    let mut pair = Pair::new(a, b, 0);
    pair.run_for(Duration::from_secs(5));
    assert!(!pair.sides[0].rtc.is_alive());
    assert!(!pair.sides[0].connected && !pair.is_open());
}

#[test]
fn a_certificate_of_another_peer_is_refused_though_its_fingerprint_was_announced() {
    let [alice, bob, eve] = ["alice", "bob", "eve"].map(|name| name.parse().expect("valid"));
    let bowline = |peer| (peer, true);
    let mut pair = Pair::connect(
        Side::keyed(1, alice, bowline(bob)),
        Side::keyed(2, bob, bowline(alice)),
    );
    pair.exchange();
    // Eve has told alice that bob's certificate is hers, and bob that alice's is (RFC 8844).
    let a = Side::keyed(1, alice, bowline(eve));
    let mut pair = Pair::new(a, Side::keyed(2, bob, bowline(eve)), 0);
    pair.run_for(Duration::from_secs(5));
    assert!(pair.sides.iter().all(|side| !side.connected));
    assert!(pair.sides[0].crypto().take_wrong_certificate());
    // A browser's certificate names nobody, and a bowline peer's never does.
    for (is_bowline, connects) in [(false, true), (true, false)] {
        let foreign = Side::ours(2, 2, DtlsVersion::Auto);
        let mut pair = Pair::new(Side::keyed(1, alice, (bob, is_bowline)), foreign, 0);
        pair.run_for(Duration::from_secs(5));
        assert_eq!(pair.sides[0].connected, connects);
    }
}

#[test]
fn the_fingerprint_is_the_one_that_str0m_announces() {
    let crypto = crypto(1);
    let mut session = crypto.session(4, rng(9));
    let mut rtc = build(&crypto, &mut session, DtlsVersion::Auto, Instant::now());
    let announced = rtc.direct_api().local_dtls_fingerprint().to_string();
    assert_eq!(announced, format!("sha-256 {}", crypto.fingerprint()));
    assert_eq!(crypto.fingerprint().len(), 32 * 3 - 1);
}

#[test]
fn empty_messages_arrive_in_order_between_others() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        let mut pair = Pair::connect(Side::ours(1, 1, version), Side::plain(2, version));
        let text = pair.sides[0].crypto().empty_message_marker(true);
        let binary = pair.sides[0].crypto().empty_message_marker(false);
        for (is_binary, message) in [
            (false, &b"before"[..]),
            (false, &text),
            (true, &binary),
            (true, b"after"),
        ] {
            pair.sides[0].write(is_binary, message);
        }
        pair.run_for(Duration::from_secs(1));
        let expected = [
            (false, b"before".to_vec()),
            (false, Vec::new()),
            (true, Vec::new()),
            (true, b"after".to_vec()),
        ];
        assert_eq!(pair.sides[1].messages, expected, "{version:?}");
    }
}

#[test]
fn an_empty_message_that_is_lost_is_repeated_as_one() {
    let version = DtlsVersion::Dtls13;
    let mut pair = Pair::connect(Side::ours(1, 1, version), Side::plain(2, version));
    let marker = pair.sides[0].crypto().empty_message_marker(true);
    pair.blocked = true;
    pair.sides[0].write(false, &marker);
    pair.run_for(Duration::from_millis(100));
    pair.blocked = false;
    pair.sides[0].write(false, b"after");
    pair.run_for(Duration::from_secs(10));
    assert_eq!(
        pair.sides[1].messages,
        [(false, Vec::new()), (false, b"after".to_vec())]
    );
}

#[test]
fn the_callers_fastrand_is_untouched_and_the_sessions_repeats() {
    let draw =
        |session: &mut SessionCrypto| session.enter(|| (fastrand::u64(..), fastrand::u64(..)));
    let crypto = crypto(1);
    let (mut first, mut second) = (crypto.session(4, rng(5)), crypto.session(4, rng(5)));
    fastrand::seed(7);
    let expected = [draw(&mut first), draw(&mut first)];
    assert_eq!(fastrand::get_seed(), 7);
    assert_ne!(expected[0], expected[1]);
    fastrand::seed(8);
    assert_eq!([draw(&mut second), draw(&mut second)], expected);
}

#[test]
fn scopes_nest_and_end_when_the_call_panics() {
    let crypto = crypto(1);
    let (mut outer, mut inner) = (crypto.session(4, rng(5)), crypto.session(4, rng(6)));
    let in_scope = || CONTEXT.with_borrow(|c| c.as_ref().map(|c| Arc::as_ptr(&c.shared)));
    let (is_outer, is_inner) = (Arc::as_ptr(&outer.shared), Arc::as_ptr(&inner.shared));
    fastrand::seed(7);
    outer.enter(|| {
        let state = fastrand::get_seed();
        assert_eq!(in_scope(), Some(is_outer));
        assert_eq!(inner.enter(in_scope), Some(is_inner));
        assert_eq!(in_scope(), Some(is_outer));
        assert_eq!(fastrand::get_seed(), state);
    });
    catch_unwind(AssertUnwindSafe(|| outer.enter(|| panic!("as expected")))).expect_err("panic");
    assert_eq!(in_scope(), None);
    assert_eq!(fastrand::get_seed(), 7);
    assert_eq!(outer.enter(in_scope), Some(is_outer));
}

#[test]
fn no_instance_is_made_outside_a_scope() {
    let crypto = crypto(1);
    let made = ScopedDtls.new_dtls(
        &crypto.certificate(),
        Instant::now(),
        DtlsVersion::Auto,
        None,
    );
    assert!(made.is_err());
}

#[test]
fn nothing_is_passed_on_after_the_peer_broke_a_rule() {
    let mut link = Link::connected();
    let fair = packet(&[&data_chunk(1, 3, b"hello")]);
    link.evil_sends(&fair);
    assert_eq!(link.receive(), std::slice::from_ref(&fair));

    let tiny = packet(&[&data_chunk(1, 0, b"bit")]);
    for _ in 0..64 {
        link.evil_sends(&tiny);
        assert_eq!(link.receive().len(), 1);
    }
    assert_eq!(link.session.fault(), None);
    link.evil_sends(&tiny);
    assert_eq!(link.receive(), [[0u8; 0]; 0]);
    assert_eq!(link.session.fault(), Some(PeerFault::TinyFragments));
    link.evil_sends(&fair);
    assert_eq!(link.receive(), [[0u8; 0]; 0]);
}

#[test]
fn a_peer_that_uses_more_streams_than_allowed_is_found_out() {
    let mut link = Link::connected();
    for stream in 0..MAX_STREAMS {
        link.evil_sends(&packet(&[&data_chunk(
            u16::try_from(stream).expect("few"),
            3,
            b"x",
        )]));
        assert_eq!(link.receive().len(), 1, "{stream}");
    }
    link.evil_sends(&packet(&[&data_chunk(4_000, 3, b"x")]));
    assert_eq!(link.receive(), [[0u8; 0]; 0]);
    assert_eq!(link.session.fault(), Some(PeerFault::TooManyChannels));
}

#[test]
fn acknowledgements_longer_than_a_datagram_are_shortened_both_ways() {
    let long = packet(&[&sack_chunk(493, 0)]);
    let mut link = Link::connected();
    assert_eq!(link.ours.send_application_data(&long), Ok(long.len()));
    assert_eq!(link.evil_receives(), [packet(&[&sack_chunk(283, 0)])]);

    link.evil_sends(&long);
    assert_eq!(link.receive(), [packet(&[&sack_chunk(493, 0)])]);
    link.evil_sends(&packet(&[&sack_chunk(600, 0)]));
    assert_eq!(link.receive(), [packet(&[&sack_chunk(493, 0)])]);
}

#[test]
fn records_that_do_not_fit_are_dropped_and_the_next_arrives() {
    let mut link = Link::connected();
    link.evil_sends(&packet(&[&data_chunk(1, 3, &[0; 9_000])]));
    link.evil_sends(&packet(&[&data_chunk(1, 3, b"next")]));
    assert_eq!(link.receive(), [packet(&[&data_chunk(1, 3, b"next")])]);
    let long = packet(&[&data_chunk(1, 3, &[0; 9_000])]);
    assert_eq!(link.ours.send_application_data(&long), Ok(long.len()));
    assert_eq!(link.evil_receives(), [[0u8; 0]; 0]);
}

#[test]
fn application_data_waits_for_the_handshake() {
    let mut link = Link::new(certificate_of(0));
    assert_eq!(link.ours.send_application_data(b"early"), Ok(0));
    link.pump();
    assert_eq!(link.ours.send_application_data(b"now"), Ok(3));
}

#[test]
fn what_does_not_fit_the_queue_of_dtls_stays_with_sctp() {
    let mut link = Link::connected();
    let one = packet(&[&data_chunk(1, 3, &[7; 1_000])]);
    let mut taken = 0;
    while link.ours.send_application_data(&one) == Ok(one.len()) {
        taken += 1;
    }
    assert_eq!(link.ours.send_application_data(&one), Ok(0));
    assert_eq!(link.evil_receives(), vec![one.clone(); taken]);
    assert_eq!(link.ours.send_application_data(&one), Ok(one.len()));
}

#[test]
fn a_certificate_larger_than_the_buffer_of_str0m_matches_no_fingerprint() {
    for len in [400, 900, 5_000] {
        let certificate = certificate_of(len);
        let der = certificate.certificate.clone();
        let mut link = Link::new(certificate);
        link.pump();
        let expected = if der.len() <= STR0M_BUFFER {
            der
        } else {
            Vec::new()
        };
        assert_eq!(link.certificates, [expected], "{len}");
    }
}

#[test]
fn secrets_do_not_show_themselves() {
    let crypto = crypto(1);
    let session = crypto.session(4, rng(5));
    let shown = format!("{crypto:?} {session:?}");
    let expected = format!(
        "Crypto {{ fingerprint: {:?}, .. }} SessionCrypto {{ fault: None, .. }}",
        crypto.fingerprint()
    );
    assert_eq!(shown, expected);
}

#[test]
fn sessions_can_move_between_threads() {
    fn assert_send<T: Send>(_: &T) {}
    let crypto = crypto(1);
    assert_send(&crypto);
    assert_send(&crypto.session(4, rng(5)));
}

#[cfg(feature = "simulation")]
#[test]
fn a_simulated_certificate_is_random_bytes_with_their_fingerprint() {
    let config = Config::default();
    let standard = str0m::crypto::from_feature_flags();
    let simulated = |seed| {
        let (transport, timing) = (config.transport(), config.timing());
        Crypto::simulated(
            standard.dtls_provider,
            None,
            transport,
            timing,
            &mut rng(seed),
        )
    };
    let certificate = simulated(1).certificate().certificate;
    assert_eq!(certificate.len(), 32);
    assert_eq!(certificate, simulated(1).certificate().certificate);
    assert_ne!(certificate, simulated(2).certificate().certificate);
    let hash = standard.sha256_provider.sha256(&certificate);
    assert_eq!(simulated(1).fingerprint(), colon_separated(&hash));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_never_panics(
        packets in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..80), any::<bool>(), 20u8..64),
            1..20,
        ),
        active in any::<bool>(),
        version in 0..3,
    ) {
        let version = [DtlsVersion::Dtls12, DtlsVersion::Dtls13, DtlsVersion::Auto][version as usize];
        let mut dtls = instance(&mut crypto_session(1), version);
        let now = Instant::now();
        dtls.set_active(active);
        let _ = dtls.handle_timeout(now);
        let mut last = drain(&mut *dtls).packets;
        for (mut bytes, mutate, first) in packets {
            // Half of them are its own packets with one byte changed, which look like DTLS.
            if mutate && let Some(packet) = last.first_mut() && !bytes.is_empty() {
                let at = usize::from(bytes[0]) * packet.len() / 256;
                packet[at] ^= bytes[bytes.len() - 1];
                bytes = packet.clone();
            } else if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let _ = dtls.handle_packet(&bytes);
            let _ = dtls.handle_timeout(now + Duration::from_secs(1));
            let packets = drain(&mut *dtls).packets;
            if !packets.is_empty() {
                last = packets;
            }
        }
    }

    #[test]
    fn garbage_after_the_handshake_never_panics(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..20),
    ) {
        let mut link = Link::connected();
        for bytes in packets {
            link.evil_sends(&bytes);
            link.receive();
            let _ = link.ours.handle_packet(&bytes);
            drain(&mut *link.ours);
        }
    }
}

const MAX_STREAMS: usize = 8;
/// What str0m polls DTLS with.
const STR0M_BUFFER: usize = 2_000;
/// The first byte of a plaintext handshake record.
const HANDSHAKE: u8 = 22;

fn rng(seed: u8) -> Rng {
    Rng::new(&Seed::from([seed; 32]))
}

fn crypto(seed: u8) -> Crypto {
    owned(None, seed)
}

fn owned(owner: Option<PeerId>, seed: u8) -> Crypto {
    let config = Config::default();
    Crypto::new(owner, config.transport(), config.timing(), &mut rng(seed)).expect("crypto")
}

fn crypto_session(seed: u8) -> (Crypto, SessionCrypto) {
    let crypto = crypto(seed);
    let session = crypto.session(MAX_STREAMS, rng(seed + 100));
    (crypto, session)
}

fn instance(
    (crypto, session): &mut (Crypto, SessionCrypto),
    version: DtlsVersion,
) -> Box<dyn DtlsInstance> {
    let certificate = crypto.certificate();
    session
        .enter(|| ScopedDtls.new_dtls(&certificate, Instant::now(), version, None))
        .expect("instance")
}

fn certificate_of(name_len: usize) -> DtlsCert {
    let key = rcgen::KeyPair::generate().expect("key");
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "x".repeat(name_len));
    let certificate = params
        .self_signed(&key)
        .expect("certificate")
        .der()
        .to_vec();
    DtlsCert {
        certificate,
        private_key: key.serialize_der(),
    }
}

#[derive(Default)]
struct Drained {
    packets: Vec<Vec<u8>>,
    data: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

fn drain(dtls: &mut dyn DtlsInstance) -> Drained {
    let mut drained = Drained::default();
    let mut buf = vec![0; STR0M_BUFFER];
    // Bounded, so that a spin fails instead of hanging.
    for _ in 0..1_000 {
        match dtls.poll_output(&mut buf) {
            DtlsOutput::Packet(p) => drained.packets.push(p.to_vec()),
            DtlsOutput::ApplicationData(d) => drained.data.push(d.to_vec()),
            DtlsOutput::PeerCert(c) => drained.certificates.push(c.to_vec()),
            DtlsOutput::Timeout(_) => return drained,
            DtlsOutput::BufferTooSmall { needed } => panic!("{needed} bytes asked for"),
            _ => {}
        }
    }
    panic!("the output does not end");
}

/// One of our instances and a peer that can send what it likes.
struct Link {
    ours: Box<dyn DtlsInstance>,
    session: SessionCrypto,
    evil: dimpl::Dtls,
    certificates: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
    evil_received: Vec<Vec<u8>>,
}

impl Link {
    fn new(evil_certificate: DtlsCert) -> Self {
        let now = Instant::now();
        let mut ours = crypto_session(1);
        let mut dtls = instance(&mut ours, DtlsVersion::Dtls13);
        let config = dimpl::Config::builder()
            .max_queue_tx(100)
            .build()
            .expect("config");
        let mut evil = dimpl::Dtls::new_13(Arc::new(config), evil_certificate, now);
        evil.set_active(true);
        dtls.handle_timeout(now).expect("ours");
        evil.handle_timeout(now).expect("evil");
        let (session, certificates) = (ours.1, Vec::new());
        let (received, evil_received) = (Vec::new(), Vec::new());
        Self {
            ours: dtls,
            session,
            evil,
            certificates,
            received,
            evil_received,
        }
    }

    fn connected() -> Self {
        let mut link = Self::new(certificate_of(0));
        link.pump();
        link
    }

    fn pump(&mut self) {
        for _ in 0..20 {
            let ours = drain(&mut *self.ours);
            self.certificates.extend(ours.certificates);
            self.received.extend(ours.data);
            let followers = self.session.followers()();
            for packet in ours.packets.iter().chain(&followers) {
                self.evil.handle_packet(packet).expect("evil takes it");
            }
            for packet in self.evil_drain() {
                self.ours.handle_packet(&packet).expect("we take it");
            }
        }
    }

    fn evil_drain(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buf = vec![0; 65_536];
        loop {
            match self.evil.poll_output(&mut buf) {
                dimpl::Output::Packet(p) => packets.push(p.to_vec()),
                dimpl::Output::ApplicationData(d) => self.evil_received.push(d.to_vec()),
                dimpl::Output::Timeout(_) => return packets,
                _ => {}
            }
        }
    }

    fn evil_sends(&mut self, data: &[u8]) {
        self.evil.send_application_data(data).expect("sent");
        for packet in self.evil_drain() {
            self.ours.handle_packet(&packet).expect("received");
        }
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        self.pump();
        std::mem::take(&mut self.received)
    }

    fn evil_receives(&mut self) -> Vec<Vec<u8>> {
        self.pump();
        std::mem::take(&mut self.evil_received)
    }
}

/// One `Rtc`, with our cryptography or str0m's own.
struct Side {
    rtc: Rtc,
    session: Option<SessionCrypto>,
    addr: SocketAddr,
    channel: Option<ChannelId>,
    connected: bool,
    messages: Vec<(bool, Vec<u8>)>,
    deadline: Instant,
    believed_fingerprint: Option<String>,
    /// Whether retransmissions are let go when ICE is connected.
    holds: bool,
}

fn base() -> RtcConfig {
    RtcConfig::new()
        .clear_codecs()
        .set_snap_enabled(true)
        .set_mtu(1_200..=1_280)
}

fn build(crypto: &Crypto, session: &mut SessionCrypto, version: DtlsVersion, now: Instant) -> Rtc {
    let config = base()
        .set_crypto_provider(crypto.provider())
        .set_dtls_cert(crypto.certificate())
        .set_dtls_version(version);
    session.enter(|| config.build(now))
}

impl Side {
    fn ours(host: u8, seed: u8, version: DtlsVersion) -> Self {
        let now = Instant::now();
        let (crypto, mut session) = crypto_session(seed);
        let rtc = build(&crypto, &mut session, version, now);
        Self::with(host, rtc, Some(session), now)
    }

    /// One whose certificate is `own`'s, and that believes to speak with `peer`.
    fn keyed(host: u8, own: PeerId, (peer, is_bowline): (PeerId, bool)) -> Self {
        let now = Instant::now();
        let crypto = owned(Some(own), host);
        let mut session = crypto.session(MAX_STREAMS, rng(host + 100));
        session.expect_owner(peer, is_bowline);
        let rtc = build(&crypto, &mut session, DtlsVersion::Auto, now);
        Self::with(host, rtc, Some(session), now)
    }

    fn plain(host: u8, version: DtlsVersion) -> Self {
        let now = Instant::now();
        let provider = Arc::new(str0m::crypto::from_feature_flags());
        let config = base()
            .set_crypto_provider(provider)
            .set_dtls_version(version);
        Self::with(host, config.build(now), None, now)
    }

    fn with(host: u8, rtc: Rtc, session: Option<SessionCrypto>, deadline: Instant) -> Self {
        let addr = SocketAddr::from(([10, 0, 0, host], 5_000));
        let mut side = Self {
            rtc,
            session,
            addr,
            channel: None,
            connected: false,
            messages: Vec::new(),
            deadline,
            believed_fingerprint: None,
            holds: false,
        };
        let candidate = Candidate::host(addr, "udp").expect("candidate");
        side.call(|rtc| rtc.add_local_candidate(candidate).is_some());
        side
    }

    fn crypto(&mut self) -> &mut SessionCrypto {
        self.session.as_mut().expect("ours")
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut Rtc) -> R) -> R {
        match &mut self.session {
            Some(session) => session.enter(|| f(&mut self.rtc)),
            None => f(&mut self.rtc),
        }
    }

    fn write(&mut self, binary: bool, message: &[u8]) {
        let id = self.channel.expect("open");
        let written = self.call(|rtc| rtc.channel(id).expect("channel").write(binary, message));
        assert!(written.expect("written"));
    }

    /// Tells the time twice, as an early check of str0m wants it, and collects what comes out.
    fn drain(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        for _ in 0..2 {
            if !self.rtc.is_alive() {
                self.deadline = now + Duration::from_secs(3_600);
                break;
            }
            let _ = self.call(|rtc| rtc.handle_input(Input::Timeout(now)));
            while let Some((to, datagram)) = self.poll() {
                let is_secured = datagram.first().is_some_and(|first| *first >= 20);
                let followers = self.session.as_ref().filter(|_| is_secured);
                let followers = followers.map(|session| session.followers()());
                out.push((to, datagram));
                out.extend(
                    followers
                        .into_iter()
                        .flatten()
                        .map(|follower| (to, follower)),
                );
            }
        }
        out
    }

    fn poll(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        loop {
            match self.call(Rtc::poll_output).ok()? {
                Output::Transmit(t) => return Some((t.destination, Vec::from(t.contents))),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::ChannelOpen(id, _)) => self.channel = Some(id),
                Output::Event(Event::ChannelData(data)) => {
                    self.messages.push((data.binary, data.data));
                }
                Output::Event(Event::IceConnectionStateChange(state)) if self.holds => {
                    self.crypto().hold_retransmissions(!state.is_connected());
                }
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
    /// When, by whom, the first byte and the length of each datagram.
    trace: Vec<(Duration, usize, u8, usize)>,
    loss_percent: u32,
    lottery: u32,
    blocked: bool,
}

impl Pair {
    fn new(mut a: Side, mut b: Side, loss_percent: u32) -> Self {
        let now = a.deadline.max(b.deadline);
        let (offer, pending) = a.call(|rtc| {
            let mut api = rtc.sdp_api();
            api.add_channel("test".into());
            api.apply().expect("offer")
        });
        let answer = b
            .call(|rtc| rtc.sdp_api().accept_offer(offer))
            .expect("answer");
        let answer = match &a.believed_fingerprint {
            Some(other) => replace_fingerprint(&answer.to_sdp_string(), other),
            None => answer,
        };
        a.call(|rtc| rtc.sdp_api().accept_answer(pending, answer))
            .expect("accepted");
        Self {
            sides: [a, b],
            start: now,
            now,
            in_flight: VecDeque::new(),
            trace: Vec::new(),
            loss_percent,
            lottery: 1,
            blocked: false,
        }
    }

    fn connect(a: Side, b: Side) -> Self {
        let mut pair = Self::new(a, b, 0);
        pair.run_until(Self::is_open);
        pair
    }

    fn is_open(&self) -> bool {
        self.sides
            .iter()
            .all(|s| s.connected && s.channel.is_some())
    }

    fn exchange(&mut self) {
        self.sides[0].write(true, &[7; 20_000]);
        self.sides[1].write(false, b"hello");
        self.run_for(Duration::from_secs(2));
        assert_eq!(self.sides[1].messages, [(true, vec![7; 20_000])]);
        assert_eq!(self.sides[0].messages, [(false, b"hello".to_vec())]);
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(60);
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
        for index in 0..2 {
            self.flush(index);
        }
        let arrival = self.in_flight.front().map_or(end, |(at, ..)| *at);
        let deadline = self.sides[0].deadline.min(self.sides[1].deadline);
        // One microsecond, so that a deadline in the past does not stop the clock.
        self.now = arrival
            .min(deadline)
            .min(end)
            .max(self.now + Duration::from_micros(1));
        while let Some((at, to, bytes)) = self.in_flight.pop_front() {
            if at > self.now {
                self.in_flight.push_front((at, to, bytes));
                break;
            }
            self.deliver(to, &bytes);
        }
    }

    fn flush(&mut self, index: usize) {
        for (destination, bytes) in self.sides[index].drain(self.now) {
            let first = bytes.first().copied().unwrap_or_default();
            self.trace
                .push((self.now - self.start, index, first, bytes.len()));
            let to = usize::from(destination == self.sides[1].addr);
            // ICE checks are spared: their times are not what is looked at.
            let lost = self.blocked || (first >= 20 && self.draw() < self.loss_percent);
            if !lost {
                self.in_flight
                    .push_back((self.now + Duration::from_millis(10), to, bytes));
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
        let now = self.now;
        if self.sides[to].rtc.is_alive() {
            let _ = self.sides[to].call(|rtc| rtc.handle_input(Input::Receive(now, receive)));
            self.flush(to);
        }
    }
}

fn replace_fingerprint(sdp: &str, other: &str) -> str0m::change::SdpAnswer {
    let lines: Vec<String> = sdp
        .lines()
        .map(|line| match line.strip_prefix("a=fingerprint:sha-256 ") {
            Some(_) => format!("a=fingerprint:sha-256 {other}\r\n"),
            None => format!("{line}\r\n"),
        })
        .collect();
    str0m::change::SdpAnswer::from_sdp_string(&lines.concat()).expect("sdp")
}
