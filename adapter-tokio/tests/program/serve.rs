use std::net::{Ipv4Addr, SocketAddr};

use stun_proto::types::message::{BINDING, Message, MessageClass, MessageWriteVec};
use stun_proto::types::prelude::MessageWrite;
use tokio::net::UdpSocket;

use crate::common::{Running, soon};

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
