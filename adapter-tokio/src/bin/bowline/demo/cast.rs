use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bowline::{Cause, ChannelKind, Config, Event, Identity, PeerId, PeerState};
use bowline_tokio::relay::Relay;
use bowline_tokio::{Connection, Endpoint, IncomingPolicy, signalling};

use tokio::task::JoinHandle;

use super::patiently;
use super::style::{Stage, millis};

/// The three peers.
pub(crate) struct Cast {
    pub(crate) alice: Player,
    pub(crate) bob: Player,
    pub(crate) carol: Player,
}

impl Cast {
    /// Starts three endpoints that find each other through `relay`.
    pub(crate) fn on(relay: &Relay, recording: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            alice: Player::new("alice", relay, recording)?,
            bob: Player::new("bob", relay, None)?,
            carol: Player::new("carol", relay, None)?,
        })
    }

    pub(crate) fn players(&self) -> [&Player; 3] {
        [&self.alice, &self.bob, &self.carol]
    }

    /// Every two of them, once; carol, who sees more than the others, first.
    pub(crate) fn pairs(&self) -> [(&Player, &Player); 3] {
        [
            (&self.alice, &self.bob),
            (&self.carol, &self.alice),
            (&self.carol, &self.bob),
        ]
    }

    /// Waits until everything that the endpoints told is noted. They must be closed.
    pub(crate) async fn watched(&mut self) {
        for player in [&mut self.alice, &mut self.bob, &mut self.carol] {
            // A panic there would be a bug, and has been printed.
            let _ = (&mut player.watching).await;
        }
    }

    /// Connects every two, all at the same time.
    pub(crate) async fn connect(&mut self, stage: &Stage) -> Result<(), Box<dyn Error>> {
        let (alice, bob, carol) = (&self.alice, &self.bob, &self.carol);
        let connecting = async {
            tokio::try_join!(
                join(stage, alice, bob),
                join(stage, alice, carol),
                join(stage, bob, carol),
                alice.welcome(0),
                bob.welcome(1),
                carol.welcome(2),
            )
        };
        let (ab, ac, bc, _, for_bob, for_carol) = patiently("the mesh", connecting).await??;
        self.alice.connections.extend([ab, ac]);
        self.bob.connections.extend([bc]);
        self.bob.connections.extend(for_bob);
        self.carol.connections.extend(for_carol);
        Ok(())
    }

    /// Sends on every kind in every direction, and waits until all has come.
    pub(crate) async fn converse(&self, stage: &Stage) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        let both = self.pairs().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]);
        let mut came = BTreeMap::new();
        for (from, to) in both {
            for kind in ChannelKind::ALL {
                for number in 0..MESSAGES {
                    from.to(to)
                        .send(kind, format!("{kind} {number} from {}", from.name()))
                        .await?;
                }
            }
            for kind in ChannelKind::ALL {
                *came.entry(kind).or_insert(0) += received(to.to(from), kind).await?;
            }
        }
        let all = MESSAGES * 6;
        let counts: Vec<_> = came
            .iter()
            .map(|(kind, came)| format!("{kind} {came}/{all}"))
            .collect();
        stage.line(
            "all",
            &format!(
                "received {} in {}",
                counts.join(", "),
                millis(began.elapsed())
            ),
        );
        Ok(())
    }
}

/// Takes the messages of one kind: all of them where the channel is reliable, what comes in time where it is not.
async fn received(connection: &Connection, kind: ChannelKind) -> Result<usize, Box<dyn Error>> {
    for number in 0..MESSAGES {
        let message = connection.recv_from(kind);
        if kind == ChannelKind::Unreliable {
            if tokio::time::timeout(std::time::Duration::from_millis(500), message)
                .await
                .is_err()
            {
                return Ok(number);
            }
        } else if patiently("a message", message).await?.is_none() {
            return Err("a connection ended early".into());
        }
    }
    Ok(MESSAGES)
}

async fn join(
    stage: &Stage,
    from: &Player,
    to: &Player,
) -> Result<(PeerId, Connection), Box<dyn Error>> {
    let began = Instant::now();
    let connection = from.endpoint.connect(to.endpoint.id()).await?;
    stage.line(
        from.name(),
        &format!("connected to {} in {}", to.name(), millis(began.elapsed())),
    );
    Ok((to.endpoint.id(), connection))
}

/// One peer, and what it has seen.
pub(crate) struct Player {
    name: &'static str,
    pub(crate) endpoint: Endpoint,
    connections: BTreeMap<PeerId, Connection>,
    history: Arc<Mutex<Vec<Seen>>>,
    watching: JoinHandle<()>,
}

/// A change of state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) peer: PeerId,
    pub(crate) state: PeerState,
    pub(crate) cause: Cause,
    pub(crate) at: Instant,
}

impl Player {
    fn new(
        name: &'static str,
        relay: &Relay,
        recording: Option<&Path>,
    ) -> Result<Self, Box<dyn Error>> {
        let id = PeerId::new(name)?;
        let mut builder = Endpoint::builder(Identity::without_key(id))
            .config(Config::builder().loopback(true).build()?)
            .bind_address("127.0.0.1:0".parse()?)
            .signalling(signalling::websocket(&relay.url(), id)?)
            .incoming(IncomingPolicy::Accept);
        if let Some(path) = recording {
            builder = builder.record(BufWriter::new(File::create(path)?), false);
        }
        let endpoint = builder.bind()?;
        let history = Arc::new(Mutex::new(Vec::new()));
        let watching = tokio::spawn(watch(endpoint.events(), Arc::clone(&history)));
        Ok(Self {
            watching,
            name,
            endpoint,
            connections: BTreeMap::new(),
            history,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Waits for the link. The relay keeps nothing: an offer to somebody who is not there yet would be lost, and come
    /// again only after half a second.
    pub(crate) async fn is_reachable(&self) -> Result<(), Box<dyn Error>> {
        if let Some(mut link) = self.endpoint.signalling_status() {
            patiently("the relay", link.wait_for(|status| status.up)).await??;
        }
        Ok(())
    }

    pub(crate) fn addresses(&self) -> String {
        let all: Vec<_> = self
            .endpoint
            .local_addrs()
            .iter()
            .map(ToString::to_string)
            .collect();
        all.join(", ")
    }

    /// The connection to another player.
    pub(crate) fn to(&self, other: &Self) -> &Connection {
        self.connections
            .get(&other.endpoint.id())
            .expect("the mesh is complete before anybody speaks")
    }

    /// What was seen of another player.
    pub(crate) fn history_of(&self, other: &Self) -> Vec<Seen> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history
            .iter()
            .filter(|seen| seen.peer == other.endpoint.id())
            .copied()
            .collect()
    }

    /// Takes this many connections that others begin.
    async fn welcome(&self, count: usize) -> Result<Vec<(PeerId, Connection)>, Box<dyn Error>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let incoming = self.endpoint.accept().await.ok_or("the endpoint ended")?;
            taken.push((incoming.peer(), incoming.accept().await?));
        }
        Ok(taken)
    }
}

async fn watch(mut events: bowline_tokio::Events, history: Arc<Mutex<Vec<Seen>>>) {
    while let Some(event) = events.next().await {
        if let Ok(Event::State {
            peer,
            to,
            cause,
            at,
            ..
        }) = event
        {
            let seen = Seen {
                peer,
                state: to,
                cause,
                at,
            };
            history
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(seen);
        }
    }
}

/// Messages of each kind from each to each.
const MESSAGES: usize = 10;
