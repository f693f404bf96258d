//! What the core costs beside str0m alone, in processor time, measured side by side in one run.
//!
//! Every figure is a median, and the two sides of a ratio take turns, so that a machine that becomes slower meanwhile
//! slows both. `--test` runs each case once and small; other arguments are parts of names to run.

mod cases;
mod crowd;
mod meter;
mod pair;
mod raw;
mod resident;
mod signals;
mod turn;

use cases::CASES;
use meter::Effort;

fn main() {
    if let Some(what) = std::env::var_os(resident::VARIABLE) {
        return resident::child(&what);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let effort = if args.iter().any(|arg| arg == "--test") {
        Effort::Once
    } else {
        Effort::Full
    };
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    println!(
        "{:<46} {:>12} {:>12} {:>7} {:>7}",
        "", "reference", "bowline", "ratio", "target"
    );
    for (name, case) in CASES {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            case(effort).into_iter().for_each(|line| line.print(name));
        }
    }
}
