use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bowline::{
    ChannelKind, Config, ConfigBuilder, Event, IceServer, Identity, Message, Path, PeerId,
    ServerFault, TransportPolicy,
};
use bowline_interop::log::Log;
use bowline_tokio::signalling::MemoryHub;
use bowline_tokio::{Connection, Endpoint, IncomingPolicy};

/// The two addresses of a server on loopback.
pub(crate) const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
];

/// Far longer than what is quick takes.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Waits for `future`, and fails with `what` when it does not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {SOON:?}"),
    }
}

pub(crate) fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

/// With this server, for loopback.
pub(crate) fn with(server: IceServer) -> ConfigBuilder {
    Config::builder()
        .loopback(true)
        .ipv6(false)
        .ice_server(server)
}

/// The same, and nothing but relays.
pub(crate) fn relay_only(server: IceServer) -> Config {
    let config = with(server).policy(TransportPolicy::Relay).build();
    config.expect("valid")
}

/// An endpoint and what it told.
pub(crate) struct Party {
    pub(crate) endpoint: Endpoint,
    pub(crate) events: Log<Event>,
}

impl Party {
    /// Binds an endpoint where the calling task runs, which accepts every peer.
    pub(crate) fn bind(
        name: &str,
        hub: &MemoryHub,
        config: Config,
        certificate: Option<&[u8]>,
    ) -> Self {
        let mut builder = Endpoint::builder(Identity::without_key(id(name)))
            .config(config)
            .signalling(hub.join(id(name)))
            .incoming(IncomingPolicy::Accept);
        if let Some(certificate) = certificate {
            builder = builder.root_certificate(certificate);
        }
        let endpoint = builder.bind().expect("binds");
        let events = Log::of(&endpoint);
        Self { endpoint, events }
    }

    /// Waits until a server fails, and tells why.
    pub(crate) async fn fault(&self) -> ServerFault {
        let find = |events: &[Event]| events.iter().find_map(fault);
        self.events.within(SOON, "a server that fails", find).await
    }

    /// Waits until gathering is complete.
    pub(crate) async fn gathered(&self) {
        let complete = |event: &Event| {
            let state = bowline::GatheringState::Complete;
            *event == Event::Gathering { state }
        };
        let find = |events: &[Event]| events.iter().any(complete).then_some(());
        self.events.within(SOON, "gathering complete", find).await;
    }

    /// The faults of servers so far.
    pub(crate) fn faults(&self) -> Vec<ServerFault> {
        self.events.all().iter().filter_map(fault).collect()
    }

    /// The paths so far.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let path = |event: &Event| match event {
            Event::PathChanged { to, .. } => Some(*to),
            _ => None,
        };
        self.events.all().iter().filter_map(path).collect()
    }
}

fn fault(event: &Event) -> Option<ServerFault> {
    match event {
        Event::IceServerFailed { fault, .. } => Some(*fault),
        _ => None,
    }
}

/// Connects two. Gives the connection of each.
pub(crate) async fn connect(from: &Party, to: &Party) -> (Connection, Connection) {
    let accepting = async {
        let incoming = to.endpoint.accept().await.expect("the endpoint is open");
        incoming.accept().await
    };
    let both = async { tokio::join!(from.endpoint.connect(to.endpoint.id()), accepting) };
    let (there, here) = soon("the connection", both).await;
    (there.expect("comes up"), here.expect("comes up"))
}

/// Sends a message each way.
pub(crate) async fn talk(there: &Connection, here: &Connection) {
    for (from, to) in [(there, here), (here, there)] {
        carry(from, to, vec![7; 100]).await;
    }
}

/// Sends a message and waits for it on the other side.
pub(crate) async fn carry(from: &Connection, to: &Connection, bytes: Vec<u8>) {
    let message = Message::binary(bytes);
    from.send(ChannelKind::Control, message.clone())
        .await
        .expect("sent");
    let received = soon("the message", to.recv_from(ChannelKind::Control)).await;
    let len = received.as_ref().map(Message::len);
    assert!(
        received == Some(message),
        "it arrives as it was, not with {len:?} bytes; {:?}, {:?}",
        from.status(),
        to.status(),
    );
}

/// Whether both ends of a path are at this address: relayed on both sides.
pub(crate) fn is_between_relays(path: &Path, server: IpAddr) -> bool {
    let at_server = |address: SocketAddr| {
        address.ip() == server && (RELAY_PORTS.0..=RELAY_PORTS.1).contains(&address.port())
    };
    at_server(path.local) && at_server(path.remote)
}

/// The ports that coturn relays from in these tests: none that the system gives to a socket by itself.
pub(crate) const RELAY_PORTS: (u16, u16) = (61_000, 62_000);
/// The arguments for [`RELAY_PORTS`].
pub(crate) const RELAY_RANGE: [&str; 2] = ["--min-port=61000", "--max-port=62000"];
