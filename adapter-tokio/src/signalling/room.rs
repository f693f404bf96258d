use std::fmt;

use bowline::{IceServer, PeerId};
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
    ice: watch::Receiver<Vec<IceServer>>,
}

/// Where the relay's word on a room goes.
#[derive(Debug)]
pub(super) struct Told {
    peers: watch::Sender<Vec<PeerId>>,
    ice: watch::Sender<Vec<IceServer>>,
}

impl Told {
    /// Takes a text of the relay. Gives whether it was the relay's own word.
    pub(super) fn take(&self, text: &str) -> bool {
        match Word::of(text) {
            Some(Word::Room { peers }) => {
                self.peers
                    .send_if_modified(|had| std::mem::replace(had, peers) != *had);
            }
            Some(Word::IceServers { servers }) => {
                let servers = servers.into_iter().flat_map(OfferedServer::parse);
                self.ice
                    .send_replace(servers.take(MAX_ICE_SERVERS).collect());
            }
            None => return false,
        }
        true
    }
}

impl Presence {
    /// A presence and the place where it is told.
    pub(super) fn pair() -> (Told, Self) {
        let (told_peers, peers) = watch::channel(Vec::new());
        let (told_ice, ice) = watch::channel(Vec::new());
        let told = Told {
            peers: told_peers,
            ice: told_ice,
        };
        (told, Self { peers, ice })
    }

    /// Everybody in the room in the order of their names, ourselves included. Empty until the relay has said it.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        self.peers.borrow().clone()
    }

    /// The STUN and TURN servers that the relay offers, with credentials that end; the relay renews them in time. Empty until
    /// it has said so, and at relays that offer none. They are for [`Endpoint::set_ice_servers`].
    ///
    /// [`Endpoint::set_ice_servers`]: crate::Endpoint::set_ice_servers
    #[must_use]
    pub fn ice_servers(&self) -> watch::Receiver<Vec<IceServer>> {
        self.ice.clone()
    }

    /// Waits until somebody comes or goes, and gives everybody who is there then; of several changes the last. `None` when
    /// the link has ended for good. Cancel-safe.
    pub async fn changed(&mut self) -> Option<Vec<PeerId>> {
        self.peers.changed().await.ok()?;
        Some(self.peers.borrow_and_update().clone())
    }
}

/// The relay's own word.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Word {
    Room { peers: Vec<PeerId> },
    IceServers { servers: Vec<OfferedServer> },
}

/// An `RTCIceServer` of the W3C.
#[derive(Deserialize)]
struct OfferedServer {
    urls: Urls,
    username: Option<String>,
    credential: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

impl OfferedServer {
    /// The servers that can be used: there may be kinds that this version does not know.
    fn parse(self) -> Vec<IceServer> {
        let urls = match self.urls {
            Urls::One(url) => vec![url],
            Urls::Many(urls) => urls,
        };
        let login = self.username.zip(self.credential);
        let with_login = |server: IceServer| match &login {
            Some((username, credential)) if server.is_relay() => {
                server.credentials(username, credential).ok()
            }
            Some(_) | None => (!server.is_relay()).then_some(server),
        };
        let servers = urls.iter().filter_map(|url| url.parse().ok());
        servers.filter_map(with_login).collect()
    }
}

impl Word {
    /// Reads it. `None` when `text` is something else: what names a sender was forwarded for that peer, who has no say in this.
    fn of(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Sender {
            from: Option<IgnoredAny>,
        }
        let sender: Sender = serde_json::from_str(text).ok()?;
        if sender.from.is_some() {
            return None;
        }
        serde_json::from_str(text).ok()
    }
}

/// ICE servers that are taken from one word of the relay. Those beyond are left out.
const MAX_ICE_SERVERS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relays_word_is_told_from_what_peers_send() {
        let names = |text| match Word::of(text)? {
            Word::Room { peers } => Some(peers.iter().map(ToString::to_string).collect::<Vec<_>>()),
            Word::IceServers { .. } => None,
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

    fn offered(servers: &str) -> Vec<String> {
        let (told, presence) = Presence::pair();
        let text = format!(r#"{{"type":"ice-servers","servers":{servers}}}"#);
        assert!(told.take(&text), "{text}");
        let servers = presence.ice_servers().borrow().clone();
        servers.iter().map(|server| format!("{server:?}")).collect()
    }

    #[test]
    fn ice_servers_that_can_be_used_are_taken_and_others_left_out() {
        let servers = r#"[
            {"urls":"stun:192.0.2.1:3478","more":1},
            {"urls":["turn:192.0.2.1?transport=tcp","quic:x"],"username":"9:a","credential":"p"},
            {"urls":["turn:192.0.2.2"]}]"#;
        let expected = [
            "IceServer(stun:192.0.2.1:3478)",
            r#"IceServer(turn:192.0.2.1:3478?transport=tcp as "9:a")"#,
        ];
        assert_eq!(offered(servers), expected);
        assert_eq!(offered("[]"), Vec::<String>::new());
    }

    #[test]
    fn no_more_ice_servers_are_taken_than_the_bound() {
        let many = [r#"{"urls":"stun:192.0.2.1"}"#; MAX_ICE_SERVERS + 1].join(",");
        assert_eq!(offered(&format!("[{many}]")).len(), MAX_ICE_SERVERS);
    }

    #[test]
    fn a_peer_cannot_offer_ice_servers() {
        let (told, presence) = Presence::pair();
        let text = r#"{"type":"ice-servers","servers":[{"urls":"stun:192.0.2.1"}],"from":"mallory","to":"a"}"#;
        assert!(!told.take(text));
        assert!(presence.ice_servers().borrow().is_empty());
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
