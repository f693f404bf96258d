//! What is changed in descriptions on their way.

use serde::{Deserialize, Serialize};

use crate::sdp::Rewrite;

/// Changes of descriptions on their way from and to peers, each told by
/// [`Event::DescriptionRewritten`](crate::Event::DescriptionRewritten). At most [`Sdp::MAX_REWRITES`] each way.
///
/// Candidates that are stripped from descriptions are stripped where they come one by one, too. Our addresses are kept from the peer only
/// as long as we do not send from them; what is not to be used at all is for
/// [`Ice::denied`](crate::config::Ice::denied) and [`Ice::denied_types`](crate::config::Ice::denied_types).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sdp {
    /// What is changed in our offers and answers before they are sent, in this order.
    pub sent: Vec<Rewrite>,
    /// What is changed in the peers' offers and answers before they are judged and used, in this order.
    pub received: Vec<Rewrite>,
}

impl Sdp {
    /// The most rewrites each way.
    pub const MAX_REWRITES: usize = 32;
}
