//! webrtc-rs as the foreign peer. `src/foreign/protocol.rs` of the suite says what the messages mean.
//!
//! One request a line comes on the standard input, one report a line goes to the standard output.

mod channel;
mod connection;
mod pattern;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::Mutex;

use channel::Channel;
use connection::Connection;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What the program holds. Connections and channels are found by number.
#[derive(Default)]
struct Peer {
    connections: Mutex<BTreeMap<u64, Connection>>,
    channels: Mutex<BTreeMap<u64, Arc<Channel>>>,
    channels_made: AtomicU64,
}

#[tokio::main]
async fn main() {
    let peer = Arc::new(Peer::default());
    let mut lines = BufReader::new(stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tokio::spawn(handle(peer.clone(), line));
    }
}

async fn handle(peer: Arc<Peer>, line: String) {
    let request: Value = serde_json::from_str(&line).expect("the suite sends JSON");
    match perform(&peer, &request).await {
        Ok(ok) => report(json!({ "id": request["id"], "ok": ok })),
        Err(error) => report(json!({ "id": request["id"], "error": error.to_string() })),
    }
}

async fn perform(peer: &Arc<Peer>, request: &Value) -> Result<Value> {
    let number = request["connection"].as_u64().unwrap_or_default();
    let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
    let done = || Ok(json!({}));
    match text("do").as_str() {
        "hello" => return Ok(json!({ "version": format!("webrtc-rs {}", version()) })),
        "create" => {
            let connection = Connection::new(peer.clone(), number).await?;
            peer.connections.lock().await.insert(number, connection);
            return done();
        }
        "send" | "burst" | "shut" => {
            let channel = request["channel"].as_u64().unwrap_or_default();
            let channel = peer.channels.lock().await.get(&channel).cloned();
            return channel.ok_or("no such channel")?.perform(request).await;
        }
        _ => {}
    }
    let connections = peer.connections.lock().await;
    let connection = connections.get(&number).ok_or("no such connection")?;
    match text("do").as_str() {
        "offer" => Ok(json!({ "sdp": connection.offer().await? })),
        "answer" => Ok(json!({ "sdp": connection.answer(text("sdp")).await? })),
        "accept" => connection.accept(text("sdp")).await.map(|()| json!({})),
        "candidate" => connection
            .candidate(text("candidate"))
            .await
            .map(|()| json!({})),
        "channel" => {
            let channel = connection
                .open(peer, &text("label"), &request["init"])
                .await?;
            Ok(json!({ "channel": channel }))
        }
        "close" => connection.close().await.map(|()| json!({})),
        unknown => Err(format!("unknown request {unknown}").into()),
    }
}

impl Peer {
    /// Gives a channel its number.
    async fn adopt(&self, make: impl FnOnce(u64) -> Arc<Channel>) -> Arc<Channel> {
        let number = self.channels_made.fetch_add(1, Ordering::Relaxed) + 1;
        let channel = make(number);
        self.channels.lock().await.insert(number, channel.clone());
        channel
    }
}

/// Tells the suite something. A whole line is written at once.
fn report(message: Value) {
    println!("{message}");
}

/// The version of the stack, which this program was built with.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"webrtc\"");
    let version = lines.nth(1).and_then(|line| line.split('"').nth(1));
    version.unwrap_or("unknown")
}
