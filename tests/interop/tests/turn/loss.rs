//! Servers that go and come back, or are replaced.

use std::time::{Duration, Instant};

use bowline::{Event, Path, Side};
use bowline_interop::coturn::{Coturn, Setup, Transport};
use bowline_interop::host::Host;
use bowline_tokio::signalling::MemoryHub;

use crate::common::{LOOPBACK, Party, SOON, connect, relay_only, soon, talk};

#[tokio::test]
async fn a_session_comes_back_after_the_server_has_lost_its_allocations() {
    for transport in Transport::ALL {
        let host = Host::new().expect("a namespace");
        host.run(async move {
            let mut coturn = Setup::at(&LOOPBACK).start().await.expect("starts");
            comes_back(&mut coturn, transport).await;
        })
        .await;
    }
}

async fn comes_back(coturn: &mut Coturn, transport: Transport) {
    let hub = MemoryHub::new();
    let config = || relay_only(coturn.uri(transport));
    let party = |name| Party::bind(name, &hub, config(), Some(coturn.certificate()));
    let (alice, bob) = (party("alice"), party("bob"));
    let (there, here) = connect(&alice, &bob).await;
    talk(&there, &here).await;
    let before = alice.paths();
    let begun = Instant::now();
    coturn.kill();
    coturn.begin().await.expect("starts again");
    // Whether the peer was missed before it was there again is a matter of moments.
    let is_another =
        |event: &Event| matches!(event, Event::PathChanged { to, .. } if !before.contains(to));
    let moved = |events: &[Event]| events.iter().any(is_another).then(|| begun.elapsed());
    let took = alice.events.within(BACK, "another path", moved).await;
    println!("{transport:?}: coturn restarted: over another relay after {took:.1?}");
    talk(&there, &here).await;
    soon("the close", alice.endpoint.close()).await;
}

#[tokio::test]
async fn a_session_goes_on_while_its_servers_are_replaced() {
    let host = Host::new().expect("a namespace");
    host.run(async {
        let old = Setup::at(&LOOPBACK[..1]).start().await.expect("starts");
        let new = Setup::at(&LOOPBACK[1..]).start().await.expect("starts");
        let hub = MemoryHub::new();
        let party = |name| Party::bind(name, &hub, relay_only(old.uri(Transport::Udp)), None);
        let (alice, bob) = (party("alice"), party("bob"));
        let (there, here) = connect(&alice, &bob).await;
        talk(&there, &here).await;
        for party in [&alice, &bob] {
            let servers = vec![new.uri(Transport::Udp)];
            party.endpoint.set_ice_servers(servers).expect("valid");
        }
        for party in [&alice, &bob] {
            let find = |events: &[Event]| events.iter().any(is_relay_of_second).then_some(());
            party.events.within(SOON, "a new relay", find).await;
        }
        talk(&there, &here).await;
        let is_at_first = |path: &Path| path.local.ip() == LOOPBACK[0];
        assert!(
            alice.paths().iter().all(is_at_first),
            "it stays where it was"
        );

        drop(old);
        let begun = Instant::now();
        let moved = |events: &[Event]| {
            events
                .iter()
                .any(is_path_by_second)
                .then(|| begun.elapsed())
        };
        let took = alice
            .events
            .within(BACK, "the path over the new server", moved)
            .await;
        println!("the old server is gone: over the new one after {took:.1?}");
        talk(&there, &here).await;
        assert_eq!(alice.faults(), []);
    })
    .await;
}

fn is_relay_of_second(event: &Event) -> bool {
    matches!(event, Event::CandidateAdded { side: Side::Local, address, .. } if address.ip() == LOOPBACK[1])
}

fn is_path_by_second(event: &Event) -> bool {
    matches!(event, Event::PathChanged { to, .. } if to.local.ip() == LOOPBACK[1])
}

/// How long a session may take to come back: what ICE needs to miss the other side, and an ICE restart.
const BACK: Duration = Duration::from_secs(60);
