//! Somebody at a terminal: `bowline chat`, whose input and output are pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::thread;

use bowline_interop::log::Log;
use bowline_interop::process::Group;
use bowline_interop::program;

use crate::DEADLINE;

/// A running `bowline chat` in the room `lobby`. Dropping it kills it.
pub(crate) struct Terminal {
    input: ChildStdin,
    lines: Log<String>,
    _group: Group,
}

impl Terminal {
    /// Enters under a name. Files that are offered go into `directory`, unasked.
    pub(crate) fn enter(relay: &str, name: &str, directory: &Path) -> Self {
        Self::enter_with(relay, name, directory, &[])
    }

    /// Likewise, as a key that is kept in `directory`.
    pub(crate) fn enter_sealed(relay: &str, name: &str, directory: &Path) -> Self {
        let key = directory.join("identity.jwk");
        let key = key.to_str().expect("plain");
        Self::enter_with(relay, name, directory, &["--identity", key])
    }

    fn enter_with(relay: &str, name: &str, directory: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(program::path());
        command
            .args(["chat", "lobby", "--relay", relay, "--name", name])
            .args(more)
            .args(["--bind", "127.0.0.1:0", "--accept-files"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut group = Group::spawn(&mut command).expect("starts");
        let input = group.leader().stdin.take().expect("piped");
        let output = group.leader().stdout.take().expect("piped");
        let lines = Log::default();
        let log = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                log.push(line);
            }
        });
        Self {
            input,
            lines,
            _group: group,
        }
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    /// Waits for a line with `part` in it.
    pub(crate) async fn until(&self, part: &str) {
        let what = format!("a line with {part:?}");
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(part)).map(|_| ());
        self.lines.within(DEADLINE, &what, find).await;
    }
}
