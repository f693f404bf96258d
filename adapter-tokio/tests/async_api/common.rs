use std::future::Future;
use std::time::Duration;

use bowline::{Config, Identity, PeerId};
use bowline_tokio::signalling::{MemoryHub, Signalling};
use bowline_tokio::{Connection, Endpoint, EndpointBuilder};

/// Far longer than anything here takes, even on a machine with much else to do.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for `future`; fails with `what` when it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in time"),
    }
}

pub(crate) fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

pub(crate) fn config() -> Config {
    Config::builder()
        .loopback(true)
        .ipv6(false)
        .build()
        .expect("a valid configuration")
}

/// An endpoint on the loopback interface.
pub(crate) fn on_loopback(name: &str, signalling: Signalling) -> EndpointBuilder {
    on_loopback_as(Identity::without_key(id(name)), signalling)
}

/// The same, as anybody.
pub(crate) fn on_loopback_as(identity: Identity, signalling: Signalling) -> EndpointBuilder {
    let address = "127.0.0.1:0".parse().expect("a valid address");
    Endpoint::builder(identity)
        .config(config())
        .bind_address(address)
        .signalling(signalling)
}

/// Two endpoints that are connected through memory, alice first.
pub(crate) struct Pair {
    pub(crate) alice: Endpoint,
    pub(crate) bob: Endpoint,
    pub(crate) to_bob: Connection,
    pub(crate) to_alice: Connection,
}

pub(crate) async fn pair() -> Pair {
    let hub = MemoryHub::new();
    let alice = on_loopback("alice", hub.join(id("alice")))
        .bind()
        .expect("binds");
    let bob = on_loopback("bob", hub.join(id("bob")))
        .bind()
        .expect("binds");
    let (to_bob, to_alice) = connect(&alice, &bob).await;
    Pair {
        alice,
        bob,
        to_bob,
        to_alice,
    }
}

/// Connects two endpoints. Gives the connection of each.
pub(crate) async fn connect(from: &Endpoint, to: &Endpoint) -> (Connection, Connection) {
    let accepting = async {
        let incoming = to.accept().await.expect("the endpoint is open");
        assert_eq!(incoming.peer(), from.id());
        incoming.accept().await.expect("comes up")
    };
    let both = async { tokio::join!(from.connect(to.id()), accepting) };
    let (there, here) = soon("the connection", both).await;
    (there.expect("comes up"), here)
}
