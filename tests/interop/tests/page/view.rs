//! One window of the browser, with the page in it.

use std::path::Path;

use crate::driver::Driver;
use crate::until;

/// The page, as one person sees it.
pub(crate) struct View {
    driver: Driver,
    window: String,
}

impl View {
    /// Opens a window at `url`.
    pub(crate) async fn open(driver: Driver, url: &str) -> Self {
        let window = driver.open_window().await;
        let view = Self { driver, window };
        view.front().await.go(url).await;
        view
    }

    /// Loads the page again.
    pub(crate) async fn reload(&self) {
        self.front().await.reload().await;
    }

    /// Waits until the page shows `peer` in this state.
    pub(crate) async fn until_peer(&self, peer: &str, state: &str) {
        let what = format!("{peer} is {state} on the page");
        until(&what, async || self.peer_state(peer).await == state).await;
    }

    /// The state of a peer as the page shows it. Empty when it does not show the peer. Of a key, the name is before the `#`.
    pub(crate) async fn peer_state(&self, peer: &str) -> String {
        self.text(
            "const card = [...document.querySelectorAll('.peer')]
                .find((card) => card.querySelector('.name').textContent.split('#')[0] === arguments[0]);
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
        let driver = self.front().await;
        let input = driver.find("#text").await;
        driver.type_into(&input, &format!("{text}{ENTER}")).await;
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

    async fn choose(&self, selector: &str, path: &Path) {
        let driver = self.front().await;
        let input = driver.find(selector).await;
        let path = path.to_str().expect("plain");
        driver.type_into(&input, path).await;
    }

    /// Presses the button or link `label` of the transfer of the file `name`, once it is there.
    pub(crate) async fn press(&self, name: &str, label: &str) {
        let path = format!(
            "//li[contains(@class,'transfer')][.//strong[text()='{name}']]\
             //*[self::button or self::a][starts-with(.,'{label}')]"
        );
        let driver = self.front().await;
        until(label, async || !driver.find_all(&path).await.is_empty()).await;
        let [button] = &driver.find_all(&path).await[..] else {
            panic!("there is not one {label} for {name}");
        };
        driver.click(button).await;
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

    /// What it looks like, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        self.front().await.picture().await
    }

    /// Runs a script of the test in the page. When it gives a promise of a text, this waits for the text.
    pub(crate) async fn text(&self, script: &str, argument: &str) -> String {
        self.front().await.text(script, argument).await
    }

    /// The driver, with this window chosen.
    async fn front(&self) -> &Driver {
        self.driver.choose_window(&self.window).await;
        &self.driver
    }
}

/// The key, as WebDriver writes it.
const ENTER: char = '\u{e007}';
