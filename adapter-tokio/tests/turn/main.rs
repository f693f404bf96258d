//! The STUN and TURN server with a client that is not ours, over loopback.

mod by_hand;
mod peers;
mod refusals;
mod relaying;
mod rooms;
mod user;
