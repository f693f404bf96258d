use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::Group;

/// A running Chromium. Dropping it ends it and removes its profile.
#[derive(Debug)]
pub struct Chromium {
    // Dropped before the profile that its processes write to.
    group: Group,
    profile: TempDir,
}

/// Which of its addresses Chromium uses for peer connections, and shows to pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// What users have: no loopback addresses, and the others behind mDNS names.
    Standard,
    /// Loopback addresses too, and none is hidden. For machines and namespaces that have no other.
    Loopback,
}

impl Chromium {
    /// Starts Chromium at `url`.
    ///
    /// # Errors
    ///
    /// What the operating system says, for example that there is no `chromium`.
    pub fn open(url: &str, visibility: Visibility) -> io::Result<Self> {
        Self::launch(url, visibility, &[])
    }

    /// Starts Chromium at `url` with further command line arguments.
    ///
    /// # Errors
    ///
    /// As [`Chromium::open`].
    pub fn launch(url: &str, visibility: Visibility, arguments: &[&str]) -> io::Result<Self> {
        let profile = tempfile::Builder::new()
            .prefix("bowline-chromium-")
            .tempdir()?;
        let mut command = Command::new("chromium");
        command
            .args(ARGUMENTS)
            .arg(user_data_dir(profile.path()))
            .args(arguments);
        if visibility == Visibility::Loopback {
            command.args(LOOPBACK);
        }
        command
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let group = Group::spawn(&mut command)?;
        Ok(Self { group, profile })
    }

    /// The directory of the profile.
    #[must_use]
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    /// Kills every process of the browser. None of them can say goodbye to its peers.
    pub fn kill(&mut self) {
        self.group.kill();
    }
}

fn user_data_dir(profile: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from("--user-data-dir=");
    argument.push(profile);
    argument
}

/// No window, no sandbox (root has none), and none of the services that would ask the network for something.
const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
];

const LOOPBACK: [&str; 2] = [
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--allow-loopback-in-peer-connection",
];
