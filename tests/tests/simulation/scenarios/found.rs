//! What random scenarios found, made smaller and kept as JSON: the seeds lose their meaning when the generator changes.

use std::path::Path;

use bowline_sim::{Scenario, Trial};

#[test]
fn no_scenario_that_once_failed_fails_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/scenarios");
    let files = folder.read_dir().expect("the folder of this file");
    let paths = files.map(|file| file.expect("a file").path());
    let scenarios = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut count = 0;
    for path in scenarios {
        let scenario = Scenario::read(&path).expect("a scenario");
        if let Some(report) = Trial::of(&scenario, false).failure() {
            panic!("{}: {report}", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "some were found");
}
