use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bowline_sim::{Report, Scenario, Swarm, Tally, Trial};

/// Run simulated networks: seeds, or one scenario, and draw what happened.
///
/// Each seed draws a scenario (peers, links, faults, messages). It runs with endpoints that are woken when they ask
/// for it, and with some that are woken far too often; one seed in twenty runs twice, and both runs have to be equal. Every
/// rule is checked after each event. A seed that fails is made smaller and leaves `scenario.json`, which replays it, and
/// `sequence.svg`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline sim                               seeds 0 to 99
  bowline sim --seeds 5000 --jobs 2         five thousand, two at a time
  bowline sim --seed 7 --seeds 1 --draw out one seed, drawn
  bowline sim --scenario scenario.json --draw out   one scenario, drawn")]
pub(crate) struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// How many run at a time [default: one for each core].
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs this scenario instead of seeds.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "jobs"])]
    scenario: Option<PathBuf>,
    /// Writes scenario and figure into this folder, also where all is well: those of the scenario, or of the first seed.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
}

/// Runs what was asked for. Fails when a rule did not hold somewhere.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    match &arguments.scenario {
        Some(path) => replay(&Scenario::read(path)?, arguments.draw.as_deref()),
        None => swarm(arguments),
    }
}

fn replay(scenario: &Scenario, draw: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let trial = Trial::of(scenario, true);
    for report in &trial.reports {
        print!("{report}");
    }
    let report = trial.failure().unwrap_or(&trial.reports[0]);
    if let Some(folder) = draw {
        report.write_to(folder)?;
        println!("drawn into {}", folder.display());
    }
    match report.violations.first() {
        Some(violation) => Err(violation.to_string().into()),
        None => Ok(()),
    }
}

fn swarm(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut swarm = Swarm::new(arguments.seed, arguments.seeds);
    if let Some(jobs) = arguments.jobs {
        swarm = swarm.jobs(jobs);
    }
    let mut progress = Progress::new(arguments.seeds);
    let tally = swarm.run(|tally| progress.show(tally));
    progress.end(&tally);
    print!("{tally}");
    for report in &tally.failures {
        explain(report)?;
    }
    if let Some(folder) = &arguments.draw {
        let first = Trial::of(&Scenario::random(arguments.seed), false);
        first.reports[0].write_to(folder)?;
        println!("drawn into {}", folder.display());
    }
    let passed = tally.seeds - tally.failed;
    println!("{passed} passed, {} failed", tally.failed);
    if tally.passed() {
        Ok(())
    } else {
        Err("a rule did not hold".into())
    }
}

/// Makes a failing run smaller, leaves its files, and says how to see it again.
fn explain(report: &Report) -> Result<(), Box<dyn Error>> {
    let seed = report.scenario.seed;
    let folder = PathBuf::from(format!("bowline-sim-failures/seed-{seed}"));
    println!("seed {seed} failed: {}", report.violations[0]);
    let small = report.shrunk(SHRINK);
    small.write_to(&folder)?;
    let steps = (report.scenario.steps.len(), small.scenario.steps.len());
    println!("  made smaller, from {} steps to {}", steps.0, steps.1);
    let folder = folder.display();
    println!("  again: bowline sim --scenario {folder}/scenario.json");
    println!("  drawn: {folder}/sequence.svg");
    Ok(())
}

/// What is shown on standard error while seeds run: one line that changes on a terminal, and a new one now and then
/// elsewhere.
struct Progress {
    seeds: u64,
    start: Instant,
    last: Instant,
    terminal: bool,
    /// The failing seeds that were named.
    named: BTreeSet<u64>,
}

impl Progress {
    fn new(seeds: u64) -> Self {
        let now = Instant::now();
        Self {
            seeds,
            start: now,
            last: now,
            terminal: std::io::stderr().is_terminal(),
            named: BTreeSet::new(),
        }
    }

    fn show(&mut self, tally: &Tally) {
        for failure in &tally.failures {
            if self.named.insert(failure.scenario.seed) {
                self.name(failure);
            }
        }
        let pause = if self.terminal { OFTEN } else { RARELY };
        if self.last.elapsed() >= pause {
            self.last = Instant::now();
            self.print(tally);
        }
    }

    fn end(&self, tally: &Tally) {
        self.print(tally);
        if self.terminal {
            eprintln!();
        }
    }

    /// Says at once which seed failed: the run may go on for an hour.
    fn name(&self, failure: &Report) {
        let (seed, violation) = (failure.scenario.seed, &failure.violations[0]);
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _closed = writeln!(std::io::stderr(), "{clear}seed {seed} failed: {violation}");
    }

    fn print(&self, tally: &Tally) {
        let Tally { seeds, failed, .. } = tally;
        #[expect(clippy::cast_precision_loss, reason = "few seeds")]
        let rate = *seeds as f64 / self.start.elapsed().as_secs_f64();
        let mut line = format!("{seeds} of {} seeds, {rate:.1} a second", self.seeds);
        if *failed > 0 {
            // Writing to a string cannot fail.
            let _infallible = write!(line, ", {failed} failed");
        }
        // Nobody is left without a report when standard error is closed.
        let _closed = if self.terminal {
            write!(std::io::stderr(), "\r{line}\x1b[K")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }
}

/// Runs that are spent on making one scenario smaller.
const SHRINK: usize = 500;
/// How often the line on a terminal changes.
const OFTEN: Duration = Duration::from_millis(100);
/// How often a line is written elsewhere.
const RARELY: Duration = Duration::from_secs(5);
