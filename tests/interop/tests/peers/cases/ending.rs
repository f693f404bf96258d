//! P13: the end of a connection.

use std::time::{Duration, Instant};

use bowline::{Cause, Config, Event, PeerState, Phase};
use bowline_interop::bridge::Offerer;
use bowline_interop::duo::Meeting;
use bowline_interop::foreign::{Event as ForeignEvent, Stack};

use super::{QUICK, opened_by_offerer, talk};
use crate::table::Outcome;
use crate::{Bench, Verdict};

/// P13: the peer closes its connection; then, in another one, bowline.
pub(super) async fn the_end_of_a_connection_is_told_within_a_second(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    talk(&duo, opened_by_offerer(&duo).await?).await?;
    let begun = Instant::now();
    duo.peer.close().await?;
    let report = tokio::time::timeout(SECOND, duo.bowline.closed()).await;
    let report = report.map_err(|_| format!("bowline noticed nothing within {SECOND:?}"))?;
    let took = begun.elapsed();
    assert_eq!(
        (report.state, report.cause),
        (PeerState::Closed, Some(Cause::RemoteClose)),
        "after {took:?}"
    );
    duo.part().await;

    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    let line = opened_by_offerer(&duo).await?;
    talk(&duo, line).await?;
    let report = duo.bowline.close().await;
    assert_eq!(
        (report.state, report.cause),
        (PeerState::Closed, Some(Cause::LocalClose))
    );
    assert_eq!(report.undelivered, []);
    let closed = |events: &[ForeignEvent]| {
        let is_closed = |e: &ForeignEvent| matches!(e, ForeignEvent::Closed { channel } if *channel == line.theirs);
        events.iter().any(is_closed).then_some(())
    };
    duo.peer
        .log
        .within(QUICK, "the channel closed at the peer", closed)
        .await;
    duo.part().await;
    Ok(Outcome::Passed)
}

/// P13: a program of its own, which is killed and cannot say goodbye.
pub(super) async fn a_killed_peer_is_missed_and_given_up(bench: Bench) -> Verdict {
    let turn = bench.lab.turn().await;
    let stack = Stack::start(bench.kind).await?;
    bench.lab.table().version(bench.kind, stack.version());
    let config = Config::builder().disconnect_budget(BUDGET).build()?;
    let duo = Meeting::new(bench.offerer)
        .config(config)
        .connect(&stack)
        .await?;
    talk(&duo, opened_by_offerer(&duo).await?).await?;
    stack.kill();
    let begun = Instant::now();
    drop(turn);
    let missed = |events: &[Event]| {
        let is_missed = |e: &Event| {
            matches!(
                e,
                Event::State {
                    to: PeerState::Disconnected,
                    cause: Cause::PathLost,
                    ..
                }
            )
        };
        events.iter().any(is_missed).then(|| begun.elapsed())
    };
    let missed = duo.events.within(MISSED, "the path is lost", missed).await;
    let report = tokio::time::timeout(BUDGET + QUICK, duo.bowline.closed()).await;
    let report = report.map_err(|_| "bowline never gave up")?;
    assert_eq!(
        (report.state, report.cause),
        (PeerState::Failed, Some(Cause::Timeout(Phase::Restart)))
    );
    note_if_first(&bench, missed);
    duo.part().await;
    Ok(Outcome::Passed)
}

fn note_if_first(bench: &Bench, missed: Duration) {
    let side = match bench.offerer {
        Offerer::Bowline => "bowline offered",
        Offerer::Peer => "the peer offered",
    };
    let line = format!(
        "{} killed, {side}: missed after {missed:.1?}, given up {BUDGET:?} later.",
        bench.kind.name()
    );
    bench.lab.table().figure(line);
}

/// What the case allows from the peer's close to bowline's report.
const SECOND: Duration = Duration::from_secs(1);
/// The ICE agent needs 15 s to 24 s. Consent (RFC 7675) would bound it to 30 s.
const MISSED: Duration = Duration::from_secs(30);
/// How long bowline tries to get a lost path back, here.
const BUDGET: Duration = Duration::from_secs(2);
