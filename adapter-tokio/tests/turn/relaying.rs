use bowline_tokio::turn_server::{PeerPolicy, TurnConfig, TurnLimits, TurnServer};
use stun_proto::types::attribute::XorMappedAddress;
use stun_proto::types::message::{BINDING, Message, MessageClass, MessageWriteVec};
use stun_proto::types::prelude::MessageWrite;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::user::{User, credentials, heard, secret, server, stranger, until};

const LOOPBACK: PeerPolicy = PeerPolicy {
    private: false,
    loopback: true,
};

#[tokio::test]
async fn everybody_is_told_where_they_come_from() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    let (socket, local) = stranger().await;
    socket
        .send_to(&request, server.local_addr())
        .await
        .expect("sent");
    assert_eq!(mapped(&heard(&socket).await.0), local);

    let mut stream = TcpStream::connect(server.local_addr())
        .await
        .expect("connects");
    stream.write_all(&request).await.expect("sent");
    let mut answer = vec![0; 40];
    stream.read_exact(&mut answer).await.expect("answered");
    assert_eq!(mapped(&answer), stream.local_addr().expect("bound"));
}

fn mapped(answer: &[u8]) -> std::net::SocketAddr {
    let message = Message::from_bytes(answer).expect("a message");
    assert!(message.has_class(MessageClass::Success));
    let mapped = message.attribute::<XorMappedAddress>().expect("an address");
    mapped.addr(message.transaction_id())
}

#[tokio::test]
async fn over_udp_a_client_talks_with_a_peer_by_indications_and_by_a_channel() {
    let server = server(LOOPBACK, TurnLimits::default()).await;
    let login = credentials("alice");
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    let relay = alice.allocate().await;
    let (peer, at) = stranger().await;
    alice.permit(at).await;
    alice.say(at, b"by indication").await;
    assert_eq!(heard(&peer).await, (b"by indication".to_vec(), relay));
    peer.send_to(b"back", relay).await.expect("sent");
    alice.hears(1).await;

    alice.bind_channel(at).await;
    alice.say(at, b"by channel").await;
    assert_eq!(heard(&peer).await, (b"by channel".to_vec(), relay));
    peer.send_to(b"again", relay).await.expect("sent");
    alice.hears(2).await;
    let expected = [(at, b"back".to_vec()), (at, b"again".to_vec())];
    assert_eq!(alice.received, expected);
    assert_eq!(server.stats().relayed, 13 + 4 + 10 + 5);
}

#[tokio::test]
async fn over_tcp_too_with_what_needs_padding() {
    let server = server(LOOPBACK, TurnLimits::default()).await;
    let login = credentials("alice");
    let mut alice = User::tcp(&server, login.username(), login.password()).await;
    let relay = alice.allocate().await;
    let (peer, at) = stranger().await;
    alice.bind_channel(at).await;
    for (number, text) in [&b"1"[..], b"22", b"333", b"4444"].into_iter().enumerate() {
        alice.say(at, text).await;
        assert_eq!(heard(&peer).await, (text.to_vec(), relay));
        peer.send_to(text, relay).await.expect("sent");
        alice.hears(number + 1).await;
        assert_eq!(alice.received[number], (at, text.to_vec()));
    }
}

#[tokio::test]
async fn two_clients_relay_to_each_other_where_no_other_peer_is_permitted() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    between(&server).await;
    assert_eq!(server.stats().forbidden, 0);
}

#[tokio::test]
async fn two_clients_relay_to_each_other_at_an_address_that_a_nat_maps() {
    let public = "192.0.2.1".parse().expect("valid");
    let config = TurnConfig {
        public_ips: vec![public],
        ..TurnConfig::default()
    };
    let server = TurnServer::bind(([127, 0, 0, 1], 0).into(), secret(), config)
        .await
        .expect("binds");
    assert!(server.public_addrs().all(|address| address.ip() == public));
    let (alice, bob) = between(&server).await;
    assert_eq!((alice.ip(), bob.ip()), (public, public));
}

/// Two clients of one server, over UDP and TCP, say something to each other. Gives their relays.
async fn between(server: &TurnServer) -> (std::net::SocketAddr, std::net::SocketAddr) {
    let login = credentials("alice");
    let mut alice = User::udp(server, login.username(), login.password()).await;
    let mut bob = User::tcp(server, login.username(), login.password()).await;
    let (at_alice, at_bob) = (alice.allocate().await, bob.allocate().await);
    assert_eq!(server.stats().allocations, 2);
    alice.permit(at_bob).await;
    bob.bind_channel(at_alice).await;
    bob.say(at_alice, b"to alice").await;
    alice.hears(1).await;
    assert_eq!(alice.received, [(at_bob, b"to alice".to_vec())]);
    alice.say(at_bob, b"to bob").await;
    bob.hears(1).await;
    assert_eq!(bob.received, [(at_alice, b"to bob".to_vec())]);
    (at_alice, at_bob)
}

#[tokio::test]
async fn an_allocation_ends_when_its_client_ends_it_or_its_connection() {
    let server = server(LOOPBACK, TurnLimits::default()).await;
    let login = credentials("alice");
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    let mut bob = User::tcp(&server, login.username(), login.password()).await;
    let relay = alice.allocate().await;
    bob.allocate().await;
    alice.delete().await;
    until("alice's place is free", || server.stats().allocations == 1).await;
    std::net::UdpSocket::bind(relay).expect("the port is free");
    drop(bob);
    until("bob's place is free", || server.stats().allocations == 0).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_closes_its_sockets() {
    let server = server(LOOPBACK, TurnLimits::default()).await;
    let (login, address) = (credentials("alice"), server.local_addr());
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    let relay = alice.allocate().await;
    drop(server);
    for port in [relay, address] {
        until("the port is free", || {
            std::net::UdpSocket::bind(port).is_ok()
        })
        .await;
    }
    until("the port is free", || {
        std::net::TcpListener::bind(address).is_ok()
    })
    .await;
}
