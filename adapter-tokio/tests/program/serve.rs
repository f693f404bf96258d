use std::net::{Ipv4Addr, SocketAddr};

use bowline::PeerId;
use bowline_tokio::signalling::{Relays, Signalling, websocket};
use pem_rfc7468::LineEnding;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use stun_proto::types::message::{BINDING, Message, MessageClass, MessageWriteVec};
use stun_proto::types::prelude::MessageWrite;
use tokio::net::UdpSocket;

use crate::common::{Running, Stage, content, soon};

/// The address in a line like `turn      192.0.2.1:3478 over udp and tcp`.
fn address(line: &str) -> SocketAddr {
    let words = line.split_whitespace();
    words
        .filter_map(|word| word.parse().ok())
        .next()
        .expect("an address")
}

#[tokio::test]
async fn a_stun_and_turn_server_comes_with_the_relay() {
    let mut serving = Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--turn-listen",
        "127.0.0.1:0",
    ]);
    let server = address(&serving.line("turn ").await);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("binds");
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    socket.send_to(&request, server).await.expect("sent");
    let mut answer = [0; 100];
    let count = soon("the answer", socket.recv(&mut answer))
        .await
        .expect("received");
    let answer = Message::from_bytes(&answer[..count]).expect("a message");
    assert!(answer.has_class(MessageClass::Success));
}

#[tokio::test]
async fn the_turn_server_can_be_left_out() {
    let mut serving = Running::start(&["serve", "--listen", "127.0.0.1:0", "--no-turn"]);
    serving.line("Ctrl-C").await;
    assert!(!serving.seen.iter().any(|line| line.starts_with("turn")));
}

#[tokio::test]
async fn two_servers_on_one_machine_find_a_port_each() {
    let mut first = Running::start(&["serve", "--listen", "127.0.0.1:0"]);
    let mut second = Running::start(&["serve", "--listen", "127.0.0.1:0"]);
    let (first, second) = (first.line("turn ").await, second.line("turn ").await);
    assert_ne!(address(&first), address(&second));
}

#[tokio::test]
async fn a_file_goes_through_the_turn_server_when_nothing_else_may_be_used() {
    let mut serving = Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--turn-listen",
        "127.0.0.1:0",
    ]);
    let line = serving.line("terminal").await;
    let url = line.split_whitespace().last().expect("a URL").to_owned();
    let (stage, data) = (Stage::new().await, content(300_000));
    let path = stage.write("photo.jpg", &data);
    let network = [
        "--relay",
        &url,
        "--bind",
        "127.0.0.1:0",
        "--policy",
        "relay",
    ];
    let mut sender = Running::start(&[&["send", &path], &network[..]].concat());
    let code = sender.line("code: ").await["code: ".len()..].to_owned();
    let out = stage.out_text();
    let receive = ["receive", &code, "--output", &out];
    let receiver = Running::start(&[&receive, &network[..]].concat());
    receiver.success().await;
    sender.success().await;
    assert_eq!(stage.received("photo.jpg"), data);
    #[cfg(unix)]
    {
        serving.interrupt();
        let said = serving.success().await;
        let last = said.last().expect("a line");
        let relayed = last.split_whitespace().rev().nth(2);
        let relayed: usize = relayed.and_then(|n| n.parse().ok()).expect(last);
        assert!(relayed > data.len(), "{last}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_is_asked_to_end_sends_everybody_away_and_leaves() {
    let mut serving = Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--no-turn",
        "--drain",
        "2",
    ]);
    let line = serving.line("terminal").await;
    let url = line.split_whitespace().last().expect("a URL").to_owned();
    let link = websocket(&url, PeerId::new("alice").expect("valid")).expect("valid");
    let mut status = link.status();
    let connected = status.wait_for(|status| status.up);
    soon("the link", connected).await.expect("it lives");
    serving.terminate();
    let said = serving.success().await;
    assert_eq!(
        said.last().map(String::as_str),
        Some("1 connections, 0 messages forwarded")
    );
    let left = status.wait_for(|status| !status.up);
    let reason = soon("the end", left).await.expect("it lives").clone();
    assert_eq!(
        reason.last_error.as_deref(),
        Some("the relay is about to end")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_certificate_is_read_again_on_request() {
    let stage = Stage::new().await;
    let write = |name, label, der: &[u8]| {
        let text = pem_rfc7468::encode_string(label, LineEnding::LF, der);
        stage.write(name, text.expect("a short text").as_bytes())
    };
    let write_chain =
        |certified: &CertifiedKey<KeyPair>| write("chain.pem", "CERTIFICATE", certified.cert.der());
    let write_key = |certified: &CertifiedKey<KeyPair>| {
        let key = certified.signing_key.serialize_der();
        write("key.pem", "PRIVATE KEY", &key)
    };
    let certify = || generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("valid");
    let (before, after) = (certify(), certify());
    let (chain, key) = (write_chain(&before), write_key(&before));
    let files = ["--tls-certificate", &chain, "--tls-key", &key];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--no-turn"];
    let mut serving = Running::start(&[&serve[..], &files].concat());
    let line = serving.line("terminal").await;
    let url = line.split_whitespace().last().expect("a URL").to_owned();
    let link = |certified: &CertifiedKey<KeyPair>, name| {
        let relays = Relays::new([&url]).expect("valid");
        let relays = relays.root_certificate(certified.cert.der().to_vec());
        let id = PeerId::new(name).expect("valid");
        relays.expect("a certificate").websocket(id)
    };
    let first = link(&before, "alice");
    let up = async |link: &Signalling| {
        let mut status = link.status();
        let connected = status.wait_for(|status| status.up);
        soon("the link", connected)
            .await
            .expect("it lives")
            .connects
    };
    up(&first).await;
    // In the middle of a change.
    write_key(&after);
    serving.reload();
    let complaint = serving.complaint().await;
    assert!(complaint.contains("stays as it was"), "{complaint}");
    up(&link(&before, "bob")).await;
    write_chain(&after);
    serving.reload();
    serving.line("read again").await;
    up(&link(&after, "carol")).await;
    assert_eq!(up(&first).await, 1, "it has not been disturbed");
}

#[tokio::test]
async fn a_server_with_a_key_lets_in_who_has_a_token_of_it() {
    let stage = Stage::new().await;
    let key = stage.write("key.txt", b"0123456789abcdef0123456789abcdef\n");
    let mut serving = Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--no-turn",
        "--access-key",
        &key,
    ]);
    let line = serving.line("terminal").await;
    let url = line.split_whitespace().last().expect("a URL").to_owned();
    let arguments = ["token", "--access-key", &key, "--room", "lusab-babad-gutih"];
    let token = Running::start(&arguments).success().await.concat();
    let path = stage.write("a.txt", b"hello");
    let with_token = format!("{url}/?token={token}");
    let (out, code) = (stage.out_text(), "lusab-babad-gutih");
    let network = ["--bind", "127.0.0.1:0", "--relay"];
    let send = ["send", &path, "--code", code];
    let sender = Running::start(&[&send, &network[..], &[&with_token]].concat());
    let receive = ["receive", code, "--output", &out];
    let stranger = Running::start(&[&receive, &network[..], &[&url]].concat());
    let refused = stranger.failure().await;
    assert!(refused.contains("401"), "{refused}");
    let receiver = Running::start(&[&receive, &network[..], &[&with_token]].concat());
    receiver.success().await;
    sender.success().await;
    assert_eq!(stage.received("a.txt"), b"hello");
    let short = stage.write("short.txt", b"secret");
    let refused = Running::start(&["token", "--access-key", &short]);
    let refused = refused.failure().await;
    assert!(refused.contains("32 bytes at least"), "{refused}");
}

#[tokio::test]
async fn the_doctor_finds_the_relay_and_what_it_offers() {
    let mut serving = Running::start(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--turn-listen",
        "127.0.0.1:0",
    ]);
    let line = serving.line("terminal").await;
    let url = line.split_whitespace().last().expect("a URL");
    let doctor = Running::start(&["doctor", "--relay", url, "--bind", "127.0.0.1:0"]);
    let said = doctor.success().await;
    for part in [
        format!("relay      {url} answers"),
        "servers that answered: 1 of 1".to_owned(),
        "?transport=udp relays".to_owned(),
        "?transport=tcp relays".to_owned(),
    ] {
        assert!(
            said.iter().any(|line| line.contains(&part)),
            "{part}: {said:#?}"
        );
    }

    let doctor = ["doctor", "--relay", url, "--bind", "127.0.0.1:0", "--json"];
    let said = Running::start(&doctor).success().await.join("\n");
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON and nothing else");
    assert_eq!(report["relay_answers"], true, "{said}");
    assert_eq!(report["nat"]["kind"], "unknown", "{said}");
    let servers = report["servers"].as_array().expect("a list");
    assert_eq!(servers.len(), 2, "{said}");
    assert!(
        servers.iter().all(|server| server["connected_ms"].is_u64()),
        "{said}"
    );
}

#[tokio::test]
async fn the_doctor_fails_where_nothing_answers() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = nobody.local_addr().expect("bound");
    drop(nobody);
    let url = format!("ws://{address}");
    let doctor = Running::start(&["doctor", "--relay", &url, "--bind", "127.0.0.1:0"]);
    let said = doctor.failure().await;
    assert!(
        said.contains("neither the relay nor a turn server"),
        "{said}"
    );
}
