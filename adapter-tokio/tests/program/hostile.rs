//! `bowline send` and `bowline receive` against a peer that does not keep to the rules: it speaks through the library.

use std::fs;

use bowline::{ChannelKind, Config, Identity, PeerId};
use bowline_tokio::signalling::room;
use bowline_tokio::{Connection, Endpoint};
use bytes::Bytes;

use crate::common::{Stage, soon};

const CODE: &str = "lusab-babad-gutih";
/// The digest of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_are_refused_and_touch_nothing() {
    let stage = Stage::new().await;
    for name in [
        "../up",
        "/etc/passwd",
        "a\\b",
        "..",
        ".bashrc",
        "x\u{202e}gpj",
        "a\x1b[2Jb",
        "con",
        "",
    ] {
        let receiver = stage.receive(CODE, &[]);
        let (_endpoint, peer) = hostile_sender(&stage).await;
        let offer =
            serde_json::json!({"type": "file-offer", "transfer": 1, "name": name, "size": 1});
        say(&peer, &offer.to_string()).await;
        assert_eq!(
            hear(&peer).await,
            r#"{"type":"file-refuse","transfer":1,"reason":"name"}"#
        );
        let errors = receiver.failure().await;
        assert!(
            errors.contains("is refused: it is no name for a file"),
            "{errors}"
        );
        assert!(!errors.contains(['\x1b', '\u{202e}']), "{errors:?}");
        assert!(stage.names().is_empty(), "{:?}", stage.names());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_checksum_fails_and_leaves_no_file() {
    let stage = Stage::new().await;
    let receiver = stage.receive(CODE, &[]);
    let (_endpoint, peer) = hostile_sender(&stage).await;
    say(
        &peer,
        r#"{"type":"file-offer","transfer":1,"name":"a","size":5}"#,
    )
    .await;
    assert!(
        hear(&peer)
            .await
            .starts_with(r#"{"type":"file-accept","transfer":1,"offset":0,"#)
    );
    let chunk = Bytes::from_static(b"\0\0\0\x01\0\0\0\0\0\0\0\0hello");
    peer.send(ChannelKind::File, chunk).await.expect("queued");
    let end = format!(r#"{{"type":"file-end","transfer":1,"sha256":"{EMPTY}"}}"#);
    peer.send(ChannelKind::File, end).await.expect("queued");
    let mut answer = hear(&peer).await;
    if answer.contains("file-progress") {
        answer = hear(&peer).await;
    }
    assert_eq!(
        answer,
        r#"{"type":"file-failed","transfer":1,"reason":"checksum"}"#
    );
    assert_eq!(
        receiver.failure().await,
        "bowline: the checksum is wrong: the file is not what was sent\n"
    );
    assert!(stage.names().is_empty(), "{:?}", stage.names());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_where_the_part_should_be_is_not_written_to() {
    let stage = Stage::new().await;
    let precious = stage.write("precious", b"precious");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&precious, stage.out().join("a.bowline-part")).expect("links");
    #[cfg(not(unix))]
    fs::create_dir(stage.out().join("a.bowline-part")).expect("makes");
    let (sender, code) = stage.send(&[&stage.write("a", b"new")]).await;
    let errors = stage.receive(&code, &[]).failure().await;
    assert!(
        errors.contains("a.bowline-part is no regular file"),
        "{errors}"
    );
    let errors = sender.failure().await;
    assert!(
        errors.starts_with("bowline: the receiver cannot store it\n"),
        "{errors}"
    );
    assert_eq!(fs::read(precious).expect("is there"), b"precious");
}

/// Takes the part of the sender in the room, and waits for the receiver.
async fn hostile_sender(stage: &Stage) -> (Endpoint, Connection) {
    let id = PeerId::new("sender-0123456789abcdef").expect("valid");
    let (signalling, _presence) = room(&stage.relay.url(), CODE, id).expect("valid");
    let config = Config::builder().loopback(true).ipv6(false).build();
    let endpoint = Endpoint::builder(Identity::without_key(id))
        .config(config.expect("valid"))
        .bind_address("127.0.0.1:0".parse().expect("valid"))
        .signalling(signalling)
        .bind()
        .expect("binds");
    let incoming = soon("the receiver", endpoint.accept()).await.expect("open");
    let connection = soon("the connection", incoming.accept()).await;
    (endpoint, connection.expect("comes up"))
}

async fn say(peer: &Connection, text: &str) {
    peer.send(ChannelKind::Control, text).await.expect("queued");
}

async fn hear(peer: &Connection) -> String {
    let message = soon("an answer", peer.recv_from(ChannelKind::Control)).await;
    message
        .expect("connected")
        .as_text()
        .expect("is text")
        .to_owned()
}
