use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bowline::{Event, Output, Replay, Replayed};

/// Replay a recording: do again what an endpoint did, step by step.
///
/// A recording is made with `Endpoint::record` or `bowline demo --record`. The transports answer from the recording;
/// everything above them runs for real, so that this fails with the first step at which this version of bowline does
/// something else than the one that recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bowline replay alice.rec               events and what caused them
  bowline replay alice.rec --all         every step, the quiet ones too
  bowline replay alice.rec --until 2.5   the first two and a half seconds")]
pub(crate) struct Arguments {
    /// The recording.
    file: PathBuf,
    /// Prints steps that led to nothing as well.
    #[arg(long)]
    all: bool,
    /// Stops after so many seconds of the recording.
    #[arg(long, value_name = "SECONDS")]
    until: Option<f64>,
}

/// Replays a recording and prints it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let file = File::open(&arguments.file)
        .map_err(|error| format!("cannot open {}: {error}", arguments.file.display()))?;
    let until = arguments
        .until
        .map_or(Ok(Duration::MAX), Duration::try_from_secs_f64)?;
    let mut out = std::io::stdout().lock();
    let (mut steps, mut events) = (0_u64, 0_u64);
    for step in Replay::new(BufReader::new(file), Instant::now())? {
        let step = step?;
        if step.at > until {
            break;
        }
        steps += 1;
        events += print(&mut out, &step, arguments.all)?;
    }
    writeln!(out, "{steps} steps, {events} events, as recorded")?;
    Ok(())
}

/// Prints a step, if it led to something that a person wants to see. Gives the number of its events.
fn print(out: &mut impl std::io::Write, step: &Replayed, all: bool) -> std::io::Result<u64> {
    let at = step.at.as_secs_f64();
    let told: Vec<String> = step.outputs.iter().filter_map(describe).collect();
    if all || !told.is_empty() {
        writeln!(out, "{at:>11.6}  {}", step.what)?;
    }
    for line in &told {
        writeln!(out, "{:>11}    {line}", "")?;
    }
    Ok(told.len() as u64)
}

fn describe(output: &Output) -> Option<String> {
    match output {
        Output::Event(Event::State {
            peer,
            from,
            to,
            cause,
            ..
        }) => Some(format!("{peer}: {from} -> {to}, {cause}")),
        Output::Event(Event::Metrics { peer, metrics }) => {
            let (received, sent) = (metrics.bytes_received, metrics.bytes_sent);
            let again = metrics.bytes_retransmitted;
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let rtt = metrics.rtt.map_or_else(String::new, |rtt| {
                let (smoothed, jitter) = (ms(rtt.smoothed), ms(rtt.jitter));
                format!(", rtt {smoothed:.2} ms, jitter {jitter:.2} ms")
            });
            Some(format!(
                "{peer}: metrics, {received} bytes in, {sent} out, {again} of them again{rtt}"
            ))
        }
        Output::Event(event) => Some(format!("{event:?}")),
        _ => None,
    }
}
