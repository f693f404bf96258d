//! Replaying a recording: the same steps, the same answers of the transports, and everything above them for real.

use std::io::BufRead;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::io::{Input, Output};
use super::recorder::{Header, Line, Step, VERSION};
use super::{ConnectOptions, Endpoint, Peer};
use crate::channel::kind::Message;
use crate::id::PeerId;
use crate::tape::Tape;

/// A recording that is being replayed.
///
/// An iterator over its steps. Each gives what the endpoint put out, so that a debugger or a test can look at a
/// production run between any two of its inputs.
pub struct Replay<R> {
    lines: std::io::Lines<R>,
    endpoint: Endpoint,
    tape: Tape,
    start: Instant,
    /// A line that was read too far: the next step.
    next: Option<Line>,
    line: usize,
    ended: bool,
}

/// A step that was replayed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Replayed {
    /// When it was, counted from the start of the recording.
    pub at: Duration,
    /// What it was, in one line.
    pub what: String,
    /// What came out of the endpoint, in order. Times in it count from the `start` that was given.
    pub outputs: Vec<Output>,
}

/// A recording that cannot be replayed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read.
    #[error("the recording cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It does not begin as a recording does.
    #[error("not a recording of version {VERSION}")]
    Header,
    /// A line is neither a step nor an answer.
    #[error("line {line} is not part of a recording")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// This code does something else than the code that recorded.
    #[error("line {line}: asked the transport for {asked}, recorded was {}", recorded.as_deref().unwrap_or("nothing"))]
    Diverged {
        /// The number of the line, from 1.
        line: usize,
        /// What was asked now.
        asked: &'static str,
        /// What was asked then.
        recorded: Option<String>,
    },
}

impl<R: BufRead> Replay<R> {
    /// Reads the beginning of a recording. `start` stands for the instant at which it began: any will do, the present
    /// for one.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Read`] and [`ReplayError::Header`].
    pub fn new(reader: R, start: Instant) -> Result<Self, ReplayError> {
        let mut lines = reader.lines();
        let first = lines.next().ok_or(ReplayError::Header)??;
        let header: Header = serde_json::from_str(&first).map_err(|_| ReplayError::Header)?;
        let seed = <[u8; 32]>::try_from(header.seed.as_slice()).map_err(|_| ReplayError::Header)?;
        if header.version != VERSION {
            return Err(ReplayError::Header);
        }
        let tape = Tape::play(start);
        let endpoint =
            Endpoint::replaying(header, seed, tape.clone(), start).ok_or(ReplayError::Header)?;
        Ok(Self {
            lines,
            endpoint,
            tape,
            start,
            next: None,
            line: 1,
            ended: false,
        })
    }

    /// A handle to one peer of the endpoint as it is after the last step; `None` when there is none.
    pub fn peer(&mut self, peer: PeerId) -> Option<Peer<'_>> {
        self.endpoint.peer(peer).ok()
    }

    fn step(&mut self) -> Result<Option<Replayed>, ReplayError> {
        let Some(Line { at, step }) = self.read_step()? else {
            return Ok(None);
        };
        let at = at.offset();
        let what = describe(&step);
        self.endpoint.replay(step, self.start + at);
        let mut outputs = Vec::new();
        let mut buf = Vec::new();
        loop {
            match self.endpoint.poll_output(&mut buf) {
                Output::Timeout(_) => break,
                output => outputs.push(output),
            }
        }
        if let Some(divergence) = self.tape.divergence() {
            let (asked, recorded) = (divergence.asked, divergence.recorded);
            return Err(ReplayError::Diverged {
                line: self.line,
                asked,
                recorded,
            });
        }
        Ok(Some(Replayed { at, what, outputs }))
    }

    /// The next step, after whose line all its answers are read as well.
    fn read_step(&mut self) -> Result<Option<Line>, ReplayError> {
        let mut step = self.next.take();
        for line in self.lines.by_ref() {
            self.line += 1;
            let read = serde_json::from_str(&line?);
            match read.map_err(|_| ReplayError::Line { line: self.line })? {
                Either::Answer { call, value } => self.tape.load(call, value),
                Either::Step(line) if step.is_some() => {
                    self.next = Some(line);
                    break;
                }
                Either::Step(line) => step = Some(line),
            }
        }
        Ok(step)
    }
}

impl<R: BufRead> Iterator for Replay<R> {
    type Item = Result<Replayed, ReplayError>;

    /// The next step; nothing after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl Endpoint {
    /// Does a recorded step. What a command gave back is not asked for: the same happens as then.
    fn replay(&mut self, step: Step, now: Instant) {
        match step {
            Step::SocketBound { local } => self.handle_input(Input::SocketBound { local }, now),
            Step::SocketClosed { local } => self.handle_input(Input::SocketClosed { local }, now),
            Step::Datagrams {
                local,
                remote,
                contents,
                segment_size,
            } => {
                let contents = contents.as_slice();
                let input = Input::Datagrams {
                    local,
                    remote,
                    contents,
                    segment_size,
                };
                self.handle_input(input, now);
            }
            Step::Signal { text } => self.handle_input(Input::Signal { text: &text }, now),
            Step::SignalRefused { peer, reason } => self.on_refused_signal(peer, reason, now),
            Step::WallClockSet { unix_time } => {
                self.handle_input(Input::WallClockSet { unix_time }, now);
            }
            Step::SignallingChanged { up } => {
                self.handle_input(Input::SignallingChanged { up }, now);
            }
            Step::Resolved { need, addresses } => {
                let addresses = addresses.as_slice();
                self.handle_input(Input::Resolved { need, addresses }, now);
            }
            Step::Bound { need, local } => self.handle_input(Input::Bound { need, local }, now),
            Step::StreamOpened { need, local } => {
                self.handle_input(Input::StreamOpened { need, local }, now);
            }
            Step::StreamData { need, contents } => {
                let contents = contents.as_slice();
                self.handle_input(Input::StreamData { need, contents }, now);
            }
            Step::StreamClosed { need } => self.handle_input(Input::StreamClosed { need }, now),
            Step::SetIceServers { servers } => {
                let _ = self.set_ice_servers(servers, now);
            }
            Step::SetCandidateFilter => self.set_candidate_filter(|_| true, now),
            Step::DiscoverNat => {
                let _ = self.discover_nat(now);
            }
            Step::Timeout => self.handle_input(Input::Timeout, now),
            Step::Connect { peer, timeout } => {
                let _ = self.connect(peer, ConnectOptions { timeout }, now);
            }
            Step::Accept { peer } => {
                let _ = self.accept(peer, now);
            }
            Step::Refuse { peer } => {
                let _ = self.refuse(peer, now);
            }
            Step::Broadcast {
                channel,
                text,
                data,
            } => {
                self.broadcast(
                    channel,
                    Message {
                        data: data.into(),
                        text,
                    },
                    now,
                );
            }
            Step::Join { name } => {
                let _ = self.join(&name, now);
            }
            Step::Leave { room } => {
                if let Ok(room) = self.room(room) {
                    room.leave(now);
                }
            }
            Step::Introduce { room, peers } => {
                if let Ok(mut room) = self.room(room) {
                    room.introduce(&peers, now);
                }
            }
            Step::Publish { room, text, data } => {
                let data = data.into();
                if let Ok(mut room) = self.room(room) {
                    let _ = room.publish(Message { data, text }, now);
                }
            }
            Step::RememberSessions { memory } => self.remember_sessions(&memory, now),
            Step::AnnounceRollover { rollover } => {
                let _ = self.announce_rollover(rollover, now);
            }
            Step::Mesh { peer, text, data } => {
                self.now = self.now.max(now);
                let data = data.into();
                self.ctx.from_mesh.pop_front();
                self.on_mesh_message(peer, &Message { data, text });
            }
            Step::DriveMesh => {
                self.now = self.now.max(now);
                self.drive_mesh();
            }
            Step::Close => self.close(now),
            Step::Drive => {
                self.now = self.now.max(now);
                self.drive_next();
            }
            Step::Send { peer, .. }
            | Step::Release { peer, .. }
            | Step::OpenChannel { peer, .. }
            | Step::CloseChannel { peer, .. }
            | Step::ClosePeer { peer }
            | Step::RestartIce { peer }
            | Step::Rebuild { peer } => {
                if let Ok(peer) = self.peer(peer) {
                    peer.replay(step, now);
                }
            }
        }
    }
}

impl Peer<'_> {
    fn replay(mut self, step: Step, now: Instant) {
        match step {
            Step::Send {
                channel,
                text,
                data,
                ..
            } => {
                let _ = self.send(
                    channel,
                    Message {
                        data: data.into(),
                        text,
                    },
                    now,
                );
            }
            Step::Release { channel, bytes, .. } => self.release(channel, bytes, now),
            Step::OpenChannel { config, .. } => {
                let _ = self.open_channel(config, now);
            }
            Step::CloseChannel { channel, .. } => {
                let _ = self.close_channel(channel, now);
            }
            Step::ClosePeer { .. } => self.close(now),
            Step::RestartIce { .. } => self.restart_ice(now),
            Step::Rebuild { .. } => self.rebuild(now),
            Step::SocketBound { .. }
            | Step::SocketClosed { .. }
            | Step::Datagrams { .. }
            | Step::Signal { .. }
            | Step::SignalRefused { .. }
            | Step::SignallingChanged { .. }
            | Step::WallClockSet { .. }
            | Step::Resolved { .. }
            | Step::Bound { .. }
            | Step::StreamOpened { .. }
            | Step::StreamData { .. }
            | Step::StreamClosed { .. }
            | Step::SetIceServers { .. }
            | Step::SetCandidateFilter
            | Step::DiscoverNat
            | Step::Timeout
            | Step::Connect { .. }
            | Step::Accept { .. }
            | Step::Refuse { .. }
            | Step::Broadcast { .. }
            | Step::Join { .. }
            | Step::Leave { .. }
            | Step::Introduce { .. }
            | Step::Publish { .. }
            | Step::Mesh { .. }
            | Step::DriveMesh
            | Step::RememberSessions { .. }
            | Step::AnnounceRollover { .. }
            | Step::Close
            | Step::Drive => {}
        }
    }
}

/// A line after the first.
#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Answer { call: String, value: Value },
    Step(Line),
}

fn describe(step: &Step) -> String {
    match step {
        Step::SocketBound { local } => format!("socket bound at {local}"),
        Step::SocketClosed { local } => format!("socket closed at {local}"),
        Step::Datagrams {
            local,
            remote,
            contents,
            segment_size,
        } => {
            let count = contents.len().div_ceil((*segment_size).max(1));
            format!(
                "{count} datagrams of {} bytes from {remote} at {local}",
                contents.len()
            )
        }
        Step::Signal { text } => format!("signal of {} bytes", text.len()),
        Step::SignalRefused { reason, .. } => format!("signal refused: {reason}"),
        Step::WallClockSet { unix_time } => format!("the wall clock shows {unix_time}"),
        Step::SignallingChanged { up: true } => "signalling is up".to_owned(),
        Step::SignallingChanged { up: false } => "signalling is down".to_owned(),
        Step::Resolved { need, addresses } => format!("{need} resolved to {addresses:?}"),
        Step::Bound { need, local: None } => format!("{need}: no socket"),
        Step::Bound {
            need,
            local: Some(local),
        } => format!("{need}: socket bound at {local}"),
        Step::StreamOpened { need, local } => format!("{need}: stream opened at {local}"),
        Step::StreamData { need, contents } => {
            format!("{need}: {} bytes on its stream", contents.len())
        }
        Step::StreamClosed { need } => format!("{need}: stream closed"),
        Step::SetIceServers { servers } => format!("set {} ice servers", servers.len()),
        Step::SetCandidateFilter => "filter candidates".to_owned(),
        Step::DiscoverNat => "discover the nat".to_owned(),
        Step::Timeout => "timeout".to_owned(),
        Step::Connect { peer, .. } => format!("connect to {peer}"),
        Step::Accept { peer } => format!("accept {peer}"),
        Step::Refuse { peer } => format!("refuse {peer}"),
        Step::Send {
            peer,
            channel,
            data,
            ..
        } => {
            format!("send {} bytes to {peer} on channel {channel}", data.len())
        }
        Step::Broadcast { channel, data, .. } => {
            format!("broadcast {} bytes on channel {channel}", data.len())
        }
        Step::Release {
            peer,
            channel,
            bytes,
        } => {
            format!("release {bytes} bytes of {peer} on channel {channel}")
        }
        Step::OpenChannel { peer, config } => format!("open channel {:?} to {peer}", config.label),
        Step::CloseChannel { peer, channel } => format!("close channel {channel} to {peer}"),
        Step::ClosePeer { peer } => format!("close {peer}"),
        Step::RestartIce { peer } => format!("restart ice with {peer}"),
        Step::Rebuild { peer } => format!("rebuild the transport to {peer}"),
        Step::Join { name } => format!("join the room {name}"),
        Step::Leave { room } => format!("leave the room {room}"),
        Step::Introduce { room, peers } => {
            format!("introduce {} peers to the room {room}", peers.len())
        }
        Step::Publish { room, data, .. } => {
            format!("publish {} bytes in the room {room}", data.len())
        }
        Step::Mesh { peer, data, .. } => format!("{} bytes of {peer} for the mesh", data.len()),
        Step::DriveMesh => "drive the mesh".to_owned(),
        Step::RememberSessions { .. } => "remember the sessions of an earlier process".to_owned(),
        Step::AnnounceRollover { rollover } => format!("announce the {rollover:?}"),
        Step::Close => "close all".to_owned(),
        Step::Drive => "drive".to_owned(),
    }
}
