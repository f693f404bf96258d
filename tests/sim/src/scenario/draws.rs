//! How values are drawn: log-uniform, so that small ones are as likely as large ones.

use std::time::Duration;

use crate::rng::Stream;

/// A time between two numbers of milliseconds.
pub(super) fn millis(stream: &mut Stream, lo: f64, hi: f64) -> Duration {
    Duration::from_micros(log_u64(stream, lo * 1_000.0, hi * 1_000.0))
}

/// In millionths: a JSON reader may get the last digits of longer numbers wrong.
pub(super) fn probability(stream: &mut Stream, lo: f64, hi: f64) -> f64 {
    (stream.log_uniform(lo, hi) * 1e6).round() / 1e6
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and small"
)]
pub(super) fn log_u64(stream: &mut Stream, lo: f64, hi: f64) -> u64 {
    stream.log_uniform(lo, hi) as u64
}

pub(super) fn log_usize(stream: &mut Stream, lo: f64, hi: f64) -> usize {
    usize::try_from(log_u64(stream, lo, hi)).unwrap_or_default()
}

pub(super) fn usize_between(stream: &mut Stream, lo: usize, hi: usize) -> usize {
    usize::try_from(stream.between(lo as u64, hi as u64)).unwrap_or(lo)
}

/// One of several.
pub(super) fn pick<T: Copy>(stream: &mut Stream, all: &[T]) -> T {
    all[usize_between(stream, 0, all.len() - 1)]
}
