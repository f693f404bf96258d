//! The endpoint: the root of the async API.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::nat::NatReport;
use bowline::{
    Broadcast, Cause, ChannelId, Config, ConnectOptions, DiscoverNatError, EndpointError,
    EndpointStats, Event, Explanation, IceServer, IceServerError, Identity, Message, NotInvolved,
    PeerId, PeerState, Rollover, Seed, SessionMemory,
};
use thiserror::Error;
use tokio::sync::{broadcast, watch};

use crate::clock::WallClock;
use crate::connection::{Connection, Handle};
use crate::driver::Driver;
use crate::needs::{Tls, Untrusted};
#[cfg(feature = "openmetrics")]
use crate::openmetrics::Snapshot;
use crate::session::{Session, until};
use crate::shared::{Life, Shared, State};
use crate::signalling::{LinkStatus, Signalling};
use crate::socket::{BindPlan, Sockets};

/// Many peers over shared UDP sockets. Clones are handles to the same endpoint.
///
/// When the last handle is dropped no new connections are made, and those that are held live on. When they are gone
/// too, everybody is told goodbye in the background and the sockets are closed.
#[derive(Debug, Clone)]
pub struct Endpoint {
    root: Arc<Root>,
}

impl Endpoint {
    /// Configures an endpoint that speaks as `identity`.
    pub fn builder(identity: Identity) -> EndpointBuilder {
        EndpointBuilder {
            identity,
            config: Config::default(),
            addresses: Vec::new(),
            signalling: None,
            incoming: IncomingPolicy::default(),
            roots: Vec::new(),
            memory: SessionMemory::default(),
            recording: None,
        }
    }

    /// Binds an endpoint that speaks as `identity`, with default settings, on all interfaces.
    ///
    /// # Errors
    ///
    /// As [`EndpointBuilder::bind`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(identity: Identity, signalling: Signalling) -> Result<Self, BindError> {
        Self::builder(identity).signalling(signalling).bind()
    }

    /// Connects to `peer`, and waits until the connection is up.
    ///
    /// When there is a connection to this peer already, or one is being made, this gives another handle to it. When the
    /// peer has made an offer that waits, this accepts it. So both sides may call `connect` at the same time.
    ///
    /// When this is dropped before it completes, the attempt ends.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], with an explanation of what was tried and seen.
    pub async fn connect(&self, peer: PeerId) -> Result<Connection, ConnectError> {
        let connection = self.begin(peer)?;
        established(connection).await
    }

    /// Begins to connect to `peer` without waiting. Messages may be sent at once, and wait for the connection.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the attempt is refused at once.
    pub fn begin(&self, peer: PeerId) -> Result<Connection, ConnectError> {
        let shared = &self.root.shared;
        let mut state = shared.lock();
        if state.life != Life::Open {
            return Err(ConnectError::EndpointClosed);
        }
        // One that waits, or that a room has made.
        let exists = state.core.peer(peer);
        let exists = exists.is_ok_and(|peer| !peer.state().is_terminal());
        let begun = state
            .core
            .connect(peer, ConnectOptions::default(), Instant::now());
        let session = match (begun, state.current(peer).cloned()) {
            (Ok(()), Some(session)) if exists => session,
            (Ok(()), _) => state.begin(peer),
            (Err(bowline::ConnectError::AlreadyExists), Some(session))
                if !session.is_abandoned() =>
            {
                session
            }
            (Err(refusal), _) => return Err(ConnectError::NotBegun(refusal)),
        };
        let connection = hold(shared, &mut state, session);
        drop(state);
        shared.wake_driver();
        connection.ok_or(ConnectError::NotBegun(bowline::ConnectError::AlreadyExists))
    }

    /// Takes the next connection that a peer began. `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Incoming> {
        until(&self.root.shared.knocked, || self.next_incoming()).await
    }

    /// Queues `message` for every connected peer, without waiting.
    pub fn broadcast(
        &self,
        channel: impl Into<ChannelId>,
        message: impl Into<Message>,
    ) -> Broadcast {
        let shared = &self.root.shared;
        let result = shared
            .lock()
            .core
            .broadcast(channel, message.into(), Instant::now());
        shared.wake_driver();
        result
    }

    /// Replaces the STUN and TURN servers. Connections stay as they are; what comes later uses the new ones. What is wrong with
    /// one of them shows as [`Event::IceServerFailed`].
    ///
    /// # Errors
    ///
    /// [`IceServerError::TooMany`], and [`IceServerError::Credentials`] for a TURN server without credentials; nothing has
    /// changed then.
    pub fn set_ice_servers(&self, servers: Vec<IceServer>) -> Result<(), IceServerError> {
        let shared = &self.root.shared;
        let set = shared.lock().core.set_ice_servers(servers, Instant::now());
        shared.wake_driver();
        set
    }

    /// Finds out how the NATs and firewalls between this host and the world behave (RFC 5780), with the ICE servers that speak
    /// UDP. It takes some seconds at most. When this is dropped the discovery goes on, and [`Event::NatDiscovered`] tells.
    ///
    /// # Errors
    ///
    /// [`DiscoverError`].
    pub async fn discover_nat(&self) -> Result<NatReport, DiscoverError> {
        let mut events = self.events();
        let begun = Instant::now();
        let result = self.root.shared.lock().core.discover_nat(begun);
        self.root.shared.wake_driver();
        result.map_err(DiscoverError::NotBegun)?;
        loop {
            match events.next().await {
                Some(Ok(Event::NatDiscovered { report })) => return Ok(*report),
                Some(Ok(_)) => {}
                // The report may have been among those that were missed.
                Some(Err(Lagged(_))) => {
                    let report = self.root.shared.lock().core.nat_report().cloned();
                    let is_new = |report: &NatReport| report.age(Instant::now()) <= begun.elapsed();
                    if let Some(report) = report.filter(is_new) {
                        return Ok(report);
                    }
                }
                None => return Err(DiscoverError::EndpointClosed),
            }
        }
    }

    /// What the last discovery of NATs found out.
    #[must_use]
    pub fn nat_report(&self) -> Option<NatReport> {
        self.root.shared.lock().core.nat_report().cloned()
    }

    /// Observes everything that the core tells, from now on, except the messages.
    #[must_use]
    pub fn events(&self) -> Events {
        let state = self.root.shared.lock();
        let subscribed = state.events.as_ref().map(broadcast::Sender::subscribe);
        // Of an endpoint that has ended there is nothing to tell.
        Events {
            receiver: subscribed.unwrap_or_else(|| broadcast::channel(1).1),
        }
    }

    /// The id that this endpoint speaks as.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.root.shared.id
    }

    /// The addresses at which it can be reached, as they are announced to peers.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.root.shared.lock().locals.clone()
    }

    /// The peers that exist, in the order of their ids.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        self.root.shared.lock().core.peers().collect()
    }

    /// The sessions that this endpoint has or had, for [`EndpointBuilder::remember`] in the next process: save it at the end, and
    /// now and then where that may not be reached.
    #[must_use]
    pub fn session_memory(&self) -> SessionMemory {
        self.root.shared.lock().core.session_memory()
    }

    /// Says from now on that the key of this endpoint takes the place of another one, or has given its place to another one, as
    /// [`bowline::Endpoint::announce_rollover`] has it. The endpoint of an old key refuses everybody from now on, and names the new
    /// key; close it when the grace period is over. Others learn of it by [`Event::KeyRollover`].
    ///
    /// # Errors
    ///
    /// [`NotInvolved`] when the key of this endpoint is neither; nothing has changed then.
    pub fn announce_rollover(&self, rollover: Rollover) -> Result<(), NotInvolved> {
        let shared = &self.root.shared;
        let announced = shared
            .lock()
            .core
            .announce_rollover(rollover, Instant::now());
        shared.wake_driver();
        announced
    }

    /// The counters of this endpoint.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        self.root.shared.lock().core.stats()
    }

    /// The figures of this endpoint and all its peers now, as text for Prometheus; see [`openmetrics`](crate::openmetrics).
    #[cfg(feature = "openmetrics")]
    #[must_use]
    pub fn openmetrics(&self) -> String {
        let (mut state, now) = (self.root.shared.lock(), Instant::now());
        let ids: Vec<_> = state.core.peers().collect();
        let of = |id| Some((id, state.core.peer(id).ok()?.metrics(now)));
        let peers = ids.into_iter().filter_map(of).collect();
        let stats = state.core.stats();
        drop(state);
        Snapshot { stats, peers }.encode()
    }

    /// How the signalling link is doing. `None` when there is none.
    #[must_use]
    pub fn signalling_status(&self) -> Option<watch::Receiver<LinkStatus>> {
        self.root.link.clone()
    }

    /// Closes the sockets and keeps everything else, as when the machine sleeps or leaves its network. Peers become
    /// disconnected, here at once and at the other side when it misses us.
    pub fn suspend(&self) {
        let sockets = Sockets::none(self.root.plan.clone());
        self.root.shared.lock().replace_sockets(sockets);
        self.root.shared.wake_driver();
    }

    /// Binds new sockets in place of those there are, and lets every connection move to them.
    ///
    /// # Errors
    ///
    /// What the operating system says of the first address that cannot be bound; the old sockets are kept then. A fixed
    /// port is in use until the driver has closed the old socket, a moment after [`Endpoint::suspend`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn rebind(&self) -> io::Result<()> {
        let sockets = Sockets::bind(self.root.plan.clone())?;
        self.root.shared.lock().replace_sockets(sockets);
        self.root.shared.wake_driver();
        Ok(())
    }

    /// Closes every connection gracefully, then the sockets and the link. Waits until that is done: at most
    /// [`close_drain`](bowline::config::Timing::close_drain) and
    /// [`close_linger`](bowline::config::Timing::close_linger) and a second. When this is dropped the closing goes on.
    pub async fn close(&self) {
        let shared = &self.root.shared;
        shared.lock().close(Instant::now());
        shared.wake_driver();
        shared.knocked.notify_waiters();
        let mut ended = shared.ended.subscribe();
        // The sender lives in what this handle holds.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Ends at once and tells nobody, as if the process had been killed.
    pub fn abort(&self) {
        self.root.shared.lock().life = Life::Ended;
        self.root.shared.wake_driver();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.root.shared
    }

    /// The connection that waits longest, `Some(None)` when none will come any more, `None` when one may.
    fn next_incoming(&self) -> Option<Option<Incoming>> {
        let shared = &self.root.shared;
        let mut state = shared.lock();
        while let Some(session) = state.incoming.pop_front() {
            if let Some(connection) = hold(shared, &mut state, session) {
                return Some(Some(Incoming { connection }));
            }
        }
        (state.life != Life::Open).then_some(None)
    }
}

/// Settings of an [`Endpoint`].
#[must_use]
pub struct EndpointBuilder {
    identity: Identity,
    config: Config,
    addresses: Vec<SocketAddr>,
    signalling: Option<Signalling>,
    incoming: IncomingPolicy,
    roots: Vec<Vec<u8>>,
    memory: SessionMemory,
    recording: Option<(Box<dyn io::Write + Send>, bool)>,
}

impl std::fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl EndpointBuilder {
    /// Sets the configuration of the core. Default: [`Config::default`], which uses no loopback addresses.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Binds this address, in place of a free port on all interfaces of both families. May be called again for further
    /// addresses. The unspecified address stands for every interface of its family.
    pub fn bind_address(mut self, address: SocketAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Sets the signalling link. Without one no peer can be found.
    pub fn signalling(mut self, signalling: Signalling) -> Self {
        self.signalling = Some(signalling);
        self
    }

    /// Sets what to do with peers that want to connect. Default: [`IncomingPolicy::Ask`].
    pub fn incoming(mut self, policy: IncomingPolicy) -> Self {
        self.incoming = policy;
        self
    }

    /// Trusts the servers that this certificate (DER) stands for, or has signed, besides those that the machine trusts. It
    /// is for `turns:` and `stuns:` servers only. May be called again for further certificates.
    pub fn root_certificate(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.roots.push(certificate.into());
        self
    }

    /// Takes the sessions of an earlier process with the same identity for over: what [`Endpoint::session_memory`] gave there.
    /// So a first offer that comes late, or again, is not taken for a new one. Default: none.
    pub fn remember(mut self, memory: SessionMemory) -> Self {
        self.memory = memory;
        self
    }

    /// Records the run to `writer`, for `bowline replay`. Default: nothing is recorded.
    ///
    /// `payloads` says whether the contents of messages are kept; see [`bowline::Endpoint::record`]. The writer is
    /// called while the endpoint is locked: let it be buffered.
    pub fn record(mut self, writer: impl io::Write + Send + 'static, payloads: bool) -> Self {
        self.recording = Some((Box::new(writer), payloads));
        self
    }

    /// Binds the sockets and starts the task that drives them.
    ///
    /// # Errors
    ///
    /// [`BindError`] when an address cannot be bound, the operating system has no randomness, a root certificate cannot be
    /// read, or the core refuses.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(self) -> Result<Endpoint, BindError> {
        let plan = BindPlan {
            addresses: self.addresses,
            loopback: self.config.transport().loopback,
            ipv4: self.config.transport().ipv4,
            ipv6: self.config.transport().ipv6,
        };
        let tls = Tls::new(self.roots).map_err(|Untrusted| BindError::Certificate)?;
        let sockets = Sockets::bind(plan.clone()).map_err(BindError::Socket)?;
        let farewell =
            self.config.timing().close_drain + self.config.timing().close_linger + FAREWELL_MARGIN;
        let mut core = bowline::Endpoint::new(
            self.config,
            self.identity,
            seed()?,
            Instant::now(),
            WallClock::shows(),
        )?;
        if let Some((writer, payloads)) = self.recording {
            core.record(writer, payloads)
                .expect("nothing has happened to an endpoint just made");
        }
        core.remember_sessions(&self.memory, Instant::now());
        let shared = Arc::new(Shared::new(core, self.incoming, farewell));
        let link = self.signalling.as_ref().map(Signalling::status);
        tokio::spawn(Driver::new(Arc::clone(&shared), sockets, tls, self.signalling).run());
        Ok(Endpoint {
            root: Arc::new(Root { shared, plan, link }),
        })
    }
}

/// What to do with peers that want to connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum IncomingPolicy {
    /// Each waits for [`Incoming::accept`] or [`Incoming::refuse`], and is refused after
    /// [`accept_timeout`](bowline::config::Timing::accept_timeout).
    #[default]
    Ask,
    /// Each is accepted at once, which saves the wait; [`Endpoint::accept`] still hands it out.
    Accept,
}

/// A connection that a peer began. Dropping it refuses it, or closes it when it was accepted at once.
#[derive(Debug)]
#[must_use]
pub struct Incoming {
    connection: Connection,
}

impl Incoming {
    /// The peer that it claims to be from.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.connection.peer()
    }

    /// Accepts it, and waits until it is up. When this is dropped before it completes, the connection is closed.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], with an explanation of what was tried and seen.
    pub async fn accept(self) -> Result<Connection, ConnectError> {
        let shared = &self.connection.handle.shared;
        // It fails when it was accepted already, or is over; the state tells.
        let _ = shared.lock().core.accept(self.peer(), Instant::now());
        shared.wake_driver();
        established(self.connection).await
    }

    /// Refuses it.
    pub fn refuse(self) {
        drop(self);
    }
}

/// Observes an endpoint. See [`Endpoint::events`].
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event. `None` once the endpoint has ended. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when more than 1,024 events came since the last call: the oldest were dropped, and the next call gives
    /// the oldest that is left.
    pub async fn next(&mut self) -> Option<Result<Event, Lagged>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(Lagged(missed))),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// An observer that was too slow missed this many events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} events were missed")]
pub struct Lagged(pub u64);

/// An endpoint that could not be bound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// An address could not be bound.
    #[error("an address could not be bound")]
    Socket(#[source] io::Error),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
    /// A root certificate could not be read.
    #[error("a root certificate could not be read")]
    Certificate,
    /// The core could not be made.
    #[error(transparent)]
    Core(#[from] EndpointError),
}

/// A connection that did not come up.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It was not begun.
    #[error(transparent)]
    NotBegun(bowline::ConnectError),
    /// The endpoint is closed.
    #[error("the endpoint is closed")]
    EndpointClosed,
    /// It ended before it was up.
    #[error("{state}: {cause}")]
    Ended {
        /// [`PeerState::Failed`] or [`PeerState::Closed`].
        state: PeerState,
        /// Why.
        cause: Cause,
        /// What was tried and seen, where the core could tell.
        explanation: Option<Explanation>,
    },
}

/// A NAT discovery without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// It was not begun.
    #[error(transparent)]
    NotBegun(DiscoverNatError),
    /// The endpoint is closed.
    #[error("the endpoint is closed")]
    EndpointClosed,
}

/// What every handle to an endpoint holds; when it is dropped nobody holds the endpoint.
#[derive(Debug)]
struct Root {
    shared: Arc<Shared>,
    plan: BindPlan,
    link: Option<watch::Receiver<LinkStatus>>,
}

impl Drop for Root {
    fn drop(&mut self) {
        self.shared.lock().orphan(Instant::now());
        self.shared.wake_driver();
    }
}

/// Makes a handle to a session: the one that exists, or the first. None when its last handle is being dropped.
fn hold(shared: &Arc<Shared>, state: &mut State, session: Arc<Session>) -> Option<Connection> {
    state
        .incoming
        .retain(|waiting| !Arc::ptr_eq(waiting, &session));
    let mut record = session.record();
    if let Some(handle) = &record.handle {
        return handle.upgrade().map(|handle| Connection { handle });
    }
    let handle = Arc::new(Handle {
        shared: Arc::clone(shared),
        session: Arc::clone(&session),
    });
    record.handle = Some(Arc::downgrade(&handle));
    Some(Connection { handle })
}

/// Waits until a connection is up for the first time.
async fn established(connection: Connection) -> Result<Connection, ConnectError> {
    let status = connection.settled(|status| status.established).await;
    if status.established && !status.state.is_terminal() {
        return Ok(connection);
    }
    let cause = status.cause.unwrap_or(Cause::LocalClose);
    Err(ConnectError::Ended {
        state: status.state,
        cause,
        explanation: connection.explain(),
    })
}

fn seed() -> Result<Seed, BindError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| BindError::Randomness)?;
    Ok(Seed::from(bytes))
}

/// Beyond the core's own deadlines for a farewell.
const FAREWELL_MARGIN: Duration = Duration::from_secs(1);
