use bowline::{ChannelKind, PeerMetrics};

use super::cast::{Cast, Player, Seen};
use super::style::{Stage, millis};

/// Prints what became of every pair; alice sent bob a file at `throughput` bytes per second. Everybody must have left.
pub(crate) fn print(stage: &Stage, cast: &Cast, throughput: f64) {
    stage.heading("What the first of each pair saw, and when");
    for (one, other) in cast.pairs() {
        stage.entry(&pair(one, other), &story(stage, &one.history_of(other)));
    }
    stage.heading("Messages received of messages sent, both ways");
    let rows = cast.pairs().map(|(one, other)| {
        let has_file = one.name() == "alice" && other.name() == "bob";
        row(one, other, has_file.then_some(throughput))
    });
    stage.table(&HEAD, &rows);
}

/// The states after the first, which every connection begins with, and the cause of the last.
fn story(stage: &Stage, history: &[Seen]) -> String {
    let told = history.iter().skip(1).map(|seen| {
        let at = (seen.at - stage.start()).as_secs_f64();
        if seen.state.is_terminal() {
            format!("{at:.3} {}", seen.cause)
        } else {
            format!("{at:.3} {}", seen.state)
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

fn row(one: &Player, other: &Player, throughput: Option<f64>) -> Vec<String> {
    let (there, here) = (one.to(other).metrics(), other.to(one).metrics());
    let duration = |d: Option<_>| d.map_or_else(|| "-".to_owned(), millis);
    // Both sides count a restart, whoever began it.
    let restarts = there.restarts.max(here.restarts);
    let mut row = vec![
        pair(one, other),
        duration(there.connect_time),
        duration(there.rtt.map(|rtt| rtt.smoothed)),
        restarts.to_string(),
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
    row.push(throughput.map_or_else(|| "-".to_owned(), |rate| format!("{:.0}", rate / 1e6)));
    row
}

/// Messages sent and received on one kind.
fn count(metrics: &PeerMetrics, kind: ChannelKind) -> (u64, u64) {
    let channel = metrics.channels.iter().find(|c| c.channel == kind.id());
    channel.map_or((0, 0), |c| (c.messages_sent, c.messages_received))
}

fn pair(one: &Player, other: &Player) -> String {
    format!("{} - {}", one.name(), other.name())
}

const HEAD: [&str; 9] = [
    "pair",
    "connect",
    "rtt",
    "restarts",
    "control",
    "reliable",
    "unreliable",
    "file",
    "MB/s",
];
