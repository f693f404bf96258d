use bowline::{ChannelKind, PeerMetrics};

use super::cast::{Cast, Player};
use super::style::{Stage, millis};

/// The figures of every pair before anybody left.
pub(crate) struct Figures {
    rows: Vec<Vec<String>>,
}

impl Figures {
    /// Takes the figures; alice sent bob a file at `throughput` bytes per second.
    pub(crate) fn of(cast: &Cast, throughput: f64) -> Self {
        let row = |(one, other): (&Player, &Player)| {
            let has_file = one.name() == "alice" && other.name() == "bob";
            let rate = if has_file {
                format!("{:.0}", throughput / 1e6)
            } else {
                "-".to_owned()
            };
            row(one, other, rate)
        };
        Self {
            rows: cast.pairs().map(row).into(),
        }
    }

    /// Prints what became of every pair. Everybody must have left.
    pub(crate) fn print(mut self, stage: &Stage, cast: &Cast) {
        stage.heading("What the first of each pair saw, and when");
        for (row, (one, other)) in self.rows.iter_mut().zip(cast.pairs()) {
            let history = one.history_of(other);
            let at = |seen: &super::cast::Seen| (seen.at - stage.start()).as_secs_f64();
            let states: Vec<_> = history
                .iter()
                .map(|seen| format!("{:.3} {}", at(seen), seen.state))
                .collect();
            stage.entry(&pair(one, other), &states.join(" > "));
            row.push(
                history
                    .last()
                    .map_or_else(String::new, |seen| seen.cause.to_string()),
            );
        }
        stage.heading("Messages received of messages sent, both ways, and how it ended");
        stage.table(&HEAD, &self.rows);
    }
}

fn row(one: &Player, other: &Player, throughput: String) -> Vec<String> {
    let (there, here) = (one.to(other).metrics(), other.to(one).metrics());
    let duration = |d: Option<_>| d.map_or_else(|| "-".to_owned(), millis);
    let restarts = there.restarts.max(here.restarts);
    let mut row = vec![
        pair(one, other),
        duration(there.connect_time),
        duration(there.rtt),
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
    row.push(throughput);
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

const HEAD: [&str; 10] = [
    "pair",
    "connect",
    "rtt",
    "restarts",
    "control",
    "reliable",
    "unreliable",
    "file",
    "MB/s",
    "end",
];
