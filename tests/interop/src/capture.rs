//! Where the packets of a host go, counted by its kernel: none is missed, and none is counted twice.

use std::io;
use std::net::IpAddr;

use serde_json::Value;

use crate::host::Host;

/// A count under way.
#[derive(Debug)]
pub struct Capture<'a> {
    host: &'a Host,
}

/// The packets that left a host. What stays on it is not counted, nor is what finds hosts (ARP, neighbour discovery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// UDP and TCP to the port of the server.
    pub to_server: u64,
    /// All other UDP and TCP.
    pub elsewhere: u64,
}

impl<'a> Capture<'a> {
    /// Counts from now on, in place of an earlier count.
    ///
    /// # Errors
    ///
    /// What `nft` says.
    pub fn start(host: &'a Host, server: IpAddr, port: u16) -> io::Result<Self> {
        host.filter(&format!(
            "table inet capture {{}}
            delete table inet capture
            table inet capture {{
                counter server {{}}
                counter elsewhere {{}}
                chain output {{
                    type filter hook output priority 0;
                    oifname lo accept
                    ip daddr {server} th dport {port} meta l4proto {{ tcp, udp }} counter name server accept
                    meta l4proto {{ tcp, udp }} counter name elsewhere
                }}
            }}"
        ))?;
        Ok(Self { host })
    }

    /// What was counted.
    ///
    /// # Errors
    ///
    /// What `nft` says.
    pub fn end(self) -> io::Result<Counted> {
        let listed = self.host.filtered("counters table inet capture")?;
        let packets = |name: &str| {
            let counters = listed["nftables"].as_array().into_iter().flatten();
            let mut counters = counters.map(|entry| &entry["counter"]);
            let found: Option<&Value> = counters.find(|counter| counter["name"] == name);
            found.and_then(|counter| counter["packets"].as_u64())
        };
        let counted = packets("server").zip(packets("elsewhere"));
        let (to_server, elsewhere) =
            counted.ok_or_else(|| io::Error::other(format!("no counters in {listed}")))?;
        Ok(Counted {
            to_server,
            elsewhere,
        })
    }
}
