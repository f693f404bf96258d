//! A bowline endpoint and a foreign peer that meet.

use std::sync::Arc;
use std::time::Duration;

use bowline::{Config, Identity, PeerId};
use bowline_tokio::signalling::Signalling;
use bowline_tokio::{Connection, Endpoint};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::bridge::{Bridge, Munge, Names, Offerer, Passed, Trickle};
use crate::foreign::{ChannelInit, ForeignConnection, IceOptions, Stack};
use crate::host::Host;
use crate::log::Log;

/// Two that are about to meet.
pub struct Meeting<'a> {
    offerer: Offerer,
    config: Config,
    host: Option<&'a Host>,
    ice: IceOptions,
    to_peer: Munge,
    to_bowline: Munge,
    trickle: Trickle,
    limit: Duration,
}

impl<'a> Meeting<'a> {
    /// With default settings on both sides.
    #[must_use]
    pub fn new(offerer: Offerer) -> Self {
        Self {
            offerer,
            config: Config::default(),
            host: None,
            ice: IceOptions::default(),
            to_peer: Arc::new(str::to_owned),
            to_bowline: Arc::new(str::to_owned),
            trickle: Trickle::AsTold,
            limit: CONNECT,
        }
    }

    /// With this configuration of bowline.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// With bowline on this host.
    #[must_use]
    pub fn on(mut self, host: &'a Host) -> Self {
        self.host = Some(host);
        self
    }

    /// With these ICE options of the peer.
    #[must_use]
    pub fn ice(mut self, options: IceOptions) -> Self {
        self.ice = options;
        self
    }

    /// With the descriptions by bowline changed before the peer sees them.
    #[must_use]
    pub fn to_peer(mut self, munge: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.to_peer = Arc::new(munge);
        self
    }

    /// With the descriptions by the peer changed before bowline sees them.
    #[must_use]
    pub fn to_bowline(mut self, munge: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.to_bowline = Arc::new(munge);
        self
    }

    /// With the peer's candidates carried so. Default: [`Trickle::AsTold`].
    #[must_use]
    pub fn trickle(mut self, trickle: Trickle) -> Self {
        self.trickle = trickle;
        self
    }

    /// With this much time for bowline to be connected. Default: [`CONNECT`].
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Lets the two connect over the peer's channel [`FIRST`], opened in-band, if the peer offers.
    ///
    /// # Errors
    ///
    /// What went wrong, for a person to read.
    pub async fn connect(self, stack: &Stack) -> Result<Duo, String> {
        let mut peer = stack.connection(self.ice).await?;
        let first = match self.offerer {
            Offerer::Bowline => None,
            Offerer::Peer => Some(peer.open(FIRST, ChannelInit::default()).await?),
        };
        let (signalling, link) = Signalling::pair();
        let id = |name: &str| PeerId::new(name).expect("valid");
        let builder = Endpoint::builder(Identity::without_key(id(BOWLINE)))
            .config(self.config)
            .signalling(signalling);
        let endpoint = match self.host {
            Some(host) => host.run(async { builder.bind() }).await,
            None => builder.bind(),
        };
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let events = Log::of(&endpoint);
        let passed = Log::default();
        let (restarts, asked) = mpsc::unbounded_channel();
        let bridge = Bridge {
            link,
            candidates: peer.take_candidates().expect("nobody took them"),
            peer: peer.handle(),
            to_peer: self.to_peer,
            to_bowline: self.to_bowline,
            trickle: self.trickle,
            restarts: asked,
            passed: passed.clone(),
            names: Names {
                bowline: BOWLINE.to_owned(),
                peer: PEER.to_owned(),
            },
        };
        let bridge = Task::spawn(bridge.run(self.offerer));
        let connected =
            tokio::time::timeout(self.limit, meet(&endpoint, self.offerer, id(PEER))).await;
        let connected = connected.unwrap_or_else(|_| Err(format!("not within {:?}", self.limit)));
        let bowline = connected.map_err(|error| failure(&error, &passed, &peer, &events))?;
        Ok(Duo {
            endpoint,
            bowline,
            peer,
            events,
            passed,
            first,
            restarts,
            _bridge: bridge,
        })
    }
}

async fn meet(endpoint: &Endpoint, offerer: Offerer, peer: PeerId) -> Result<Connection, String> {
    let connected = match offerer {
        Offerer::Bowline => endpoint.connect(peer).await,
        Offerer::Peer => {
            endpoint
                .accept()
                .await
                .ok_or("the endpoint is closed")?
                .accept()
                .await
        }
    };
    connected.map_err(|error| error.to_string())
}

fn failure(
    error: &str,
    passed: &Log<Passed>,
    peer: &ForeignConnection,
    events: &Log<bowline::Event>,
) -> String {
    let (passed, peer, events) = (passed.all(), peer.log.all(), events.all());
    format!("{error}\nsignalling: {passed:#?}\nthe peer saw: {peer:?}\nbowline saw: {events:?}")
}

/// A bowline endpoint and a foreign peer that are connected.
#[derive(Debug)]
pub struct Duo {
    /// bowline's endpoint.
    pub endpoint: Endpoint,
    /// bowline's connection.
    pub bowline: Connection,
    /// The foreign peer's connection.
    pub peer: ForeignConnection,
    /// What bowline told.
    pub events: Log<bowline::Event>,
    /// What passed between them.
    pub passed: Log<Passed>,
    /// The number of the channel [`FIRST`] at the peer, if the peer offered.
    pub first: Option<u64>,
    restarts: mpsc::UnboundedSender<()>,
    _bridge: Task,
}

impl Duo {
    /// The description by bowline, as bowline wrote it.
    #[must_use]
    pub fn by_bowline(&self) -> String {
        let all = self.passed.all();
        let found = all.into_iter().find_map(|passed| match passed {
            Passed::FromBowline(sdp) => Some(sdp),
            Passed::FromPeer(_) | Passed::CandidateFromBowline(_) | Passed::Broken(_) => None,
        });
        found.expect("they are connected")
    }

    /// Everything that bowline has told of addresses: its description, and its candidates.
    #[must_use]
    pub fn told_by_bowline(&self) -> Vec<String> {
        let told = |passed| match passed {
            Passed::FromBowline(text) | Passed::CandidateFromBowline(text) => Some(text),
            Passed::FromPeer(_) | Passed::Broken(_) => None,
        };
        self.passed.all().into_iter().filter_map(told).collect()
    }

    /// The description by the peer, as the peer wrote it.
    #[must_use]
    pub fn by_peer(&self) -> String {
        let all = self.passed.all();
        let found = all.into_iter().find_map(|passed| match passed {
            Passed::FromPeer(sdp) => Some(sdp),
            Passed::FromBowline(_) | Passed::CandidateFromBowline(_) | Passed::Broken(_) => None,
        });
        found.expect("they are connected")
    }

    /// Lets the peer restart ICE with an offer.
    pub fn restart_by_peer(&self) {
        // The bridge ends when the endpoint does, and then nothing restarts.
        let _ = self.restarts.send(());
    }

    /// Closes both ends.
    pub async fn part(self) {
        // The peer may be gone.
        let _ = self.peer.close().await;
        self.endpoint.close().await;
    }
}

/// A task that ends with its handle.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// bowline's id. The lower one, so that bowline would begin ICE restarts.
pub const BOWLINE: &str = "alice";
/// The foreign peer's id.
pub const PEER: &str = "foreign";
/// The label of the channel that a peer opens before it offers.
pub const FIRST: &str = "first";
/// How long connecting may take, on loopback.
pub const CONNECT: Duration = Duration::from_secs(5);
