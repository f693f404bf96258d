use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Prints what happens, with the time since the start.
pub(crate) struct Stage {
    start: Instant,
    colour: bool,
    terminal: bool,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self {
            start: Instant::now(),
            colour,
            terminal,
        }
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn title(&self, text: &str) {
        println!("{}", self.paint(BOLD, text));
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}", self.paint(BOLD, text));
    }

    /// One line of the story: when, who, what.
    pub(crate) fn line(&self, who: &str, what: &str) {
        let at = format!("{:6.3}", self.start.elapsed().as_secs_f64());
        let who = format!("{who:<6}");
        println!(
            "  {}  {} {what}",
            self.paint(DIM, &at),
            self.paint(CYAN, &who)
        );
    }

    /// A name and what belongs to it.
    pub(crate) fn entry(&self, name: &str, what: &str) {
        println!("  {} {what}", self.paint(CYAN, &format!("{name:<13}")));
    }

    /// A table with a rule under its head. All columns but the first are set to the right.
    pub(crate) fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells
                .chain(head.get(column).map(|cell| cell.chars().count()))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        println!("  {}", self.paint(BOLD, &line(&head, &widths)));
        println!(
            "  {}",
            self.paint(
                DIM,
                &"-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1))
            )
        );
        for row in rows {
            println!("  {}", line(row, &widths));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(column, (cell, width))| {
            if column == 0 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// A duration in milliseconds, with decimals where they matter.
pub(crate) fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 10.0 {
        format!("{millis:.2} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const CYAN: &str = "36";
