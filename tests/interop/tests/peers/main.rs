//! bowline against WebRTC stacks that other people wrote: each case with each stack, with either side as offerer.
//!
//! `bash tests/interop/run [FILTER]` installs the stacks and runs this in a network namespace. Nothing is tried twice. A
//! stack is started once and serves all its tests, each with a peer connection and a bowline endpoint of its own.

mod cases;
mod lab;
mod table;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bowline_interop::bridge::Offerer;
use bowline_interop::foreign::{Kind, Stack};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::lab::Lab;
use crate::table::Outcome;

/// What a test is given.
pub(crate) struct Bench {
    pub(crate) kind: Kind,
    pub(crate) offerer: Offerer,
    pub(crate) lab: Arc<Lab>,
}

impl Bench {
    /// The stack to test with, which serves other tests too.
    pub(crate) async fn stack(&self) -> Result<Arc<Stack>, Failure> {
        Ok(self.lab.stack(self.kind).await?)
    }
}

/// What became of a test, or why it failed.
pub(crate) type Verdict = Result<Outcome, Failure>;

/// Why a test failed, for a person to read.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

type Run = fn(Bench) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A case of the list in `docs/TESTING.md`.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// As in the names of tests.
    pub(crate) name: &'static str,
    pub(crate) pace: Pace,
    pub(crate) run: Run,
}

impl Case {
    /// Who offers in it.
    fn sides(&self) -> &'static [Offerer] {
        match self.name {
            "p01_through_mio" => &[Offerer::Peer],
            _ => &[Offerer::Bowline, Offerer::Peer],
        }
    }
}

/// What may run beside a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// One other test.
    Shared,
    /// Nothing: it measures.
    Alone,
    /// It takes turns itself, since it mostly waits.
    Own,
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Threads only wait; the lab gives out the turns.
    arguments.test_threads.get_or_insert(THREADS);
    let lab = Lab::new();
    let conclusion = libtest_mimic::run(&arguments, trials(&lab));
    lab.table().write().expect("the table can be written");
    // Ends the stacks, which `exit` would leave running.
    drop(Arc::into_inner(lab).expect("every test has ended"));
    conclusion.exit();
}

/// Those that mostly wait come first.
fn trials(lab: &Arc<Lab>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for waiting in [true, false] {
        for kind in Kind::ALL {
            for case in cases::of(kind).filter(|case| (case.pace == Pace::Own) == waiting) {
                for offerer in case.sides() {
                    trials.push(trial(lab.clone(), kind, case, *offerer));
                }
            }
        }
    }
    trials
}

fn trial(lab: Arc<Lab>, kind: Kind, case: Case, offerer: Offerer) -> Trial {
    let side = match offerer {
        Offerer::Bowline => "offerer",
        Offerer::Peer => "answerer",
    };
    let name = format!("{}::{}::{side}", kind.name(), case.name);
    Trial::test(name, move || {
        lab.table().enter(case.name, kind, offerer, None);
        let bench = Bench {
            kind,
            offerer,
            lab: lab.clone(),
        };
        let outcome = lab.runtime.block_on(attempt(bench, case));
        let outcome = outcome.map_err(|Failure(reason)| Failed::from(reason))?;
        lab.table().enter(case.name, kind, offerer, Some(outcome));
        Ok(())
    })
}

async fn attempt(bench: Bench, case: Case) -> Verdict {
    let turn = match case.pace {
        Pace::Shared => Some(bench.lab.turn().await),
        Pace::Alone => Some(bench.lab.alone().await),
        Pace::Own => None,
    };
    let (kind, offerer) = (bench.kind, bench.offerer);
    let run = if bench.kind == Kind::Werift {
        cases::known_failure_of_werift(bench)
    } else {
        (case.run)(bench)
    };
    let verdict = tokio::time::timeout(LIMIT, run).await;
    drop(turn);
    let verdict =
        verdict.unwrap_or_else(|_| Err(format!("it did not end within {LIMIT:?}").into()));
    match verdict {
        Err(Failure(reason)) if is_race_of_libdatachannel(kind, offerer, &reason) => {
            Ok(Outcome::TheirFailure(RACE.to_owned()))
        }
        verdict => verdict,
    }
}

/// libdatachannel lets DTLS begin while it applies an answer, on another thread, and fails to verify the certificate when
/// the handshake gets there before the fingerprint. Then it closes, and the applying finds its transport gone: this
/// exception, and no other failure, is its own.
fn is_race_of_libdatachannel(kind: Kind, offerer: Offerer, reason: &str) -> bool {
    let error = "Got a remote candidate without ICE transport";
    kind == Kind::NodeDatachannel && offerer == Offerer::Peer && reason.contains(error)
}

/// What the table says of it.
const RACE: &str = "now and then, not in the same cases: it begins DTLS while it applies the answer, fails to verify the \
                    certificate when the fingerprint is not there yet, and closes";

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Threads that wait: for one test of each stack and direction that takes its own turns, and for two others.
const THREADS: usize = 2 * Kind::ALL.len() + 2;
