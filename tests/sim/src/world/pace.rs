//! How the programs that drive endpoints fail at it: late, lazily, or not at all while their machine sleeps.

use std::time::Duration;

use crate::action::Pace;
use crate::marks::Mark;
use crate::net::HostId;
use crate::time::Time;

use super::{Item, World};

/// When the driver of one endpoint comes to it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pulse {
    /// By how much it is late at each deadline.
    late: Duration,
    /// How long it leaves outputs where they are.
    lazy: Duration,
    /// When it takes the outputs that wait; until then it looks at no deadline.
    drain_at: Option<Time>,
    /// Since when, and until when, the machine sleeps.
    asleep: Option<(Time, Time)>,
}

impl Pulse {
    pub(super) fn sleeps(&self) -> bool {
        self.asleep.is_some()
    }

    /// When the endpoint is woken, which wants to be at `deadline`, and is at `tick` as well.
    pub(super) fn next_wakeup(&self, deadline: Option<Time>, tick: Option<Time>) -> Option<Time> {
        if let Some((_, until)) = self.asleep {
            return Some(until);
        }
        if self.drain_at.is_some() {
            return self.drain_at;
        }
        if !self.late.is_zero() {
            return deadline.map(|deadline| deadline.after(self.late));
        }
        [deadline, tick].into_iter().flatten().min()
    }

    /// Whether its driver knows the deadline as soon as the endpoint does.
    pub(super) fn is_prompt(&self) -> bool {
        self.lazy.is_zero()
    }

    /// Whether outputs are left where they are at `now`, to be taken later.
    pub(super) fn defers(&mut self, now: Time) -> bool {
        if self.is_prompt() {
            return false;
        }
        let at = *self.drain_at.get_or_insert(now.after(self.lazy));
        at > now
    }

    /// Whether it is time to take the outputs that wait.
    pub(super) fn drains(&mut self, now: Time) -> bool {
        self.drain_at.take_if(|at| *at <= now).is_some()
    }
}

impl World {
    /// The machine of a host sleeps for a while. What is done to the host in this time happens when it wakes.
    pub fn suspend(&mut self, host: HostId, duration: Duration) {
        let now = self.clock.now();
        let node = &mut self.nodes[host];
        if node.endpoint.is_some() {
            node.pulse.asleep = Some((now, now.after(duration)));
        }
    }

    /// The program of a host drives its endpoint differently from now on.
    pub fn set_pace(&mut self, host: HostId, pace: Pace) {
        self.flush(host);
        let pulse = &mut self.nodes[host].pulse;
        pulse.late = Duration::from_millis(pace.late_ms);
        pulse.lazy = Duration::from_millis(pace.lazy_ms);
    }

    /// The driver of a host takes the outputs that wait.
    pub(super) fn flush(&mut self, host: HostId) {
        if self.nodes[host].pulse.drain_at.take().is_some() {
            self.drain(host);
        }
    }

    /// How old what a host gives out may be: it was made when the input came.
    pub(super) fn laziness(&self, host: HostId) -> Duration {
        self.nodes[host].pulse.lazy
    }

    /// The machine of a host wakes, if it slept.
    pub(super) fn rouse(&mut self, host: HostId) {
        let now = self.clock.now();
        let node = &mut self.nodes[host];
        if let Some((since, _)) = node.pulse.asleep.take() {
            for item in node.postponed.drain(..) {
                self.queue.push(now, item);
            }
            node.vigil.on_hindered();
            let slept = now.since(since);
            self.marks.set_if(slept >= NOTABLE, Mark::Suspend);
            self.marks.set_if(slept >= HOUR, Mark::SuspendForHours);
        }
    }

    /// Puts off what happens to a host whose machine sleeps. Gives back what does not wait.
    pub(super) fn postpone(&mut self, item: Item) -> Option<Item> {
        let host = match &item {
            Item::Action(action) => action.host(),
            Item::Release { host, .. } | Item::Reply(host, ..) => Some(*host),
            Item::Datagram(_) | Item::Signal(_) | Item::Late(_) | Item::ToServer(..) => None,
        };
        let node = host.and_then(|host| self.nodes.get_mut(host));
        match node.filter(|node| node.pulse.sleeps()) {
            Some(node) => {
                node.postponed.push(item);
                None
            }
            None => Some(item),
        }
    }
}

/// A sleep that the timers of a connection notice.
const NOTABLE: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
