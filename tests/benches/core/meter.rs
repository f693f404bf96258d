//! Processor time, medians, and lines of the table.

use std::time::{Duration, Instant};

/// How thoroughly to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Each case once and small: that it works.
    Once,
    Full,
}

impl Effort {
    /// How often each side of a comparison has its turn.
    pub(crate) fn turns(self) -> usize {
        self.pick(1, 5)
    }

    pub(crate) fn pick<T>(self, once: T, full: T) -> T {
        match self {
            Self::Once => once,
            Self::Full => full,
        }
    }
}

/// A line of the table.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) reference: f64,
    pub(crate) bowline: f64,
    /// The ratio that is not to be exceeded, where one is set.
    pub(crate) target: Option<f64>,
}

impl Line {
    pub(crate) fn print(&self, name: &str) {
        let Self {
            what,
            unit,
            reference,
            bowline,
            target,
        } = self;
        let title = format!("{name}: {what}, {unit}");
        let target = target.map_or_else(String::new, |target| format!("{target:.2}"));
        let ratio = bowline / reference;
        println!("{title:<46} {reference:>12.1} {bowline:>12.1} {ratio:>7.2} {target:>7}");
    }
}

/// Runs the sides in turn and gives the median of what each returned.
pub(crate) fn medians<const N: usize>(
    effort: Effort,
    mut side: impl FnMut(usize) -> f64,
) -> [f64; N] {
    let mut all: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..effort.turns() {
        for (index, values) in all.iter_mut().enumerate() {
            values.push(side(index));
        }
    }
    all.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

/// The processor time that this thread takes for `work`.
pub(crate) fn cpu<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let (before, wall) = (on_cpu(), Instant::now());
    let result = work();
    let spent = match (before, on_cpu()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        // Not on Linux: the wall clock has to do.
        _ => wall.elapsed(),
    };
    (spent, result)
}

/// The first field is the nanoseconds that the thread was on a processor. The kernel brings it up to date at every
/// tick, so that what is measured should take many.
fn on_cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
pub(crate) fn nanos_each(spent: Duration, count: u64) -> f64 {
    spent.as_secs_f64() * 1e9 / count as f64
}
