//! Exact accounts of what became of every datagram or signal.

/// Why something did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// Independent loss.
    Loss,
    /// Loss in a burst.
    Burst,
    /// The queue of a rate limit was full.
    Queue,
    /// It was larger than the link takes.
    Mtu,
    /// A partition was in force.
    Partition,
    /// Its class is filtered.
    Filter,
    /// Nobody has the address, or it is of another family than the source.
    Unrouted,
    /// The receiver, or its interface, had gone when it arrived.
    Gone,
    /// It came to a box that has no mapping for its destination.
    NoMapping,
    /// A box does not let in its source.
    NatFilter,
    /// It was sent to the outside address of the sender's own box, which does not hairpin.
    NatHairpin,
    /// A box had no room for another mapping.
    NatPorts,
    /// A firewall stopped it.
    Firewall,
}

impl DropCause {
    /// All causes, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Loss,
        Self::Burst,
        Self::Queue,
        Self::Mtu,
        Self::Partition,
        Self::Filter,
        Self::Unrouted,
        Self::Gone,
        Self::NoMapping,
        Self::NatFilter,
        Self::NatHairpin,
        Self::NatPorts,
        Self::Firewall,
    ];
}

/// What became of everything that was sent.
///
/// At every moment `sent + duplicated == delivered + dropped + in flight`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accounts {
    /// Handed to the network.
    pub sent: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Copies that the network made.
    pub duplicated: u64,
    /// Handed to a receiver, copies included.
    pub delivered: u64,
    /// Delivered with its end cut off.
    pub truncated: u64,
    /// Delivered with bits flipped.
    pub flipped: u64,
    /// On their way.
    pub in_flight: u64,
    dropped: [u64; DropCause::ALL.len()],
}

impl Accounts {
    /// How many were dropped for one cause.
    #[must_use]
    pub fn dropped_by(&self, cause: DropCause) -> u64 {
        self.dropped[cause as usize]
    }

    /// How many were dropped for any cause.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Whether nothing is missing and nothing is there twice.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.sent + self.duplicated == self.delivered + self.dropped() + self.in_flight
    }

    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.sent += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn on_dropped(&mut self, cause: DropCause) {
        self.dropped[cause as usize] += 1;
    }

    pub(crate) fn on_underway(&mut self, copies: u64) {
        self.in_flight += copies;
        self.duplicated += copies - 1;
    }

    pub(crate) fn on_arrived(&mut self, taken: bool) {
        if taken {
            self.in_flight -= 1;
            self.delivered += 1;
        } else {
            self.on_lost(DropCause::Gone);
        }
    }

    /// What was on its way does not arrive.
    pub(crate) fn on_lost(&mut self, cause: DropCause) {
        self.in_flight -= 1;
        self.on_dropped(cause);
    }
}
