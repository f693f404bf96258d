//! UDP sockets: bound once for each family, announced once for each address of the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};

use bowline::{NeedId, Transmit};
use if_addrs::IfOperStatus;
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::debug;

/// What to bind, and which addresses of the machine to announce.
#[derive(Debug, Clone)]
pub(crate) struct BindPlan {
    /// The addresses to bind. Empty: the unspecified address of each family that is on.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) loopback: bool,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl BindPlan {
    fn wants(&self, ip: IpAddr) -> bool {
        let family = if ip.is_ipv4() { self.ipv4 } else { self.ipv6 };
        family && (self.loopback || !ip.is_loopback())
    }
}

/// The sockets of one endpoint, and the buffer that they receive into.
pub(crate) struct Sockets {
    plan: BindPlan,
    sockets: Vec<Socket>,
    /// Those that the core asked for: never announced, and gone when the others are replaced.
    extra: BTreeMap<NeedId, Socket>,
    buffer: Vec<u8>,
    metas: [RecvMeta; RECEIVE_SLOTS],
}

impl Sockets {
    /// Binds every address of `plan`. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the operating system says of the first address that cannot be bound. Of the two unspecified addresses
    /// one may fail, since many machines have one family only.
    pub(crate) fn bind(plan: BindPlan) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for address in &plan.addresses {
            sockets.push(Socket::bind(*address)?);
        }
        if plan.addresses.is_empty() {
            sockets = bind_each_family(&plan)?;
        }
        let mut this = Self {
            plan,
            sockets,
            extra: BTreeMap::new(),
            buffer: vec![0; RECEIVE_SLOTS * SLOT_SIZE],
            metas: [RecvMeta::default(); RECEIVE_SLOTS],
        };
        this.refresh();
        Ok(this)
    }

    /// Sockets that are all closed.
    pub(crate) fn none(plan: BindPlan) -> Self {
        Self {
            plan,
            sockets: Vec::new(),
            extra: BTreeMap::new(),
            buffer: Vec::new(),
            metas: Default::default(),
        }
    }

    pub(crate) fn plan(&self) -> &BindPlan {
        &self.plan
    }

    /// Reads the addresses of the machine again. Gives those that are new and those that are gone.
    pub(crate) fn refresh(&mut self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let before: BTreeSet<_> = self.locals().chain(self.extra_locals()).collect();
        if self.sockets.iter().any(|s| s.bound.ip().is_unspecified()) {
            match machine_addresses() {
                Ok(machine) => {
                    self.assign(&machine);
                    self.extra.retain(|_, s| machine.contains(&s.bound.ip()));
                }
                Err(error) => debug!(%error, "the addresses of the machine could not be read"),
            }
        }
        let after: BTreeSet<_> = self.locals().chain(self.extra_locals()).collect();
        (
            after.difference(&before).copied().collect(),
            before.difference(&after).copied().collect(),
        )
    }

    /// Binds a socket that the core needs at an address of the machine. Gives its address. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the operating system says; [`io::ErrorKind::InvalidInput`] for the unspecified address.
    pub(crate) fn bind_extra(&mut self, need: NeedId, ip: IpAddr) -> io::Result<SocketAddr> {
        if ip.is_unspecified() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let socket = Socket::bind(SocketAddr::new(ip, 0))?;
        let local = socket.bound;
        self.extra.insert(need, socket);
        Ok(local)
    }

    /// Closes the socket that was bound for a need, if there is one.
    pub(crate) fn close_extra(&mut self, need: NeedId) {
        self.extra.remove(&need);
    }

    /// The addresses of the sockets that the core asked for.
    pub(crate) fn extra_locals(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.extra.values().map(|socket| socket.bound)
    }

    fn assign(&mut self, machine: &[IpAddr]) {
        let plan = &self.plan;
        for socket in self
            .sockets
            .iter_mut()
            .filter(|s| s.bound.ip().is_unspecified())
        {
            let port = socket.bound.port();
            let ours = machine
                .iter()
                .filter(|ip| ip.is_ipv4() == socket.bound.is_ipv4() && plan.wants(**ip));
            socket.locals = ours.map(|ip| SocketAddr::new(*ip, port)).collect();
        }
    }

    /// Waits until a socket has a datagram.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let any = self
            .all()
            .fold(false, |any, s| any | s.io.poll_recv_ready(cx).is_ready());
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Waits until the socket that refused `unsent` takes datagrams again.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>, unsent: &Unsent) -> Poll<()> {
        if let Some(socket) = self.socket_of(unsent.transmit.source) {
            // An error shows itself when the datagram is sent again.
            let _error = ready!(socket.io.poll_send_ready(cx));
        }
        Poll::Ready(())
    }

    /// Takes one batch from every socket. Gives whether there may be more.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Received<'_>)) -> bool {
        let mut more = false;
        for socket in self.sockets.iter().chain(self.extra.values()) {
            let count = socket.receive(&mut self.buffer, &mut self.metas);
            more |= count == RECEIVE_SLOTS;
            for (slot, meta) in self.buffer.chunks(SLOT_SIZE).zip(&self.metas).take(count) {
                if let Some(received) = socket.locate(meta, slot) {
                    each(received);
                }
            }
        }
        more
    }

    /// Sends what `contents` holds, from `transmit.source`. A datagram that cannot be sent is lost, as on any path.
    ///
    /// # Errors
    ///
    /// [`Unsent`] when the socket is full: to be given to [`Sockets::send`] again when it is writable.
    pub(crate) fn send(
        &mut self,
        transmit: Transmit,
        contents: &[u8],
        from: usize,
    ) -> Result<(), Unsent> {
        let mut sockets = self.sockets.iter_mut().chain(self.extra.values_mut());
        let Some(socket) = sockets.find(|s| s.locals.contains(&transmit.source)) else {
            debug!("a datagram has no socket");
            return Ok(());
        };
        socket
            .send(transmit, contents, from)
            .map_err(|sent| Unsent { transmit, sent })
    }

    /// The addresses that are announced now.
    pub(crate) fn locals(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.iter().flat_map(|s| s.locals.iter().copied())
    }

    fn socket_of(&self, local: SocketAddr) -> Option<&Socket> {
        self.all().find(|s| s.locals.contains(&local))
    }

    fn all(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().chain(self.extra.values())
    }
}

/// One or more datagrams of one source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) contents: &'a [u8],
    pub(crate) segment_size: usize,
}

/// A transmit that a full socket refused, in whole or from the byte `sent` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsent {
    pub(crate) transmit: Transmit,
    pub(crate) sent: usize,
}

struct Socket {
    io: UdpSocket,
    offload: UdpSocketState,
    bound: SocketAddr,
    locals: Vec<SocketAddr>,
}

impl Socket {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let offload = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Best effort: the operating system may have a lower limit, and a small buffer only costs throughput.
        let _ = offload.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let _ = offload.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let bound = socket.local_addr()?;
        let locals = if bound.ip().is_unspecified() {
            Vec::new()
        } else {
            vec![bound]
        };
        Ok(Self {
            io: UdpSocket::from_std(socket)?,
            offload,
            bound,
            locals,
        })
    }

    /// Fills `buffer` slot by slot. Gives the number of slots that were filled; errors are none, as they name an
    /// earlier datagram that did not arrive (ICMP).
    fn receive(&self, buffer: &mut [u8], metas: &mut [RecvMeta; RECEIVE_SLOTS]) -> usize {
        let mut slots = buffer.chunks_exact_mut(SLOT_SIZE);
        let mut slots: [IoSliceMut<'_>; RECEIVE_SLOTS] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        self.io
            .try_io(Interest::READABLE, || {
                self.offload
                    .recv(UdpSockRef::from(&self.io), &mut slots, metas)
            })
            .unwrap_or(0)
    }

    /// Finds the announced address at which a batch arrived; none when it came to an address that is not announced.
    fn locate<'a>(&self, meta: &RecvMeta, slot: &'a [u8]) -> Option<Received<'a>> {
        let local = match meta.dst_ip {
            Some(ip) => SocketAddr::new(ip.to_canonical(), self.bound.port()),
            None => *self.locals.first()?,
        };
        let known = self.locals.contains(&local);
        let contents = slot.get(..meta.len).filter(|c| known && !c.is_empty())?;
        let remote = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        Some(Received {
            local,
            remote,
            contents,
            segment_size: meta.stride.max(1),
        })
    }

    /// Sends `contents` from the byte `from` on. Fails with the number of bytes that are dealt with when the socket
    /// is full.
    fn send(&mut self, transmit: Transmit, contents: &[u8], from: usize) -> Result<(), usize> {
        let mut sent = from;
        while let Some(rest) = contents.get(sent..).filter(|rest| !rest.is_empty()) {
            let step = self.step(transmit.segment_size).min(rest.len());
            match self.try_send(transmit, &rest[..step]) {
                Ok(()) => sent += step,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(sent),
                // The driver or the kernel refused offload, and says so by this one error only: send one by one.
                Err(_) if self.step(transmit.segment_size) < step => {}
                Err(error) => {
                    debug!(%error, "a datagram was not sent");
                    self.restore_offload(&error);
                    sent += step;
                }
            }
        }
        Ok(())
    }

    fn try_send(&self, transmit: Transmit, contents: &[u8]) -> io::Result<()> {
        let source = self
            .bound
            .ip()
            .is_unspecified()
            .then(|| transmit.source.ip());
        let datagrams = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: None,
            contents,
            segment_size: Some(transmit.segment_size),
            src_ip: source,
        };
        self.io.try_io(Interest::WRITABLE, || {
            self.offload
                .try_send(UdpSockRef::from(&self.io), &datagrams)
        })
    }

    /// The most bytes that one call may carry, in whole segments.
    fn step(&self, segment_size: usize) -> usize {
        let segment = segment_size.max(1);
        let fitting = (MAX_DATAGRAM / segment).max(1);
        segment * self.offload.max_gso_segments().clamp(1, fitting)
    }

    /// Switches segmentation offload on again after a plain datagram was refused as invalid.
    ///
    /// The kernel answers EINVAL also when the source address cannot reach the destination (loopback to elsewhere, or
    /// an address that is gone), and quinn-udp takes every EINVAL for missing offload and switches it off for good.
    fn restore_offload(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidInput
            && let Ok(fresh) = UdpSocketState::new(UdpSockRef::from(&self.io))
        {
            self.offload = fresh;
        }
    }
}

fn bind_each_family(plan: &BindPlan) -> io::Result<Vec<Socket>> {
    let all = [
        (plan.ipv4, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        (plan.ipv6, Ipv6Addr::UNSPECIFIED.into()),
    ];
    let wanted = all.into_iter().filter(|(on, _)| *on);
    let mut results: Vec<_> = wanted
        .map(|(_, ip)| Socket::bind(SocketAddr::new(ip, 0)))
        .collect();
    if results.iter().all(Result::is_err)
        && let Some(Err(error)) = results.pop()
    {
        return Err(error);
    }
    Ok(results.into_iter().filter_map(Result::ok).collect())
}

/// The addresses of the interfaces that are up. IPv6 link-local ones are left out: they need a zone, which candidates cannot carry
/// (RFC 8839 §5.1).
fn machine_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    Ok(interfaces
        .iter()
        .filter(|interface| interface.oper_status != IfOperStatus::Down)
        .map(if_addrs::Interface::ip)
        .filter(|ip| !needs_zone(*ip))
        .collect())
}

fn needs_zone(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Batches taken from one socket in one turn. Each may hold 64 datagrams where the kernel coalesces them.
const RECEIVE_SLOTS: usize = 8;
/// Room for one batch: the most that one read can give.
const SLOT_SIZE: usize = 65_536;
/// The most that IPv4 can carry in one call, less headers.
const MAX_DATAGRAM: usize = 65_507;
/// What the operating system is asked to keep for each direction.
const SOCKET_BUFFER: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    fn plan(addresses: Vec<SocketAddr>) -> BindPlan {
        BindPlan {
            addresses,
            loopback: true,
            ipv4: true,
            ipv6: false,
        }
    }

    fn loopback() -> Sockets {
        Sockets::bind(plan(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])).expect("binds")
    }

    fn local(sockets: &Sockets) -> SocketAddr {
        let loopback = sockets
            .locals()
            .find(|a| a.ip() == IpAddr::from(Ipv4Addr::LOCALHOST));
        loopback.expect("loopback is announced")
    }

    fn transmit(from: &Sockets, to: &Sockets, segment_size: usize) -> Transmit {
        Transmit {
            source: local(from),
            destination: local(to),
            segment_size,
        }
    }

    /// Sends all of it, waiting for the socket where needed.
    async fn send(sockets: &mut Sockets, transmit: Transmit, contents: &[u8]) {
        let mut sent = 0;
        while let Err(unsent) = sockets.send(transmit, contents, sent) {
            let writable = poll_fn(|cx| sockets.poll_writable(cx, &unsent));
            tokio::time::timeout(Duration::from_secs(5), writable)
                .await
                .expect("there is room");
            sent = unsent.sent;
        }
    }

    /// Receives until `count` datagrams came; gives their sizes and the addresses of the last.
    async fn collect(sockets: &mut Sockets, count: usize) -> (Vec<usize>, SocketAddr, SocketAddr) {
        let mut sizes = Vec::new();
        let mut ends = None;
        while sizes.len() < count {
            let readable = poll_fn(|cx| sockets.poll_readable(cx));
            tokio::time::timeout(Duration::from_secs(5), readable)
                .await
                .expect("datagrams come");
            sockets.receive(|r| {
                sizes.extend(r.contents.chunks(r.segment_size).map(<[u8]>::len));
                ends = Some((r.local, r.remote));
            });
        }
        let (local, remote) = ends.expect("one at least");
        (sizes, local, remote)
    }

    #[tokio::test]
    async fn a_batch_keeps_the_bounds_of_its_datagrams_and_its_addresses() {
        let (mut a, mut b) = (loopback(), loopback());
        let contents = vec![7; 1_200 * 3 + 5];
        let way = transmit(&a, &b, 1_200);
        send(&mut a, way, &contents).await;
        let (sizes, at, from) = collect(&mut b, 4).await;
        assert_eq!(sizes, [1_200, 1_200, 1_200, 5]);
        assert_eq!((at, from), (local(&b), local(&a)));
    }

    #[tokio::test]
    async fn a_socket_on_every_interface_tells_at_which_address_a_datagram_came() {
        let mut any = Sockets::bind(plan(Vec::new())).expect("binds");
        let mut other = loopback();
        assert!(any.locals().all(|a| !a.ip().is_unspecified()));
        let way = transmit(&other, &any, 9);
        send(&mut other, way, b"knock for").await;
        let (sizes, at, from) = collect(&mut any, 1).await;
        assert_eq!((sizes, at, from), (vec![9], local(&any), local(&other)));
    }

    #[tokio::test]
    async fn more_than_one_call_can_carry_is_sent_in_several() {
        let (mut a, mut b) = (loopback(), loopback());
        let contents = vec![1; 1_472 * 60];
        let way = transmit(&a, &b, 1_472);
        send(&mut a, way, &contents).await;
        let (sizes, ..) = collect(&mut b, 60).await;
        assert_eq!(sizes, vec![1_472; 60]);
    }

    #[tokio::test]
    async fn an_unreachable_destination_costs_neither_the_socket_nor_its_offload() {
        let mut any = Sockets::bind(plan(Vec::new())).expect("binds");
        let mut b = loopback();
        let before = any.sockets[0].step(1_200);
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9));
        let bad = Transmit {
            source: local(&any),
            destination: elsewhere,
            segment_size: 10,
        };
        for size in [10, 25] {
            send(&mut any, bad, &vec![0; size]).await;
        }
        assert_eq!(any.sockets[0].step(1_200), before);
        let way = transmit(&any, &b, 3);
        send(&mut any, way, b"yes").await;
        assert_eq!(collect(&mut b, 1).await.0, [3]);
    }

    #[tokio::test]
    async fn a_datagram_of_an_address_that_is_not_announced_goes_nowhere() {
        let mut a = loopback();
        let stranger = Transmit {
            source: SocketAddr::from(([127, 0, 0, 9], 1)),
            destination: local(&a),
            segment_size: 1,
        };
        send(&mut a, stranger, b"x").await;
    }

    #[tokio::test]
    async fn a_further_socket_carries_datagrams_and_is_not_announced() {
        let need: NeedId = serde_json::from_value(7.into()).expect("a number");
        let (mut a, mut b) = (loopback(), loopback());
        let announced: Vec<_> = a.locals().collect();
        let extra = a
            .bind_extra(need, Ipv4Addr::LOCALHOST.into())
            .expect("bound");
        assert_eq!(a.locals().collect::<Vec<_>>(), announced);
        assert_eq!(a.extra_locals().collect::<Vec<_>>(), [extra]);

        let way = Transmit {
            source: extra,
            ..transmit(&a, &b, 4)
        };
        send(&mut a, way, b"ping").await;
        let (sizes, at, from) = collect(&mut b, 1).await;
        assert_eq!((sizes, at, from), (vec![4], local(&b), extra));
        let back = Transmit {
            source: at,
            destination: extra,
            segment_size: 4,
        };
        send(&mut b, back, b"pong").await;
        assert_eq!(collect(&mut a, 1).await.1, extra);

        a.close_extra(need);
        assert_eq!(a.extra_locals().count(), 0);
        assert!(a.bind_extra(need, Ipv4Addr::UNSPECIFIED.into()).is_err());
        assert!(a.bind_extra(need, [192, 0, 2, 1].into()).is_err());
    }

    #[test]
    fn addresses_follow_the_plan() {
        let strict = BindPlan {
            addresses: vec![],
            loopback: false,
            ipv4: true,
            ipv6: false,
        };
        assert!(strict.wants([192, 0, 2, 1].into()));
        assert!(!strict.wants([127, 0, 0, 1].into()));
        assert!(!strict.wants(Ipv6Addr::LOCALHOST.into()));
        assert!(needs_zone("fe80::1".parse().expect("valid")));
        assert!(!needs_zone("2001:db8::1".parse().expect("valid")));
    }
}
