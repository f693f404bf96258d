//! A tokio process and a mio process over UDP on loopback.
//!
//! Each test runs twice: as the tokio side, and in a process that it starts as the mio side. Lines on the standard
//! input and output of that process carry the signalling, commands, and the states of the connection. Every wait is for
//! an event and has a deadline, in both processes.

mod processes {
    pub(crate) mod mio_side;
    pub(crate) mod tokio_side;
}

use std::time::Duration;

use bowline::{Cause, ChannelKind, PeerState};

use processes::mio_side::{self, is_mio_side};
use processes::tokio_side::{TokioSide, run, soon, within};

#[test]
fn a_tokio_process_calls_a_mio_process_and_closes() {
    if is_mio_side() {
        let told = mio_side::echo();
        assert_eq!(told, Some((PeerState::Closed, Cause::RemoteClose)));
        return;
    }
    run(async {
        let mut side = TokioSide::start("a_tokio_process_calls_a_mio_process_and_closes");
        let connection = side.call().await;
        side.expect("connected").await;
        side.echo_every_kind(&connection).await;

        let report = soon("the end", connection.close()).await;
        assert_eq!(report.cause, Some(Cause::LocalClose));
        assert_eq!(
            (report.state, report.undelivered),
            (PeerState::Closed, vec![])
        );
        side.expect("closed").await;
        side.finish().await;
    });
}

#[test]
fn a_mio_process_calls_a_tokio_process_and_closes() {
    if is_mio_side() {
        let told = mio_side::echo();
        assert_eq!(told, Some((PeerState::Closed, Cause::LocalClose)));
        return;
    }
    run(async {
        let mut side = TokioSide::start("a_mio_process_calls_a_tokio_process_and_closes");
        let connection = side.be_called().await;
        side.expect("connected").await;
        side.echo_every_kind(&connection).await;

        side.command("close").await;
        let report = soon("the end", connection.closed()).await;
        assert_eq!(report.cause, Some(Cause::RemoteClose));
        assert_eq!(
            (report.state, report.undelivered),
            (PeerState::Closed, vec![])
        );
        side.expect("closed").await;
        side.finish().await;
    });
}

#[test]
fn a_large_message_crosses_whole_in_both_directions() {
    if is_mio_side() {
        mio_side::echo();
        return;
    }
    run(async {
        let mut side = TokioSide::start("a_large_message_crosses_whole_in_both_directions");
        let connection = side.call().await;
        let large: Vec<u8> = (0..5_000_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 3])
            .collect();
        let sent = connection.send(ChannelKind::File, large.clone());
        soon("the room", sent).await.expect("connected");
        let echo = soon("the echo", connection.recv_from(ChannelKind::File)).await;
        assert!(
            echo.expect("connected").data == large,
            "it came back altered"
        );

        soon("the end", connection.close()).await;
        side.finish().await;
    });
}

#[test]
fn a_process_that_is_killed_is_missed_and_does_not_hold_up_the_end() {
    if is_mio_side() {
        mio_side::echo();
        return;
    }
    run(async {
        let name = "a_process_that_is_killed_is_missed_and_does_not_hold_up_the_end";
        let mut side = TokioSide::start(name);
        let connection = side.call().await;
        side.expect("connected").await;
        side.kill().await;

        let mut status = connection.watch_status();
        let missed = status.wait_for(|status| status.state != PeerState::Connected);
        let status = *within(LOSS, "the loss", missed).await.expect("held");
        assert_eq!(
            (status.state, status.cause),
            (PeerState::Disconnected, Some(Cause::PathLost))
        );
        let report = soon("the end", connection.close()).await;
        assert!(report.state.is_terminal(), "{report:?}");
    });
}

/// A path that has fallen silent is given up after 24 s of unanswered checks.
const LOSS: Duration = Duration::from_secs(60);
