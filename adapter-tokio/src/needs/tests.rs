use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stream::MAX_OUTGOING;
use super::*;

/// Only the core makes such names, and recordings.
fn need(number: u64) -> NeedId {
    serde_json::from_value(number.into()).expect("a number")
}

fn stream() -> NeedId {
    need(7)
}

fn needs() -> Needs {
    Needs::new(Tls::new(Vec::new()).expect("no certificates"))
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

async fn next(needs: &mut Needs) -> Answer {
    timeout(Duration::from_secs(20), needs.next())
        .await
        .expect("an answer comes")
}

async fn opened(needs: &mut Needs) {
    match next(needs).await {
        Answer::Opened(of, local) if of == stream() => assert!(local.ip().is_loopback()),
        other => panic!("not opened: {other:?}"),
    }
}

/// Collects the bytes that a stream brings, at least `count`.
async fn collect(needs: &mut Needs, count: usize) -> Vec<u8> {
    let mut collected = Vec::new();
    while collected.len() < count {
        match next(needs).await {
            Answer::Data(of, contents) if of == stream() => collected.extend(contents),
            other => panic!("no data: {other:?}"),
        }
    }
    collected
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; 1_000];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        stream.write_all(&buffer[..count]).await.expect("written");
        stream.flush().await.expect("written");
    }
}

/// A TLS server that echoes, and its certificate, which nobody has signed.
async fn tls_echo(name: &str) -> (SocketAddr, Vec<u8>) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let root = own.cert.der().to_vec();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(echo(stream));
            }
        }
    });
    (address, root)
}

#[tokio::test]
async fn an_address_and_a_name_of_this_machine_resolve_and_a_name_that_nobody_has_does_not() {
    let mut needs = needs();
    needs.resolve(need(1), "127.0.0.1".to_owned());
    assert_eq!(
        next(&mut needs).await,
        Answer::Resolved(need(1), vec![Ipv4Addr::LOCALHOST.into()])
    );
    needs.resolve(need(2), "localhost".to_owned());
    match next(&mut needs).await {
        Answer::Resolved(of, found) if of == need(2) => {
            assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
        }
        other => panic!("not resolved: {other:?}"),
    }
    let hidden = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local";
    for (n, host) in [(3, "x.invalid"), (4, hidden)] {
        needs.resolve(need(n), host.to_owned());
        let none = Answer::Resolved(need(n), Vec::new());
        assert_eq!(next(&mut needs).await, none, "{host}");
    }
    assert!(needs.jobs.is_empty());
}

#[test]
fn no_more_addresses_than_the_bound_are_used_and_both_families_are_among_them() {
    let v4 = |last| IpAddr::from([192, 0, 2, last]);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    assert_eq!(bounded(Vec::new()), Vec::<IpAddr>::new());
    assert_eq!(bounded(vec![v6, v4(1)]), [v6, v4(1)]);
    let mut many: Vec<IpAddr> = (1..=4).map(v4).collect();
    assert_eq!(bounded(many.clone()), many);
    many.extend([v4(5), v6]);
    assert_eq!(bounded(many), [v4(1), v4(2), v4(3), v6]);
}

#[tokio::test]
async fn a_stream_brings_back_what_an_echo_got_and_tells_when_it_ends() {
    let (listener, address) = listen().await;
    let mut needs = needs();
    needs.connect(stream(), address, None);
    let (server, _) = listener.accept().await.expect("a connection");
    opened(&mut needs).await;
    let server = tokio::spawn(echo(server));
    needs.send(stream(), b"hel");
    needs.send(stream(), b"lo");
    assert_eq!(collect(&mut needs, 5).await, b"hello");
    server.abort();
    assert_eq!(next(&mut needs).await, Answer::Closed(stream()));
    needs.send(stream(), b"nobody is there");
}

#[tokio::test]
async fn a_connection_that_is_refused_is_closed() {
    let (listener, address) = listen().await;
    drop(listener);
    let mut needs = needs();
    needs.connect(stream(), address, None);
    assert_eq!(next(&mut needs).await, Answer::Closed(stream()));
}

#[tokio::test]
async fn tls_is_made_with_a_root_that_was_given_and_with_no_other() {
    let (address, root) = tls_echo("turn.test").await;
    let mut trusting = Needs::new(Tls::new(vec![root.clone()]).expect("a certificate"));
    trusting.connect(stream(), address, Some("turn.test".to_owned()));
    opened(&mut trusting).await;
    trusting.send(stream(), b"inside");
    assert_eq!(collect(&mut trusting, 6).await, b"inside");

    trusting.connect(need(8), address, Some("other.test".to_owned()));
    assert_eq!(next(&mut trusting).await, Answer::Closed(need(8)));
    let mut strict = needs();
    strict.connect(stream(), address, Some("turn.test".to_owned()));
    assert_eq!(next(&mut strict).await, Answer::Closed(stream()));
}

#[tokio::test]
async fn tls_knows_a_server_by_its_address() {
    let (address, root) = tls_echo("127.0.0.1").await;
    let mut needs = Needs::new(Tls::new(vec![root]).expect("a certificate"));
    needs.connect(stream(), address, Some("127.0.0.1".to_owned()));
    opened(&mut needs).await;
}

#[test]
fn what_is_no_certificate_is_not_trusted() {
    assert_eq!(Tls::new(vec![vec![1, 2, 3]]).err(), Some(Untrusted));
}

#[tokio::test]
async fn to_a_peer_that_never_reads_whole_buffers_are_dropped_and_none_is_split() {
    const SIZE: usize = 30_000;
    let (listener, address) = listen().await;
    let mut needs = needs();
    needs.connect(stream(), address, None);
    let (mut server, _) = listener.accept().await.expect("a connection");
    opened(&mut needs).await;
    // Far more than the system and the queue hold together. Each buffer is of one byte value.
    let mut refused = 0;
    let mut accepted = Vec::new();
    for number in 0..=u8::MAX {
        for _ in 0..10 {
            if needs.jobs[&stream()].outgoing.push(&[number; SIZE]) {
                accepted.push(number);
            } else {
                refused += 1;
            }
        }
        tokio::task::yield_now().await;
    }
    assert!(refused > 0, "there is a bound");
    needs.close(stream());
    let read = async {
        let mut all = Vec::new();
        // The linger may end in a reset: what came until then counts.
        let mut buffer = vec![0; SIZE];
        while server.read_exact(&mut buffer).await.is_ok() {
            assert!(buffer.iter().all(|byte| *byte == buffer[0]), "split");
            all.push(buffer[0]);
        }
        all
    };
    let read = timeout(Duration::from_secs(20), read).await.expect("ends");
    assert!(!read.is_empty() && accepted.starts_with(&read));
}

#[test]
fn a_stream_takes_as_many_bytes_as_the_bound_and_not_one_more() {
    let mut needs = needs();
    let _task = needs.begin(stream());
    let outgoing = &needs.jobs[&stream()].outgoing;
    assert!(!outgoing.push(&vec![0; MAX_OUTGOING + 1]));
    assert!(outgoing.push(&vec![0; MAX_OUTGOING - 1]));
    assert!(outgoing.push(&[0]));
    assert!(!outgoing.push(&[0]));
}

#[tokio::test]
async fn what_was_queued_before_the_end_is_still_sent() {
    let (listener, address) = listen().await;
    let mut needs = needs();
    needs.connect(stream(), address, None);
    let (mut server, _) = listener.accept().await.expect("a connection");
    opened(&mut needs).await;
    needs.send(stream(), b"farewell");
    needs.close(stream());
    let mut heard = String::new();
    server.read_to_string(&mut heard).await.expect("ends well");
    assert_eq!(heard, "farewell");
}

#[tokio::test]
async fn of_a_need_that_was_given_up_nothing_is_heard() {
    let (listener, address) = listen().await;
    let mut needs = needs();
    needs.connect(stream(), address, None);
    let (mut server, _): (TcpStream, _) = listener.accept().await.expect("a connection");
    opened(&mut needs).await;
    server.write_all(b"unheard").await.expect("written");
    needs.close(stream());
    needs.resolve(need(1), "127.0.0.1".to_owned());
    assert!(matches!(next(&mut needs).await, Answer::Resolved(..)));
}

#[tokio::test]
async fn all_streams_can_be_closed_at_once_and_lookups_go_on() {
    let (_listener, address) = listen().await;
    let mut needs = needs();
    needs.connect(stream(), address, None);
    opened(&mut needs).await;
    needs.resolve(need(1), "127.0.0.1".to_owned());
    assert_eq!(needs.close_all(), [Answer::Closed(stream())]);
    assert!(matches!(next(&mut needs).await, Answer::Resolved(..)));
    assert!(needs.jobs.is_empty());
}

#[tokio::test]
async fn a_driver_that_does_not_take_what_comes_holds_the_other_side_back() {
    let (listener, address) = listen().await;
    let mut needs = needs();
    needs.connect(stream(), address, None);
    let (mut server, _) = listener.accept().await.expect("a connection");
    opened(&mut needs).await;
    let flood = vec![1; 64 * 1024 * 1024];
    let writing = tokio::spawn(async move { server.write_all(&flood).await });
    // Once the queue is full it stays so, whatever else is sent.
    let full = async {
        while needs.answers.len() < MAX_ANSWERS {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), full).await.expect("fills");
    assert!(!writing.is_finished());
    assert_eq!(needs.answers.len(), MAX_ANSWERS);
    writing.abort();
}
