//! What a run of a scenario showed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use bowline::ChannelId;

use crate::driver::Driver;
use crate::findings::{Invariant, Premises, Violation};
use crate::marks::Marks;
use crate::model::Digest;
use crate::net::HostId;
use crate::svg;
use crate::time::Time;
use crate::trace::{Hashes, Record};
use crate::world::{Stats, World};

use super::{RunOptions, Scenario};

/// What a run of a scenario showed. Its `Display` says how to repeat it.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was run.
    pub scenario: Scenario,
    /// How endpoints were woken.
    pub driver: Driver,
    /// The hashes of the trace.
    pub hashes: Hashes,
    /// The rules that did not hold.
    pub violations: Vec<Violation>,
    /// How often each rule had something to check.
    pub premises: Premises,
    /// What of the fault menu happened.
    pub marks: Marks,
    /// Figures.
    pub stats: Stats,
    /// What every application received: by host, peer, how many times the peer was initialised before, and channel.
    pub deliveries: BTreeMap<(HostId, HostId, usize, ChannelId), Digest>,
}

impl Report {
    pub(super) fn new(scenario: &Scenario, driver: Driver, world: &World) -> Self {
        Self {
            scenario: scenario.clone(),
            driver,
            hashes: world.trace().hashes(),
            violations: world.violations().to_vec(),
            premises: world.premises(),
            marks: world.marks(),
            stats: world.stats(),
            deliveries: world.deliveries(),
        }
    }

    /// Whether every rule held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// Panics when a rule did not hold, after it has written the scenario and a figure to `dir`.
    ///
    /// # Panics
    ///
    /// With this report.
    pub fn assert_passed(&self, dir: &Path) {
        if !self.passed() {
            let written = match self.write_to(dir) {
                Ok(()) => format!("see {}", dir.display()),
                Err(error) => format!("nothing was written to {}: {error}", dir.display()),
            };
            panic!("{self}{written}");
        }
    }

    /// Writes `scenario.json`, which replays the run, and `sequence.svg`, a figure of it, made by running it again.
    ///
    /// # Errors
    ///
    /// When the folder or the files cannot be written.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("scenario.json"), self.scenario.to_json())?;
        let options = RunOptions {
            driver: self.driver,
            record: Record::Everything,
            ..RunOptions::default()
        };
        let world = self.scenario.play(options);
        let names: Vec<&str> = self
            .scenario
            .peers
            .iter()
            .map(|peer| peer.name.as_str())
            .chain(
                self.scenario
                    .servers
                    .iter()
                    .map(|server| server.name.as_str()),
            )
            .collect();
        std::fs::write(
            dir.join("sequence.svg"),
            svg::draw(world.trace(), &names, world.violations()),
        )
    }

    /// Notes whether another run of the same scenario was the same.
    pub(super) fn compare(&mut self, other: &Self) {
        self.premises.note(Invariant::Determinism);
        let texts = [
            ("events", self.hashes.events, other.hashes.events),
            ("sizes", self.hashes.sizes, other.hashes.sizes),
        ];
        for (what, first, second) in texts {
            if first != second {
                self.violations.push(Violation {
                    invariant: Invariant::Determinism,
                    at: Time::ZERO.after(self.stats.simulated),
                    text: format!("{what}: {first:016x} and then {second:016x}"),
                });
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.scenario.seed;
        let Hashes { events, sizes } = self.hashes;
        writeln!(
            f,
            "seed {seed}, {:?}, hashes {events:016x} {sizes:016x}",
            self.driver
        )?;
        writeln!(f, "simulated {:.1} s", self.stats.simulated.as_secs_f64())?;
        for violation in &self.violations {
            writeln!(f, "- {violation}")?;
        }
        if self.passed() {
            return writeln!(f, "every rule held");
        }
        writeln!(f, "again: BOWLINE_SEED={seed} {COMMAND}")?;
        writeln!(f, "   or: BOWLINE_SCENARIO=<scenario.json> {COMMAND}")
    }
}

/// What repeats one run.
const COMMAND: &str = "cargo test -p bowline-tests --test simulation replay -- --nocapture";
