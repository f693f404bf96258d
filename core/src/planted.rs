//! Bugs that are planted in the core, for bowline's own tests: does the simulation find them?
//!
//! A check that never fails proves nothing. Each bug is a mistake that a change could make; the test `planted` lets the
//! random scenarios loose on each of them, and fails when one passes unnoticed. A bug is a condition where it does its
//! harm. Without the feature `planted` the condition is constant, and nothing of it is in the build. With it a thread
//! chooses its bug, so that one build has them all, and none until one is chosen.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The deadline of an acknowledgement is missing from those that are asked for.
    AckTimerForgotten,
    /// A channel goes on from what was acknowledged, not from what the peer has.
    ResumeFromAcknowledged,
    /// A channel goes on one message too late.
    ResumeSkipsOne,
    /// What is sent again is queued in the reverse order.
    ResumeReversed,
    /// The receiver of an unfinished message says that it has one byte less of it.
    PartialOneShort,
    /// The channels of a session that is not known here are said to go on.
    ResumesUnknown,
    /// Messages whose outcome cannot be known are told twice.
    UnknownToldTwice,
    /// Messages that were never sent are not told at the end.
    UnsentUntold,
    /// What is unreliable is kept, and sent again on another transport.
    UnreliableKept,
    /// A message does not count where it is seen whether it fits into its queue.
    QueueBoundExceeded,
    /// Channels are closed by the farewell, and once more by the end.
    ClosedToldTwice,
    /// A signalling message that comes again is handled again.
    SignalTwice,
    /// A signalling message is sent once.
    SignalNotRepeated,
    /// Both sides take their own offer for the one that wins.
    GlareBothWin,
    /// Offers and answers do not name the sessions that they replace, and an old offer is not told by its time.
    ReplacesUnsaid,
    /// The answer to an earlier offer is taken for one to the present offer.
    AnswerOfAnother,
    /// Sessions that are over are not remembered.
    EndedForgotten,
    /// The path of a farewell is told after the end.
    ToldAfterEnd,
    /// The time in which queues are drained has no end.
    DrainWithoutEnd,
    /// A connection that is lost is never given up.
    FailureUntold,
    /// An attempt to bring a connection back is not given its time.
    RestartStorm,
    /// A peer that has ended keeps its place.
    PeerKept,
    /// A deadline is given before the last output.
    TimeoutTooEarly,
    /// A message that is sent waits until something else happens.
    SendUnnoticed,
    /// Peers are closed in the order of a hash map.
    OrderOfHashes,
    /// An allocation is not given back at the end.
    AllocationKept,
    /// A relay is not told whom it has to reach.
    PermissionForgotten,
    /// The address at which a server sees a socket makes no candidate.
    ReflexiveForgotten,
    /// Checks to addresses that did not ask for them go out all at once.
    ChecksUnpaced,
    /// Data goes to addresses that have not answered.
    ConsentUnasked,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::AckTimerForgotten,
        Self::ResumeFromAcknowledged,
        Self::ResumeSkipsOne,
        Self::ResumeReversed,
        Self::PartialOneShort,
        Self::ResumesUnknown,
        Self::UnknownToldTwice,
        Self::UnsentUntold,
        Self::UnreliableKept,
        Self::QueueBoundExceeded,
        Self::ClosedToldTwice,
        Self::SignalTwice,
        Self::SignalNotRepeated,
        Self::GlareBothWin,
        Self::ReplacesUnsaid,
        Self::AnswerOfAnother,
        Self::EndedForgotten,
        Self::ToldAfterEnd,
        Self::DrainWithoutEnd,
        Self::FailureUntold,
        Self::RestartStorm,
        Self::PeerKept,
        Self::TimeoutTooEarly,
        Self::SendUnnoticed,
        Self::OrderOfHashes,
        Self::AllocationKept,
        Self::PermissionForgotten,
        Self::ReflexiveForgotten,
        Self::ChecksUnpaced,
        Self::ConsentUnasked,
    ];
}

/// Calls `run` on a core that has this bug, for this thread.
pub fn with<T>(bug: Planted, run: impl FnOnce() -> T) -> T {
    let _dug_up_at_the_end = Choice::new(bug);
    run()
}

/// Whether this thread has chosen a bug.
pub(crate) fn is_chosen(bug: Planted) -> bool {
    CHOSEN.get() == Some(bug)
}

/// Takes the bug away when it is dropped, also by a panic.
struct Choice;

impl Choice {
    fn new(bug: Planted) -> Self {
        CHOSEN.set(Some(bug));
        Self
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        CHOSEN.set(None);
    }
}

thread_local! {
    static CHOSEN: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Whether a bug is planted.
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_chosen($crate::planted::Planted::$bug)
    };
}
