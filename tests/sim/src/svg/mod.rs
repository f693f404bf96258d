//! Draws a trace as a sequence diagram that a person can read.
//!
//! Every row holds one text, so that no two overlap. Datagrams that go the same way within a short while share an
//! arrow. A long run is cut in its middle: how it began and how it ended tell most.

mod rows;

use std::fmt::Write as _;

use crate::findings::Violation;
use crate::net::HostId;
use crate::trace::Trace;

use rows::{Content, Row, rows};

/// Draws a trace that was recorded with [`Record::Everything`](crate::Record::Everything). `names` are those of the
/// hosts, in their order. Violations stand where they happened.
#[must_use]
pub fn draw(trace: &Trace, names: &[&str], violations: &[Violation]) -> String {
    let rows = rows(trace, names, violations);
    let sheet = Sheet {
        hosts: names.len().max(1),
        rows: rows.len(),
    };
    let mut svg = String::new();
    sheet.open(&mut svg, names);
    for (place, row) in rows.iter().enumerate() {
        sheet.row(&mut svg, place, row);
    }
    svg.push_str("</svg>\n");
    svg
}

struct Sheet {
    hosts: usize,
    rows: usize,
}

impl Sheet {
    fn x(&self, host: HostId) -> usize {
        AXIS + SPACING / 2 + host.min(self.hosts - 1) * SPACING
    }

    fn y(&self, row: usize) -> usize {
        HEAD + (row + 1) * ROW
    }

    fn width(&self) -> usize {
        AXIS + self.hosts * SPACING + SPACING / 2
    }

    fn height(&self) -> usize {
        self.y(self.rows) + ROW
    }

    fn open(&self, svg: &mut String, names: &[&str]) {
        let (width, height) = (self.width(), self.height());
        push(
            svg,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n{STYLE}<rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n"
            ),
        );
        for (host, name) in names.iter().enumerate() {
            let (x, bottom) = (self.x(host), height - ROW / 2);
            text(
                svg,
                x,
                HEAD - 14,
                &format!("{name} ({host})"),
                "name",
                "middle",
            );
            push(
                svg,
                format_args!(
                    "<line x1=\"{x}\" y1=\"{HEAD}\" x2=\"{x}\" y2=\"{bottom}\" class=\"life\"/>\n"
                ),
            );
        }
        text(svg, AXIS - 16, HEAD - 14, "seconds", "time", "end");
    }

    fn row(&self, svg: &mut String, place: usize, row: &Row) {
        let y = self.y(place);
        text(svg, AXIS - 16, y + 4, &row.time(), "time", "end");
        match &row.content {
            Content::Arrow {
                from,
                to,
                class,
                lost,
                label,
            } => {
                self.arrow(svg, y, (*from, *to), class, *lost, label);
            }
            Content::Mark { host, class, label } => {
                let x = self.x(*host);
                push(
                    svg,
                    format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" class=\"{class}\"/>\n"),
                );
                boxed(svg, x + 12, y, label, class, room(SPACING - 24));
            }
            Content::Band { class, label } => {
                let (x1, x2) = (AXIS, self.width() - 12);
                push(
                    svg,
                    format_args!(
                        "<line x1=\"{x1}\" y1=\"{y}\" x2=\"{x2}\" y2=\"{y}\" class=\"band {class}\"/>\n"
                    ),
                );
                boxed(
                    svg,
                    x1 + 12,
                    y,
                    label,
                    class,
                    room(self.width() - AXIS - 48),
                );
            }
        }
    }

    /// An arrow with its text on it. One that is lost ends half way with a cross.
    fn arrow(
        &self,
        svg: &mut String,
        y: usize,
        (from, to): (HostId, Option<HostId>),
        class: &str,
        lost: bool,
        label: &str,
    ) {
        let start = self.x(from);
        let target = to.map_or(start + SPACING / 2, |to| self.x(to));
        let right = target > start;
        let end = if lost { start.midpoint(target) } else { target };
        push(
            svg,
            format_args!(
                "<line x1=\"{start}\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\" class=\"{class}\"/>\n"
            ),
        );
        let back = if right {
            end.saturating_sub(7)
        } else {
            end + 7
        };
        let (up, down) = (y - 4, y + 4);
        if lost {
            let (l, r) = (end.saturating_sub(4), end + 4);
            push(
                svg,
                format_args!(
                    "<path d=\"M{l} {up}L{r} {down}M{l} {down}L{r} {up}\" class=\"cross\"/>\n"
                ),
            );
        } else {
            push(
                svg,
                format_args!(
                    "<path d=\"M{back} {up}L{end} {y}L{back} {down}\" class=\"head {class}\"/>\n"
                ),
            );
        }
        // The text starts at the left end of the way between the two lines, also of a shortened arrow's.
        let left = start.min(target);
        boxed(
            svg,
            left + 24,
            y,
            label,
            class,
            room(start.abs_diff(target).max(SPACING) - 48),
        );
    }
}

/// Characters that fit into a width.
fn room(width: usize) -> usize {
    width / CHARACTER
}

/// A text on a patch of paper, so that the lines below it do not cross it.
fn boxed(svg: &mut String, x: usize, y: usize, label: &str, class: &str, room: usize) {
    let label: String = match label.char_indices().nth(room) {
        None => label.to_owned(),
        Some((end, _)) => format!(
            "{}…",
            &label[..label[..end].char_indices().last().map_or(0, |l| l.0)]
        ),
    };
    let width = label.chars().count() * CHARACTER + 6;
    let (left, top, height) = (x - 3, y - ROW / 2 + 1, ROW - 2);
    push(
        svg,
        format_args!(
            "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" class=\"paper\"/>\n"
        ),
    );
    text(svg, x, y + 4, &label, class, "start");
}

fn text(svg: &mut String, x: usize, y: usize, content: &str, class: &str, anchor: &str) {
    let content = content
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    push(
        svg,
        format_args!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{content}</text>\n"
        ),
    );
}

fn push(svg: &mut String, piece: std::fmt::Arguments<'_>) {
    svg.write_fmt(piece).expect("a string grows");
}

/// The width of the time axis, in pixels.
const AXIS: usize = 100;
/// Between two lines.
const SPACING: usize = 420;
/// The height of the names.
const HEAD: usize = 44;
/// The height of a row.
const ROW: usize = 20;
/// A little more than the width of one character of the font below, which is monospaced.
const CHARACTER: usize = 7;
const STYLE: &str = "<style>
text{font:11px 'DejaVu Sans Mono',monospace;fill:#333}
.name{font-weight:bold;font-size:14px;fill:#111}.time{fill:#777}
.paper{fill:#fff}.life{stroke:#bbb;stroke-width:1.5}
line.signal{stroke:#2457a6;stroke-width:1.5}text.signal{fill:#2457a6}
line.datagram{stroke:#999}text.datagram{fill:#666}
.head{fill:none;stroke-width:1.5}.head.signal{stroke:#2457a6}.head.datagram{stroke:#999}
.cross{stroke:#c22;stroke-width:2;fill:none}
circle.state{fill:#1a7f37}text.state{fill:#1a7f37;font-weight:bold}
circle.ended{fill:#c22}text.ended{fill:#c22;font-weight:bold}
circle.event{fill:#ccc}circle.action{fill:#8250df}text.action{fill:#8250df}
.band{stroke-dasharray:6 4}.band.fault{stroke:#d4720b}text.fault{fill:#b35c00}
.band.violation{stroke:#c22;stroke-width:2}text.violation{fill:#c22;font-weight:bold}
</style>
";

#[cfg(test)]
mod tests;
