//! The async API over real sockets of this machine. Every wait is for an event and has a deadline.

mod common;
mod connect;
mod drops;
mod flow;
mod link;
#[cfg(feature = "openmetrics")]
mod openmetrics;
mod processes;
mod program;
mod relay;
mod rooms;
