//! Plain counters that the caller reads.

use std::time::{Duration, Instant};

use crate::event::Path;
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
    /// Datagrams of data that were not sent, because the peer had not answered on the path for 30 s (RFC 7675 section 5.1).
    pub datagrams_withheld: u64,
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
    /// What went through rooms.
    pub mesh: MeshStats,
}

/// What went through rooms: signalling messages for us and for others, and publications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshStats {
    /// Signalling messages of ours that were sent through others.
    pub routed: u64,
    /// Signalling messages for us that came through others.
    pub delivered: u64,
    /// Signalling messages of others that were passed on.
    pub relayed: u64,
    /// Signalling messages of others that were not passed on: too many of one origin, too often passed on already, or
    /// [`relays`](crate::config::Mesh::relays) is off.
    pub not_relayed: u64,
    /// Messages of the mesh that were sent to neighbours, of whatever kind.
    pub sent: u64,
    /// Messages of the mesh that were dropped because the queue to a neighbour was full.
    pub not_sent: u64,
    /// Publications that came for the first time.
    pub published: u64,
    /// Signalling messages and publications that came again.
    pub duplicates: u64,
    /// Publications without the signature of their origin, of another time, or too large; and messages about members that
    /// have not signed what is said of them.
    pub forged: u64,
    /// Publications, and signalling messages from one neighbour, that came too fast.
    pub too_fast: u64,
    /// Messages that are none of the mesh.
    pub malformed: u64,
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
    /// A check from an address that the peer has not named, made with another password than ours, or an answer made with
    /// another than the peer's.
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
    /// Bytes of datagrams received in each second of the interval; see [`bytes_sent_per_second`](Self::bytes_sent_per_second).
    pub bytes_received_per_second: u64,
    /// Bytes of datagrams sent in each second of the interval.
    ///
    /// An interval begins when the peer is made, whenever it becomes connected, and with each
    /// [`Event::Metrics`](crate::Event::Metrics) that ends one ([`metrics_interval`](crate::ConfigBuilder::metrics_interval)).
    /// The event has the mean over the interval that it ends; figures that are asked for have the mean since the
    /// present one began, which says little in its first moments. It is 0 at the very beginning.
    pub bytes_sent_per_second: u64,
    /// DATA chunks of SCTP that were sent again (RFC 9260 sections 6.3.3 and 7.2.4): each time that one is sent
    /// whose number was sent before. Between bowline peers a chunk carries up to a datagram of one message.
    pub chunks_retransmitted: u64,
    /// Payload bytes of those chunks.
    pub bytes_retransmitted: u64,
    /// The path that data takes. `None` before the first.
    pub path: Option<Path>,
    /// Whether our end of it is on a TURN server.
    pub relayed: bool,
    /// Round trip times on that path. `None` while no connectivity check on it was answered.
    pub rtt: Option<Rtt>,
    /// From `connect` or the offer to the first `Connected`.
    pub connect_time: Option<Duration>,
    /// How long the peer has been connected, in all.
    pub connected_time: Duration,
    /// How often the connection was lost: it became [`PeerState::Disconnected`](crate::PeerState::Disconnected).
    pub losses: u32,
    /// ICE restarts that were begun.
    pub restarts: u32,
    /// Transports that took the place of another one.
    pub rebuilds: u32,
    /// How long ago a connectivity check on the path in use was answered, which is consent to send there for 30 s (RFC 7675
    /// section 5.1). `None` while none was.
    pub consent_age: Option<Duration>,
    /// Bytes that SCTP holds and that are not acknowledged.
    pub backlog: usize,
    /// The channels, in the order of their ids.
    pub channels: Vec<ChannelMetrics>,
}

/// Round trip times of the connectivity checks on the path in use, of which there is one about every three seconds.
///
/// They belong to the path: when data takes another, they begin anew, with the last answer on that path as the first sample.
/// An ICE restart that ends on the same path changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Rtt {
    /// The last one.
    pub latest: Duration,
    /// The smoothed one: SRTT of RFC 6298 section 2, with alpha = 1/8. The first sample as it is.
    pub smoothed: Duration,
    /// The least.
    pub min: Duration,
    /// The mean deviation from the smoothed one: RTTVAR of RFC 6298 section 2, with beta = 1/4. It begins with 0 and
    /// not with half of the first sample, which is there for the caution of a timer and would pass for jitter here.
    ///
    /// It is of the way there and back, so it is not the interarrival jitter of RFC 3550, which is of one way.
    pub jitter: Duration,
}

impl Rtt {
    pub(crate) fn new(sample: Duration) -> Self {
        Self {
            latest: sample,
            smoothed: sample,
            min: sample,
            jitter: Duration::ZERO,
        }
    }

    pub(crate) fn on_sample(&mut self, sample: Duration) {
        // RFC 6298 section 2.3: RTTVAR first, with the SRTT of before.
        self.jitter = self.jitter * 3 / 4 + self.smoothed.abs_diff(sample) / 4;
        self.smoothed = self.smoothed * 7 / 8 + sample / 8;
        self.min = self.min.min(sample);
        self.latest = sample;
    }
}

/// Where an interval of a peer's rates began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    began: Instant,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Interval {
    pub(crate) fn new(metrics: &PeerMetrics, now: Instant) -> Self {
        Self {
            began: now,
            bytes_sent: metrics.bytes_sent,
            bytes_received: metrics.bytes_received,
        }
    }

    /// Fills in the rates of `metrics`, which are of `now`.
    pub(crate) fn rate(&self, metrics: &mut PeerMetrics, now: Instant) {
        let took = now.saturating_duration_since(self.began);
        metrics.bytes_sent_per_second = per_second(metrics.bytes_sent - self.bytes_sent, took);
        metrics.bytes_received_per_second =
            per_second(metrics.bytes_received - self.bytes_received, took);
    }
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

fn per_second(bytes: u64, took: Duration) -> u64 {
    let nanos = u128::from(bytes) * NANOS_PER_SECOND;
    let rate = nanos.checked_div(took.as_nanos()).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_round_trip_is_smoothed_and_least_and_has_no_jitter() {
        let rtt = Rtt::new(ms(80));
        assert_eq!(
            (rtt.latest, rtt.smoothed, rtt.min, rtt.jitter),
            (ms(80), ms(80), ms(80), ms(0))
        );
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_says() {
        let mut rtt = Rtt::new(ms(80));
        rtt.on_sample(ms(160));
        // 3/4 * 0 + 1/4 * |80 - 160|, and 7/8 * 80 + 1/8 * 160.
        assert_eq!((rtt.jitter, rtt.smoothed), (ms(20), ms(90)));
        rtt.on_sample(ms(10));
        assert_eq!((rtt.jitter, rtt.smoothed), (ms(35), ms(80)));
        assert_eq!((rtt.latest, rtt.min), (ms(10), ms(10)));
        rtt.on_sample(ms(80));
        assert_eq!((rtt.latest, rtt.min), (ms(80), ms(10)));
        assert_eq!(rtt.jitter, Duration::from_micros(26_250));
    }

    #[test]
    fn a_steady_path_has_no_jitter_and_an_uneven_one_its_mean_deviation() {
        let mut steady = Rtt::new(ms(50));
        (0..100).for_each(|_| steady.on_sample(ms(50)));
        assert_eq!((steady.smoothed, steady.jitter), (ms(50), ms(0)));
        let mut uneven = Rtt::new(ms(50));
        (0..100).for_each(|n| uneven.on_sample(ms(50 + 20 * (n % 2))));
        assert!(uneven.smoothed.abs_diff(ms(60)) < ms(2), "{uneven:?}");
        assert!(uneven.jitter.abs_diff(ms(10)) < ms(2), "{uneven:?}");
    }

    #[test]
    fn rates_are_of_the_interval_and_zero_at_its_very_beginning() {
        let start = Instant::now();
        let mut metrics = PeerMetrics {
            bytes_sent: 1_000,
            bytes_received: 7,
            ..PeerMetrics::default()
        };
        let interval = Interval::new(&metrics, start);
        let rates = |metrics: &mut PeerMetrics, now| {
            interval.rate(metrics, now);
            (
                metrics.bytes_sent_per_second,
                metrics.bytes_received_per_second,
            )
        };
        assert_eq!(rates(&mut metrics, start + ms(2_000)), (0, 0));
        metrics.bytes_sent += 6_000;
        metrics.bytes_received += 250;
        assert_eq!(rates(&mut metrics, start), (0, 0));
        assert_eq!(rates(&mut metrics, start + ms(500)), (12_000, 500));
        assert_eq!(rates(&mut metrics, start + ms(3_000)), (2_000, 83));
        metrics.bytes_sent = u64::MAX;
        let soon = start + Duration::from_nanos(1);
        assert_eq!(rates(&mut metrics, soon).0, u64::MAX);
    }
}
