//! `bowline demo`: a small mesh that connects, talks, loses its network, recovers and leaves.

mod cast;
mod file;
mod style;
mod summary;

use std::error::Error;
use std::time::{Duration, Instant};

use bowline::{ChannelKind, Event, PeerState};
use bowline_tokio::relay::Relay;
use bowline_tokio::{Connection, Delivery, Events};

use cast::{Cast, Player};
use style::Stage;
use summary::Figures;

/// Show what bowline does: three peers and a relay in this process, over UDP on this machine.
///
/// Alice, bob and carol find each other through a WebSocket relay and connect as a mesh. They talk on all four channel
/// kinds, alice sends bob a file, carol loses her network and comes back from other ports, bob leaves, and a summary
/// shows what became of every message. It needs no set-up and no network, and takes a few seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline demo
  bowline demo --file 200           a larger file, for a look at the throughput
  BOWLINE_LOG=debug bowline demo    with everything that goes on below")]
pub(crate) struct Arguments {
    /// The size of the file that alice sends to bob, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    file: u64,
    /// Records what alice does, without contents, for `bowline replay`.
    #[arg(long, value_name = "FILE")]
    record: Option<std::path::PathBuf>,
}

/// Runs the demo.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let stage = Stage::new();
    stage.title("bowline demo: three peers and a relay in one process, over UDP on this machine");

    stage.heading("A mesh through a WebSocket relay");
    let relay = Relay::bind("127.0.0.1:0").await?;
    stage.line("relay", &format!("listens on {}", relay.url()));
    let mut cast = Cast::on(&relay, arguments.record.as_deref())?;
    for player in cast.players() {
        stage.line(
            player.name(),
            &format!("speaks from {}", player.addresses()),
        );
    }
    cast.connect(&stage).await?;

    stage.heading("Messages on all four kinds, both ways between all");
    cast.converse(&stage).await?;

    stage.heading("A file, and control messages that do not wait behind it");
    let throughput = file::send(&stage, &cast, arguments.file * 1_024 * 1_024).await?;

    stage.heading("Carol loses her network for a second, and comes back from another port");
    lose_network(&stage, &cast).await?;

    let figures = Figures::of(&cast, throughput);
    stage.heading("Everybody leaves");
    leave(&stage, &mut cast).await?;
    figures.print(&stage, &cast);
    relay.close().await;
    Ok(())
}

/// Cuts carol off while alice writes to her, and shows that nothing is lost.
async fn lose_network(stage: &Stage, cast: &Cast) -> Result<(), Box<dyn Error>> {
    let (alice, carol) = (&cast.alice, &cast.carol);
    let (to_carol, from_alice) = (alice.to(carol), carol.to(alice));
    let mut events = carol.endpoint.events();
    let before = carol.addresses();
    carol.endpoint.suspend();
    let cut = Instant::now();
    until(&mut events, alice, PeerState::Disconnected).await?;
    stage.line(
        "carol",
        &format!("{} is gone: disconnected, messages are kept", before),
    );

    let mut receipts = Vec::new();
    for number in 0..MESSAGES_IN_OUTAGE {
        receipts.push(
            to_carol
                .send(
                    ChannelKind::Reliable,
                    format!("while you were away {number}"),
                )
                .await?,
        );
    }
    stage.line(
        "alice",
        &format!("writes {MESSAGES_IN_OUTAGE} messages to carol meanwhile"),
    );
    tokio::time::sleep(OUTAGE.saturating_sub(cut.elapsed())).await;

    let back = Instant::now();
    carol.endpoint.rebind()?;
    patiently(
        "carol's return",
        until(&mut events, alice, PeerState::Connected),
    )
    .await??;
    let took = style::millis(back.elapsed());
    stage.line(
        "carol",
        &format!(
            "is back from {}: connected to alice again after {took}",
            carol.addresses()
        ),
    );
    for number in 0..MESSAGES_IN_OUTAGE {
        let message = patiently(
            "a kept message",
            from_alice.recv_from(ChannelKind::Reliable),
        )
        .await?;
        let expected = format!("while you were away {number}");
        if message.as_ref().and_then(|m| m.as_text()) != Some(&expected) {
            return Err(format!("carol expected \"{expected}\"").into());
        }
    }
    for receipt in receipts {
        delivered(to_carol, receipt).await?;
    }
    let took = style::millis(back.elapsed());
    stage.line(
        "carol",
        &format!("has all {MESSAGES_IN_OUTAGE} in order {took} after her return"),
    );
    let mut bobs = cast.bob.to(carol).watch_status();
    patiently(
        "carol's return to bob",
        bobs.wait_for(|s| s.state == PeerState::Connected),
    )
    .await??;
    Ok(())
}

/// Bob leaves with a last word, then the others.
async fn leave(stage: &Stage, cast: &mut Cast) -> Result<(), Box<dyn Error>> {
    let (alice, bob, carol) = (&cast.alice, &cast.bob, &cast.carol);
    let to_alice = bob.to(alice);
    let last_word = to_alice.send(ChannelKind::Control, "goodbye").await?;
    let from_bob = alice.to(bob);
    let report = patiently("bob's farewell", to_alice.close()).await?;
    let heard = patiently("bob's last word", from_bob.recv_from(ChannelKind::Control)).await?;
    if heard.as_ref().and_then(|m| m.as_text()) != Some("goodbye") {
        return Err("alice did not hear bob's last word".into());
    }
    delivered(to_alice, last_word).await?;
    let lost: u64 = report
        .undelivered
        .iter()
        .map(|u| u.last.0 - u.first.0 + 1)
        .sum();
    stage.line(
        "bob",
        &format!("closed towards alice, last word delivered, {lost} messages lost"),
    );
    patiently("bob's end", bob.endpoint.close()).await?;
    let seen = patiently("the news", from_bob.closed()).await?;
    let cause = seen
        .cause
        .map_or_else(|| "ended".to_owned(), |cause| cause.to_string());
    stage.line("alice", &format!("sees bob: {}, {cause}", seen.state));
    let rest = async { tokio::join!(alice.endpoint.close(), carol.endpoint.close()) };
    patiently("the end", rest).await?;
    stage.line("all", "sockets are closed");
    patiently("the end of the story", cast.watched()).await?;
    Ok(())
}

async fn delivered(
    connection: &Connection,
    receipt: bowline_tokio::Receipt,
) -> Result<(), Box<dyn Error>> {
    match patiently("a delivery", connection.delivered(receipt)).await? {
        Delivery::Delivered | Delivery::Sent => Ok(()),
        outcome @ (Delivery::Lost | Delivery::Unknown) => {
            Err(format!("a message ended as {outcome:?}").into())
        }
    }
}

/// Waits until an endpoint sees `other` in `wanted`.
async fn until(
    events: &mut Events,
    other: &Player,
    wanted: PeerState,
) -> Result<(), Box<dyn Error>> {
    let seen = async {
        while let Some(event) = events.next().await {
            if let Event::State { peer, to, .. } = event?
                && peer == other.endpoint.id()
                && to == wanted
            {
                return Ok(());
            }
        }
        Err("the endpoint ended".into())
    };
    patiently(&format!("{} as {wanted}", other.name()), seen).await?
}

/// Waits for what comes at once when all is well.
async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Box<dyn Error>> {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.map_err(|_| format!("{what} did not come within {} s", PATIENCE.as_secs()).into())
}

const PATIENCE: Duration = Duration::from_secs(15);
const OUTAGE: Duration = Duration::from_secs(1);
const MESSAGES_IN_OUTAGE: usize = 25;
