use std::time::Duration;

use bowline::{ChannelKind, Config, Message, SendError, SendRefusal};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Connection, Delivery, Endpoint};
use futures_util::FutureExt;
use tokio::time::timeout;

use crate::common::{Pair, connect, id, on_loopback, pair, soon};

const KIB: usize = 1_024;
const CHUNK: usize = 16 * KIB;

/// A connection with small queues: what one side may have under way fits into 400 KiB.
async fn narrow() -> (Endpoint, Endpoint, Connection, Connection) {
    let config = Config::builder()
        .loopback(true)
        .ipv6(false)
        .queue_bytes(64 * KIB)
        .low_water(16 * KIB)
        .receive_window(128 * KIB)
        .backlog_max(64 * KIB)
        .close_drain(Duration::from_millis(300))
        .close_linger(Duration::from_millis(100));
    let config = config.build().expect("valid");
    let hub = MemoryHub::new();
    let bind = |name| {
        on_loopback(name, hub.join(id(name)))
            .config(config.clone())
            .bind()
            .expect("binds")
    };
    let (alice, bob) = (bind("alice"), bind("bob"));
    let (to_bob, to_alice) = connect(&alice, &bob).await;
    (alice, bob, to_bob, to_alice)
}

fn chunk(number: usize) -> Message {
    let mut data = vec![0; CHUNK];
    data[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Message::binary(data)
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.data[..8].try_into().expect("eight bytes"))
}

/// Sends until nothing has moved for a while and the queue is full to the brim: `send` waits for the low-water mark,
/// `try_send` does not. Gives how many messages were accepted.
async fn fill(connection: &Connection) -> usize {
    let mut sent = 0;
    while let Ok(result) = timeout(
        Duration::from_millis(500),
        connection.send(ChannelKind::File, chunk(sent)),
    )
    .await
    {
        result.expect("queued");
        sent += 1;
        assert!(
            sent * CHUNK < 800 * KIB,
            "a reader that does not read holds nobody back"
        );
    }
    while connection.try_send(ChannelKind::File, chunk(sent)).is_ok() {
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_waits_for_a_slow_reader_and_a_cancelled_send_sends_nothing() {
    let (_alice, _bob, to_bob, to_alice) = narrow().await;
    let sent = fill(&to_bob).await;
    assert!(
        sent * CHUNK >= 128 * KIB,
        "at least a window is accepted, not {sent} messages"
    );
    let full = to_bob.try_send(ChannelKind::File, chunk(sent));
    assert_eq!(
        full,
        Err(SendError {
            reason: SendRefusal::Full,
            message: chunk(sent)
        })
    );
    // Other channels do not wait behind the full one.
    to_bob
        .send(ChannelKind::Control, "in between")
        .await
        .expect("queued");
    assert_eq!(
        soon("control", to_alice.recv_from(ChannelKind::Control)).await,
        Some("in between".into())
    );

    // The send that `fill` cancelled has sent nothing, so its number comes exactly once.
    let sender = to_bob.clone();
    let sending = tokio::spawn(async move {
        let mut last = None;
        for number in sent..sent + 50 {
            last = Some(
                sender
                    .send(ChannelKind::File, chunk(number))
                    .await
                    .expect("queued"),
            );
        }
        last.expect("fifty")
    });
    for expected in 0..sent as u64 + 50 {
        let message = soon("a message", to_alice.recv_from(ChannelKind::File))
            .await
            .expect("connected");
        assert_eq!(number(&message), expected);
    }
    let last = soon("the sender", sending).await.expect("no panic");
    assert_eq!(
        soon("the delivery", to_bob.delivered(last)).await,
        Delivery::Delivered
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_take_turns_in_the_order_in_which_they_came() {
    let (_alice, _bob, to_bob, to_alice) = narrow().await;
    let sent = fill(&to_bob).await;
    let mut senders = Vec::new();
    for place in sent..sent + 20 {
        let mut sending = Box::pin({
            let connection = to_bob.clone();
            async move { connection.send(ChannelKind::File, chunk(place)).await }
        });
        // The first poll takes the place in the queue.
        assert!((&mut sending).now_or_never().is_none());
        senders.push(tokio::spawn(sending));
    }
    for expected in 0..sent as u64 + 20 {
        let message = soon("a message", to_alice.recv_from(ChannelKind::File))
            .await
            .expect("connected");
        assert_eq!(number(&message), expected);
    }
    for sender in senders {
        assert!(soon("a sender", sender).await.expect("no panic").is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_recv_takes_nothing() {
    let Pair {
        to_bob, to_alice, ..
    } = pair().await;
    let sending = tokio::spawn(async move {
        for number in 0..2_000 {
            to_bob
                .send(ChannelKind::Reliable, chunk(number))
                .await
                .expect("queued");
        }
        to_bob
    });
    let receiving = async {
        let mut expected = 0;
        while expected < 2_000 {
            let Ok(Some((_, message))) = timeout(Duration::from_micros(50), to_alice.recv()).await
            else {
                continue;
            };
            assert_eq!(number(&message), expected);
            expected += 1;
        }
    };
    soon("all messages", receiving).await;
    drop(soon("the sender", sending).await.expect("no panic"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_send_ends_with_its_connection_and_gives_the_message_back() {
    let (_alice, bob, to_bob, _to_alice) = narrow().await;
    let sent = fill(&to_bob).await;
    let waiting = tokio::spawn({
        let connection = to_bob.clone();
        async move { connection.send(ChannelKind::File, chunk(sent)).await }
    });
    bob.abort();
    // Bob is silent; alice gives up with what she could not deliver.
    let report = soon("closing", to_bob.close()).await;
    assert!(!report.undelivered.is_empty());
    let refused = soon("the sender", waiting).await.expect("no panic");
    assert_eq!(
        refused,
        Err(SendError {
            reason: SendRefusal::Closing,
            message: chunk(sent)
        })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_that_another_channel_takes_is_waited_for_too() {
    let config = Config::builder()
        .loopback(true)
        .ipv6(false)
        .queue_bytes(64 * KIB)
        .low_water(16 * KIB);
    let config = config
        .peer_queue_bytes(64 * KIB)
        .receive_window(128 * KIB)
        .build()
        .expect("valid");
    let hub = MemoryHub::new();
    let bind = |name| {
        on_loopback(name, hub.join(id(name)))
            .config(config.clone())
            .bind()
            .expect("binds")
    };
    let (alice, bob) = (bind("alice"), bind("bob"));
    let (to_bob, to_alice) = connect(&alice, &bob).await;
    let sent = fill(&to_bob).await;
    let mut sending = Box::pin(to_bob.send(ChannelKind::Reliable, chunk(7)));
    assert!(
        (&mut sending).now_or_never().is_none(),
        "the queue of the peer is full"
    );
    for expected in 0..sent as u64 {
        let message = soon("a message", to_alice.recv_from(ChannelKind::File))
            .await
            .expect("connected");
        assert_eq!(number(&message), expected);
    }
    assert!(soon("the sender", sending).await.is_ok());
    assert_eq!(
        soon("the message", to_alice.recv_from(ChannelKind::Reliable)).await,
        Some(chunk(7))
    );
}

#[tokio::test]
async fn a_reader_that_always_finds_a_message_lets_others_run() {
    let Pair {
        to_bob, to_alice, ..
    } = pair().await;
    for number in 0..500_u32 {
        to_bob
            .send(ChannelKind::Reliable, number.to_be_bytes().to_vec())
            .await
            .expect("queued");
    }
    let came = |connection: &Connection| {
        connection
            .metrics()
            .channels
            .iter()
            .map(|c| c.messages_received)
            .sum::<u64>()
    };
    soon("all messages", async {
        while came(&to_alice) < 500 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let other = tokio::spawn(async {});
    for _ in 0..500 {
        to_alice.recv().await.expect("is there");
    }
    assert!(other.is_finished());
}

#[tokio::test]
async fn a_message_that_is_too_large_comes_back_at_once() {
    let Pair { to_bob, .. } = pair().await;
    let limit = Config::default().channels().max_message_size;
    let large = Message::binary(vec![0; limit + 1]);
    let refused = soon("the refusal", to_bob.send(ChannelKind::File, large))
        .await
        .expect_err("too large");
    assert_eq!(
        (refused.reason, refused.message.len()),
        (SendRefusal::TooLarge { limit }, limit + 1)
    );
}
