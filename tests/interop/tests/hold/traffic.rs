//! Numbered messages each way, until a disturbance is over.

use std::time::Duration;

use bowline::{ChannelKind, Message};
use bowline_tokio::{Connection, Delivery};
use tokio::sync::watch;

/// Waits for `future`, and fails with `what` when it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(BACK, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {BACK:?}"),
    }
}

/// Sends numbered messages each way until `disturbance` is over. All of them must arrive once and in order, and be told
/// as delivered.
pub(crate) async fn survives(ends: &[Connection; 2], disturbance: impl Future<Output = ()>) {
    let (over, watched) = watch::channel(false);
    let disturb = async {
        disturbance.await;
        over.send(true).expect("the senders watch");
    };
    let [there, here] = ends;
    let flows = async {
        tokio::join!(
            disturb,
            send(there, watched.clone()),
            receive(here),
            send(here, watched.clone()),
            receive(there)
        )
    };
    let ((), sent, received, sent_back, received_back) = soon("every message", flows).await;
    assert_eq!((received, received_back), (sent, sent_back));
}

/// Sends [`LEAST`] numbers, and more until it is over, and an empty message at the end. Gives how many, when all are told to be delivered.
async fn send(from: &Connection, over: watch::Receiver<bool>) -> u64 {
    let mut ticks = tokio::time::interval(PACE);
    let mut receipts = Vec::new();
    for number in 0_u64.. {
        let is_over = *over.borrow() && number >= LEAST;
        let message = if is_over {
            Message::binary(Vec::new())
        } else {
            Message::binary(number.to_be_bytes().to_vec())
        };
        receipts.push(from.send(CHANNEL, message).await.expect("it is open"));
        if is_over {
            break;
        }
        ticks.tick().await;
    }
    for receipt in &receipts {
        let outcome = from.delivered(*receipt).await;
        assert_eq!(outcome, Delivery::Delivered, "{receipt:?}");
    }
    receipts.len() as u64 - 1
}

/// Takes numbers in their order until the empty message. Gives how many there were.
async fn receive(at: &Connection) -> u64 {
    for expected in 0_u64.. {
        let message = at.recv_from(CHANNEL).await.expect("it is open");
        if message.is_empty() {
            return expected;
        }
        assert_eq!(number(&message), expected, "in order, and each once");
    }
    unreachable!("there are not so many numbers")
}

pub(crate) fn number(message: &Message) -> u64 {
    let bytes = message.data[..].try_into().expect("a number of 8 bytes");
    u64::from_be_bytes(bytes)
}

pub(crate) const CHANNEL: ChannelKind = ChannelKind::Reliable;
/// So many numbers at least.
const LEAST: u64 = 200;
/// Between two messages.
pub(crate) const PACE: Duration = Duration::from_millis(10);
/// How long a connection may take to come back.
pub(crate) const BACK: Duration = Duration::from_secs(75);
