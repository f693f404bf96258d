//! Which rule finds which bug.

use bowline::planted::Planted::{self, *};
use bowline_sim::Invariant::{self, *};

/// Every planted bug, and the rule that is there for it.
pub(crate) const BUGS: [(Planted, Invariant); Planted::ALL.len()] = [
    // Channels, and how they go on after a connection was lost.
    (AckTimerForgotten, ExactlyOnceOrTold),
    (ResumeFromAcknowledged, ExactlyOnceOrTold),
    (ResumeSkipsOne, ExactlyOnceOrTold),
    (ResumeReversed, Order),
    (PartialOneShort, Agreement),
    (ResumesUnknown, Agreement),
    (UnknownToldTwice, ExactlyOnceOrTold),
    (UnsentUntold, ExactlyOnceOrTold),
    (UnreliableKept, ExactlyOnceOrTold),
    (QueueBoundExceeded, Bounds),
    (ClosedToldTwice, StateMachine),
    // Signalling.
    (SignalTwice, SignallingSafety),
    (SignalNotRepeated, Liveness),
    (GlareBothWin, Liveness),
    (ReplacesUnsaid, Agreement),
    (AnswerOfAnother, Agreement),
    (EndedForgotten, SignallingSafety),
    // The life of a peer.
    (ToldAfterEnd, StateMachine),
    (DrainWithoutEnd, NoSpinning),
    (FailureUntold, StateMachine),
    (RestartStorm, Liveness),
    (PeerKept, Cleanup),
    // The loop, and what must not depend on chance.
    (TimeoutTooEarly, PollContract),
    // A copy of a signal must change nothing, and lets out what has waited.
    (SendUnnoticed, SignallingSafety),
    (OrderOfHashes, Determinism),
    // Servers, candidates, checks and consent.
    (AllocationKept, TurnCare),
    (PermissionForgotten, Liveness),
    (ReflexiveForgotten, Liveness),
    (ChecksUnpaced, KnownAddresses),
    (ConsentUnasked, Consent),
];
