//! Secured datagrams on their way past str0m.
//!
//! Whenever str0m is asked for a datagram, it first has SCTP look at everything that is under way. So only the first of
//! those that are ready at one time is given to it, and when it comes out, the others follow: to the address that
//! str0m has chosen, in the order in which they were made.

use std::sync::{Mutex, PoisonError};

/// What follows the datagram that str0m has.
#[derive(Debug, Default)]
pub(super) struct Convoy(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether str0m has one that others may follow.
    led: bool,
    followers: Vec<Vec<u8>>,
}

impl Convoy {
    /// Puts `datagram` behind the one that str0m has. Returns false when it has none: it must be given this one.
    pub(super) fn join(&self, datagram: &[u8]) -> bool {
        self.with(|state| {
            if state.led {
                state.followers.push(datagram.to_vec());
                return true;
            }
            state.led = true;
            false
        })
    }

    /// str0m has sent the one that it had. Gives those that follow.
    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        self.with(|state| std::mem::take(state).followers)
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_first_follow_in_order() {
        let convoy = Convoy::default();
        assert!(!convoy.join(b"first"));
        assert!(convoy.join(b"second"));
        assert!(convoy.join(b"third"));
        assert_eq!(convoy.take(), [b"second".to_vec(), b"third".to_vec()]);
        assert!(!convoy.join(b"fourth"), "nothing leads any more");
        assert!(convoy.take().is_empty());
    }
}
