//! What the suites against real peers share: other programs that end with the test, browsers, and WebRTC stacks that
//! other people wrote.
//!
//! - [`process`]: a program in a process group of its own, all of which is killed when its handle is dropped; [`program`]: ours.
//! - [`browser`]: Chromium and Firefox with a profile of their own, headless.
//! - [`foreign`]: WebRTC stacks that do what the suite asks, and tell what happens.
//! - [`host`]: network namespaces with a runtime inside; [`topology`]: hosts behind
//!   gateways that translate; [`coturn`]: a TURN server; [`nats`]: a bus between servers; [`capture`]: where packets go.
//! - [`bridge`] and [`duo`]: a bowline endpoint and a foreign peer that meet; [`mio`]: the same with bowline in a mio loop.
//!
//! The suites are in `tests/`; `tests/interop/run` installs what they need and runs them in a network namespace.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod browser;
pub mod capture;
pub mod coturn;
pub mod duo;
pub mod foreign;
pub mod host;
pub mod log;
pub mod mio;
pub mod nats;
pub mod process;
pub mod program;
pub mod topology;
