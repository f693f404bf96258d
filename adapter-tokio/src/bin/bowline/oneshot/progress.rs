use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::files::Digest;
use crate::text;

/// How far a transfer is: a bar on a terminal, a line for each tenth elsewhere.
pub(crate) struct Progress {
    size: u64,
    bar: Option<ProgressBar>,
    /// Where the data began to flow, and when.
    start: u64,
    began: Instant,
    /// The tenth that was told last.
    tenth: u64,
}

impl Progress {
    pub(crate) fn new(size: u64) -> Self {
        let bar = std::io::stdout().is_terminal().then(|| bar(size));
        Self {
            size,
            bar,
            start: 0,
            began: Instant::now(),
            tenth: 0,
        }
    }

    /// Data flows, from `offset` on.
    pub(crate) fn begin(&mut self, offset: u64) {
        (self.start, self.began) = (offset, Instant::now());
        self.tenth = self.tenth_of(offset);
        if let Some(bar) = &self.bar {
            bar.set_position(offset);
            bar.reset_eta();
        }
        if offset > 0 {
            let (offset, size) = (text::bytes(offset), text::bytes(self.size));
            self.say(&format!("going on at {offset} of {size}"));
        }
    }

    pub(crate) fn set(&mut self, received: u64) {
        let received = received.min(self.size);
        if let Some(bar) = &self.bar {
            bar.set_position(received);
            return;
        }
        let tenth = self.tenth_of(received);
        if tenth > self.tenth {
            self.tenth = tenth;
            println!("{}", self.line(received));
        }
    }

    /// Prints a line without disturbing the bar.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{line}")),
            None => println!("{line}"),
        }
    }

    /// The end: how long it took, and what it was.
    pub(crate) fn finish(&self, what: &str, digest: Digest) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let elapsed = self.began.elapsed();
        let moved = self.size.saturating_sub(self.start);
        println!(
            "{what}: {} in {}, {}",
            text::bytes(moved),
            text::duration(elapsed),
            text::rate(moved, elapsed)
        );
        println!("sha256 {digest}, verified");
    }

    fn tenth_of(&self, received: u64) -> u64 {
        u64::try_from(u128::from(received) * 10 / u128::from(self.size.max(1))).unwrap_or(10)
    }

    fn line(&self, received: u64) -> String {
        let percent = self.tenth * 10;
        let elapsed = self.began.elapsed();
        let moved = received.saturating_sub(self.start);
        let mut line = format!(
            "{percent:>3} %  {} of {}, {}",
            text::bytes(received),
            text::bytes(self.size),
            text::rate(moved, elapsed)
        );
        if received < self.size && moved > 0 {
            #[allow(clippy::cast_precision_loss)] // It is for people.
            let ratio = (self.size - received) as f64 / moved as f64;
            let left = Duration::from_secs_f64((elapsed.as_secs_f64() * ratio).min(LONGEST));
            line.push_str(&format!(", {} left", text::duration(left)));
        }
        line
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(size: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "[{bar:32}] {percent:>3} %  {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
    );
    let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::stdout());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The longest remaining time that is shown, in seconds.
const LONGEST: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is_and_how_long_it_will_take() {
        let mut progress = Progress {
            size: 10_000_000,
            bar: None,
            start: 4_000_000,
            began: Instant::now() - Duration::from_secs(2),
            tenth: 0,
        };
        progress.tenth = progress.tenth_of(6_000_000);
        let line = progress.line(6_000_000);
        assert!(line.starts_with(" 60 %  6.00 MB of 10.0 MB, "), "{line}");
        assert!(
            line.contains("B/s, ") && line.ends_with(" s left"),
            "{line}"
        );
        progress.tenth = progress.tenth_of(10_000_000);
        let line = progress.line(10_000_000);
        assert!(
            line.starts_with("100 %") && !line.contains("left"),
            "{line}"
        );
        // Nothing has moved, and nothing is to be moved.
        progress.line(4_000_000);
        progress.size = 0;
        assert_eq!(progress.tenth_of(0), 0);
        progress.size = u64::MAX;
        assert_eq!(progress.tenth_of(u64::MAX), 10);
    }
}
