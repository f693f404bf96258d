//! Placeholder crate docs.

mod null_dtls;

pub use null_dtls::NullDtls;
