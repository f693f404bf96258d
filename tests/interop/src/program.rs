//! The `bowline` program, for suites that run it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use crate::process::Group;

/// The program, built before its first use: cargo gives tests only the programs of their own package.
///
/// # Panics
///
/// When it does not build.
pub fn path() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

fn build() -> PathBuf {
    // From the root, without a package and with an example, so that cargo chooses the features that `cargo test` has
    // there: what that has built before is used again.
    let output = Command::new(env!("CARGO"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--bin", "bowline", "--example", "echo_peer"])
        .arg("--message-format=json")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the program does not build");
    let executable = |line: &[u8]| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        let is_it = message["target"]["name"] == "bowline";
        Some(PathBuf::from(
            message["executable"].as_str().filter(|_| is_it)?,
        ))
    };
    let mut built = output.stdout.split(|byte| *byte == b'\n');
    built.find_map(executable).expect("cargo names the program")
}

/// Starts a program whose output is read with [`find_line`].
///
/// # Panics
///
/// When it does not start.
pub fn spawn(command: &mut Command) -> Group {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    Group::spawn(command).expect("starts")
}

/// What follows `prefix` in the first line of the output that has it.
///
/// # Panics
///
/// When the program ends without it.
pub fn find_line(group: &mut Group, prefix: &str) -> String {
    let [found] = find_lines(group, [prefix]);
    found
}

/// What follows each prefix in the first line of the output that has it, after that of the prefix before. The rest is read
/// too: nobody likes a closed pipe.
///
/// # Panics
///
/// When the program ends without one.
pub fn find_lines<const N: usize>(group: &mut Group, prefixes: [&str; N]) -> [String; N] {
    let output = group.leader().stdout.take().expect("piped");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let found = prefixes.map(|prefix| {
        let found = lines.find_map(|line| Some(line.split_once(prefix)?.1.to_owned()));
        found.unwrap_or_else(|| panic!("the program ended without {prefix:?}"))
    });
    thread::spawn(move || lines.for_each(drop));
    found
}
