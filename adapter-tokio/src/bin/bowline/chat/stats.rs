use std::time::{Duration, Instant};

use bowline::{Path, PathQuality, Rtt};
use bowline_tokio::Connection;

use crate::text;

/// The figures of one peer over the last second or so.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    taken: Option<(Instant, u64, u64)>,
    sent: Option<(u64, Duration)>,
    received: Option<(u64, Duration)>,
}

impl Sample {
    /// Takes the next figures of a connection.
    pub(crate) fn update(&mut self, connection: &Connection, now: Instant) {
        let metrics = connection.metrics();
        let (sent, received) = (metrics.bytes_sent, metrics.bytes_received);
        if let Some((at, sent_then, received_then)) = self.taken {
            let elapsed = now.duration_since(at);
            self.sent = Some((sent.saturating_sub(sent_then), elapsed));
            self.received = Some((received.saturating_sub(received_then), elapsed));
        }
        self.taken = Some((now, sent, received));
    }
}

/// One row for each peer: what it is called, its connection if it has one, the path, and the last sample.
pub(crate) fn row(
    name: &str,
    connection: Option<&Connection>,
    path: Option<Path>,
    sample: &Sample,
) -> Vec<String> {
    let none = || "-".to_owned();
    let Some(connection) = connection else {
        let mut row = vec![name.to_owned(), "not connected".to_owned()];
        row.resize_with(HEAD.len(), none);
        return row;
    };
    let metrics = connection.metrics();
    let queued: usize = metrics
        .channels
        .iter()
        .map(|channel| channel.queue_bytes)
        .sum();
    let queued = u64::try_from(queued + metrics.backlog).unwrap_or(u64::MAX);
    let rate = |moved: Option<(u64, Duration)>| {
        moved.map_or_else(none, |(bytes, elapsed)| text::rate(bytes, elapsed))
    };
    vec![
        name.to_owned(),
        connection.state().to_string(),
        path.map_or_else(none, |path| format!("{} - {}", path.local, path.remote)),
        metrics.rtt.map_or_else(none, round_trip),
        standby(&connection.paths()).unwrap_or_else(none),
        rate(sample.sent),
        rate(sample.received),
        text::bytes(queued),
        metrics.restarts.to_string(),
    ]
}

/// The smoothed round trip time and its jitter.
fn round_trip(rtt: Rtt) -> String {
    let (smoothed, jitter) = (text::duration(rtt.smoothed), text::duration(rtt.jitter));
    format!("{smoothed} ± {jitter}")
}

/// The best of the paths that could take over, and how many others could.
fn standby(paths: &[PathQuality]) -> Option<String> {
    let mut standbys = paths.iter().filter(|path| !path.in_use);
    let best = standbys.next()?;
    let relayed = if best.relayed { " relayed" } else { "" };
    let others = match standbys.count() {
        0 => String::new(),
        others => format!(", {others} more"),
    };
    Some(format!("{}{relayed}{others}", text::duration(best.rtt)))
}

/// A table whose columns are as wide as they must be.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let head: Vec<String> = HEAD.map(str::to_owned).into();
    let all: Vec<_> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEAD.len()).map(width).collect();
    let lines = all.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let padded: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) const HEAD: [&str; 9] = [
    "peer",
    "state",
    "path",
    "round trip",
    "standby",
    "out",
    "in",
    "queue",
    "restarts",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_head_and_aligned_columns() {
        let rows = [
            row("alice", None, None, &Sample::default()),
            row("bartholomew", None, None, &Sample::default()),
        ];
        assert_eq!(
            table(&rows),
            "\
peer         state          path  round trip  standby  out  in  queue  restarts
alice        not connected  -     -           -        -    -   -      -
bartholomew  not connected  -     -           -        -    -   -      -"
        );
    }
}
