//! Endpoints as an embedding application sees them, in a world that does not always mean well.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a test brings its own clock and counts few things"
)]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod churn;
mod descriptions;
mod foreign;
mod lifecycle;
mod names;
mod pair;
mod property;
mod replay;
mod rollover;
mod rooms;
mod secrets;
