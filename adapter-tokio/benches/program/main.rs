//! What the program costs, as processes on this machine.
//!
//! `cargo bench -p bowline-tokio --bench program -- transfer` sends a file of 1 GiB, `-- transfer 200` of so many MiB;
//! `-- relay` puts 10,000 idle clients and then 20,000 messages a second on `bowline serve`, `-- relay 1000 5000` so many of
//! each. Without a name both run, and with `--test` they are short. Linux only, where `/proc` has the figures.
#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss)] // Figures for people.

mod relay;
mod transfer;
mod usage;

use std::path::Path;

#[tokio::main]
async fn main() -> Result<(), usage::Fault> {
    if !Path::new("/proc/self/stat").exists() {
        println!("program: there is no /proc");
        return Ok(());
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let numbers: Vec<u64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    let number = |at: usize, test: u64, usual: u64| {
        let usual = if is_test { test } else { usual };
        numbers.get(at).copied().unwrap_or(usual)
    };
    if named("transfer") || !named("relay") {
        transfer::run(number(0, 1, 1_024)).await?;
    }
    if named("relay") || !named("transfer") {
        let seconds = if is_test { 1 } else { 10 };
        relay::run(number(0, 100, 10_000), number(1, 500, 20_000), seconds).await?;
    }
    Ok(())
}
