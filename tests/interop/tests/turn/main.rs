//! bowline against coturn: `bash tests/interop/run`. Each test has hosts of its own, and a coturn of its own.

mod common;
mod credentials;
mod loss;
mod only;
mod relaying;
