//! The calls of the applications, and the faults.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bowline::{
    ChannelConfig, ChannelId, ConnectOptions, Endpoint, IceServer, Input, Message, MessageId,
    OpenError, Peer, PeerState, Room, RoomId, SendRefusal,
};

use crate::action::{Action, Incoming, Pace, Reader};
use crate::findings::Invariant;
use crate::marks::Mark;
use crate::net::{HostId, LinkConfig};
use crate::time::Time;

use super::World;
use super::marks::Repair;
use super::workload::Bulk;

/// A call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The host has crashed.
    #[error("the host has crashed")]
    Down,
    /// The endpoint has no such peer.
    #[error("there is no such peer")]
    UnknownPeer,
    /// The endpoint refused to connect.
    #[error(transparent)]
    Connect(#[from] bowline::ConnectError),
    /// No offer of the peer waits.
    #[error(transparent)]
    NotIncoming(#[from] bowline::NotIncoming),
    /// The message was not accepted.
    #[error(transparent)]
    Send(#[from] SendRefusal),
    /// The channel was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The servers cannot be used.
    #[error(transparent)]
    IceServer(#[from] bowline::IceServerError),
    /// The endpoint refused to enter a room.
    #[error(transparent)]
    Join(#[from] bowline::JoinError),
    /// The endpoint is in no such room.
    #[error(transparent)]
    Room(#[from] bowline::UnknownRoom),
    /// No discovery was begun.
    #[error(transparent)]
    DiscoverNat(#[from] bowline::DiscoverNatError),
}

impl World {
    /// Does something now. What is refused is only counted: actions come in every state.
    pub fn apply(&mut self, action: Action) {
        let now = self.clock.now();
        self.trace
            .on_action(now, action.host(), || action.to_string());
        let until = |ms: u64| now.after(Duration::from_millis(ms));
        match action {
            Action::Connect { from, to } => drop(self.connect(from, to)),
            Action::Accept { host, peer } => drop(self.accept(host, peer)),
            Action::Refuse { host, peer } => drop(self.refuse(host, peer)),
            Action::Send {
                from,
                to,
                channel,
                size,
                count,
                text,
            } => {
                let bulk = Bulk {
                    channel: channel.id(),
                    size,
                    text,
                    left: count,
                };
                self.nodes[from].bulk.entry(to).or_default().push_back(bulk);
                self.send_bulk(from, to);
            }
            Action::Close { from, to } => drop(self.close(from, to)),
            Action::CloseAll { host } => self.close_all(host),
            Action::Restart { from, to } => drop(self.restart_ice(from, to)),
            Action::Rebuild { from, to } => drop(self.rebuild(from, to)),
            Action::Crash { host } => self.crash(host),
            Action::Suspend { host, for_ms } => {
                self.suspend(host, Duration::from_millis(for_ms));
            }
            Action::SetPace { host, pace } => self.set_pace(host, pace),
            Action::Start { host } => self.restart(host),
            Action::Unbind { host, address } => self.unbind(host, address),
            Action::Bind { host, address } => self.bind(host, address),
            Action::SetReader { host, reader } => self.set_reader(host, reader),
            Action::Partition { from, to, for_ms } => {
                self.network.partition(from, to, until(for_ms))
            }
            Action::Clog { from, to, for_ms } => self.network.clog(from, to, until(for_ms)),
            Action::PartitionBus { from, to, for_ms } => {
                self.bus.partition(from, to, until(for_ms))
            }
            Action::SetSignalling { host, up } => self.set_signalling(host, up),
            Action::SetLink { from, to, link } => self.network.set_link(from, to, link),
            Action::RebootGateway { gateway } => self.network.reboot_gateway(gateway),
            Action::RenumberGateway { gateway } => drop(self.network.renumber_gateway(gateway)),
            Action::SetFirewall { gateway, firewall } => {
                self.network.set_firewall(gateway, firewall)
            }
            Action::Misbehave { server, how } => self.misbehave(server, how),
            Action::CrashServer { server } => self.crash_server(server),
            Action::StartServer { server } => self.start_server(server),
            Action::RebootServer { server } => {
                self.crash_server(server);
                self.start_server(server);
            }
            Action::Heal => self.heal(),
        }
    }

    /// `from` connects to `to`.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn connect(&mut self, from: HostId, to: HostId) -> Result<(), Refused> {
        let (peer, now) = (self.nodes[to].id, self.clock.instant());
        let again = self.model.life(from, to).is_some_and(|life| life.is_over());
        self.call(from, |endpoint| {
            endpoint.connect(peer, ConnectOptions::default(), now)
        })??;
        self.marks.set_if(again, Mark::OpenAndClose);
        self.model.on_connect(from, to);
        Ok(())
    }

    /// `host` accepts the offer of `peer`.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn accept(&mut self, host: HostId, peer: HostId) -> Result<(), Refused> {
        let (peer, now) = (self.nodes[peer].id, self.clock.instant());
        self.call(host, |endpoint| endpoint.accept(peer, now))??;
        Ok(())
    }

    /// `host` refuses the offer of `peer`.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn refuse(&mut self, host: HostId, peer: HostId) -> Result<(), Refused> {
        let (peer, now) = (self.nodes[peer].id, self.clock.instant());
        self.call(host, |endpoint| endpoint.refuse(peer, now))??;
        Ok(())
    }

    /// `from` sends one message to `to`.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses. The message is dropped then.
    pub fn send(
        &mut self,
        from: HostId,
        to: HostId,
        channel: impl Into<ChannelId>,
        message: impl Into<Message>,
    ) -> Result<MessageId, Refused> {
        let (channel, message) = (channel.into(), message.into());
        let id = self.try_send(from, to, channel, &message)?;
        self.pump(from);
        Ok(id)
    }

    /// `from` closes the connection to `to` gracefully.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn close(&mut self, from: HostId, to: HostId) -> Result<(), Refused> {
        let now = self.clock.instant();
        self.nodes[from].bulk.remove(&to);
        let early = self.state(from, to) == Some(PeerState::Connecting);
        self.marks.set_if(early, Mark::CloseDuringHandshake);
        self.nodes[from].vigil.on_close(to);
        self.model.on_close(from, to);
        self.with_peer(from, to, |mut peer| peer.close(now))
    }

    /// `host` closes every connection gracefully.
    pub fn close_all(&mut self, host: HostId) {
        let now = self.clock.instant();
        self.nodes[host].bulk.clear();
        for peer in 0..self.nodes.len() {
            self.nodes[host].vigil.on_close(peer);
            self.model.on_close(host, peer);
        }
        // A host that has crashed has nothing to close.
        let _down = self.call(host, |endpoint| endpoint.close(now));
    }

    /// `from` begins an ICE restart.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn restart_ice(&mut self, from: HostId, to: HostId) -> Result<(), Refused> {
        let now = self.clock.instant();
        self.mark_repair(from, to, Repair::Restart);
        self.with_peer(from, to, |mut peer| peer.restart_ice(now))
    }

    /// `from` builds a new transport.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn rebuild(&mut self, from: HostId, to: HostId) -> Result<(), Refused> {
        let now = self.clock.instant();
        self.mark_repair(from, to, Repair::Rebuild);
        self.with_peer(from, to, |mut peer| peer.rebuild(now))
    }

    /// `from` opens a custom channel to `to`.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn open_channel(
        &mut self,
        from: HostId,
        to: HostId,
        config: ChannelConfig,
    ) -> Result<ChannelId, Refused> {
        let now = self.clock.instant();
        let opened = config.clone();
        let channel = self.with_peer(from, to, |mut peer| peer.open_channel(config, now))??;
        self.model.on_opened((from, to), channel, &opened);
        Ok(channel)
    }

    /// `host` gives back the room of what it received from `peer`.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no such host or peer any more.
    pub fn release(
        &mut self,
        host: HostId,
        peer: HostId,
        channel: impl Into<ChannelId>,
        bytes: usize,
    ) -> Result<(), Refused> {
        let now = self.clock.instant();
        let channel = channel.into();
        self.with_peer(host, peer, |mut peer| peer.release(channel, bytes, now))
    }

    /// Calls `with` on a peer of an endpoint, and takes the outputs.
    ///
    /// Messages that are sent this way are unknown to the checkers, which will call them invented: use
    /// [`World::send`].
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no such host or peer any more.
    pub fn with_peer<T>(
        &mut self,
        host: HostId,
        peer: HostId,
        with: impl FnOnce(Peer<'_>) -> T,
    ) -> Result<T, Refused> {
        let id = self.nodes[peer].id;
        self.call(host, |endpoint| {
            endpoint
                .peer(id)
                .map(with)
                .map_err(|_| Refused::UnknownPeer)
        })?
    }

    /// `host` enters a room.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn join(&mut self, host: HostId, name: &str) -> Result<RoomId, Refused> {
        let now = self.clock.instant();
        Ok(self.call(host, |endpoint| endpoint.join(name, now))??)
    }

    /// Calls `with` on a room of an endpoint, and takes the outputs.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is no such host or room any more.
    pub fn with_room<T>(
        &mut self,
        host: HostId,
        room: RoomId,
        with: impl FnOnce(Room<'_>, Instant) -> T,
    ) -> Result<T, Refused> {
        let now = self.clock.instant();
        self.call(host, |endpoint| Ok(with(endpoint.room(room)?, now)))?
    }

    /// The endpoint of `host` vanishes.
    pub fn crash(&mut self, host: HostId) {
        drop(self.take_endpoint(host));
    }

    /// The same, but the endpoint is handed out, so that it can be looked at, or weighed by what dropping it frees.
    pub fn take_endpoint(&mut self, host: HostId) -> Option<Box<Endpoint>> {
        let endpoint = self.remove_endpoint(host);
        if endpoint.is_some() {
            self.mark_crash();
        }
        endpoint
    }

    /// The same, but that it is no fault.
    pub(super) fn remove_endpoint(&mut self, host: HostId) -> Option<Box<Endpoint>> {
        self.model.on_crash(host);
        self.forget_needs(host);
        self.nodes[host].crash()
    }

    /// `host` uses other ICE servers from now on.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn set_ice_servers(
        &mut self,
        host: HostId,
        servers: Vec<IceServer>,
    ) -> Result<(), Refused> {
        let now = self.clock.instant();
        self.call(host, |endpoint| endpoint.set_ice_servers(servers, now))??;
        Ok(())
    }

    /// `host` begins to find out what is before it.
    ///
    /// # Errors
    ///
    /// What the endpoint refuses.
    pub fn discover_nat(&mut self, host: HostId) -> Result<(), Refused> {
        let now = self.clock.instant();
        self.call(host, |endpoint| endpoint.discover_nat(now))??;
        Ok(())
    }

    /// A new endpoint starts on a host that crashed.
    pub fn restart(&mut self, host: HostId) {
        let node = &self.nodes[host];
        if node.endpoint.is_none() && node.attacker.is_none() {
            self.start_endpoint(host);
        }
    }

    /// A socket of `host` is closed.
    pub fn unbind(&mut self, host: HostId, address: SocketAddr) {
        if self.nodes[host].addresses.contains(&address) {
            let node = &mut self.nodes[host];
            node.addresses.retain(|known| *known != address);
            node.relays.on_interface_lost(address.ip());
            self.network.detach_from(host, address);
            self.mark_lost(host);
            self.input(host, Input::SocketClosed { local: address });
        }
    }

    /// A socket of `host` is bound.
    pub fn bind(&mut self, host: HostId, address: SocketAddr) {
        if !self.nodes[host].addresses.contains(&address) {
            self.nodes[host].addresses.push(address);
            self.network.attach(host, address);
            let foreign = !self.nodes[host].home.contains(&address);
            self.mark_gained(host, foreign);
            self.input(host, Input::SocketBound { local: address });
        }
    }

    /// The application of `host` reads differently from now on. What an absent reader kept is released when it returns.
    pub fn set_reader(&mut self, host: HostId, reader: Reader) {
        self.nodes[host].spec.reader = reader;
        if reader != Reader::Absent {
            for ((peer, birth, channel), unread) in std::mem::take(&mut self.nodes[host].unread) {
                for bytes in unread {
                    self.on_release((host, peer), birth, channel, bytes);
                }
            }
        }
    }

    /// What the application of `host` does from now on with peers that ask to connect.
    pub fn set_incoming(&mut self, host: HostId, incoming: Incoming) {
        self.nodes[host].spec.incoming = incoming;
    }

    /// Loses every datagram and signal between two hosts for a while, both ways.
    pub fn partition(&mut self, a: HostId, b: HostId, duration: Duration) {
        let until = self.clock.now().after(duration);
        for (from, to) in [(a, b), (b, a)] {
            self.network.partition(from, to, until);
            self.bus.partition(from, to, until);
        }
    }

    /// Sets the link between two hosts, both ways.
    pub fn set_links(&mut self, a: HostId, b: HostId, link: &LinkConfig) {
        self.network.set_link(a, b, link.clone());
        self.network.set_link(b, a, link.clone());
    }

    /// The way of `host` to signalling is up or down, and its endpoint is told.
    pub fn set_signalling(&mut self, host: HostId, up: bool) {
        if self.bus.set_up(host, up) {
            if !up {
                self.nodes[host].vigil.on_hindered();
            }
            self.input(host, Input::SignallingChanged { up });
        }
    }

    /// Ends every fault of network and bus. All servers run and behave, and all machines are awake and in time.
    pub fn heal(&mut self) {
        for host in 0..self.nodes.len() {
            self.rouse(host);
            self.set_pace(host, Pace::default());
        }
        self.network.heal();
        self.bus.heal();
        for host in 0..self.nodes.len() {
            self.set_signalling(host, true);
        }
        self.heal_servers();
    }

    /// Sends without taking the outputs.
    pub(super) fn try_send(
        &mut self,
        from: HostId,
        to: HostId,
        channel: ChannelId,
        message: &Message,
    ) -> Result<MessageId, Refused> {
        let (peer, now) = (self.nodes[to].id, self.clock.instant());
        // What an application calls for is about what it was told, so its driver takes that first.
        self.flush(from);
        self.mark_send(from, to);
        let node = &mut self.nodes[from];
        node.work.on_input(message.len());
        let endpoint = node.endpoint.as_mut().ok_or(Refused::Down)?;
        let mut peer = endpoint.peer(peer).map_err(|_| Refused::UnknownPeer)?;
        let result = peer.send(channel, message.clone(), now);
        node.given = self.clock.now();
        let queued = peer.queued(channel);
        let bytes = node.spec.config.channels().queue_bytes;
        let bound = bytes.max(message.len());
        match result {
            Ok(id) => {
                self.stats.accepted += 1;
                self.findings.check(Invariant::Bounds, queued <= bound, || {
                    format!(
                        "{from} -> {to} channel {channel}: {queued} bytes queued, bound {bound}"
                    )
                });
                self.mark_queue(bytes);
                if self.nodes[to].attacker.is_none() {
                    self.model
                        .on_accepted((from, to), channel, id, message, &mut self.findings);
                }
                Ok(id)
            }
            Err(error) => {
                self.stats.refused += 1;
                let full = error.reason == SendRefusal::Full;
                self.marks.set_if(full, Mark::FullQueue);
                self.findings
                    .check(Invariant::Bounds, error.message == *message, || {
                        format!("{from} -> {to} channel {channel}: another message came back")
                    });
                Err(Refused::Send(error.reason))
            }
        }
    }

    fn call<T>(
        &mut self,
        host: HostId,
        with: impl FnOnce(&mut Endpoint) -> T,
    ) -> Result<T, Refused> {
        let result = with(self.nodes[host].endpoint.as_mut().ok_or(Refused::Down)?);
        let now = self.clock.now();
        let node = &mut self.nodes[host];
        node.given = now;
        node.on_input(0);
        self.pump(host);
        Ok(result)
    }

    /// A slow reader is done with a message.
    pub(super) fn on_release(
        &mut self,
        (host, peer): (HostId, HostId),
        birth: usize,
        channel: ChannelId,
        bytes: usize,
    ) {
        if self.model.births(host, peer) == birth {
            // The peer may have gone meanwhile.
            let _gone = self.release(host, peer, channel, bytes);
        }
    }

    /// When a reader of this speed is done with `bytes` more.
    pub(super) fn read_until(&mut self, host: HostId, bytes: usize, rate: u64) -> Time {
        let node = &mut self.nodes[host];
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        let start = node.reads_until.max(self.clock.now());
        node.reads_until = start.after(Duration::from_nanos(nanos));
        node.reads_until
    }
}
