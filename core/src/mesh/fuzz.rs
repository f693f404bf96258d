//! The body of the fuzz target `mesh`: a member of a room whose neighbours say anything.
#![allow(
    clippy::disallowed_methods,
    reason = "what runs a machine brings its clock"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{Branch, Header, Name, Route};
use super::members::{Record, Standing};
use super::{Config, Frame, Mesh, MeshOutput, PeerId, PeerState, RoomId, Said, Token};
use crate::channel::kind::Message;
use crate::crypto::sha256;
use crate::event::Event;
use crate::fuzz::Script;
use crate::rng::{Rng, Seed};
use crate::signal::Sealer;
use crate::time::UnixTime;

/// Does with a mesh what the script says.
///
/// # Panics
///
/// When a rule does not hold.
pub fn mesh(data: &[u8]) {
    let config = Config::builder().max_members(MEMBERS).build();
    let config = config.expect("within the range");
    let rng = |n| Rng::new(&Seed::from([n; 32]));
    let now = Instant::now();
    let mut run = Run {
        mesh: Mesh::new(id(0), &config, sha256, rng(1)),
        sealer: Sealer::replaying(id(0), None, rng(2)),
        start: now,
        now,
        room: None,
        joined: 0,
        left: 0,
    };
    run.room = run.mesh.join("room", &run.sealer, run.unix(), now).ok();
    let mut script = Script::new(data);
    while !script.is_over() {
        run.step(&mut script);
        run.check();
    }
}

struct Run {
    mesh: Mesh,
    sealer: Sealer,
    start: Instant,
    now: Instant,
    room: Option<RoomId>,
    joined: usize,
    left: usize,
}

impl Run {
    fn step(&mut self, script: &mut Script<'_>) {
        let peer = id(1 + usize::from(script.byte() % PEERS));
        match script.byte() % 12 {
            0 => {
                self.mesh.on_state(peer, PeerState::Connected, self.now);
                self.mesh.on_link_up(peer);
                self.say_hello(peer);
            }
            1 => {
                let state = script.pick(&[
                    PeerState::Connecting,
                    PeerState::Connected,
                    PeerState::Disconnected,
                    PeerState::Failed,
                    PeerState::Closed,
                ]);
                self.mesh.on_state(peer, state, self.now);
            }
            2 => self.mesh.on_link_down(peer, self.now),
            3 => self.mesh.on_signalling(script.byte().is_multiple_of(2)),
            4 => self.mesh.route(peer, "signal"),
            5 => {
                let (unix, room) = (self.unix(), self.room.unwrap_or(RoomId(0)));
                let message = Message::binary(script.slice(64).to_vec());
                let _ = self
                    .mesh
                    .publish(room, message, &self.sealer, unix, self.now);
            }
            6 => {
                if let Some(room) = self.room.take() {
                    self.left += self.mesh.members(room).len();
                    self.mesh.leave(room, &self.sealer, self.now);
                } else {
                    let unix = self.unix();
                    self.room = self.mesh.join("room", &self.sealer, unix, self.now).ok();
                }
            }
            7 => {
                self.now += Duration::from_millis(u64::from(script.short()));
                self.mesh.handle_timeout(self.now);
                let next = self.mesh.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "a deadline in the past"
                );
            }
            8 => {
                let data = Bytes::copy_from_slice(script.slice(512));
                let text = script.byte().is_multiple_of(2);
                self.hear(peer, &Message { data, text });
            }
            _ => {
                let said = self.any(script);
                self.hear(peer, &said.write());
            }
        }
    }

    fn hear(&mut self, from: PeerId, message: &Message) {
        let unix = self.unix();
        self.mesh
            .on_message(from, message, &self.sealer, unix, self.now);
    }

    fn say_hello(&mut self, from: PeerId) {
        let rooms = self.mesh.rooms.values();
        let rooms = rooms.map(|room| room.proof(from, id(0))).collect();
        let relays = true;
        self.hear(from, &Said::Frame(Frame::Hello { relays, rooms }).write());
    }

    fn any(&self, script: &mut Script<'_>) -> Said {
        let known = self.mesh.rooms.values().next();
        let room = known.map_or(Token([0; 16]), |room| room.token);
        let any_id = |script: &mut Script<'_>| id(usize::from(script.byte() % (2 * PEERS)));
        let name = |script: &mut Script<'_>| Name {
            from: any_id(script),
            epoch: u64::from(script.byte() % 3),
            number: u64::from(script.short()).max(1),
        };
        Said::Frame(match script.byte() % 6 {
            0 => Frame::Digest {
                room,
                buckets: script.slice(16).iter().map(|b| u32::from(*b)).collect(),
            },
            1 => {
                let standings = [
                    Standing::Here,
                    Standing::Suspect,
                    Standing::Lost,
                    Standing::Left,
                ];
                let count = script.byte() % 8;
                let records = (0..count).map(|_| Record {
                    peer: any_id(script),
                    incarnation: u64::from(script.byte()),
                    standing: script.pick(&standings),
                    signature: None,
                });
                let records = records.collect();
                let buckets = script.short();
                Frame::Members {
                    room,
                    records,
                    buckets,
                }
            }
            2 => {
                let branch = Branch {
                    root: any_id(script),
                    depth: Some(script.byte()).filter(|depth| *depth < 200),
                    parent: script.byte().is_multiple_of(2),
                };
                Frame::Tree { room, branch }
            }
            3 => Frame::Have {
                room,
                messages: vec![name(script)],
            },
            4 => Frame::Want {
                room,
                messages: vec![name(script)],
            },
            _ if script.byte().is_multiple_of(2) => {
                let header = Header {
                    room,
                    name: name(script),
                    time: 0,
                    text: false,
                    signature: None,
                };
                return Said::Publication(header, Bytes::copy_from_slice(script.slice(64)));
            }
            _ => Frame::Route(Route {
                from: any_id(script),
                to: any_id(script),
                id: u64::from(script.byte()),
                hops: script.byte(),
                flood: script.byte().is_multiple_of(2),
                text: String::new(),
            }),
        })
    }

    fn check(&mut self) {
        let mut outputs = 0;
        while let Some(output) = self.mesh.poll_output() {
            outputs += 1;
            match output {
                MeshOutput::Tell(Event::MemberJoined { peer, .. }) => {
                    assert_ne!(peer, id(0), "we are no news");
                    self.joined += 1;
                }
                MeshOutput::Tell(Event::MemberLeft { .. }) => self.left += 1,
                MeshOutput::Tell(Event::Published { from, .. }) => assert_ne!(from, id(0)),
                MeshOutput::Send { to, .. } => assert_ne!(to, id(0)),
                MeshOutput::Connect { peer } | MeshOutput::Close { peer } => {
                    assert_ne!(peer, id(0));
                }
                MeshOutput::Tell(_) | MeshOutput::Deliver { .. } | MeshOutput::ReachChanged => {}
            }
        }
        assert!(outputs <= MOST_OUTPUTS, "{outputs} outputs of one step");
        let members = self.room.map_or(0, |room| self.mesh.members(room).len());
        assert!(members <= MEMBERS);
        assert_eq!(
            self.joined,
            self.left + members,
            "who comes and goes is told"
        );
    }

    fn unix(&self) -> UnixTime {
        UnixTime::from_millis(5).plus(self.now - self.start)
    }
}

fn id(n: usize) -> PeerId {
    format!("peer-{n}").parse().expect("valid")
}

/// Neighbours that there may be; as many again are spoken of.
const PEERS: u8 = 20;
const MEMBERS: usize = 16;
/// To each neighbour a few.
const MOST_OUTPUTS: usize = 400;
