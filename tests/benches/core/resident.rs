//! Memory per peer: resident pages of a child process, before and after it has made many connections.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use bowline::Config;

use crate::pair::{Dtls, Net, Pace};
use crate::raw::{self, RawPair};

/// Says to a child what to connect.
pub(crate) const VARIABLE: &str = "BOWLINE_BENCH_RESIDENT";

/// Bytes for each peer of the kind `what`, over `endpoints` that are all connected to each other.
pub(crate) fn measure(what: &str, endpoints: usize) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .env(VARIABLE, format!("{what} {endpoints}"))
        .output()
        .expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{what}: {text:?}"))
}

/// What a child does: connects, and prints the bytes for each peer.
pub(crate) fn child(what: &OsStr) {
    let what = what.to_string_lossy();
    let (what, endpoints) = what.split_once(' ').expect("a kind and a number");
    let endpoints: u32 = endpoints.parse().expect("a number");
    let pairs = endpoints * (endpoints - 1) / 2;
    // What the first connection makes once for the process is no part of a peer.
    let spent = match what {
        "bowline" => {
            let _warm = mesh(2);
            let before = resident_kib();
            let _net = mesh(endpoints);
            resident_kib() - before
        }
        "defaults" => raw_pairs(&raw::defaults(), pairs),
        "data-only" => raw_pairs(&raw::data_only(128 * 1024), pairs),
        _ => panic!("{what} is unknown"),
    };
    println!("{}", f64::from(spent) * 1024.0 / f64::from(2 * pairs));
}

fn raw_pairs(config: &str0m::RtcConfig, count: u32) -> u32 {
    let connect = || RawPair::connect(config, Pace::Virtual(Duration::from_millis(1)));
    let _warm = connect();
    let before = resident_kib();
    let _pairs: Vec<_> = (0..count).map(|_| connect()).collect();
    resident_kib() - before
}

fn mesh(endpoints: u32) -> Net {
    let count = endpoints as usize;
    let mut net = Net::new(
        count,
        &Config::default(),
        Dtls::Real,
        Pace::Virtual(Duration::from_millis(1)),
    );
    for from in 0..count {
        for to in from + 1..count {
            net.connect(&[(from, to)]);
        }
    }
    net
}

/// Of this process. Zero where there is no such file.
fn resident_kib() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
