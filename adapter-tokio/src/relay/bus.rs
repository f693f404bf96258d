//! Several servers that share their rooms, over NATS.
//!
//! Each server subscribes to the rooms in which it has members. What is for a peer that is not here is published in its room,
//! and the server that has the peer delivers it. Who is in a room is announced by each server for itself: whenever that
//! changes, to a server that asks as it begins to have members there, and now and then, since NATS may lose what it carries. A
//! server that is not heard for [`SILENCE`] is taken for dead, with those who were connected to it.
//!
//! | subject | what is published |
//! | --- | --- |
//! | `bowline.1.room.ROOM.to.PEER` | the text of a message for a peer |
//! | `bowline.1.room.ROOM.members` | an [`Announcement`]: all who are in the room at one server |
//! | `bowline.1.unnamed.to.PEER` | the same in the room without a name |
//! | `bowline.1.unnamed.members` | an [`Announcement`] of those only that have just come |
//! | `bowline.1.servers` | a [`Heartbeat`] |
//!
//! Names have a `/` there for each dot, which would part a subject.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, ConnectError, ConnectOptions, Event, Subscriber};
use bowline::PeerId;
use bytes::Bytes;
use futures_util::StreamExt;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tracing::{info, warn};

use super::Shared;
use super::rooms::{Outbox, RoomKey, Rooms};

/// A server among those that share their rooms: a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ServerId(u64);

impl ServerId {
    /// A new one; nothing where the operating system has no randomness.
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(u64::from_be_bytes(bytes)))
    }

    #[cfg(test)]
    pub(super) fn numbered(number: u64) -> Self {
        Self(number)
    }
}

/// A message for a peer at another server.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) room: RoomKey,
    pub(super) to: PeerId,
    pub(super) text: Utf8Bytes,
}

/// Who is in a room at a server.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Announcement {
    pub(super) server: ServerId,
    /// Whether the others are to say it too.
    #[serde(default)]
    pub(super) ask: bool,
    /// With the time at which each took its name, in milliseconds since 1970. The latest of several servers has it.
    pub(super) peers: BTreeMap<PeerId, u64>,
}

/// Says that a server lives, or stops.
#[derive(Debug, Serialize, Deserialize)]
struct Heartbeat {
    server: ServerId,
    #[serde(default)]
    stops: bool,
}

/// A connection to NATS.
pub(super) struct Bus {
    client: Client,
    link: watch::Receiver<BusLink>,
}

/// How the connection to NATS is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BusLink {
    pub(super) up: bool,
    connects: u64,
}

impl Bus {
    /// Connects to the NATS server at `url`, or to one of several with commas between.
    pub(super) async fn connect(url: &str, tls: ClientConfig) -> Result<Self, ConnectError> {
        let (reporter, link) = watch::channel(BusLink::default());
        let reporter = Arc::new(reporter);
        let told = Arc::clone(&reporter);
        let servers: Vec<_> = url.split(',').map(str::trim).collect();
        let client = ConnectOptions::new()
            .name("bowline")
            .no_echo()
            .ping_interval(PING)
            .tls_client_config(tls)
            .event_callback(move |event| {
                report(&event, &told);
                std::future::ready(())
            })
            .connect(servers)
            .await?;
        reporter.send_modify(|link| link.up = true);
        Ok(Self { client, link })
    }

    /// How the connection is doing.
    pub(super) fn link(&self) -> watch::Receiver<BusLink> {
        self.link.clone()
    }

    /// Carries what is for other servers and what comes from them, until the relay stops.
    pub(super) async fn run(self, shared: Arc<Shared>, forwards: mpsc::Receiver<Forward>) {
        let Some(outbox) = shared.rooms.outbox() else {
            return;
        };
        let publisher = Publisher {
            client: self.client.clone(),
            shared: Arc::clone(&shared),
            server: outbox.server,
            receiving: BTreeMap::new(),
        };
        let work = async {
            let publishing = publisher.run(outbox, forwards, self.link);
            tokio::join!(publishing, follow_servers(&self.client, &shared.rooms));
        };
        tokio::select! {
            () = work => {}
            () = shared.stopped() => {}
        }
        let farewell = async {
            beat(&self.client, outbox.server, true).await;
            self.client.flush().await
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

fn report(event: &Event, link: &watch::Sender<BusLink>) {
    match event {
        Event::Connected => {
            info!("connected to nats");
            link.send_modify(|link| {
                link.up = true;
                link.connects += 1;
            });
        }
        Event::Disconnected | Event::Closed => {
            warn!(%event, "the other servers are out of reach");
            link.send_modify(|link| link.up = false);
        }
        Event::LameDuckMode
        | Event::Draining
        | Event::SlowConsumer(_)
        | Event::ServerError(_)
        | Event::ClientError(_) => warn!(%event, "nats"),
    }
}

/// What publishes. It waits while NATS is out of reach, and what is for other servers with it.
struct Publisher {
    client: Client,
    shared: Arc<Shared>,
    server: ServerId,
    /// The rooms that are subscribed to.
    receiving: BTreeMap<RoomKey, Receiving>,
}

impl Publisher {
    async fn run(
        mut self,
        outbox: &Outbox,
        mut forwards: mpsc::Receiver<Forward>,
        mut link: watch::Receiver<BusLink>,
    ) {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = 0_usize;
        loop {
            tokio::select! {
                () = outbox.changed.notified() => self.announce(false).await,
                Some(forward) = forwards.recv() => {
                    let to = token(forward.to.as_str());
                    let subject = subject(&forward.room, &format!("to.{to}"));
                    self.publish(subject, forward.text.into()).await;
                }
                _ = heartbeat.tick() => {
                    beat(&self.client, self.server, false).await;
                    self.shared.rooms.tell_part(beats, PARTS);
                    beats = beats.wrapping_add(1);
                }
                Ok(()) = link.changed() => {
                    // What was said meanwhile is missed, here and there.
                    let link = *link.borrow_and_update();
                    if link.up && link.connects > 1 {
                        self.shared.rooms.tell_part(0, 1);
                        self.announce(true).await;
                    }
                }
            }
        }
    }

    /// Tells the others of the rooms that have changed, and subscribes to those that are new here.
    async fn announce(&mut self, ask: bool) {
        while let Some((room, peers)) = self.shared.rooms.next_announcement() {
            let is_here = !peers.is_empty();
            let is_new = is_here && !self.receiving.contains_key(&room);
            if is_new {
                match self.client.subscribe(subject(&room, ">")).await {
                    Ok(subscriber) => {
                        let shared = Arc::clone(&self.shared);
                        let task = tokio::spawn(receive(subscriber, room.clone(), shared));
                        self.receiving.insert(room.clone(), Receiving(task));
                    }
                    Err(error) => warn!(%error, "cannot subscribe"),
                }
            } else if !is_here {
                self.receiving.remove(&room);
            }
            let announcement = Announcement {
                server: self.server,
                ask: ask || is_new,
                peers,
            };
            self.publish(subject(&room, MEMBERS), json(&announcement))
                .await;
        }
    }

    async fn publish(&self, subject: String, payload: Bytes) {
        if let Err(error) = self.client.publish(subject, payload).await {
            self.shared.counters.bus_lost.add();
            warn!(%error, "cannot publish");
        }
    }
}

/// A task that receives what is published in a room. It ends when this is dropped.
struct Receiving(JoinHandle<()>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn receive(mut subscriber: Subscriber, room: RoomKey, shared: Arc<Shared>) {
    let prefix = subject(&room, "");
    while let Some(message) = subscriber.next().await {
        let what = message.subject.strip_prefix(&prefix).unwrap_or_default();
        if take(what, message.payload, &room, &shared).is_none() {
            shared.counters.malformed.add();
        }
    }
}

/// Takes what another server has published in a room. None when it is nothing that servers publish.
fn take(what: &str, payload: Bytes, room: &RoomKey, shared: &Shared) -> Option<()> {
    if what == MEMBERS {
        let said = serde_json::from_slice(&payload).ok()?;
        shared.rooms.hear(room, said, Instant::now());
    } else {
        let to = what.strip_prefix("to.")?.replace('/', ".");
        let forward = Forward {
            room: room.clone(),
            to: PeerId::new(&to).ok()?,
            text: Utf8Bytes::try_from(payload).ok()?,
        };
        shared.rooms.deliver(forward, &shared.counters);
    }
    Some(())
}

/// Notes which other servers live.
async fn follow_servers(client: &Client, rooms: &Rooms) {
    let mut servers = match client.subscribe(SERVERS).await {
        Ok(servers) => servers,
        Err(error) => return warn!(%error, "cannot subscribe"),
    };
    let mut check = interval(HEARTBEAT);
    loop {
        tokio::select! {
            Some(message) = servers.next() => {
                match serde_json::from_slice::<Heartbeat>(&message.payload) {
                    Ok(Heartbeat { server, stops: true }) => rooms.forget(server),
                    Ok(Heartbeat { server, stops: false }) => {
                        rooms.hear_life(server, Instant::now());
                    }
                    Err(error) => warn!(%error, "no heartbeat"),
                }
            }
            _ = check.tick() => rooms.forget_silent(SILENCE, Instant::now()),
        }
    }
}

async fn beat(client: &Client, server: ServerId, stops: bool) {
    let heartbeat = Heartbeat { server, stops };
    if let Err(error) = client.publish(SERVERS, json(&heartbeat)).await {
        warn!(%error, "cannot publish");
    }
}

fn json(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value);
    text.expect("strings and numbers have a JSON form").into()
}

/// A name within a subject, where dots part tokens.
fn token(name: &str) -> String {
    name.replace('.', "/")
}

fn subject(room: &RoomKey, what: &str) -> String {
    match room {
        Some(room) => format!("bowline.1.room.{}.{what}", token(room.as_str())),
        None => format!("bowline.1.unnamed.{what}"),
    }
}

const MEMBERS: &str = "members";
const SERVERS: &str = "bowline.1.servers";

/// Messages for other servers that wait for the connection to NATS.
pub(super) const QUEUE: usize = 4_096;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A server that was not heard for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(5);
/// The heartbeats after which every room was announced once more.
const PARTS: usize = 15;
/// How often the connection to NATS is tried. Two that are not answered end it.
const PING: Duration = Duration::from_secs(10);
/// How long the last word of a server may take.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signalling::RoomName;

    #[test]
    fn names_with_dots_are_one_token_of_a_subject() {
        let room = Some(RoomName::new("a..b-").expect("valid"));
        assert_eq!(subject(&room, "to.x"), "bowline.1.room.a//b-.to.x");
        assert_eq!(subject(&None, ">"), "bowline.1.unnamed.>");
    }
}
