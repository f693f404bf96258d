//! What a box never lets pass, whatever its translation would do.

use serde::{Deserialize, Serialize};

use super::class::Class;

/// What is dropped, in both directions. The default drops nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Firewall {
    /// All UDP, so everything.
    pub block_udp: bool,
    /// Datagrams of more bytes of UDP payload than this.
    pub above: Option<usize>,
    /// DTLS datagrams of more bytes than this.
    pub dtls_above: Option<usize>,
    /// All STUN, that of TURN included.
    pub block_stun: bool,
}

impl Firewall {
    /// A firewall that lets no UDP pass.
    #[must_use]
    pub fn no_udp() -> Self {
        Self {
            block_udp: true,
            ..Self::default()
        }
    }

    /// Whether a datagram passes.
    #[must_use]
    pub fn passes(&self, contents: &[u8]) -> bool {
        let above = |bound: Option<usize>| bound.is_some_and(|most| contents.len() > most);
        if self.block_udp || above(self.above) {
            return false;
        }
        match Class::of(contents) {
            Class::Stun => !self.block_stun,
            Class::Handshake | Class::Dtls => !above(self.dtls_above),
            Class::Other => true,
        }
    }

    /// Whether the small datagrams pass by which a path is found.
    #[must_use]
    pub fn passes_checks(&self) -> bool {
        !self.block_udp && !self.block_stun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_drops_what_it_names_and_nothing_else() {
        let [stun, dtls, other] = [0, 22, 200].map(|first| vec![first; 500]);
        let small_dtls = vec![22; 499];
        let verdicts = |wall: Firewall| [&stun, &dtls, &small_dtls, &other].map(|d| wall.passes(d));
        let default = Firewall::default();
        assert_eq!(verdicts(default), [true; 4]);
        assert_eq!(verdicts(Firewall::no_udp()), [false; 4]);
        let above = Some(499);
        let sized = Firewall { above, ..default };
        assert_eq!(verdicts(sized), [false, false, true, false]);
        let dtls_above = above;
        let no_flights = Firewall {
            dtls_above,
            ..default
        };
        assert_eq!(verdicts(no_flights), [true, false, true, true]);
        let block_stun = true;
        let no_stun = Firewall {
            block_stun,
            ..default
        };
        assert_eq!(verdicts(no_stun), [false, true, true, true]);
        assert!(no_flights.passes_checks() && !no_stun.passes_checks());
    }
}
