//! Configuration: every number that bounds or paces an endpoint, with its default and unit.

mod ice;
mod mesh;
mod reconnect;
mod sdp;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ice::{IceServer, IceServerError};
use crate::sdp::Rewrite;
use crate::signal::Protection;

pub use ice::{
    AddressRange, CandidateType, Ice, InvalidAddressRange, NetworkCost, TransportPolicy,
};
pub use mesh::Mesh;
pub use reconnect::{Backoff, Jitter, Reconnect};
pub use sdp::Sdp;

/// A checked configuration. Made by [`Config::builder`]; `Config::default()` is the `standard` preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    pub(crate) signalling: Signalling,
    pub(crate) reconnect: Reconnect,
    pub(crate) channels: ChannelLimits,
    pub(crate) transport: Transport,
    pub(crate) ice: Ice,
    pub(crate) sdp: Sdp,
    pub(crate) mesh: Mesh,
    pub(crate) metrics_interval: Option<Duration>,
}

impl Config {
    /// A builder that starts from the `standard` preset.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new(Preset::Standard)
    }

    /// A builder that starts from `preset`.
    pub fn preset(preset: Preset) -> ConfigBuilder {
        ConfigBuilder::new(preset)
    }

    /// The limits on peers, candidates and signalling.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The deadlines and intervals.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// How signalling messages are protected.
    #[must_use]
    pub fn signalling(&self) -> &Signalling {
        &self.signalling
    }

    /// When a path counts as lost, and what is tried then.
    #[must_use]
    pub fn reconnect(&self) -> &Reconnect {
        &self.reconnect
    }

    /// The queue and message limits of channels.
    #[must_use]
    pub fn channels(&self) -> &ChannelLimits {
        &self.channels
    }

    /// The transport options.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The ICE servers and which candidates are used.
    #[must_use]
    pub fn ice(&self) -> &Ice {
        &self.ice
    }

    /// What is changed in descriptions on their way.
    #[must_use]
    pub fn sdp(&self) -> &Sdp {
        &self.sdp
    }

    /// How the endpoint behaves in rooms.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// How often [`Event::Metrics`](crate::Event::Metrics) is emitted for each connected peer. It may be up to a quarter of it
    /// late, so that an idle peer is not woken for it alone.
    #[must_use]
    pub fn metrics_interval(&self) -> Option<Duration> {
        self.metrics_interval
    }
}

impl Default for Config {
    fn default() -> Self {
        let ConfigBuilder { config } = Self::builder();
        config
    }
}

/// A starting point for a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preset {
    /// Balanced: what an application wants that has not measured yet.
    #[default]
    Standard,
    /// A lost connection is tried again after 1, 2, 4, 8 and 16 s, each with up to a second more.
    Classic,
    /// Small queues and quick decisions: late data is worthless.
    Game,
    /// Few wake-ups: slower checks, no periodic metrics.
    Battery,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Classic, Self::Game, Self::Battery];
}

/// Limits on what peers and strangers can make an endpoint keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Peers at one time, connected or not. At the bound `connect` fails and offers are refused as busy.
    pub max_peers: usize,
    /// Peers that were offered to the application and wait for `accept` or `refuse`. At the bound offers are refused.
    pub max_incoming: usize,
    /// Remote candidates for each peer and generation. At the bound further ones are ignored and reported.
    pub max_candidates: usize,
    /// Candidates kept for sessions whose offer has not come yet, over all peers. At the bound they are dropped
    /// unacknowledged, so that the sender repeats them.
    pub max_early_candidates: usize,
    /// Source addresses for each peer and generation from which authenticated-looking checks are let through to the
    /// ICE agent before one of them is validated. At the bound further sources are dropped and counted.
    pub max_unvalidated_sources: usize,
    /// Connectivity checks in a minute, of all peers together, to one IP address from which no authenticated check came.
    /// At the bound further ones are not sent, and counted ([`EndpointStats::checks_refused`](crate::EndpointStats)): peers
    /// that name somebody else's address as a candidate cannot have it flooded (RFC 8445 section 19.5.1).
    pub max_unanswered_checks: usize,
    /// The largest signalling message, in bytes. Longer ones are dropped before they are parsed.
    pub max_signal_size: usize,
    /// Signalling messages to one peer that wait for their acknowledgement. At the bound the session fails.
    pub max_unacknowledged_signals: usize,
    /// Sessions that ended and are remembered, so that what is late or replayed of them is recognised.
    pub max_ended_sessions: usize,
    /// ICE servers at one time. At the bound further ones are refused.
    pub max_ice_servers: usize,
    /// Addresses of peers to which one TURN allocation relays. At the bound further ones are not reached through it.
    pub max_relay_peers: usize,
}

/// Deadlines and intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From `connect` or `accept` to `Connected`. After it: `Failed`.
    pub connect_timeout: Duration,
    /// How long an offered peer waits for `accept` or `refuse`. After it: refused.
    pub accept_timeout: Duration,
    /// How long a graceful close waits for queued messages to be delivered.
    pub close_drain: Duration,
    /// How long a closed peer repeats its farewell while it is not answered.
    pub close_linger: Duration,
    /// The first repetition of an unacknowledged signalling message; doubles each time.
    pub signal_retry: Duration,
    /// The longest pause between two repetitions.
    pub signal_retry_max: Duration,
    /// The first retransmission of a DTLS flight; doubles each time.
    pub dtls_retry: Duration,
    /// The first retransmission of a connectivity check; doubles each time.
    pub stun_retry: Duration,
    /// How long a channel may take to open, and to reopen after an error, before it is closed.
    pub channel_open_timeout: Duration,
}

/// How signalling messages are protected. It is for an [`Identity`](crate::Identity) with a key; one without sends and takes
/// plain messages only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signalling {
    /// Whether messages are sealed or signed only. There is no falling back to less, for nobody.
    pub protection: Protection,
    /// How far the time at which a message was signed may be from our own clock, either way. What an attacker has kept for
    /// longer is refused; so is a peer whose clock, or ours, is wrong by more.
    pub freshness: Duration,
}

/// Queue and message limits of channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelLimits {
    /// Channels with one peer, the four kinds included. At the bound `open_channel` fails and inbound ones are closed.
    pub max_channels: usize,
    /// Bytes queued for sending on one channel. At the bound `send` hands the message back.
    pub queue_bytes: usize,
    /// Messages queued for sending on one channel. At the bound `send` hands the message back.
    pub queue_messages: usize,
    /// Bytes queued for sending to one peer, over all its channels. At the bound `send` hands the message back.
    pub peer_queue_bytes: usize,
    /// A channel that refused a message reports `Writable` when its queue has fallen to this many bytes.
    pub low_water: usize,
    /// The largest message, sent or received, between two bowline peers.
    pub max_message_size: usize,
    /// Bytes received on one channel that the application has not released yet, with 64 more for each message. The
    /// other bowline peer stops sending there. A foreign peer stops sending on all its channels when a reliable one is full:
    /// SCTP has one window (RFC 9260 section 6.2.1); up to 2 MiB that it had under way are taken beyond. Less than 65,600
    /// counts as 65,600, so that a message in one frame always fits.
    pub receive_window: usize,
    /// The least that is kept in SCTP's send buffer while there is more to send.
    pub backlog_min: usize,
    /// The most that is kept in SCTP's send buffer.
    pub backlog_max: usize,
}

/// Options of the transport below the channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transport {
    /// The DTLS versions to use.
    pub dtls: DtlsMode,
    /// Whether to negotiate the SCTP association in the descriptions (`a=sctp-init`), which saves two round trips.
    pub snap: bool,
    /// The largest UDP payload, in bytes.
    pub mtu: usize,
    /// Whether loopback addresses are used as candidates, and accepted from peers.
    pub loopback: bool,
    /// Whether IPv4 candidates are used.
    pub ipv4: bool,
    /// Whether IPv6 candidates are used.
    pub ipv6: bool,
    /// How many datagrams of equal size one `Output::Transmit` carries at most.
    pub max_transmit_segments: usize,
}

/// Which DTLS versions to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DtlsMode {
    /// 1.3 where the peer has it, else 1.2.
    #[default]
    Auto,
    /// 1.3 only (RFC 9147).
    V13,
    /// 1.2 only (RFC 6347).
    V12,
}

/// Builds a [`Config`]. Each setter replaces one value; [`ConfigBuilder::build`] checks them together.
#[derive(Debug, Clone)]
#[must_use]
pub struct ConfigBuilder {
    config: Config,
}

macro_rules! setters {
    ($($group:ident . $name:ident : $ty:ty, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub fn $name(mut self, value: $ty) -> Self {
                self.config.$group.$name = value;
                self
            }
        )*
    };
}

impl ConfigBuilder {
    fn new(preset: Preset) -> Self {
        let standard = standard();
        let config = match preset {
            Preset::Standard => standard,
            Preset::Classic => Config {
                reconnect: Reconnect::CLASSIC,
                ..standard
            },
            Preset::Game => Config {
                timing: Timing {
                    close_drain: Duration::from_secs(1),
                    ..standard.timing
                },
                reconnect: Reconnect::GAME,
                channels: ChannelLimits {
                    queue_bytes: 256 * KIB,
                    low_water: 64 * KIB,
                    backlog_max: 256 * KIB,
                    ..standard.channels
                },
                metrics_interval: Some(Duration::from_secs(1)),
                ..standard
            },
            Preset::Battery => Config {
                timing: Timing {
                    signal_retry: Duration::from_secs(1),
                    ..standard.timing
                },
                reconnect: Reconnect::BATTERY,
                metrics_interval: None,
                ..standard
            },
        };
        Self { config }
    }

    setters! {
        limits.max_peers: usize, "Sets [`Limits::max_peers`]. Default 1,024.";
        limits.max_incoming: usize, "Sets [`Limits::max_incoming`]. Default 64.";
        limits.max_candidates: usize, "Sets [`Limits::max_candidates`]. Default 64.";
        limits.max_early_candidates: usize, "Sets [`Limits::max_early_candidates`]. Default 256.";
        limits.max_unvalidated_sources: usize, "Sets [`Limits::max_unvalidated_sources`]. Default 32.";
        limits.max_unanswered_checks: usize, "Sets [`Limits::max_unanswered_checks`]. Default 512.";
        limits.max_signal_size: usize, "Sets [`Limits::max_signal_size`]. Default 64 KiB.";
        limits.max_unacknowledged_signals: usize, "Sets [`Limits::max_unacknowledged_signals`]. Default 128.";
        limits.max_ended_sessions: usize, "Sets [`Limits::max_ended_sessions`]. Default 1,024.";
        limits.max_ice_servers: usize, "Sets [`Limits::max_ice_servers`]. Default 16.";
        limits.max_relay_peers: usize, "Sets [`Limits::max_relay_peers`]. Default 4,096.";
        timing.connect_timeout: Duration, "Sets [`Timing::connect_timeout`]. Default 15 s.";
        timing.accept_timeout: Duration, "Sets [`Timing::accept_timeout`]. Default 15 s.";
        timing.close_drain: Duration, "Sets [`Timing::close_drain`]. Default 5 s.";
        timing.close_linger: Duration, "Sets [`Timing::close_linger`]. Default 2 s.";
        timing.signal_retry: Duration, "Sets [`Timing::signal_retry`]. Default 500 ms.";
        timing.signal_retry_max: Duration, "Sets [`Timing::signal_retry_max`]. Default 4 s.";
        timing.dtls_retry: Duration, "Sets [`Timing::dtls_retry`]. Default 250 ms.";
        timing.stun_retry: Duration, "Sets [`Timing::stun_retry`]. Default 250 ms.";
        timing.channel_open_timeout: Duration, "Sets [`Timing::channel_open_timeout`]. Default 10 s.";
        signalling.protection: Protection, "Sets [`Signalling::protection`]. Default [`Protection::Sealed`].";
        signalling.freshness: Duration, "Sets [`Signalling::freshness`]. Default 5 min.";
        reconnect.degraded_after: Duration, "Sets [`Reconnect::degraded_after`]. Default 2.5 s.";
        reconnect.lost_after: Duration, "Sets [`Reconnect::lost_after`]. Default 5 s.";
        reconnect.restart: Backoff, "Sets [`Reconnect::restart`]. Default three attempts, at once.";
        reconnect.rebuild: Backoff, "Sets [`Reconnect::rebuild`]. Default ten attempts, after 0, 0.3, 0.6 and up to 7 s, with full jitter.";
        reconnect.attempt_timeout: Duration, "Sets [`Reconnect::attempt_timeout`]. Default 8 s.";
        reconnect.stable_after: Duration, "Sets [`Reconnect::stable_after`]. Default 30 s.";
        reconnect.disconnect_budget: Duration, "Sets [`Reconnect::disconnect_budget`]. Default 60 s.";
        channels.max_channels: usize, "Sets [`ChannelLimits::max_channels`]. Default 256.";
        channels.queue_bytes: usize, "Sets [`ChannelLimits::queue_bytes`]. Default 1 MiB.";
        channels.queue_messages: usize, "Sets [`ChannelLimits::queue_messages`]. Default 4,096.";
        channels.peer_queue_bytes: usize, "Sets [`ChannelLimits::peer_queue_bytes`]. Default 32 MiB.";
        channels.low_water: usize, "Sets [`ChannelLimits::low_water`]. Default 256 KiB.";
        channels.max_message_size: usize, "Sets [`ChannelLimits::max_message_size`]. Default 16 MiB.";
        channels.receive_window: usize, "Sets [`ChannelLimits::receive_window`]. Default 4 MiB.";
        channels.backlog_min: usize, "Sets [`ChannelLimits::backlog_min`]. Default 32 KiB.";
        channels.backlog_max: usize, "Sets [`ChannelLimits::backlog_max`]. Default 1 MiB.";
        transport.dtls: DtlsMode, "Sets [`Transport::dtls`]. Default [`DtlsMode::Auto`].";
        transport.snap: bool, "Sets [`Transport::snap`]. Default true.";
        transport.mtu: usize, "Sets [`Transport::mtu`]. Default 1,200 bytes.";
        transport.loopback: bool, "Sets [`Transport::loopback`]. Default false.";
        transport.ipv4: bool, "Sets [`Transport::ipv4`]. Default true.";
        transport.ipv6: bool, "Sets [`Transport::ipv6`]. Default true.";
        transport.max_transmit_segments: usize, "Sets [`Transport::max_transmit_segments`]. Default 16.";
        ice.policy: TransportPolicy, "Sets [`Ice::policy`]. Default [`TransportPolicy::All`].";
        ice.denied: Vec<AddressRange>, "Sets [`Ice::denied`]. Default none.";
        ice.denied_types: Vec<CandidateType>, "Sets [`Ice::denied_types`]. Default none.";
        ice.costs: Vec<NetworkCost>, "Sets [`Ice::costs`]. Default none.";
        ice.pacing: Duration, "Sets [`Ice::pacing`]. Default 20 ms; 5 ms at least.";
        ice.keepalive: Duration, "Sets [`Ice::keepalive`]. Default 20 s; 15 s at least.";
        ice.resolve_local_names: bool, "Sets [`Ice::resolve_local_names`]. Default true.";
        mesh.relays: bool, "Sets [`Mesh::relays`]. Default true.";
        mesh.max_rooms: usize, "Sets [`Mesh::max_rooms`]. Default 8, at most 64.";
        mesh.max_members: usize, "Sets [`Mesh::max_members`]. Default 4,096.";
        mesh.full_mesh: usize, "Sets [`Mesh::full_mesh`]. Default 12.";
        mesh.neighbours: usize, "Sets [`Mesh::neighbours`]. Default 8; 4 to 12.";
        mesh.hop_limit: u8, "Sets [`Mesh::hop_limit`]. Default 16.";
        mesh.max_publication: usize, "Sets [`Mesh::max_publication`]. Default 64 KiB.";
        mesh.suspect_after: Duration, "Sets [`Mesh::suspect_after`]. Default 10 s.";
        mesh.suspicion: Duration, "Sets [`Mesh::suspicion`]. Default 10 s.";
    }

    /// Adds an ICE server. Default none.
    pub fn ice_server(mut self, server: IceServer) -> Self {
        self.config.ice.servers.push(server);
        self
    }

    /// Changes our descriptions before they are sent: adds to [`Sdp::sent`]. Default none.
    pub fn rewrite_sent(mut self, rewrite: Rewrite) -> Self {
        self.config.sdp.sent.push(rewrite);
        self
    }

    /// Changes the peers' descriptions before they are read: adds to [`Sdp::received`]. Default none.
    pub fn rewrite_received(mut self, rewrite: Rewrite) -> Self {
        self.config.sdp.received.push(rewrite);
        self
    }

    /// Sets the [interval of metrics](Config::metrics_interval). Default 5 s; `None` never.
    pub fn metrics_interval(mut self, interval: Option<Duration>) -> Self {
        self.config.metrics_interval = interval;
        self
    }

    /// Checks every value and their relations.
    ///
    /// # Errors
    ///
    /// The first [`ConfigError`] found. Nothing is ever clamped.
    pub fn build(self) -> Result<Config, ConfigError> {
        let c = &self.config;
        let positive = [
            ("max_peers", c.limits.max_peers),
            ("max_candidates", c.limits.max_candidates),
            ("max_unvalidated_sources", c.limits.max_unvalidated_sources),
            ("max_unanswered_checks", c.limits.max_unanswered_checks),
            (
                "max_unacknowledged_signals",
                c.limits.max_unacknowledged_signals,
            ),
            ("queue_messages", c.channels.queue_messages),
            ("queue_bytes", c.channels.queue_bytes),
            ("receive_window", c.channels.receive_window),
        ];
        if let Some((option, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero { option });
        }
        let intervals = [
            ("connect_timeout", c.timing.connect_timeout),
            ("accept_timeout", c.timing.accept_timeout),
            ("attempt_timeout", c.reconnect.attempt_timeout),
            ("degraded_after", c.reconnect.degraded_after),
            ("signal_retry", c.timing.signal_retry),
            ("dtls_retry", c.timing.dtls_retry),
            ("stun_retry", c.timing.stun_retry),
            ("channel_open_timeout", c.timing.channel_open_timeout),
            ("freshness", c.signalling.freshness),
            ("suspect_after", c.mesh.suspect_after),
            ("suspicion", c.mesh.suspicion),
            (
                "metrics_interval",
                c.metrics_interval.unwrap_or(MIN_INTERVAL),
            ),
        ];
        if let Some((option, _)) = intervals
            .into_iter()
            .find(|(_, value)| *value < MIN_INTERVAL)
        {
            return Err(ConfigError::TooShort {
                option,
                least: MIN_INTERVAL,
            });
        }
        let ranges = [
            ("mtu", c.transport.mtu, MIN_MTU, MAX_MTU),
            ("rewrite_sent", c.sdp.sent.len(), 0, Sdp::MAX_REWRITES),
            (
                "rewrite_received",
                c.sdp.received.len(),
                0,
                Sdp::MAX_REWRITES,
            ),
            (
                "max_transmit_segments",
                c.transport.max_transmit_segments,
                1,
                64,
            ),
            (
                "max_signal_size",
                c.limits.max_signal_size,
                4 * KIB,
                16 * 1024 * KIB,
            ),
            ("max_rooms", c.mesh.max_rooms, 1, 64),
            ("neighbours", c.mesh.neighbours, 4, 12),
            (
                "max_publication",
                c.mesh.max_publication,
                0,
                16 * 1024 * KIB,
            ),
            ("max_channels", c.channels.max_channels, 4, 65_534),
            (
                "max_message_size",
                c.channels.max_message_size,
                1,
                u32::MAX as usize,
            ),
            (
                "backlog_min",
                c.channels.backlog_min,
                4 * KIB,
                c.channels.backlog_max,
            ),
            (
                "backlog_max",
                c.channels.backlog_max,
                4 * KIB,
                64 * 1024 * KIB,
            ),
            (
                "low_water",
                c.channels.low_water,
                0,
                c.channels.queue_bytes - 1,
            ),
            (
                "queue_bytes",
                c.channels.queue_bytes,
                1,
                c.channels.peer_queue_bytes,
            ),
        ];
        for (option, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::OutOfRange {
                    option,
                    value,
                    least,
                    most,
                });
            }
        }
        for (option, value, least) in [
            (
                "signal_retry_max",
                c.timing.signal_retry_max,
                c.timing.signal_retry,
            ),
            (
                "lost_after",
                c.reconnect.lost_after,
                c.reconnect.degraded_after,
            ),
            ("pacing", c.ice.pacing, MIN_PACING),
            ("keepalive", c.ice.keepalive, MIN_KEEPALIVE),
        ] {
            if value < least {
                return Err(ConfigError::TooShort { option, least });
            }
        }
        check_servers(&c.ice.servers, c.limits.max_ice_servers)
            .map_err(|error| ConfigError::IceServer { error })?;
        if !c.transport.ipv4 && !c.transport.ipv6 {
            return Err(ConfigError::NoAddressFamily);
        }
        Ok(self.config)
    }
}

/// Checks servers as they are put to use.
///
/// # Errors
///
/// [`IceServerError::TooMany`] and [`IceServerError::Credentials`].
pub(crate) fn check_servers(servers: &[IceServer], max: usize) -> Result<(), IceServerError> {
    if servers.len() > max {
        return Err(IceServerError::TooMany);
    }
    servers.iter().try_for_each(IceServer::check)
}

fn standard() -> Config {
    Config {
        limits: Limits {
            max_peers: 1_024,
            max_incoming: 64,
            max_candidates: 64,
            max_early_candidates: 256,
            max_unvalidated_sources: 32,
            max_unanswered_checks: 512,
            max_signal_size: 64 * KIB,
            max_unacknowledged_signals: 128,
            max_ended_sessions: 1_024,
            max_ice_servers: 16,
            max_relay_peers: 4_096,
        },
        timing: Timing {
            connect_timeout: Duration::from_secs(15),
            accept_timeout: Duration::from_secs(15),
            close_drain: Duration::from_secs(5),
            close_linger: Duration::from_secs(2),
            signal_retry: Duration::from_millis(500),
            signal_retry_max: Duration::from_secs(4),
            dtls_retry: Duration::from_millis(250),
            stun_retry: Duration::from_millis(250),
            channel_open_timeout: Duration::from_secs(10),
        },
        signalling: Signalling {
            protection: Protection::Sealed,
            freshness: Duration::from_secs(300),
        },
        reconnect: Reconnect::STANDARD,
        channels: ChannelLimits {
            max_channels: 256,
            queue_bytes: 1024 * KIB,
            queue_messages: 4_096,
            peer_queue_bytes: 32 * 1024 * KIB,
            low_water: 256 * KIB,
            max_message_size: 16 * 1024 * KIB,
            receive_window: 4 * 1024 * KIB,
            backlog_min: 32 * KIB,
            backlog_max: 1024 * KIB,
        },
        transport: Transport {
            dtls: DtlsMode::Auto,
            snap: true,
            mtu: 1_200,
            loopback: false,
            ipv4: true,
            ipv6: true,
            max_transmit_segments: 16,
        },
        ice: Ice {
            servers: Vec::new(),
            policy: TransportPolicy::All,
            denied: Vec::new(),
            denied_types: Vec::new(),
            costs: Vec::new(),
            pacing: Duration::from_millis(20),
            keepalive: Duration::from_secs(20),
            resolve_local_names: true,
        },
        sdp: Sdp::default(),
        mesh: Mesh::STANDARD,
        metrics_interval: Some(Duration::from_secs(5)),
    }
}

const KIB: usize = 1_024;
/// Intervals below this would make a driver spin.
const MIN_INTERVAL: Duration = Duration::from_millis(1);
/// RFC 8445 section 14.2: Ta is at least 5 ms.
pub(crate) const MIN_PACING: Duration = Duration::from_millis(5);
/// RFC 8445 section 11: Tr is at least 15 s.
const MIN_KEEPALIVE: Duration = Duration::from_secs(15);
/// What IPv4 hosts must reassemble at least (RFC 791); the transport takes no less.
const MIN_MTU: usize = 576;
/// An Ethernet frame less IPv4 and UDP headers.
const MAX_MTU: usize = 1_472;

/// A value that [`ConfigBuilder::build`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An option that must not be zero is zero.
    #[error("{option} must not be zero")]
    Zero {
        /// The option.
        option: &'static str,
    },
    /// A duration is shorter than what makes sense.
    #[error("{option} must be at least {least:?}")]
    TooShort {
        /// The option.
        option: &'static str,
        /// The least that is accepted.
        least: Duration,
    },
    /// A number is outside its range, which may depend on other options.
    #[error("{option} is {value}, not within {least} to {most}")]
    OutOfRange {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: usize,
        /// The least that is accepted.
        least: usize,
        /// The most that is accepted.
        most: usize,
    },
    /// There are more ICE servers than the limit, or one cannot be used.
    #[error("{error}")]
    IceServer {
        /// What is wrong.
        error: IceServerError,
    },
    /// Both address families are switched off.
    #[error("at least one of ipv4 and ipv6 must be on")]
    NoAddressFamily,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::CandidatePattern;

    #[test]
    fn every_preset_passes_its_own_checks() {
        for preset in Preset::ALL {
            assert!(Config::preset(preset).build().is_ok(), "{preset:?}");
        }
        assert_eq!(Config::builder().build(), Ok(Config::default()));
    }

    #[test]
    fn a_value_at_its_bound_is_accepted_and_one_past_it_refused() {
        assert!(Config::builder().mtu(MIN_MTU).build().is_ok());
        assert!(Config::builder().mtu(MAX_MTU).build().is_ok());
        for mtu in [MIN_MTU - 1, MAX_MTU + 1] {
            let err = Config::builder().mtu(mtu).build();
            assert!(
                matches!(err, Err(ConfigError::OutOfRange { option: "mtu", .. })),
                "{mtu}"
            );
        }
    }

    #[test]
    fn the_pace_and_the_keepalive_have_their_least() {
        let short = Duration::from_nanos(1);
        assert!(Config::builder().pacing(MIN_PACING).build().is_ok());
        assert!(Config::builder().keepalive(MIN_KEEPALIVE).build().is_ok());
        for (builder, option, least) in [
            (
                Config::builder().pacing(MIN_PACING - short),
                "pacing",
                MIN_PACING,
            ),
            (
                Config::builder().keepalive(MIN_KEEPALIVE - short),
                "keepalive",
                MIN_KEEPALIVE,
            ),
        ] {
            let refused = ConfigError::TooShort { option, least };
            assert_eq!(builder.build(), Err(refused));
        }
    }

    #[test]
    fn as_many_ice_servers_as_the_limit_are_taken_and_none_without_what_it_needs() {
        let server = |uri: &str| uri.parse::<IceServer>().expect("valid");
        let many = |count: usize| {
            let servers = (0..count).map(|n| server(&format!("stun:s{n}.example")));
            servers.fold(Config::builder(), ConfigBuilder::ice_server)
        };
        assert!(many(16).build().is_ok());
        let refused = |error| Err(ConfigError::IceServer { error });
        assert_eq!(many(17).build(), refused(IceServerError::TooMany));
        let bare = Config::builder().ice_server(server("turn:t.example"));
        assert_eq!(bare.build(), refused(IceServerError::Credentials));
    }

    #[test]
    fn as_many_rewrites_as_the_limit_are_taken_each_way_and_no_more() {
        let strip = || Rewrite::StripCandidates(CandidatePattern::default());
        let many = |count: usize, add: fn(ConfigBuilder, Rewrite) -> ConfigBuilder| {
            (0..count).fold(Config::builder(), |b, _| add(b, strip()))
        };
        let most = Sdp::MAX_REWRITES;
        for (option, add) in [
            (
                "rewrite_sent",
                ConfigBuilder::rewrite_sent as fn(ConfigBuilder, Rewrite) -> ConfigBuilder,
            ),
            ("rewrite_received", ConfigBuilder::rewrite_received),
        ] {
            assert!(many(most, add).build().is_ok());
            let refused = ConfigError::OutOfRange {
                option,
                value: most + 1,
                least: 0,
                most,
            };
            assert_eq!(many(most + 1, add).build(), Err(refused));
        }
    }

    #[test]
    fn relations_between_options_are_checked() {
        let err = |b: ConfigBuilder| b.build().expect_err("refused").to_string();
        assert_eq!(
            err(Config::builder().queue_bytes(1_000).low_water(1_000)),
            "low_water is 1000, not within 0 to 999"
        );
        assert_eq!(
            err(Config::builder().ipv4(false).ipv6(false)),
            "at least one of ipv4 and ipv6 must be on"
        );
        assert_eq!(
            err(Config::builder().max_peers(0)),
            "max_peers must not be zero"
        );
        assert_eq!(
            err(Config::builder().signal_retry(Duration::ZERO)),
            "signal_retry must be at least 1ms"
        );
    }
}
