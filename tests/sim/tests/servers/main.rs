//! STUN and TURN servers in a simulated network, as a client sees them.

mod station;
mod streams;
mod stun;
mod turn;
