//! Rooms, and what is carried for others in them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an endpoint behaves in rooms ([`Endpoint::join`](crate::Endpoint::join)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// Whether signalling messages of others pass through this endpoint.
    pub relays: bool,
    /// Rooms at one time. At the bound `join` fails.
    pub max_rooms: usize,
    /// Members of a room that are known, those included that left in the last five minutes. At the bound others are ignored.
    pub max_members: usize,
    /// Up to so many members everybody is connected to everybody.
    pub full_mesh: usize,
    /// How many connections each has on average where there are more.
    pub neighbours: usize,
    /// How many times a signalling message is passed on.
    pub hop_limit: u8,
    /// The largest message that is published in a room, or passed on, in bytes. It is no more than 1 KiB less than
    /// [`max_message_size`](crate::config::ChannelLimits::max_message_size).
    pub max_publication: usize,
    /// How long the path to a neighbour may be lost before the room is told that it may be gone. A connection that has failed
    /// counts at once.
    pub suspect_after: Duration,
    /// How long somebody who may be gone has to contradict before it is given up.
    pub suspicion: Duration,
}

impl Mesh {
    /// The default.
    pub(crate) const STANDARD: Self = Self {
        relays: true,
        max_rooms: 8,
        max_members: 4_096,
        full_mesh: 12,
        neighbours: 8,
        hop_limit: 16,
        max_publication: 64 * 1_024,
        suspect_after: Duration::from_secs(10),
        suspicion: Duration::from_secs(10),
    };
}
