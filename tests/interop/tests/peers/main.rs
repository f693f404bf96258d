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
    pub(crate) stack: Arc<Stack>,
    pub(crate) offerer: Offerer,
    pub(crate) lab: Arc<Lab>,
}

/// What became of a test, with the reason why it failed.
pub(crate) type Verdict = Result<Outcome, String>;

type Run = fn(Bench) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// A case of the list in `docs/TESTING.md`.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// As in the names of tests.
    pub(crate) name: &'static str,
    pub(crate) run: Run,
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

fn trials(lab: &Arc<Lab>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for kind in Kind::ALL {
        for case in cases::ALL {
            for offerer in [Offerer::Bowline, Offerer::Peer] {
                trials.push(trial(lab.clone(), kind, case, offerer));
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
        let outcome = lab
            .runtime
            .block_on(attempt(lab.clone(), kind, case, offerer));
        let outcome = outcome.map_err(Failed::from)?;
        lab.table().enter(case.name, kind, offerer, Some(outcome));
        Ok(())
    })
}

async fn attempt(lab: Arc<Lab>, kind: Kind, case: Case, offerer: Offerer) -> Verdict {
    let turn = lab.turn().await;
    let stack = lab.stack(kind).await?;
    let bench = Bench {
        stack,
        offerer,
        lab,
    };
    let verdict = tokio::time::timeout(LIMIT, (case.run)(bench)).await;
    drop(turn);
    verdict.unwrap_or_else(|_| Err(format!("it did not end within {LIMIT:?}")))
}

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Threads that wait for tests.
const THREADS: usize = 2;
