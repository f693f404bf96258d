use std::fmt;

use bowline::PeerId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;
use tokio::sync::watch;

/// The name of a room: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, as the names of peers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(PeerId);

impl RoomName {
    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`InvalidRoomName`] when it is empty, longer than 64 characters or has one outside the set.
    pub fn new(name: &str) -> Result<Self, InvalidRoomName> {
        PeerId::new(name).map(Self).map_err(|_| InvalidRoomName)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomName({self})")
    }
}

/// A name that [`RoomName::new`] refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the name of a room has 1 to 64 characters of A-Z a-z 0-9 . _ -")]
pub struct InvalidRoomName;

/// Who is in the room of a link, as the relay says; see [`room`](super::room).
///
/// While the link is down this is what the relay said last: [`LinkStatus::up`](super::LinkStatus::up) tells.
#[derive(Debug, Clone)]
pub struct Presence {
    peers: watch::Receiver<Vec<PeerId>>,
}

impl Presence {
    /// A presence and the place where it is told.
    pub(super) fn pair() -> (watch::Sender<Vec<PeerId>>, Self) {
        let (sender, peers) = watch::channel(Vec::new());
        (sender, Self { peers })
    }

    /// Everybody in the room in the order of their names, ourselves included. Empty until the relay has said it.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        self.peers.borrow().clone()
    }

    /// Waits until somebody comes or goes, and gives everybody who is there then; of several changes the last. `None` when
    /// the link has ended for good. Cancel-safe.
    pub async fn changed(&mut self) -> Option<Vec<PeerId>> {
        self.peers.changed().await.ok()?;
        Some(self.peers.borrow_and_update().clone())
    }
}

/// Reads the relay's word on who is in the room. `None` when `text` is something else: what names a sender was forwarded
/// for that peer, who has no say in this.
pub(super) fn presence_of(text: &str) -> Option<Vec<PeerId>> {
    #[derive(Deserialize)]
    struct Frame {
        #[serde(rename = "type")]
        _kind: Kind,
        peers: Vec<PeerId>,
        from: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Room,
    }
    let frame: Frame = serde_json::from_str(text).ok()?;
    frame.from.is_none().then_some(frame.peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_word_is_told_from_what_peers_send() {
        let names = |text| {
            let peers = presence_of(text)?;
            Some(peers.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let told = names(r#"{"type":"room","peers":["a","b"],"more":1}"#);
        assert_eq!(told, Some(vec!["a".to_owned(), "b".to_owned()]));
        for other in [
            "",
            r#"{"type":"room"}"#,
            r#"{"type":"offer","peers":[]}"#,
            r#"{"type":"room","peers":["a b"]}"#,
            r#"{"type":"room","peers":["a"],"from":"mallory","to":"a"}"#,
        ] {
            assert_eq!(names(other), None, "{other}");
        }
    }

    #[test]
    fn the_name_of_a_room_is_checked() {
        assert_eq!(
            RoomName::new("a.B-9_").map(|r| r.to_string()).as_deref(),
            Ok("a.B-9_")
        );
        for bad in ["", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(RoomName::new(bad), Err(InvalidRoomName), "{bad}");
        }
    }
}
