//! What happens to links, addresses and servers while two endpoints talk.

use std::time::{Duration, Instant};

use bowline::{Config, PeerState, TransportPolicy};
use bowline_interop::coturn::{Setup, Transport};
use bowline_interop::topology::{Access, Internet, SERVERS};

use crate::lan::{self, CABLE, connect, renumber};
use crate::traffic::survives;

/// The cable is pulled for some seconds.
pub(crate) async fn a_link_goes_down(seconds: u64) {
    let hosts = lan::pair();
    let (parties, ends) = connect([&hosts[0], &hosts[1]], Config::default).await;
    survives(&ends, async {
        hosts[0]
            .ip(&format!("link set {CABLE} down"))
            .expect("root may");
        // The disturbance itself, not a guess at how long something takes.
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        hosts[0]
            .ip(&format!("link set {CABLE} up"))
            .expect("root may");
    })
    .await;
    let lost = parties
        .iter()
        .any(|party| party.states().contains(&PeerState::Disconnected));
    assert_eq!(lost, seconds > 7, "a link that is back soon is not missed");
}

/// One host gets another address, and its application binds there.
pub(crate) async fn addresses_change() {
    let hosts = lan::pair();
    let (parties, ends) = connect([&hosts[0], &hosts[1]], Config::default).await;
    survives(&ends, async {
        renumber(&hosts[0], 1, 11);
        let endpoint = parties[0].endpoint.clone();
        hosts[0]
            .run(async move { endpoint.rebind() })
            .await
            .expect("binds");
        moved(&parties, [11, 2]).await;
    })
    .await;
}

/// Both hosts get other addresses at once.
pub(crate) async fn both_addresses_change() {
    let hosts = lan::pair();
    let (parties, ends) = connect([&hosts[0], &hosts[1]], Config::default).await;
    survives(&ends, async {
        for (at, (from, to)) in [(1, 11), (2, 12)].into_iter().enumerate() {
            renumber(&hosts[at], from, to);
            let endpoint = parties[at].endpoint.clone();
            hosts[at]
                .run(async move { endpoint.rebind() })
                .await
                .expect("binds");
        }
        moved(&parties, [11, 12]).await;
    })
    .await;
}

/// Waits until data takes a path between these addresses, on both sides.
async fn moved(parties: &[lan::Party; 2], ends: [u8; 2]) {
    let begun = Instant::now();
    for (party, [local, remote]) in parties.iter().zip([ends, [ends[1], ends[0]]]) {
        let is_there = |events: &[bowline::Event]| {
            let path = events.iter().rev().find_map(|event| match event {
                bowline::Event::PathChanged { to, .. } => Some(*to),
                _ => None,
            })?;
            let is = path.local.ip() == lan::ip(local) && path.remote.ip() == lan::ip(remote);
            is.then_some(())
        };
        let limit = crate::traffic::BACK;
        party
            .events
            .within(limit, "the path over the new address", is_there)
            .await;
    }
    println!("over the new addresses after {:.1?}", begun.elapsed());
}

/// Both are relayed by a coturn that is killed and started again.
pub(crate) async fn the_relay_starts_again() {
    let mut internet = Internet::new().expect("a network");
    let peers = [(); 2].map(|()| internet.peer(Access::Open).expect("a peer"));
    let setup = Setup::at(&SERVERS).start();
    let mut coturn = internet.public.run(setup).await.expect("starts");
    let server = coturn.uri(Transport::Udp);
    let config = || {
        let config = Config::builder().ice_server(server.clone());
        config
            .policy(TransportPolicy::Relay)
            .build()
            .expect("valid")
    };
    let (parties, ends) = connect([&peers[0].host, &peers[1].host], config).await;
    let mut running = None;
    survives(&ends, async {
        coturn.kill();
        let again = async move {
            coturn.begin().await.expect("starts again");
            coturn
        };
        running = Some(internet.public.run(again).await);
        for party in &parties {
            party.takes_another_path().await;
        }
    })
    .await;
    drop(running);
}
