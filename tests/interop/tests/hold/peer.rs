//! The other process: an endpoint whose signalling is its standard input and output.
//!
//! A line that comes in is a signalling message. A line that goes out is one after `> `, or a number that the application
//! got. It sends numbers of its own to whoever connects: how many times it was started in the upper half, and how many
//! it has sent in the lower.

use std::io::Write as _;

use bowline::{Identity, Message};
use bowline_tokio::signalling::{Link, Signalling};
use bowline_tokio::{Connection, Endpoint, IncomingPolicy};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::lan::id;
use crate::traffic::{CHANNEL, PACE, number};

/// The first argument. The second is how many times it was started.
pub(crate) const ROLE: &str = "peer";
/// Its name.
pub(crate) const NAME: &str = "bob";
/// Before a signalling message.
pub(crate) const SIGNAL: &str = "> ";

/// Runs until it is killed, or its input ends.
pub(crate) fn run() {
    let start: u64 = std::env::args()
        .nth(2)
        .and_then(|start| start.parse().ok())
        .expect("how many times it was started");
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve(start));
}

async fn serve(start: u64) {
    let (near, link) = Signalling::pair();
    let endpoint = Endpoint::builder(Identity::without_key(id(NAME)))
        .signalling(near)
        .incoming(IncomingPolicy::Accept)
        .bind()
        .expect("binds");
    let taking = async {
        while let Some(incoming) = endpoint.accept().await {
            if let Ok(connection) = incoming.accept().await {
                tokio::spawn(talk(connection, start));
            }
        }
    };
    tokio::select! {
        () = carry(link) => {}
        () = taking => {}
    }
}

/// Carries signalling until the input ends.
async fn carry(mut link: Link) {
    let (reader, mut lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // The endpoint is gone, and so is soon all of it.
            let _ = reader.blocking_send(line);
        }
    });
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => link.inbound.send(line).await.expect("the endpoint is there"),
                None => return,
            },
            Some(signal) = link.outbound.recv() => say(&format!("{SIGNAL}{}", signal.text)),
        }
    }
}

async fn talk(connection: Connection, start: u64) {
    let sending = async {
        let mut ticks = tokio::time::interval(PACE);
        for sent in 0_u64.. {
            let message = Message::binary((start << 32 | sent).to_be_bytes().to_vec());
            if connection.send(CHANNEL, message).await.is_err() {
                return;
            }
            ticks.tick().await;
        }
    };
    let receiving = async {
        while let Some(message) = connection.recv_from(CHANNEL).await {
            say(&number(&message).to_string());
        }
    };
    tokio::join!(sending, receiving);
}

/// Writes a line at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("the suite reads");
    out.flush().expect("the suite reads");
}
