//! What goes into an endpoint, and what comes out of it.

use std::net::SocketAddr;

use bowline::{Endpoint, Event, Input, Output, Seed, Signal, UnixTime};

use crate::action::{Incoming, Reader};
use crate::bus::Parcel;
use crate::driver;
use crate::findings::Invariant;
use crate::marks::Mark;
use crate::net::{Datagram, Fate, HostId};
use crate::null_dtls::NullDtls;
use crate::rng::{Purpose, Stream};
use crate::time::Time;
use crate::trace::{Passage, Record};

use super::builder::{Dtls, identity};
use super::{Item, World};

impl World {
    /// Makes the endpoint of a host and binds its sockets.
    pub(super) fn start_endpoint(&mut self, host: HostId) {
        let now = self.clock.instant();
        let life = self.nodes[host].starts;
        let purpose = Purpose::Endpoint {
            host: u32::try_from(host).unwrap_or(u32::MAX),
            life,
        };
        let seed = Seed::from(Stream::new(self.seed, purpose).bytes32());
        let node = &mut self.nodes[host];
        let skew = node.spec.clock_skew_ms;
        self.marks.set_if(skew != 0, Mark::WallClockOff);
        let began = self.unix_millis.saturating_add_signed(skew);
        let unix = UnixTime::from_millis(began).plus(self.clock.now().since(Time::ZERO));
        node.starts += 1;
        let (config, identity) = (
            node.spec.config.clone(),
            identity(&node.spec.name, self.keyed),
        );
        let mut endpoint = match self.dtls {
            Dtls::Null => Endpoint::simulated(config, identity, seed, now, unix, &NullDtls),
            Dtls::Real => {
                Endpoint::new(config, identity, seed, now, unix).expect("a certificate can be made")
            }
        };
        if node.spec.remembers && life > 0 {
            self.marks.set(Mark::RestartWithMemory);
            endpoint.remember_sessions(&node.memory, now);
        }
        node.endpoint = Some(Box::new(endpoint));
        for local in node.addresses.clone() {
            self.input(host, Input::SocketBound { local });
        }
        if !self.bus.is_up(host) {
            self.nodes[host].vigil.on_hindered();
            self.input(host, Input::SignallingChanged { up: false });
        }
    }

    /// Gives an input to an endpoint and takes what comes out of it.
    pub(super) fn input(&mut self, host: HostId, input: Input<'_>) {
        let now = self.clock.instant();
        if self.nodes[host].endpoint.is_none() {
            return;
        }
        self.mark_input(host);
        let node = &mut self.nodes[host];
        self.stats.inputs += 1;
        node.on_input(length(&input));
        if let Some(endpoint) = &mut node.endpoint {
            endpoint.handle_input(input, now);
        }
        self.pump(host);
    }

    /// Wakes an endpoint whose deadline or tick is reached.
    pub(super) fn wake(&mut self, host: HostId, now: Time) {
        let instant = self.clock.instant();
        if self.nodes[host].next_wakeup().is_none_or(|at| at > now) {
            return;
        }
        self.rouse(host);
        if self.nodes[host].pulse.drains(now) {
            return self.drain(host);
        }
        let node = &mut self.nodes[host];
        if node.attacker.is_some() {
            return self.let_attack(host, |attacker, hands| attacker.on_timeout(hands));
        }
        let Some(endpoint) = &mut node.endpoint else {
            return;
        };
        let is_due = node.deadline.is_some_and(|at| at <= now);
        if is_due {
            node.wakeups.on_wakeup(node.id.as_str(), &mut self.findings);
        }
        self.stats.inputs += 1;
        node.work.on_input(0);
        node.given = now;
        let deadline = node.deadline.take();
        endpoint.handle_input(Input::Timeout, instant);
        self.mark_wakeup(deadline);
        let before = self.said();
        self.pump(host);
        let said = self.said() - before;
        self.findings
            .check(Invariant::PollContract, is_due || said == 0, || {
                format!("{host} had {said} things to say when nothing was due")
            });
    }

    /// How much all endpoints have said so far.
    fn said(&self) -> u64 {
        self.network.accounts().sent + self.bus.accounts().sent + self.stats.events
    }

    pub(super) fn on_datagram(&mut self, datagram: Datagram) {
        let Some(datagram) = self.network.land(datagram, self.clock.now()) else {
            return;
        };
        if let Some(server) = self.server_on(datagram.to) {
            return self.on_datagram_to_server(server, datagram);
        }
        let listens = self.nodes[datagram.to].listens();
        let Some(datagram) = self.network.arrive(datagram, listens) else {
            return;
        };
        let host = datagram.to;
        if self.nodes[host].attacker.is_some() {
            self.on_datagram_to_attacker(host, &datagram);
            return self.network.recycle(datagram);
        }
        self.mark_age(datagram.sent, Mark::Replay);
        self.nodes[host].known.insert(datagram.source);
        if self.is_server(host, datagram.source) {
            let way = (datagram.destination, datagram.source);
            let node = &mut self.nodes[host];
            let now = self.clock.now();
            node.relays.on_received(way, &datagram.contents, now);
        }
        self.nodes[host].vigil.on_heard(datagram.source);
        if is_answer(&datagram.contents) {
            let tuple = (datagram.destination, datagram.source);
            self.nodes[host].answers.insert(tuple, self.clock.now());
        }
        self.input(
            host,
            Input::Datagrams {
                local: datagram.destination,
                remote: datagram.source,
                contents: &datagram.contents,
                segment_size: datagram.contents.len(),
            },
        );
        self.network.recycle(datagram);
    }

    /// A signal arrives. A copy of one that was used must change nothing: no event but a refusal may follow.
    pub(super) fn on_parcel(&mut self, parcel: Parcel) {
        let Parcel {
            to: host,
            from,
            sent: since,
            serial,
            text,
        } = parcel;
        let node = &mut self.nodes[host];
        self.bus.arrive(node.listens());
        if node.attacker.is_some() {
            return self.let_attack(host, |attacker, hands| attacker.on_signal(&text, hands));
        }
        if !node.listens() {
            return;
        }
        self.mark_age(since, Mark::OldSignal);
        let node = &self.nodes[host];
        let due = node.deadline.is_some_and(|at| at <= self.clock.now());
        // Of one peer so many ended sessions are remembered, and who attacks may begin more.
        let used = node.signals.contains(&serial) && !self.forged.contains(&serial);
        let before = self.told;
        let sent = self.bus.accounts().sent;
        self.model.hears_signal = true;
        self.input(host, Input::Signal { text: &text });
        self.model.hears_signal = false;
        let told = self.told - before;
        if used && !due {
            let last = self.nodes[host].log.last();
            self.findings
                .check(Invariant::SignallingSafety, told == 0, || {
                    let last = last.map(|(_, event)| event);
                    format!("a duplicate from {from} made {host} tell {told} events, {last:?} last")
                });
        }
        // What comes at a bad moment is neither answered nor told of, so that its sender repeats it: then a copy
        // is as good as the first.
        if told > 0 || self.bus.accounts().sent > sent {
            self.nodes[host].signals.insert(serial);
        }
    }

    /// Takes everything that an endpoint has to say, unless its driver is busy with other things.
    pub(super) fn pump(&mut self, host: HostId) {
        let now = self.clock.now();
        if self.nodes[host].pulse.defers(now) {
            self.marks.set(Mark::LazyPoll);
        } else {
            self.drain(host);
        }
    }

    /// Takes everything that an endpoint has to say.
    pub(super) fn drain(&mut self, host: HostId) {
        let Some(mut endpoint) = self.nodes[host].endpoint.take() else {
            return;
        };
        let mut buf = std::mem::take(&mut self.buf);
        let mut steps = 0;
        let deadline = loop {
            steps += 1;
            match endpoint.poll_output(&mut buf) {
                Output::Transmit(transmit) => {
                    let tuple = (transmit.source, transmit.destination);
                    for contents in buf.chunks(transmit.segment_size.max(1)) {
                        steps += 1;
                        self.send_datagram(host, tuple, contents);
                    }
                }
                Output::Stream(need) => self.on_stream_output(host, need, &buf),
                Output::Need(need) => self.on_need(host, need),
                Output::Signal(signal) => self.send_signal(host, signal),
                Output::Event(event) => self.on_event(host, &mut endpoint, event),
                Output::Timeout(deadline) => break deadline,
                // The enum may grow: what is not known here is not acted on.
                _ => {}
            }
        };
        let again = match endpoint.poll_output(&mut buf) {
            Output::Timeout(again) => Some(again),
            _ => None,
        };
        self.buf = buf;
        let node = &mut self.nodes[host];
        let peers = endpoint.peers().count();
        node.endpoint = Some(endpoint);
        let name = node.id.as_str();
        node.work.on_drained(name, peers, steps, &mut self.findings);
        self.after_drain(
            host,
            deadline.map(|at| self.clock.time_of(at)),
            again.map(|again| again.map(|at| self.clock.time_of(at))),
        );
        self.serve_waiting(host);
    }

    fn after_drain(&mut self, host: HostId, deadline: Option<Time>, again: Option<Option<Time>>) {
        let now = self.clock.now();
        let node = &mut self.nodes[host];
        // Who is late with one deadline may hear of it again.
        let overdue = node.deadline.is_some_and(|at| at < node.given);
        let in_time = node.pulse.is_prompt() && !overdue;
        let given = in_time.then_some(node.given);
        let name = node.id.as_str();
        driver::check_deadline(name, given, (deadline, again), &mut self.findings);
        self.trace.on_deadline(now, host, deadline);
        node.deadline = deadline;
        node.tick = deadline.and_then(|_| self.driver.next_tick(now));
        let strangers = std::mem::take(&mut node.strangers);
        self.watch_deadlines(host, deadline);
        for address in strangers {
            // A discovery writes to the host itself, to see whether boxes turn that around.
            let known = self.nodes[host].known.contains(&address)
                || self.is_relayed(address)
                || self.network.is_outside_of(host, address.ip());
            self.findings.check(Invariant::KnownAddresses, known, || {
                format!("{host} wrote to {address}, which nobody announced")
            });
        }
    }

    fn send_datagram(&mut self, host: HostId, tuple: (SocketAddr, SocketAddr), contents: &[u8]) {
        self.check_destination(host, tuple.1);
        if self.is_server(host, tuple.1) {
            let node = &mut self.nodes[host];
            let most = node.spec.config.limits().max_relay_peers;
            let findings = &mut self.findings;
            node.relays.on_sent(tuple, contents, most, findings);
        } else {
            self.check_consent(host, tuple, contents);
        }
        self.watch_pace(host, tuple.1, contents);
        let fate = self.network.send(host, tuple, contents, self.clock.now());
        self.dispatch(host, contents, fate);
        if !self.attackers.is_empty() {
            self.overhear_datagram(tuple, contents);
        }
    }

    /// Lets a datagram of `host` meet its fate.
    pub(super) fn dispatch(&mut self, host: HostId, contents: &[u8], fate: Fate) {
        let now = self.clock.now();
        let (to, passage) = match fate {
            Fate::Dropped { to, cause } => (to, Passage::Dropped(cause)),
            Fate::Underway {
                to,
                first: (at, datagram),
                again,
            } => {
                let twice = again.is_some();
                self.queue.push(at, Item::Datagram(datagram));
                if let Some((at, copy)) = again {
                    self.queue.push(at, Item::Datagram(copy));
                }
                (
                    Some(to),
                    if twice {
                        Passage::Twice(at)
                    } else {
                        Passage::Arrives(at)
                    },
                )
            }
        };
        self.trace.on_datagram(now, (host, to), contents, passage);
    }

    fn send_signal(&mut self, host: HostId, signal: Signal) {
        let Signal { to, text } = signal;
        self.secrets.learn(&text);
        let text = self.hide_addresses(host, text);
        let heard = (!self.attackers.is_empty()).then(|| text.clone());
        let serial = self.post(host, to, text, None);
        if let (Some(text), Some(serial)) = (heard, serial) {
            self.overhear_signal(to, &text, serial);
        }
    }

    /// Gives a signal, or a copy of one, to the bus. Gives its number, unless it is lost.
    pub(super) fn post(
        &mut self,
        host: HostId,
        to: bowline::PeerId,
        text: String,
        copy_of: Option<u64>,
    ) -> Option<u64> {
        let now = self.clock.now();
        let to = self.by_id.get(&to).copied();
        if let Some(peer) = to {
            self.nodes[host].vigil.on_signal(peer);
        }
        let len = text.len();
        let mut serial = None;
        let passage = match self.bus.send(host, to, text, now) {
            Err(cause) => Passage::Dropped(cause),
            Ok((mut parcel, at, again)) => {
                parcel.serial = copy_of.unwrap_or(parcel.serial);
                serial = Some(parcel.serial);
                let copy = again.map(|again| (again, parcel.clone()));
                self.queue.push(at, Item::Signal(parcel));
                match copy {
                    None => Passage::Arrives(at),
                    Some((again, copy)) => {
                        self.queue.push(again, Item::Signal(copy));
                        Passage::Twice(at)
                    }
                }
            }
        };
        self.trace.on_signal(now, (host, to), len, passage);
        serial
    }

    fn on_event(&mut self, host: HostId, endpoint: &mut Endpoint, event: Event) {
        let peer = subject(&event).and_then(|id| self.by_id.get(&id).copied());
        self.trace.on_event(&self.clock, (host, peer), &event);
        if !matches!(event, Event::Message { .. }) {
            let name = self.nodes[host].id;
            let text = format!("{event:?}");
            self.secrets.check(name.as_str(), &text, &mut self.findings);
        }
        if !matches!(event, Event::SignalRefused { .. } | Event::Metrics { .. }) {
            self.stats.events += 1;
            // What waits for its turn may have it whenever its endpoint is asked.
            self.told += u64::from(!matches!(event, Event::Sent { .. }));
        }
        if let Some(peer) = peer {
            // What an attacker does follows no model.
            if self.nodes[peer].attacker.is_none() {
                self.model
                    .on_event((host, peer), &event, &mut self.findings);
                self.watch_event(host, peer, &event);
            }
            self.mark_event(host, &event);
            self.react((host, peer), endpoint, &event);
        }
        if self.trace.record() != Record::Hashes {
            self.nodes[host].log.push((self.clock.now(), event));
        }
    }

    /// What the application does as soon as it is told.
    fn react(&mut self, (host, peer): (HostId, HostId), endpoint: &mut Endpoint, event: &Event) {
        let (id, now) = (self.nodes[peer].id, self.clock.instant());
        match event {
            Event::Incoming { .. } => {
                let answer = match self.nodes[host].spec.incoming {
                    Incoming::Accept => endpoint.accept(id, now),
                    Incoming::Refuse => endpoint.refuse(id, now),
                    Incoming::Wait => Ok(()),
                };
                // Who is told late may answer too late, and a lazy driver is told late when something else comes.
                let is_lazy = !self.laziness(host).is_zero();
                let late = is_lazy || self.nodes[host].given < self.clock.now();
                self.findings
                    .check(Invariant::StateMachine, answer.is_ok() || late, || {
                        format!(
                            "{host} was told of an offer of {peer}, and then that there is none"
                        )
                    });
            }
            Event::Message {
                channel, message, ..
            } => {
                self.stats.received += 1;
                match self.nodes[host].spec.reader {
                    Reader::Prompt => {
                        if let Ok(mut peer) = endpoint.peer(id) {
                            peer.release(*channel, message.len(), now);
                        }
                    }
                    Reader::Rate(rate) => {
                        let (channel, bytes) = (*channel, message.len());
                        let birth = self.model.births(host, peer);
                        let at = self.read_until(host, bytes, rate);
                        self.queue.push(
                            at,
                            Item::Release {
                                host,
                                peer,
                                birth,
                                channel,
                                bytes,
                            },
                        );
                    }
                    Reader::Absent => {
                        let birth = self.model.births(host, peer);
                        let unread = &mut self.nodes[host].unread;
                        let unread = unread.entry((peer, birth, *channel)).or_default();
                        unread.push(message.len());
                    }
                }
            }
            Event::CandidateAdded { address, .. } => {
                self.nodes[host].known.insert(*address);
            }
            Event::Writable { .. } => self.nodes[host].writable.push(peer),
            Event::State { to, .. } if to.is_terminal() => {
                self.nodes[host].bulk.remove(&peer);
            }
            _ => {}
        }
    }

    /// Sends what waited for room on channels that have some again.
    fn serve_waiting(&mut self, host: HostId) {
        while let Some(peer) = self.nodes[host].writable.pop() {
            self.send_bulk(host, peer);
        }
    }
}

/// The peer that an event is about.
pub(crate) fn subject(event: &Event) -> Option<bowline::PeerId> {
    match event {
        Event::Initialised { peer }
        | Event::Incoming { peer, .. }
        | Event::State { peer, .. }
        | Event::ChannelOpen { peer, .. }
        | Event::ChannelClosed { peer, .. }
        | Event::ChannelError { peer, .. }
        | Event::Writable { peer, .. }
        | Event::Message { peer, .. }
        | Event::Sent { peer, .. }
        | Event::Delivered { peer, .. }
        | Event::NotDelivered { peer, .. }
        | Event::SignalSent { peer, .. }
        | Event::SignalReceived { peer, .. }
        | Event::CandidateAdded { peer, .. }
        | Event::CandidateIgnored { peer, .. }
        | Event::NegotiationDone { peer, .. }
        | Event::NegotiationFailed { peer, .. }
        | Event::DescriptionRewritten { peer, .. }
        | Event::PathChanged { peer, .. }
        | Event::PathHealth { peer, .. }
        | Event::ReconnectScheduled { peer, .. }
        | Event::ReconnectAttempt { peer, .. }
        | Event::Restored { peer, .. }
        | Event::Metrics { peer, .. } => Some(*peer),
        Event::SignalRefused { peer, .. } => *peer,
        _ => None,
    }
}

/// The bytes of an input.
fn length(input: &Input<'_>) -> usize {
    match input {
        Input::Datagrams { contents, .. } | Input::StreamData { contents, .. } => contents.len(),
        Input::Signal { text } => text.len(),
        _ => 0,
    }
}

/// Whether a datagram is a Binding success response (RFC 8489 section 6.3.3).
fn is_answer(contents: &[u8]) -> bool {
    contents.starts_with(&[0x01, 0x01])
}
