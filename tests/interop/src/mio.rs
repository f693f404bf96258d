//! bowline in a mio loop: the example `echo_peer` of bowline-mio, in a process of its own, and a foreign peer that calls it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bowline::{PeerId, Signal};
use bowline_tokio::signalling::Signalling;

use crate::bridge::{Bridge, Names, Offerer, Trickle};
use crate::duo::{BOWLINE, FIRST, PEER, Task};
use crate::foreign::wire::Wire;
use crate::foreign::{ChannelInit, ForeignConnection, IceOptions, Stack};
use crate::log::Log;
use crate::process::Group;

/// The echo peer and a foreign peer that offers.
#[derive(Debug)]
pub struct EchoDuo {
    /// The foreign peer's connection.
    pub peer: ForeignConnection,
    /// The number of its channel.
    pub first: u64,
    _tasks: [Task; 2],
    _program: Group,
}

/// Starts the echo peer at `address` and lets the foreign peer offer it a connection with the channel
/// [`FIRST`].
///
/// # Errors
///
/// What went wrong, for a person to read.
pub async fn call_echo_peer(stack: &Stack, address: &str) -> Result<EchoDuo, String> {
    let (wire, program) = start(address)?;
    let mut peer = stack.connection(IceOptions::default()).await?;
    let first = peer.open(FIRST, ChannelInit::default()).await?;
    let (near, link) = Signalling::pair();
    let bridge = Bridge {
        link,
        candidates: peer.take_candidates().expect("nobody took them"),
        peer: peer.handle(),
        to_peer: Arc::new(str::to_owned),
        to_bowline: Arc::new(str::to_owned),
        trickle: Trickle::AsTold,
        // Nobody asks for any.
        restarts: tokio::sync::mpsc::unbounded_channel().1,
        passed: Log::default(),
        names: Names {
            bowline: BOWLINE.to_owned(),
            peer: PEER.to_owned(),
        },
    };
    let tasks = [
        Task::spawn(carry(wire, near)),
        Task::spawn(bridge.run(Offerer::Peer)),
    ];
    Ok(EchoDuo {
        peer,
        first,
        _tasks: tasks,
        _program: program,
    })
}

fn start(address: &str) -> Result<(Wire, Group), String> {
    let target =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/examples/echo_peer");
    let mut command = Command::new(target);
    command
        .args([BOWLINE, address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut program = Group::spawn(&mut command).map_err(|error| error.to_string())?;
    let leader = program.leader();
    let pipes = leader.stdin.take().zip(leader.stdout.take());
    let (stdin, stdout) = pipes.expect("both were asked for");
    let wire = Wire::pipes(stdin, stdout).map_err(|error| error.to_string())?;
    Ok((wire, program))
}

/// Carries the echo peer's lines: the id of the peer that one is for, a tab, and the text.
async fn carry(mut wire: Wire, mut near: Signalling) {
    loop {
        tokio::select! {
            Some(line) = wire.from_peer.recv() => {
                let Some((to, text)) = line.split_once('\t') else { continue };
                let to = PeerId::new(to).expect("the echo peer knows names");
                let text = text.to_owned();
                if near.send(Signal { to, text }).await.is_err() {
                    return;
                }
            }
            Some(text) = near.recv() => {
                if wire.to_peer.send(format!("{BOWLINE}\t{text}")).is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}
