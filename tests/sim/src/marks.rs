//! What of the fault menu really happened in a run, not only what was drawn for it.

/// Something that can happen to endpoints in a random scenario. What a mark stands for counts when it had an effect: a datagram
/// was lost by it, a server was asked while it misbehaved, an endpoint was woken late.
///
/// What the menu has besides, and which suite does it or why nothing can, is in `docs/TESTING.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Mark {
    // The network.
    Loss,
    BurstLoss,
    Duplicate,
    Reorder,
    Jitter,
    DelaySpike,
    RateLimit,
    FullLink,
    Clog,
    MtuBlackHole,
    Truncation,
    BitFlip,
    /// A copy of a datagram came a minute or more after it was sent.
    Replay,
    OneWayPartition,
    TwoWayPartition,
    FilterStun,
    FilterHandshake,
    FilterData,
    UdpBlocked,
    // Boxes and addresses.
    EndpointIndependentMapping,
    AddressDependentMapping,
    AddressAndPortDependentMapping,
    EndpointIndependentFiltering,
    AddressDependentFiltering,
    AddressAndPortDependentFiltering,
    HairpinRefused,
    MappingExpired,
    InboundRefresh,
    PortPreserved,
    PortParity,
    PortRandom,
    PortSequential,
    BoxReboots,
    BoxRenumbered,
    DoubleNat,
    Nat64,
    StatefulIpv6,
    AddressLost,
    AddressGained,
    /// All addresses went at once, and others came after a while.
    Roam,
    Ipv6Only,
    // Servers.
    ServerSilent,
    ServerSlow,
    ServerWithoutOtherAddress,
    ServerUnknownAttributes,
    ServerRefuses,
    ServerNoncePerRequest,
    ServerRelaysNothing,
    ServerStranger,
    ServerWrongLifetime,
    ServerCrash,
    // Signalling.
    SignalLoss,
    SignalDuplicate,
    SignalReorder,
    SignalPartition,
    /// A host knew that its way to signalling was down.
    SignallingDown,
    /// A copy of a signal came a minute or more after it was sent.
    OldSignal,
    // Processes and clocks.
    Crash,
    BothCrash,
    /// A new process knew the sessions of the one before.
    RestartWithMemory,
    RestartStorm,
    RebuildStorm,
    Suspend,
    SuspendForHours,
    EqualInstants,
    LateTimeout,
    LazyPoll,
    SpuriousTimeout,
    WallClockOff,
    // Applications.
    SlowReader,
    AbsentReader,
    FullQueue,
    SendWhileConnecting,
    SendWhileDisconnected,
    SendAfterEnd,
    OpenAndClose,
    CloseDuringHandshake,
    CallInsideEvent,
    // Limits.
    TinyQueues,
    HugeQueues,
    // Attackers.
    /// Checks came from off the path.
    CheckFlood,
    /// Somebody on the path sent damaged and late copies of datagrams.
    Injector,
    /// Who carries signals sent all of them to everybody.
    Replayer,
    /// Who carries signals altered them.
    Meddler,
    /// A peer offered without end.
    OfferStorm,
}

impl Mark {
    /// All, in the order of the menu.
    pub const ALL: [Self; 85] = [
        Self::Loss,
        Self::BurstLoss,
        Self::Duplicate,
        Self::Reorder,
        Self::Jitter,
        Self::DelaySpike,
        Self::RateLimit,
        Self::FullLink,
        Self::Clog,
        Self::MtuBlackHole,
        Self::Truncation,
        Self::BitFlip,
        Self::Replay,
        Self::OneWayPartition,
        Self::TwoWayPartition,
        Self::FilterStun,
        Self::FilterHandshake,
        Self::FilterData,
        Self::UdpBlocked,
        Self::EndpointIndependentMapping,
        Self::AddressDependentMapping,
        Self::AddressAndPortDependentMapping,
        Self::EndpointIndependentFiltering,
        Self::AddressDependentFiltering,
        Self::AddressAndPortDependentFiltering,
        Self::HairpinRefused,
        Self::MappingExpired,
        Self::InboundRefresh,
        Self::PortPreserved,
        Self::PortParity,
        Self::PortRandom,
        Self::PortSequential,
        Self::BoxReboots,
        Self::BoxRenumbered,
        Self::DoubleNat,
        Self::Nat64,
        Self::StatefulIpv6,
        Self::AddressLost,
        Self::AddressGained,
        Self::Roam,
        Self::Ipv6Only,
        Self::ServerSilent,
        Self::ServerSlow,
        Self::ServerWithoutOtherAddress,
        Self::ServerUnknownAttributes,
        Self::ServerRefuses,
        Self::ServerNoncePerRequest,
        Self::ServerRelaysNothing,
        Self::ServerStranger,
        Self::ServerWrongLifetime,
        Self::ServerCrash,
        Self::SignalLoss,
        Self::SignalDuplicate,
        Self::SignalReorder,
        Self::SignalPartition,
        Self::SignallingDown,
        Self::OldSignal,
        Self::Crash,
        Self::BothCrash,
        Self::RestartWithMemory,
        Self::RestartStorm,
        Self::RebuildStorm,
        Self::Suspend,
        Self::SuspendForHours,
        Self::EqualInstants,
        Self::LateTimeout,
        Self::LazyPoll,
        Self::SpuriousTimeout,
        Self::WallClockOff,
        Self::SlowReader,
        Self::AbsentReader,
        Self::FullQueue,
        Self::SendWhileConnecting,
        Self::SendWhileDisconnected,
        Self::SendAfterEnd,
        Self::OpenAndClose,
        Self::CloseDuringHandshake,
        Self::CallInsideEvent,
        Self::TinyQueues,
        Self::HugeQueues,
        Self::CheckFlood,
        Self::Injector,
        Self::Replayer,
        Self::Meddler,
        Self::OfferStorm,
    ];
}

/// The marks of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(u128);

impl Marks {
    /// Whether it happened.
    #[must_use]
    pub fn has(&self, mark: Mark) -> bool {
        self.0 & 1 << mark as u32 != 0
    }

    pub(crate) fn set(&mut self, mark: Mark) {
        self.0 |= 1 << mark as u32;
    }

    pub(crate) fn set_if(&mut self, happened: bool, mark: Mark) {
        if happened {
            self.set(mark);
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_has_a_place_of_its_own() {
        for (place, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, place);
            let mut marks = Marks::default();
            marks.set(mark);
            let set = Mark::ALL.into_iter().filter(|other| marks.has(*other));
            assert_eq!(set.collect::<Vec<_>>(), [mark]);
        }
    }
}
