use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bowline::PeerId;
use tokio::sync::mpsc;

use super::{Link, Signalling};

/// A hub that carries signalling between endpoints of one process.
///
/// ```
/// use bowline_tokio::signalling::MemoryHub;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = MemoryHub::new();
/// let alice = hub.join("alice".parse()?);
/// let bob = hub.join("bob".parse()?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryHub {
    members: Arc<Mutex<BTreeMap<PeerId, mpsc::Sender<String>>>>,
}

impl MemoryHub {
    /// Makes a hub without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a link for `id`. It takes the place of an earlier one, and lasts as long as its endpoint. What is for
    /// nobody, or for a member that is 256 messages behind, is lost.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, since a task carries the messages.
    #[must_use]
    pub fn join(&self, id: PeerId) -> Signalling {
        let (signalling, link) = Signalling::pair();
        self.members().insert(id, link.inbound.clone());
        tokio::spawn(carry(self.clone(), id, link));
        signalling
    }

    fn deliver(&self, to: PeerId, text: String) -> Result<(), ()> {
        let member = self.members().get(&to).cloned().ok_or(())?;
        member.try_send(text).map_err(|_| ())
    }

    fn leave(&self, id: PeerId, inbound: &mpsc::Sender<String>) {
        let mut members = self.members();
        if members
            .get(&id)
            .is_some_and(|member| member.same_channel(inbound))
        {
            members.remove(&id);
        }
    }

    fn members(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, mpsc::Sender<String>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry(hub: MemoryHub, id: PeerId, mut link: Link) {
    while let Some(signal) = link.outbound.recv().await {
        if hub.deliver(signal.to, signal.text).is_err() {
            link.status.send_modify(|status| status.dropped += 1);
        }
    }
    hub.leave(id, &link.inbound);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline::Signal;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).expect("valid")
    }

    fn signal(to: &str, text: &str) -> Signal {
        Signal {
            to: id(to),
            text: text.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_message_reaches_the_member_it_is_for_and_none_other() {
        let hub = MemoryHub::new();
        let alice = hub.join(id("alice"));
        let mut bob = hub.join(id("bob"));
        let mut carol = hub.join(id("carol"));
        alice
            .outbound
            .send(signal("bob", "hello"))
            .await
            .expect("carried");
        assert_eq!(bob.inbound.recv().await.as_deref(), Some("hello"));
        assert!(carol.inbound.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_is_for_nobody_is_counted() {
        let hub = MemoryHub::new();
        let alice = hub.join(id("alice"));
        alice
            .outbound
            .send(signal("nobody", "hello"))
            .await
            .expect("carried");
        let mut status = alice.status();
        assert!(status.wait_for(|s| s.dropped == 1).await.is_ok());
    }

    #[tokio::test]
    async fn the_newest_member_of_a_name_gets_its_messages_and_the_old_one_leaves_quietly() {
        let hub = MemoryHub::new();
        let old = hub.join(id("bob"));
        let mut new = hub.join(id("bob"));
        let alice = hub.join(id("alice"));
        let mut gone = old.status();
        drop(old);
        while gone.changed().await.is_ok() {}
        alice
            .outbound
            .send(signal("bob", "hello"))
            .await
            .expect("carried");
        assert_eq!(new.inbound.recv().await.as_deref(), Some("hello"));
    }
}
