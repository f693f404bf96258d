//! Files between two peers: offered, accepted, sent in chunks, verified, and put in place whole or not at all.
//!
//! `docs/PROTOCOL.md` has the messages. [`Exchange`] speaks them over one connection; [`Source`] is a file that is
//! offered, [`Place`] where one shall go.

mod digest;
mod exchange;
mod message;
mod name;
mod part;
mod receiving;
mod sending;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use digest::Digest;
pub(crate) use exchange::{Ending, Event, Exchange, Step};
pub(crate) use message::{Cancellation, Failure, Refusal, Side};
pub(crate) use name::FileName;
pub(crate) use part::Place;
pub(crate) use source::Source;
