use std::net::{Ipv4Addr, TcpListener, TcpStream as Peer};
use std::thread::{self, JoinHandle};

use mio::{Events, Poll};

use super::*;

const FIRST: Token = Token(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// Streams in a poll, and what they told.
struct Bench {
    poll: Poll,
    streams: Streams,
    told: Vec<Told>,
}

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Opened(NeedId),
    Closed(NeedId),
}

impl Bench {
    fn new() -> Self {
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("a registry");
        Self {
            streams: Streams::new(registry, FIRST),
            poll,
            told: Vec::new(),
        }
    }

    /// Turns the loop until `done`, with the bytes that came so far.
    fn run_until(&mut self, mut done: impl FnMut(&mut Self, &[u8]) -> bool) -> Vec<u8> {
        let mut data = Vec::new();
        let mut events = Events::with_capacity(8);
        let end = Instant::now() + PATIENCE;
        while !done(self, &data) {
            assert!(Instant::now() < end, "in time");
            let wait = if self.streams.any_readable() {
                Duration::ZERO
            } else {
                Duration::from_millis(20)
            };
            self.poll.poll(&mut events, Some(wait)).expect("polled");
            let ready = events.iter();
            let mut ready: Vec<_> = ready
                .filter_map(|event| self.streams.index_of(event.token()))
                .collect();
            ready
                .iter()
                .for_each(|index| self.streams.on_readable(*index));
            ready.extend(0..Streams::MAX);
            let (told, now) = (&mut self.told, Instant::now());
            let mut each = |input: Input<'_>| match input {
                Input::StreamOpened { need, .. } => told.push(Told::Opened(need)),
                Input::StreamClosed { need } => told.push(Told::Closed(need)),
                Input::StreamData { contents, .. } => data.extend(contents),
                other => panic!("{other:?}"),
            };
            for index in ready {
                self.streams.drive(index, true, now, &mut each);
            }
            self.streams.handle_timeout(now, &mut each);
        }
        data
    }

    fn connect(&mut self, need: NeedId, remote: SocketAddr, tls: Option<&str>) {
        let tls = tls.map(str::to_owned);
        self.streams
            .connect(need, remote, tls, Instant::now())
            .expect("begun");
    }

    fn open(&mut self, need: NeedId, remote: SocketAddr) {
        self.connect(need, remote, None);
        self.run_until(|bench, _| bench.told.contains(&Told::Opened(need)));
    }

    fn send(&mut self, contents: &[u8]) -> bool {
        self.streams.send(stream(), contents, Instant::now())
    }
}

/// Only the core makes such names, and recordings.
fn need(number: u64) -> NeedId {
    serde_json::from_value(number.into()).expect("a number")
}

fn stream() -> NeedId {
    need(7)
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 1_000];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
        stream.flush().expect("written");
    }
}

/// A TLS server that echoes what one client after the other says, and a configuration that trusts it.
fn tls_echo(name: &str) -> (SocketAddr, Arc<ClientConfig>) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let (listener, address) = listen();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("made");
            echo(rustls::StreamOwned::new(tls, stream));
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a certificate");
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (address, Arc::new(trusting))
}

#[test]
fn a_stream_brings_back_what_an_echo_got_and_tells_when_it_ends() {
    let (listener, address) = listen();
    let server: JoinHandle<()> = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut limited = [0; 5];
        let mut stream: Peer = stream;
        stream.read_exact(&mut limited).expect("read");
        stream.write_all(&limited).expect("written");
    });
    let mut bench = Bench::new();
    bench.open(stream(), address);
    assert!(bench.send(b"hel") && bench.send(b"lo"));
    let data = bench.run_until(|bench, _| bench.told.contains(&Told::Closed(stream())));
    assert_eq!(data, b"hello");
    assert!(!bench.send(b"nobody is there"));
    server.join().expect("no panic");
}

#[test]
fn a_connection_that_is_refused_is_closed() {
    let (listener, address) = listen();
    drop(listener);
    let mut bench = Bench::new();
    bench.connect(stream(), address, None);
    bench.run_until(|bench, _| !bench.told.is_empty());
    assert_eq!(bench.told, [Told::Closed(stream())]);
}

#[test]
fn tls_is_made_with_a_server_that_is_trusted_and_with_no_other() {
    let (address, trusting) = tls_echo("turn.test");
    let mut bench = Bench::new();
    let refused = bench.streams.connect(
        stream(),
        address,
        Some("turn.test".to_owned()),
        Instant::now(),
    );
    assert!(refused.is_err(), "it is not set up");

    bench.streams.tls = Some(trusting);
    bench.connect(need(8), address, Some("other.test"));
    bench.run_until(|bench, _| !bench.told.is_empty());
    assert_eq!(bench.told, [Told::Closed(need(8))]);

    bench.connect(stream(), address, Some("turn.test"));
    bench.run_until(|bench, _| bench.told.contains(&Told::Opened(stream())));
    let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    assert!(bench.send(&long));
    let data = bench.run_until(|_, data| data.len() >= long.len());
    assert_eq!(data, long);
    bench.streams.close(stream(), Instant::now());
}

#[test]
fn to_a_peer_that_never_reads_whole_buffers_are_dropped_and_none_is_split() {
    const SIZE: usize = 30_000;
    let (listener, address) = listen();
    let mut bench = Bench::new();
    bench.connect(stream(), address, None);
    let (mut server, _) = listener.accept().expect("a connection");
    bench.run_until(|bench, _| !bench.told.is_empty());
    let mut accepted = Vec::new();
    let mut refused = 0;
    for number in (0..=u8::MAX).cycle().take(1_000) {
        if bench.send(&[number; SIZE]) {
            accepted.push(number);
        } else {
            refused += 1;
        }
    }
    assert!(refused > 0, "there is a bound");
    let reader = thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), vec![0; SIZE]);
        while server.read_exact(&mut buffer).is_ok() {
            assert!(buffer.iter().all(|byte| *byte == buffer[0]), "split");
            all.push(buffer[0]);
        }
        all
    });
    bench.streams.close(stream(), Instant::now());
    bench.run_until(|bench, _| bench.streams.slots.iter().all(Option::is_none));
    assert_eq!(reader.join().expect("none split"), accepted);
}

#[test]
fn a_stream_takes_as_many_bytes_as_the_bound_and_not_one_more() {
    let (_listener, address) = listen();
    let mut bench = Bench::new();
    bench.connect(stream(), address, None);
    assert!(!bench.send(&vec![0; MAX_OUTGOING + 1]));
    assert!(bench.send(&vec![0; MAX_OUTGOING - 1]));
    assert!(bench.send(&[0]));
    assert!(!bench.send(&[0]));
}

#[test]
fn no_more_streams_than_the_bound_are_opened() {
    let (_listener, address) = listen();
    let mut bench = Bench::new();
    for number in 0..Streams::MAX as u64 {
        bench.connect(need(number), address, None);
    }
    let further = |bench: &mut Bench| {
        bench
            .streams
            .connect(need(99), address, None, Instant::now())
    };
    assert!(further(&mut bench).is_err());
    bench.streams.close(need(3), Instant::now());
    assert!(further(&mut bench).is_ok());
}

#[test]
fn what_was_queued_before_the_end_is_still_sent() {
    let (listener, address) = listen();
    let mut bench = Bench::new();
    bench.open(stream(), address);
    let (mut server, _) = listener.accept().expect("a connection");
    assert!(bench.send(b"farewell"));
    bench.streams.close(stream(), Instant::now());
    let mut heard = String::new();
    server.read_to_string(&mut heard).expect("ends well");
    assert_eq!(heard, "farewell");
    assert_eq!(bench.told, [Told::Opened(stream())]);
}

#[test]
fn a_server_that_does_not_answer_is_given_up_at_its_deadline() {
    let (_listener, address) = listen();
    let (_, trusting) = tls_echo("turn.test");
    let mut bench = Bench::new();
    bench.streams.tls = Some(trusting);
    // It accepts the connection and never speaks TLS.
    bench.connect(stream(), address, Some("turn.test"));
    let deadline = bench.streams.deadline().expect("a deadline");
    let mut told = Vec::new();
    let just_before = deadline - Duration::from_nanos(1);
    bench
        .streams
        .handle_timeout(just_before, |input| told.push(format!("{input:?}")));
    assert!(told.is_empty());
    bench
        .streams
        .handle_timeout(deadline, |input| told.push(format!("{input:?}")));
    assert_eq!(told.len(), 1);
    assert_eq!(bench.streams.deadline(), None);
}
