//! What a discovery says of each kind of access, and what it says two peers need.

use std::time::{Duration, Instant};

use bowline::nat::NatReport;
use bowline_interop::coturn::Transport;
use bowline_interop::topology::Access;
use bowline_tokio::signalling::MemoryHub;
use futures_util::future::join_all;

use crate::network::{Network, Party, config, kind};

#[tokio::test]
async fn each_kind_of_access_is_named_by_a_discovery() {
    let network = Network::new(&Access::ALL).await;
    let reports = join_all(Access::ALL.map(|access| report(&network, access, 0))).await;
    for (access, (report, took)) in Access::ALL.into_iter().zip(reports) {
        println!("| {access} | {} | {took:.1?} |", report.kind);
        assert_eq!(report.kind, kind(access), "{access}: {report}");
        let outside = report.mapped_ipv4.expect("it was seen");
        assert_eq!(outside.ip(), network.peer(access, 0).outside, "{access}");
    }
}

/// What the first or second peer with this access finds out, and in which time.
pub(crate) async fn report(
    network: &Network,
    access: Access,
    side: usize,
) -> (NatReport, Duration) {
    let server = network.coturn.uri(Transport::Udp);
    let config = config().ice_server(server).build().expect("valid");
    let peer = network.peer(access, side);
    let party = Party::bind(peer, "curious", &MemoryHub::new(), config).await;
    let begun = Instant::now();
    let report = party.endpoint.discover_nat().await.expect("a report");
    let took = begun.elapsed();
    party.endpoint.close().await;
    (report, took)
}
