//! Binding sockets, and the addresses at which they can be reached.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use if_addrs::{IfOperStatus, Interface};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;

/// A driver that could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// No address was given, or none of the unspecified ones has a family that this machine has.
    #[error("no address to bind")]
    NoAddress,
    /// The tokens from the first one on do not suffice: one is needed for each address.
    #[error("the token range is too small for {0} sockets")]
    Tokens(usize),
    /// The registry could not be used.
    #[error("could not use the registry")]
    Registry(#[source] io::Error),
    /// A socket could not be bound, configured or registered.
    #[error("could not bind {address}")]
    Socket {
        /// The address that was given.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The addresses of this machine could not be listed.
    #[error("could not list the addresses of the network interfaces")]
    Interfaces(#[source] io::Error),
}

/// Binds a non-blocking UDP socket with buffers that hold a burst.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // Each family has its own socket, also on one port.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    enlarge_buffers(SockRef::from(&socket));
    Ok(socket.into())
}

/// Whether binding failed because the machine does not have the address family.
pub(crate) fn is_family_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable
    ) || error
        .raw_os_error()
        .is_some_and(|code| AF_NOT_SUPPORTED.contains(&code))
}

/// The addresses of this machine that a wildcard socket can be reached at.
pub(crate) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    Ok(usable(if_addrs::get_if_addrs()?))
}

fn usable(interfaces: Vec<Interface>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| interface.oper_status != IfOperStatus::Down)
        .map(Interface::ip)
        .filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !needs_zone(ip))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.len() > MAX_INTERFACE_ADDRESSES {
        tracing::warn!(
            found = addresses.len(),
            used = MAX_INTERFACE_ADDRESSES,
            "too many addresses"
        );
        addresses.truncate(MAX_INTERFACE_ADDRESSES);
    }
    addresses
}

/// IPv6 link-local addresses mean nothing without a zone, and a candidate cannot carry one (RFC 8839 §5.1).
fn needs_zone(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Asks for larger buffers. The operating system may grant less, which costs throughput only.
fn enlarge_buffers(socket: SockRef<'_>) {
    let granted = |size: io::Result<usize>| size.is_ok_and(|size| size >= BUFFER);
    if !granted(socket.recv_buffer_size()) && socket.set_recv_buffer_size(BUFFER).is_err() {
        tracing::debug!("the receive buffer keeps its size");
    }
    if !granted(socket.send_buffer_size()) && socket.set_send_buffer_size(BUFFER).is_err() {
        tracing::debug!("the send buffer keeps its size");
    }
}

/// A socket buffer that holds the burst of one congestion window.
const BUFFER: usize = 1 << 20;

/// The most addresses of the machine that one wildcard socket announces. As many candidates as a peer takes.
const MAX_INTERFACE_ADDRESSES: usize = 64;

/// `EAFNOSUPPORT` on Linux, on the BSDs and Apple systems, and `WSAEAFNOSUPPORT`: the standard library has no kind
/// for it.
const AF_NOT_SUPPORTED: [i32; 3] = [97, 47, 10_047];

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use if_addrs::{IfAddr, Ifv4Addr, Ifv6Addr};

    use super::*;

    #[test]
    fn both_families_bind_the_same_port() {
        let v4 = bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).expect("bound");
        let port = v4.local_addr().expect("bound").port();
        match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(v6) => assert_eq!(v6.local_addr().expect("bound").port(), port),
            Err(error) => assert!(is_family_missing(&error), "{error}"),
        }
    }

    #[test]
    fn unusable_addresses_are_left_out_and_others_come_once() {
        let found = usable(vec![
            v6("fe80::1"),
            v4("192.0.2.1"),
            v4("192.0.2.1"),
            v4("0.0.0.0"),
            v6("2001:db8::1"),
            down(v4("192.0.2.2")),
        ]);
        let expected: [IpAddr; 2] = [
            "192.0.2.1".parse().expect("an address"),
            "2001:db8::1".parse().expect("an address"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn no_more_addresses_than_the_bound_are_used() {
        let many = |count: usize| {
            (0..count)
                .map(|n| v4(&format!("192.0.2.{}", n + 1)))
                .collect()
        };
        assert_eq!(
            usable(many(MAX_INTERFACE_ADDRESSES)).len(),
            MAX_INTERFACE_ADDRESSES
        );
        assert_eq!(
            usable(many(MAX_INTERFACE_ADDRESSES + 1)).len(),
            MAX_INTERFACE_ADDRESSES
        );
    }

    fn v4(ip: &str) -> Interface {
        let ip = ip.parse().expect("an address");
        let netmask = Ipv4Addr::new(255, 255, 255, 0);
        interface(IfAddr::V4(Ifv4Addr {
            ip,
            netmask,
            prefixlen: 24,
            broadcast: None,
        }))
    }

    fn v6(ip: &str) -> Interface {
        let ip = ip.parse().expect("an address");
        let netmask = Ipv6Addr::UNSPECIFIED;
        interface(IfAddr::V6(Ifv6Addr {
            ip,
            netmask,
            prefixlen: 64,
            broadcast: None,
        }))
    }

    fn interface(addr: IfAddr) -> Interface {
        Interface {
            name: "test0".to_owned(),
            addr,
            index: None,
            oper_status: IfOperStatus::Up,
            is_p2p: false,
            #[cfg(windows)]
            adapter_name: String::new(),
        }
    }

    fn down(interface: Interface) -> Interface {
        Interface {
            oper_status: IfOperStatus::Down,
            ..interface
        }
    }
}
