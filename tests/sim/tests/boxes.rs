//! Endpoints behind boxes, in whole runs.

use bowline_sim::{Action, Driver, Firewall, GatewaySpec, NatConfig, Scenario};

/// Bob is on the internet and Alice behind a box, with traffic throughout.
fn scenario(nat: NatConfig) -> Scenario {
    let mut scenario = Scenario::pair(4);
    scenario.gateways.push(GatewaySpec {
        name: "home".to_owned(),
        nat,
        behind: None,
    });
    scenario.peers[0].behind = Some(0);
    for at_ms in (1_000..9_000).step_by(500) {
        for (from, to) in [(0, 1), (1, 0)] {
            let send = Action::Send {
                from,
                to,
                channel: bowline::ChannelKind::Reliable,
                size: 200,
                count: 2,
                text: false,
            };
            scenario = scenario.step(at_ms, send);
        }
    }
    scenario
}

fn holds(scenario: &Scenario) {
    let report = scenario.run_twice(Driver::Exact);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

#[test]
fn a_public_peer_is_reached_from_behind_every_usual_box() {
    for nat in [
        NatConfig::open(),
        NatConfig::full_cone(),
        NatConfig::address_restricted(),
        NatConfig::port_restricted(),
        NatConfig::symmetric(),
    ] {
        holds(&scenario(nat));
    }
}

#[test]
fn a_connection_survives_a_box_that_reboots_and_is_renumbered_and_blocks_for_a_while() {
    let firewall = Firewall::no_udp();
    let open = Firewall::default();
    let gateway = 0;
    let scenario = scenario(NatConfig::symmetric())
        .step(2_100, Action::RebootGateway { gateway })
        .step(4_100, Action::RenumberGateway { gateway })
        .step(6_100, Action::SetFirewall { gateway, firewall })
        .step(
            7_100,
            Action::SetFirewall {
                gateway,
                firewall: open,
            },
        );
    holds(&scenario);
}

#[test]
fn a_firewall_that_stays_is_opened_by_the_heal() {
    let firewall = Firewall::no_udp();
    let scenario = scenario(NatConfig::port_restricted());
    holds(&scenario.step(
        3_000,
        Action::SetFirewall {
            gateway: 0,
            firewall,
        },
    ));
}
