//! A ruler for work against the length of an input.
//!
//! Sixteen times the length takes sixteen times as long when the work is linear, and 256 times when it is quadratic; the
//! limit lies a factor of four from both, which is more than a cache that the short input fits in and the long one does
//! not. The time is the processor's for this thread, and the shortest of several, long and short runs in turn. What else
//! the machine does lengthens a run and never shortens it: where the shortest times say that the work is not linear there
//! are more runs, until they do or have had every chance.

use std::hint::black_box;
use std::time::Duration;

/// The length of the long input; the short one has a sixteenth.
pub(crate) const LONG: usize = 1024 * 1024;

/// Checks that `work` on an input that `make` made for a length takes time linear in it.
pub(crate) fn assert_linear<I>(
    name: &str,
    long: usize,
    make: impl Fn(usize) -> I,
    mut work: impl FnMut(&I),
) {
    let inputs = [make(long / TIMES), make(long)];
    let mut best = [Duration::MAX; 2];
    let mut ratio = f64::INFINITY;
    for round in 1..=ROUNDS_MAX {
        for (input, best) in inputs.iter().zip(&mut best) {
            let time = cpu_time(|| work(black_box(input)));
            *best = time.min(*best);
        }
        let [short, long] = best;
        // Below this only the clock is measured.
        ratio = long.as_secs_f64() / short.max(SHORTEST).as_secs_f64();
        if round >= ROUNDS_MIN && ratio < RATIO_MAX {
            return;
        }
    }
    let [short, long] = best;
    panic!("{name}: {short:?} and {long:?}, {ratio:.1} times");
}

/// How long the processor works on something.
pub(crate) fn cpu_time(work: impl FnOnce()) -> Duration {
    let start = thread_time();
    work();
    thread_time() - start
}

/// `unit` repeated up to a length.
pub(crate) fn repeated(unit: &str) -> impl Fn(usize) -> String {
    move |len| unit.repeat(len / unit.len())
}

#[cfg(unix)]
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("not before the beginning")
}

/// Where there is no such clock, a quiet machine does.
#[cfg(not(unix))]
fn thread_time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

const ROUNDS_MIN: u32 = 4;
const ROUNDS_MAX: u32 = 64;
/// The long input to the short one.
const TIMES: usize = 16;
/// Between 16 and 256.
const RATIO_MAX: f64 = 64.0;
const SHORTEST: Duration = Duration::from_micros(2);

#[test]
fn linear_work_passes() {
    let sum = |bytes: &String| {
        black_box(bytes.bytes().map(u64::from).sum::<u64>());
    };
    assert_linear("a sum", LONG, repeated("x"), sum);
}

#[test]
#[should_panic(expected = "pairs")]
fn quadratic_work_is_found() {
    let pairs = |bytes: &String| {
        let equal = |a: u8| bytes.bytes().filter(|b| *b == black_box(a)).count();
        black_box(bytes.bytes().map(equal).sum::<usize>());
    };
    assert_linear("pairs", 16 * 1024, repeated("xy"), pairs);
}
