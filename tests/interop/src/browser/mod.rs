//! Browsers without a window, each with a profile that nobody used before.

mod chromium;
mod firefox;

pub use chromium::{Chromium, Visibility};
pub use firefox::Firefox;
