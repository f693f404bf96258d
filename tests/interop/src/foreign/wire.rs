//! How messages reach a foreign peer: the pipes of a program, or the WebSocket of a page.

use std::io;
use std::process::{ChildStdin, ChildStdout};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// A stream of texts in each direction. When the peer is gone `from_peer` gives `None`.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) to_peer: mpsc::UnboundedSender<String>,
    pub(crate) from_peer: mpsc::UnboundedReceiver<String>,
}

impl Wire {
    /// One message a line.
    pub(crate) fn pipes(stdin: ChildStdin, stdout: ChildStdout) -> io::Result<Self> {
        let mut stdin = tokio::process::ChildStdin::from_std(stdin)?;
        let stdout = tokio::process::ChildStdout::from_std(stdout)?;
        let (wire, mut requests, reports) = Self::ends();
        tokio::spawn(async move {
            while let Some(mut text) = requests.recv().await {
                text.push('\n');
                if stdin.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if reports.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(wire)
    }

    /// One message a text frame.
    pub(super) fn websocket(socket: WebSocketStream<TcpStream>) -> Self {
        let (mut sink, mut stream) = socket.split();
        let (wire, mut requests, reports) = Self::ends();
        tokio::spawn(async move {
            while let Some(text) = requests.recv().await {
                if sink.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message
                    && reports.send(text.to_string()).is_err()
                {
                    return;
                }
            }
        });
        wire
    }

    fn ends() -> (
        Self,
        mpsc::UnboundedReceiver<String>,
        mpsc::UnboundedSender<String>,
    ) {
        let (to_peer, requests) = mpsc::unbounded_channel();
        let (reports, from_peer) = mpsc::unbounded_channel();
        (Self { to_peer, from_peer }, requests, reports)
    }
}
