//! What a file costs between two `bowline` processes on this machine: processor time and memory of each, and the rate.
//!
//! Compare the processor time with `cargo bench -p bowline-tests --bench core -- throughput`, which moves messages within one
//! process, without sockets, digests or disks.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bowline_tokio::relay::Relay;

use crate::usage::{Fault, Usage, Watched};

/// Sends so many MiB.
pub(crate) async fn run(size: u64) -> Result<(), Fault> {
    let size = size * MIB;
    let scratch = Scratch::new()?;
    let file = scratch.0.join("file");
    fill(&file, size)?;
    let relay = Relay::bind("127.0.0.1:0").await?;
    let url = relay.url();
    let measuring = tokio::task::spawn_blocking(move || measure(&url, &scratch.0));
    report(size, &measuring.await??);
    Ok(())
}

struct Figures {
    wall: Duration,
    sender: Usage,
    receiver: Usage,
}

fn measure(relay: &str, scratch: &Path) -> Result<Figures, Fault> {
    let out = scratch.join("out");
    fs::create_dir(&out)?;
    let program = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bowline"));
        command.args([name, "--relay", relay, "--bind", "127.0.0.1:0"]);
        command.stdout(Stdio::piped());
        command
    };
    let mut sender = Watched::start(program("send").arg(scratch.join("file")))?;
    let code = sender.line("code: ")?;
    sender.discard_output();
    let mut receiver = Watched::start(program("receive").arg(code).arg("--output").arg(&out))?;
    receiver.line("receiving ")?;
    let began = Instant::now();
    let rate = receiver.line("received ")?;
    let wall = began.elapsed();
    receiver.discard_output();
    println!(
        "the receiver says:{}",
        rate.split_once(':').map_or("", |(_, rate)| rate)
    );
    while [sender.look()?, receiver.look()?].contains(&true) {
        std::thread::sleep(LOOK_EVERY);
    }
    for child in [&mut sender.child, &mut receiver.child] {
        if !child.wait()?.success() {
            return Err("a process failed".into());
        }
    }
    Ok(Figures {
        wall,
        sender: sender.usage,
        receiver: receiver.usage,
    })
}

fn line(usage: &Usage, who: &str, size: u64) -> String {
    let each_byte = |time: Duration| time.as_nanos() as f64 / size as f64;
    format!(
        "{who:<9} {:6.2} ns/B   user {:6.2}   system {:5.2}   peak {:5.1} MiB",
        each_byte(usage.user + usage.system),
        each_byte(usage.user),
        each_byte(usage.system),
        usage.peak as f64 / MIB as f64
    )
}

fn report(size: u64, figures: &Figures) {
    let Figures {
        wall,
        sender,
        receiver,
    } = figures;
    let mib = size / MIB;
    let rate = size as f64 / wall.as_secs_f64() / 1e6;
    println!(
        "{mib} MiB in {:.2} s: {rate:.0} MB/s by the clock",
        wall.as_secs_f64()
    );
    println!("{}", line(sender, "sender", size));
    println!("{}", line(receiver, "receiver", size));
    let all = [sender, receiver].map(|u| (u.user + u.system).as_nanos() as f64 / size as f64);
    println!(
        "both      {:6.2} ns/B   as one thread {:.0} MB/s, the slower side alone {:.0} MB/s",
        all[0] + all[1],
        1e3 / (all[0] + all[1]),
        1e3 / all[0].max(all[1])
    );
}

/// Writes a file that does not repeat within a block.
fn fill(path: &Path, size: u64) -> Result<(), Fault> {
    let mut file = File::create(path)?;
    let mut block = vec![0; usize::try_from(MIB)?];
    getrandom::fill(&mut block).map_err(|error| format!("no randomness: {error}"))?;
    for _ in 0..size / MIB {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    Ok(())
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Fault> {
        let name = format!("transfer-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const MIB: u64 = 1_024 * 1_024;
const LOOK_EVERY: Duration = Duration::from_millis(5);
