//! One UDP socket in the poll, and the table of all of them.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use bowline::{NeedId, Transmit};
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use quinn_udp::{RecvMeta, UdpSocketState};

use crate::DriverStats;
use crate::bind::{self, BindError};
use crate::outbox::{self, Outbox};

/// The sockets of a driver and the addresses that they serve. Deregistered when dropped.
pub(crate) struct Sockets {
    registry: Registry,
    first: Token,
    /// By token. `None` where a socket was lost, so that the tokens of the others stay.
    slots: Vec<Option<Socket>>,
    /// The announced addresses, each with the index of its socket.
    locals: BTreeMap<SocketAddr, usize>,
    /// The addresses of the sockets that the core asked for, which are never announced.
    extra: BTreeMap<SocketAddr, (NeedId, usize)>,
}

impl Sockets {
    /// How many sockets the core may have besides the announced ones.
    pub(crate) const MAX_EXTRA: usize = 32;

    /// Binds and registers one socket for each of `addresses`. Takes that many tokens and [`Sockets::MAX_EXTRA`] more.
    pub(crate) fn bind(
        registry: &Registry,
        first: Token,
        addresses: &[SocketAddr],
    ) -> Result<Self, BindError> {
        let registry = registry.try_clone().map_err(BindError::Registry)?;
        let mut sockets = Self {
            registry,
            first,
            slots: Vec::new(),
            locals: BTreeMap::new(),
            extra: BTreeMap::new(),
        };
        for &address in addresses {
            sockets
                .add(address)
                .map_err(|source| BindError::Socket { address, source })?;
        }
        if sockets.slots.is_empty() {
            return Err(BindError::NoAddress);
        }
        let all = sockets.slots.len() + Self::MAX_EXTRA;
        sockets.slots.resize_with(all, || None);
        sockets.rescan().map_err(BindError::Interfaces)?;
        Ok(sockets)
    }

    /// Compares the addresses of the machine with the announced ones. Returns those that came and those that went.
    pub(crate) fn rescan(&mut self) -> io::Result<(Vec<SocketAddr>, Vec<SocketAddr>)> {
        let has_wildcard = self.slots.iter().flatten().any(Socket::is_wildcard);
        let machine = if has_wildcard {
            bind::interface_addresses()?
        } else {
            Vec::new()
        };
        let mut wanted = BTreeMap::new();
        for (index, socket) in self.slots.iter().enumerate() {
            let Some(socket) = socket.as_ref().filter(|s| !s.is_extra) else {
                continue;
            };
            wanted.extend(socket.serves(&machine).map(|local| (local, index)));
        }
        let missing_in = |other: &BTreeMap<SocketAddr, usize>,
                          one: &BTreeMap<SocketAddr, usize>| {
            one.keys()
                .copied()
                .filter(|local| !other.contains_key(local))
                .collect::<Vec<_>>()
        };
        let came = missing_in(&self.locals, &wanted);
        let went = missing_in(&wanted, &self.locals);
        self.locals = wanted;
        Ok((came, went))
    }

    /// Takes a socket out. Returns the address that it was bound to and those that it served.
    pub(crate) fn lose(&mut self, index: usize) -> Option<(SocketAddr, Vec<SocketAddr>)> {
        let mut socket = self.slots.get_mut(index)?.take()?;
        socket.deregister(&self.registry);
        let (gone, kept) = std::mem::take(&mut self.locals)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, of)| *of == index);
        self.locals = kept;
        let mut gone: Vec<_> = gone.into_keys().collect();
        if self.extra.remove(&socket.bound).is_some() {
            gone.push(socket.bound);
        }
        Some((socket.bound, gone))
    }

    /// Binds a socket that the core needs at an address of the machine. Gives its address.
    ///
    /// # Errors
    ///
    /// What the operating system says; or there are [`Sockets::MAX_EXTRA`], or the address is unspecified.
    pub(crate) fn bind_extra(&mut self, need: NeedId, ip: IpAddr) -> io::Result<SocketAddr> {
        let free = self.slots.iter().rposition(Option::is_none);
        let Some(index) = free.filter(|_| self.extra.len() < Self::MAX_EXTRA) else {
            return Err(io::Error::other("too many sockets"));
        };
        if ip.is_unspecified() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let token = Token(self.first.0 + index);
        let bound = bind::bind(SocketAddr::new(ip, 0))?;
        let mut socket = Socket::register(bound, &self.registry, token)?;
        socket.is_extra = true;
        let local = socket.bound;
        self.extra.insert(local, (need, index));
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(socket);
        }
        Ok(local)
    }

    /// Closes the socket that was bound for a need, if there is one.
    pub(crate) fn close_extra(&mut self, need: NeedId) {
        let mut extra = self.extra.values();
        if let Some((_, index)) = extra.find(|(of, _)| *of == need).copied() {
            self.lose(index);
        }
    }

    /// The addresses of the sockets that the core asked for.
    pub(crate) fn extra_locals(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.extra.keys().copied()
    }

    /// The announced addresses, in their order.
    pub(crate) fn locals(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.locals.keys().copied()
    }

    /// Whether `local` is announced, or an address that the core asked for.
    pub(crate) fn serves(&self, local: SocketAddr) -> bool {
        self.index_at(local).is_some()
    }

    fn index_at(&self, local: SocketAddr) -> Option<usize> {
        let extra = || self.extra.get(&local).map(|(_, index)| *index);
        self.locals.get(&local).copied().or_else(extra)
    }

    pub(crate) fn indexes(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    /// The index of the socket with this token, if the token is of this table.
    pub(crate) fn index_of(&self, token: Token) -> Option<usize> {
        let index = token.0.checked_sub(self.first.0)?;
        (index < self.slots.len()).then_some(index)
    }

    pub(crate) fn at(&mut self, index: usize) -> Option<&mut Socket> {
        self.slots.get_mut(index)?.as_mut()
    }

    pub(crate) fn any_readable(&self) -> bool {
        self.slots.iter().flatten().any(|socket| socket.readable)
    }

    /// Sends, or queues what the socket does not take. Returns the socket's index with an error that ends it.
    pub(crate) fn transmit(
        &mut self,
        transmit: Transmit,
        contents: &[u8],
        stats: &mut DriverStats,
    ) -> Result<(), (usize, io::Error)> {
        let Some(index) = self.index_at(transmit.source) else {
            stats.unknown_source += outbox::datagrams(&transmit, contents);
            return Ok(());
        };
        let Some(socket) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return Ok(());
        };
        socket
            .transmit(&self.registry, transmit, contents, stats)
            .map_err(|error| (index, error))
    }

    /// Sends what waits for a socket that has become writable.
    pub(crate) fn send_waiting(&mut self, index: usize, stats: &mut DriverStats) -> io::Result<()> {
        match self.slots.get_mut(index).and_then(Option::as_mut) {
            Some(socket) => socket.send_waiting(&self.registry, stats),
            None => Ok(()),
        }
    }

    /// Binds one more socket, unless it would be for a family that the machine does not have.
    fn add(&mut self, address: SocketAddr) -> io::Result<()> {
        let bound = match bind::bind(address) {
            Err(error) if address.ip().is_unspecified() && bind::is_family_missing(&error) => {
                tracing::debug!(%address, "the machine does not have this address family");
                return Ok(());
            }
            bound => bound?,
        };
        let token = Token(self.first.0 + self.slots.len());
        let socket = Socket::register(bound, &self.registry, token)?;
        self.slots.push(Some(socket));
        Ok(())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for socket in self.slots.iter_mut().flatten() {
            socket.deregister(&self.registry);
        }
    }
}

/// A registered UDP socket.
pub(crate) struct Socket {
    io: UdpSocket,
    offload: UdpSocketState,
    token: Token,
    /// The address that it is bound to. Unspecified where it serves all addresses of the machine.
    bound: SocketAddr,
    /// The core asked for it: its address is not announced.
    is_extra: bool,
    outbox: Outbox,
    /// There may be more to read: no edge will tell.
    pub(crate) readable: bool,
    /// Receive errors since the last success.
    pub(crate) failures: u32,
}

impl Socket {
    fn register(
        socket: std::net::UdpSocket,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let offload = UdpSocketState::new((&socket).into())?;
        let bound = socket.local_addr()?;
        let mut io = UdpSocket::from_std(socket);
        registry.register(&mut io, token, Interest::READABLE)?;
        let outbox = Outbox::default();
        Ok(Self {
            io,
            offload,
            token,
            bound,
            is_extra: false,
            outbox,
            readable: false,
            failures: 0,
        })
    }

    /// Reads once. Returns how many of the receiver's buffers are filled.
    pub(crate) fn receive(&self, receiver: &mut Receiver) -> io::Result<usize> {
        let mut slices = receiver
            .storage
            .each_mut()
            .map(|buffer| IoSliceMut::new(buffer));
        self.io.try_io(|| {
            self.offload
                .recv((&self.io).into(), &mut slices, &mut receiver.metas)
        })
    }

    /// The address at which a datagram for `destination` arrived. `None`: not one that could be told.
    pub(crate) fn local(&self, destination: Option<IpAddr>) -> Option<SocketAddr> {
        if !self.is_wildcard() {
            return Some(self.bound);
        }
        destination.map(|ip| SocketAddr::new(ip, self.bound.port()))
    }

    fn is_wildcard(&self) -> bool {
        self.bound.ip().is_unspecified()
    }

    /// The addresses at which it can be reached, given those of the machine.
    fn serves<'a>(&self, machine: &'a [IpAddr]) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let bound = self.bound;
        let alone = (!bound.ip().is_unspecified()).then_some(bound);
        let machine = if alone.is_some() { &[] } else { machine };
        let of_family = machine
            .iter()
            .filter(move |ip| ip.is_ipv4() == bound.is_ipv4());
        alone
            .into_iter()
            .chain(of_family.map(move |ip| SocketAddr::new(*ip, bound.port())))
    }

    fn transmit(
        &mut self,
        registry: &Registry,
        transmit: Transmit,
        contents: &[u8],
        stats: &mut DriverStats,
    ) -> io::Result<()> {
        let waits = !self.outbox.is_empty();
        let taken = if waits {
            0
        } else {
            self.send(&transmit, contents, stats)
        };
        let Some(rest @ [_, ..]) = contents.get(taken..) else {
            return Ok(());
        };
        stats.blocked += 1;
        stats.dropped += self.outbox.push(transmit, rest);
        if waits {
            Ok(())
        } else {
            self.watch_writable(registry, true)
        }
    }

    fn send_waiting(&mut self, registry: &Registry, stats: &mut DriverStats) -> io::Result<()> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        outbox.drain(|transmit, contents| self.send(transmit, contents, stats));
        self.outbox = outbox;
        if self.outbox.is_empty() {
            self.watch_writable(registry, false)
        } else {
            Ok(())
        }
    }

    /// Sends until the socket is full. Returns how many bytes need not be sent any more: those that left, and those
    /// that the operating system refused for good, which count as lost.
    fn send(&mut self, transmit: &Transmit, contents: &[u8], stats: &mut DriverStats) -> usize {
        let segment = transmit.segment_size.max(1);
        let source = self.is_wildcard().then(|| transmit.source.ip());
        let mut done = 0;
        while done < contents.len() {
            let end = contents.len().min(done + self.burst(segment));
            let burst = contents.get(done..end).unwrap_or_default();
            match self.send_burst(burst, segment, transmit.destination, source) {
                Ok(()) => done = end,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The offload was found not to work and is switched off now: the next burst is one segment.
                Err(_) if burst.len() > self.burst(segment) => {}
                Err(error) => {
                    tracing::trace!(%error, destination = %transmit.destination, "not sent");
                    stats.send_errors += outbox::datagrams(transmit, burst);
                    self.restore_offload(&error);
                    done = end;
                }
            }
        }
        done
    }

    fn send_burst(
        &self,
        contents: &[u8],
        segment: usize,
        destination: SocketAddr,
        src_ip: Option<IpAddr>,
    ) -> io::Result<()> {
        let segment_size = Some(segment);
        let burst = quinn_udp::Transmit {
            destination,
            ecn: None,
            contents,
            segment_size,
            src_ip,
        };
        self.io
            .try_io(|| self.offload.try_send((&self.io).into(), &burst))
    }

    /// Switches segmentation offload on again after a plain datagram was refused as invalid.
    ///
    /// The kernel answers EINVAL also when the source address cannot reach the destination (loopback to elsewhere, or
    /// an address that is gone), and quinn-udp takes every EINVAL for missing offload and switches it off for good.
    fn restore_offload(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidInput
            && let Ok(fresh) = UdpSocketState::new((&self.io).into())
        {
            self.offload = fresh;
        }
    }

    /// How many bytes one call may carry: whole segments, as many as the offload takes.
    fn burst(&self, segment: usize) -> usize {
        let segments = self.offload.max_gso_segments().min(MAX_BURST / segment);
        segment.saturating_mul(segments.max(1))
    }

    /// Asks for write readiness, or stops to. A standing interest would wake the loop after every datagram.
    fn watch_writable(&mut self, registry: &Registry, watch: bool) -> io::Result<()> {
        let interest = if watch {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        registry.reregister(&mut self.io, self.token, interest)
    }

    fn deregister(&mut self, registry: &Registry) {
        if let Err(error) = registry.deregister(&mut self.io) {
            tracing::debug!(%error, "the socket was not registered any more");
        }
    }
}

/// Buffers for one batch of datagrams.
pub(crate) struct Receiver {
    storage: [Vec<u8>; Self::BATCH],
    metas: [RecvMeta; Self::BATCH],
}

impl Receiver {
    /// How many buffers one read fills at most. Each may hold up to 64 coalesced datagrams.
    pub(crate) const BATCH: usize = 8;

    pub(crate) fn new() -> Self {
        let storage = std::array::from_fn(|_| vec![0; MAX_DATAGRAM]);
        Self {
            storage,
            metas: [RecvMeta::default(); Self::BATCH],
        }
    }

    /// The first `count` buffers with what is known of them.
    pub(crate) fn filled(&self, count: usize) -> impl Iterator<Item = (&RecvMeta, &[u8])> {
        let contents = |buffer: &'_ Vec<u8>, meta: &RecvMeta| meta.len.min(buffer.len());
        self.metas
            .iter()
            .zip(&self.storage)
            .take(count)
            .map(move |(meta, buffer)| (meta, &buffer[..contents(buffer, meta)]))
    }
}

/// What one buffer must hold: the largest UDP payload, and the most that receive offload coalesces.
const MAX_DATAGRAM: usize = 65_535;

/// The most bytes that segmentation offload takes in one call: an IPv4 packet without its headers.
const MAX_BURST: usize = 65_507;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    const FIRST: Token = Token(7);

    #[test]
    fn a_burst_of_segments_arrives_as_datagrams_of_their_size() {
        let mut poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let [source, destination] = bound(&sockets);
        let mut stats = DriverStats::default();

        let transmit = Transmit {
            source,
            destination,
            segment_size: 1_000,
        };
        let contents: Vec<u8> = (0..2_500_u32).map(|n| n.to_le_bytes()[0]).collect();
        sockets
            .transmit(transmit, &contents, &mut stats)
            .expect("the socket lives");

        let mut received: Vec<Vec<u8>> = Vec::new();
        let mut receiver = Receiver::new();
        while received.concat().len() < contents.len() {
            wait_readable(&mut poll, Token(FIRST.0 + 1));
            let socket = sockets.at(1).expect("not lost");
            while let Ok(count) = socket.receive(&mut receiver) {
                for (meta, contents) in receiver.filled(count) {
                    assert_eq!(meta.addr, source);
                    received.extend(contents.chunks(meta.stride).map(<[u8]>::to_vec));
                }
            }
        }
        assert_eq!(
            received.iter().map(Vec::len).collect::<Vec<_>>(),
            [1_000, 1_000, 500]
        );
        assert_eq!(received.concat(), contents);
        assert_eq!(stats, DriverStats::default());
    }

    #[test]
    fn a_wildcard_socket_tells_where_a_datagram_arrived_and_sends_from_there() {
        let mut poll = Poll::new().expect("a poll");
        let any = [([0, 0, 0, 0], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &any).expect("bound");
        let port = sockets.at(0).expect("not lost").bound.port();
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(
            sockets.serves(here),
            "loopback is an address of the machine"
        );

        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        stranger.send_to(b"ping", here).expect("sent");
        wait_readable(&mut poll, FIRST);
        let mut receiver = Receiver::new();
        let socket = sockets.at(0).expect("not lost");
        assert_eq!(socket.receive(&mut receiver).expect("readable"), 1);
        let (meta, contents) = receiver.filled(1).next().expect("filled");
        assert_eq!(
            (contents, socket.local(meta.dst_ip)),
            (&b"ping"[..], Some(here))
        );

        let destination = stranger.local_addr().expect("bound");
        let transmit = Transmit {
            source: here,
            destination,
            segment_size: 4,
        };
        sockets
            .transmit(transmit, b"pong", &mut DriverStats::default())
            .expect("sent");
        let mut buf = [0; 8];
        assert_eq!(stranger.recv_from(&mut buf).expect("received"), (4, here));
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_not_queued() {
        let poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let source = sockets.at(0).expect("not lost").bound;
        let mut stats = DriverStats::default();

        let elsewhere = SocketAddr::from(([127, 0, 0, 9], 9));
        let transmit = Transmit {
            source: elsewhere,
            destination: source,
            segment_size: 2,
        };
        sockets
            .transmit(transmit, &[0; 3], &mut stats)
            .expect("ignored");
        assert_eq!(stats.unknown_source, 2);

        // A socket that is bound to loopback cannot reach another network.
        let destination = SocketAddr::from(([192, 0, 2, 1], 9));
        let transmit = Transmit {
            source,
            destination,
            segment_size: 2,
        };
        sockets
            .transmit(transmit, &[0; 5], &mut stats)
            .expect("refused");
        assert_eq!(stats.send_errors, 3);
        assert!(sockets.at(0).expect("not lost").outbox.is_empty());
    }

    #[test]
    fn an_unreachable_destination_costs_a_socket_none_of_its_offload() {
        let poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let source = sockets.at(0).expect("not lost").bound;
        let before = sockets.at(0).expect("not lost").burst(1_200);
        let bad = Transmit {
            source,
            destination: ([192, 0, 2, 1], 9).into(),
            segment_size: 10,
        };
        for size in [10, 25] {
            let refused = sockets.transmit(bad, &vec![0; size], &mut DriverStats::default());
            refused.expect("the socket lives");
            assert_eq!(sockets.at(0).expect("not lost").burst(1_200), before);
        }
    }

    #[test]
    fn what_waits_leaves_when_the_socket_becomes_writable() {
        let mut poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let [source, destination] = bound(&sockets);
        let transmit = Transmit {
            source,
            destination,
            segment_size: 4,
        };
        let mut stats = DriverStats::default();

        // Loopback never refuses, so the queue is filled by hand, as a refused send leaves it.
        let socket = sockets.slots[0].as_mut().expect("not lost");
        socket.outbox.push(transmit, b"old!");
        socket
            .watch_writable(&sockets.registry, true)
            .expect("registered");
        sockets
            .transmit(transmit, b"new!", &mut stats)
            .expect("queued");
        assert_eq!(stats.blocked, 1, "what comes later waits behind");

        assert!(wait(&mut poll, |event| event.token() == FIRST
            && event.is_writable()));
        sockets.send_waiting(0, &mut stats).expect("sent");
        assert!(sockets.at(0).expect("not lost").outbox.is_empty());
        assert_eq!(receive_all(&mut poll, &mut sockets, 2), [b"old!", b"new!"]);
        assert_eq!((stats.blocked, stats.dropped), (1, 0));
    }

    #[test]
    fn a_lost_socket_takes_its_addresses_along_and_leaves_the_tokens_of_others() {
        let poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let [lost, kept] = bound(&sockets);

        assert_eq!(sockets.lose(0), Some((lost, vec![lost])));
        assert_eq!(sockets.lose(0), None, "only once");
        assert_eq!(sockets.locals().collect::<Vec<_>>(), [kept]);
        assert_eq!(sockets.rescan().expect("nothing to list"), (vec![], vec![]));
        assert_eq!(sockets.index_of(Token(FIRST.0 + 1)), Some(1));
        let beyond = FIRST.0 + 2 + Sockets::MAX_EXTRA;
        assert_eq!(sockets.index_of(Token(beyond)), None);
        assert_eq!(sockets.index_of(Token(FIRST.0 - 1)), None);
    }

    #[test]
    fn addresses_that_cannot_work_are_refused() {
        let poll = Poll::new().expect("a poll");
        let bind = |first, addresses: &[SocketAddr]| {
            Sockets::bind(poll.registry(), first, addresses)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(bind(FIRST, &[]).as_deref(), Some("no address to bind"));
        assert_eq!(
            bind(FIRST, &[([192, 0, 2, 1], 0).into()]).as_deref(),
            Some("could not bind 192.0.2.1:0")
        );
    }

    #[test]
    fn a_further_socket_carries_datagrams_and_no_more_than_the_bound_are_bound() {
        let mut poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into()];
        let mut sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let need = |number: usize| -> NeedId {
            serde_json::from_value((number as u64).into()).expect("a number")
        };
        let here = IpAddr::from([127, 0, 0, 1]);
        let extra = sockets.bind_extra(need(0), here).expect("bound");
        let announced = bound(&sockets);
        assert!(!announced.contains(&extra) && sockets.serves(extra));
        let (came, went) = sockets.rescan().expect("listed");
        assert!(came.is_empty() && went.is_empty(), "it stays unannounced");

        let transmit = Transmit {
            source: announced[0],
            destination: extra,
            segment_size: 4,
        };
        let mut stats = DriverStats::default();
        sockets
            .transmit(transmit, b"ping", &mut stats)
            .expect("the socket lives");
        let index = sockets.index_at(extra).expect("there");
        wait_readable(&mut poll, Token(FIRST.0 + index));

        for number in 1..Sockets::MAX_EXTRA {
            sockets.bind_extra(need(number), here).expect("bound");
        }
        assert!(sockets.bind_extra(need(99), here).is_err());
        sockets.close_extra(need(0));
        assert!(!sockets.serves(extra));
        assert!(sockets.bind_extra(need(99), here).is_ok());
        assert_eq!(bound(&sockets), announced);
    }

    #[test]
    fn dropping_the_sockets_frees_their_ports() {
        let poll = Poll::new().expect("a poll");
        let loopback = [([127, 0, 0, 1], 0).into()];
        let sockets = Sockets::bind(poll.registry(), FIRST, &loopback).expect("bound");
        let bound: Vec<_> = sockets.locals().collect();
        assert!(
            Sockets::bind(poll.registry(), FIRST, &bound).is_err(),
            "in use"
        );
        drop(sockets);
        assert!(Sockets::bind(poll.registry(), FIRST, &bound).is_ok());
    }

    fn bound(sockets: &Sockets) -> [SocketAddr; 2] {
        [0, 1].map(|index| sockets.slots[index].as_ref().expect("not lost").bound)
    }

    fn receive_all(poll: &mut Poll, sockets: &mut Sockets, count: usize) -> Vec<Vec<u8>> {
        let mut received = Vec::new();
        let mut receiver = Receiver::new();
        while received.len() < count {
            if let Ok(count) = sockets.at(1).expect("not lost").receive(&mut receiver) {
                let datagrams = receiver.filled(count);
                received
                    .extend(datagrams.flat_map(|(m, c)| c.chunks(m.stride).map(<[u8]>::to_vec)));
            } else {
                wait_readable(poll, Token(FIRST.0 + 1));
            }
        }
        received
    }

    fn wait_readable(poll: &mut Poll, token: Token) {
        assert!(wait(poll, |event| event.token() == token && event.is_readable()));
    }

    /// Waits up to five seconds for an event.
    fn wait(poll: &mut Poll, wanted: impl Fn(&mio::event::Event) -> bool) -> bool {
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::from_secs(5)))
            .expect("polled");
        events.iter().any(wanted)
    }
}
