//! What stands in each row of a figure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::findings::Violation;
use crate::net::{Class, HostId};
use crate::time::Time;
use crate::trace::{Entry, Passage, Trace, What};

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) at: Time,
    pub(super) content: Content,
}

/// What stands in a row.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Something that was sent.
    Arrow {
        from: HostId,
        to: Option<HostId>,
        class: &'static str,
        lost: bool,
        label: String,
    },
    /// Something that happened at one host.
    Mark {
        host: HostId,
        class: &'static str,
        label: String,
    },
    /// Something that concerns all.
    Band { class: &'static str, label: String },
}

impl Row {
    pub(super) fn time(&self) -> String {
        format!("{:.3}", self.at.as_secs_f64())
    }
}

/// The rows of a trace.
pub(super) fn rows(trace: &Trace, names: &[&str], violations: &[Violation]) -> Vec<Row> {
    let last = trace.entries().last().map_or(Time::ZERO, |entry| entry.at);
    let mut builder = Builder {
        names,
        rows: Vec::new(),
        flights: BTreeMap::new(),
        // The finer the run, the finer the arrows; an idle hour is a few rows.
        window: (last.since(Time::ZERO) / 100).max(SHORTEST_WINDOW),
    };
    let mut violations = violations.iter().peekable();
    for entry in trace.entries() {
        while let Some(violation) = violations.next_if(|v| v.at < entry.at) {
            builder.violation(violation);
        }
        builder.entry(entry);
    }
    violations.for_each(|violation| builder.violation(violation));
    builder.flush(Time::NEVER);
    shorten(builder.rows)
}

/// Datagrams that share an arrow.
#[derive(Debug)]
struct Flight {
    begin: Time,
    count: usize,
    bytes: usize,
    lost: usize,
}

struct Builder<'a> {
    names: &'a [&'a str],
    rows: Vec<Row>,
    flights: BTreeMap<(HostId, Option<HostId>, Class), Flight>,
    window: Duration,
}

impl Builder<'_> {
    fn entry(&mut self, entry: &Entry) {
        let at = entry.at;
        match &entry.what {
            What::Datagram {
                from,
                to,
                len,
                class,
                passage,
            } => {
                self.flush(at);
                let new = Flight {
                    begin: at,
                    count: 0,
                    bytes: 0,
                    lost: 0,
                };
                let flight = self.flights.entry((*from, *to, *class)).or_insert(new);
                flight.count += 1;
                flight.bytes += len;
                flight.lost += usize::from(matches!(passage, Passage::Dropped(_)));
            }
            What::Signal {
                from,
                to,
                len,
                passage,
            } => {
                let (lost, fate) = match passage {
                    Passage::Arrives(then) => (false, format!("{:.0} ms", millis(*then, at))),
                    Passage::Twice(then) => (false, format!("{:.0} ms, twice", millis(*then, at))),
                    Passage::Dropped(cause) => (true, format!("{cause:?}")),
                };
                let label = format!("signal {len} B, {fate}");
                self.push(
                    at,
                    Content::Arrow {
                        from: *from,
                        to: *to,
                        class: "signal",
                        lost,
                        label,
                    },
                );
            }
            What::State {
                host,
                peer,
                to,
                cause,
            } => {
                let class = if to.is_terminal() { "ended" } else { "state" };
                let peer = self.names.get(*peer).copied().unwrap_or_default();
                let label = format!("{to} with {peer}: {cause}");
                self.push(
                    at,
                    Content::Mark {
                        host: *host,
                        class,
                        label,
                    },
                );
            }
            What::Event { host, text } if worth_a_row(text) => {
                self.push(
                    at,
                    Content::Mark {
                        host: *host,
                        class: "event",
                        label: text.clone(),
                    },
                );
            }
            What::Event { .. } => {}
            What::Action {
                host: Some(host),
                text,
            } => {
                self.push(
                    at,
                    Content::Mark {
                        host: *host,
                        class: "action",
                        label: text.clone(),
                    },
                );
            }
            What::Action { host: None, text } => {
                self.push(
                    at,
                    Content::Band {
                        class: "fault",
                        label: text.clone(),
                    },
                );
            }
        }
    }

    fn violation(&mut self, violation: &Violation) {
        let label = violation.to_string();
        self.push(
            violation.at,
            Content::Band {
                class: "violation",
                label,
            },
        );
    }

    /// Adds a row after those of all datagrams before it.
    fn push(&mut self, at: Time, content: Content) {
        self.flush(Time::NEVER);
        self.rows.push(Row { at, content });
    }

    /// Ends the arrows that have lasted their time at `now`.
    fn flush(&mut self, now: Time) {
        let window = self.window;
        let mut done: Vec<Row> = Vec::new();
        self.flights.retain(|(from, to, class), flight| {
            if now.since(flight.begin) < window {
                return true;
            }
            let Flight {
                begin,
                count,
                bytes,
                lost,
            } = *flight;
            let mut label = format!("{} x{count}, {bytes} B", class.name());
            if lost > 0 {
                label.push_str(&format!(", {lost} lost"));
            }
            let (from, to, lost) = (*from, *to, lost == count);
            let content = Content::Arrow {
                from,
                to,
                class: "datagram",
                lost,
                label,
            };
            done.push(Row { at: begin, content });
            false
        });
        done.sort_by_key(|row| row.at);
        self.rows.extend(done);
    }
}

fn millis(then: Time, at: Time) -> f64 {
    then.since(at).as_secs_f64() * 1_000.0
}

/// Events that say something that no other row says.
fn worth_a_row(text: &str) -> bool {
    const QUIET: [&str; 6] = [
        "Metrics",
        "SignalSent",
        "SignalReceived",
        "CandidateAdded",
        "Sent ",
        "Message",
    ];
    !QUIET.iter().any(|quiet| text.starts_with(quiet))
}

/// Keeps the first and the last rows of a long figure.
fn shorten(mut rows: Vec<Row>) -> Vec<Row> {
    let omitted = rows.len().saturating_sub(MAX_ROWS);
    if omitted > 0 {
        let first = MAX_ROWS / 2;
        let at = rows[first].at;
        let label = format!("{omitted} rows are left out");
        let gap = Row {
            at,
            content: Content::Band {
                class: "fault",
                label,
            },
        };
        rows.splice(first..first + omitted, [gap]);
    }
    rows
}

/// Datagrams within this time share an arrow even in a short run.
const SHORTEST_WINDOW: Duration = Duration::from_millis(50);
/// Rows of a figure.
pub(super) const MAX_ROWS: usize = 600;
