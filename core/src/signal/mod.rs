//! Signalling: what two peers tell each other before, and about, their connection.
//!
//! Everything here is pure and works over a link that loses, repeats, delays and reorders at will. Three properties
//! make that sound:
//!
//! - **Every message says what it is about.** The header names both peers, the session, the ICE generation and a
//!   number, so that a message that is late, replayed, reflected or meant for another session is recognised by
//!   looking at it alone.
//! - **Sending is repeated until acknowledged, handling is idempotent.** [`delivery`] numbers and repeats, and tells
//!   duplicates; what it lets through twice by mistake changes nothing the second time.
//! - **Both sides decide alike.** [`negotiation`] settles glare by the order of the two identities and by what each
//!   side says it has given up, never by who was faster.
//!
//! | file | is |
//! | --- | --- |
//! | [`envelope`] | the message and its JSON form: the reference for implementations in other languages |
//! | [`identity`] | who an endpoint is: a key pair, or a bare name |
//! | [`rollover`] | one key in the place of another |
//! | [`seal`] | how a message is signed and sealed on an untrusted link |
//! | [`jws`] | signatures |
//! | [`delivery`] | numbering, repetition, acknowledgement and deduplication within one session |
//! | [`negotiation`] | who offers, who yields, what is stale: one machine for each remote peer |
//! | [`early`] | candidates that came before the description they belong to |
//! | [`ended`] | sessions that are over, and farewells that outlive theirs |
//! | [`retry`] | the repetition schedule that `delivery` and `ended` share |
//! | [`newcomers`] | how often one peer may begin a session |
//! | [`bucket`] | the token bucket that limits restarts and new sessions |

pub(crate) mod bucket;
pub(crate) mod delivery;
pub(crate) mod early;
pub(crate) mod ended;
pub(crate) mod envelope;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod identity;
pub(crate) mod jws;
pub(crate) mod negotiation;
pub(crate) mod newcomers;
#[cfg(feature = "simulation")]
pub(crate) mod protector;
pub(crate) mod retry;
pub(crate) mod rollover;
pub(crate) mod seal;

pub(crate) use bucket::TokenBucket;
pub(crate) use delivery::{Acceptance, Inbox, Outbox};
pub(crate) use early::{EarlyCandidate, EarlyCandidates};
pub(crate) use ended::{EndedSessions, Farewells, reply_to_unknown};
pub(crate) use envelope::{Body, ByeReason, Capabilities, Envelope};
pub(crate) use identity::{Identity, Protection};
pub(crate) use jws::Signature;
pub(crate) use negotiation::{Decision, Negotiation};
pub(crate) use newcomers::Newcomers;
pub(crate) use rollover::Rollover;
pub(crate) use seal::Sealer;
