//! bowline's own peers through the server.

use std::sync::Arc;
use std::time::Duration;

use bowline::{ChannelKind, Config, IceServer, Identity, Message, PeerId, TransportPolicy};
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::turn_server::{PeerPolicy, TurnLimits, TurnServer};
use bowline_tokio::{Endpoint, IncomingPolicy};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::user::{credentials, server};

const PATIENCE: Duration = Duration::from_secs(30);

fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("valid")
}

fn login(uri: &str, name: &str) -> IceServer {
    let login = credentials(name);
    let server: IceServer = uri.parse().expect("valid");
    server
        .credentials(login.username(), login.password())
        .expect("usable")
}

/// An endpoint that uses TURN servers only.
fn endpoint(hub: &MemoryHub, name: &str, servers: &[IceServer], root: Option<&[u8]>) -> Endpoint {
    let mut config = Config::builder()
        .loopback(true)
        .ipv6(false)
        .policy(TransportPolicy::Relay);
    for server in servers {
        config = config.ice_server(server.clone());
    }
    let mut builder = Endpoint::builder(Identity::without_key(id(name)))
        .config(config.build().expect("valid"))
        .bind_address(([127, 0, 0, 1], 0).into())
        .incoming(IncomingPolicy::Accept)
        .signalling(hub.join(id(name)));
    if let Some(root) = root {
        builder = builder.root_certificate(root);
    }
    builder.bind().expect("binds")
}

/// Two endpoints talk with each other.
async fn talk(server: &TurnServer, alice: Endpoint, bob: Endpoint) {
    let both = async { tokio::join!(alice.connect(bob.id()), bob.accept()) };
    let (to_bob, to_alice) = timeout(PATIENCE, both).await.expect("in time");
    let to_bob = to_bob.expect("comes up");
    let to_alice = to_alice.expect("open").accept().await.expect("comes up");
    let text = Message::from("over the relay");
    to_bob
        .send(ChannelKind::Reliable, text.clone())
        .await
        .expect("sent");
    let received = timeout(PATIENCE, to_alice.recv()).await.expect("in time");
    assert_eq!(received, Some((ChannelKind::Reliable.id(), text)));
    assert_eq!(server.stats().allocations, 2);
    assert!(server.stats().relayed > 0);
    drop((to_bob, to_alice));
    tokio::join!(alice.close(), bob.close());
    let ended = async {
        while server.stats().allocations > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended)
        .await
        .expect("allocations are given back");
}

async fn over(transport: &str) {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let uri = format!("turn:{}?transport={transport}", server.local_addr());
    let hub = MemoryHub::new();
    let alice = endpoint(&hub, "alice", &[login(&uri, "alice")], None);
    let bob = endpoint(&hub, "bob", &[login(&uri, "bob")], None);
    talk(&server, alice, bob).await;
}

#[tokio::test]
async fn two_peers_connect_by_nothing_but_relays_over_udp() {
    over("udp").await;
}

#[tokio::test]
async fn two_peers_connect_by_nothing_but_relays_over_tcp() {
    over("tcp").await;
}

#[tokio::test]
async fn two_peers_connect_by_nothing_but_relays_over_tls() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let (port, root) = tls_before(&server).await;
    // The name is resolved, and the certificate is for it.
    let uri = format!("turns:localhost:{port}");
    let hub = MemoryHub::new();
    let alice = endpoint(&hub, "alice", &[login(&uri, "alice")], Some(&root));
    let bob = endpoint(&hub, "bob", &[login(&uri, "bob")], Some(&root));
    talk(&server, alice, bob).await;
}

#[tokio::test]
async fn servers_that_are_set_later_are_used() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let uri = format!("turn:{}", server.local_addr());
    let hub = MemoryHub::new();
    let alice = endpoint(&hub, "alice", &[], None);
    let bob = endpoint(&hub, "bob", &[], None);
    for (endpoint, name) in [(&alice, "alice"), (&bob, "bob")] {
        let servers = vec![login(&uri, name)];
        endpoint.set_ice_servers(servers).expect("usable");
    }
    talk(&server, alice, bob).await;
}

/// TLS in front of a server. Gives its port, and its certificate, which nobody has signed.
async fn tls_before(server: &TurnServer) -> (u16, Vec<u8>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let root = own.cert.der().to_vec();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let inner = server.local_addr();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut outer) = acceptor.accept(stream).await {
                    let mut inner = TcpStream::connect(inner).await.expect("connects");
                    // It ends when either side does.
                    let _ = copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
    (port, root)
}
