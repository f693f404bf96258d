//! Endpoints as an embedding application sees them, in a world that does not always mean well.

// The worlds start at the present, and number few things.
#![allow(clippy::disallowed_methods, clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod foreign;
mod lifecycle;
mod pair;
mod property;
mod replay;
mod secrets;
