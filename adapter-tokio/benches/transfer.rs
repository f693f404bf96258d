//! What a file costs between two `bowline` processes on this machine: processor time and memory of each, and the rate.
//!
//! `cargo bench -p bowline-tokio --bench transfer` sends 1 GiB, `-- 200` so many MiB, `-- --test` one MiB.
//! Linux only, where `/proc` has the figures. Compare the processor time with `cargo bench -p bowline-tests --bench core --
//! throughput`, which moves messages within one process, without sockets, digests or disks.
#![forbid(unsafe_code)]
#![allow(clippy::cast_precision_loss)] // Figures for people.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bowline_tokio::relay::Relay;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if !Path::new("/proc/self/stat").exists() {
        println!("transfer: there is no /proc");
        return Ok(());
    }
    let size = size() * MIB;
    let scratch = Scratch::new()?;
    let file = scratch.0.join("file");
    fill(&file, size)?;
    let relay = Relay::bind("127.0.0.1:0").await?;
    let url = relay.url();
    let measuring = tokio::task::spawn_blocking(move || measure(&url, &scratch.0));
    let figures = measuring.await?.map_err(|error| error.to_string())?;
    report(size, &figures);
    Ok(())
}

/// The size in MiB that the command line asks for.
fn size() -> u64 {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return 1;
    }
    let number = arguments.iter().find_map(|argument| argument.parse().ok());
    number.unwrap_or(1_024)
}

struct Figures {
    wall: Duration,
    sender: Usage,
    receiver: Usage,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    user: Duration,
    system: Duration,
    /// The most memory that was resident, in bytes.
    peak: u64,
}

fn measure(relay: &str, scratch: &Path) -> Result<Figures, Box<dyn Error + Send + Sync>> {
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

/// A process, and what it has used.
struct Watched {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    usage: Usage,
}

impl Watched {
    fn start(command: &mut Command) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("the output is piped")?;
        Ok(Self {
            child,
            lines: Some(BufReader::new(output).lines()),
            usage: Usage::default(),
        })
    }

    /// Waits for a line that begins so, and gives the rest of it.
    fn line(&mut self, start: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        for line in self.lines.as_mut().into_iter().flatten() {
            self.usage.look(self.child.id())?;
            if let Some(rest) = line?.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        Err(format!("no line began with {start:?}").into())
    }

    /// Reads what is still printed, so that it does not stop.
    fn discard_output(&mut self) {
        if let Some(lines) = self.lines.take() {
            std::thread::spawn(move || lines.for_each(drop));
        }
    }

    /// Gives whether it still runs.
    fn look(&mut self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        self.usage.look(self.child.id())
    }
}

impl Usage {
    /// Reads the figures of a process that nobody has waited for, so that they are there to its end and beyond. Gives
    /// whether it still runs.
    fn look(&mut self, process: u32) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(peak) = peak.and_then(|peak| peak.split_whitespace().next()) {
            self.peak = peak.parse::<u64>()? * 1_024;
        }
        // What follows the name, which may have spaces: the state is the third field of all, the times 14 and 15.
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("not a stat file")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let time = |field: usize| -> Result<Duration, Box<dyn Error + Send + Sync>> {
            let ticks: u64 = fields.get(field - 3).ok_or("a short stat file")?.parse()?;
            Ok(Duration::from_millis(ticks * 1_000 / TICKS))
        };
        (self.user, self.system) = (time(14)?, time(15)?);
        Ok(!matches!(fields.first(), Some(&"Z") | None))
    }

    fn line(&self, who: &str, size: u64) -> String {
        let each_byte = |time: Duration| time.as_nanos() as f64 / size as f64;
        format!(
            "{who:<9} {:6.2} ns/B   user {:6.2}   system {:5.2}   peak {:5.1} MiB",
            each_byte(self.user + self.system),
            each_byte(self.user),
            each_byte(self.system),
            self.peak as f64 / MIB as f64
        )
    }
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
    println!("{}", sender.line("sender", size));
    println!("{}", receiver.line("receiver", size));
    let all = [sender, receiver].map(|u| (u.user + u.system).as_nanos() as f64 / size as f64);
    println!(
        "both      {:6.2} ns/B   as one thread {:.0} MB/s, the slower side alone {:.0} MB/s",
        all[0] + all[1],
        1e3 / (all[0] + all[1]),
        1e3 / all[0].max(all[1])
    );
}

/// Writes a file that does not repeat within a block.
fn fill(path: &Path, size: u64) -> Result<(), Box<dyn Error>> {
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
    fn new() -> Result<Self, Box<dyn Error>> {
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
/// Of the clock in which Linux tells processor time.
const TICKS: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(5);
