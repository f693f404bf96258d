//! What every test of the page needs: `bowline serve`, a browser, and somebody who drives it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use bowline_interop::browser::{Chromium, Visibility};
use bowline_interop::process::Group;
use bowline_interop::program::{self, find_line, spawn};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::driver::Driver;
use crate::view::View;
use crate::{soon, until};

/// A server, a browser and its driver. Dropping it ends all of them.
pub(crate) struct Stage {
    pub(crate) server: Server,
    client: Driver,
    /// Where the browser saves what it downloads.
    pub(crate) downloads: TempDir,
    _browser: Chromium,
    _driver: Group,
    /// Several browsers at once would only wait for each other.
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let server = Server::start("127.0.0.1:0");
        let arguments = ["--remote-debugging-port=0", "--window-size=1280,800"];
        let browser = Chromium::launch("about:blank", Visibility::Loopback, &arguments)
            .expect("chromium is installed");
        let debugger = debugger_of(browser.profile()).await;
        let (driver, port) = start_driver();
        let client = soon("the session", Driver::attach(port, &debugger)).await;
        let downloads = tempfile::tempdir().expect("a directory");
        client.save_into(downloads.path()).await;
        Self {
            server,
            client,
            downloads,
            _browser: browser,
            _driver: driver,
            _alone: alone,
        }
    }

    /// Opens the page in a window of its own, as `name` in the room `lobby`.
    pub(crate) async fn open(&self, name: &str) -> View {
        let url = format!("http://{}/?room=lobby&name={name}", self.server.address);
        View::open(self.client.clone(), &url).await
    }

    /// Opens it likewise, as a key that is called `name`.
    pub(crate) async fn open_sealed(&self, name: &str) -> View {
        let address = self.server.address;
        let url = format!("http://{address}/?room=lobby&name={name}&sealed=on");
        View::open(self.client.clone(), &url).await
    }

    /// Waits for a file that was saved under this name, and reads it.
    pub(crate) async fn saved(&self, name: &str) -> Vec<u8> {
        let path = self.downloads.path().join(name);
        // The browser renames it when it is complete.
        until("the saved file", async || path.exists()).await;
        fs::read(path).expect("readable")
    }
}

/// A running `bowline serve`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    group: Group,
}

impl Server {
    fn start(listen: &str) -> Self {
        let mut command = Command::new(program::path());
        command.args(["serve", "--listen", listen]);
        let mut group = spawn(&mut command);
        let line = find_line(&mut group, "page      http://");
        let address = line.split('/').next().unwrap_or_default();
        let address = address.parse().expect("an address");
        Self { address, group }
    }

    /// Kills it. What was connected to it is not told.
    pub(crate) fn stop(&mut self) {
        self.group.kill();
    }

    /// Starts it at the same address again.
    pub(crate) fn start_again(&mut self) {
        *self = Self::start(&self.address.to_string());
    }

    /// The URL of its relay.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

/// The port at which the browser with this profile can be debugged.
async fn debugger_of(profile: &Path) -> String {
    let file = profile.join("DevToolsActivePort");
    let port = || {
        let text = fs::read_to_string(&file).ok()?;
        Some(text.split_once('\n')?.0.to_owned())
    };
    until("the browser", async || port().is_some()).await;
    port().expect("written once")
}

/// Starts the WebDriver server. Gives its port.
fn start_driver() -> (Group, u16) {
    let mut command = Command::new("chromedriver");
    let mut group = spawn(command.arg("--port=0"));
    let rest = find_line(&mut group, "successfully on port ");
    let port = rest.trim_end_matches('.').parse().expect("a port");
    (group, port)
}
