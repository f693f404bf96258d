use std::error::Error;
use std::path::PathBuf;

use bowline_sim::{Driver, Report, Scenario};

/// Run simulated networks: seeds, or one scenario, and draw what happened.
///
/// Each seed draws a scenario (peers, links, faults, messages), which runs twice; every rule is checked after each
/// event and both runs have to be equal. A run that fails leaves `scenario.json`, which replays it, and
/// `sequence.svg`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline sim                               seeds 0 to 99
  bowline sim --seed 1000 --count 5000      five thousand others
  bowline sim --scenario scenario.json --draw out   one scenario, drawn")]
pub(crate) struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Runs this scenario instead of seeds.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Writes scenario and figure of the last run into this folder, whether it passed or not.
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    /// Wakes endpoints every millisecond as well, not only when they ask for it.
    #[arg(long)]
    eager: bool,
}

/// Runs what was asked for. Fails with the first run that breaks a rule.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let driver = if arguments.eager {
        Driver::EAGER
    } else {
        Driver::Exact
    };
    let scenarios: Box<dyn Iterator<Item = Scenario>> = match &arguments.scenario {
        Some(path) => Box::new(std::iter::once(Scenario::read(path)?)),
        None => {
            let last = arguments.seed.saturating_add(arguments.count);
            Box::new((arguments.seed..last).map(Scenario::random))
        }
    };
    let (mut passed, mut last) = (0_u64, None);
    for scenario in scenarios {
        let report = scenario.run_twice(driver);
        if !report.passed() {
            return Err(fail(&report, arguments));
        }
        passed += 1;
        last = Some(report);
    }
    if let (Some(report), Some(folder)) = (&last, &arguments.draw) {
        report.write_to(folder)?;
        println!("drawn into {}", folder.display());
    }
    if let (Some(report), Some(_)) = (&last, &arguments.scenario) {
        print!("{report}");
    }
    println!("{passed} passed, 0 failed");
    Ok(())
}

fn fail(report: &Report, arguments: &Arguments) -> Box<dyn Error> {
    let folder = arguments
        .draw
        .clone()
        .unwrap_or_else(|| PathBuf::from("bowline-sim-failure"));
    let written = match report.write_to(&folder) {
        Ok(()) => format!("scenario and figure are in {}", folder.display()),
        Err(error) => format!("{} cannot be written: {error}", folder.display()),
    };
    format!("{report}\n{written}").into()
}
