//! P18 and more: bowline and Chromium over a relay, between hosts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline::{ChannelKind, Event, Path, TransportPolicy};
use bowline_interop::bridge::Offerer;
use bowline_interop::capture::Capture;
use bowline_interop::coturn::{PORT, Transport};
use bowline_interop::duo::{BOWLINE, Duo, Meeting};
use bowline_interop::foreign::{IceOptions, Kind, Received, Stack, crc32};
use bowline_interop::topology::{Access, Peer, SERVERS};

use crate::network::{Network, config};

#[tokio::test]
async fn chromium_and_bowline_with_relays_only_meet_over_udp_and_tcp() {
    let network = Network::new(&[Access::Open; 2]).await;
    let [ours, theirs] = [0, 1].map(|side| network.peer(Access::Open, side));
    let stack = chromium(theirs).await;
    println!("{}", stack.version());
    for transport in [Transport::Udp, Transport::Tcp] {
        for offerer in [Offerer::Bowline, Offerer::Peer] {
            let capture = Capture::start(&ours.host, SERVERS[0], PORT).expect("nft counts");
            let begun = Instant::now();
            let duo = Meeting::new(offerer)
                .config(
                    config()
                        .ice_server(network.coturn.uri(transport))
                        .policy(TransportPolicy::Relay)
                        .build()
                        .expect("valid"),
                )
                .on(&ours.host)
                .ice(IceOptions {
                    ice_servers: vec![network.coturn.options(transport)],
                    ice_transport_policy: Some("relay"),
                })
                .limit(LIMIT)
                .connect(&stack)
                .await
                .expect("they meet");
            let took = begun.elapsed();
            talk(&duo).await;
            let path = path(&duo).await;
            assert!(
                is_at_server(path.local) && is_at_server(path.remote),
                "{path:?}"
            );
            assert!(
                !duo.by_bowline().contains(&ours.outside.to_string()),
                "no address of ours"
            );
            duo.part().await;
            let counted = capture.end().expect("nft tells");
            println!("relay only, {transport:?}, {offerer:?} offers: {took:.0?}, {counted:?}");
            assert_eq!(counted.elsewhere, 0, "{counted:?}");
        }
    }
}

#[tokio::test]
async fn chromium_and_bowline_behind_symmetric_nats_meet_over_the_relay() {
    let network = Network::new(&[Access::Symmetric; 2]).await;
    let [ours, theirs] = [0, 1].map(|side| network.peer(Access::Symmetric, side));
    let stack = chromium(theirs).await;
    for offerer in [Offerer::Bowline, Offerer::Peer] {
        let server = network.coturn.uri(Transport::Udp);
        let begun = Instant::now();
        let duo = Meeting::new(offerer)
            .config(config().ice_server(server).build().expect("valid"))
            .on(&ours.host)
            .ice(IceOptions {
                ice_servers: vec![network.coturn.options(Transport::Udp)],
                ice_transport_policy: None,
            })
            .limit(LIMIT)
            .connect(&stack)
            .await
            .expect("they meet");
        let took = begun.elapsed();
        talk(&duo).await;
        let path = path(&duo).await;
        println!("symmetric, {offerer:?} offers: {took:.0?} by {path:?}");
        assert!(
            is_at_server(path.local) || is_at_server(path.remote),
            "{path:?}"
        );
        duo.part().await;
    }
}

async fn chromium(peer: &Peer) -> Arc<Stack> {
    let started = peer.host.run(Stack::start(Kind::Chromium)).await;
    Arc::new(started.expect("chromium starts"))
}

/// Sends a message each way.
async fn talk(duo: &Duo) {
    let label = format!("{BOWLINE}/{}", ChannelKind::Control);
    duo.bowline
        .send(ChannelKind::Control, "hello")
        .await
        .expect("sent");
    let (channel, _) = duo.peer.opened(&label).await;
    let received = duo.peer.messages(channel, 1, LIMIT).await;
    let is_hello = |message: &Received| message.text && message.crc == crc32(b"hello");
    assert!(received.iter().all(is_hello), "{received:?}");
    duo.peer.send_text(channel, "hello").await.expect("sent");
    let answer = tokio::time::timeout(LIMIT, duo.bowline.recv_from(ChannelKind::Control)).await;
    let answer = answer.expect("in time").expect("an answer");
    assert_eq!(&answer.data[..], b"hello");
}

async fn path(duo: &Duo) -> Path {
    let find = |events: &[Event]| {
        let path = |event: &Event| match event {
            Event::PathChanged { to, .. } => Some(*to),
            _ => None,
        };
        events.iter().filter_map(path).next_back()
    };
    duo.events.within(LIMIT, "a path", find).await
}

fn is_at_server(address: std::net::SocketAddr) -> bool {
    address.ip() == SERVERS[0]
}

/// How long connecting may take: two times gathering, and checks.
const LIMIT: Duration = Duration::from_secs(15);
