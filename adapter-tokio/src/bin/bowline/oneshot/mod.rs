//! `bowline send` and `bowline receive`: one file, between two people who share a code.
//!
//! Both enter the room that has the code as its name, each under a new name that tells its role; the receiver connects,
//! as its name is the lower one. Whoever is interrupted comes back under another name. The other side sees the old name
//! go and the new one come, leaves the dead connection to itself, and the new one begins with what the receiver has.

mod code;
mod pace;
mod progress;
pub(crate) mod receive;
pub(crate) mod send;

use std::error::Error;
use std::time::Duration;

use bowline::{Identity, PeerId};
use bowline_tokio::Endpoint;
use bowline_tokio::signalling::Presence;

use crate::files::{Cancellation, Ending, Failure, Refusal, Side};
use crate::network::{Network, Place};
use crate::text;

use code::Code;

/// The part that a process has in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Sender,
    Receiver,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }

    /// A name that no other process has.
    fn random_id(self) -> Result<PeerId, Box<dyn Error>> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| format!("no randomness: {error}"))?;
        let id = format!("{}-{:016x}", self.name(), u64::from_be_bytes(number));
        Ok(PeerId::new(&id)?)
    }

    fn has(self, peer: PeerId) -> bool {
        let rest = peer.as_str().strip_prefix(self.name());
        rest.is_some_and(|rest| rest.starts_with('-'))
    }
}

/// Enters the room of `code`, and waits until the relay answers.
async fn enter(network: &Network, code: &Code, role: Role) -> Result<Place, Box<dyn Error>> {
    let mut place = network.enter(code.as_str(), Identity::without_key(role.random_id()?))?;
    let answered = place
        .link
        .wait_for(|link| link.up || link.last_error.is_some());
    let link = answered.await?.clone();
    match link.last_error {
        Some(error) if !link.up => {
            let relay = network.relay();
            let error = text::printable(&error);
            Err(format!("the relay at {relay} cannot be reached: {error}").into())
        }
        _ => Ok(place),
    }
}

/// Waits until `peer` has left the room and another with its role is there.
async fn replaced(mut presence: Presence, peer: PeerId, role: Role) {
    loop {
        let peers = presence.peers();
        if !peers.contains(&peer) && peers.iter().any(|other| role.has(*other)) {
            return;
        }
        if presence.changed().await.is_none() {
            // Nobody will come any more.
            std::future::pending().await
        }
    }
}

/// Runs `work` until it ends or the user interrupts it, then says goodbye to everybody.
async fn until_interrupted(
    endpoint: &Endpoint,
    work: impl Future<Output = Result<(), Box<dyn Error>>>,
) -> Result<(), Box<dyn Error>> {
    let result = tokio::select! {
        result = work => result,
        signal = tokio::signal::ctrl_c() => Err(signal.map_or_else(Into::into, |()| "interrupted".into())),
    };
    // A peer that is gone does not answer.
    let _ = tokio::time::timeout(FAREWELL, endpoint.close()).await;
    result
}

/// What ended a transfer, for people.
pub(crate) fn ended(ending: &Ending) -> String {
    let text = match ending {
        Ending::Refused(Refusal::Declined) => "the receiver declined it",
        Ending::Refused(Refusal::Name) => "the receiver does not take a file of this name",
        Ending::Refused(Refusal::Size) => "the receiver does not take a file so large",
        Ending::Refused(Refusal::Busy) => "the receiver is busy",
        Ending::Refused(Refusal::Storage) => "the receiver cannot store it",
        Ending::Refused(Refusal::Unknown) => "the receiver refused it",
        Ending::Failed { reason, detail } => {
            let what = match reason {
                Failure::Checksum => "the checksum is wrong",
                Failure::Storage => "it cannot be stored",
                Failure::Protocol => "the other side broke the rules",
                Failure::Unknown => "it failed",
            };
            return format!("{what}: {}", text::printable(detail));
        }
        Ending::Cancelled {
            reason: Cancellation::Source,
            ..
        } => "the sender cannot read its file, or it changed",
        Ending::Cancelled {
            by: Side::Sender, ..
        } => "the sender cancelled it",
        Ending::Cancelled {
            by: Side::Receiver, ..
        } => "the receiver cancelled it",
        Ending::Source(detail) => {
            return format!("the file cannot be read: {}", text::printable(detail));
        }
    };
    text.to_owned()
}

/// Why an offer was refused at once, for people.
pub(crate) fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Name => "it is no name for a file",
        Refusal::Size => "it is too large",
        Refusal::Busy => "too many are offered",
        Refusal::Declined | Refusal::Storage | Refusal::Unknown => "it cannot be taken",
    }
}

/// How long to wait for the other side, in seconds.
const WAIT: u64 = 600;
/// How long the last goodbye may take.
const FAREWELL: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_has_the_lower_name_and_roles_are_told_apart() {
        let id = |role: Role| role.random_id().expect("there is randomness");
        let (sender, receiver) = (id(Role::Sender), id(Role::Receiver));
        assert!(receiver < sender);
        assert_ne!(sender, id(Role::Sender));
        for (role, other) in [
            (Role::Sender, Role::Receiver),
            (Role::Receiver, Role::Sender),
        ] {
            assert!(role.has(id(role)) && !role.has(id(other)));
        }
        assert!(!Role::Sender.has(PeerId::new("senders").expect("valid")));
    }
}
