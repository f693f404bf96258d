//! What an attacker that has a key needs, in a simulation.

use std::time::Duration;

use super::identity::{Identity, Protection};
use super::seal::Sealer;
use crate::id::PeerId;
use crate::rng::{Rng, Seed};

/// Signs and seals messages as an endpoint of this identity does, whatever they say.
#[derive(Debug)]
pub struct Protector(Sealer);

impl Protector {
    /// One that speaks as `identity`, with the keys of `seed`.
    #[must_use]
    pub fn new(identity: Identity, protection: Protection, seed: &Seed) -> Self {
        let rng = Rng::new(seed);
        Self(Sealer::new(identity, protection, Duration::ZERO, rng))
    }

    /// The text that carries `message`, the JSON of a plain one, to a key. Of an identity without a key it is the message.
    #[must_use]
    pub fn protect(&mut self, to: PeerId, message: String) -> String {
        let from = self.0.id();
        self.0.protect(from, to, message)
    }
}
