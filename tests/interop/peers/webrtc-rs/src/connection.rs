//! A peer connection.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription,
};

use crate::channel::Channel;
use crate::{Peer, Result, report};

pub struct Connection {
    number: u64,
    inner: Box<dyn PeerConnection>,
    gathered: watch::Receiver<bool>,
}

struct Handler {
    peer: Arc<Peer>,
    number: u64,
    gathered: watch::Sender<bool>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered
            .send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        report(json!({ "connection": self.number, "event": "state", "state": state.to_string() }));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        let (peer, number) = (self.peer.clone(), self.number);
        // The driver waits for this handler, and the channel answers through the driver.
        tokio::spawn(async move { Channel::adopt(&peer, number, channel, true).await });
    }
}

impl Connection {
    pub async fn new(peer: Arc<Peer>, number: u64) -> Result<Self> {
        let (sender, gathered) = watch::channel(false);
        let handler = Handler {
            peer,
            number,
            gathered: sender,
        };
        let inner = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec!["0.0.0.0:0".to_owned()])
            .build()
            .await?;
        Ok(Self {
            number,
            inner: Box::new(inner),
            gathered,
        })
    }

    pub async fn offer(&self) -> Result<String> {
        let offer = self.inner.create_offer(None).await?;
        self.describe(offer).await
    }

    pub async fn answer(&self, offer: String) -> Result<String> {
        self.inner
            .set_remote_description(RTCSessionDescription::offer(offer)?)
            .await?;
        let answer = self.inner.create_answer(None).await?;
        self.describe(answer).await
    }

    pub async fn accept(&self, answer: String) -> Result<()> {
        let answer = RTCSessionDescription::answer(answer)?;
        Ok(self.inner.set_remote_description(answer).await?)
    }

    pub async fn candidate(&self, candidate: String) -> Result<()> {
        let candidate = RTCIceCandidateInit {
            candidate,
            sdp_mline_index: Some(0),
            ..RTCIceCandidateInit::default()
        };
        Ok(self.inner.add_ice_candidate(candidate).await?)
    }

    pub async fn open(&self, peer: &Arc<Peer>, label: &str, init: &Value) -> Result<u64> {
        let number = |field: &str| init[field].as_u64().and_then(|n| u16::try_from(n).ok());
        let negotiated = init["negotiated"].as_bool() == Some(true);
        let init = RTCDataChannelInit {
            ordered: init["ordered"].as_bool().unwrap_or(true),
            max_retransmits: number("maxRetransmits"),
            max_packet_life_time: number("maxPacketLifeTime"),
            protocol: init["protocol"].as_str().unwrap_or_default().to_owned(),
            negotiated: number("id").filter(|_| negotiated),
        };
        let channel = self.inner.create_data_channel(label, Some(init)).await?;
        Ok(Channel::adopt(peer, self.number, channel, false).await)
    }

    pub async fn close(&self) -> Result<()> {
        Ok(self.inner.close().await?)
    }

    /// Applies a description, and gives it with all its candidates.
    async fn describe(&self, description: RTCSessionDescription) -> Result<String> {
        self.inner.set_local_description(description).await?;
        self.gathered.clone().wait_for(|gathered| *gathered).await?;
        let description = self.inner.local_description().await;
        Ok(description.ok_or("no local description")?.sdp)
    }
}
