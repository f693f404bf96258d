//! bowline behind NATs of the kernel: `bash tests/interop/run`. Needs root, and makes all of the network itself.
//!
//! One network has two peers of each kind of access, and a coturn in public; every pair of them connects, once without
//! the relay and once with it.

mod browser;
mod discovery;
mod matrix;
mod network;
