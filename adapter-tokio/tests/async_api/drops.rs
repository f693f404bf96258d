use std::time::Duration;

use bowline::{Cause, ChannelKind, PeerState, SendRefusal};
use bowline_tokio::ConnectError;
use bowline_tokio::signalling::{LinkStatus, MemoryHub};
use tokio::sync::watch;

use crate::common::{Pair, connect, id, on_loopback, pair, soon};

/// Waits until the driver is gone: it holds the link.
async fn driver_ends(mut link: watch::Receiver<LinkStatus>) {
    soon("the end of the driver", async {
        while link.changed().await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn an_unused_endpoint_ends_when_it_is_dropped() {
    let signalling = MemoryHub::new().join(id("alice"));
    let link = signalling.status();
    let alice = on_loopback("alice", signalling).bind().expect("binds");
    assert_eq!(
        alice.local_addrs().len(),
        1,
        "an endpoint knows its address at once"
    );
    let other_handle = alice.clone();
    drop(alice);
    assert_eq!(other_handle.id(), id("alice"));
    drop(other_handle);
    driver_ends(link).await;
}

#[tokio::test]
async fn connections_outlive_the_handles_of_their_endpoint_and_the_driver_ends_with_the_last() {
    let Pair {
        alice,
        bob,
        to_bob,
        to_alice,
    } = pair().await;
    let (link, other_link) = (alice.signalling_status(), bob.signalling_status());
    drop((alice, bob));
    to_bob
        .send(ChannelKind::Reliable, "still here")
        .await
        .expect("queued");
    assert_eq!(
        soon("the message", to_alice.recv()).await.map(|m| m.1),
        Some("still here".into())
    );
    to_bob
        .send(ChannelKind::Reliable, "last word")
        .await
        .expect("queued");
    drop(to_bob);
    driver_ends(link.expect("there is a link")).await;
    assert_eq!(
        soon("the last word", to_alice.recv()).await.map(|m| m.1),
        Some("last word".into())
    );
    let report = soon("the news", to_alice.closed()).await;
    assert_eq!(report.cause, Some(Cause::RemoteClose));
    // A connection that is over keeps nothing alive.
    driver_ends(other_link.expect("there is a link")).await;
}

#[tokio::test]
async fn dropping_an_offer_refuses_it() {
    let hub = MemoryHub::new();
    let alice = on_loopback("alice", hub.join(id("alice")))
        .bind()
        .expect("binds");
    let bob = on_loopback("bob", hub.join(id("bob")))
        .bind()
        .expect("binds");
    let dropping = async { drop(bob.accept().await.expect("open")) };
    let (failed, ()) = soon("the refusal", async {
        tokio::join!(alice.connect(bob.id()), dropping)
    })
    .await;
    assert!(
        matches!(
            failed,
            Err(ConnectError::Ended {
                cause: Cause::PeerRefused,
                ..
            })
        ),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_cancelled_connect_ends_the_attempt_and_another_may_follow() {
    let hub = MemoryHub::new();
    let alice = on_loopback("alice", hub.join(id("alice")))
        .bind()
        .expect("binds");
    let attempt = tokio::time::timeout(Duration::from_millis(50), alice.connect(id("bob")));
    assert!(attempt.await.is_err(), "there is no bob yet");
    soon("the end of the attempt", async {
        while !alice.peers().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let bob = on_loopback("bob", hub.join(id("bob")))
        .bind()
        .expect("binds");
    let (to_bob, _to_alice) = connect(&alice, &bob).await;
    assert_eq!(to_bob.state(), PeerState::Connected);
}

#[tokio::test]
async fn closing_an_endpoint_ends_whatever_waits_on_it() {
    let Pair {
        alice,
        bob,
        to_bob,
        to_alice,
    } = pair().await;
    let accepting = tokio::spawn({
        let alice = alice.clone();
        async move { alice.accept().await.is_none() }
    });
    let receiving = tokio::spawn({
        let to_bob = to_bob.clone();
        async move { to_bob.recv().await }
    });
    let channel = tokio::spawn({
        let to_bob = to_bob.clone();
        async move { to_bob.accept_channel().await }
    });
    soon("closing", alice.close()).await;
    assert!(soon("accept", accepting).await.expect("no panic"));
    assert_eq!(soon("recv", receiving).await.expect("no panic"), None);
    assert_eq!(
        soon("accept_channel", channel).await.expect("no panic"),
        None
    );
    let refused = to_bob
        .send(ChannelKind::Reliable, "late")
        .await
        .expect_err("over");
    assert_eq!(refused.reason, SendRefusal::Closing);
    let failed = soon("connect", alice.connect(id("carol")))
        .await
        .map(|c| c.peer());
    assert_eq!(failed, Err(ConnectError::EndpointClosed));
    assert!(soon("events", alice.events().next()).await.is_none());
    soon("the news", to_alice.closed()).await;
    // Closing again, and closing what is over, is no error.
    soon("closing", alice.close()).await;
    soon("closing", to_bob.close()).await;
    soon("closing", bob.close()).await;
}

#[tokio::test]
async fn an_aborted_endpoint_ends_at_once_and_tells_nobody() {
    let Pair {
        alice,
        to_bob,
        to_alice,
        ..
    } = pair().await;
    alice.abort();
    assert_eq!(soon("recv", to_bob.recv()).await, None);
    assert_eq!(to_bob.state(), PeerState::Closed);
    assert_eq!(to_alice.state(), PeerState::Connected);
}

#[test]
fn handles_survive_their_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("builds");
    let Pair {
        alice,
        bob,
        to_bob,
        to_alice,
    } = runtime.block_on(pair());
    runtime.shutdown_background();
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    other.block_on(async {
        assert_eq!(soon("recv", to_bob.recv()).await, None);
        soon("closing", to_alice.close()).await;
        soon("closing", alice.close()).await;
        soon("closing", bob.close()).await;
    });
    drop((alice, bob, to_bob, to_alice));
}
