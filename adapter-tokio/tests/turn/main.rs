//! The STUN and TURN server with a client that is not ours, over loopback.

mod refusals;
mod relaying;
mod rooms;
mod user;
