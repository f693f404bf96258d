use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::ForeignConnection;
use super::page::PageServer;
use super::protocol::{Command, Event, IceOptions, Report, Request};
use super::wire::Wire;
use crate::browser::{Chromium, Firefox, Visibility};
use crate::log::Log;
use crate::process::Group;

/// The stacks that there are programs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Chromium: libwebrtc with dcsctp.
    Chromium,
    /// Firefox: libwebrtc's media with its own ICE, DTLS and dcsctp.
    Firefox,
    /// aiortc, in Python.
    Aiortc,
    /// node-datachannel: libdatachannel with usrsctp, in C++.
    NodeDatachannel,
    /// werift, in TypeScript.
    Werift,
    /// webrtc-rs, in Rust.
    WebrtcRs,
}

impl Kind {
    /// All of them, in the order in which they are tested.
    pub const ALL: [Self; 6] = [
        Self::Chromium,
        Self::Firefox,
        Self::Aiortc,
        Self::NodeDatachannel,
        Self::Werift,
        Self::WebrtcRs,
    ];

    /// The name, as in the names of tests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Aiortc => "aiortc",
            Self::NodeDatachannel => "node_datachannel",
            Self::Werift => "werift",
            Self::WebrtcRs => "webrtc_rs",
        }
    }
}

/// A program that could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The operating system refused, or there is no such program: has `tests/interop/run` installed it?
    #[error("the program did not start: {0}")]
    Io(#[from] io::Error),
    /// It started and did not speak in time.
    #[error("the program did not report within {0:?}")]
    Silent(Duration),
    /// It spoke and refused.
    #[error("the program refused to say its version: {0}")]
    Refused(String),
}

/// A foreign stack that runs in a program of its own. Dropping it kills the program.
#[derive(Debug)]
pub struct Stack {
    kind: Kind,
    version: String,
    remote: Remote,
    program: Mutex<Running>,
}

/// The program.
#[derive(Debug)]
enum Running {
    Chromium(Chromium),
    Firefox(Firefox),
    Group(Group),
}

impl Stack {
    /// Starts the program and asks it for its version.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(kind: Kind) -> Result<Self, StartError> {
        let (wire, program) = match kind {
            Kind::Chromium | Kind::Firefox => browse(kind).await?,
            Kind::Aiortc => {
                pipe(Program::new(installed("venv/bin/python")).arg(peer("python/peer.py")))?
            }
            Kind::NodeDatachannel => {
                pipe(Program::new("node").arg(installed("node/node-datachannel.mjs")))?
            }
            Kind::Werift => pipe(Program::new("node").arg(installed("node/werift.mjs")))?,
            Kind::WebrtcRs => pipe(&mut Program::new(installed(
                "webrtc-rs/debug/bowline-interop-webrtc-rs",
            )))?,
        };
        let remote = Remote::new(wire);
        let hello = tokio::time::timeout(START, remote.ask(0, &Command::Hello)).await;
        let hello = hello
            .map_err(|_| StartError::Silent(START))?
            .map_err(StartError::Refused)?;
        let version = hello["version"].as_str().unwrap_or("unknown").to_owned();
        let program = Mutex::new(program);
        Ok(Self {
            kind,
            version,
            remote,
            program,
        })
    }

    /// Which stack it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Name and version, as the stack itself tells them.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Makes a peer connection.
    ///
    /// # Errors
    ///
    /// What the stack says.
    pub async fn connection(&self, ice: IceOptions) -> Result<ForeignConnection, String> {
        ForeignConnection::create(self.remote.clone(), ice).await
    }

    /// Kills the program at once, so that it cannot say goodbye to its peers.
    pub fn kill(&self) {
        match &mut *self.program.lock().unwrap_or_else(PoisonError::into_inner) {
            Running::Chromium(chromium) => chromium.kill(),
            Running::Firefox(firefox) => firefox.kill(),
            Running::Group(group) => group.kill(),
        }
    }
}

/// Starts a browser with the page that obeys.
async fn browse(kind: Kind) -> Result<(Wire, Running), StartError> {
    let server = PageServer::bind().await?;
    let url = format!("http://{}/", server.address()?);
    let program = if kind == Kind::Firefox {
        Running::Firefox(Firefox::open(&url)?)
    } else {
        Running::Chromium(Chromium::open(&url, Visibility::Standard)?)
    };
    let page = tokio::time::timeout(START, server.page()).await;
    let socket = page.map_err(|_| StartError::Silent(START))??;
    Ok((Wire::websocket(socket), program))
}

/// Starts a program that obeys on its standard input. What it says on its standard error is shown.
fn pipe(program: &mut Program) -> Result<(Wire, Running), StartError> {
    let mut group = Group::spawn(program.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let leader = group.leader();
    let (stdin, stdout) = (leader.stdin.take(), leader.stdout.take());
    let (stdin, stdout) = stdin.zip(stdout).expect("both were asked for");
    Ok((Wire::pipes(stdin, stdout)?, Running::Group(group)))
}

/// A file of the programs in `peers/`.
fn peer(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(path)
}

/// A file that `tests/interop/run` has installed below `target/interop/`.
fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/interop")
        .join(path)
}

/// How long a program may take until it speaks. Firefox needs up to 13 s on two busy cores.
const START: Duration = Duration::from_secs(60);

/// The way to a program: requests go out, and what comes back goes where it belongs. Clones are the same way.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    to_peer: mpsc::UnboundedSender<String>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last_request: u64,
    last_connection: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Result<Value, String>>>,
    connections: BTreeMap<u64, (Log<Event>, mpsc::UnboundedSender<String>)>,
}

impl Remote {
    fn new(wire: Wire) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let Wire {
            to_peer,
            mut from_peer,
        } = wire;
        let remote = Self { to_peer, state };
        let receiving = remote.clone();
        tokio::spawn(async move {
            while let Some(text) = from_peer.recv().await {
                receiving.on_report(&text);
            }
            // Who still waits is told by the end of the channel.
            receiving.state().waiting.clear();
        });
        remote
    }

    /// A number for a new connection, what will happen to it, and its candidates.
    pub(super) fn register(&self) -> (u64, Log<Event>, mpsc::UnboundedReceiver<String>) {
        let (log, (sender, candidates)) = (Log::default(), mpsc::unbounded_channel());
        let mut state = self.state();
        state.last_connection += 1;
        let number = state.last_connection;
        state.connections.insert(number, (log.clone(), sender));
        (number, log, candidates)
    }

    /// Sends a request and waits for what becomes of it.
    pub(super) async fn ask(&self, connection: u64, command: &Command) -> Result<Value, String> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.state();
            state.last_request += 1;
            let id = state.last_request;
            state.waiting.insert(id, sender);
            id
        };
        let request = Request {
            id,
            connection,
            command,
        };
        let text = serde_json::to_string(&request).map_err(|error| error.to_string())?;
        self.to_peer.send(text).map_err(|_| GONE.to_owned())?;
        answer.await.map_err(|_| GONE.to_owned())?
    }

    fn on_report(&self, text: &str) {
        let report = serde_json::from_str(text);
        let report = report.unwrap_or_else(|error| panic!("not a report: {error} in {text}"));
        let mut state = self.state();
        match report {
            Report::Done { id, ok } => state.answer(id, Ok(ok)),
            Report::Refused { id, error } => state.answer(id, Err(error)),
            Report::Event { connection, event } => state.on_event(connection, event),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, id: u64, answer: Result<Value, String>) {
        if let Some(waiting) = self.waiting.remove(&id) {
            // Who asked may have given up.
            let _ = waiting.send(answer);
        }
    }

    fn on_event(&mut self, connection: u64, event: Event) {
        let Some((log, candidates)) = self.connections.get(&connection) else {
            return;
        };
        if let Event::Candidate { candidate } = &event {
            let _ = candidates.send(candidate.clone());
        }
        log.push(event);
    }
}

/// What is said of a program that has ended.
const GONE: &str = "the program has ended";
