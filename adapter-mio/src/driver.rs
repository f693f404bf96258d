//! The driver: an endpoint, its sockets, and the user's poll.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::{Endpoint, Event, Input, Need, NeedId, Output, Signal, UnixTime};
use mio::{Registry, Token};

use crate::bind::BindError;
use crate::socket::{Receiver, Sockets};
use crate::stream::Streams;

/// An [`Endpoint`] with its UDP sockets, registered in the [`mio::Poll`] of the application.
///
/// The application keeps its loop and its clock. In each turn it polls the actions until there are none, waits with
/// [`Driver::poll_timeout`], and hands over the events and the time; see the [crate docs](crate). Dropping the driver
/// deregisters and closes the sockets at any moment; peers then find out by themselves, so
/// [close](Endpoint::close) the endpoint first where there is time.
pub struct Driver {
    endpoint: Endpoint,
    sockets: Sockets,
    streams: Streams,
    receiver: Receiver,
    /// What the endpoint puts datagrams into.
    transmit: Vec<u8>,
    /// What the application has not polled yet.
    actions: VecDeque<Action>,
    wait: Wait,
    /// The latest time that was told.
    now: Instant,
    stats: DriverStats,
}

/// What the driver waits for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// The endpoint may have more to give: it is in use, or the actions have no room.
    Room,
    /// The endpoint is drained, until an input or this deadline.
    Deadline(Option<Instant>),
}

impl Driver {
    /// How many tokens a driver takes besides one for each address: for the sockets and streams to STUN and TURN servers.
    pub const EXTRA_TOKENS: usize = Sockets::MAX_EXTRA + Streams::MAX;

    /// Every address of the machine, of both families, on a port that the system chooses.
    pub const ANY: [SocketAddr; 2] = [
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    ];

    /// Binds one socket for each of `addresses`, registers them and announces them to the endpoint.
    ///
    /// An unspecified address stands for all addresses of the machine in its family; it is skipped where the machine
    /// does not have the family. The sockets take the tokens from `first` on, one for each address, and
    /// [`Driver::EXTRA_TOKENS`] follow: keep that range free.
    ///
    /// # Errors
    ///
    /// [`BindError`]. Nothing stays registered then, and the endpoint is dropped.
    pub fn new(
        endpoint: Endpoint,
        registry: &Registry,
        first: Token,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Result<Self, BindError> {
        let tokens = addresses.len().saturating_add(Self::EXTRA_TOKENS);
        if first.0.checked_add(tokens).is_none() {
            return Err(BindError::Tokens(addresses.len()));
        }
        let sockets = Sockets::bind(registry, first, addresses)?;
        let of_streams = Token(first.0 + addresses.len() + Sockets::MAX_EXTRA);
        let registry = registry.try_clone().map_err(BindError::Registry)?;
        let mut driver = Self {
            endpoint,
            sockets,
            streams: Streams::new(registry, of_streams),
            receiver: Receiver::new(),
            transmit: Vec::new(),
            actions: VecDeque::new(),
            wait: Wait::Room,
            now,
            stats: DriverStats::default(),
        };
        for local in driver.sockets.locals() {
            driver
                .endpoint
                .handle_input(Input::SocketBound { local }, now);
        }
        driver.flush();
        Ok(driver)
    }

    /// The endpoint, for commands. What they cause is sent when the returned guard is dropped, which is at the end of
    /// the statement in the usual `driver.endpoint_mut().connect(..)`.
    pub fn endpoint_mut(&mut self) -> EndpointMut<'_> {
        // Also when the guard is leaked, the endpoint is drained in the next turn.
        self.wait = Wait::Room;
        EndpointMut(self)
    }

    /// Sets how `turns:` and `stuns:` servers are verified. Without it no TLS is spoken, and such servers fail.
    ///
    /// Which certificates are trusted is the application's choice: those of the machine, for example, as the crate
    /// `rustls-native-certs` reads them. That blocks, and therefore is not done here.
    pub fn set_tls(&mut self, config: Arc<rustls::ClientConfig>) {
        self.streams.tls = Some(config);
    }

    /// Looks at the addresses of the machine again and tells the endpoint what has changed: call it when the system
    /// reports a change. Does nothing for sockets that are bound to one address.
    ///
    /// # Errors
    ///
    /// When the addresses cannot be listed. Nothing changes then.
    pub fn rescan_interfaces(&mut self, now: Instant) -> io::Result<()> {
        self.advance(now);
        let (came, went) = self.sockets.rescan()?;
        for local in went {
            self.endpoint
                .handle_input(Input::SocketClosed { local }, now);
        }
        for local in came {
            self.endpoint
                .handle_input(Input::SocketBound { local }, now);
        }
        self.flush();
        Ok(())
    }

    /// Closes the sockets and gives the endpoint back, for another driver with other sockets. Connections live on if
    /// they find a path there. Actions that were not polled are lost.
    #[must_use]
    pub fn into_endpoint(self, now: Instant) -> Endpoint {
        let Self {
            mut endpoint,
            sockets,
            streams,
            actions,
            ..
        } = self;
        for local in sockets.locals().chain(sockets.extra_locals()) {
            endpoint.handle_input(Input::SocketClosed { local }, now);
        }
        for need in streams.needs() {
            endpoint.handle_input(Input::StreamClosed { need }, now);
        }
        for action in actions {
            // Nobody has seen it, so nobody will answer.
            if let Action::Resolve { need, .. } = action {
                let addresses = &[];
                endpoint.handle_input(Input::Resolved { need, addresses }, now);
            }
        }
        endpoint
    }

    /// Takes an event of the poll. Returns whether it was for this driver.
    ///
    /// Reads a bounded number of datagrams. What is left is read by [`Driver::handle_timeout`], so that neither the
    /// other sources of the poll nor the other sockets starve.
    pub fn handle_event(&mut self, event: &mio::event::Event, now: Instant) -> bool {
        self.advance(now);
        if let Some(index) = self.streams.index_of(event.token()) {
            if event.is_readable() || event.is_error() {
                self.streams.on_readable(index);
            }
            self.drive_stream(index, now);
            return true;
        }
        let Some(index) = self.sockets.index_of(event.token()) else {
            return false;
        };
        if event.is_writable() {
            self.send_waiting(index, now);
        }
        if event.is_readable() || event.is_error() {
            if let Some(socket) = self.sockets.at(index) {
                socket.readable = true;
            }
            self.receive(index, now);
        }
        true
    }

    /// Takes a signalling message that came over the link.
    pub fn handle_signal(&mut self, text: &str, now: Instant) {
        self.advance(now);
        self.endpoint.handle_input(Input::Signal { text }, now);
        self.flush();
    }

    /// Tells that the signalling link has gone down or come up, see [`Input::SignallingChanged`]. Not needed for a link that
    /// is always up.
    pub fn handle_signalling_changed(&mut self, up: bool, now: Instant) {
        self.advance(now);
        self.endpoint
            .handle_input(Input::SignallingChanged { up }, now);
        self.flush();
    }

    /// Tells that the wall clock shows something else than the time that has passed: it was set, or the machine slept. See
    /// [`Input::WallClockSet`]; not needed for an endpoint without a key and without time-limited credentials.
    pub fn handle_wall_clock_set(&mut self, unix_time: UnixTime, now: Instant) {
        self.advance(now);
        self.endpoint
            .handle_input(Input::WallClockSet { unix_time }, now);
        self.flush();
    }

    /// Takes the addresses of a name, as [`Action::Resolve`] asks for. None: it could not be resolved.
    pub fn handle_resolved(&mut self, need: NeedId, addresses: &[IpAddr], now: Instant) {
        self.advance(now);
        let resolved = Input::Resolved { need, addresses };
        self.endpoint.handle_input(resolved, now);
        self.flush();
    }

    /// Takes the time. Call it once in each turn of the loop, after the events; it does nothing when nothing is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        for index in self.sockets.indexes() {
            self.receive(index, now);
        }
        for index in 0..Streams::MAX {
            self.drive_stream(index, now);
        }
        let endpoint = &mut self.endpoint;
        self.streams
            .handle_timeout(now, |input| endpoint.handle_input(input, now));
        if self.is_due(now) {
            self.endpoint.handle_input(Input::Timeout, now);
            self.flush();
        }
    }

    /// Gives what the application has to do next. `None`: nothing, until the next input or the deadline.
    #[must_use = "an action that is dropped is lost"]
    pub fn poll_action(&mut self) -> Option<Action> {
        if self.actions.is_empty() && matches!(self.wait, Wait::Room) {
            self.flush();
        }
        self.actions.pop_front()
    }

    /// When [`Driver::handle_timeout`] must be called at the latest. Already past when there is work left: actions to
    /// poll, or datagrams to read. `None`: only an input can change anything.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.wait {
            Wait::Deadline(deadline) if !self.has_work() => {
                deadline.into_iter().chain(self.streams.deadline()).min()
            }
            Wait::Deadline(_) | Wait::Room => Some(self.now),
        }
    }

    /// How long [`mio::Poll::poll`] may wait. `None`: for ever.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(now))
    }

    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The addresses that are announced to the endpoint, in their order.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.locals()
    }

    /// The counters of the sockets. Those of the datagrams are in [`Endpoint::stats`].
    #[must_use]
    pub fn stats(&self) -> DriverStats {
        self.stats
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.wait, Wait::Deadline(Some(deadline)) if deadline <= now)
    }

    fn has_work(&self) -> bool {
        !self.actions.is_empty() || self.sockets.any_readable() || self.streams.any_readable()
    }

    fn has_room(&self) -> bool {
        self.actions.len() < MAX_ACTIONS
    }

    /// Reads from a socket that may have datagrams, a bounded number of times.
    fn receive(&mut self, index: usize, now: Instant) {
        for _ in 0..MAX_READS {
            let has_room = self.has_room();
            let Some(socket) = self.sockets.at(index) else {
                return;
            };
            if !socket.readable || !has_room {
                return;
            }
            match socket.receive(&mut self.receiver) {
                Ok(count) => {
                    socket.failures = 0;
                    self.feed(index, count, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.readable = false;
                    return;
                }
                Err(error) => self.on_receive_error(index, error, now),
            }
        }
    }

    /// Hands the datagrams of one read to the endpoint.
    fn feed(&mut self, index: usize, count: usize, now: Instant) {
        for (meta, contents) in self.receiver.filled(count) {
            let Some(socket) = self.sockets.at(index) else {
                return;
            };
            let Some(local) = socket
                .local(meta.dst_ip)
                .filter(|local| self.sockets.serves(*local))
            else {
                self.stats.unknown_destination += 1;
                continue;
            };
            let (remote, segment_size) = (meta.addr, meta.stride.max(1));
            let input = Input::Datagrams {
                local,
                remote,
                contents,
                segment_size,
            };
            self.endpoint.handle_input(input, now);
        }
        self.flush();
    }

    /// Does what a stream can do now.
    fn drive_stream(&mut self, index: usize, now: Instant) {
        let (has_room, endpoint) = (self.has_room(), &mut self.endpoint);
        let mut is_news = false;
        self.streams.drive(index, has_room, now, |input| {
            endpoint.handle_input(input, now);
            is_news = true;
        });
        if is_news {
            self.flush();
        }
    }

    /// Does what the core cannot.
    fn carry_out(&mut self, need: Need) {
        let now = self.now;
        match need {
            Need::Resolve { need, host } => self.actions.push_back(Action::Resolve { need, host }),
            Need::Bind { need, ip } => {
                let bound = self.sockets.bind_extra(need, ip);
                let local = bound
                    .inspect_err(|error| tracing::debug!(%need, %ip, %error, "not bound"))
                    .ok();
                self.endpoint
                    .handle_input(Input::Bound { need, local }, now);
            }
            Need::Connect { need, remote, tls } => {
                if let Err(error) = self.streams.connect(need, remote, tls, now) {
                    tracing::debug!(%need, %remote, %error, "not connected");
                    self.endpoint
                        .handle_input(Input::StreamClosed { need }, now);
                }
            }
            Need::Close { need } => {
                self.sockets.close_extra(need);
                self.streams.close(need, now);
            }
            // The enum is open to additions. This release of the core has no others.
            other => tracing::error!(?other, "unknown need"),
        }
    }

    /// Drains the endpoint: datagrams leave, events and signals wait for the application.
    fn flush(&mut self) {
        self.wait = Wait::Room;
        while self.has_room() {
            match self.endpoint.poll_output(&mut self.transmit) {
                Output::Transmit(transmit) => {
                    let sent = self
                        .sockets
                        .transmit(transmit, &self.transmit, &mut self.stats);
                    if let Err((index, error)) = sent {
                        self.lose(index, error, self.now);
                    }
                }
                Output::Stream(need) => {
                    if !self.streams.send(need, &self.transmit, self.now) {
                        self.stats.stream_dropped += 1;
                    }
                }
                Output::Need(need) => self.carry_out(need),
                Output::Signal(signal) => self.actions.push_back(Action::Signal(signal)),
                Output::Event(event) => self.actions.push_back(Action::Event(event)),
                Output::Timeout(deadline) => {
                    self.wait = Wait::Deadline(deadline);
                    return;
                }
                // The enum is open to additions. This release of the core has no others.
                other => tracing::error!(?other, "unknown output"),
            }
        }
    }

    fn send_waiting(&mut self, index: usize, now: Instant) {
        if let Err(error) = self.sockets.send_waiting(index, &mut self.stats) {
            self.lose(index, error, now);
            self.flush();
        }
    }

    /// Most errors are news of one datagram (an ICMP message). Only many in a row mean that the socket is dead.
    fn on_receive_error(&mut self, index: usize, error: io::Error, now: Instant) {
        self.stats.receive_errors += 1;
        let Some(socket) = self.sockets.at(index) else {
            return;
        };
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
        ) {
            return;
        }
        socket.failures += 1;
        if socket.failures >= MAX_FAILURES {
            self.lose(index, error, now);
            self.flush();
        }
    }

    /// Gives a socket up.
    fn lose(&mut self, index: usize, error: io::Error, now: Instant) {
        let Some((address, locals)) = self.sockets.lose(index) else {
            return;
        };
        tracing::warn!(%address, %error, "the socket is lost");
        for local in locals {
            self.endpoint
                .handle_input(Input::SocketClosed { local }, now);
        }
        self.actions
            .push_back(Action::SocketLost { address, error });
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("locals", &self.sockets.locals().collect::<Vec<_>>())
            .field("actions", &self.actions.len())
            .field("wait", &self.wait)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// Exclusive access to the [`Endpoint`] of a [`Driver`]: what was done is sent when this is dropped.
#[derive(Debug)]
pub struct EndpointMut<'a>(&'a mut Driver);

impl Deref for EndpointMut<'_> {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.0.endpoint
    }
}

impl DerefMut for EndpointMut<'_> {
    fn deref_mut(&mut self) -> &mut Endpoint {
        &mut self.0.endpoint
    }
}

impl Drop for EndpointMut<'_> {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Something for the application to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Look at what happened.
    Event(Event),
    /// Hand this to the signalling link.
    Signal(Signal),
    /// Resolve the host name of a STUN or TURN server, or one in `.local` behind which a peer hides its address, and hand its
    /// addresses to [`Driver::handle_resolved`], both families, the preferred first. Until then the server or the
    /// candidate is not used. The lookup of the standard library blocks: it belongs into a thread that wakes the poll. An
    /// application whose servers are addresses, and that switches
    /// [`resolve_local_names`](bowline::config::Ice::resolve_local_names) off, never sees this.
    Resolve {
        /// What to answer.
        need: NeedId,
        /// The name.
        host: String,
    },
    /// A socket failed and is closed. The endpoint knows and uses what is left. To bind anew, make another driver of
    /// [`Driver::into_endpoint`].
    SocketLost {
        /// The address that it was bound to.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// Counters of the sockets of a [`Driver`] since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStats {
    /// Transmits that a socket did not take at once, in whole or in part, and that waited for write readiness.
    pub blocked: u64,
    /// Datagrams dropped, the oldest first, because too many waited for write readiness.
    pub dropped: u64,
    /// Datagrams that the operating system refused to send: no route, too long, forbidden.
    pub send_errors: u64,
    /// Errors that a read returned.
    pub receive_errors: u64,
    /// Datagrams that were to leave from an address that no socket has.
    pub unknown_source: u64,
    /// Writes to TURN servers over TCP or TLS that were dropped whole, because the stream was full or gone.
    pub stream_dropped: u64,
    /// Reads that were dropped because they came to an address that is not announced.
    pub unknown_destination: u64,
}

/// How many actions wait for the application. At the bound the endpoint is not drained and the sockets are not read,
/// until the application polls.
const MAX_ACTIONS: usize = 1_024;

/// How many times one socket is read in one turn.
const MAX_READS: usize = 16;

/// How many reads in a row may fail before the socket is given up.
const MAX_FAILURES: u32 = 16;

#[cfg(test)]
mod tests {
    use bowline::{Config, ConnectOptions, Identity, PeerId, Seed};
    use mio::Poll;

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn at_the_bound_of_actions_the_endpoint_keeps_the_rest_and_nothing_is_lost() {
        const PEERS: usize = 600;
        let (_poll, mut driver) = driver();
        for n in 0..PEERS {
            let peer = PeerId::new(&format!("peer-{n}")).expect("valid");
            let options = ConnectOptions::default();
            driver
                .endpoint_mut()
                .connect(peer, options, Instant::now())
                .expect("a new peer");
            assert!(driver.actions.len() <= MAX_ACTIONS);
        }
        assert_eq!(driver.actions.len(), MAX_ACTIONS);
        assert_eq!(driver.poll_timeout(Instant::now()), Some(Duration::ZERO));

        // Time does not pass for an endpoint that cannot say what it leads to.
        driver.handle_timeout(Instant::now() + Duration::from_secs(3_600));
        let actions: Vec<_> = std::iter::from_fn(|| driver.poll_action()).collect();
        let signals = actions
            .iter()
            .filter(|action| matches!(action, Action::Signal(_)))
            .count();
        let new = |action: &&Action| matches!(action, Action::Event(Event::Initialised { .. }));
        let ended = |action: &&Action| matches!(action, Action::Event(Event::State { to, .. }) if to.is_terminal());
        assert_eq!(
            (signals, actions.iter().filter(new).count()),
            (PEERS, PEERS)
        );
        assert_eq!(actions.iter().filter(ended).count(), 0);
    }

    #[test]
    fn a_guard_that_is_leaked_delays_its_commands_until_the_next_poll_only() {
        let (_poll, mut driver) = driver();
        let mut guard = driver.endpoint_mut();
        let peer = PeerId::new("bob").expect("valid");
        guard
            .connect(peer, ConnectOptions::default(), Instant::now())
            .expect("a new peer");
        std::mem::forget(guard);
        assert_eq!(driver.poll_timeout(Instant::now()), Some(Duration::ZERO));
        assert!(driver.poll_action().is_some());
    }

    #[test]
    fn a_turn_reads_a_bounded_number_of_times_and_the_next_ones_read_the_rest() {
        const FLOOD: u64 = 3 * MAX_READS as u64 * Receiver::BATCH as u64 - 10;
        let (mut poll, mut driver) = driver();
        let address = driver.local_addresses().next().expect("bound");
        let stranger = std::net::UdpSocket::bind(LOOPBACK).expect("bound");
        for _ in 0..FLOOD {
            stranger.send_to(b"noise", address).expect("sent");
        }
        let mut events = mio::Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(5)))
            .expect("polled");
        let event = events.iter().next().expect("readable");
        let received = |driver: &Driver| driver.endpoint().stats().datagrams_received;

        let now = Instant::now();
        assert!(driver.handle_event(event, now));
        assert_eq!(received(&driver), MAX_READS as u64 * Receiver::BATCH as u64);
        assert_eq!(
            driver.poll_timeout(now),
            Some(Duration::ZERO),
            "no edge will come"
        );
        driver.handle_timeout(now);
        driver.handle_timeout(now);
        assert_eq!(received(&driver), FLOOD);
        assert_eq!(driver.poll_timeout(now), None, "all is read");
    }

    #[test]
    fn a_socket_that_keeps_failing_is_given_up_and_told_once() {
        let (_poll, mut driver) = driver();
        let address = driver.local_addresses().next().expect("bound");
        let failed = || io::Error::from(io::ErrorKind::NotConnected);
        for _ in 1..MAX_FAILURES {
            driver.on_receive_error(0, failed(), Instant::now());
        }
        assert!(driver.poll_action().is_none(), "not yet");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        driver.on_receive_error(0, refused, Instant::now());
        assert!(
            driver.poll_action().is_none(),
            "an ICMP message is no failure of the socket"
        );

        driver.on_receive_error(0, failed(), Instant::now());
        driver.on_receive_error(0, failed(), Instant::now());
        let told = driver.poll_action();
        assert!(matches!(told, Some(Action::SocketLost { address: lost, .. }) if lost == address));
        assert!(driver.poll_action().is_none(), "once");
        assert_eq!(driver.local_addresses().count(), 0);
        assert_eq!(driver.stats().receive_errors, u64::from(MAX_FAILURES) + 2);
    }

    #[test]
    fn a_name_is_the_applications_to_resolve_and_a_further_socket_is_not_announced() {
        let (_poll, mut driver) = driver();
        let need = |number: u64| serde_json::from_value(number.into()).expect("a number");
        let host = "turn.test".to_owned();
        driver.carry_out(Need::Resolve {
            need: need(1),
            host,
        });
        let action = driver.poll_action();
        assert!(
            matches!(action, Some(Action::Resolve { need: of, host }) if of == need(1) && host == "turn.test")
        );
        driver.handle_resolved(need(1), &[Ipv4Addr::LOCALHOST.into()], Instant::now());

        let announced: Vec<_> = driver.local_addresses().collect();
        driver.carry_out(Need::Bind {
            need: need(2),
            ip: Ipv4Addr::LOCALHOST.into(),
        });
        assert_eq!(driver.sockets.extra_locals().count(), 1);
        assert_eq!(driver.local_addresses().collect::<Vec<_>>(), announced);
        driver.carry_out(Need::Close { need: need(2) });
        assert_eq!(driver.sockets.extra_locals().count(), 0);
    }

    #[test]
    fn a_stream_wakes_the_loop_at_its_deadline() {
        let (_poll, mut driver) = driver();
        let listener = std::net::TcpListener::bind(LOOPBACK).expect("bound");
        driver.carry_out(Need::Connect {
            need: serde_json::from_value(1.into()).expect("a number"),
            remote: listener.local_addr().expect("bound"),
            tls: None,
        });
        while driver.poll_action().is_some() {}
        let deadline = driver.deadline().expect("the patience of the connection");
        driver.handle_timeout(deadline);
        assert_eq!(driver.deadline(), None);
    }

    #[test]
    fn tokens_that_do_not_suffice_are_refused() {
        let poll = Poll::new().expect("a poll");
        let all = usize::MAX - Driver::EXTRA_TOKENS;
        for (first, fits) in [(all - 1, true), (all, false)] {
            let endpoint = driver().1.into_endpoint(Instant::now());
            let now = Instant::now();
            let made = Driver::new(endpoint, poll.registry(), Token(first), &[LOOPBACK], now);
            match made {
                Ok(_) => assert!(fits),
                Err(error) => assert!(!fits && matches!(error, BindError::Tokens(1))),
            }
        }
    }

    fn driver() -> (Poll, Driver) {
        let poll = Poll::new().expect("a poll");
        let config = Config::builder().loopback(true).build().expect("valid");
        let id = PeerId::new("alice").expect("valid");
        let seed = Seed::from([7; 32]);
        let now = Instant::now();
        let endpoint = Endpoint::new(
            config,
            Identity::without_key(id),
            seed,
            now,
            UnixTime::default(),
        )
        .expect("made");
        let driver = Driver::new(endpoint, poll.registry(), Token(0), &[LOOPBACK], now);
        (poll, driver.expect("bound"))
    }
}
