//! Two endpoints under a script that decides everything: each call, each datagram's fate, how far they are polled.
//!
//! A [`World`](crate::World) asks whether honest endpoints reach their goals in bad weather. A script asks whether
//! any order of inputs breaks a rule: whoever writes it (a fuzzer) may hold back, repeat, alter and invent what is under
//! way, poll an endpoint only a little, and let time jump. [`run`] is the body of the fuzz target `endpoint`.
//!
//! The rules, whatever the script: no panic; no deadline in the past after a drain, and none that spins; every event
//! follows from those before it; at most a stated number of datagrams; and after both sides have closed nothing is
//! left. Unless the script has altered what DTLS protects, or a signal, the account of every message balances too:
//! each that was accepted on a reliable channel has one outcome, and what is told is what has happened.

mod account;
mod side;
mod stage;
mod step;

use arbitrary::{Arbitrary as _, Unstructured};

use stage::Stage;
pub use step::{Step, Who};

/// Plays the script that `data` holds.
///
/// # Panics
///
/// When a rule does not hold.
pub fn run(data: &[u8]) {
    play(&steps(data));
}

/// The script that `data` holds: at most [`STEPS_MAX`] steps.
#[must_use]
pub fn steps(data: &[u8]) -> Vec<Step> {
    let mut data = Unstructured::new(data);
    let mut steps = Vec::new();
    while !data.is_empty() && steps.len() < STEPS_MAX {
        match Step::arbitrary(&mut data) {
            Ok(step) => steps.push(step),
            Err(_) => break,
        }
    }
    steps
}

/// Plays a script, then lets both sides close in good weather.
///
/// # Panics
///
/// When a rule does not hold.
pub fn play(steps: &[Step]) {
    let mut stage = Stage::new();
    for step in steps {
        stage.apply(step);
    }
    stage.finish();
}

/// The steps of a script that are played. More would say nothing new and take long.
pub const STEPS_MAX: usize = 256;

#[cfg(test)]
mod tests;
