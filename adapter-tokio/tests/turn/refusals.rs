use std::net::SocketAddr;
use std::time::Duration;

use bowline_tokio::turn_server::{PeerPolicy, TurnLimits, TurnSecret};
use turn_client_proto::api::TurnEvent;

use super::user::{User, credentials, heard, secret, server, stranger, until};

const LOOPBACK: PeerPolicy = PeerPolicy {
    private: false,
    loopback: true,
};

#[tokio::test]
async fn wrong_foreign_and_expired_credentials_are_refused() {
    let server = server(LOOPBACK, TurnLimits::default()).await;
    let right = credentials("alice");
    let foreign = TurnSecret::new(b"another").issue("alice", Duration::from_secs(60));
    let expired = secret().issue("alice", Duration::ZERO);
    let refused = [
        (right.username(), "wrong"),
        ("alice", right.password()),
        ("99999999999:mallory", right.password()),
        (foreign.username(), foreign.password()),
        (expired.username(), expired.password()),
    ];
    for (number, (username, password)) in (1..).zip(refused) {
        // Each is asked for credentials, and asked again when it gave them. The client takes no notice of that.
        let challenged = || server.stats().challenged;
        let mut user = User::udp(&server, username, password).await;
        user.run_until("the refusal", |_| challenged() >= 4 * number - 2)
            .await;
        let mut user = User::tcp(&server, username, password).await;
        user.run_until("the refusal", |_| challenged() >= 4 * number)
            .await;
    }
    assert_eq!(server.stats().admitted, 0);
}

#[tokio::test]
async fn a_forbidden_peer_gets_no_permission() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let login = credentials("alice");
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    alice.allocate().await;
    for ip in ["10.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"] {
        let peer = SocketAddr::new(ip.parse().expect("valid"), 9);
        alice.ask_permission(peer);
        alice
            .run_until("the refusal", |user| {
                let refused = |event: &TurnEvent| matches!(event, TurnEvent::PermissionCreateFailed(_, of) if *of == peer.ip());
                user.events.iter().any(refused)
            })
            .await;
    }
    assert_eq!(server.stats().forbidden, 4);
}

#[tokio::test]
async fn a_service_beside_the_relays_is_reached_neither_way() {
    let server = server(PeerPolicy::default(), TurnLimits::default()).await;
    let login = credentials("alice");
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    let mut bob = User::udp(&server, login.username(), login.password()).await;
    let (at_alice, at_bob) = (alice.allocate().await, bob.allocate().await);
    let (service, at) = stranger().await;
    // The address is that of the relays, so there is a permission: but not the port.
    alice.permit(at).await;
    bob.permit(at_alice).await;
    alice.say(at, b"attack").await;
    until("it is dropped", || server.stats().forbidden == 1).await;
    service.send_to(b"unasked", at_alice).await.expect("sent");
    until("it is dropped", || server.stats().forbidden == 2).await;
    alice.say(at_bob, b"hello").await;
    bob.hears(1).await;
    let nothing = service.try_recv(&mut [0; 9]);
    assert_eq!(
        nothing.map_err(|e| e.kind()),
        Err(std::io::ErrorKind::WouldBlock)
    );
}

#[tokio::test]
async fn a_user_and_all_together_have_as_many_allocations_as_the_limits_say() {
    let limits = TurnLimits {
        allocations: 3,
        per_user: 2,
        ..TurnLimits::default()
    };
    let server = server(LOOPBACK, limits).await;
    let (alice, bob) = (credentials("alice"), credentials("bob"));
    let mut first = User::udp(&server, alice.username(), alice.password()).await;
    first.allocate().await;
    let mut second = User::tcp(&server, alice.username(), alice.password()).await;
    second.allocate().await;
    // Other credentials, but the same name.
    let later = secret().issue("alice", Duration::from_secs(120));
    let mut third = User::udp(&server, later.username(), later.password()).await;
    third.fails().await;
    let mut other = User::udp(&server, bob.username(), bob.password()).await;
    other.allocate().await;
    let carol = credentials("carol");
    let mut beyond = User::udp(&server, carol.username(), carol.password()).await;
    beyond.fails().await;
    let stats = server.stats();
    assert_eq!((stats.allocations, stats.admitted), (3, 3));
    assert!(stats.over_quota >= 2);

    first.delete().await;
    until("the place is free", || server.stats().allocations == 2).await;
    let mut again = User::udp(&server, carol.username(), carol.password()).await;
    again.allocate().await;
}

#[tokio::test]
async fn an_allocation_has_as_many_peers_as_the_limit_says() {
    let limits = TurnLimits {
        peers: 2,
        ..TurnLimits::default()
    };
    let server = server(LOOPBACK, limits).await;
    let login = credentials("alice");
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    alice.allocate().await;
    let peer = |last| SocketAddr::from(([203, 0, 113, last], 9));
    alice.permit(peer(1)).await;
    alice.permit(peer(2)).await;
    alice.ask_permission(peer(3));
    alice
        .run_until("the refusal", |user| {
            let refused =
                |event: &TurnEvent| matches!(event, TurnEvent::PermissionCreateFailed(..));
            user.events.iter().any(refused)
        })
        .await;
}

#[tokio::test]
async fn an_allocation_relays_as_much_as_its_bandwidth_allows() {
    let limits = TurnLimits {
        bandwidth: Some(1_000),
        ..TurnLimits::default()
    };
    let server = server(LOOPBACK, limits).await;
    let login = credentials("alice");
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    alice.allocate().await;
    let (peer, at) = stranger().await;
    alice.permit(at).await;
    alice.say(at, &[1; 1_001]).await;
    alice.say(at, &[2; 900]).await;
    let (heard, _) = heard(&peer).await;
    assert_eq!(heard, [2; 900], "the first was too much");
    assert_eq!(server.stats().relayed, 900);
}

#[tokio::test]
async fn as_many_connections_are_served_as_the_limit_says() {
    let limits = TurnLimits {
        connections: 1,
        ..TurnLimits::default()
    };
    let server = server(LOOPBACK, limits).await;
    let login = credentials("alice");
    let mut first = User::tcp(&server, login.username(), login.password()).await;
    first.allocate().await;
    let mut further = tokio::net::TcpStream::connect(server.local_addr())
        .await
        .expect("the system accepts it");
    let mut nothing = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut further, &mut nothing).await;
    assert!(ended.is_err() || nothing.is_empty());
    drop(first);
    until("the place is free", || server.stats().allocations == 0).await;
}

#[tokio::test]
async fn credentials_that_end_do_not_end_what_was_made_with_them() {
    let server = server(LOOPBACK, TurnLimits::default()).await;
    let login = secret().issue("alice", Duration::from_secs(2));
    let mut alice = User::udp(&server, login.username(), login.password()).await;
    alice.allocate().await;
    until("they end", || {
        let expiry = login.username().split(':').next().expect("an expiry");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        now.as_secs() >= expiry.parse().expect("a number")
    })
    .await;
    let (_peer, at) = stranger().await;
    alice.permit(at).await;
    let challenged = server.stats().challenged;
    let mut late = User::udp(&server, login.username(), login.password()).await;
    late.run_until("the refusal", |_| {
        server.stats().challenged >= challenged + 2
    })
    .await;
    assert_eq!(server.stats().admitted, 1);
}
