//! Recording a run, so that it can be replayed step by step.
//!
//! A recording is text, one JSON object a line. The first line says which endpoint it is of; each following line is a
//! step (an input, a command, or the driving of a peer) with its time, or an answer that a transport gave during the
//! step before it (see [`crate::tape`]). Unless payloads are asked for, messages and secured datagrams are kept as
//! zeros of the same length, and ICE passwords as the user name fragment beside them; DTLS keys, the endpoint's seed and its certificate are never in
//! it. Addresses, labels, peer ids and sizes are.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Endpoint;
use super::io::Input;
use super::memory::SessionMemory;
use crate::channel::kind::{ChannelConfig, Message};
use crate::config::Config;
use crate::error::RecordError;
use crate::event::SignalRefusal;
use crate::ice::IceServer;
use crate::id::{ChannelId, PeerId, RoomId};
use crate::mesh;
use crate::need::NeedId;
use crate::signal::Rollover;
use crate::tape::{Stamp, Tape, bytes_text, without_passwords};
use crate::time::UnixTime;

/// The first line of a recording.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    /// The version of the format.
    #[serde(rename = "bowline-recording")]
    pub(super) version: u32,
    pub(super) id: PeerId,
    pub(super) config: Config,
    /// The seed of everything that is no secret.
    #[serde(with = "bytes_text")]
    pub(super) seed: Vec<u8>,
    pub(super) unix_time: UnixTime,
    pub(super) payloads: bool,
    /// Whether its messages are signed.
    pub(super) keyed: bool,
}

/// A step and when it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) at: Stamp,
    #[serde(flatten)]
    pub(super) step: Step,
}

/// Everything that changes an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub(super) enum Step {
    SocketBound {
        local: SocketAddr,
    },
    SocketClosed {
        local: SocketAddr,
    },
    Datagrams {
        local: SocketAddr,
        remote: SocketAddr,
        #[serde(with = "bytes_text")]
        contents: Vec<u8>,
        segment_size: usize,
    },
    /// As it was before it was signed and sealed.
    Signal {
        text: String,
    },
    /// One that was refused, before anybody could say what it says.
    SignalRefused {
        peer: Option<PeerId>,
        reason: SignalRefusal,
    },
    SignallingChanged {
        up: bool,
    },
    WallClockSet {
        unix_time: UnixTime,
    },
    Resolved {
        need: NeedId,
        addresses: Vec<IpAddr>,
    },
    Bound {
        need: NeedId,
        local: Option<SocketAddr>,
    },
    StreamOpened {
        need: NeedId,
        local: SocketAddr,
    },
    StreamData {
        need: NeedId,
        #[serde(with = "bytes_text")]
        contents: Vec<u8>,
    },
    StreamClosed {
        need: NeedId,
    },
    DiscoverNat,
    /// Without passwords.
    SetIceServers {
        servers: Vec<IceServer>,
    },
    /// The verdicts are among the answers.
    SetCandidateFilter,
    Timeout,
    Connect {
        peer: PeerId,
        timeout: Option<Duration>,
    },
    Accept {
        peer: PeerId,
    },
    Refuse {
        peer: PeerId,
    },
    Send {
        peer: PeerId,
        channel: ChannelId,
        text: bool,
        #[serde(with = "bytes_text")]
        data: Vec<u8>,
    },
    Broadcast {
        channel: ChannelId,
        text: bool,
        #[serde(with = "bytes_text")]
        data: Vec<u8>,
    },
    Release {
        peer: PeerId,
        channel: ChannelId,
        bytes: usize,
    },
    OpenChannel {
        peer: PeerId,
        config: ChannelConfig,
    },
    CloseChannel {
        peer: PeerId,
        channel: ChannelId,
    },
    ClosePeer {
        peer: PeerId,
    },
    RestartIce {
        peer: PeerId,
    },
    Rebuild {
        peer: PeerId,
    },
    Join {
        name: String,
    },
    Leave {
        room: RoomId,
    },
    Introduce {
        room: RoomId,
        peers: Vec<PeerId>,
    },
    Publish {
        room: RoomId,
        text: bool,
        #[serde(with = "bytes_text")]
        data: Vec<u8>,
    },
    /// A neighbour said something on the channel of the mesh.
    Mesh {
        peer: PeerId,
        text: bool,
        #[serde(with = "bytes_text")]
        data: Vec<u8>,
    },
    /// `poll_output` did what the mesh asked for.
    DriveMesh,
    RememberSessions {
        memory: SessionMemory,
    },
    AnnounceRollover {
        rollover: Rollover,
    },
    Close,
    /// `poll_output` let the next peer that was touched do its work.
    Drive,
}

/// What a recording needs of an endpoint that has done nothing yet.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) seed: [u8; 32],
    pub(super) started: Instant,
    pub(super) unix_time: UnixTime,
}

impl Endpoint {
    /// Records everything that happens from now on, for `bowline replay` and [`Replay`](crate::Replay).
    ///
    /// Call it before the first input and command. `payloads` says whether the contents of messages, datagrams and
    /// descriptions are kept; without them a recording shows who spoke with whom, when and how much, and no contents
    /// or keys. When writing fails the recording ends there, with a warning in the log, and the endpoint goes on.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when something has happened already: a recording cannot begin in the middle.
    pub fn record(
        &mut self,
        writer: impl Write + Send + 'static,
        payloads: bool,
    ) -> Result<(), RecordError> {
        let Origin {
            seed,
            started,
            unix_time,
        } = self.origin.take().ok_or(RecordError)?;
        let tape = Tape::record(Box::new(writer), payloads, started);
        let (id, config) = (self.id(), self.ctx.config.clone());
        tape.line(&Header {
            version: VERSION,
            id,
            config,
            seed: seed.to_vec(),
            unix_time,
            payloads,
            keyed: self.sealer.is_keyed(),
        });
        self.set_tape(tape);
        Ok(())
    }

    /// Moves the present forward, and records the step that begins. A clock that goes back is taken to stand still.
    pub(super) fn begin(&mut self, now: Instant, step: impl FnOnce(bool) -> Step) {
        self.now = self.now.max(now);
        self.origin = None;
        if let (Some(payloads), Some(start)) = (self.ctx.tape.is_recording(), self.ctx.tape.start())
        {
            let at = Stamp::new(self.now.saturating_duration_since(start));
            self.ctx.tape.line(&Line {
                at,
                step: step(payloads),
            });
        }
    }
}

impl Step {
    pub(super) fn of_input(input: Input<'_>, payloads: bool) -> Self {
        match input {
            Input::SocketBound { local } => Self::SocketBound { local },
            Input::SocketClosed { local } => Self::SocketClosed { local },
            Input::Datagrams {
                local,
                remote,
                contents,
                segment_size,
            } => {
                let mut contents = contents.to_vec();
                if !payloads {
                    contents
                        .chunks_mut(segment_size.max(1))
                        .for_each(redact_datagram);
                }
                Self::Datagrams {
                    local,
                    remote,
                    contents,
                    segment_size,
                }
            }
            Input::Signal { text } if payloads => Self::Signal {
                text: text.to_owned(),
            },
            Input::Signal { text } => Self::Signal {
                text: without_passwords(text),
            },
            Input::SignallingChanged { up } => Self::SignallingChanged { up },
            Input::WallClockSet { unix_time } => Self::WallClockSet { unix_time },
            Input::Resolved { need, addresses } => Self::Resolved {
                need,
                addresses: addresses.to_vec(),
            },
            Input::Bound { need, local } => Self::Bound { need, local },
            Input::StreamOpened { need, local } => Self::StreamOpened { need, local },
            Input::StreamData { need, contents } => Self::StreamData {
                need,
                // Cut anywhere, it cannot be told apart. It holds STUN, and secured datagrams without their keys.
                contents: contents.to_vec(),
            },
            Input::StreamClosed { need } => Self::StreamClosed { need },
            Input::Timeout => Self::Timeout,
        }
    }

    pub(super) fn send(
        peer: PeerId,
        channel: ChannelId,
        message: &Message,
        payloads: bool,
    ) -> Self {
        Self::Send {
            peer,
            channel,
            text: message.text,
            data: payload(message, payloads),
        }
    }

    pub(super) fn publish(room: RoomId, message: &Message, payloads: bool) -> Self {
        Self::Publish {
            room,
            text: message.text,
            data: payload(message, payloads),
        }
    }

    /// What the mesh says to itself is kept, and what it carries is redacted.
    pub(super) fn mesh(peer: PeerId, message: &Message, payloads: bool) -> Self {
        let message = if payloads {
            message.clone()
        } else {
            mesh::redacted(message)
        };
        Self::Mesh {
            peer,
            text: message.text,
            data: message.data.to_vec(),
        }
    }

    pub(super) fn broadcast(channel: ChannelId, message: &Message, payloads: bool) -> Self {
        Self::Broadcast {
            channel,
            text: message.text,
            data: payload(message, payloads),
        }
    }
}

fn payload(message: &Message, payloads: bool) -> Vec<u8> {
    if payloads {
        message.data.to_vec()
    } else {
        vec![0; message.len()]
    }
}

/// STUN holds no secret and is kept; of anything else the first byte tells the protocol. What a relay carries is kept as
/// what stands in it would be.
fn redact_datagram(datagram: &mut [u8]) {
    let inner = match datagram {
        [0x40..=0x4f, _, _, _, relayed @ ..] => relayed,
        datagram => datagram,
    };
    if let [4..=255, rest @ ..] = inner {
        rest.fill(0);
    }
}

pub(super) const VERSION: u32 = 1;
