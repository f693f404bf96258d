use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bowline::{
    Cause, ChannelId, Config, ConnectOptions, Endpoint, Event, Identity, Message, PeerId,
    PeerState, Seed, SendRefusal, UnixTime,
};
use bowline_mio::{Action, Driver};
use mio::{Events, Poll, Token, Waker};

/// Set for the process that is the mio side.
pub(crate) const MIO_SIDE: &str = "BOWLINE_TEST_MIO_SIDE";

/// Begins each line that is meant for the tokio side: the test harness prints lines of its own.
pub(crate) const MARK: &str = "> ";

pub(crate) fn is_mio_side() -> bool {
    std::env::var_os(MIO_SIDE).is_some()
}

/// Sends everything back until its one connection or standard input ends. Gives how the connection ended.
pub(crate) fn echo() -> Option<(PeerState, Cause)> {
    let mut poll = Poll::new().expect("a poll");
    let mut events = Events::with_capacity(64);
    let waker = Waker::new(poll.registry(), Token(0)).expect("registered");
    let lines = read_lines(Arc::new(waker));
    let last = Instant::now() + DEADLINE;
    let mut echo = Echo::new(&poll);
    while echo.ended.is_none() && !echo.orphaned {
        let now = Instant::now();
        echo.run_actions(now);
        assert!(now < last, "the connection did not end in time");
        let wait = echo.driver.poll_timeout(now).unwrap_or(DEADLINE);
        poll.poll(&mut events, Some(wait.min(last - now)))
            .expect("polled");
        let now = Instant::now();
        for event in &events {
            echo.driver.handle_event(event, now);
        }
        echo.take_lines(&lines, now);
        echo.driver.handle_timeout(now);
        echo.run_actions(now);
    }
    echo.ended
}

struct Echo {
    driver: Driver,
    /// What a channel had no room for.
    held: BTreeMap<ChannelId, VecDeque<Message>>,
    ended: Option<(PeerState, Cause)>,
    orphaned: bool,
}

impl Echo {
    fn new(poll: &Poll) -> Self {
        let now = Instant::now();
        let config = Config::builder().loopback(true).build().expect("valid");
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let unix_time = UnixTime::from_duration(since_epoch.expect("the clock is set"));
        let id = PeerId::new("mio").expect("valid");
        let endpoint = Endpoint::new(
            config,
            Identity::without_key(id),
            Seed::from([7; 32]),
            now,
            unix_time,
        )
        .expect("made");
        let loopback = [(Ipv4Addr::LOCALHOST, 0).into()];
        let driver = Driver::new(endpoint, poll.registry(), Token(1), &loopback, now);
        Self {
            driver: driver.expect("bound"),
            held: BTreeMap::new(),
            ended: None,
            orphaned: false,
        }
    }

    fn take_lines(&mut self, lines: &Receiver<String>, now: Instant) {
        loop {
            match lines.try_recv() {
                Ok(line) => self.take_line(&line, now),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.orphaned = true;
                    return;
                }
            }
        }
    }

    fn take_line(&mut self, line: &str, now: Instant) {
        match line.split_once(' ') {
            Some(("signal", text)) => self.driver.handle_signal(text, now),
            Some(("connect", peer)) => {
                let peer = PeerId::new(peer).expect("valid");
                let mut endpoint = self.driver.endpoint_mut();
                let begun = endpoint.connect(peer, ConnectOptions::default(), now);
                begun.expect("there is no other");
            }
            _ if line == "close" => self.driver.endpoint_mut().close(now),
            _ => panic!("an unknown line: {line:?}"),
        }
    }

    fn run_actions(&mut self, now: Instant) {
        while let Some(action) = self.driver.poll_action() {
            match action {
                Action::Signal(signal) => tell(&format!("signal {}", signal.text)),
                Action::Event(event) => self.on_event(event, now),
                other => panic!("{other:?}"),
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Incoming { peer, .. } => {
                let accepted = self.driver.endpoint_mut().accept(peer, now);
                accepted.expect("it waits");
            }
            Event::State { to, cause, .. } => {
                tell(&to.to_string());
                self.ended = to.is_terminal().then_some((to, cause));
            }
            Event::Message {
                peer,
                channel,
                message,
            } => {
                self.held.entry(channel).or_default().push_back(message);
                self.send_held(peer, channel, now);
            }
            Event::Writable { peer, channel } => self.send_held(peer, channel, now),
            _ => {}
        }
    }

    fn send_held(&mut self, peer: PeerId, channel: ChannelId, now: Instant) {
        let held = self.held.entry(channel).or_default();
        let mut endpoint = self.driver.endpoint_mut();
        let mut peer = endpoint.peer(peer).expect("connected");
        while let Some(message) = held.pop_front() {
            let len = message.len();
            if let Err(refused) = peer.send(channel, message, now) {
                assert_eq!(refused.reason, SendRefusal::Full);
                held.push_front(refused.message);
                return;
            }
            peer.release(channel, len, now);
        }
    }
}

fn tell(line: &str) {
    let mut out = io::stdout().lock();
    // The harness may have left its line open.
    writeln!(out, "\n{MARK}{line}").expect("the tokio side reads");
    out.flush().expect("the tokio side reads");
}

/// Reads standard input on a thread of its own, since not every system can poll it.
fn read_lines(waker: Arc<Waker>) -> Receiver<String> {
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
            waker.wake().expect("the poll lives");
        }
        drop(sender);
        waker.wake().ok();
    });
    receiver
}

/// Beyond every deadline of the tokio side: no process stays behind.
const DEADLINE: Duration = Duration::from_secs(90);
