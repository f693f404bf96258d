//! P3, P4, P10: what arrives is what was sent.

use std::time::Duration;

use bowline::{ChannelConfig, Message};
use bowline_interop::duo::{Duo, Meeting};
use bowline_interop::foreign::{Burst, crc32, numbered};

use super::sizes::limit_of;
use super::{Line, QUICK, expect_equal, opened_by_offerer, opened_by_us, take};
use crate::table::Outcome;
use crate::{Bench, Failure, Verdict};

/// P3: text stays text and binary stays binary.
pub(super) async fn text_and_binary_arrive_unchanged(bench: Bench) -> Verdict {
    let every_byte: Vec<u8> = (0..=255).collect();
    let messages = [
        Message::text("hello"),
        Message::text("世界你好"),
        Message::binary(vec![0x00, 0xff]),
        Message::binary(every_byte),
    ];
    exchange(bench, &messages).await
}

/// P4: between two others, an empty one of each kind.
pub(super) async fn empty_messages_arrive_once_and_in_their_place(bench: Bench) -> Verdict {
    let messages = [
        Message::text("before"),
        Message::text(""),
        Message::binary(vec![]),
        Message::binary(b"after".as_slice()),
    ];
    exchange(bench, &messages).await
}

/// Sends these messages both ways, and these alone.
async fn exchange(bench: Bench, messages: &[Message]) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let line = opened_by_offerer(&duo).await?;
    for message in messages {
        duo.bowline.send(line.ours, message.clone()).await?;
        send(&duo, line, message).await?;
    }
    // One more, so that one too many before it would be seen.
    let last = Message::text("last");
    duo.bowline.send(line.ours, last.clone()).await?;
    send(&duo, line, &last).await?;
    let expected: Vec<_> = messages.iter().cloned().chain([last]).collect();
    expect_equal(
        &duo.peer.messages(line.theirs, expected.len(), QUICK).await,
        &expected,
    );
    assert_eq!(take(&duo, line.ours, expected.len()).await?, expected);
    duo.part().await;
    Ok(Outcome::Passed)
}

async fn send(duo: &Duo, line: Line, message: &Message) -> Result<(), Failure> {
    match message.as_text() {
        Some(text) => duo.peer.send_text(line.theirs, text).await?,
        None => duo.peer.send_binary(line.theirs, &message.data).await?,
    }
    Ok(())
}

/// P10: both ways at once.
pub(super) async fn a_hundred_large_messages_each_way_keep_order_and_bytes(
    bench: Bench,
) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let line = opened_by_us(&duo, ChannelConfig::new("bulk")).await?;
    let size = limit_of(&duo.by_peer()).min(LARGE);
    let burst = Burst {
        count: COUNT,
        size,
        high: 4 * size,
        low: size,
    };
    let burst = async { Ok(duo.peer.burst(line.theirs, burst).await?) };
    // What fails first says why.
    tokio::try_join!(
        send_numbered(&duo, line, size),
        take_numbered(&duo, line, size),
        burst
    )?;
    let received = duo.peer.messages(line.theirs, COUNT as usize, BULK).await;
    for (number, message) in (0..).zip(&received) {
        let expected = numbered(size, number);
        assert_eq!(
            (message.size, message.crc),
            (size, crc32(&expected)),
            "message {number}"
        );
    }
    duo.part().await;
    if size == LARGE {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::Noted(format!(
        "with messages of {size} bytes, the most that it takes"
    )))
}

async fn send_numbered(duo: &Duo, line: Line, size: usize) -> Result<(), Failure> {
    for number in 0..COUNT {
        duo.bowline.send(line.ours, numbered(size, number)).await?;
    }
    Ok(())
}

async fn take_numbered(duo: &Duo, line: Line, size: usize) -> Result<(), Failure> {
    for number in 0..COUNT {
        let message = tokio::time::timeout(BULK, duo.bowline.recv_from(line.ours)).await?;
        let message =
            message.ok_or_else(|| format!("the channel ended before message {number}"))?;
        assert!(message.data == numbered(size, number), "message {number}");
    }
    Ok(())
}

const COUNT: u32 = 100;
const LARGE: usize = 256 * 1_024;
/// How long one of them may keep the others waiting: the slowest stack takes half a microsecond a byte.
const BULK: Duration = Duration::from_secs(60);
