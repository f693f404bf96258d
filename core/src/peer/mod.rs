//! One remote peer: its life, its transport, its channels and its signalling.
//!
//! The parts below never call each other. Facts rise from them to [`Peer`], which decides, and hands commands down:
//! the transport in [`session`], the state in [`state`], the queues in [`crate::channel`], the messages in
//! [`crate::signal`]. [`Peer::drive`] runs all of them until nothing is left to do at the present time.

mod consent;
mod echoes;
mod explain;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod ladder;
mod naming;
pub(crate) mod paths;
mod pump;
mod repair;
pub(crate) mod session;
mod signalling;
pub(crate) mod state;
mod taped;
mod unheard;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::channel::kind::{ChannelConfig, Message};
use crate::channel::{Channels, MESH_CHANNEL};
use crate::config::{CandidateType, Config};
use crate::crypto::Crypto;
use crate::error::{NotIncoming, OpenError, SendError, SendRefusal, UnknownChannel};
use crate::event::{Cause, Event, Kept, Path, PeerState, SignalRefusal};
use crate::ice::gather::{LocalCandidate, PoolView};
use crate::ice::{CandidateFilter, Lookups};
use crate::id::{ChannelId, MessageId, PeerId, SessionId};
use crate::mesh::Mesh;
use crate::metrics::{Interval, PeerMetrics};
use crate::rng::Rng;
use crate::signal::{ByeReason, EarlyCandidates, EndedSessions, Envelope};
use crate::tape::Tape;

use consent::Consent;
use ladder::Ladder;
pub(crate) use paths::Took;
use paths::{PathQuality, Paths};
pub(crate) use session::Datagram;
use signalling::Signalling;
use state::{Fact, Life, Lifecycle, Transition};
use taped::TapedSession;
use unheard::Unheard;

/// One remote peer.
pub(crate) struct Peer {
    own: PeerId,
    id: PeerId,
    rng: Rng,
    lifecycle: Lifecycle,
    created: Instant,
    signalling: Signalling,
    /// When ICE is to restart although the connection is not lost.
    next_restart: Option<Instant>,
    /// Whether ICE is to restart once the descriptions are exchanged.
    restart_when_negotiated: bool,
    ladder: Ladder,
    /// What has survived since the connection was lost.
    kept: Kept,
    session: Option<TapedSession>,
    /// Where datagrams go.
    path: Option<Path>,
    consent: Consent,
    /// The path that was left for another one because it did not answer, until data takes the other one.
    left: Option<Path>,
    /// Those on which checks are answered.
    paths: Paths,
    unheard: Unheard,
    /// Whether DTLS is up and the peer's certificate is the announced one. Nothing is delivered before.
    secured: bool,
    /// Whether DTLS saw another certificate than the announced one.
    wrong_certificate: bool,
    channels: Channels,
    metrics: PeerMetrics,
    /// What the rates in the metrics are of.
    interval: Interval,
    connected_since: Option<Instant>,
    /// When the figures are told next: from the first on with what else is to be done, and at the second at the latest.
    next_metrics: Option<(Instant, Instant)>,
    checks: Checks,
    /// When the last datagram of the peer came.
    last_received: Option<Instant>,
    /// When the last secured datagram was sent or came.
    last_secured: Option<Instant>,
}

/// Connectivity checks counted, for the diagnosis.
#[derive(Debug, Clone, Copy, Default)]
struct Checks {
    sent: u64,
    answered: u64,
    received: u64,
}

/// What peers share of their endpoint, and where their output goes.
pub(crate) struct Context {
    pub(crate) config: Config,
    /// Whether peers are keys, which sign what they say.
    pub(crate) keyed: bool,
    pub(crate) crypto: Crypto,
    pub(crate) filter: CandidateFilter,
    /// Where secrets come from. Everything else is drawn from streams that a recording may show.
    pub(crate) secrets: Rng,
    pub(crate) tape: Tape,
    /// Candidates whose description has not come, of all peers.
    pub(crate) early: EarlyCandidates,
    /// Sessions that are over, with whom.
    pub(crate) ended: EndedSessions,
    /// Our candidates, in the order of preference.
    pub(crate) local: Vec<LocalCandidate>,
    /// Those of them, by their addresses, that are not for new sessions.
    pub(crate) retired: Vec<SocketAddr>,
    /// Whether these are all, as far as is known.
    pub(crate) gathered: bool,
    /// What the pool of candidates knows, for the diagnosis.
    pub(crate) pool: PoolView,
    /// Addresses of peers that relays have to reach from now on.
    pub(crate) reached: Vec<(PeerId, SocketAddr)>,
    /// Whether the signalling link carries nothing now.
    pub(crate) signalling_down: bool,
    /// The rooms, and what goes through them.
    pub(crate) mesh: Mesh,
    /// What neighbours have said on the channel of the mesh.
    pub(crate) from_mesh: VecDeque<(PeerId, Message)>,
    /// Whether a path has fallen silent, so that our addresses may be others by now.
    pub(crate) doubted: bool,
    /// Names that peers have given in place of addresses.
    pub(crate) lookups: Lookups,
    pub(crate) events: VecDeque<Event>,
    pub(crate) envelopes: VecDeque<Envelope>,
    /// Sessions that were given up for others: what still comes of them is stale.
    pub(crate) given_up: Vec<(SessionId, PeerId)>,
    /// Farewells, which outlive the peer that says them.
    pub(crate) byes: Vec<Envelope>,
}

impl Context {
    /// Whether nothing carries signals to a peer.
    pub(crate) fn is_out_of_reach(&self, peer: PeerId) -> bool {
        self.signalling_down && !self.mesh.reaches(peer)
    }

    /// Whether something can still be sent from an address.
    pub(crate) fn is_ours(&self, address: SocketAddr) -> bool {
        self.local.iter().any(|c| c.sends_from(address))
    }

    /// Whether an address of ours is on a TURN server.
    fn is_relayed(&self, address: SocketAddr) -> bool {
        let mut relayed = self
            .local
            .iter()
            .filter(|c| c.kind == CandidateType::Relayed);
        relayed.any(|c| c.sends_from(address))
    }
}

/// What became of a signalling message.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was used.
    Handled,
    /// It came before, and was acknowledged again.
    Duplicate,
    /// It builds on what has not come yet, and was not acknowledged.
    Deferred,
    /// It was refused.
    Refused(SignalRefusal),
    /// It is of a session that this peer does not have.
    NotOurs(Envelope),
    /// It starts a session that takes the place of this one.
    Replaced(Envelope),
}

impl Peer {
    /// A peer to which the application wants to connect.
    pub(crate) fn connect(
        own: PeerId,
        id: PeerId,
        mut rng: Rng,
        timeout: Duration,
        ctx: &mut Context,
        now: Instant,
    ) -> Self {
        let session = SessionId::random(&mut rng);
        let lifecycle = Lifecycle::connecting(timeout, now);
        let mut peer = Self::new(own, id, session, rng, lifecycle, ctx, now);
        ctx.events.push_back(Event::State {
            peer: id,
            from: PeerState::New,
            to: PeerState::Connecting,
            cause: Cause::ConnectRequested,
            at: now,
            deadline: peer.lifecycle.deadline(),
            explanation: None,
        });
        peer.start_offering(ctx, now);
        peer
    }

    /// A peer that made an offer, which waits for the application.
    pub(crate) fn offered(
        own: PeerId,
        offer: Envelope,
        rng: Rng,
        ctx: &mut Context,
        now: Instant,
    ) -> Self {
        let lifecycle = Lifecycle::offered(&ctx.config, now);
        let mut peer = Self::new(own, offer.from, offer.session, rng, lifecycle, ctx, now);
        peer.take_first_offer(offer, ctx, now);
        peer
    }

    fn new(
        own: PeerId,
        id: PeerId,
        session: SessionId,
        mut rng: Rng,
        lifecycle: Lifecycle,
        ctx: &Context,
        now: Instant,
    ) -> Self {
        let Config {
            timing, channels, ..
        } = &ctx.config;
        let mut signalling = Signalling::new(own, id, session, &mut rng, ctx);
        signalling.hold(ctx.is_out_of_reach(id), now);
        Self {
            own,
            id,
            lifecycle,
            created: now,
            signalling,
            next_restart: None,
            restart_when_negotiated: false,
            ladder: Ladder::new(ctx.is_out_of_reach(id)),
            kept: Kept::Transport,
            session: None,
            path: None,
            consent: Consent::new(&ctx.config.reconnect),
            left: None,
            paths: Paths::default(),
            unheard: Unheard::default(),
            secured: false,
            wrong_certificate: false,
            channels: Channels::new(own, channels, timing.channel_open_timeout),
            interval: Interval::new(&PeerMetrics::default(), now),
            metrics: PeerMetrics::default(),
            connected_since: None,
            next_metrics: None,
            checks: Checks::default(),
            last_received: None,
            last_secured: None,
            rng,
        }
    }

    /// Accepts the offer that waits.
    pub(crate) fn accept(&mut self, ctx: &mut Context, now: Instant) -> Result<(), NotIncoming> {
        if self.lifecycle.life() != Life::Offered {
            return Err(NotIncoming);
        }
        self.on_fact(Fact::Accepted, ctx, now);
        self.answer_waiting_offer(ctx, now);
        Ok(())
    }

    /// Refuses the offer that waits.
    pub(crate) fn refuse(&mut self, ctx: &mut Context, now: Instant) -> Result<(), NotIncoming> {
        if !self.refuse_waiting_offer() {
            return Err(NotIncoming);
        }
        self.on_fact(Fact::Refused, ctx, now);
        Ok(())
    }

    pub(crate) fn send(
        &mut self,
        channel: ChannelId,
        message: Message,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        let reason = if !self.takes_messages() {
            SendRefusal::Closing
        } else if channel == MESH_CHANNEL {
            SendRefusal::UnknownChannel
        } else {
            return self.channels.send(channel, message, now);
        };
        Err(SendError { reason, message })
    }

    /// Queues what the mesh has to say to a neighbour. Returns whether there was room.
    pub(crate) fn send_for_mesh(&mut self, message: Message, now: Instant) -> bool {
        self.takes_messages() && self.channels.send(MESH_CHANNEL, message, now).is_ok()
    }

    pub(crate) fn release(&mut self, channel: ChannelId, bytes: usize, now: Instant) {
        self.channels.release(channel, bytes, now);
    }

    /// Whether signals to the peer wait.
    pub(crate) fn is_held(&self) -> bool {
        self.signalling.is_held()
    }

    pub(crate) fn open_channel(
        &mut self,
        config: ChannelConfig,
        now: Instant,
    ) -> Result<ChannelId, OpenError> {
        if !self.takes_messages() {
            return Err(OpenError::Closing);
        }
        self.channels.open(config, now)
    }

    pub(crate) fn close_channel(
        &mut self,
        channel: ChannelId,
        now: Instant,
    ) -> Result<(), UnknownChannel> {
        self.channels.close(channel, now)
    }

    /// Closes the connection gracefully.
    pub(crate) fn close(&mut self, ctx: &mut Context, now: Instant) {
        self.on_fact(Fact::Close, ctx, now);
        if matches!(self.lifecycle.life(), Life::Draining { .. }) {
            self.channels.begin_drain();
        }
    }

    /// Does what is to be done now: takes what the transport says, moves messages both ways, sends what signalling
    /// owes, and looks at the deadlines.
    /// Returns whether something is left to do at once.
    pub(crate) fn drive(&mut self, ctx: &mut Context, now: Instant) -> bool {
        self.handle_deadlines(ctx, now);
        // Each round takes what the one before caused. Two or three are usual; the bound keeps one peer from taking
        // the turn of the others.
        let mut busy = true;
        for _ in 0..MAX_ROUNDS {
            busy = self.drive_session(ctx, now);
            busy |= self.drive_repair(ctx, now);
            busy |= self.drive_channels(ctx, now);
            busy |= self.drive_writes(ctx, now);
            if self.state().is_terminal() {
                return false;
            }
            if !busy {
                break;
            }
        }
        self.drive_outbox(ctx, now);
        #[cfg(debug_assertions)]
        self.channels.check_invariants();
        busy
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.state().is_terminal() {
            return None;
        }
        [
            self.lifecycle.deadline(),
            self.session
                .as_ref()
                .and_then(TapedSession::poll_timeout)
                .map(|at| self.transport_timeout(at)),
            self.channels.poll_timeout(),
            self.signalling.poll_timeout(),
            self.next_restart,
            self.ladder.poll_timeout(),
            self.consent.poll_timeout(),
            self.next_metrics
                .filter(|_| self.state() == PeerState::Connected)
                .map(|(_, last)| last),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn state(&self) -> PeerState {
        self.lifecycle.visible()
    }

    pub(crate) fn queued(&self, channel: ChannelId) -> usize {
        self.channels.queued(channel)
    }

    pub(crate) fn metrics(&self, now: Instant) -> PeerMetrics {
        let running = self
            .connected_since
            .map_or(Duration::ZERO, |since| now - since);
        let mut metrics = PeerMetrics {
            path: self.path,
            connected_time: self.metrics.connected_time + running,
            consent_age: self.consent.age(now),
            backlog: self.channels.backlog(),
            channels: self.channels.metrics(now),
            ..self.metrics.clone()
        };
        self.interval.rate(&mut metrics, now);
        metrics
    }

    /// The paths that work: the one in use, and then the standbys.
    pub(crate) fn paths(&self, ctx: &Context, now: Instant) -> Vec<PathQuality> {
        let is_relayed = |path: &Path| ctx.is_relayed(path.local);
        self.paths.working(self.path, is_relayed, now)
    }

    /// Takes a fact to the life cycle, tells the application, and does what the new state asks for.
    fn on_fact(&mut self, fact: Fact, ctx: &mut Context, now: Instant) {
        let was = self.lifecycle.life();
        let before = self
            .lifecycle
            .is_explained(fact)
            .then(|| Box::new(self.explain_end(fact, &ctx.pool, now)));
        let told = self.lifecycle.on_fact(fact, &ctx.config, now);
        let is = self.lifecycle.life();
        if was == is {
            return;
        }
        match is {
            Life::Connected => self.on_connected(ctx, now),
            Life::Disconnected => {
                self.metrics.losses += 1;
                self.stop_connected_clock(now);
            }
            Life::Leaving { .. } => self.leave(ctx, now),
            Life::Ended(_) => self.on_ended(fact, ctx, now),
            Life::Draining { .. } => self.ladder.stop(),
            Life::Offered | Life::Connecting(_) => {}
        }
        if let Some(Transition { from, to, cause }) = told {
            tracing::info!(peer = %self.id, %from, %to, %cause, "peer state");
            ctx.mesh.on_state(self.id, to, now);
            if to.is_terminal() {
                self.tell_metrics(ctx, now);
            }
            let (peer, deadline) = (self.id, self.lifecycle.deadline());
            let explanation = before;
            ctx.events.push_back(Event::State {
                peer,
                from,
                to,
                cause,
                at: now,
                deadline,
                explanation,
            });
        }
    }

    fn on_connected(&mut self, ctx: &mut Context, now: Instant) {
        self.metrics.connect_time.get_or_insert(now - self.created);
        self.connected_since = Some(now);
        self.interval = Interval::new(&self.metrics, now);
        self.forget_restart_requests();
        self.tell_restored(ctx, now);
        self.next_metrics = next_metrics(&ctx.config, now);
    }

    /// Everything that could be delivered is. Says farewell.
    fn leave(&mut self, ctx: &mut Context, now: Instant) {
        self.stop_connected_clock(now);
        self.next_restart = None;
        self.ladder.stop();
        self.abandon_messages(ctx, now);
        if let Some(session) = &mut self.session {
            session.close(now);
        }
        self.say_bye(ByeReason::Closed, ctx);
    }

    fn on_ended(&mut self, fact: Fact, ctx: &mut Context, now: Instant) {
        self.stop_connected_clock(now);
        self.ladder.stop();
        self.abandon_messages(ctx, now);
        let reason = match fact {
            // The peer ended it, knows of the end, or will take the farewell that is being repeated.
            Fact::Bye(_) | Fact::FarewellAnswered | Fact::Replaced => None,
            Fact::Deadline if self.signalling.said_bye() => None,
            Fact::Refused => Some(ByeReason::Refused),
            Fact::Close | Fact::Drained => Some(ByeReason::Closed),
            Fact::Deadline if self.state() == PeerState::Closed => Some(ByeReason::Refused),
            Fact::Deadline
            | Fact::NegotiationFailed(_)
            | Fact::TransportFailed(_)
            | Fact::Misbehaved(_) => Some(ByeReason::Failed),
            Fact::Accepted
            | Fact::Progress(_)
            | Fact::Established
            | Fact::PathUp
            | Fact::PathDown
            | Fact::TransportLost(_) => None,
        };
        if let Some(reason) = reason {
            self.say_bye(reason, ctx);
        }
        if let Some(session) = &mut self.session {
            session.close(now);
        }
    }

    fn handle_deadlines(&mut self, ctx: &mut Context, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.lifecycle.deadline()) {
            self.on_fact(Fact::Deadline, ctx, now);
        }
        let metrics_due = due(self.next_metrics.map(|(first, _)| first));
        if self.state() == PeerState::Connected && metrics_due {
            self.next_metrics = next_metrics(&ctx.config, now);
            self.tell_metrics(ctx, now);
        }
        if due(self.channels.poll_timeout()) {
            self.channels.handle_timeout(now);
        }
        if let Some(session) = &mut self.session
            && due(session.poll_timeout())
        {
            session.handle_timeout(now);
        }
        self.look_after_path(ctx, now);
    }

    fn tell_metrics(&mut self, ctx: &mut Context, now: Instant) {
        let metrics = Box::new(self.metrics(now));
        self.interval = Interval::new(&self.metrics, now);
        ctx.events.push_back(Event::Metrics {
            peer: self.id,
            metrics,
        });
    }

    fn stop_connected_clock(&mut self, now: Instant) {
        if let Some(since) = self.connected_since.take() {
            self.metrics.connected_time += now - since;
        }
    }

    /// Tells what was not delivered and never will be.
    fn abandon_messages(&mut self, ctx: &mut Context, now: Instant) {
        self.channels.abandon(now);
        self.drive_channels(ctx, now);
    }

    fn takes_messages(&self) -> bool {
        match self.lifecycle.life() {
            Life::Offered | Life::Connecting(_) | Life::Connected | Life::Disconnected => true,
            Life::Draining { .. } | Life::Leaving { .. } | Life::Ended(_) => false,
        }
    }
}

/// When figures are due that are told at `now`, and until when they may wait for another deadline.
fn next_metrics(config: &Config, now: Instant) -> Option<(Instant, Instant)> {
    let interval = config.metrics_interval?;
    let due = now + interval;
    Some((due, due + interval / METRICS_SLACK))
}

/// The part of their interval that figures may be late, so that an idle peer is not woken for them alone.
const METRICS_SLACK: u32 = 4;
/// Rounds of [`Peer::drive`] in one call.
const MAX_ROUNDS: usize = 16;
