//! A peer that accepts everybody, sends each message back on its channel, and signals over standard input and output.
//!
//! ```text
//! echo_peer NAME [ADDRESS]
//! ```
//!
//! `NAME` is its peer id. `ADDRESS` is the UDP address to bind, `127.0.0.1:0` when left out.
//!
//! Each line, in both directions, is one signalling message: the id of the peer it is for, a tab, and the text.
//! Whatever starts this program passes the lines on as they are. Lines for somebody else are ignored. What happens is
//! told on standard error.
//!
//! It ends when its last peer has closed, or, after closing the connections itself, when standard input ends.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Instant, SystemTime};

use bowline::{
    ChannelId, Config, Endpoint, Event, Identity, Message, PeerId, Seed, SendRefusal, UnixTime,
};
use bowline_mio::{Action, Driver};
use mio::{Events, Poll, Token, Waker};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let mut args = std::env::args().skip(1);
    let id = PeerId::new(&args.next().ok_or("usage: echo_peer NAME [ADDRESS]")?)?;
    let address: SocketAddr = args.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;

    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    let lines = read_lines(Arc::new(Waker::new(poll.registry(), STDIN)?));
    let mut peer = EchoPeer::new(id, &poll, address)?;

    while !peer.is_done() {
        peer.run_actions(Instant::now())?;
        poll.poll(&mut events, peer.driver.poll_timeout(Instant::now()))?;
        let now = Instant::now();
        for event in &events {
            // The waker's token is not the driver's: all that it does is to end the wait.
            peer.driver.handle_event(event, now);
        }
        peer.take_lines(&lines, now);
        peer.driver.handle_timeout(now);
        peer.run_actions(now)?;
    }
    Ok(())
}

struct EchoPeer {
    driver: Driver,
    /// What a channel had no room for. It is released to the sender only when it is sent back, so the receive
    /// windows bound it.
    held: BTreeMap<(PeerId, ChannelId), VecDeque<Message>>,
    has_met: bool,
    stdin_ended: bool,
}

impl EchoPeer {
    fn new(id: PeerId, poll: &Poll, address: SocketAddr) -> Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let config = Config::builder().loopback(true).build()?;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let unix_time = UnixTime::from_duration(since_epoch);
        let now = Instant::now();
        let endpoint = Endpoint::new(
            config,
            Identity::without_key(id),
            Seed::from(seed),
            now,
            unix_time,
        )?;
        let driver = Driver::new(endpoint, poll.registry(), FIRST, &[address], now)?;
        Ok(Self {
            driver,
            held: BTreeMap::new(),
            has_met: false,
            stdin_ended: false,
        })
    }

    fn is_done(&self) -> bool {
        (self.has_met || self.stdin_ended) && self.driver.endpoint().peers().next().is_none()
    }

    fn take_lines(&mut self, lines: &Receiver<String>, now: Instant) {
        while !self.stdin_ended {
            match lines.try_recv() {
                Ok(line) => self.take_line(&line, now),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stdin_ended = true;
                    self.driver.endpoint_mut().close(now);
                }
            }
        }
    }

    fn take_line(&mut self, line: &str, now: Instant) {
        match line.split_once('\t') {
            Some((to, text)) if to == self.driver.endpoint().id().as_str() => {
                self.driver.handle_signal(text, now);
            }
            _ => eprintln!("not a message for this peer"),
        }
    }

    fn run_actions(&mut self, now: Instant) -> Result {
        while let Some(action) = self.driver.poll_action() {
            match action {
                Action::Signal(signal) => {
                    let mut out = io::stdout().lock();
                    writeln!(out, "{}\t{}", signal.to, signal.text)?;
                    out.flush()?;
                }
                Action::Event(event) => self.on_event(event, now)?,
                other => eprintln!("{other:?}"),
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event, now: Instant) -> Result {
        match event {
            Event::Incoming { peer, .. } => {
                self.has_met = true;
                self.driver.endpoint_mut().accept(peer, now)?;
            }
            Event::State {
                peer, to, cause, ..
            } => {
                eprintln!("{peer} is {to} ({cause})");
                if to.is_terminal() {
                    self.held.retain(|(of, _), _| *of != peer);
                }
            }
            Event::Message {
                peer,
                channel,
                message,
            } => {
                self.held
                    .entry((peer, channel))
                    .or_default()
                    .push_back(message);
                self.send_held(peer, channel, now);
            }
            Event::Writable { peer, channel } => self.send_held(peer, channel, now),
            _ => {}
        }
        Ok(())
    }

    fn send_held(&mut self, peer: PeerId, channel: ChannelId, now: Instant) {
        let Some(held) = self.held.get_mut(&(peer, channel)) else {
            return;
        };
        let mut endpoint = self.driver.endpoint_mut();
        let Ok(mut handle) = endpoint.peer(peer) else {
            return;
        };
        while let Some(message) = held.pop_front() {
            let len = message.len();
            match handle.send(channel, message, now) {
                Ok(_) => handle.release(channel, len, now),
                Err(refused) if refused.reason == SendRefusal::Full => {
                    held.push_front(refused.message);
                    return;
                }
                Err(refused) => {
                    eprintln!("{peer}: not sent back: {refused}");
                    handle.release(channel, len, now);
                }
            }
        }
    }
}

/// Reads standard input on a thread of its own, since not every system can poll it.
fn read_lines(waker: Arc<Waker>) -> Receiver<String> {
    let (sender, receiver) = sync_channel(MAX_LINES);
    thread::spawn(move || {
        forward_lines(&sender, &waker);
        drop(sender);
        // Wakes the loop so that it sees the end.
        waker.wake().ok();
    });
    receiver
}

fn forward_lines(sender: &SyncSender<String>, waker: &Waker) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        if sender.send(line).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

const STDIN: Token = Token(0);
const FIRST: Token = Token(1);

/// How many lines may wait for the loop. At the bound the reader waits.
const MAX_LINES: usize = 64;
