//! P14, P15: ICE restarts under load.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline::{Event, Generation, Message};
use bowline_interop::bridge::{Passed, attribute};
use bowline_interop::duo::{Duo, Meeting};

use super::{Line, expect_equal, opened_by_offerer, take};
use crate::table::Outcome;
use crate::{Bench, Failure, Verdict};

/// P14: the peer restarts ICE under 100 messages a second each way. Nothing is lost, and nothing comes twice.
pub(super) async fn the_peer_restarts_ice_under_load(bench: Bench) -> Verdict {
    under_load(bench, Duo::restart_by_peer).await
}

/// P15: bowline does.
pub(super) async fn bowline_restarts_ice_under_load(bench: Bench) -> Verdict {
    under_load(bench, |duo| duo.bowline.restart_ice()).await
}

async fn under_load(bench: Bench, restart: impl Fn(&Duo)) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let line = opened_by_offerer(&duo).await?;
    let restarting = async {
        for generation in 1..=RESTARTS {
            restart(&duo);
            agreed(&duo, generation).await;
            let so_far = generation as usize * APART;
            duo.peer.messages(line.theirs, so_far, SLOW).await;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(from_bowline(&duo, line), from_peer(&duo, line), restarting)?;
    let texts: Vec<_> = numbers().map(Message::text).collect();
    let received = duo.peer.messages(line.theirs, texts.len(), SLOW).await;
    expect_equal(&received, &texts);
    assert_eq!(take(&duo, line.ours, texts.len()).await?, texts);
    let fragments = fragments_of_peer(&duo);
    assert_eq!(fragments.len(), RESTARTS as usize + 1, "{fragments:?}");
    duo.part().await;
    Ok(Outcome::Passed)
}

/// Waits until both descriptions of a generation are applied.
async fn agreed(duo: &Duo, wanted: u32) {
    let is_done = |event: &Event| matches!(event, Event::NegotiationDone { generation, .. } if *generation == Generation(wanted));
    let done = |events: &[Event]| events.iter().any(is_done).then_some(());
    let what = format!("generation {wanted}");
    duo.events.within(SLOW, &what, done).await;
}

async fn from_bowline(duo: &Duo, line: Line) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(PACE);
    for text in numbers() {
        ticks.tick().await;
        duo.bowline.send(line.ours, text).await?;
    }
    Ok(())
}

async fn from_peer(duo: &Duo, line: Line) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(PACE);
    for text in numbers() {
        ticks.tick().await;
        duo.peer.send_text(line.theirs, &text).await?;
    }
    Ok(())
}

fn numbers() -> impl Iterator<Item = String> {
    (0..COUNT).map(|number| number.to_string())
}

/// The user name fragments that the peer has had.
fn fragments_of_peer(duo: &Duo) -> BTreeSet<String> {
    let of = |passed: Passed| match passed {
        Passed::FromPeer(sdp) => attribute(&sdp, "ice-ufrag").map(str::to_owned),
        Passed::FromBowline(_) | Passed::CandidateFromBowline(_) | Passed::Broken(_) => None,
    };
    duo.passed.all().into_iter().filter_map(of).collect()
}

/// 100 messages a second.
const PACE: Duration = Duration::from_millis(10);
/// For two seconds, each way.
const COUNT: u32 = 200;
/// In this time, one after the other.
const RESTARTS: u32 = 2;
/// Messages that arrive between two of them. A browser does not say of which generation its end of candidates is: it must not
/// come when the next one has begun.
const APART: usize = 60;
/// Far longer than a restart takes.
const SLOW: Duration = Duration::from_secs(20);
