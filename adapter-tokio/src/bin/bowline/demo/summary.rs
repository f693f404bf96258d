use bowline::{ChannelKind, PeerMetrics};

use super::cast::{Cast, Player};
use super::style::{Stage, millis};

/// Prints what became of every pair.
pub(crate) fn print(stage: &Stage, cast: &Cast, throughput: f64) {
    stage.heading("What each pair saw");
    for (from, to) in cast.pairs() {
        let history = from.history_of(to);
        let states: Vec<_> = history
            .iter()
            .map(|seen| {
                format!(
                    "{:.3} {}",
                    (seen.at - stage.start()).as_secs_f64(),
                    seen.state
                )
            })
            .collect();
        println!("  {:<13} {}", pair(from, to), states.join(" > "));
    }
    println!();
    let head = [
        "pair",
        "connect",
        "rtt",
        "restarts",
        "control",
        "reliable",
        "unreliable",
        "file",
        "MB/s",
        "outcome",
    ];
    let file = |from: &Player, to: &Player| {
        let is_file = from.name() == "alice" && to.name() == "bob";
        if is_file {
            format!("{:.0}", throughput / 1e6)
        } else {
            "-".to_owned()
        }
    };
    let rows: Vec<_> = cast
        .pairs()
        .map(|(from, to)| row(from, to, file(from, to)))
        .into();
    stage.table(&head, &rows);
    println!("\n  Counts are messages received of messages sent, both ways.");
}

fn row(from: &Player, to: &Player, throughput: String) -> Vec<String> {
    let (there, here) = (from.to(to).metrics(), to.to(from).metrics());
    let duration = |d: Option<_>| d.map_or_else(|| "-".to_owned(), millis);
    let mut row = vec![
        pair(from, to),
        duration(there.connect_time),
        duration(there.rtt),
        (there.restarts + here.restarts).to_string(),
    ];
    for kind in [
        ChannelKind::Control,
        ChannelKind::Reliable,
        ChannelKind::Unreliable,
        ChannelKind::File,
    ] {
        let (sent, received) = count(&there, kind);
        let (sent_back, received_back) = count(&here, kind);
        row.push(format!("{}/{}", received + received_back, sent + sent_back));
    }
    let outcome = from
        .history_of(to)
        .last()
        .map(|seen| format!("{}: {}", seen.state, seen.cause));
    row.extend([throughput, outcome.unwrap_or_default()]);
    row
}

/// Messages sent and received on one kind.
fn count(metrics: &PeerMetrics, kind: ChannelKind) -> (u64, u64) {
    let channel = metrics.channels.iter().find(|c| c.channel == kind.id());
    channel.map_or((0, 0), |c| (c.messages_sent, c.messages_received))
}

fn pair(from: &Player, to: &Player) -> String {
    format!("{} - {}", from.name(), to.name())
}
