//! What a NAT discovery finds in the simulator, and whether it foretells what two peers need.

use std::time::Duration;

use bowline::nat::{NatReport, RelayNeed};
use bowline_sim::{HostId, NatConfig, World, has_path};

use super::{Between, POOL};

fn kinds() -> [NatConfig; 5] {
    [
        NatConfig::open(),
        NatConfig::full_cone(),
        NatConfig::address_restricted(),
        NatConfig::port_restricted(),
        NatConfig::symmetric(),
    ]
}

fn discovered(world: &mut World, host: HostId) -> NatReport {
    world.discover_nat(host).expect("there is a server");
    let is_done = |world: &World| {
        world
            .endpoint(host)
            .is_some_and(|e| e.nat_report().is_some())
    };
    assert!(world.run_until(is_done, Duration::from_secs(60)));
    let endpoint = world.endpoint(host).expect("it runs");
    endpoint.nat_report().expect("it is done").clone()
}

#[test]
fn the_reports_of_two_peers_foretell_whether_they_need_a_relay() {
    for first in kinds() {
        for second in kinds() {
            let mut world = Between::new(1, [first.clone(), second.clone()])
                .world()
                .build();
            world.run_for(POOL);
            let reports = [0, 1].map(|host| discovered(&mut world, host));
            let need = reports[0].requires_relay(&reports[1]);
            let expected = if has_path(&first, &second, false) {
                RelayNeed::No
            } else {
                RelayNeed::Yes
            };
            assert_eq!(need, expected, "{reports:?}");
            world.assert_no_violation();
        }
    }
}
