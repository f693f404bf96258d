//! A data channel: what is asked of it, and what happens on it.

use std::sync::Arc;

use bytes::BytesMut;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::sync::Notify;
use webrtc::data_channel::{
    DataChannel, DataChannelEvent, RTCDataChannelMessage, RTCDataChannelState,
};

use crate::pattern::{crc32, numbered};
use crate::{Peer, Result, report};

pub struct Channel {
    number: u64,
    connection: u64,
    remote: bool,
    inner: Arc<dyn DataChannel>,
    low: Notify,
}

impl Channel {
    /// Gives a channel its number, and tells from now on what happens on it.
    pub async fn adopt(
        peer: &Arc<Peer>,
        connection: u64,
        inner: Arc<dyn DataChannel>,
        remote: bool,
    ) -> u64 {
        let make = |number| {
            Arc::new(Self {
                number,
                connection,
                remote,
                inner,
                low: Notify::new(),
            })
        };
        let channel = peer.adopt(make).await;
        if remote {
            channel.tell("channel", channel.mode().await);
        } else if channel
            .inner
            .ready_state()
            .await
            .is_ok_and(|state| state == RTCDataChannelState::Open)
        {
            // One on an agreed stream is open at once when the connection is, and there is no event.
            channel.tell("open", channel.mode().await);
        }
        tokio::spawn(channel.clone().watch());
        channel.number
    }

    pub async fn perform(&self, request: &Value) -> Result<Value> {
        match (request["do"].as_str(), request["text"].as_str()) {
            (Some("send"), Some(text)) => self.inner.send_text(text).await?,
            (Some("send"), None) => {
                let binary = request["binary"].as_str().unwrap_or_default();
                let binary = BASE64.decode(binary.as_bytes())?;
                self.inner.send(BytesMut::from(&binary[..])).await?;
            }
            (Some("burst"), _) => return self.burst(request).await,
            _ => self.inner.close().await?,
        }
        Ok(json!({}))
    }

    /// Sends many messages, and waits with more than `high` bytes buffered until `low` are left.
    async fn burst(&self, request: &Value) -> Result<Value> {
        let number = |field: &str| request[field].as_u64().unwrap_or_default();
        let size = usize::try_from(number("size"))?;
        let (high, low) = (
            usize::try_from(number("high"))?,
            u32::try_from(number("low"))?,
        );
        self.inner.set_buffered_amount_low_threshold(low).await?;
        let (mut most, mut waits) = (0, 0);
        for n in 0..u32::try_from(number("count"))? {
            while self.inner.outstanding_bytes().await? > high {
                waits += 1;
                self.low.notified().await;
            }
            self.inner
                .send(BytesMut::from(&numbered(size, n)[..]))
                .await?;
            most = most.max(self.inner.outstanding_bytes().await?);
        }
        // Each wait was ended by one event.
        Ok(json!({ "most": most, "waits": waits, "lows": waits }))
    }

    async fn watch(self: Arc<Self>) {
        while let Some(event) = self.inner.poll().await {
            match event {
                DataChannelEvent::OnOpen => self.tell("open", self.mode().await),
                DataChannelEvent::OnMessage(message) => self.tell("message", describe(&message)),
                DataChannelEvent::OnClosing => self.tell("closing", json!({})),
                DataChannelEvent::OnClose => self.tell("closed", json!({})),
                DataChannelEvent::OnError => self.tell("error", json!({ "error": "unknown" })),
                DataChannelEvent::OnBufferedAmountLow => self.low.notify_one(),
                _ => {}
            }
        }
    }

    fn tell(&self, event: &str, mut more: Value) {
        more["connection"] = self.connection.into();
        more["channel"] = self.number.into();
        more["event"] = event.into();
        report(more);
    }

    /// Its `id` is a handle and not the stream id, and of channels that the other side opened it tells no reliability: both
    /// are left out.
    async fn mode(&self) -> Value {
        let mut mode = json!({
            "label": self.inner.label().await.unwrap_or_default(),
            "protocol": self.inner.protocol().await.unwrap_or_default(),
        });
        if !self.remote {
            mode["ordered"] = self.inner.ordered().await.ok().into();
            mode["maxRetransmits"] = self.inner.max_retransmits().await.ok().flatten().into();
            mode["maxPacketLifeTime"] = self
                .inner
                .max_packet_life_time()
                .await
                .ok()
                .flatten()
                .into();
        }
        mode
    }
}

fn describe(message: &RTCDataChannelMessage) -> Value {
    let data = (message.data.len() <= 1_024).then(|| BASE64.encode(&message.data));
    json!({
        "text": message.is_string, "size": message.data.len(), "crc": crc32(&message.data), "data": data,
    })
}
