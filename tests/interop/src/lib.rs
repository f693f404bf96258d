//! What the suites against real peers share: other programs that end with the test, and browsers.
//!
//! - [`process`]: a program in a process group of its own, all of which is killed when its handle is dropped.
//! - [`browser`]: Chromium with a profile of its own, headless.
//!
//! The suites are in `tests/`; `tests/interop/run` installs what they need and runs them in a network namespace.
#![forbid(unsafe_code)]

pub mod browser;
pub mod process;
