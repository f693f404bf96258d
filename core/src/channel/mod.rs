//! Channels.
pub mod kind;
