//! P9: how large a message may be.

use bowline::{ChannelConfig, Config, Message, SendRefusal};
use bowline_interop::bridge::attribute;
use bowline_interop::duo::{Duo, Meeting};
use bowline_interop::foreign::{Burst, Kind, crc32, numbered};

use super::{Line, QUICK, opened_by_us, take, talk};
use crate::table::Outcome;
use crate::{Bench, Failure, Verdict};

/// P9: of what the peer announces, up to what is sensible to send at once; and of what bowline announces.
pub(super) async fn the_largest_message_arrives_and_a_larger_one_is_refused(
    bench: Bench,
) -> Verdict {
    // Firefox takes a gigabyte, which its JavaScript would have to hold.
    let cap = |sdp: &str| with_limit(sdp, Some(limit_of(sdp).min(MOST)));
    let duo = Meeting::new(bench.offerer)
        .to_bowline(cap)
        .connect(&*bench.stack().await?)
        .await?;
    let announced = limit_of(&duo.by_peer());
    let line = opened_by_us(&duo, ChannelConfig::new("large")).await?;
    arrives_and_no_larger(&duo, line, announced.min(MOST)).await?;
    let largest = limit_of(&duo.by_bowline());
    let burst = Burst {
        count: 1,
        size: largest,
        high: 0,
        low: 0,
    };
    let sent = duo.peer.burst(line.theirs, burst).await;
    let refused = bench.kind == Kind::WebrtcRs;
    assert_eq!(sent.is_err(), refused, "{sent:?}");
    if !refused {
        let received = take(&duo, line.ours, 1).await?;
        let arrived = received[0].data == numbered(largest, 0);
        assert!(arrived, "the largest that bowline announces");
    }
    talk(&duo, line).await?;
    duo.part().await;
    if refused {
        let note = "it refuses to send what bowline announces as the most it takes, 256 KiB, to a limit of its own";
        return Ok(Outcome::Noted(note.to_owned()));
    }
    Ok(match announced {
        0..=MOST => Outcome::Passed,
        _ => Outcome::Noted(format!(
            "it announces {announced} bytes, tested with {MOST}"
        )),
    })
}

/// P9: RFC 8841 section 6.1.
pub(super) async fn an_absent_limit_means_64_kib(bench: Bench) -> Verdict {
    let meeting = Meeting::new(bench.offerer).to_bowline(|sdp| with_limit(sdp, None));
    let duo = meeting.connect(&*bench.stack().await?).await?;
    let line = opened_by_us(&duo, ChannelConfig::new("large")).await?;
    arrives_and_no_larger(&duo, line, UNSAID).await?;
    duo.part().await;
    Ok(Outcome::Passed)
}

/// P9: then bowline's own limit is what counts.
pub(super) async fn a_limit_of_0_means_none(bench: Bench) -> Verdict {
    let config = Config::builder().max_message_size(OWN).build()?;
    let meeting = Meeting::new(bench.offerer)
        .config(config)
        .to_bowline(|sdp| with_limit(sdp, Some(0)));
    let duo = meeting.connect(&*bench.stack().await?).await?;
    let line = opened_by_us(&duo, ChannelConfig::new("large")).await?;
    arrives_and_no_larger(&duo, line, OWN).await?;
    duo.part().await;
    Ok(Outcome::Passed)
}

/// A message of `limit` bytes arrives, a larger one is handed back, and the channel is as good as before.
async fn arrives_and_no_larger(duo: &Duo, line: Line, limit: usize) -> Result<(), Failure> {
    duo.bowline.send(line.ours, numbered(limit, 0)).await?;
    let too_large = Message::binary(numbered(limit + 1, 1));
    let refused = duo
        .bowline
        .send(line.ours, too_large.clone())
        .await
        .expect_err("too large");
    assert_eq!(refused.reason, SendRefusal::TooLarge { limit });
    assert!(refused.message == too_large, "the message comes back");
    let received = duo.peer.messages(line.theirs, 1, 2 * QUICK).await;
    assert_eq!(
        (received[0].size, received[0].crc),
        (limit, crc32(&numbered(limit, 0)))
    );
    talk(duo, line).await
}

/// What a description says of the largest message.
pub(super) fn limit_of(sdp: &str) -> usize {
    let announced =
        attribute(sdp, "max-message-size").map(|size| size.trim().parse().expect("a number"));
    announced.unwrap_or(UNSAID)
}

/// The description with this limit in place of its own.
fn with_limit(sdp: &str, limit: Option<usize>) -> String {
    let kept = sdp
        .lines()
        .filter(|line| !line.starts_with("a=max-message-size:"));
    let limit = limit.map(|limit| format!("a=max-message-size:{limit}"));
    // The attribute belongs to the only media section, which is the end of the description.
    let lines = kept.chain(limit.as_deref());
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

/// What is taken for granted of a peer that says nothing (RFC 8841 section 6.1).
const UNSAID: usize = 65_536;
/// The largest message that is really sent.
const MOST: usize = 1024 * 1_024;
/// bowline's own limit: what every stack takes, and less than what bowline would send otherwise.
const OWN: usize = 60_000;
