//! One window of the browser, with the page in it.

use std::path::{Path, PathBuf};

use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, Locator};
use http::Method;
use serde_json::{Value, json};

use crate::until;

/// The page, as one person sees it.
pub(crate) struct View {
    client: Client,
    window: WindowHandle,
}

impl View {
    /// Opens a window at `url`.
    pub(crate) async fn open(client: Client, url: &str) -> Self {
        let window = client.new_window(false).await.expect("a window").handle;
        let view = Self { client, window };
        view.front().await.goto(url).await.expect("the page");
        view
    }

    /// Loads the page again.
    pub(crate) async fn reload(&self) {
        self.front().await.refresh().await.expect("the page");
    }

    /// Waits until the page shows `peer` in this state.
    pub(crate) async fn until_peer(&self, peer: &str, state: &str) {
        let what = format!("{peer} is {state} on the page");
        until(&what, async || self.peer_state(peer).await == state).await;
    }

    /// The state of a peer as the page shows it. Empty when it does not show the peer.
    pub(crate) async fn peer_state(&self, peer: &str) -> String {
        self.text(
            "const card = [...document.querySelectorAll('.peer')]
                .find((card) => card.querySelector('.name').textContent === arguments[0]);
            return card?.querySelector('.state').textContent ?? '';",
            peer,
        )
        .await
    }

    /// What the page shows of a peer beside its state: kind, path, figures, channels.
    pub(crate) async fn peer_details(&self, peer: &str) -> String {
        self.text(
            "const card = [...document.querySelectorAll('.peer')]
                .find((card) => card.querySelector('.name').textContent === arguments[0]);
            return card?.innerText ?? '';",
            peer,
        )
        .await
    }

    /// Types a message and sends it.
    pub(crate) async fn say(&self, text: &str) {
        let client = self.front().await;
        let input = client.find(Locator::Id("text")).await.expect("the input");
        input.send_keys(text).await.expect("typed");
        input.send_keys("\u{e007}").await.expect("entered");
    }

    /// Waits until this text, and nothing else, is a line of the chat.
    pub(crate) async fn until_said(&self, text: &str) {
        let script = "return String([...document.querySelectorAll('#log li')]
            .some((line) => line.lastChild.textContent === arguments[0]));";
        let what = format!("{text:?} is in the chat");
        until(&what, async || self.text(script, text).await == "true").await;
    }

    /// Waits until the page says this of its link to the relay.
    pub(crate) async fn until_link(&self, text: &str) {
        let script = "return document.getElementById('link').textContent;";
        until(text, async || self.text(script, "").await == text).await;
    }

    /// Chooses a file for `peer`.
    pub(crate) async fn send_file(&self, peer: &str, path: &Path) {
        self.choose(
            &format!("input[aria-label=\"Send a file to {peer}\"]"),
            path,
        )
        .await;
    }

    /// Chooses a file for everybody.
    pub(crate) async fn send_file_to_all(&self, path: &Path) {
        self.choose("#file-all", path).await;
    }

    async fn choose(&self, input: &str, path: &Path) {
        let client = self.front().await;
        let input = client.find(Locator::Css(input)).await.expect("the input");
        let path = path.to_str().expect("plain");
        input.send_keys(path).await.expect("chosen");
    }

    /// Presses the button or link `label` of the transfer of the file `name`, once it is there.
    pub(crate) async fn press(&self, name: &str, label: &str) {
        let client = self.front().await;
        let path = format!(
            "//li[contains(@class,'transfer')][.//strong[text()='{name}']]\
             //*[self::button or self::a][starts-with(.,'{label}')]"
        );
        let button = client.wait().for_element(Locator::XPath(&path)).await;
        button.expect("the button").click().await.expect("pressed");
    }

    /// Waits until the transfer of the file `name` says something with `text` in it.
    pub(crate) async fn until_transfer(&self, name: &str, text: &str) {
        let what = format!("the transfer of {name} says {text:?}");
        until(&what, async || self.transfer(name).await.contains(text)).await;
    }

    /// What the page says of the transfer of a file. Empty when it shows none.
    pub(crate) async fn transfer(&self, name: &str) -> String {
        self.text(
            "const row = [...document.querySelectorAll('.transfer')]
                .find((row) => row.querySelector('.name').textContent === arguments[0]);
            return row?.querySelector('.status').textContent ?? '';",
            name,
        )
        .await
    }

    /// How many elements there are.
    pub(crate) async fn count(&self, selector: &str) -> u64 {
        let script = "return String(document.querySelectorAll(arguments[0]).length);";
        let count = self.text(script, selector).await;
        count.parse().expect("a number")
    }

    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        self.front().await.screenshot().await.expect("a picture")
    }

    /// Runs a script that gives a text.
    async fn text(&self, script: &str, argument: &str) -> String {
        let client = self.front().await;
        let value = client.execute(script, vec![json!(argument)]).await;
        match value.expect("the script runs") {
            Value::String(text) => text,
            other => panic!("not a text: {other}"),
        }
    }

    /// The client, with this window chosen.
    async fn front(&self) -> &Client {
        let window = self.window.clone();
        let chosen = self.client.switch_to_window(window).await;
        chosen.expect("the window is there");
        &self.client
    }
}

/// Tells the browser to save downloads into a directory, without asking.
#[derive(Debug)]
pub(crate) struct SaveInto(pub(crate) PathBuf);

impl WebDriverCompatibleCommand for SaveInto {
    fn endpoint(
        &self,
        base_url: &url::Url,
        session_id: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        let session = session_id.unwrap_or_default();
        base_url.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _request_url: &url::Url) -> (Method, Option<String>) {
        let parameters = json!({ "behavior": "allow", "downloadPath": self.0 });
        let body = json!({ "cmd": "Browser.setDownloadBehavior", "params": parameters });
        (Method::POST, Some(body.to_string()))
    }
}
