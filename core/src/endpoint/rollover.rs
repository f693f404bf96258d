//! A new key in the place of an old one: what an endpoint says of its own, and learns of others.

use std::time::Instant;

use super::Endpoint;
use super::recorder::Step;
use crate::error::NotInvolved;
use crate::event::Event;
use crate::signal::{Envelope, Rollover};

impl Endpoint {
    /// Says from now on that the key of this endpoint takes the place of another one, or has given its place to another one.
    ///
    /// A key is changed with two endpoints, each with its own sockets and signalling link, of which one makes room for the other
    /// while the grace period lasts ([`Rollover::until`]):
    ///
    /// - The one with the **new** key says whom it takes the place of to everybody to whom it offers a connection. They learn of it
    ///   by [`Event::KeyRollover`], before [`Event::Incoming`].
    /// - The one with the **old** key closes its connections as [`Endpoint::close`] does, begins no new ones
    ///   ([`ConnectError::GivenUp`](crate::ConnectError::GivenUp)) and refuses those that are offered. The others learn of the
    ///   new key with the end of the connection, and may connect to that. It can be dropped when the grace period is over.
    ///
    /// # Errors
    ///
    /// [`NotInvolved`] when the key of this endpoint is neither; nothing has changed then.
    pub fn announce_rollover(
        &mut self,
        rollover: Rollover,
        now: Instant,
    ) -> Result<(), NotInvolved> {
        self.begin(now, |_| Step::AnnounceRollover {
            rollover: rollover.clone(),
        });
        if !self.sealer.announce(rollover) {
            return Err(NotInvolved);
        }
        if self.sealer.is_given_up() {
            self.close_all();
        }
        Ok(())
    }

    /// Tells the application what a message says of the key of its sender.
    pub(super) fn tell_rollover(&mut self, envelope: &mut Envelope) {
        let wall = self.wall.at(self.now);
        let rollover = envelope.rollover.take();
        if let Some(rollover) = rollover.filter(|rollover| wall < rollover.until()) {
            self.ctx.events.push_back(Event::KeyRollover { rollover });
        }
    }
}
