//! nats-server, the bus over which several `bowline serve` share their rooms, run for a test.

use std::process::Command;

use crate::process::Group;
use crate::program::{find_line, spawn};

/// A running nats-server on loopback. Dropping it kills it.
#[derive(Debug)]
pub struct Nats {
    address: String,
    program: Group,
}

impl Nats {
    /// Starts it at a free port.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let (program, address) = start("-1");
        Self { address, program }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again, where it was.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_again(&mut self) {
        let (_, port) = self.address.rsplit_once(':').expect("a port");
        (self.program, self.address) = start(port);
    }

    /// What `bowline serve --nats` is given.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

fn start(port: &str) -> (Group, String) {
    let mut command = Command::new("sh");
    // It speaks on standard error.
    let script = "exec nats-server --addr 127.0.0.1 --port \"$0\" 2>&1";
    command.args(["-c", script, port]);
    let mut program = spawn(&mut command);
    let address = find_line(&mut program, "Listening for client connections on ");
    (program, address)
}
