//! The figures of an endpoint in the text format of [OpenMetrics] 1.0, for Prometheus and what reads the same.
//!
//! [`Endpoint::openmetrics`](crate::Endpoint::openmetrics) gives the text; serving it is the application's part:
//!
//! ```no_run
//! use bowline_tokio::{Endpoint, openmetrics};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! use tokio::net::TcpListener;
//!
//! /// Answers every request with the figures. Bind it where the world cannot ask: they tell who speaks with whom.
//! async fn serve(endpoint: Endpoint, listener: TcpListener) -> std::io::Result<()> {
//!     loop {
//!         let (mut stream, _) = listener.accept().await?;
//!         let endpoint = endpoint.clone();
//!         tokio::spawn(async move {
//!             // Enough for what a scraper asks, which is the same for every path.
//!             let mut request = [0; 4096];
//!             stream.read(&mut request).await?;
//!             let (kind, body) = (openmetrics::CONTENT_TYPE, endpoint.openmetrics());
//!             let head = format!(
//!                 "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
//!                 body.len()
//!             );
//!             stream.write_all(head.as_bytes()).await?;
//!             stream.write_all(body.as_bytes()).await
//!         });
//!     }
//! }
//! ```
//!
//! # Families
//!
//! Counters have the suffix `_total` in their samples. Those of a peer begin at 0 again when it comes back after its end,
//! as a scraper expects of a process that was started again. There are no rates: a scraper makes better ones of the counters.
//!
//! | of the endpoint | kind | |
//! | --- | --- | --- |
//! | `bowline_peers` | gauge | peers that exist |
//! | `bowline_peers_connected` | gauge | those that are connected |
//! | `bowline_peers_incoming` | gauge | those that wait to be accepted |
//! | `bowline_received_datagrams`, `bowline_received_bytes` | counter | what came in |
//! | `bowline_sent_datagrams`, `bowline_sent_bytes` | counter | what went out |
//! | `bowline_dropped_datagrams` | counter | what was dropped, by the label `cause`: the fields of [`Drops`] |
//! | `bowline_received_signals`, `bowline_sent_signals` | counter | signalling messages |
//! | `bowline_refused_signals`, `bowline_duplicate_signals` | counter | those refused, and received again |
//! | `bowline_refused_checks` | counter | connectivity checks that an address had too many of |
//!
//! | of each peer, with the label `peer` | kind | |
//! | --- | --- | --- |
//! | `bowline_peer_received_datagrams`, `bowline_peer_received_bytes` | counter | what came from it |
//! | `bowline_peer_sent_datagrams`, `bowline_peer_sent_bytes` | counter | what went to it |
//! | `bowline_peer_retransmitted_chunks`, `bowline_peer_retransmitted_bytes` | counter | what SCTP sent again |
//! | `bowline_peer_rtt_seconds` | gauge | the smoothed round trip time |
//! | `bowline_peer_rtt_latest_seconds`, `bowline_peer_rtt_min_seconds` | gauge | the last one, and the least |
//! | `bowline_peer_rtt_jitter_seconds` | gauge | its mean deviation |
//! | `bowline_peer_connect_seconds` | gauge | what the first connect took |
//! | `bowline_peer_connected_seconds` | counter | how long it has been connected |
//! | `bowline_peer_losses` | counter | how often the connection was lost |
//! | `bowline_peer_restarts` | counter | ICE restarts |
//! | `bowline_peer_rebuilds` | counter | transports that took the place of another one |
//! | `bowline_peer_consent_age_seconds` | gauge | how long ago a check on its path was answered |
//! | `bowline_peer_backlog_bytes` | gauge | what SCTP holds and is not acknowledged |
//! | `bowline_peer_relayed` | gauge | whether its path begins on a TURN server: 1 or 0 |
//!
//! | of each channel, with the labels `peer` and `channel` | kind | |
//! | --- | --- | --- |
//! | `bowline_channel_accepted_messages`, `bowline_channel_accepted_bytes` | counter | accepted for sending |
//! | `bowline_channel_sent_messages`, `bowline_channel_sent_bytes` | counter | handed to the transport |
//! | `bowline_channel_received_messages`, `bowline_channel_received_bytes` | counter | received |
//! | `bowline_channel_dropped_messages` | counter | came while the receive window was full |
//! | `bowline_channel_queue_messages`, `bowline_channel_queue_bytes` | gauge | what waits |
//! | `bowline_channel_queue_age_seconds` | gauge | how long the oldest has waited |
//! | `bowline_channel_unacknowledged_messages` | gauge | sent, and not acknowledged |
//!
//! What is not known has no sample: the round trip time before the first answer, the age of an empty queue. What each figure
//! means exactly is with the fields of [`EndpointStats`], [`PeerMetrics`] and [`ChannelMetrics`].
//!
//! # What it costs
//!
//! A text has some fifteen samples for each peer and ten for each channel, of which a peer has at least four: at most
//! [`max_peers`](bowline::ConfigBuilder::max_peers) times [`max_channels`](bowline::ConfigBuilder::max_channels). That
//! is some 5 kB for a peer with the four kinds. What series a scraper keeps grows with the peers that come and go: their
//! names are the labels. No other text of a peer is in it: the four kinds have their names and custom channels their numbers,
//! not the labels that a peer can choose. Addresses are left out for the same reason.
//!
//! [OpenMetrics]: https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md

use std::fmt;

use bowline::{ChannelId, ChannelKind, ChannelMetrics, Drops, EndpointStats, PeerId, PeerMetrics};

use crate::exposition::{self, ByCause, Family, count, counter, gauge, seconds, size};

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = exposition::CONTENT_TYPE;

/// The figures of an endpoint and of all its peers at one time.
pub(crate) struct Snapshot {
    pub(crate) stats: EndpointStats,
    pub(crate) peers: Vec<(PeerId, PeerMetrics)>,
}

impl Snapshot {
    /// The text, family by family: the format wants the samples of each together.
    pub(crate) fn encode(&self) -> String {
        exposition::encode(|text| self.write(text))
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        for family in &ENDPOINT {
            family.write_head(text)?;
            family.write_sample(text, "", &self.stats)?;
        }
        DROPPED.write(text, &self.stats.dropped)?;
        for family in &PEER {
            family.write_head(text)?;
            for (peer, metrics) in &self.peers {
                family.write_sample(text, Labels::Peer(*peer), metrics)?;
            }
        }
        for family in &CHANNEL {
            family.write_head(text)?;
            for (peer, metrics) in &self.peers {
                for channel in &metrics.channels {
                    let labels = Labels::Channel(*peer, channel.channel);
                    family.write_sample(text, labels, channel)?;
                }
            }
        }
        Ok(())
    }
}

/// What tells the samples of a family apart.
enum Labels {
    Peer(PeerId),
    Channel(PeerId, ChannelId),
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => write!(f, "{{peer=\"{peer}\"}}"),
            Self::Channel(peer, channel) => match ChannelKind::from_id(*channel) {
                Some(kind) => write!(f, "{{peer=\"{peer}\",channel=\"{kind}\"}}"),
                None => write!(f, "{{peer=\"{peer}\",channel=\"{channel}\"}}"),
            },
        }
    }
}

const ENDPOINT: [Family<EndpointStats>; 12] = [
    gauge("bowline_peers", "Peers that exist.", |s| size(s.peers)),
    gauge(
        "bowline_peers_connected",
        "Peers that are connected.",
        |s| size(s.connected),
    ),
    gauge(
        "bowline_peers_incoming",
        "Peers that wait to be accepted.",
        |s| size(s.incoming),
    ),
    counter("bowline_received_datagrams", "Datagrams received.", |s| {
        count(s.datagrams_received)
    }),
    counter(
        "bowline_received_bytes",
        "Bytes of datagrams received.",
        |s| count(s.bytes_received),
    ),
    counter("bowline_sent_datagrams", "Datagrams sent.", |s| {
        count(s.datagrams_sent)
    }),
    counter("bowline_sent_bytes", "Bytes of datagrams sent.", |s| {
        count(s.bytes_sent)
    }),
    counter(
        "bowline_received_signals",
        "Signalling messages received.",
        |s| count(s.signals_received),
    ),
    counter("bowline_sent_signals", "Signalling messages sent.", |s| {
        count(s.signals_sent)
    }),
    counter(
        "bowline_refused_signals",
        "Signalling messages refused.",
        |s| count(s.signals_refused),
    ),
    counter(
        "bowline_duplicate_signals",
        "Signalling messages received again.",
        |s| count(s.signals_duplicate),
    ),
    counter(
        "bowline_refused_checks",
        "Connectivity checks not sent, as an address had too many.",
        |s| count(s.checks_refused),
    ),
];

const DROPPED: ByCause<Drops> = ByCause {
    family: counter(
        "bowline_dropped_datagrams",
        "Datagrams dropped, by cause.",
        |dropped| count(*dropped),
    ),
    causes: &[
        ("garbage", |d| d.garbage),
        ("bad_stun", |d| d.bad_stun),
        ("unknown_ufrag", |d| d.unknown_ufrag),
        ("unknown_transaction", |d| d.unknown_transaction),
        ("unknown_source", |d| d.unknown_source),
        ("wrong_password", |d| d.wrong_password),
        ("too_many_sources", |d| d.too_many_sources),
        ("unsupported", |d| d.unsupported),
        ("policy", |d| d.policy),
    ],
};

const PEER: [Family<PeerMetrics>; 18] = [
    counter(
        "bowline_peer_received_datagrams",
        "Datagrams received.",
        |p| count(p.datagrams_received),
    ),
    counter(
        "bowline_peer_received_bytes",
        "Bytes of datagrams received.",
        |p| count(p.bytes_received),
    ),
    counter("bowline_peer_sent_datagrams", "Datagrams sent.", |p| {
        count(p.datagrams_sent)
    }),
    counter("bowline_peer_sent_bytes", "Bytes of datagrams sent.", |p| {
        count(p.bytes_sent)
    }),
    counter(
        "bowline_peer_retransmitted_chunks",
        "DATA chunks that SCTP sent again.",
        |p| count(p.chunks_retransmitted),
    ),
    counter(
        "bowline_peer_retransmitted_bytes",
        "Payload bytes of DATA chunks that SCTP sent again.",
        |p| count(p.bytes_retransmitted),
    ),
    gauge(
        "bowline_peer_rtt_seconds",
        "Smoothed round trip time of the path.",
        |p| seconds(p.rtt.map(|rtt| rtt.smoothed)),
    ),
    gauge(
        "bowline_peer_rtt_latest_seconds",
        "Last round trip time of the path.",
        |p| seconds(p.rtt.map(|rtt| rtt.latest)),
    ),
    gauge(
        "bowline_peer_rtt_min_seconds",
        "Least round trip time of the path.",
        |p| seconds(p.rtt.map(|rtt| rtt.min)),
    ),
    gauge(
        "bowline_peer_rtt_jitter_seconds",
        "Mean deviation of the round trip time.",
        |p| seconds(p.rtt.map(|rtt| rtt.jitter)),
    ),
    gauge(
        "bowline_peer_connect_seconds",
        "What the first connect took.",
        |p| seconds(p.connect_time),
    ),
    counter(
        "bowline_peer_connected_seconds",
        "How long the peer has been connected.",
        |p| seconds(Some(p.connected_time)),
    ),
    counter(
        "bowline_peer_losses",
        "How often the connection was lost.",
        |p| count(p.losses.into()),
    ),
    counter("bowline_peer_restarts", "ICE restarts.", |p| {
        count(p.restarts.into())
    }),
    counter(
        "bowline_peer_rebuilds",
        "Transports that took the place of another one.",
        |p| count(p.rebuilds.into()),
    ),
    gauge(
        "bowline_peer_consent_age_seconds",
        "How long ago a check on the path was answered.",
        |p| seconds(p.consent_age),
    ),
    gauge(
        "bowline_peer_backlog_bytes",
        "Bytes that SCTP holds and that are not acknowledged.",
        |p| size(p.backlog),
    ),
    gauge(
        "bowline_peer_relayed",
        "Whether the path begins on a TURN server.",
        |p| p.path.and_then(|_| count(p.relayed.into())),
    ),
];

const CHANNEL: [Family<ChannelMetrics>; 11] = [
    counter(
        "bowline_channel_accepted_messages",
        "Messages accepted for sending.",
        |c| count(c.messages_queued),
    ),
    counter(
        "bowline_channel_accepted_bytes",
        "Payload bytes accepted for sending.",
        |c| count(c.bytes_queued),
    ),
    counter(
        "bowline_channel_sent_messages",
        "Messages handed to the transport.",
        |c| count(c.messages_sent),
    ),
    counter(
        "bowline_channel_sent_bytes",
        "Payload bytes handed to the transport.",
        |c| count(c.bytes_sent),
    ),
    counter(
        "bowline_channel_received_messages",
        "Messages received.",
        |c| count(c.messages_received),
    ),
    counter(
        "bowline_channel_received_bytes",
        "Payload bytes received.",
        |c| count(c.bytes_received),
    ),
    counter(
        "bowline_channel_dropped_messages",
        "Messages that came while the receive window was full.",
        |c| count(c.messages_dropped),
    ),
    gauge(
        "bowline_channel_queue_messages",
        "Messages that wait.",
        |c| size(c.queue_messages),
    ),
    gauge(
        "bowline_channel_queue_bytes",
        "Payload bytes that wait.",
        |c| size(c.queue_bytes),
    ),
    gauge(
        "bowline_channel_queue_age_seconds",
        "How long the oldest message has waited.",
        |c| seconds(c.queue_age),
    ),
    gauge(
        "bowline_channel_unacknowledged_messages",
        "Messages sent and not acknowledged.",
        |c| count(c.messages_unacknowledged),
    ),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names() -> Vec<&'static str> {
        let endpoint = ENDPOINT.iter().map(|family| family.name);
        let peer = PEER.iter().map(|family| family.name);
        let channel = CHANNEL.iter().map(|family| family.name);
        let names = endpoint
            .chain([DROPPED.family.name])
            .chain(peer)
            .chain(channel);
        names.collect()
    }

    #[test]
    fn every_family_is_documented_and_none_has_the_name_of_another() {
        let text = include_str!("openmetrics.rs");
        let documented: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("//! | `bowline_"))
            .flat_map(|line| line.split('`').filter(|part| part.starts_with("bowline_")))
            .collect();
        let (mut known, mut told) = (names(), documented);
        known.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, known);
        known.dedup();
        assert_eq!(known, told, "each is there once");
    }

    #[test]
    fn every_cause_of_a_drop_has_its_sample() {
        let mut drops = Drops::default();
        (drops.garbage, drops.bad_stun, drops.unknown_ufrag) = (1, 2, 4);
        (drops.unknown_transaction, drops.unknown_source) = (8, 16);
        (drops.wrong_password, drops.too_many_sources) = (32, 64);
        (drops.unsupported, drops.policy) = (128, 256);
        let sum: u64 = DROPPED.causes.iter().map(|(_, count)| count(&drops)).sum();
        assert_eq!((sum, sum), (drops.total(), 511));
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let mut metrics = PeerMetrics::default();
        let peer = PeerId::new("carol.with-every_kind.0f-character").expect("valid");
        let encode = |metrics: &PeerMetrics| {
            let (stats, peers) = (EndpointStats::default(), vec![(peer, metrics.clone())]);
            Snapshot { stats, peers }.encode()
        };
        let label = "{peer=\"carol.with-every_kind.0f-character\"}";
        let connect = format!("\nbowline_peer_connect_seconds{label} 0.0425\n");
        assert!(!encode(&metrics).contains("\nbowline_peer_connect_seconds{"));
        metrics.connect_time = Some(Duration::from_micros(42_500));
        assert!(encode(&metrics).contains(&connect));
        assert!(!encode(&metrics).contains("\nbowline_peer_relayed{"));
        assert!(!encode(&metrics).contains("\nbowline_peer_rtt_seconds{"));
    }
}
