use std::fmt;
use std::time::Duration;

use bowline::PeerId;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::signalling::RoomName;
use crate::turn_server::{TurnSecret, TurnServer};

/// The ICE servers that a relay tells the members of its rooms, with credentials for each member that end soon.
#[derive(Clone)]
pub struct IceOffer {
    /// For everybody.
    stun: Vec<String>,
    /// For those with credentials.
    turn: Vec<String>,
    secret: TurnSecret,
    lifetime: Duration,
}

impl IceOffer {
    /// Offers a TURN server of this process, under all its public addresses and over UDP and TCP. Credentials hold for
    /// `lifetime`, and new ones come when half of it is over. `secret` is that of the server.
    #[must_use]
    pub fn of(server: &TurnServer, secret: TurnSecret, lifetime: Duration) -> Self {
        let addresses: Vec<_> = server.public_addrs().collect();
        let transports = ["udp", "tcp"];
        let uris = addresses.iter().flat_map(|address| {
            transports.map(|transport| format!("turn:{address}?transport={transport}"))
        });
        Self {
            stun: addresses.iter().map(|at| format!("stun:{at}")).collect(),
            turn: uris.collect(),
            secret,
            lifetime,
        }
    }

    /// How often a member is told anew.
    pub(super) fn interval(&self) -> Duration {
        (self.lifetime / 2).max(LEAST_INTERVAL)
    }

    /// What a member is told now.
    pub(super) fn frame(&self, room: &RoomName, peer: PeerId) -> Utf8Bytes {
        let credentials = self.secret.issue(&format!("{room}/{peer}"), self.lifetime);
        let frame = Frame {
            r#type: "ice-servers",
            servers: [
                Server {
                    urls: &self.stun,
                    username: None,
                    credential: None,
                },
                Server {
                    urls: &self.turn,
                    username: Some(credentials.username()),
                    credential: Some(credentials.password()),
                },
            ],
        };
        let text = serde_json::to_string(&frame).expect("strings always have a JSON form");
        text.into()
    }
}

impl fmt::Debug for IceOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceOffer")
            .field("turn", &self.turn)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Frame<'a> {
    r#type: &'static str,
    servers: [Server<'a>; 2],
}

/// As `RTCIceServer` of the W3C has it.
#[derive(Serialize)]
struct Server<'a> {
    urls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
}

/// The least time between two frames for one member.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
