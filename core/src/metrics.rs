//! Plain counters that the caller reads.

use std::time::Duration;

use crate::id::ChannelId;

/// Counters of an endpoint since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Peers that exist now.
    pub peers: usize,
    /// Peers that are connected now.
    pub connected: usize,
    /// Peers that wait for `accept` or `refuse` now.
    pub incoming: usize,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes of datagrams received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// Datagrams dropped, by cause.
    pub dropped: Drops,
    /// Signalling messages received, duplicates included.
    pub signals_received: u64,
    /// Signalling messages sent, repetitions included.
    pub signals_sent: u64,
    /// Signalling messages refused.
    pub signals_refused: u64,
    /// Signalling messages received more than once.
    pub signals_duplicate: u64,
    /// Connectivity checks that were not sent, since the address had got as many in that minute as
    /// `max_unanswered_checks` of [`Config::limits`](crate::Config::limits) allows.
    pub checks_refused: u64,
}

/// Datagrams that were dropped, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drops {
    /// Not STUN, DTLS or another known protocol (RFC 7983), or too short or too long.
    pub garbage: u64,
    /// STUN that is malformed or whose FINGERPRINT is missing or wrong.
    pub bad_stun: u64,
    /// A check for a user name that no peer has.
    pub unknown_ufrag: u64,
    /// An answer to no check of ours.
    pub unknown_transaction: u64,
    /// Anything else from an address that no peer uses.
    pub unknown_source: u64,
    /// A check from an address that the peer has not named, made with another password than ours.
    pub wrong_password: u64,
    /// A check from one source too many.
    pub too_many_sources: u64,
    /// A protocol of RFC 7983 that is not spoken here.
    pub unsupported: u64,
    /// Anything that came past the relays while only they may be used
    /// ([`TransportPolicy::Relay`](crate::TransportPolicy::Relay)).
    pub policy: u64,
}

impl Drops {
    /// The sum over all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.garbage
            + self.bad_stun
            + self.unknown_ufrag
            + self.unknown_transaction
            + self.unknown_source
            + self.wrong_password
            + self.too_many_sources
            + self.unsupported
            + self.policy
    }
}

/// The figures of one peer since it was made.
///
/// # Loss
///
/// There is no count of lost packets, because nobody knows it: a receiver does not tell SCTP which packets it has lost, only
/// what it has (RFC 9260 section 3.3.4), and a packet that is late or out of order looks the same for a while. What is
/// known is what the sender took for lost and sent again: [`chunks_retransmitted`](Self::chunks_retransmitted). It counts
/// a little more than was lost where packets are reordered or round trips leap, and less where a channel
/// does not repeat: what an unreliable channel loses is nowhere.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PeerMetrics {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes of datagrams received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// DATA chunks of SCTP that were sent again (RFC 9260 sections 6.3.3 and 7.2.4): each time that one is sent
    /// whose number was sent before. Between bowline peers a chunk carries up to a datagram of one message.
    pub chunks_retransmitted: u64,
    /// Payload bytes of those chunks.
    pub bytes_retransmitted: u64,
    /// The round trip time of the last connectivity check on the path in use.
    pub rtt: Option<Duration>,
    /// From `connect` or the offer to the first `Connected`.
    pub connect_time: Option<Duration>,
    /// How long the peer has been connected, in all.
    pub connected_time: Duration,
    /// ICE restarts that were begun.
    pub restarts: u32,
    /// Bytes that SCTP holds and that are not acknowledged.
    pub backlog: usize,
    /// The channels, in the order of their ids.
    pub channels: Vec<ChannelMetrics>,
}

/// The figures of one channel since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelMetrics {
    /// The channel.
    pub channel: ChannelId,
    /// Messages accepted for sending.
    pub messages_queued: u64,
    /// Messages handed to the transport.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages of an unreliable channel that came while its receive window was full, and were dropped.
    pub messages_dropped: u64,
    /// Payload bytes accepted for sending.
    pub bytes_queued: u64,
    /// Payload bytes handed to the transport.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Messages in the queue now: accepted, and not handed to the transport whole.
    pub queue_messages: usize,
    /// Payload bytes in the queue now.
    pub queue_bytes: usize,
    /// How long the oldest message in the queue has waited since it was accepted. `None` when none waits. One that has
    /// to be sent again, because its stream was reset, has waited since then, too.
    pub queue_age: Option<Duration>,
    /// Messages of a reliable channel that were handed to the transport and whose outcome is not known now. Always 0
    /// on an unreliable one, which is told of none.
    pub messages_unacknowledged: u64,
}
