//! What a process has used, as Linux tells in `/proc`.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command};
use std::time::Duration;

/// Whatever goes wrong.
pub(crate) type Fault = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    /// The most memory that was resident, in bytes.
    pub(crate) peak: u64,
}

/// A process, and what it has used.
pub(crate) struct Watched {
    pub(crate) child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    pub(crate) usage: Usage,
}

impl Watched {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Fault> {
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or("the output is piped")?;
        Ok(Self {
            child,
            lines: Some(BufReader::new(output).lines()),
            usage: Usage::default(),
        })
    }

    /// Waits for a line that begins so, and gives the rest of it.
    pub(crate) fn line(&mut self, start: &str) -> Result<String, Fault> {
        for line in self.lines.as_mut().into_iter().flatten() {
            self.usage.look(self.child.id())?;
            if let Some(rest) = line?.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        Err(format!("no line began with {start:?}").into())
    }

    /// Reads what is still printed, so that it does not stop.
    pub(crate) fn discard_output(&mut self) {
        if let Some(lines) = self.lines.take() {
            std::thread::spawn(move || lines.for_each(drop));
        }
    }

    /// Gives whether it still runs.
    pub(crate) fn look(&mut self) -> Result<bool, Fault> {
        self.usage.look(self.child.id())
    }
}

impl Usage {
    /// Reads the figures of a process that nobody has waited for, so that they are there to its end and beyond. Gives
    /// whether it still runs.
    pub(crate) fn look(&mut self, process: u32) -> Result<bool, Fault> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(peak) = peak.and_then(|peak| peak.split_whitespace().next()) {
            self.peak = peak.parse::<u64>()? * 1_024;
        }
        // What follows the name, which may have spaces: the state is the third field of all, the times 14 and 15.
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("not a stat file")?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        let time = |field: usize| -> Result<Duration, Fault> {
            let ticks: u64 = fields.get(field - 3).ok_or("a short stat file")?.parse()?;
            Ok(Duration::from_millis(ticks * 1_000 / TICKS))
        };
        (self.user, self.system) = (time(14)?, time(15)?);
        Ok(!matches!(fields.first(), Some(&"Z") | None))
    }
}

/// Of the clock in which Linux tells processor time.
const TICKS: u64 = 100;
