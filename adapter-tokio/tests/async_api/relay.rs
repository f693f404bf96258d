use std::net::SocketAddr;
use std::time::Duration;

use bowline::PeerId;
use bowline_tokio::relay::{AccessKey, Page, REPLACED, Relay, RelayLimits, RelayStats, StartError};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::common::soon;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn relay(limits: RelayLimits) -> Relay {
    Relay::builder()
        .limits(limits)
        .bind("127.0.0.1:0")
        .await
        .expect("binds")
}

async fn join(relay: &Relay, name: &str) -> Client {
    enter(relay, &format!("peer={name}")).await
}

async fn enter(relay: &Relay, query: &str) -> Client {
    let url = format!("{}/?{query}", relay.url());
    soon("the upgrade", connect_async(url))
        .await
        .expect("upgraded")
        .0
}

/// Receives until the relay says that these are in the room.
async fn until_present(client: &mut Client, peers: &[&str]) {
    let names: Vec<_> = peers.iter().map(|name| format!("{name:?}")).collect();
    let wanted = format!(r#"{{"type":"room","peers":[{}]}}"#, names.join(","));
    while receive(client).await.expect("a presence") != wanted {}
}

/// Sends a request, and gives everything that is answered.
async fn ask(relay: &Relay, request: &[u8]) -> String {
    ask_at(relay.local_addr(), request).await
}

async fn ask_at(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("accepted");
    // It fails when the relay has had enough already.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
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
        let answer = ask(&relay, request).await;
        assert!(!answer.starts_with("HTTP/1.1 101"));
    }
    let queries = [
        "",
        "?peer=",
        "?peer=a%20b",
        "?peer=a&peer=b",
        "?name=a",
        "?room=a",
        "?peer=a&room=",
        "?peer=a&room=b%20c",
    ];
    for query in queries {
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
    until(&relay, |s| s.unnamed == 13).await;
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
async fn a_room_tells_who_comes_and_goes_and_keeps_its_messages() {
    let relay = relay(RelayLimits::default()).await;
    let mut bob = enter(&relay, "peer=bob&room=lobby").await;
    until_present(&mut bob, &["bob"]).await;
    let mut alice = enter(&relay, "peer=alice&room=lobby").await;
    until_present(&mut alice, &["alice", "bob"]).await;
    until_present(&mut bob, &["alice", "bob"]).await;
    let mut elsewhere = enter(&relay, "peer=bob&room=attic").await;
    until_present(&mut elsewhere, &["bob"]).await;
    let mut nowhere = join(&relay, "bob").await;
    until(&relay, |s| s.peers == 4).await;

    let text = envelope("alice", "bob", "hello");
    send(&mut alice, text.clone()).await;
    assert_eq!(receive(&mut bob).await, Ok(text));
    for (stranger, query) in [(&mut elsewhere, "attic"), (&mut nowhere, "none")] {
        let text = envelope("bob", "bob", query);
        send(stranger, text.clone()).await;
        assert_eq!(receive(stranger).await, Ok(text), "the first that comes");
    }
    assert_eq!(relay.stats().replaced, 0);
    drop(alice);
    until_present(&mut bob, &["bob"]).await;
}

#[tokio::test]
async fn who_comes_back_is_told_who_is_there() {
    let relay = relay(RelayLimits::default()).await;
    let mut old = enter(&relay, "peer=alice&room=lobby").await;
    until_present(&mut old, &["alice"]).await;
    let mut new = enter(&relay, "peer=alice&room=lobby").await;
    until_present(&mut new, &["alice"]).await;
    let end = async { while receive(&mut old).await != Err(Some(REPLACED)) {} };
    soon("the end of the older connection", end).await;
}

#[tokio::test]
async fn of_a_burst_of_joins_the_last_state_is_told_to_all() {
    let relay = relay(RelayLimits {
        room: 20,
        ..RelayLimits::default()
    })
    .await;
    let names: Vec<_> = (10..30).map(|number| format!("p{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut clients = Vec::new();
    for name in &names {
        clients.push(enter(&relay, &format!("peer={name}&room=lobby")).await);
    }
    for client in &mut clients {
        until_present(client, &names).await;
    }
}

#[tokio::test]
async fn a_further_peer_of_a_full_room_is_refused_and_places_come_back() {
    let relay = relay(RelayLimits {
        room: 2,
        ..RelayLimits::default()
    })
    .await;
    let mut alice = enter(&relay, "peer=alice&room=lobby").await;
    let bob = enter(&relay, "peer=bob&room=lobby").await;
    until_present(&mut alice, &["alice", "bob"]).await;
    let url = format!("{}/?peer=carol&room=lobby", relay.url());
    let refused = soon("a refusal", connect_async(&url)).await;
    assert!(matches!(refused, Err(Error::Http(r)) if r.status() == 503));
    assert_eq!((relay.stats().room_full, relay.stats().unnamed), (1, 0));
    drop(bob);
    until_present(&mut alice, &["alice"]).await;
    let mut carol = soon("the upgrade", connect_async(&url))
        .await
        .expect("a place")
        .0;
    until_present(&mut carol, &["alice", "carol"]).await;
}

#[tokio::test]
async fn pages_are_served_beside_the_signalling_with_headers_that_confine_them() {
    const PAGES: &[Page] = &[Page {
        path: "/a.css",
        content_type: "text/css",
        body: b"body {}",
    }];
    let relay = Relay::builder()
        .pages(PAGES)
        .bind("127.0.0.1:0")
        .await
        .expect("binds");
    let get = ask(&relay, b"GET /a.css?v=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let (head, body) = get.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, "body {}");
    for header in [
        "content-type: text/css",
        "content-length: 7",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none';",
    ] {
        assert!(head.contains(header), "{header} is not in:\n{head}");
    }
    let head = ask(&relay, b"HEAD /a.css HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"));
    let post = ask(&relay, b"POST /a.css HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let other = ask(&relay, b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(other.starts_with("HTTP/1.1 404"), "{other}");
    let mut alice = enter(&relay, "peer=alice&room=lobby").await;
    until_present(&mut alice, &["alice"]).await;
    until(&relay, |s| s.unnamed == 2).await;
}

#[tokio::test]
async fn with_an_access_key_only_a_token_lets_in() {
    let key = AccessKey::new(&[7; 32]).expect("long enough");
    let relay = Relay::builder()
        .access(key.clone())
        .bind("127.0.0.1:0")
        .await
        .expect("binds");
    let alice = PeerId::new("alice").expect("valid");
    let token = key.issue(Some(alice), None, Duration::from_secs(60));
    for query in [
        "peer=alice".to_owned(),
        "peer=alice&token=".to_owned(),
        format!("peer=bob&token={token}"),
        format!("peer=alice&token={token}&token={token}"),
    ] {
        let url = format!("{}/?{query}", relay.url());
        let refused = soon("an answer", connect_async(url)).await;
        assert!(
            matches!(refused, Err(Error::Http(r)) if r.status() == 401),
            "{query}"
        );
    }
    assert_eq!(relay.stats().unauthorized, 4);
    let _alice = enter(&relay, &format!("peer=alice&room=lobby&token={token}")).await;
    until(&relay, |s| s.peers == 1).await;
}

#[tokio::test]
async fn connections_from_one_address_have_a_limit_of_their_own() {
    let relay = relay(RelayLimits {
        per_address: 1,
        ..RelayLimits::default()
    })
    .await;
    let _alice = join(&relay, "alice").await;
    let url = format!("{}/?peer=bob", relay.url());
    assert!(soon("a refusal", connect_async(url)).await.is_err());
    let stats = relay.stats();
    assert_eq!((stats.refused, stats.refused_address), (0, 1));
}

#[tokio::test]
async fn the_monitor_tells_health_and_figures_and_nobody_else_does() {
    let relay = Relay::builder()
        .monitor(SocketAddr::from(([127, 0, 0, 1], 0)))
        .bind("127.0.0.1:0")
        .await
        .expect("binds");
    let monitor = relay.monitor_addr().expect("it has one");
    let _alice = enter(&relay, "peer=alice&room=lobby").await;
    until(&relay, |s| s.peers == 1).await;
    let get = async |path| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        ask_at(monitor, request.as_bytes()).await
    };
    let health = get("/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("\r\n\r\nok\n"));
    let metrics = get("/metrics").await;
    for part in [
        "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n",
        "\n# TYPE bowline_relay_peers gauge\n",
        "\nbowline_relay_peers 1\n",
        "\nbowline_relay_accepted_connections_total 1\n",
        "\nbowline_relay_dropped_messages_total{cause=\"queue_full\"} 0\n",
    ] {
        assert!(metrics.contains(part), "{part} is not in:\n{metrics}");
    }
    assert!(metrics.ends_with("\n# EOF\n"));
    assert!(!metrics.contains("nats"), "there is none");
    assert!(get("/").await.starts_with("HTTP/1.1 404"));
    let post = ask_at(monitor, b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let elsewhere = ask(&relay, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
}

#[tokio::test]
async fn a_relay_that_drains_sends_what_it_has_then_everybody_away_and_lets_nobody_in() {
    let relay = Relay::builder()
        .monitor(SocketAddr::from(([127, 0, 0, 1], 0)))
        .bind("127.0.0.1:0")
        .await
        .expect("binds");
    let (monitor, url) = (relay.monitor_addr().expect("it has one"), relay.url());
    let mut alice = enter(&relay, "peer=alice&room=lobby").await;
    let mut bob = enter(&relay, "peer=bob&room=lobby").await;
    until_present(&mut bob, &["alice", "bob"]).await;
    let text = envelope("alice", "bob", "the last");
    send(&mut alice, text.clone()).await;
    until(&relay, |s| s.forwarded == 1).await;
    let draining = tokio::spawn(relay.drain(Duration::from_secs(4)));
    let refused = async {
        // The first may come before the relay drains.
        loop {
            match connect_async(format!("{url}/?peer=carol")).await {
                Err(Error::Http(response)) if response.status() == 503 => break,
                other => drop(other),
            }
        }
    };
    soon("a refusal", refused).await;
    let health = ask_at(monitor, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 503") && health.ends_with("draining\n"));
    assert_eq!(receive(&mut bob).await, Ok(text));
    for client in [&mut alice, &mut bob] {
        let end = async {
            loop {
                if let Err(code) = receive(client).await {
                    break code;
                }
            }
        };
        assert_eq!(soon("the end", end).await, Some(1012));
    }
    drop((alice, bob));
    soon("the end of the relay", draining)
        .await
        .expect("it drains");
    assert!(TcpStream::connect(monitor).await.is_err());
}

#[tokio::test]
async fn a_relay_does_not_wait_longer_for_those_who_stay() {
    let relay = relay(RelayLimits::default()).await;
    let _stubborn = join(&relay, "stubborn").await;
    until(&relay, |s| s.peers == 1).await;
    soon("the end", relay.drain(Duration::from_millis(50))).await;
}

#[tokio::test]
async fn a_relay_without_its_bus_does_not_start() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = nobody.local_addr().expect("bound");
    drop(nobody);
    let relay = Relay::builder()
        .nats(&format!("nats://{address}"))
        .bind("127.0.0.1:0");
    let refused = soon("an answer", relay).await;
    assert!(matches!(refused, Err(StartError::Nats(_))), "{refused:?}");
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
