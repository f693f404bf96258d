use std::future::Future;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use bowline::{ChannelKind, Config, Identity, Message, PeerId};
use bowline_tokio::signalling::{Link, Signalling};
use bowline_tokio::{Connection, Endpoint};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::mio_side::{MARK, MIO_SIDE};

/// Runs a test on a runtime with two threads.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

/// Waits for `future`; fails with `what` when it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(DEADLINE, what, future).await
}

/// Waits for `future` at most for `time`; fails with `what` when it does not come.
pub(crate) async fn within<T>(time: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(time, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in time"),
    }
}

/// An endpoint in this process, and the mio process that it talks to.
pub(crate) struct TokioSide {
    endpoint: Endpoint,
    /// Killed, and reaped, when the test fails.
    process: Child,
    /// Lines for the process; its standard input ends when this is dropped.
    commands: mpsc::Sender<String>,
    /// The states that the process told and the test has not looked at.
    told: mpsc::Receiver<String>,
}

impl TokioSide {
    /// Starts the mio side of this test.
    pub(crate) fn start(test: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("has a path"))
            .args(["--exact", "--nocapture", test])
            .env(MIO_SIDE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let (
            near,
            Link {
                outbound, inbound, ..
            },
        ) = Signalling::pair();
        let (commands, commanded) = mpsc::channel(8);
        let (teller, told) = mpsc::channel(64);
        let stdin = process.stdin.take().expect("piped");
        let stdout = process.stdout.take().expect("piped");
        tokio::spawn(write_lines(stdin, outbound, commanded));
        tokio::spawn(read_lines(stdout, inbound, teller));
        let endpoint = Endpoint::builder(Identity::without_key(id("tokio")))
            .config(Config::builder().loopback(true).build().expect("valid"))
            .bind_address((Ipv4Addr::LOCALHOST, 0).into())
            .signalling(near)
            .bind()
            .expect("binds");
        Self {
            endpoint,
            process,
            commands,
            told,
        }
    }

    /// Connects to the mio side.
    pub(crate) async fn call(&mut self) -> Connection {
        let connection = soon("the connection", self.endpoint.connect(id("mio"))).await;
        connection.expect("comes up")
    }

    /// Has the mio side connect to this one.
    pub(crate) async fn be_called(&mut self) -> Connection {
        self.command("connect tokio").await;
        let incoming = soon("the call", self.endpoint.accept())
            .await
            .expect("open");
        assert_eq!(incoming.peer(), id("mio"));
        let connection = soon("the connection", incoming.accept()).await;
        connection.expect("comes up")
    }

    pub(crate) async fn command(&self, line: &str) {
        let sent = self.commands.send(line.to_owned()).await;
        sent.expect("the process reads");
    }

    /// Waits until the mio side tells of this state.
    pub(crate) async fn expect(&mut self, state: &str) {
        let told = async {
            while let Some(line) = self.told.recv().await {
                if line == state {
                    return;
                }
            }
            panic!("the process ended before it told of \"{state}\"");
        };
        soon(state, told).await;
    }

    /// Sends text and bytes on each kind, and compares what comes back.
    pub(crate) async fn echo_every_kind(&self, connection: &Connection) {
        for kind in ChannelKind::ALL {
            for message in [Message::text(format!("on {kind}")), vec![7; 3_000].into()] {
                let sent = connection.send(kind, message.clone());
                soon("the room", sent).await.expect("connected");
                let echo = soon("the echo", connection.recv_from(kind)).await;
                assert_eq!(echo, Some(message));
            }
        }
    }

    /// Waits until the process ends by itself, as it should.
    pub(crate) async fn finish(mut self) {
        let status = soon("the end of the process", self.process.wait()).await;
        assert!(status.expect("it can be waited for").success());
        soon("the end of the endpoint", self.endpoint.close()).await;
    }

    /// Kills the process, and reaps it.
    pub(crate) async fn kill(&mut self) {
        soon("its death", self.process.kill())
            .await
            .expect("killed");
    }
}

/// Carries signals and commands to the process, until there are no more commands.
async fn write_lines(
    mut stdin: ChildStdin,
    mut signals: mpsc::Receiver<bowline::Signal>,
    mut commands: mpsc::Receiver<String>,
) {
    loop {
        let line = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => command,
                None => return,
            },
            Some(signal) = signals.recv() => format!("signal {}", signal.text),
        };
        if stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

/// Carries what the process says to where it belongs, until it ends.
async fn read_lines(
    stdout: ChildStdout,
    signals: mpsc::Sender<String>,
    told: mpsc::Sender<String>,
) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let carried = match line.strip_prefix(MARK) {
            // What the harness prints.
            None => Ok(()),
            Some(line) => match line.strip_prefix("signal ") {
                Some(text) => signals.send(text.to_owned()).await,
                None => told.send(line.to_owned()).await,
            },
        };
        // The test is over, or looks no more; the process must not wait for a reader.
        carried.ok();
    }
}

fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("valid")
}

/// Far longer than anything here takes, even on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(30);
