use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bowline_tokio::relay::Relay;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// Far longer than anything here takes, even on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for `future`; fails with `what` when it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in time"),
    }
}

/// A relay, a directory with a file to send, and one to receive into.
pub(crate) struct Stage {
    pub(crate) relay: Relay,
    root: PathBuf,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let mut name = [0; 8];
        getrandom::fill(&mut name).expect("there is randomness");
        let name = format!("bowline-{:x}", u64::from_be_bytes(name));
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(root.join("in")).expect("makes a directory");
        std::fs::create_dir(root.join("out")).expect("makes a directory");
        let relay = Relay::bind("127.0.0.1:0").await.expect("binds");
        Self { relay, root }
    }

    /// Makes a file to send, and gives its path.
    pub(crate) fn write(&self, name: &str, data: &[u8]) -> String {
        let path = self.root.join("in").join(name);
        std::fs::write(&path, data).expect("writes");
        path.into_os_string().into_string().expect("is text")
    }

    /// Where files are received.
    pub(crate) fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    pub(crate) fn received(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.out().join(name)).expect("the file is there")
    }

    /// The names of what is where files are received.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.out()).expect("is a directory");
        let mut names: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect("exists")
                    .file_name()
                    .into_string()
                    .expect("is text")
            })
            .collect();
        names.sort();
        names
    }

    /// Starts the program at this relay.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let arguments = self.at_relay(arguments);
        let arguments: Vec<_> = arguments.iter().map(|a| &**a).collect();
        Running::start(&arguments)
    }

    fn at_relay(&self, arguments: &[&str]) -> Vec<String> {
        let url = self.relay.url();
        let network = ["--relay", &url, "--bind", "127.0.0.1:0"];
        arguments
            .iter()
            .chain(&network)
            .map(|argument| (*argument).to_owned())
            .collect()
    }

    /// Starts to send a file, and gives the code.
    pub(crate) async fn send(&self, arguments: &[&str]) -> (Running, String) {
        let mut sender = self.start(&[&["send"], arguments].concat());
        let line = sender.line("code: ").await;
        (sender, line["code: ".len()..].to_owned())
    }

    /// Starts to receive a file.
    pub(crate) fn receive(&self, code: &str, arguments: &[&str]) -> Running {
        let out = self.out_text();
        self.start(&[&["receive", code, "--output", &out], arguments].concat())
    }

    /// Starts to receive a file where no file may have more than so many blocks of 512 bytes.
    #[cfg(unix)]
    pub(crate) fn receive_with_file_limit(&self, code: &str, blocks: u32) -> Running {
        let out = self.out_text();
        let arguments = self.at_relay(&["receive", code, "--output", &out]);
        let arguments: Vec<_> = arguments.iter().map(|a| &**a).collect();
        Running::start_with_file_limit(&arguments, blocks)
    }

    pub(crate) fn out_text(&self) -> String {
        self.out().into_os_string().into_string().expect("is text")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// The program, running.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    input: Option<ChildStdin>,
    errors: BufReader<ChildStderr>,
    /// What it has printed so far.
    pub(crate) seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        Self::spawn(command)
    }

    /// Starts the program in a shell that limits the size of the files it writes, in blocks of 512 bytes.
    #[cfg(unix)]
    pub(crate) fn start_with_file_limit(arguments: &[&str], blocks: u32) -> Self {
        let mut command = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, PROGRAM]).args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let output = child.stdout.take().expect("is piped");
        let errors = child.stderr.take().expect("is piped");
        Self {
            lines: BufReader::new(output).lines(),
            errors: BufReader::new(errors),
            input: child.stdin.take(),
            child,
            seen: Vec::new(),
        }
    }

    /// Reads until a line has `part`, and gives that line.
    pub(crate) async fn line(&mut self, part: &str) -> String {
        loop {
            let what = format!("{part:?} after {:#?}", self.seen);
            let line = soon(&what, self.lines.next_line()).await;
            let Some(line) = line.expect("is text") else {
                let errors = self.errors().await;
                panic!("{part:?} did not come, but {:#?} {errors}", self.seen);
            };
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Reads until each part has come, in any order.
    pub(crate) async fn all(&mut self, parts: &[&str]) {
        let mut missing = parts.to_vec();
        while !missing.is_empty() {
            let line = self.line("").await;
            missing.retain(|part| !line.contains(part));
        }
    }

    /// Types a line.
    pub(crate) async fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("is open");
        input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .expect("reads");
    }

    /// Ends its input.
    pub(crate) fn hang_up(&mut self) {
        self.input = None;
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.start_kill().expect("runs");
        soon("its end", self.child.wait()).await.expect("waits");
    }

    /// Reads to the end, and gives the exit code, all lines and what was said on standard error.
    pub(crate) async fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        while let Some(line) = soon("its end", self.lines.next_line())
            .await
            .expect("is text")
        {
            self.seen.push(line);
        }
        let errors = self.errors().await;
        let status: ExitStatus = soon("its end", self.child.wait()).await.expect("waits");
        (status.code(), self.seen, errors)
    }

    /// Waits until it has ended well, and gives all lines.
    pub(crate) async fn success(self) -> Vec<String> {
        let (code, lines, errors) = self.end().await;
        assert_eq!((code, &*errors), (Some(0), ""), "{lines:#?}");
        lines
    }

    /// Waits until it has failed, and gives what it said about it.
    pub(crate) async fn failure(self) -> String {
        let (code, lines, errors) = self.end().await;
        assert_eq!(code, Some(1), "{lines:#?} {errors}");
        errors
    }

    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Tells a server that its files have changed.
    #[cfg(unix)]
    pub(crate) fn reload(&self) {
        self.signal("-HUP");
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let id = self.child.id().expect("runs").to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.expect("runs").success());
    }

    /// The next line on standard error.
    #[cfg(unix)]
    pub(crate) async fn complaint(&mut self) -> String {
        let mut line = String::new();
        soon("a complaint", self.errors.read_line(&mut line))
            .await
            .expect("is text");
        line
    }

    /// The rest of standard error.
    async fn errors(&mut self) -> String {
        let mut text = String::new();
        soon("its end", self.errors.read_to_string(&mut text))
            .await
            .expect("is text");
        text
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_bowline");

/// Bytes that do not repeat soon.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 31 + i / 251 + i / 65_537) % 256).expect("is a byte"))
        .collect()
}
