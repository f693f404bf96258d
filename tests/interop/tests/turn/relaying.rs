//! Relays over each transport, and what a discovery says of a host without a NAT.

use std::time::Instant;

use bowline::nat::{Filtering, NatKind};
use bowline_interop::coturn::{Coturn, Setup, Transport};
use bowline_interop::host::Host;
use bowline_tokio::signalling::MemoryHub;

use crate::common::{
    LOOPBACK, Party, RELAY_RANGE, carry, connect, is_between_relays, relay_only, soon, talk, with,
};

#[tokio::test]
async fn two_peers_are_relayed_over_every_mixture_of_transports() {
    let host = Host::new().expect("a namespace");
    host.run(async {
        let coturn = Setup::at(&LOOPBACK).with(&RELAY_RANGE).start().await;
        let coturn = coturn.expect("starts");
        for first in Transport::ALL {
            for second in Transport::ALL {
                is_relayed(&coturn, first, second).await;
            }
        }
    })
    .await;
}

async fn is_relayed(coturn: &Coturn, first: Transport, second: Transport) {
    let hub = MemoryHub::new();
    let party = |name, transport| {
        let config = relay_only(coturn.uri(transport));
        Party::bind(name, &hub, config, Some(coturn.certificate()))
    };
    let (alice, bob) = (party("alice", first), party("bob", second));
    let begun = Instant::now();
    let (there, here) = connect(&alice, &bob).await;
    let connected = begun.elapsed();
    talk(&there, &here).await;
    let begun = Instant::now();
    carry(&there, &here, vec![9; 1 << 20]).await;
    carry(&here, &there, vec![8; 1 << 20]).await;
    println!(
        "{first:?} and {second:?}: connected in {connected:.0?}, 1 MiB each way in {:.0?}",
        begun.elapsed()
    );
    for party in [&alice, &bob] {
        let paths = party.paths();
        assert!(
            !paths.is_empty()
                && paths
                    .iter()
                    .all(|path| is_between_relays(path, LOOPBACK[0])),
            "{paths:?}"
        );
        assert_eq!(party.faults(), []);
    }
    soon("the close", alice.endpoint.close()).await;
    soon("the close", bob.endpoint.close()).await;
}

#[tokio::test]
async fn a_host_without_a_nat_is_found_to_be_open() {
    let host = Host::new().expect("a namespace");
    host.run(async {
        let coturn = Setup::at(&LOOPBACK).start().await.expect("starts");
        let config = with(coturn.uri(Transport::Udp)).build().expect("valid");
        let alice = Party::bind("alice", &MemoryHub::new(), config, None);
        let begun = Instant::now();
        let report = soon("the report", alice.endpoint.discover_nat()).await;
        println!("discovered in {:.1?}", begun.elapsed());
        let report = report.expect("a report");
        assert_eq!(report.kind, NatKind::Open, "{report}");
        assert_eq!(report.filtering, Some(Filtering::EndpointIndependent));
        assert_eq!(report.translated, Some(false));
    })
    .await;
}
