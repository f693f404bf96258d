//! The bodies of the fuzz targets.
//!
//! This module exists in tests and where `cfg(fuzzing)` is set, as `cargo fuzz` does, and nowhere else: what the fuzz
//! targets reach inside the core needs no feature and is in no release. Each body takes any bytes, and panics when a
//! rule does not hold. The bodies stand beside the code that they are about; the tests here replay the committed
//! corpora through them.

pub use crate::channel::fuzz::{channels, frames};
pub use crate::endpoint::fuzz::datagram;
pub use crate::ice::fuzz::{candidate, candidate_differential};
pub use crate::ice::gather::fuzz::gather;
pub use crate::ice::nat::fuzz::nat_discovery;
pub use crate::ice::server::fuzz::ice_server;
pub use crate::ice::turn::fuzz::{turn, turn_stream};
pub use crate::mesh::fuzz::mesh;
pub use crate::peer::fuzz::peer_state;
pub use crate::sdp::fuzz::{Described, describe, sdp};
pub use crate::signal::fuzz::envelope;

/// The text of an input. What is no text never reaches a parser of texts.
pub(crate) fn text_of(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Takes numbers off the front of an input. When it is used up there are only zeros, so that every input means
/// something and a longer one means the same at its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.bytes();
        byte
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes())
    }

    /// At most `most` bytes; how many, the input says.
    pub(crate) fn slice(&mut self, most: usize) -> &'a [u8] {
        let len = usize::from(self.short()).min(most).min(self.rest.len());
        let (slice, rest) = self.rest.split_at(len);
        self.rest = rest;
        slice
    }

    /// One of `all`, which is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let len = N.min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        bytes[..len].copy_from_slice(taken);
        self.rest = rest;
        bytes
    }
}

#[cfg(test)]
mod tests;
