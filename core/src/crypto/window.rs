//! The receive window that a foreign peer is told.
//!
//! The SCTP stack announces room for what it holds itself, and it hands every message up at once. So a peer that knows no
//! credit of ours would send without end to an application that does not read. What there is room for beyond is told here,
//! and goes into our acknowledgements on their way out. When the application has made room, the last acknowledgement is
//! repeated: the stack has no reason to.
//!
//! What comes although there is no room is taken for a while: senders ask in this way whether there is (RFC 9260 section
//! 6.1, zero window probes), many of them several times a second. Then the window is shut: packets with data are
//! dropped, and answered with our last acknowledgement (section 6.2). A sender waits longer and longer then, so
//! this comes late.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What a session and its DTLS instance know of the window.
#[derive(Debug)]
pub(super) struct Window {
    room: AtomicU32,
    /// What our last acknowledgement announced.
    announced: AtomicU32,
    is_update_due: AtomicBool,
    is_shut: AtomicBool,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            room: AtomicU32::new(u32::MAX),
            announced: AtomicU32::new(u32::MAX),
            is_update_due: AtomicBool::new(false),
            is_shut: AtomicBool::new(false),
        }
    }

    /// There is `room` now. Returns whether that is `step` more than the peer knows, which it is to be told then. When it
    /// `is_shut`, nothing is to be let in.
    pub(super) fn set_room(&self, room: u32, step: u32, is_shut: bool) -> bool {
        self.room.store(room, Ordering::Relaxed);
        self.is_shut.store(is_shut, Ordering::Relaxed);
        let announced = self.announced.load(Ordering::Relaxed);
        let is_due = room.saturating_sub(announced) >= step.max(1);
        self.is_update_due.store(is_due, Ordering::Relaxed);
        is_due
    }

    pub(super) fn room(&self) -> u32 {
        self.room.load(Ordering::Relaxed)
    }

    pub(super) fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Relaxed)
    }

    /// Something came to the shut window: the peer is to be told again.
    pub(super) fn on_dropped(&self) {
        self.is_update_due.store(true, Ordering::Relaxed);
    }

    /// An acknowledgement was sent, for which the stack wanted the window `wanted`. Returns whether it was lowered.
    pub(super) fn on_announced(&self, wanted: u32) -> bool {
        let room = self.room();
        let is_lowered = wanted > room;
        let announced = if is_lowered { room } else { u32::MAX };
        self.announced.store(announced, Ordering::Relaxed);
        is_lowered
    }

    /// Whether the peer is to be told of the window. Counts once.
    pub(super) fn is_update_due(&self) -> bool {
        self.is_update_due.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_is_told_when_the_room_grew_by_a_step() {
        let window = Window::new();
        assert!(!window.set_room(1_000, 10, false), "nothing was announced");
        assert!(window.on_announced(2_000));
        assert!(!window.set_room(1_009, 10, false));
        assert!(!window.is_update_due());
        assert!(window.set_room(1_010, 10, false));
        assert!(window.is_update_due());
        assert!(!window.is_update_due(), "once");
        assert!(!window.on_announced(900));
        assert!(
            !window.set_room(u32::MAX, 10, false),
            "the stack itself had less room"
        );
    }
}
