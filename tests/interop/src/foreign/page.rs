//! The web server that the browsers' page comes from, and the WebSocket that it comes back on.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A server on the loopback interface that serves the page until it comes back.
#[derive(Debug)]
pub(super) struct PageServer {
    listener: TcpListener,
}

impl PageServer {
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self { listener })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves files until the page opens its WebSocket, and gives that.
    pub(super) async fn page(&self) -> io::Result<WebSocketStream<TcpStream>> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let mut stream = BufReader::new(stream);
            // A browser opens connections ahead of their use: one that says nothing keeps nobody waiting for long.
            let Ok(request) = tokio::time::timeout(PATIENCE, Request::read(&mut stream)).await
            else {
                continue;
            };
            let request = request?;
            // Nothing follows a request's head until it is answered.
            let mut stream = stream.into_inner();
            if let Some(key) = request.websocket_key {
                let accept = derive_accept_key(key.as_bytes());
                stream.write_all(upgrade(&accept).as_bytes()).await?;
                return Ok(WebSocketStream::from_raw_socket(stream, Role::Server, None).await);
            }
            stream.write_all(response(&request.path).as_bytes()).await?;
        }
    }
}

/// What is used of the head of a request.
#[derive(Debug, Default)]
struct Request {
    path: String,
    websocket_key: Option<String>,
}

impl Request {
    async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Self> {
        let mut request = Self::default();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 || line.trim_end().is_empty() {
                return Ok(request);
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-key") => {
                    request.websocket_key = Some(value.trim().to_owned());
                }
                Some(_) => {}
                None => request.path = line.split(' ').nth(1).unwrap_or_default().to_owned(),
            }
        }
    }
}

fn response(path: &str) -> String {
    let (status, kind, body) = match path {
        "/" => (
            "200 OK",
            "text/html",
            include_str!("../../peers/page/index.html"),
        ),
        "/page.js" => (
            "200 OK",
            "text/javascript",
            include_str!("../../peers/page/page.js"),
        ),
        "/peer.js" => (
            "200 OK",
            "text/javascript",
            include_str!("../../peers/page/peer.js"),
        ),
        _ => ("404 Not Found", "text/plain", ""),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn upgrade(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// How long a connection may say nothing.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
