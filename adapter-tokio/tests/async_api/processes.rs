use std::process::Stdio;

use bowline::{ChannelKind, PeerState};
use bowline_tokio::relay::Relay;
use bowline_tokio::signalling::websocket;
use bowline_tokio::{Delivery, Endpoint};
use tokio::process::Command;

use crate::common::{id, on_loopback, soon};

/// Where the process that this test starts finds the relay.
const RELAY: &str = "BOWLINE_TEST_RELAY";

/// This test runs twice: as alice, and in a process that she starts as bob.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_talk() {
    match std::env::var(RELAY) {
        Ok(url) => bob(&url).await,
        Err(_) => alice().await,
    }
}

async fn alice() {
    let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
    let alice = endpoint(&relay.url(), "alice");
    let mut bob = Command::new(std::env::current_exe().expect("has a path"))
        .args(["--exact", "processes::two_processes_talk"])
        .env(RELAY, relay.url())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let to_bob = soon("the connection", alice.connect(id("bob")))
        .await
        .expect("comes up");
    for kind in [
        ChannelKind::Control,
        ChannelKind::Reliable,
        ChannelKind::File,
    ] {
        for number in 0..50_u8 {
            let sent = to_bob
                .send(kind, vec![number; 10_000])
                .await
                .expect("queued");
            let echo = soon("the echo", to_bob.recv_from(kind))
                .await
                .expect("connected");
            assert_eq!(echo.data, vec![number; 10_000]);
            assert_eq!(
                soon("the delivery", to_bob.delivered(sent)).await,
                Delivery::Delivered
            );
        }
    }
    let report = soon("closing", to_bob.close()).await;
    assert_eq!(
        (report.state, report.undelivered.len()),
        (PeerState::Closed, 0)
    );
    soon("closing", alice.close()).await;
    assert!(
        soon("bob's exit", bob.wait())
            .await
            .expect("waits")
            .success()
    );
}

async fn bob(relay: &str) {
    let bob = endpoint(relay, "bob");
    let incoming = soon("alice", bob.accept()).await.expect("open");
    let to_alice = soon("the connection", incoming.accept())
        .await
        .expect("comes up");
    while let Some((channel, message)) = soon("a message", to_alice.recv()).await {
        to_alice.send(channel, message).await.expect("queued");
    }
    assert_eq!(to_alice.state(), PeerState::Closed);
    soon("closing", bob.close()).await;
}

fn endpoint(relay: &str, name: &str) -> Endpoint {
    let link = websocket(relay, id(name)).expect("a valid url");
    on_loopback(name, link).bind().expect("binds")
}
