use std::time::Duration;

use bowline::PeerId;
use bowline_tokio::relay::{IceOffer, Relay};
use bowline_tokio::signalling;
use bowline_tokio::turn_server::{PeerPolicy, TurnLimits, TurnServer};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::user::{User, secret, server};

const PATIENCE: Duration = Duration::from_secs(30);

/// A relay that offers a server's services for so long.
async fn relay(server: &TurnServer, lifetime: Duration) -> Relay {
    let offer = IceOffer::of(server, secret(), lifetime);
    Relay::builder()
        .ice(offer)
        .bind("127.0.0.1:0")
        .await
        .expect("binds")
}

struct Member(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Member {
    async fn join(relay: &Relay, query: &str) -> Self {
        let (stream, _) = connect_async(format!("{}/?{query}", relay.url()))
            .await
            .expect("joins");
        Self(stream)
    }

    /// The next text.
    async fn hear(&mut self) -> serde_json::Value {
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("in time");
            if let Message::Text(text) = frame.expect("open").expect("received") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sent");
    }
}

#[tokio::test]
async fn a_member_is_told_servers_before_it_is_told_who_is_there_and_they_let_it_in() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let relay = relay(&server, Duration::from_secs(60)).await;
    let mut member = Member::join(&relay, "peer=alice&room=kitchen").await;
    let offer = member.hear().await;
    let at = server.local_addr();
    assert_eq!(offer["type"], "ice-servers");
    assert_eq!(offer["servers"][0]["urls"][0], format!("stun:{at}"));
    let turn = &offer["servers"][1];
    assert_eq!(turn["urls"][0], format!("turn:{at}?transport=udp"));
    assert_eq!(turn["urls"][1], format!("turn:{at}?transport=tcp"));
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let (username, credential) = (text(&turn["username"]), text(&turn["credential"]));
    assert!(username.ends_with(":kitchen/alice"), "{username}");
    assert_eq!(member.hear().await["type"], "room");

    let mut user = User::udp(&server, &username, &credential).await;
    user.allocate().await;
}

#[tokio::test]
async fn credentials_are_renewed_before_they_end() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let relay = relay(&server, Duration::from_secs(2)).await;
    let mut member = Member::join(&relay, "peer=alice&room=kitchen").await;
    let expiry = |offer: &serde_json::Value| {
        let username = offer["servers"][1]["username"].as_str()?;
        username.split(':').next()?.parse::<u64>().ok()
    };
    let first = expiry(&member.hear().await).expect("an offer");
    assert_eq!(member.hear().await["type"], "room");
    let second = expiry(&member.hear().await).expect("another offer");
    assert!(second > first, "{second} after {first}");
}

#[tokio::test]
async fn who_is_in_the_room_without_a_name_is_told_nothing() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let relay = relay(&server, Duration::from_secs(60)).await;
    let mut member = Member::join(&relay, "peer=alice").await;
    member.say(r#"{"from":"alice","to":"alice","n":1}"#).await;
    assert_eq!(member.hear().await["n"], 1);
}

#[tokio::test]
async fn a_link_hands_the_servers_of_the_relay_on() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let relay = relay(&server, Duration::from_secs(60)).await;
    let alice = PeerId::new("alice").expect("valid");
    let (_link, presence) = signalling::room(&relay.url(), "kitchen", alice).expect("valid");
    let mut offered = presence.ice_servers();
    let told = offered.wait_for(|servers| !servers.is_empty());
    let told = timeout(PATIENCE, told).await.expect("in time");
    let told: Vec<_> = told
        .expect("the link is there")
        .iter()
        .map(ToString::to_string)
        .collect();
    let at = server.local_addr();
    let expected = [
        format!("stun:{at}"),
        format!("turn:{at}?transport=udp"),
        format!("turn:{at}?transport=tcp"),
    ];
    assert_eq!(told, expected);
}
