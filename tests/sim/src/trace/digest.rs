//! How what happened goes into a hash and into a text. No `Instant` does: times are offsets.

use std::hash::{Hash, Hasher as _};
use std::time::Instant;

use bowline::Event;

use crate::hash::RollingHash;
use crate::model::hash_message;
use crate::net::HostId;
use crate::time::Time;

pub(super) fn sent(hash: &mut RollingHash, at: Time, from: HostId, len: usize) {
    hash.write_u64(at.as_nanos());
    hash.write_usize(from);
    hash.write_usize(len);
}

pub(super) fn deadline(hash: &mut RollingHash, at: Time, host: HostId, deadline: Option<Time>) {
    hash.write_u64(at.as_nanos());
    hash.write_usize(host);
    hash.write_u64(deadline.unwrap_or(Time::NEVER).as_nanos());
}

/// Hashes an event field by field: nothing is formatted, nothing allocated.
pub(super) fn event(
    hash: &mut RollingHash,
    at: Time,
    host: HostId,
    event: &Event,
    time_of: impl Fn(Instant) -> Time,
) {
    hash.write_u64(at.as_nanos());
    hash.write_usize(host);
    std::mem::discriminant(event).hash(hash);
    match event {
        Event::Initialised { peer } => peer.hash(hash),
        Event::Incoming {
            peer,
            session,
            deadline,
        } => {
            (peer, session, time_of(*deadline)).hash(hash);
        }
        Event::State {
            peer,
            from,
            to,
            cause,
            at,
            deadline,
            ..
        } => {
            (peer, from, to, cause, time_of(*at), deadline.map(time_of)).hash(hash);
        }
        Event::ChannelOpen {
            peer,
            channel,
            label,
            protocol,
            remote,
            ordering,
            reliability,
        } => {
            (
                peer,
                channel,
                label,
                protocol,
                remote,
                ordering,
                reliability,
            )
                .hash(hash);
        }
        Event::ChannelClosed { peer, channel } | Event::Writable { peer, channel } => {
            (peer, channel).hash(hash);
        }
        Event::ChannelError {
            peer,
            channel,
            error,
        } => (peer, channel, error).hash(hash),
        Event::Message {
            peer,
            channel,
            message,
        } => {
            (peer, channel, hash_message(message)).hash(hash);
        }
        Event::Sent {
            peer,
            channel,
            through,
        }
        | Event::Delivered {
            peer,
            channel,
            through,
        } => {
            (peer, channel, through).hash(hash);
        }
        Event::NotDelivered {
            peer,
            channel,
            first,
            last,
            maybe,
        } => {
            (peer, channel, first, last, maybe).hash(hash);
        }
        Event::SignalSent { peer, kind } | Event::SignalReceived { peer, kind } => {
            (peer, kind).hash(hash);
        }
        Event::SignalRefused { peer, reason } => (peer, reason).hash(hash),
        Event::CandidateAdded {
            peer,
            side,
            address,
        } => (peer, side, address).hash(hash),
        Event::CandidateIgnored { peer, reason } => (peer, reason).hash(hash),
        Event::NegotiationDone {
            peer,
            session,
            generation,
            took,
        } => {
            (peer, session, generation, took).hash(hash);
        }
        Event::NegotiationFailed {
            peer,
            reason,
            error,
        } => (peer, reason, error).hash(hash),
        Event::DescriptionRewritten {
            peer,
            side,
            changes,
        } => (peer, side, changes).hash(hash),
        Event::PathChanged {
            peer,
            from,
            to,
            relayed,
            why,
        } => (peer, from, to, relayed, why).hash(hash),
        Event::PathHealth { peer, health } => (peer, health).hash(hash),
        Event::Metrics { peer, metrics } => {
            peer.hash(hash);
            (metrics.datagrams_received, metrics.bytes_received).hash(hash);
            (metrics.datagrams_sent, metrics.bytes_sent, metrics.backlog).hash(hash);
            (metrics.chunks_retransmitted, metrics.bytes_retransmitted).hash(hash);
            (metrics.rtt, metrics.connect_time, metrics.connected_time).hash(hash);
        }
        Event::KeyRollover { rollover } => rollover.hash(hash),
        Event::MemberJoined { room, peer } => (room, peer).hash(hash),
        Event::MemberLeft { room, peer, lost } => (room, peer, lost).hash(hash),
        Event::Published {
            room,
            from,
            number,
            message,
        } => (room, from, number, &message.data).hash(hash),
        // The enum may grow: what is not known here counts by its kind alone.
        _ => {}
    }
}

/// The event as text, with times as offsets.
pub(super) fn describe(event: &Event, time_of: impl Fn(Instant) -> Time) -> String {
    match event {
        Event::Initialised { peer } => format!("initialised {peer}"),
        Event::Incoming {
            peer,
            session,
            deadline,
        } => {
            format!(
                "incoming {peer} until {}, session {session}",
                time_of(*deadline)
            )
        }
        Event::ChannelOpen {
            peer,
            channel,
            label,
            ..
        } => {
            format!("channel {channel} open: {peer}, {label:?}")
        }
        Event::ChannelClosed { peer, channel } => format!("channel {channel} closed: {peer}"),
        Event::ChannelError {
            peer,
            channel,
            error,
        } => {
            format!("channel {channel} failed: {peer}, {error}")
        }
        Event::Writable { peer, channel } => format!("channel {channel} writable: {peer}"),
        Event::Delivered {
            peer,
            channel,
            through,
        } => {
            format!("channel {channel} delivered through {through}: {peer}")
        }
        Event::NotDelivered {
            peer,
            channel,
            first,
            last,
            maybe,
        } => {
            let certainty = if *maybe { "perhaps " } else { "" };
            format!("channel {channel} {certainty}not delivered {first} to {last}: {peer}")
        }
        Event::SignalRefused { reason, .. } => format!("signal refused: {reason}"),
        Event::NegotiationDone {
            peer,
            session,
            generation,
            ..
        } => {
            format!("negotiated {peer}, generation {generation}, session {session}")
        }
        Event::NegotiationFailed {
            peer,
            reason,
            error,
        } => match error {
            Some(error) => format!("negotiation failed: {peer}, {reason}: {error}"),
            None => format!("negotiation failed: {peer}, {reason}"),
        },
        Event::DescriptionRewritten {
            peer,
            side,
            changes,
        } => format!("description of {peer} rewritten, {side:?}: {changes:?}"),
        Event::PathChanged { peer, to, .. } => {
            format!("path of {peer}: {} to {}", to.local, to.remote)
        }
        Event::PathHealth { peer, health } => format!("path of {peer} is {health}"),
        other => format!("{other:?}"),
    }
}
