//! What a failed run leaves behind.

use bowline_sim::{Driver, Scenario};

use super::seeds;

#[test]
fn a_run_leaves_a_scenario_that_repeats_it_and_a_figure() {
    let folder = seeds::folder(9_999_999);
    let report = Scenario::random(4).run(Driver::Exact);
    report.write_to(&folder).expect("the folder can be written");
    let again = Scenario::read(&folder.join("scenario.json")).expect("a scenario");
    assert_eq!(again.run(Driver::Exact).hashes, report.hashes);
    let figure = std::fs::read_to_string(folder.join("sequence.svg")).expect("a figure");
    assert!(figure.ends_with("</svg>\n"));
    assert!(figure.contains("alice") && figure.contains("connected with"));
}
