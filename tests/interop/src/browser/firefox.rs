use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::Group;

/// A running Firefox. Dropping it ends it and removes its profile.
///
/// It makes no peer connection on a machine without a default route and an address beyond loopback.
#[derive(Debug)]
pub struct Firefox {
    // Dropped before the profile that its processes write to.
    group: Group,
    profile: TempDir,
}

impl Firefox {
    /// Starts Firefox at `url`.
    ///
    /// # Errors
    ///
    /// What the operating system says, for example that there is no `firefox-esr`.
    pub fn open(url: &str) -> io::Result<Self> {
        let profile = tempfile::Builder::new()
            .prefix("bowline-firefox-")
            .tempdir()?;
        fs::write(profile.path().join("user.js"), preferences())?;
        let mut command = Command::new("firefox-esr");
        command
            .args(["--headless", "--no-remote", "--profile"])
            .arg(profile.path())
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

fn preferences() -> String {
    let lines = PREFERENCES.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
    lines.concat()
}

/// None of the services that would ask the network for something, and no first page but ours.
const PREFERENCES: [(&str, &str); 13] = [
    ("app.normandy.enabled", "false"),
    ("app.update.enabled", "false"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.safebrowsing.downloads.enabled", "false"),
    ("browser.safebrowsing.malware.enabled", "false"),
    ("browser.safebrowsing.phishing.enabled", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("extensions.update.enabled", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("services.settings.server", "\"data:,\""),
    ("toolkit.telemetry.enabled", "false"),
];
