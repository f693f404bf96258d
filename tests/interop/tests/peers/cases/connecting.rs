//! P1, P2: connecting, with either DTLS role, and how long it takes.

use std::time::{Duration, Instant};

use bowline::{ChannelKind, Message};
use bowline_interop::bridge::{Offerer, attribute};
use bowline_interop::duo::{Duo, FIRST, Meeting};
use bowline_interop::foreign::Kind;
use bowline_interop::mio::call_echo_peer;

use super::{QUICK, announced, expect_equal, opened_by_offerer, talk};
use crate::table::Outcome;
use crate::{Bench, Failure, Verdict};

/// P1: one channel announced in-band by the offerer, open on both sides in five seconds, and a message each way.
pub(super) async fn one_message_each_way_on_an_in_band_channel(bench: Bench) -> Verdict {
    let duo = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await?;
    talk(&duo, opened_by_offerer(&duo).await?).await?;
    duo.part().await;
    Ok(Outcome::Passed)
}

/// P1 through bowline-mio, whose echo peer only answers.
pub(super) async fn a_message_comes_back_from_a_mio_loop(bench: Bench) -> Verdict {
    let duo = call_echo_peer(&*bench.stack().await?, ADDRESS).await?;
    duo.peer.open_is_told(duo.first).await;
    duo.peer.send_text(duo.first, "echo").await?;
    let received = duo.peer.messages(duo.first, 1, QUICK).await;
    expect_equal(&received, &[Message::text("echo")]);
    duo.peer.close().await?;
    Ok(Outcome::Passed)
}

/// P1 with werift: no other case can pass as long as this one fails in this way.
///
/// werift takes its SCTP role and the parity of its stream ids from its ICE role, where RFC 8832 section 6 (and bowline)
/// take them from the DTLS role. As answerer it waits for an INIT, and str0m, which is the DTLS server then, waits too. As
/// offerer it is the DTLS client and gives out odd ids: its channels meet those of bowline.
pub(super) async fn known_failure_of_werift(bench: Bench) -> Verdict {
    let meeting = Meeting::new(bench.offerer)
        .connect(&*bench.stack().await?)
        .await;
    let reason = match bench.offerer {
        Offerer::Bowline => {
            assert!(meeting.is_err(), "it connects: is this mended?");
            "neither side begins SCTP: as answerer it waits for the INIT, whatever its DTLS role"
        }
        Offerer::Peer => {
            let offered = match &meeting {
                Ok(duo) => announced(duo, FIRST).await.is_ok(),
                Err(_) => false,
            };
            assert!(!offered, "its channel comes through: is this mended?");
            "it is the DTLS client and gives out odd stream ids, which are bowline's"
        }
    };
    Ok(Outcome::TheirFailure(reason.to_owned()))
}

/// P2: bowline sends the ClientHello.
pub(super) async fn bowline_as_dtls_client(bench: Bench) -> Verdict {
    if bench.kind == Kind::WebrtcRs && bench.offerer == Offerer::Bowline {
        return active_is_answered_with_active(bench).await;
    }
    with_role(bench, "active", "passive").await
}

/// P2: the peer sends the ClientHello.
pub(super) async fn bowline_as_dtls_server(bench: Bench) -> Verdict {
    with_role(bench, "passive", "active").await
}

/// webrtc-rs answers that it is active too, and then nobody sends a ClientHello.
async fn active_is_answered_with_active(bench: Bench) -> Verdict {
    let meeting = Meeting::new(bench.offerer).to_peer(offering("active"));
    let failure = meeting.connect(&*bench.stack().await?).await.err();
    let failure = failure.ok_or("it connects: is this mended?")?;
    assert!(failure.contains("a=setup:active"), "{failure}");
    let reason = "it answers setup:active to an offer of setup:active, where RFC 8842 section 5.3 wants passive";
    Ok(Outcome::TheirFailure(reason.to_owned()))
}

/// Lets the answerer see an offer that leaves it no choice, so that bowline gets the role `ours`.
async fn with_role(bench: Bench, ours: &str, theirs: &str) -> Verdict {
    let meeting = Meeting::new(bench.offerer);
    let duo = match bench.offerer {
        Offerer::Bowline => meeting.to_peer(offering(ours)),
        Offerer::Peer => meeting.to_bowline(offering(theirs)),
    };
    let duo = duo.connect(&*bench.stack().await?).await?;
    let (answer, role) = match bench.offerer {
        Offerer::Bowline => (duo.by_peer(), theirs),
        Offerer::Peer => (duo.by_bowline(), ours),
    };
    assert_eq!(attribute(&answer, "setup"), Some(role));
    talk(&duo, opened_by_offerer(&duo).await?).await?;
    duo.part().await;
    Ok(Outcome::Passed)
}

/// An offer with this DTLS role in place of the choice.
fn offering(role: &str) -> impl Fn(&str) -> String + Send + Sync + 'static {
    let line = format!("a=setup:{role}");
    move |sdp| sdp.replace("a=setup:actpass", &line)
}

/// From the first call on either side to the arrival of the first message, many times over.
pub(super) async fn how_long_connecting_takes(bench: Bench) -> Verdict {
    let stack = bench.stack().await?;
    let mut times = Vec::new();
    for _ in 0..CONNECTIONS {
        let begun = Instant::now();
        let duo = Meeting::new(bench.offerer).connect(&stack).await?;
        first_message(&duo).await?;
        times.push(begun.elapsed());
        duo.part().await;
    }
    times.sort();
    let (median, p95) = (times[CONNECTIONS / 2], times[CONNECTIONS * 95 / 100]);
    let side = match bench.offerer {
        Offerer::Bowline => "bowline offers",
        Offerer::Peer => "the peer offers",
    };
    let figures = format!(
        "{CONNECTIONS} connections, min {:.0?}, median {median:.0?}, p95 {p95:.0?}, max {:.0?}",
        times[0],
        times[CONNECTIONS - 1]
    );
    let line = format!(
        "From offer to first message, {}, {side}: {figures}.",
        stack.version()
    );
    bench.lab.table().figure(line);
    assert!(
        bench.kind != Kind::Chromium || median < MEDIAN,
        "median {median:?}"
    );
    Ok(Outcome::Passed)
}

async fn first_message(duo: &Duo) -> Result<(), Failure> {
    duo.bowline.send(ChannelKind::Control, "first").await?;
    let label = format!("{}/{}", bowline_interop::duo::BOWLINE, ChannelKind::Control);
    let (channel, _) = duo.peer.opened(&label).await;
    let received = duo.peer.messages(channel, 1, QUICK).await;
    expect_equal(&received, &[Message::text("first")]);
    Ok(())
}

/// The address of the namespace that `tests/interop/run` makes.
const ADDRESS: &str = "10.93.0.1:0";
/// Connections that are timed.
const CONNECTIONS: usize = 30;
/// What the median must stay under with Chromium.
const MEDIAN: Duration = Duration::from_secs(1);
