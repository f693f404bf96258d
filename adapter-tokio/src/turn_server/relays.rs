use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;

/// The relay sockets of all clients, under the addresses that are told to the world.
///
/// Two clients of one server relay to each other, and behind a 1:1 NAT neither could reach the public address of the other
/// socket: so what goes there is sent to the socket itself.
#[derive(Debug, Default)]
pub(super) struct Relays {
    local_of: Mutex<BTreeMap<SocketAddr, SocketAddr>>,
}

/// The entry of one socket, taken out when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    shown: SocketAddr,
    relays: Arc<Relays>,
}

impl Relays {
    /// Notes a socket: the address that is told, and where this machine reaches it.
    pub(super) fn enter(self: &Arc<Self>, shown: SocketAddr, local: SocketAddr) -> Entry {
        self.lock().insert(shown, local);
        Entry {
            shown,
            relays: Arc::clone(self),
        }
    }

    /// Whether a socket is told under this address.
    pub(super) fn has_ip(&self, ip: IpAddr) -> bool {
        self.lock().keys().any(|shown| shown.ip() == ip)
    }

    /// Where the machine reaches the socket that is told under this address.
    pub(super) fn local_of(&self, shown: SocketAddr) -> Option<SocketAddr> {
        self.lock().get(&shown).copied()
    }

    /// The address under which a socket is told that sends from `local`; `own` are the addresses of the machine.
    pub(super) fn shown_of(&self, local: SocketAddr, own: &[IpAddr]) -> Option<SocketAddr> {
        let ip = local.ip().to_canonical();
        if !ip.is_loopback() && !own.contains(&ip) {
            return None;
        }
        let relays = self.lock();
        let mut relays = relays.iter();
        let found =
            relays.find(|(_, at)| at.port() == local.port() && at.is_ipv4() == local.is_ipv4());
        found.map(|(shown, _)| *shown)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, SocketAddr>> {
        self.local_of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn shown(&self) -> SocketAddr {
        self.shown
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.relays.lock().remove(&self.shown);
    }
}

/// An address at which relay sockets are bound, and the one that is told for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relayed {
    pub(super) bind: IpAddr,
    pub(super) shown: IpAddr,
}

impl Relayed {
    /// Binds a socket at a random port of the range. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the operating system said last; there may be free ports still that were not tried.
    pub(super) fn bind(&self, ports: &RangeInclusive<u16>) -> io::Result<UdpSocket> {
        let mut result = Err(io::ErrorKind::AddrInUse.into());
        for _ in 0..PORT_TRIES {
            let port = random_port(ports)?;
            result = std::net::UdpSocket::bind(SocketAddr::new(self.bind, port));
            if result.is_ok() {
                break;
            }
        }
        let socket = result?;
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    }
}

/// Ports are random, so that nobody knows where the next client's relay will be.
fn random_port(ports: &RangeInclusive<u16>) -> io::Result<u16> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    let count = u32::from(ports.end().saturating_sub(*ports.start())) + 1;
    let offset = u32::from_ne_bytes(bytes) % count;
    // It is less than the count, which fits.
    Ok(ports.start() + u16::try_from(offset).unwrap_or_default())
}

/// What is bound and told, for a server that listens at `listen`: one for each family that there is.
pub(super) fn relayed(listen: IpAddr, public: &[IpAddr]) -> Vec<Relayed> {
    let families: &[bool] = if listen.is_unspecified() && listen.is_ipv6() {
        &[true, false]
    } else {
        &[listen.is_ipv4()]
    };
    let of_family = |is_v4: &bool| {
        let bind = if listen.is_ipv4() == *is_v4 {
            listen
        } else {
            IpAddr::from([0; 4])
        };
        let public = public.iter().find(|ip| ip.is_ipv4() == *is_v4).copied();
        let concrete = (!bind.is_unspecified()).then_some(bind);
        let shown = public.or(concrete).or_else(|| outward(*is_v4))?;
        Some(Relayed { bind, shown })
    };
    families.iter().filter_map(of_family).collect()
}

/// The address from which this machine reaches the Internet, or else any that others may reach it at.
fn outward(is_v4: bool) -> Option<IpAddr> {
    // Connecting a UDP socket sends nothing: it looks the way up. The addresses are those of documentation (RFC 5737,
    // RFC 3849), which no way is special for.
    let (any, far) = if is_v4 {
        ("0.0.0.0:0", "192.0.2.1:9")
    } else {
        ("[::]:0", "[2001:db8::1]:9")
    };
    let looked_up = || {
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(far)?;
        socket.local_addr()
    };
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
    let found = looked_up().map(|address| address.ip()).ok();
    found.filter(usable).or_else(|| {
        let mut own = own_addresses(&[]).into_iter();
        own.find(|ip| ip.is_ipv4() == is_v4 && usable(ip))
    })
}

/// The addresses of the machine, and those that a NAT maps to it.
pub(super) fn own_addresses(public: &[IpAddr]) -> Vec<IpAddr> {
    let mut own = public.to_vec();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    own.extend(interfaces.iter().map(if_addrs::Interface::ip));
    own
}

/// Random ports that are tried for one relay.
const PORT_TRIES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_server_relays_at_what_it_listens_at_and_tells_what_the_world_sees() {
        let here = ip("127.0.0.1");
        let same = Relayed {
            bind: here,
            shown: here,
        };
        assert_eq!(relayed(here, &[]), [same]);
        let mapped = Relayed {
            bind: here,
            shown: ip("192.0.2.1"),
        };
        assert_eq!(
            relayed(here, &[ip("2001:db8::1"), ip("192.0.2.1")]),
            [mapped]
        );
        let both = relayed(ip("::"), &[ip("2001:db8::1"), ip("192.0.2.1")]);
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn ports_are_those_of_the_range() {
        for _ in 0..100 {
            assert!((7..=9).contains(&random_port(&(7..=9)).expect("randomness")));
        }
        assert_eq!(random_port(&(7..=7)).expect("randomness"), 7);
    }

    #[test]
    fn a_relay_is_found_both_ways_while_it_is_there() {
        let relays = Arc::new(Relays::default());
        let shown: SocketAddr = "192.0.2.1:50000".parse().expect("valid");
        let local: SocketAddr = "127.0.0.1:50000".parse().expect("valid");
        let entry = relays.enter(shown, local);
        assert_eq!(relays.local_of(shown), Some(local));
        assert!(relays.has_ip(shown.ip()) && !relays.has_ip(local.ip()));
        assert_eq!(relays.shown_of(local, &[]), Some(shown));
        let of_interface: SocketAddr = "10.0.0.1:50000".parse().expect("valid");
        assert_eq!(
            relays.shown_of(of_interface, &[ip("10.0.0.1")]),
            Some(shown)
        );
        assert_eq!(relays.shown_of(of_interface, &[]), None, "a stranger");
        drop(entry);
        assert_eq!(relays.local_of(shown), None);
    }
}
