//! A small internet: a public network with a server that has two addresses, and peers behind gateways of every kind.
//!
//! ```text
//!                public: 203.0.113.1, 203.0.113.2
//!                          |
//!      --------------------+-------------------- 203.0.113.0/24
//!      |                   |                   |
//!   an open peer        gateway .11         gateway .12
//!                          | 192.168.11.1      | 192.168.12.1
//!                        peer .2             peer .2
//! ```
//!
//! The gateways are those of the kernel (netfilter). Each drops what comes to itself unasked: a datagram that it accepted
//! there would occupy the port, and the peer behind would be given another one.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::host::Host;

/// How a peer is connected to the public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Directly.
    Open,
    /// Behind a NAT with one mapping for all destinations, which everybody reaches.
    FullCone,
    /// The same, reached by addresses that were sent to.
    Restricted,
    /// The same, reached by addresses and ports that were sent to.
    PortRestricted,
    /// Behind a NAT with another mapping for each destination.
    Symmetric,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::FullCone,
        Self::Restricted,
        Self::PortRestricted,
        Self::Symmetric,
    ];
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::FullCone => "full cone",
            Self::Restricted => "restricted",
            Self::PortRestricted => "port restricted",
            Self::Symmetric => "symmetric",
        })
    }
}

/// The public network, and the gateways on it.
#[derive(Debug)]
pub struct Internet {
    /// The host of servers.
    pub public: Host,
    gateways: Vec<Host>,
    next: u8,
}

impl Internet {
    /// Makes the public network with its host, and no peers.
    ///
    /// # Errors
    ///
    /// As [`Host::new`].
    pub fn new() -> io::Result<Self> {
        let public = Host::new()?;
        public.ip("link add net type bridge")?;
        public.ip("link set net up")?;
        for server in SERVERS {
            public.address("net", server, 24)?;
        }
        Ok(Self {
            public,
            gateways: Vec::new(),
            next: FIRST,
        })
    }

    /// Makes a peer.
    ///
    /// # Errors
    ///
    /// As [`Host::new`], and what `ip` and `nft` say.
    pub fn peer(&mut self, access: Access) -> io::Result<Peer> {
        let number = self.next;
        self.next += 1;
        let outside = Ipv4Addr::new(203, 0, 113, number).into();
        let host = Host::new()?;
        if access == Access::Open {
            self.plug(&host, "eth0", number, outside)?;
            return Ok(Peer { host, outside });
        }
        let gateway = Host::new()?;
        self.plug(&gateway, "wan", number, outside)?;
        let [router, inside] = [1, 2].map(|last| Ipv4Addr::new(192, 168, number, last).into());
        gateway.connect("lan", &host, "eth0")?;
        gateway.address("lan", router, 24)?;
        host.address("eth0", inside, 24)?;
        host.ip(&format!("route add default via {router}"))?;
        gateway.forward()?;
        gateway.filter(&rules(access, inside))?;
        self.gateways.push(gateway);
        Ok(Peer { host, outside })
    }

    /// Connects a host to the public network.
    fn plug(&self, host: &Host, interface: &str, number: u8, outside: IpAddr) -> io::Result<()> {
        let port = format!("port{number}");
        self.public.connect(&port, host, interface)?;
        self.public.ip(&format!("link set {port} master net"))?;
        host.address(interface, outside, 24)
    }
}

/// A peer's host.
#[derive(Debug)]
pub struct Peer {
    /// Where it runs.
    pub host: Host,
    /// Its address, or that of its gateway.
    pub outside: IpAddr,
}

/// What a gateway does. `masquerade` keeps ports that are free and lets in what a connection was opened for, which is
/// port-restricted; with a random port for each connection it is symmetric.
fn rules(access: Access, inside: IpAddr) -> String {
    let (translate, note, admit) = match access {
        Access::Open | Access::PortRestricted => ("masquerade", "", String::new()),
        Access::FullCone => (
            "masquerade",
            "",
            format!("iifname wan udp dport 1024-65535 dnat to {inside}"),
        ),
        Access::Restricted => (
            "masquerade",
            "oifname wan ip protocol udp update @asked { udp sport . ip daddr }",
            format!("iifname wan udp dport . ip saddr @asked dnat to {inside}"),
        ),
        Access::Symmetric => ("masquerade fully-random", "", String::new()),
    };
    format!(
        "table ip gateway {{
            set asked {{ type inet_service . ipv4_addr; flags dynamic,timeout; timeout 60s; }}
            chain input {{ type filter hook input priority 0; iifname wan ct state new drop; }}
            chain forward {{ type filter hook forward priority 0; {note}; }}
            chain prerouting {{ type nat hook prerouting priority -100; {admit}; }}
            chain postrouting {{ type nat hook postrouting priority 100; oifname wan {translate}; }}
        }}"
    )
}

/// The addresses of [`Internet::public`].
pub const SERVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)),
];
/// The last byte of the address of the first peer.
const FIRST: u8 = 11;
