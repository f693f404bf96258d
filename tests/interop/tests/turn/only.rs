//! With relays only, every packet goes to the TURN server: counted by the kernel on the hosts of both peers.

use bowline::{Config, IceServer, TransportPolicy};
use bowline_interop::capture::Capture;
use bowline_interop::coturn::{PORT, Setup, TLS_PORT, Transport};
use bowline_interop::topology::{Access, Internet, Peer, SERVERS};
use bowline_tokio::signalling::MemoryHub;

use crate::common::RELAY_RANGE;
use crate::common::{Party, connect, is_between_relays, soon, talk};

#[tokio::test]
async fn with_relays_only_no_packet_goes_anywhere_else() {
    let mut internet = Internet::new().expect("a network");
    let peers = [(); 2].map(|()| internet.peer(Access::Open).expect("a peer"));
    let coturn = internet.public.run(async {
        let coturn = Setup::at(&SERVERS).with(&RELAY_RANGE).start().await;
        coturn.expect("starts")
    });
    let coturn = coturn.await;
    for transport in Transport::ALL {
        let port = if transport == Transport::Tls {
            TLS_PORT
        } else {
            PORT
        };
        let captures = [0, 1]
            .map(|peer| Capture::start(&peers[peer].host, SERVERS[0], port).expect("nft counts"));
        let server = coturn.uri(transport);
        let certificate = coturn.certificate().to_vec();
        meet(&peers, &server, TransportPolicy::Relay, &certificate).await;
        for capture in captures {
            let counted = capture.end().expect("nft tells");
            println!("{transport:?}: {counted:?}");
            assert!(counted.to_server > 10, "{transport:?}: {counted:?}");
            assert_eq!(counted.elsewhere, 0, "{transport:?}: {counted:?}");
        }
    }
}

#[tokio::test]
async fn without_that_policy_the_same_two_peers_meet_directly() {
    let mut internet = Internet::new().expect("a network");
    let peers = [(); 2].map(|()| internet.peer(Access::Open).expect("a peer"));
    let coturn = internet
        .public
        .run(async { Setup::at(&SERVERS).start().await });
    let coturn = coturn.await.expect("starts");
    let capture = Capture::start(&peers[0].host, SERVERS[0], PORT).expect("nft counts");
    let server = coturn.uri(Transport::Udp);
    meet(&peers, &server, TransportPolicy::All, coturn.certificate()).await;
    let counted = capture.end().expect("nft tells");
    assert!(
        counted.elsewhere > 10,
        "the count can find something: {counted:?}"
    );
}

/// Lets two peers connect, talk and part.
async fn meet(peers: &[Peer; 2], server: &IceServer, policy: TransportPolicy, certificate: &[u8]) {
    let hub = MemoryHub::new();
    let bind = async |peer: &Peer, name: &'static str| {
        let config = Config::builder().ice_server(server.clone()).policy(policy);
        let config = config.build().expect("valid");
        let (hub, certificate) = (hub.clone(), certificate.to_vec());
        let bound = async move { Party::bind(name, &hub, config, Some(&certificate)) };
        peer.host.run(bound).await
    };
    let alice = bind(&peers[0], "alice").await;
    let bob = bind(&peers[1], "bob").await;
    let (there, here) = connect(&alice, &bob).await;
    talk(&there, &here).await;
    let is_relayed = alice
        .paths()
        .iter()
        .all(|path| is_between_relays(path, SERVERS[0]));
    assert_eq!(
        is_relayed,
        policy == TransportPolicy::Relay,
        "{:?}",
        alice.paths()
    );
    soon("the close", alice.endpoint.close()).await;
    soon("the close", bob.endpoint.close()).await;
}
