//! A WAY TO REPLACE DTLS BY SOMETHING WITHOUT ANY SECURITY. FOR SIMULATORS ONLY.
//!
//! A simulator runs many thousand sessions, with the same bytes each time: it supplies a [`DtlsProvider`] that
//! speaks plain text. NEVER enable the feature `simulation` in a program that talks to a network: an endpoint made
//! with such a provider encrypts nothing and believes anybody. It says so in a warning when it is made, and cannot
//! be made without naming the provider.

pub use crate::signal::protector::Protector;
pub use dimpl::TimeoutError;
pub use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion,
};
pub use str0m_proto::crypto::{CryptoError, DtlsVersion};
