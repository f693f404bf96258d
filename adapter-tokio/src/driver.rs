//! The task behind an endpoint: it alone reads and writes sockets, carries signals and keeps time.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::{Input, Need, Output, Signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use crate::clock::WallClock;
use crate::interfaces::Interfaces;
use crate::needs::{Answer, Needs, Tls};
use crate::shared::{Life, Shared, State};
use crate::signalling::{LinkStatus, Signalling};
use crate::socket::{Sockets, Unsent};

/// The task behind an endpoint.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    sockets: Sockets,
    needs: Needs,
    /// The answer that ended the last wait.
    answer: Option<Answer>,
    signals_out: Option<mpsc::Sender<Signal>>,
    signals_in: Option<mpsc::Receiver<String>>,
    /// How the link is, as long as somebody reports it.
    link: Option<watch::Receiver<LinkStatus>>,
    /// What the core was told of it.
    link_up: bool,
    /// The signal that ended the last wait.
    signal: Option<String>,
    /// What the core last asked to send. It is kept while a socket is full.
    buffer: Vec<u8>,
    blocked: Option<Unsent>,
    deadline: Option<Instant>,
    wall: WallClock,
    interfaces: Interfaces,
    survey_due: bool,
}

/// What to do after a turn.
enum Next {
    /// There is more to do.
    Turn,
    /// Wait for the world.
    Wait,
    /// Stop.
    End,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sockets: Sockets,
        tls: Tls,
        signalling: Option<Signalling>,
    ) -> Self {
        let link = signalling.as_ref().map(Signalling::status);
        let (signals_out, signals_in) = signalling.map(|s| (s.outbound, s.inbound)).unzip();
        // They are announced in the first turn, as new ones always are.
        let unbound = Sockets::none(sockets.plan().clone());
        shared.lock().replace_sockets(sockets);
        Self {
            shared,
            sockets: unbound,
            needs: Needs::new(tls),
            answer: None,
            signals_out,
            signals_in,
            link,
            link_up: true,
            signal: None,
            buffer: Vec::new(),
            blocked: None,
            deadline: None,
            wall: WallClock::new(Instant::now(), WallClock::shows()),
            interfaces: Interfaces::new(),
            survey_due: false,
        }
    }

    /// Drives the endpoint until it ends.
    pub(crate) async fn run(mut self) {
        // Also when the runtime shuts down under this task, or the core has a bug: nobody may wait forever.
        let _guard = EndGuard(Arc::clone(&self.shared));
        loop {
            match self.turn() {
                Next::Turn => tokio::task::yield_now().await,
                Next::Wait => self.wait().await,
                Next::End => return,
            }
        }
    }

    /// Takes a bounded amount of input, then does a bounded amount of what the core asks.
    fn turn(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let now = Instant::now();
        if state.life == Life::Ended {
            return Next::End;
        }
        self.change_sockets(&mut state, now);
        if self.blocked.is_some() && !self.send_rest() {
            return Next::Wait;
        }
        // What the application commanded comes before what came in meanwhile: a channel that it has opened takes data.
        self.drain_output(&mut state, now);
        if self.blocked.is_some() {
            return Next::Wait;
        }
        let more = self.take_input(&mut state, now);
        let drained = self.drain_output(&mut state, now);
        if self.blocked.is_some() {
            return Next::Wait;
        }
        if drained && state.is_finished(now) {
            return Next::End;
        }
        if let Life::Closing(last) = state.life {
            self.deadline = Some(self.deadline.map_or(last, |deadline| deadline.min(last)));
        }
        if more || !drained {
            Next::Turn
        } else {
            Next::Wait
        }
    }

    fn change_sockets(&mut self, state: &mut State, now: Instant) {
        let (added, removed): (Vec<_>, Vec<_>) = if let Some(sockets) = state.take_new_sockets() {
            let old = std::mem::replace(&mut self.sockets, sockets);
            self.blocked = None;
            for answer in self.needs.close_all() {
                state.core.handle_input(answer.input(), now);
            }
            let removed = old.locals().chain(old.extra_locals());
            (self.sockets.locals().collect(), removed.collect())
        } else if std::mem::take(&mut self.survey_due) {
            self.sockets.refresh()
        } else {
            return;
        };
        for local in removed {
            state.core.handle_input(Input::SocketClosed { local }, now);
        }
        for local in added {
            state.core.handle_input(Input::SocketBound { local }, now);
        }
        state.locals = self.sockets.locals().collect();
    }

    /// Gives whether there may be more.
    fn take_input(&mut self, state: &mut State, now: Instant) -> bool {
        if let Some(unix_time) = self.wall.look(now, WallClock::shows()) {
            state
                .core
                .handle_input(Input::WallClockSet { unix_time }, now);
        }
        let more = self.sockets.receive(|received| {
            let datagrams = Input::Datagrams {
                local: received.local,
                remote: received.remote,
                contents: received.contents,
                segment_size: received.segment_size,
            };
            state.core.handle_input(datagrams, now);
        });
        for _ in 0..MAX_ANSWERS {
            let Some(answer) = self.answer.take().or_else(|| self.needs.try_next()) else {
                break;
            };
            state.core.handle_input(answer.input(), now);
        }
        self.take_link_status(state, now);
        for _ in 0..MAX_SIGNALS {
            let waiting = || self.signals_in.as_mut()?.try_recv().ok();
            let Some(text) = self.signal.take().or_else(waiting) else {
                break;
            };
            state.core.handle_input(Input::Signal { text: &text }, now);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            state.core.handle_input(Input::Timeout, now);
        }
        more
    }

    /// Tells the core when the link has gone down or come up.
    fn take_link_status(&mut self, state: &mut State, now: Instant) {
        let Some(link) = &mut self.link else { return };
        let up = link.borrow_and_update().up;
        // Whoever does not report is taken at the last word.
        if link.has_changed().is_err() {
            self.link = None;
        }
        if std::mem::replace(&mut self.link_up, up) != up {
            state
                .core
                .handle_input(Input::SignallingChanged { up }, now);
        }
    }

    /// Gives whether the core has nothing more to ask.
    fn drain_output(&mut self, state: &mut State, now: Instant) -> bool {
        for _ in 0..MAX_OUTPUTS {
            match state.core.poll_output(&mut self.buffer) {
                Output::Transmit(transmit) => {
                    self.blocked = self.sockets.send(transmit, &self.buffer, 0).err();
                    if self.blocked.is_some() {
                        return false;
                    }
                }
                Output::Stream(need) => self.needs.send(need, &self.buffer),
                Output::Need(need) => self.carry_out(need, state, now),
                Output::Signal(signal) => self.send_signal(signal),
                Output::Event(event) => self.shared.on_event(state, event, now),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return true;
                }
                other => debug!(?other, "the core asks for something unknown"),
            }
        }
        false
    }

    fn carry_out(&mut self, need: Need, state: &mut State, now: Instant) {
        if let Need::Close { need } = need {
            self.sockets.close_extra(need);
        }
        if let Err((need, ip)) = self.needs.carry_out(need) {
            let bound = self.sockets.bind_extra(need, ip);
            let local = bound
                .inspect_err(|error| debug!(%need, %ip, %error, "no socket could be bound"))
                .ok();
            state.core.handle_input(Input::Bound { need, local }, now);
        }
    }

    fn send_signal(&self, signal: Signal) {
        let sent = self.signals_out.as_ref().map(|link| link.try_send(signal));
        if !matches!(sent, Some(Ok(()))) {
            debug!("a signal is lost: the link is full or gone; the core repeats it");
        }
    }

    /// Sends what a full socket refused. Gives whether it is through.
    fn send_rest(&mut self) -> bool {
        if let Some(unsent) = self.blocked.take() {
            self.blocked = self
                .sockets
                .send(unsent.transmit, &self.buffer, unsent.sent)
                .err();
        }
        self.blocked.is_none()
    }

    async fn wait(&mut self) {
        if let Some(unsent) = self.blocked {
            let writable = poll_fn(|cx| self.sockets.poll_writable(cx, &unsent));
            if timeout(PATIENCE, writable).await.is_err() {
                debug!("a socket stays full: what it should have sent is lost");
                self.blocked = None;
            }
            return;
        }
        let deadline = self.deadline;
        let sleep = async {
            match deadline {
                Some(deadline) => sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.woken() => {}
            () = poll_fn(|cx| self.sockets.poll_readable(cx)) => {}
            answer = self.needs.next() => self.answer = Some(answer),
            text = next_signal(&mut self.signals_in) => self.signal = Some(text),
            () = link_changed(&mut self.link) => {}
            () = self.interfaces.changed() => self.survey_due = true,
            () = sleep => {}
        }
    }
}

/// The next signal that the link brings; waits forever once it is gone.
async fn next_signal(signals: &mut Option<mpsc::Receiver<String>>) -> String {
    if let Some(receiver) = signals {
        if let Some(text) = receiver.recv().await {
            return text;
        }
        *signals = None;
    }
    std::future::pending().await
}

/// The link went down or came up, or nobody reports it any more; waits forever after that.
async fn link_changed(link: &mut Option<watch::Receiver<LinkStatus>>) {
    match link {
        // Which of them it is, is seen in the next turn.
        Some(link) => drop(link.changed().await),
        None => std::future::pending().await,
    }
}

struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Answers to needs taken in one turn.
const MAX_ANSWERS: usize = 64;
/// Signals taken in one turn.
const MAX_SIGNALS: usize = 64;
/// Transmits, signals and events handled in one turn.
const MAX_OUTPUTS: usize = 256;
/// How long the core waits for a full socket before the datagram is given up: the others have to go on.
const PATIENCE: Duration = Duration::from_millis(50);
