//! Every kind of access with every other: is there a path, and which?

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use bowline::nat::RelayNeed;
use bowline::{Cause, ChannelKind, Event, Path, Phase};
use bowline_interop::coturn::Transport;
use bowline_interop::topology::{Access, SERVERS};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{ConnectError, Connection};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use crate::discovery::report;
use crate::network::{Network, Party, config};

/// How two peers met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Directly,
    ByRelay,
    Never,
}

#[tokio::test]
async fn every_pair_finds_the_path_that_there_is() {
    let twice: Vec<_> = Access::ALL
        .into_iter()
        .flat_map(|access| [access; 2])
        .collect();
    let network = Network::new(&twice).await;
    let reports = |side| join_all(Access::ALL.map(|access| report(&network, access, side)));
    let (firsts, seconds) = tokio::join!(reports(0), reports(1));
    let turns = Semaphore::new(TURNS);
    let mut trials = Vec::new();
    for (row, first) in Access::ALL.into_iter().enumerate() {
        for (column, second) in Access::ALL.into_iter().enumerate() {
            let need = firsts[row].0.requires_relay(&seconds[column].0);
            for with_relay in [false, true] {
                let (network, turns) = (&network, &turns);
                trials.push(async move {
                    let _turn = turns.acquire().await.expect("never closed");
                    let (met, took) = meet(network, first, second, with_relay).await;
                    ((first, second, with_relay), (met, took, need))
                });
            }
        }
    }
    let begun = Instant::now();
    let results: Results = join_all(trials).await.into_iter().collect();
    let figures = figures(&results);
    println!(
        "{} trials in {:.1?}\n\n{figures}",
        results.len(),
        begun.elapsed()
    );
    keep(&figures);
    for ((first, second, with_relay), (met, _, need)) in results {
        let is_direct = is_direct(first, second);
        let expected: &[Met] = match (is_direct, with_relay) {
            (true, true) if is_slow(first, second) => &[Met::Directly, Met::ByRelay],
            (true, _) => &[Met::Directly],
            (false, true) => &[Met::ByRelay],
            (false, false) => &[Met::Never],
        };
        let pair = format!("{first} and {second}, with a relay: {with_relay}");
        assert!(expected.contains(&met), "{pair}: {met:?}");
        let predicted = if is_direct {
            RelayNeed::No
        } else {
            RelayNeed::Yes
        };
        assert_eq!(need, predicted, "what discoveries say of {pair}");
    }
}

/// Whether the direct path shows only when a check is repeated, 250 ms after the first one was filtered. The relay is
/// nominated by then, and ICE may rest with it.
fn is_slow(first: Access, second: Access) -> bool {
    let pair = [first, second];
    pair.contains(&Access::Restricted) && pair.contains(&Access::Symmetric)
}

/// RFC 5128 section 3.3, and the rule of `NatReport::requires_relay`: behind a symmetric NAT a peer comes from a port that
/// nobody could name, which gets in unless the other side filters by port.
fn is_direct(first: Access, second: Access) -> bool {
    let by_port = |access| matches!(access, Access::PortRestricted | Access::Symmetric);
    let is_hidden = |one, other| one == Access::Symmetric && by_port(other);
    !is_hidden(first, second) && !is_hidden(second, first)
}

/// Lets two peers connect and talk, and tells how they met and when they were connected.
async fn meet(
    network: &Network,
    first: Access,
    second: Access,
    with_relay: bool,
) -> (Met, Duration) {
    let server = if with_relay {
        network.coturn.uri(Transport::Udp)
    } else {
        let stun = format!("stun:{}", SERVERS[0]);
        stun.parse().expect("a URI")
    };
    let hub = MemoryHub::new();
    let bind = |access, side, name| {
        let config = config().ice_server(server.clone()).build().expect("valid");
        Party::bind(network.peer(access, side), name, &hub, config)
    };
    let alice = bind(first, 0, "alice").await;
    let bob = bind(second, 1, "bob").await;
    let begun = Instant::now();
    let (there, here) = tokio::join!(alice.endpoint.connect(bob.endpoint.id()), accept(&bob));
    let took = begun.elapsed();
    let met = match (there, here) {
        (Ok(there), Ok(here)) => {
            talk(&there, &here).await;
            let is_sure = is_direct(first, second) && !is_slow(first, second);
            let path = path(&alice, is_sure).await;
            if uses_relay(path) {
                Met::ByRelay
            } else {
                Met::Directly
            }
        }
        (there, here) => {
            // One gives up and says goodbye to the other.
            let errors = [there, here].map(|refused| refused.expect_err("both fail"));
            let is_late = |error: &ConnectError| {
                let cause = Cause::Timeout(Phase::Checks);
                matches!(error, ConnectError::Ended { cause: c, .. } if *c == cause)
            };
            assert!(
                errors.iter().any(is_late),
                "{first} and {second}: {errors:?}"
            );
            Met::Never
        }
    };
    alice.endpoint.abort();
    bob.endpoint.abort();
    (met, took)
}

async fn accept(party: &Party) -> Result<Connection, ConnectError> {
    let incoming = party.endpoint.accept().await.expect("the endpoint is open");
    incoming.accept().await
}

async fn talk(there: &Connection, here: &Connection) {
    for (from, to) in [(there, here), (here, there)] {
        from.send(ChannelKind::Control, "hello")
            .await
            .expect("sent");
        let received = tokio::time::timeout(SOON, to.recv_from(ChannelKind::Control)).await;
        assert!(
            received.is_ok_and(|message| message.is_some()),
            "it arrives"
        );
    }
}

/// The last path so far, or the first direct one from now on.
async fn path(party: &Party, direct: bool) -> Path {
    let fits = |path: &Path| !direct || !uses_relay(*path);
    let find = |events: &[Event]| paths(events).last().copied().filter(fits);
    party.events.within(SOON, "a path", find).await
}

fn paths(events: &[Event]) -> Vec<Path> {
    let path = |event: &Event| match event {
        Event::PathChanged { to, .. } => Some(*to),
        _ => None,
    };
    events.iter().filter_map(path).collect()
}

fn uses_relay(path: Path) -> bool {
    [path.local, path.remote]
        .iter()
        .any(|address| address.ip() == SERVERS[0])
}

/// The table of `docs/TESTING.md`.
fn figures(results: &Results) -> String {
    let mut text = String::from("| |");
    for access in Access::ALL {
        let _ = write!(text, " {access} |");
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(Access::ALL.len()));
    for first in Access::ALL {
        let _ = write!(text, "\n| {first} |");
        for second in Access::ALL {
            let cell = |with_relay| {
                let (met, took, _) = results[&(first, second, with_relay)];
                match met {
                    Met::Directly => format!("direct {took:.0?}"),
                    Met::ByRelay => format!("relay {took:.0?}"),
                    Met::Never => "none".to_owned(),
                }
            };
            let _ = write!(text, " {} / {} |", cell(false), cell(true));
        }
    }
    text.push('\n');
    text
}

/// Writes the table to `target/interop/nat.md`.
fn keep(figures: &str) {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop");
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    std::fs::write(folder.join("nat.md"), figures).expect("it can be written");
}

/// How each pair met, without and with a relay, in which time, and what discoveries said that it needs.
type Results = BTreeMap<(Access, Access, bool), (Met, Duration, RelayNeed)>;

/// Pairs at one time.
const TURNS: usize = 10;
/// Far longer than what is quick takes.
const SOON: Duration = Duration::from_secs(20);
