//! A custom event loop: two bowline peers, a UDP echo service with its client, and a periodic timer in one poll.
//!
//! Alice connects to Bob, sends one message on each channel kind, gets each back and closes. Signalling is a queue in
//! this process; a real program has a link instead. Meanwhile a timer ticks, and each tick sends a probe through the
//! echo service. The program ends by itself:
//!
//! ```text
//! cargo run -p bowline-mio --example custom_loop
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use bowline::{
    ChannelKind, Config, ConnectOptions, Endpoint, Event, Identity, PeerId, PeerState, Seed,
    UnixTime,
};
use bowline_mio::{Action, Driver};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    let mut app = App::new(&poll)?;
    let started = Instant::now();

    while !app.is_done() {
        app.run_actions(Instant::now())?;
        poll.poll(&mut events, Some(app.timeout(Instant::now())))?;
        let now = Instant::now();
        for event in &events {
            match event.token() {
                ECHO => app.serve_echo()?,
                PROBE => app.count_echoes()?,
                _ => app.drivers().for_each(|driver| {
                    driver.handle_event(event, now);
                }),
            }
        }
        app.tick(now)?;
        app.drivers().for_each(|driver| driver.handle_timeout(now));
        if now > started + TIME_LIMIT {
            return Err("the time limit is reached".into());
        }
    }
    app.print_summary(started.elapsed());
    Ok(())
}

struct App {
    alice: Driver,
    bob: Driver,
    /// The signalling link: messages on their way, each with its addressee.
    link: VecDeque<(PeerId, String)>,
    echo: UdpSocket,
    probe: UdpSocket,
    next_tick: Instant,
    ticks: u32,
    probes_returned: u32,
    /// Messages that Bob has sent back and Alice has received.
    messages_returned: Vec<String>,
    connected_after: Option<Duration>,
    started: Instant,
    closed: u32,
}

impl App {
    fn new(poll: &Poll) -> Result<Self> {
        let loopback: SocketAddr = ([127, 0, 0, 1], 0).into();
        let mut echo = UdpSocket::bind(loopback)?;
        let mut probe = UdpSocket::bind(loopback)?;
        poll.registry()
            .register(&mut echo, ECHO, Interest::READABLE)?;
        poll.registry()
            .register(&mut probe, PROBE, Interest::READABLE)?;

        let now = Instant::now();
        let bind = |name, first| -> Result<Driver> {
            Ok(Driver::new(
                endpoint(name, now)?,
                poll.registry(),
                first,
                &[loopback],
                now,
            )?)
        };
        let mut alice = bind("alice", ALICE)?;
        let bob = bind("bob", BOB)?;
        alice
            .endpoint_mut()
            .connect(PeerId::new("bob")?, ConnectOptions::default(), now)?;
        Ok(Self {
            alice,
            bob,
            link: VecDeque::new(),
            echo,
            probe,
            next_tick: now + TICK,
            ticks: 0,
            probes_returned: 0,
            messages_returned: Vec::new(),
            connected_after: None,
            started: now,
            closed: 0,
        })
    }

    fn drivers(&mut self) -> impl Iterator<Item = &mut Driver> {
        [&mut self.alice, &mut self.bob].into_iter()
    }

    fn is_done(&self) -> bool {
        self.closed == 2 && self.probes_returned >= MIN_PROBES
    }

    /// How long the poll may wait: for the peers or for the tick.
    fn timeout(&self, now: Instant) -> Duration {
        let tick = self.next_tick.saturating_duration_since(now);
        let peers = [&self.alice, &self.bob]
            .into_iter()
            .filter_map(|d| d.poll_timeout(now))
            .min();
        peers.map_or(tick, |peers| peers.min(tick))
    }

    /// Does what the drivers ask for, until they and the link have nothing more.
    fn run_actions(&mut self, now: Instant) -> Result {
        loop {
            while let Some(action) = self.alice.poll_action() {
                self.on_alice(action, now)?;
            }
            while let Some(action) = self.bob.poll_action() {
                self.on_bob(action, now)?;
            }
            let Some((to, text)) = self.link.pop_front() else {
                return Ok(());
            };
            let driver = if to.as_str() == "alice" {
                &mut self.alice
            } else {
                &mut self.bob
            };
            driver.handle_signal(&text, now);
        }
    }

    fn on_alice(&mut self, action: Action, now: Instant) -> Result {
        match action {
            Action::Signal(signal) => self.link.push_back((signal.to, signal.text)),
            Action::Event(Event::State {
                peer, to, cause, ..
            }) => {
                println!("alice: {peer} is {to} ({cause})");
                if to == PeerState::Connected {
                    self.connected_after = Some(self.started.elapsed());
                    for kind in ChannelKind::ALL {
                        let text = format!("hello on {kind}");
                        self.alice
                            .endpoint_mut()
                            .peer(peer)?
                            .send(kind, text, now)?;
                    }
                }
                self.count_closed(to)?;
            }
            Action::Event(Event::Message {
                peer,
                channel,
                message,
            }) => {
                let mut endpoint = self.alice.endpoint_mut();
                endpoint.peer(peer)?.release(channel, message.len(), now);
                self.messages_returned
                    .extend(message.as_text().map(str::to_owned));
                if self.messages_returned.len() == ChannelKind::ALL.len() {
                    endpoint.peer(peer)?.close(now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_bob(&mut self, action: Action, now: Instant) -> Result {
        match action {
            Action::Signal(signal) => self.link.push_back((signal.to, signal.text)),
            Action::Event(Event::Incoming { peer, .. }) => {
                self.bob.endpoint_mut().accept(peer, now)?;
            }
            Action::Event(Event::State {
                peer, to, cause, ..
            }) => {
                println!("bob:   {peer} is {to} ({cause})");
                self.count_closed(to)?;
            }
            Action::Event(Event::Message {
                peer,
                channel,
                message,
            }) => {
                let mut endpoint = self.bob.endpoint_mut();
                endpoint.peer(peer)?.release(channel, message.len(), now);
                endpoint.peer(peer)?.send(channel, message, now)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn count_closed(&mut self, state: PeerState) -> Result {
        match state {
            PeerState::Failed => Err("the connection failed".into()),
            PeerState::Closed => {
                self.closed += 1;
                Ok(())
            }
            PeerState::New
            | PeerState::Connecting
            | PeerState::Connected
            | PeerState::Disconnected => Ok(()),
        }
    }

    fn tick(&mut self, now: Instant) -> Result {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.ticks += 1;
            self.probe
                .send_to(&self.ticks.to_be_bytes(), self.echo.local_addr()?)?;
        }
        Ok(())
    }

    fn serve_echo(&mut self) -> Result {
        while let Some((probe, from)) = receive(&self.echo)? {
            self.echo.send_to(&probe, from)?;
        }
        Ok(())
    }

    fn count_echoes(&mut self) -> Result {
        while receive(&self.probe)?.is_some() {
            self.probes_returned += 1;
        }
        Ok(())
    }

    fn print_summary(&self, took: Duration) {
        println!("messages returned: {}", self.messages_returned.join(", "));
        println!(
            "connected after:   {:?}",
            self.connected_after.unwrap_or_default()
        );
        println!(
            "timer ticks:       {}, probes returned: {}",
            self.ticks, self.probes_returned
        );
        println!("alice's sockets:   {:?}", self.alice.stats());
        println!("done in {took:?}");
    }
}

fn endpoint(name: &str, now: Instant) -> Result<Endpoint> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let config = Config::builder().loopback(true).build()?;
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let unix_time = UnixTime::from_duration(since_epoch);
    Ok(Endpoint::new(
        config,
        Identity::without_key(PeerId::new(name)?),
        Seed::from(seed),
        now,
        unix_time,
    )?)
}

/// Receives one probe. Readiness in mio is an edge: read until there is none.
fn receive(socket: &UdpSocket) -> io::Result<Option<([u8; 4], SocketAddr)>> {
    let mut probe = [0; 4];
    match socket.recv_from(&mut probe) {
        Ok((_, from)) => Ok(Some((probe, from))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Each driver has a range of its own, as large as the number of its addresses.
const ALICE: Token = Token(100);
const BOB: Token = Token(200);
const ECHO: Token = Token(1);
const PROBE: Token = Token(2);

const TICK: Duration = Duration::from_millis(20);
const MIN_PROBES: u32 = 10;
const TIME_LIMIT: Duration = Duration::from_secs(30);
