//! Endpoints as an embedding application sees them, in a world that does not always mean well.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod churn;
mod lifecycle;
mod pair;
