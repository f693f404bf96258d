//! Between the transport and the channels of a peer: what rises from one goes down to the other.

use std::net::SocketAddr;
use std::time::Instant;

use super::consent::Consent;
use super::echoes::is_secured;
use super::paths::Paths;
use super::session::{Datagram, SessionEvent, Written};
use super::state::{Fact, Life};
use super::taped::TapedSession;
use super::unheard::Unheard;
use super::{Context, Peer};
use crate::channel::{ChannelOutput, Continuity, Framing, MESH_CHANNEL, Role, StreamConfig};
use crate::event::{Cause, Event, Kept, Phase, Side, TransportFault};
use crate::ice::gather::LocalCandidate;
use crate::id::PeerId;

impl Peer {
    pub(crate) fn on_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) {
        self.metrics.datagrams_received += 1;
        self.metrics.bytes_received += contents.len() as u64;
        self.last_received = Some(now);
        if is_secured(contents) {
            self.last_secured = Some(now);
            self.unheard.on_heard();
        }
        if let Some(session) = &mut self.session {
            session.handle_datagram(local, remote, contents, now);
        }
    }

    /// Whether `is_right` says so of the password that belongs to a user name fragment of ours.
    pub(crate) fn has_password(
        &mut self,
        ufrag: &str,
        is_right: impl FnOnce(&str) -> bool,
    ) -> bool {
        self.session
            .as_mut()
            .is_some_and(|session| session.has_password(ufrag, is_right))
    }

    /// A check of the peer came.
    pub(crate) fn on_check_received(&mut self) {
        self.checks.received += 1;
    }

    /// The next datagram to send: of the transport, or one of its that is repeated.
    pub(crate) fn poll_datagram(&mut self, now: Instant) -> Option<Datagram> {
        let made = self.session.as_mut()?.poll_transmit();
        made.or_else(|| self.unheard.poll())
            .or_else(|| self.consent.poll_repeat(now))
    }

    /// A datagram of `len` bytes has left.
    pub(crate) fn on_sent(&mut self, len: usize) {
        self.metrics.datagrams_sent += 1;
        self.metrics.bytes_sent += len as u64;
    }

    /// There is another candidate of ours.
    pub(crate) fn on_local_candidate(
        &mut self,
        candidate: LocalCandidate,
        ctx: &mut Context,
        now: Instant,
    ) {
        // Closed by a command and not driven since: its end is told, and nothing is told after it.
        if self.state().is_terminal() {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        if let Some(line) = session.add_local_candidate(candidate, now) {
            ctx.events.push_back(Event::CandidateAdded {
                peer: self.id,
                side: Side::Local,
                address: candidate.address,
            });
            if !self.send_candidate(line, ctx, now) {
                self.want_generation_for(candidate, ctx, now);
            }
        }
    }

    /// A candidate of ours cannot be used any more.
    pub(crate) fn on_local_candidate_gone(
        &mut self,
        candidate: LocalCandidate,
        ctx: &Context,
        now: Instant,
    ) {
        // A socket has several candidates: as long as one is left it can be sent from.
        let left = || ctx.local.iter().filter(|c| **c != candidate);
        self.paths
            .retain(|path| left().any(|c| c.sends_from(path.local)));
        if let Some(session) = &mut self.session {
            session.remove_local_candidate(candidate, now);
        }
    }

    /// Makes a new transport with our candidates.
    pub(super) fn begin_session(&mut self, ctx: &mut Context, now: Instant) {
        let (tape, secrets) = (ctx.tape.clone(), ctx.secrets.split());
        let mut session = TapedSession::new(tape, &ctx.crypto, &ctx.config, secrets, now);
        for candidate in &ctx.local {
            if ctx.retired.contains(&candidate.address) {
                continue;
            }
            if session.add_local_candidate(*candidate, now).is_some() {
                let (peer, side) = (self.id, Side::Local);
                ctx.events.push_back(Event::CandidateAdded {
                    peer,
                    side,
                    address: candidate.address,
                });
            }
        }
        self.session = Some(session);
        self.secured = false;
        self.wrong_certificate = false;
        self.path = None;
        self.left = None;
        let was = self.consent.condition();
        self.consent = Consent::new(&ctx.config.reconnect);
        self.tell_health(was, ctx);
        self.paths = Paths::default();
        self.unheard = Unheard::default();
        self.metrics.rtt = None;
    }

    /// The descriptions of a transport are exchanged: tells the channels how to speak, or that they go on there.
    pub(super) fn start_channels(
        &mut self,
        framing: Framing,
        limit: usize,
        continuity: Option<Continuity>,
        ctx: &mut Context,
        now: Instant,
    ) {
        if let Some(session) = &mut self.session {
            session.set_peer(self.id, framing == Framing::Bowline);
        }
        let role = if self.own < self.id {
            Role::Even
        } else {
            Role::Odd
        };
        if let Some(continuity) = continuity {
            self.metrics.rebuilds += 1;
            self.kept = match continuity {
                Continuity::Kept => Kept::Channels,
                Continuity::Lost => Kept::Queues,
            };
            self.channels.on_transport_replaced(continuity, now);
            if continuity == Continuity::Lost {
                // It says anew which rooms it is in, and so do we.
                ctx.mesh.on_link_down(self.id, now);
                if framing == Framing::Bowline {
                    ctx.mesh.on_link_up(self.id);
                }
            }
        }
        self.channels.start(framing, role, limit, now);
    }

    /// Takes what the transport says. Returns whether there was anything.
    pub(super) fn drive_session(&mut self, ctx: &mut Context, now: Instant) -> bool {
        let mut busy = false;
        if let Some(session) = &mut self.session {
            session.catch_up(now);
            if let Some(room) = self.channels.room() {
                session.limit_window(room, now);
            }
        }
        while let Some(event) = self.session.as_mut().and_then(TapedSession::poll_event) {
            busy = true;
            self.on_session_event(event, ctx, now);
        }
        self.report_backlog(now);
        busy
    }

    fn on_session_event(&mut self, event: SessionEvent, ctx: &mut Context, now: Instant) {
        match event {
            SessionEvent::PathUp => {
                self.on_fact(Fact::Progress(Phase::Handshake), ctx, now);
                self.on_path_up(ctx, now);
            }
            // After a restart the agent gives up as soon as it has no pair to check, and others may follow.
            SessionEvent::PathDown if self.consent.is_searching() => {}
            SessionEvent::PathDown => self.on_path_down(ctx, now),
            SessionEvent::Secured => {
                self.secured = true;
                self.on_progress(ctx, now);
            }
            SessionEvent::StreamOpen(stream) => {
                self.channels.on_stream_open(stream, now);
                self.on_progress(ctx, now);
            }
            SessionEvent::StreamClosed(stream) => self.channels.on_stream_closed(stream, now),
            SessionEvent::RemoteStream { handle, config } => {
                let StreamConfig {
                    label,
                    protocol,
                    ordering,
                    reliability,
                    ..
                } = config;
                let key =
                    self.channels
                        .on_remote_stream(label, protocol, ordering, reliability, now);
                if let Some(session) = &mut self.session {
                    match key {
                        Some(key) => session.adopt_stream(handle, key),
                        None => session.reject_stream(handle, now),
                    }
                }
            }
            SessionEvent::Data {
                stream,
                binary,
                data,
            } => {
                self.channels.on_data(stream, binary, data, now);
            }
            SessionEvent::Retransmitted(again) => {
                self.metrics.chunks_retransmitted += again.chunks;
                self.metrics.bytes_retransmitted += again.bytes;
            }
            SessionEvent::Closed => match self.lifecycle.life() {
                Life::Leaving { .. } => self.on_fact(Fact::FarewellAnswered, ctx, now),
                // A farewell before the handshake is done comes from an attempt that the peer gave up.
                Life::Connecting(_) => {
                    self.on_fact(Fact::TransportFailed(TransportFault::Sctp), ctx, now);
                }
                Life::Offered
                | Life::Connected
                | Life::Disconnected
                | Life::Draining { .. }
                | Life::Ended(_) => self.on_fact(Fact::Bye(Cause::RemoteClose), ctx, now),
            },
            SessionEvent::WrongCertificate => self.wrong_certificate = true,
            SessionEvent::Failed(fault) => self.on_transport_failed(fault, ctx, now),
            SessionEvent::Misbehaved(fault) => self.on_fact(Fact::Misbehaved(fault), ctx, now),
        }
    }

    /// Connected means: the path works, the certificate is right, and the channels are open.
    fn on_progress(&mut self, ctx: &mut Context, now: Instant) {
        // A path that is lost comes back by its checks, and not by what is still up above it.
        let is_awaited =
            self.lifecycle.life() != Life::Disconnected || self.kept != Kept::Transport;
        if is_awaited && self.secured && self.channels.is_ready() {
            self.on_fact(Fact::Established, ctx, now);
        }
    }

    /// Takes what the channels say. Returns whether there was anything.
    pub(super) fn drive_channels(&mut self, ctx: &mut Context, now: Instant) -> bool {
        let mut busy = false;
        while let Some(output) = self.channels.poll_output() {
            busy = true;
            self.on_channel_output(output, ctx, now);
        }
        // Channels that go on where they were say nothing of it.
        if self.lifecycle.life() == Life::Disconnected {
            self.on_progress(ctx, now);
        }
        busy
    }

    fn on_channel_output(&mut self, output: ChannelOutput, ctx: &mut Context, now: Instant) {
        let peer = self.id;
        if output.channel() == Some(MESH_CHANNEL) {
            return on_mesh_output(peer, output, ctx, now);
        }
        let event = match output {
            ChannelOutput::OpenStream { stream, config } => {
                let opened = self
                    .session
                    .as_mut()
                    .is_some_and(|s| s.open_stream(stream, &config, now));
                if !opened {
                    self.channels.on_stream_closed(stream, now);
                }
                return;
            }
            ChannelOutput::CloseStream { stream } => {
                if let Some(session) = &mut self.session {
                    session.close_stream(stream, now);
                }
                return;
            }
            ChannelOutput::Fault(fault) => {
                self.on_fact(Fact::Misbehaved(fault), ctx, now);
                return;
            }
            ChannelOutput::Broken => {
                self.on_transport_failed(TransportFault::Sctp, ctx, now);
                return;
            }
            ChannelOutput::Open {
                channel,
                label,
                protocol,
                ordering,
                reliability,
                remote,
            } => Event::ChannelOpen {
                peer,
                channel,
                label,
                protocol,
                ordering,
                reliability,
                remote,
            },
            ChannelOutput::Closed { channel } => Event::ChannelClosed { peer, channel },
            ChannelOutput::Error { channel, error } => Event::ChannelError {
                peer,
                channel,
                error,
            },
            ChannelOutput::Writable { channel } => Event::Writable { peer, channel },
            ChannelOutput::Message { channel, message } => Event::Message {
                peer,
                channel,
                message,
            },
            ChannelOutput::Sent { channel, through } => Event::Sent {
                peer,
                channel,
                through,
            },
            ChannelOutput::Delivered { channel, through } => Event::Delivered {
                peer,
                channel,
                through,
            },
            ChannelOutput::NotDelivered {
                channel,
                first,
                last,
                maybe,
            } => Event::NotDelivered {
                peer,
                channel,
                first,
                last,
                maybe,
            },
        };
        ctx.events.push_back(event);
    }

    /// Hands queued messages to the transport, as many as the schedule allows. Returns whether there was any.
    pub(super) fn drive_writes(&mut self, ctx: &mut Context, now: Instant) -> bool {
        let Some(session) = self
            .session
            .as_mut()
            .filter(|s| self.secured && s.is_alive())
        else {
            return false;
        };
        let mut wrote = false;
        while let Some(write) = self.channels.poll_write(now) {
            match session.write(write.stream, write.binary, write.data) {
                Written::Yes => {
                    wrote = true;
                    self.channels.on_written(now);
                }
                Written::NotNow => {
                    self.channels.on_write_refused(now);
                    break;
                }
            }
        }
        if wrote {
            session.settle(now);
            self.report_backlog(now);
        }
        if matches!(self.lifecycle.life(), Life::Draining { .. }) && self.channels.is_drained() {
            self.on_fact(Fact::Drained, ctx, now);
        }
        wrote
    }

    /// Tells the channels how much of what they wrote the peer's SCTP has not acknowledged.
    fn report_backlog(&mut self, now: Instant) {
        let Some(session) = &mut self.session else {
            return;
        };
        let streams: Vec<_> = self.channels.backlogged().collect();
        for stream in streams {
            self.channels
                .on_backlog(stream, session.buffered(stream), now);
        }
    }
}

/// What the channel of the mesh says is for the mesh.
fn on_mesh_output(peer: PeerId, output: ChannelOutput, ctx: &mut Context, now: Instant) {
    match output {
        ChannelOutput::Open { .. } => ctx.mesh.on_link_up(peer),
        ChannelOutput::Closed { .. } => ctx.mesh.on_link_down(peer, now),
        ChannelOutput::Message { message, .. } => ctx.from_mesh.push_back((peer, message)),
        // It looks after what is lost by itself.
        _ => {}
    }
}
