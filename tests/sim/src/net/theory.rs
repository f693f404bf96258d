//! The oracle: between which boxes theory allows a direct path.
//!
//! Two agents speak ICE (RFC 8445) on one socket each. Each knows what a STUN server saw of it, and tells the other. `S` is
//! the mapping that a side has toward the STUN server.
//!
//! **Both sides map independently of the endpoint.** Each is seen by the other as it was seen by the server. Once both
//! have sent, each has sent to exactly the address that it will hear from, which satisfies every filter. There is a path.
//!
//! **Only B does.** B's address is known, A's is not: A speaks to B from a fresh port. It is let in by B unless B wants the
//! exact port, for B has sent to `S` of A and so knows the address. B then answers to where A spoke from, a
//! peer-reflexive candidate, and A has sent to B's address from there. If B wants the exact port, nothing of A comes
//! in, and what A hears through `S`, if its filter is that open, it can only answer from a fresh port.
//!
//! **Neither does.** To be heard first, one side, say A, must get through `S` of B, to which only the server was sent: B
//! must let in everybody. B's answer comes from a fresh port, not the one that was written to, which ICE does not
//! take for an answer (RFC 8445 §7.2.5.2.1). But B asks, too, from that fresh port to A's, and A lets it in unless it
//! wants the exact port, for A has sent to this address. Now each side knows a port that the other made for it.
//! If a side maps by address alone, it answers from that same port and the path is there. If both map by address and
//! port, every answer comes from yet another port, forever. Ports are not predicted, so it makes no difference whether
//! they could be.
//!
//! **With a relay**, a side has an address that maps for all and lets in everybody to whose address it has sent: the second
//! case, in which there always is a path.

use super::nat::{Filtering, Mapping, NatConfig};

/// Whether theory allows a path between a host behind `a` and one behind `b`, where both boxes are on the internet, and
/// there is a STUN server and, if `relay`, a TURN server. The module has the argument.
///
/// ```
/// use bowline_sim::{NatConfig, has_path};
///
/// let (cone, hard) = (NatConfig::port_restricted(), NatConfig::symmetric());
/// assert!(has_path(&cone, &cone, false));
/// assert!(!has_path(&cone, &hard, false));
/// assert!(has_path(&cone, &hard, true));
/// ```
#[must_use]
pub fn has_path(a: &NatConfig, b: &NatConfig, relay: bool) -> bool {
    let open = |nat: &NatConfig| nat.firewall.passes_checks();
    open(a) && open(b) && (relay || punches(traits(a), traits(b)))
}

/// Several boxes in a row behave like one that is as strict as the strictest of them.
pub(super) fn chain<'a>(boxes: impl Iterator<Item = &'a NatConfig>) -> NatConfig {
    boxes.fold(NatConfig::open(), |chain, next| {
        let (mapping, filtering) = traits(&chain);
        let (next_mapping, next_filtering) = traits(next);
        NatConfig {
            mapping: mapping.max(next_mapping),
            filtering: filtering.max(next_filtering),
            ..NatConfig::default()
        }
    })
}

/// What a box does to IPv4, also where it does not translate.
fn traits(nat: &NatConfig) -> (Mapping, Filtering) {
    if nat.translate {
        return (nat.mapping, nat.filtering);
    }
    let filtering = nat.stateful.unwrap_or(Filtering::EndpointIndependent);
    (Mapping::EndpointIndependent, filtering)
}

fn punches(a: (Mapping, Filtering), b: (Mapping, Filtering)) -> bool {
    let is_known = |side: (Mapping, Filtering)| side.0 == Mapping::EndpointIndependent;
    let takes_any_port = |side: (Mapping, Filtering)| side.1 != Filtering::AddressAndPortDependent;
    let takes_anybody = |side: (Mapping, Filtering)| side.1 == Filtering::EndpointIndependent;
    match (is_known(a), is_known(b)) {
        (true, true) => true,
        (true, false) => takes_any_port(a),
        (false, true) => takes_any_port(b),
        (false, false) => {
            let settles = [a, b]
                .iter()
                .any(|side| side.0 == Mapping::AddressDependent);
            let heard = takes_anybody(a) || takes_anybody(b);
            settles && heard && takes_any_port(a) && takes_any_port(b)
        }
    }
}

#[cfg(test)]
mod tests;
