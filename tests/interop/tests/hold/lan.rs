//! Two hosts with a cable between them, and endpoints on hosts.

use std::net::{IpAddr, Ipv4Addr};

use bowline::{Config, Event, Identity, PeerId, PeerState};
use bowline_interop::host::Host;
use bowline_interop::log::Log;
use bowline_tokio::signalling::{MemoryHub, Signalling};
use bowline_tokio::{Connection, Endpoint, IncomingPolicy};

use crate::traffic::soon;

/// Two hosts, and a cable between their interfaces [`CABLE`].
pub(crate) fn pair() -> [Host; 2] {
    let hosts = [(); 2].map(|()| Host::new().expect("a namespace"));
    hosts[0].connect(CABLE, &hosts[1], CABLE).expect("a cable");
    for (host, last) in hosts.iter().zip([1, 2]) {
        host.address(CABLE, ip(last), PREFIX).expect("an address");
    }
    hosts
}

/// An address on the cable.
pub(crate) fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 94, 0, last))
}

/// Gives a host another address on the cable.
pub(crate) fn renumber(host: &Host, from: u8, to: u8) {
    let change = |what: &str, last| {
        host.ip(&format!("address {what} {}/{PREFIX} dev {CABLE}", ip(last)))
            .expect("root may");
    };
    change("del", from);
    change("add", to);
}

/// An endpoint and what it told.
pub(crate) struct Party {
    pub(crate) endpoint: Endpoint,
    pub(crate) events: Log<Event>,
}

impl Party {
    /// Binds an endpoint on a host, which accepts every peer.
    pub(crate) async fn on(host: &Host, name: &str, config: Config, link: Signalling) -> Self {
        let builder = Endpoint::builder(Identity::without_key(id(name)))
            .config(config)
            .signalling(link)
            .incoming(IncomingPolicy::Accept);
        let endpoint = host.run(async { builder.bind() }).await.expect("binds");
        let events = Log::of(&endpoint);
        Self { endpoint, events }
    }

    /// Waits until data takes another path than the first. A connection may be repaired before it is missed.
    pub(crate) async fn takes_another_path(&self) {
        let is_other = |events: &[Event]| {
            let changes = events
                .iter()
                .filter(|event| matches!(event, Event::PathChanged { .. }));
            (changes.count() > 1).then_some(())
        };
        let limit = crate::traffic::BACK;
        self.events.within(limit, "another path", is_other).await;
    }

    /// The states that were told, from the beginning.
    pub(crate) fn states(&self) -> Vec<PeerState> {
        states(&self.events.all())
    }
}

/// Connects two parties over a hub. Gives the connection of each.
pub(crate) async fn connect(
    hosts: [&Host; 2],
    config: impl Fn() -> Config,
) -> ([Party; 2], [Connection; 2]) {
    let hub = MemoryHub::new();
    let [alice, bob] = ["alice", "bob"].map(|name| hub.join(id(name)));
    let from = Party::on(hosts[0], "alice", config(), alice).await;
    let to = Party::on(hosts[1], "bob", config(), bob).await;
    let accepting = async {
        let incoming = to.endpoint.accept().await.expect("the endpoint is open");
        incoming.accept().await
    };
    let both = async { tokio::join!(from.endpoint.connect(to.endpoint.id()), accepting) };
    let (there, here) = soon("the connection", both).await;
    let ends = [there.expect("comes up"), here.expect("comes up")];
    ([from, to], ends)
}

pub(crate) fn id(name: &str) -> PeerId {
    PeerId::new(name).expect("a valid name")
}

fn states(events: &[Event]) -> Vec<PeerState> {
    let state = |event: &Event| match event {
        Event::State { to, .. } => Some(*to),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

/// The interface of each host.
pub(crate) const CABLE: &str = "cable";
const PREFIX: u8 = 24;
