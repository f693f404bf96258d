//! What is sent arrives once and in order, whatever happens to the links, addresses, servers and processes in between:
//! `bash tests/interop/run`. Each test has hosts of its own; the other process is this program, started with `peer`.

mod disturbances;
mod killed;
mod lan;
mod peer;
mod servers;
mod traffic;

use std::pin::Pin;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(peer::ROLE) {
        return peer::run();
    }
    let tests: [(&str, Test); 8] = [
        ("a_link_that_is_down_for_3_s_loses_nothing", || {
            Box::pin(disturbances::a_link_goes_down(3))
        }),
        ("a_link_that_is_down_for_12_s_loses_nothing", || {
            Box::pin(disturbances::a_link_goes_down(12))
        }),
        ("addresses_that_change_lose_nothing", || {
            Box::pin(disturbances::addresses_change())
        }),
        ("addresses_of_both_that_change_at_once_lose_nothing", || {
            Box::pin(disturbances::both_addresses_change())
        }),
        ("a_relay_that_starts_again_loses_nothing", || {
            Box::pin(disturbances::the_relay_starts_again())
        }),
        (
            "a_process_that_is_killed_and_starts_again_gets_nothing_twice",
            || Box::pin(killed::a_process_is_killed_and_starts_again()),
        ),
        ("a_bus_that_is_away_for_a_while_loses_nobody", || {
            Box::pin(servers::the_bus_is_away_for_a_while())
        }),
        ("servers_that_are_killed_each_second_lose_nothing", || {
            Box::pin(servers::one_of_three_is_killed_each_second())
        }),
    ];
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            let runtime = Runtime::new().expect("threads can be started");
            runtime.block_on(test());
            Ok(())
        })
    });
    let mut arguments = Arguments::from_args();
    // Each has a network of its own, and mostly waits.
    arguments.test_threads.get_or_insert(tests.len());
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

type Test = fn() -> Pin<Box<dyn Future<Output = ()>>>;
