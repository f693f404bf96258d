//! P11: backpressure on both sides.

use std::time::Duration;

use bowline::{ChannelConfig, ChannelId, Config, Event, Message, SendRefusal};
use bowline_interop::duo::{Duo, Meeting};
use bowline_interop::foreign::{Burst, numbered};

use super::{Line, opened_by_us, take};
use crate::table::Outcome;
use crate::{Bench, Failure, Verdict};

/// P11: bowline sends as fast as it is let.
pub(super) async fn the_queue_is_bounded_and_one_event_follows_each_refusal(
    bench: Bench,
) -> Verdict {
    let config = Config::builder().queue_bytes(HIGH).low_water(LOW).build()?;
    let most_below = config.channels().backlog_max + MESSAGE;
    let duo = Meeting::new(bench.offerer)
        .config(config)
        .connect(&*bench.stack().await?)
        .await?;
    let line = opened_by_us(&duo, ChannelConfig::new("fast")).await?;
    // Made before: to make one takes as long as to send it.
    let messages = (0..COUNT).map(|number| Message::from(numbered(MESSAGE, number)));
    let messages: Vec<_> = messages.collect();
    let mut refusals = 0;
    for message in messages {
        let mut message = Some(message);
        while let Some(next) = message.take() {
            if let Err(error) = duo.bowline.try_send(line.ours, next) {
                assert_eq!(error.reason, SendRefusal::Full);
                refusals += 1;
                writable(&duo, line.ours, refusals).await;
                message = Some(error.message);
            }
        }
        let queued = duo.bowline.queued(line.ours);
        assert!(queued <= HIGH, "{queued} bytes are queued");
        let below = duo.bowline.metrics().backlog;
        assert!(below <= most_below, "{below} bytes wait in SCTP");
    }
    assert!(refusals > 0, "the queue was full at least once");
    let received = duo.peer.messages(line.theirs, COUNT as usize, SLOW).await;
    assert!(received.iter().all(|message| message.size == MESSAGE));
    assert_eq!(
        duo.events.count(|e| is_writable(e, line.ours)),
        refusals,
        "one event for each refusal"
    );
    duo.part().await;
    Ok(Outcome::Passed)
}

/// Waits for the event that follows a refusal, and sees that there was none too many.
async fn writable(duo: &Duo, channel: ChannelId, refusals: usize) {
    let found = |events: &[Event]| {
        let count = events.iter().filter(|e| is_writable(e, channel)).count();
        (count >= refusals).then_some(count)
    };
    let count = duo.events.within(SLOW, "room in the queue", found).await;
    assert_eq!(count, refusals);
    let queued = duo.bowline.queued(channel);
    assert!(queued <= LOW, "{queued} bytes are still queued");
}

fn is_writable(event: &Event, wanted: ChannelId) -> bool {
    matches!(event, Event::Writable { channel, .. } if *channel == wanted)
}

/// P11: bowline reads nothing until the peer, which has three times as much as its receive window, stops sending.
pub(super) async fn what_a_slow_reader_has_not_read_is_kept_for_it(bench: Bench) -> Verdict {
    let window = Config::default().channels().receive_window;
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let line = opened_by_us(&duo, ChannelConfig::new("slow")).await?;
    let burst = Burst {
        count: UNREAD,
        size: MESSAGE,
        high: HIGH,
        low: LOW,
    };
    let report = async { Ok::<_, Failure>(duo.peer.burst(line.theirs, burst).await?) };
    let reading = async {
        let unread = until_nothing_comes(&duo, line).await?;
        assert!(
            (window / 2..=window + UNDER_WAY).contains(&unread),
            "{unread} bytes are unread"
        );
        read_all(&duo, line).await
    };
    let (report, ()) = tokio::try_join!(report, reading)?;
    assert!(report.most <= HIGH + MESSAGE, "{report:?}");
    duo.part().await;
    Ok(Outcome::Passed)
}

/// Waits until nothing more comes, and gives how many bytes have come then.
async fn until_nothing_comes(duo: &Duo, line: Line) -> Result<usize, Failure> {
    let received = || {
        let channels = duo.bowline.metrics().channels;
        let of_line = channels.into_iter().find(|c| c.channel == line.ours);
        of_line.map_or(0, |channel| channel.bytes_received)
    };
    let quiet = async {
        let mut looks = tokio::time::interval(QUIET);
        let mut before = 0;
        loop {
            looks.tick().await;
            let now = received();
            if now > 0 && now == before {
                return now;
            }
            before = now;
        }
    };
    Ok(usize::try_from(tokio::time::timeout(SLOW, quiet).await?)?)
}

async fn read_all(duo: &Duo, line: Line) -> Result<(), Failure> {
    for (number, message) in (0..).zip(take(duo, line.ours, UNREAD as usize).await?) {
        assert!(
            message.data == numbered(MESSAGE, number),
            "message {number}"
        );
    }
    Ok(())
}

/// The high mark of the sender.
const HIGH: usize = 256 * 1_024;
/// Its low mark.
const LOW: usize = 64 * 1_024;
const MESSAGE: usize = 16 * 1_024;
/// Messages that bowline sends: 8 MiB.
const COUNT: u32 = 512;
/// Messages that the peer has for bowline: 12 MiB.
const UNREAD: u32 = 768;
/// What may come although the window is full. Chromium, Firefox and aiortc send until nothing is let in any more.
const UNDER_WAY: usize = 2 * 1_024 * 1_024;
/// A peer from which nothing comes for this long has stopped.
const QUIET: Duration = Duration::from_millis(500);
/// How long the slowest stack may keep bowline waiting.
const SLOW: Duration = Duration::from_secs(30);
