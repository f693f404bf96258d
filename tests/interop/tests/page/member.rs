//! A bowline peer in the room, within the process of the test.

use bowline::{Cause, ChannelKind, Config, Identity, Message, PeerId, PeerState};
use bowline_tokio::signalling::{Presence, room};
use bowline_tokio::{Connection, Endpoint};
use serde_json::{Value, json};

use crate::soon;

/// An endpoint in a room.
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    presence: Presence,
}

impl Member {
    pub(crate) fn join(relay: &str, name: &str) -> Self {
        Self::enter(relay, "lobby", Identity::without_key(id(name)))
    }

    /// Somebody in any room.
    pub(crate) fn enter(relay: &str, name: &str, identity: Identity) -> Self {
        let (link, presence) = room(relay, name, identity.id()).expect("valid");
        let config = Config::builder().loopback(true).build().expect("valid");
        let endpoint = Endpoint::builder(identity)
            .config(config)
            .bind_address("127.0.0.1:0".parse().expect("an address"))
            .signalling(link)
            .bind()
            .expect("binds");
        Self { endpoint, presence }
    }

    /// Waits until `peer` is present, and connects as the rule of rooms says: the lower name begins.
    pub(crate) async fn meet(&mut self, peer: &str) -> Connection {
        let peer = id(peer);
        let present = async {
            while !self.presence.peers().contains(&peer) {
                assert!(self.presence.changed().await.is_some(), "the link is there");
            }
        };
        soon("the presence", present).await;
        if self.endpoint.id() < peer {
            let connected = soon("the connection", self.endpoint.connect(peer)).await;
            return connected.expect("comes up");
        }
        self.welcome().await
    }

    /// Accepts the next connection that somebody begins.
    pub(crate) async fn welcome(&self) -> Connection {
        let incoming = soon("an offer", self.endpoint.accept()).await;
        let incoming = incoming.expect("the endpoint is open");
        let accepted = soon("the connection", incoming.accept()).await;
        accepted.expect("comes up")
    }
}

/// Says something to everybody who reads the chat there.
pub(crate) async fn say(connection: &Connection, text: &str) {
    let message = json!({ "type": "chat", "text": text }).to_string();
    let sent = connection.send(ChannelKind::Reliable, message).await;
    sent.expect("the connection is open");
}

/// The next line of the chat from there.
pub(crate) async fn hear(connection: &Connection) -> String {
    let message = soon("a message", connection.recv_from(ChannelKind::Reliable)).await;
    let Message { data, .. } = message.expect("the connection is open");
    let value: Value = serde_json::from_slice(&data).expect("an object");
    assert_eq!(value["type"], "chat");
    value["text"].as_str().expect("a text").to_owned()
}

/// Waits until a connection is over, and says why.
pub(crate) async fn end_of(connection: &Connection) -> (PeerState, Option<Cause>) {
    let report = soon("the end", connection.closed()).await;
    (report.state, report.cause)
}

pub(crate) fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}
