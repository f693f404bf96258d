//! What happens in a world from outside: calls of the applications, and faults.

use std::fmt;
use std::net::SocketAddr;

use bowline::ChannelKind;
use serde::{Deserialize, Serialize};

use crate::net::{Firewall, GatewayId, HostId, LinkConfig};
use crate::server::{Misbehaviour, ServerId};

/// One call or fault. Hosts are named by their numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a scenario has few of them")]
pub enum Action {
    /// `from` calls `connect`.
    Connect {
        /// The host.
        from: HostId,
        /// The peer.
        to: HostId,
    },
    /// `host` accepts an offer that waits.
    Accept {
        /// The host.
        host: HostId,
        /// The peer.
        peer: HostId,
    },
    /// `host` refuses an offer that waits.
    Refuse {
        /// The host.
        host: HostId,
        /// The peer.
        peer: HostId,
    },
    /// `from` sends messages. Those that find the queue full follow as soon as it is writable.
    Send {
        /// The host.
        from: HostId,
        /// The peer.
        to: HostId,
        /// The channel.
        channel: ChannelKind,
        /// The bytes of each.
        size: usize,
        /// How many.
        count: u32,
        /// Whether they are text.
        text: bool,
    },
    /// `from` closes the connection gracefully.
    Close {
        /// The host.
        from: HostId,
        /// The peer.
        to: HostId,
    },
    /// `host` closes all its connections.
    CloseAll {
        /// The host.
        host: HostId,
    },
    /// `from` begins an ICE restart.
    Restart {
        /// The host.
        from: HostId,
        /// The peer.
        to: HostId,
    },
    /// `from` builds a new transport.
    Rebuild {
        /// The host.
        from: HostId,
        /// The peer.
        to: HostId,
    },
    /// The endpoint of `host` vanishes with all that it knows.
    Crash {
        /// The host.
        host: HostId,
    },
    /// The machine of `host` sleeps: no time passes for its endpoint, what is sent to it is lost, and then its clock has jumped.
    Suspend {
        /// The host.
        host: HostId,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// The program that drives the endpoint of `host` is busy with other things from now on, or no longer.
    SetPace {
        /// The host.
        host: HostId,
        /// How.
        pace: Pace,
    },
    /// A new endpoint of the same name starts on a host that crashed.
    Start {
        /// The host.
        host: HostId,
    },
    /// A socket of `host` is closed.
    Unbind {
        /// The host.
        host: HostId,
        /// Its address.
        address: SocketAddr,
    },
    /// A socket of `host` is bound.
    Bind {
        /// The host.
        host: HostId,
        /// Its address.
        address: SocketAddr,
    },
    /// The application of `host` reads differently from now on.
    SetReader {
        /// The host.
        host: HostId,
        /// How.
        reader: Reader,
    },
    /// Datagrams from `from` to `to` are lost for a while. The way back is not touched.
    Partition {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Datagrams from `from` to `to` are held back for a while, and then arrive all at once.
    Clog {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// Signals from `from` to `to` are lost for a while. The way back is not touched.
    PartitionBus {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// The way of a host to signalling is up or down, and its endpoint is told.
    SetSignalling {
        /// The host.
        host: HostId,
        /// Whether it is up.
        up: bool,
    },
    /// The link changes, in one direction.
    SetLink {
        /// The sender.
        from: HostId,
        /// The receiver.
        to: HostId,
        /// What it is like now.
        link: LinkConfig,
    },
    /// A box forgets all mappings, and gives out other ports from then on.
    RebootGateway {
        /// The box.
        gateway: GatewayId,
    },
    /// A box gets another address outside, and forgets all mappings.
    RenumberGateway {
        /// The box.
        gateway: GatewayId,
    },
    /// A box lets other datagrams pass from now on.
    SetFirewall {
        /// The box.
        gateway: GatewayId,
        /// What it drops.
        firewall: Firewall,
    },
    /// A server misbehaves from now on, or no longer.
    Misbehave {
        /// The server.
        server: ServerId,
        /// How; nothing is well.
        #[serde(default)]
        how: Option<Misbehaviour>,
    },
    /// A server vanishes with all its allocations.
    CrashServer {
        /// The server.
        server: ServerId,
    },
    /// A server that crashed starts, and knows of nothing.
    StartServer {
        /// The server.
        server: ServerId,
    },
    /// A server crashes and starts at once.
    RebootServer {
        /// The server.
        server: ServerId,
    },
    /// Every fault of network and bus ends. Firewalls are as they were configured, and all servers run and behave.
    Heal,
}

/// How late the program is that drives an endpoint. The default is in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// By how many milliseconds it is late at every deadline.
    pub late_ms: u64,
    /// How many milliseconds pass before it takes the outputs that an input or a call has led to.
    pub lazy_ms: u64,
}

/// How the application reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// It releases each message at once.
    #[default]
    Prompt,
    /// It releases this many bytes each second.
    Rate(u64),
    /// It never releases anything.
    Absent,
}

/// What the application does with a peer that asks to connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incoming {
    /// It accepts at once.
    #[default]
    Accept,
    /// It refuses at once.
    Refuse,
    /// It does nothing, until an action does.
    Wait,
}

/// One line, as traces show it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { from, to } => write!(f, "connect {from} -> {to}"),
            Self::Accept { host, peer } => write!(f, "{host} accepts {peer}"),
            Self::Refuse { host, peer } => write!(f, "{host} refuses {peer}"),
            Self::Send {
                from,
                to,
                channel,
                size,
                count,
                ..
            } => {
                write!(f, "send {count} x {size} B {channel} {from} -> {to}")
            }
            Self::Close { from, to } => write!(f, "close {from} -> {to}"),
            Self::CloseAll { host } => write!(f, "{host} closes all"),
            Self::Restart { from, to } => write!(f, "restart ice {from} -> {to}"),
            Self::Rebuild { from, to } => write!(f, "rebuild {from} -> {to}"),
            Self::Crash { host } => write!(f, "{host} crashes"),
            Self::Suspend { host, for_ms } => write!(f, "{host} sleeps for {for_ms} ms"),
            Self::SetPace { host, pace } => write!(f, "{host} is driven with {pace:?}"),
            Self::Start { host } => write!(f, "{host} starts"),
            Self::Unbind { host, address } => write!(f, "{host} loses {address}"),
            Self::Bind { host, address } => write!(f, "{host} gains {address}"),
            Self::SetReader { host, reader } => write!(f, "{host} reads {reader:?}"),
            Self::Partition { from, to, for_ms } => {
                write!(f, "network cut {from} -> {to} for {for_ms} ms")
            }
            Self::Clog { from, to, for_ms } => {
                write!(f, "network holds {from} -> {to} for {for_ms} ms")
            }
            Self::PartitionBus { from, to, for_ms } => {
                write!(f, "signalling cut {from} -> {to} for {for_ms} ms")
            }
            Self::SetSignalling { host, up: true } => write!(f, "{host} regains signalling"),
            Self::SetSignalling { host, up: false } => write!(f, "{host} loses signalling"),
            Self::SetLink { from, to, .. } => write!(f, "link changes {from} -> {to}"),
            Self::RebootGateway { gateway } => write!(f, "box {gateway} reboots"),
            Self::RenumberGateway { gateway } => write!(f, "box {gateway} gets another address"),
            Self::SetFirewall { gateway, firewall } => {
                write!(f, "box {gateway} has another firewall: {firewall:?}")
            }
            Self::Misbehave {
                server,
                how: Some(how),
            } => write!(f, "server {server} misbehaves: {how:?}"),
            Self::Misbehave { server, how: None } => write!(f, "server {server} behaves"),
            Self::CrashServer { server } => write!(f, "server {server} crashes"),
            Self::StartServer { server } => write!(f, "server {server} starts"),
            Self::RebootServer { server } => write!(f, "server {server} reboots"),
            Self::Heal => f.write_str("all faults end"),
        }
    }
}

impl Action {
    /// The host to whom an action happens, where it is one: the first that is named, unless it happens on the way between two.
    pub(crate) fn host(&self) -> Option<HostId> {
        match self {
            Self::Partition { .. }
            | Self::Clog { .. }
            | Self::PartitionBus { .. }
            | Self::SetLink { .. } => None,
            _ => self.hosts().first().copied(),
        }
    }

    /// The hosts that are named.
    pub(crate) fn hosts(&self) -> Vec<HostId> {
        match *self {
            Self::Connect { from, to }
            | Self::Send { from, to, .. }
            | Self::Close { from, to }
            | Self::Restart { from, to }
            | Self::Rebuild { from, to }
            | Self::Partition { from, to, .. }
            | Self::Clog { from, to, .. }
            | Self::PartitionBus { from, to, .. }
            | Self::SetLink { from, to, .. } => vec![from, to],
            Self::Accept { host, peer } | Self::Refuse { host, peer } => vec![host, peer],
            Self::CloseAll { host }
            | Self::Crash { host }
            | Self::Suspend { host, .. }
            | Self::SetPace { host, .. }
            | Self::Start { host }
            | Self::Unbind { host, .. }
            | Self::Bind { host, .. }
            | Self::SetSignalling { host, .. }
            | Self::SetReader { host, .. } => vec![host],
            Self::RebootGateway { .. }
            | Self::RenumberGateway { .. }
            | Self::SetFirewall { .. }
            | Self::Misbehave { .. }
            | Self::CrashServer { .. }
            | Self::StartServer { .. }
            | Self::RebootServer { .. }
            | Self::Heal => Vec::new(),
        }
    }

    /// The server that is named, if one is.
    pub(crate) fn server(&self) -> Option<ServerId> {
        match *self {
            Self::Misbehave { server, .. }
            | Self::CrashServer { server }
            | Self::StartServer { server }
            | Self::RebootServer { server } => Some(server),
            _ => None,
        }
    }

    /// Whether nobody goes and nothing is lost by it.
    pub(crate) fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Accept { .. }
                | Self::Send { .. }
                | Self::SetReader { .. }
                | Self::Restart { .. }
                | Self::Rebuild { .. }
        )
    }

    /// The box that is named, if one is.
    pub(crate) fn gateway(&self) -> Option<GatewayId> {
        match *self {
            Self::RebootGateway { gateway }
            | Self::RenumberGateway { gateway }
            | Self::SetFirewall { gateway, .. } => Some(gateway),
            _ => None,
        }
    }
}
