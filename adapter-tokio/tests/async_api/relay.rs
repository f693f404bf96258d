use std::time::Duration;

use bowline_tokio::relay::{REPLACED, Relay, RelayLimits, RelayStats};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::common::soon;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn relay(limits: RelayLimits) -> Relay {
    Relay::bind_with("127.0.0.1:0", limits)
        .await
        .expect("binds")
}

async fn join(relay: &Relay, name: &str) -> Client {
    let url = format!("{}/?peer={name}", relay.url());
    soon("the upgrade", connect_async(url))
        .await
        .expect("upgraded")
        .0
}

/// Waits until the relay's counters are as wanted.
async fn until(relay: &Relay, wanted: impl Fn(RelayStats) -> bool) {
    let poll = async {
        while !wanted(relay.stats()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), poll)
        .await
        .is_err()
    {
        panic!("the counters stay at {:?}", relay.stats());
    }
}

fn envelope(from: &str, to: &str, body: &str) -> String {
    format!(r#"{{"v":1,"from":"{from}","to":"{to}","body":"{body}"}}"#)
}

async fn send(client: &mut Client, text: impl Into<String>) {
    soon("sending", client.send(Message::text(text.into())))
        .await
        .expect("sent");
}

/// The next text; none when the connection ended, with the close code where there was one.
async fn receive(client: &mut Client) -> Result<String, Option<u16>> {
    loop {
        match soon("a frame", client.next()).await {
            Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|f| f.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

#[tokio::test]
async fn a_message_is_forwarded_unchanged_to_the_peer_it_names() {
    let relay = relay(RelayLimits::default()).await;
    let (mut alice, mut bob) = (join(&relay, "alice").await, join(&relay, "bob").await);
    until(&relay, |s| s.peers == 2).await;
    let text = envelope("alice", "bob", "hello é \\u0000");
    send(&mut alice, text.clone()).await;
    assert_eq!(receive(&mut bob).await, Ok(text));
}

#[tokio::test]
async fn a_message_in_the_name_of_another_is_dropped() {
    let relay = relay(RelayLimits::default()).await;
    let (mut mallory, mut bob) = (join(&relay, "mallory").await, join(&relay, "bob").await);
    until(&relay, |s| s.peers == 2).await;
    send(&mut mallory, envelope("alice", "bob", "forged")).await;
    send(&mut mallory, envelope("mallory", "bob", "honest")).await;
    assert_eq!(
        receive(&mut bob).await,
        Ok(envelope("mallory", "bob", "honest"))
    );
    assert_eq!(relay.stats().wrong_sender, 1);
}

#[tokio::test]
async fn the_newest_connection_has_the_name() {
    let relay = relay(RelayLimits::default()).await;
    let mut alice = join(&relay, "alice").await;
    let mut old = join(&relay, "bob").await;
    until(&relay, |s| s.peers == 2).await;
    let mut new = join(&relay, "bob").await;
    assert_eq!(receive(&mut old).await, Err(Some(REPLACED)));
    drop(old);
    until(&relay, |s| s.replaced == 1 && s.peers == 2).await;
    send(&mut alice, envelope("alice", "bob", "hello")).await;
    assert_eq!(
        receive(&mut new).await,
        Ok(envelope("alice", "bob", "hello"))
    );
}

#[tokio::test]
async fn garbage_is_counted_and_harms_nobody() {
    let relay = relay(RelayLimits::default()).await;
    let (mut alice, mut bob) = (join(&relay, "alice").await, join(&relay, "bob").await);
    until(&relay, |s| s.peers == 2).await;
    let garbage = [
        "",
        "hello",
        "{",
        "[]",
        "{\"to\":\"bob\"}",
        "null",
        "{\"from\":\"alice\",\"to\":[]}",
    ];
    for text in garbage {
        send(&mut alice, text).await;
    }
    soon("sending", alice.send(Message::binary(vec![0xff; 100])))
        .await
        .expect("sent");
    send(&mut alice, envelope("alice", "nobody", "")).await;
    send(&mut alice, envelope("alice", "bob", "still here")).await;
    assert_eq!(
        receive(&mut bob).await,
        Ok(envelope("alice", "bob", "still here"))
    );
    let stats = relay.stats();
    assert_eq!(
        (stats.malformed, stats.unknown_destination),
        (garbage.len() as u64 + 1, 1)
    );
}

#[tokio::test]
async fn what_is_no_websocket_is_turned_away() {
    let relay = relay(RelayLimits {
        hello: Duration::from_millis(200),
        ..RelayLimits::default()
    })
    .await;
    let requests: [&[u8]; 5] = [
        b"",
        b"\0\xff\x80garbage",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /?peer=a HTTP/1.1\r\n\r\n",
        &[b'a'; 200_000],
    ];
    for request in requests {
        let mut stream = TcpStream::connect(relay.local_addr())
            .await
            .expect("accepted");
        // It fails when the relay has had enough already.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 101"));
    }
    for query in ["", "?peer=", "?peer=a%20b", "?peer=a&peer=b", "?name=a"] {
        let refused = soon(
            "an answer",
            connect_async(format!("{}/{query}", relay.url())),
        )
        .await;
        assert!(
            matches!(refused, Err(Error::Http(r)) if r.status() == 400),
            "{query}"
        );
    }
    until(&relay, |s| s.unnamed == 10).await;
    assert_eq!(relay.stats().peers, 0);
}

#[tokio::test]
async fn a_message_at_the_limit_passes_and_one_beyond_ends_its_connection_only() {
    let relay = relay(RelayLimits::default()).await;
    let (mut alice, mut bob) = (join(&relay, "alice").await, join(&relay, "bob").await);
    until(&relay, |s| s.peers == 2).await;
    let room = RelayLimits::default().message - envelope("alice", "bob", "").len();
    let largest = envelope("alice", "bob", &"x".repeat(room));
    send(&mut alice, largest.clone()).await;
    assert_eq!(receive(&mut bob).await, Ok(largest));
    // It fails when the relay closes before everything is written.
    let _ = soon(
        "sending",
        alice.send(Message::text(envelope(
            "alice",
            "bob",
            &"x".repeat(room + 1),
        ))),
    )
    .await;
    assert!(receive(&mut alice).await.is_err());
    until(&relay, |s| s.broken == 1 && s.peers == 1).await;
    let mut alice = join(&relay, "alice").await;
    send(&mut alice, envelope("alice", "bob", "again")).await;
    assert_eq!(
        receive(&mut bob).await,
        Ok(envelope("alice", "bob", "again"))
    );
}

#[tokio::test]
async fn beyond_the_rate_messages_are_dropped_and_others_are_served() {
    let relay = relay(RelayLimits {
        rate: 1,
        burst: 10 * 1_024,
        ..RelayLimits::default()
    })
    .await;
    let (mut alice, mut bob) = (join(&relay, "alice").await, join(&relay, "bob").await);
    until(&relay, |s| s.peers == 2).await;
    for _ in 0..100 {
        send(&mut alice, envelope("alice", "nobody", "flood")).await;
    }
    until(&relay, |s| s.too_fast + s.unknown_destination == 100).await;
    assert!(relay.stats().unknown_destination < 20);
    send(&mut bob, envelope("bob", "alice", "hello")).await;
    assert_eq!(
        receive(&mut alice).await,
        Ok(envelope("bob", "alice", "hello"))
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_messages_and_stalls_nobody() {
    let relay = relay(RelayLimits {
        queue: 4,
        rate: u32::MAX,
        burst: u32::MAX,
        ..RelayLimits::default()
    })
    .await;
    let (mut alice, mut bob) = (join(&relay, "alice").await, join(&relay, "bob").await);
    let _deaf = join(&relay, "deaf").await;
    until(&relay, |s| s.peers == 3).await;
    let large = "x".repeat(60_000);
    while relay.stats().queue_full == 0 {
        send(&mut alice, envelope("alice", "deaf", &large)).await;
    }
    send(&mut alice, envelope("alice", "bob", "hello")).await;
    assert_eq!(
        receive(&mut bob).await,
        Ok(envelope("alice", "bob", "hello"))
    );
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_places_come_back() {
    let relay = relay(RelayLimits {
        connections: 2,
        ..RelayLimits::default()
    })
    .await;
    let _alice = join(&relay, "alice").await;
    let bob = join(&relay, "bob").await;
    let url = format!("{}/?peer=carol", relay.url());
    assert!(soon("a refusal", connect_async(url)).await.is_err());
    assert_eq!(relay.stats().refused, 1);
    drop(bob);
    until(&relay, |s| s.peers == 1).await;
    let joined = async {
        // The place is free a moment after the name is.
        while connect_async(format!("{}/?peer=carol", relay.url()))
            .await
            .is_err()
        {}
    };
    soon("a place", joined).await;
}

#[tokio::test]
async fn a_silent_peer_is_dropped_and_one_that_answers_pings_is_kept() {
    let limits = RelayLimits {
        ping: Duration::from_millis(20),
        idle: Duration::from_millis(200),
        ..RelayLimits::default()
    };
    let relay = relay(limits).await;
    let mut alice = join(&relay, "alice").await;
    let _silent = join(&relay, "silent").await;
    until(&relay, |s| s.peers == 2).await;
    // To read is to answer pings.
    let reading = tokio::spawn(async move { receive(&mut alice).await });
    until(&relay, |s| s.peers == 1).await;
    assert!(!reading.is_finished());
    reading.abort();
}

#[tokio::test]
async fn a_closed_relay_frees_its_port_and_ends_its_connections() {
    let relay = relay(RelayLimits::default()).await;
    let address = relay.local_addr();
    let mut alice = join(&relay, "alice").await;
    soon("closing", relay.close()).await;
    assert!(receive(&mut alice).await.is_err());
    assert!(Relay::bind(address).await.is_ok());
}
