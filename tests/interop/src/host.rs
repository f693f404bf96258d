//! Hosts of a test's own: network namespaces, with a runtime whose threads live inside.
//!
//! What runs on a [`Host`] has the network of its namespace, and everything else of this process. So endpoints on several
//! hosts meet through channels of the test, and a program that is started on a host runs in its network.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

/// A network namespace and threads in it. Dropping it removes both; programs that run there end with their own handles.
#[derive(Debug)]
pub struct Host {
    name: String,
    runtime: Option<Runtime>,
}

impl Host {
    /// Makes a host with a loopback interface and nothing else.
    ///
    /// # Errors
    ///
    /// What the operating system says: namespaces are for root, and `ip` has to be there.
    pub fn new() -> io::Result<Self> {
        let mut host = Self {
            name: new_name(),
            runtime: None,
        };
        carry_out(Command::new("ip").args(["netns", "add", &host.name]))?;
        host.ip("link set lo up")?;
        host.runtime = Some(runtime_inside(&host.name)?);
        Ok(host)
    }

    /// Lets `near`, a new interface of this host, lead to `far`, a new interface of `other`.
    ///
    /// # Errors
    ///
    /// What `ip` says.
    pub fn connect(&self, near: &str, other: &Self, far: &str) -> io::Result<()> {
        let peer = &other.name;
        self.ip(&format!(
            "link add {near} type veth peer name {far} netns {peer}"
        ))?;
        self.ip(&format!("link set {near} up"))?;
        other.ip(&format!("link set {far} up"))
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    ///
    /// What `ip` says.
    pub fn address(&self, interface: &str, ip: IpAddr, prefix: u8) -> io::Result<()> {
        self.ip(&format!("address add {ip}/{prefix} dev {interface}"))
    }

    /// Calls `ip` with these arguments, separated by spaces.
    ///
    /// # Errors
    ///
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> io::Result<()> {
        let arguments = arguments.split(' ');
        carry_out(Command::new("ip").args(["-n", &self.name]).args(arguments)).map(drop)
    }

    /// Forwards what is for others.
    ///
    /// # Errors
    ///
    /// What `sysctl` says.
    pub fn forward(&self) -> io::Result<()> {
        let mut sysctl = self.command("sysctl");
        carry_out(sysctl.args(["-qw", "net.ipv4.ip_forward=1"])).map(drop)
    }

    /// Loads rules for packets, in the language of `nft`.
    ///
    /// # Errors
    ///
    /// What `nft` says.
    pub fn filter(&self, rules: &str) -> io::Result<()> {
        let mut nft = self.command("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped());
        let mut child = nft.spawn()?;
        let mut stdin = child.stdin.take().expect("it was asked for");
        stdin.write_all(rules.as_bytes())?;
        drop(stdin);
        let status = child.wait()?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| io::Error::other(format!("nft refuses {rules}")))
    }

    /// What `nft list` says, as JSON.
    ///
    /// # Errors
    ///
    /// What `nft` says, or that it says no JSON.
    pub fn filtered(&self, what: &str) -> io::Result<serde_json::Value> {
        let mut nft = self.command("nft");
        let output = carry_out(nft.args(["-j", "list"]).args(what.split(' ')))?;
        serde_json::from_slice(&output).map_err(io::Error::other)
    }

    /// A program that runs on this host when it is started.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` on this host.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        match runtime.spawn(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let deleted = carry_out(Command::new("ip").args(["netns", "delete", &self.name]));
        if let Err(error) = deleted {
            eprintln!("{} is left: {error}", self.name);
        }
    }
}

fn runtime_inside(name: &str) -> io::Result<Runtime> {
    let namespace = File::open(format!("/run/netns/{name}"))?;
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("root may, as it made it");
        })
        .build()
}

/// A name that is nobody else's. `tests/interop/run` removes what a killed test leaves of those that begin as it says.
fn new_name() -> String {
    let prefix = std::env::var("BOWLINE_INTEROP");
    let prefix = prefix.unwrap_or_else(|_| "bowline-interop".to_owned());
    let number = HOSTS.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", process::id())
}

static HOSTS: AtomicUsize = AtomicUsize::new(0);

/// Runs a command to its end, and gives what it has written.
fn carry_out(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {said}")))
}
