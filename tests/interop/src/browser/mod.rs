//! Browsers without a window, each with a profile that nobody used before.

mod chromium;

pub use chromium::{Chromium, Visibility};
