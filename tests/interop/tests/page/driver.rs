//! Enough of WebDriver (W3C) to do what a person does. chromedriver is at the other end.

use std::path::Path;

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// A session with a browser.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    port: u16,
    session: String,
}

/// An element of the page, as the driver names it.
pub(crate) struct Element(String);

impl Driver {
    /// Begins a session: `debugger` is the port at which the browser can be debugged.
    pub(crate) async fn attach(port: u16, debugger: &str) -> Self {
        let options = json!({ "debuggerAddress": format!("127.0.0.1:{debugger}") });
        let wanted = json!({ "alwaysMatch": { "goog:chromeOptions": options } });
        let mut driver = Self {
            port,
            session: String::new(),
        };
        let body = json!({ "capabilities": wanted });
        let begun = driver.ask(Method::POST, "", &body).await;
        let id = begun["sessionId"].as_str().expect("it has a name");
        driver.session = format!("/{id}");
        driver
    }

    /// Makes the browser save downloads into a directory, without asking.
    pub(crate) async fn save_into(&self, directory: &Path) {
        let parameters = json!({ "behavior": "allow", "downloadPath": directory });
        let body = json!({ "cmd": "Browser.setDownloadBehavior", "params": parameters });
        self.post("/goog/cdp/execute", &body).await;
    }

    /// Opens a window, and gives its handle.
    pub(crate) async fn open_window(&self) -> String {
        let opened = self.post("/window/new", &json!({ "type": "window" })).await;
        opened["handle"].as_str().expect("a handle").to_owned()
    }

    /// What follows is about this window.
    pub(crate) async fn choose_window(&self, handle: &str) {
        self.post("/window", &json!({ "handle": handle })).await;
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    pub(crate) async fn reload(&self) {
        self.post("/refresh", &json!({})).await;
    }

    /// Finds an element by its CSS selector.
    pub(crate) async fn find(&self, selector: &str) -> Element {
        let body = json!({ "using": "css selector", "value": selector });
        element(&self.post("/element", &body).await)
    }

    /// Finds elements by an XPath.
    pub(crate) async fn find_all(&self, path: &str) -> Vec<Element> {
        let body = json!({ "using": "xpath", "value": path });
        let found = self.post("/elements", &body).await;
        let found = found.as_array().expect("a list");
        found.iter().map(element).collect()
    }

    /// Types, or chooses a file.
    pub(crate) async fn type_into(&self, element: &Element, text: &str) {
        let path = format!("/element/{}/value", element.0);
        self.post(&path, &json!({ "text": text })).await;
    }

    pub(crate) async fn click(&self, element: &Element) {
        let path = format!("/element/{}/click", element.0);
        self.post(&path, &json!({})).await;
    }

    /// Runs a script that gives a text.
    pub(crate) async fn text(&self, script: &str, argument: &str) -> String {
        let body = json!({ "script": script, "args": [argument] });
        let value = self.post("/execute/sync", &body).await;
        value.as_str().expect("a text").to_owned()
    }

    /// What the window looks like, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let value = self.ask(Method::GET, "/screenshot", &Value::Null).await;
        let text = value.as_str().expect("a text");
        BASE64.decode(text.as_bytes()).expect("base64")
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        let Self { port, session } = self;
        let uri = format!("/session{session}{path}");
        let answer = exchange(*port, method, &uri, body).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("{uri}: {error}"));
        let value = answer["value"].take();
        assert!(value["error"].is_null(), "{uri}: {}", value["message"]);
        value
    }
}

/// One request and its answer, over a connection of its own.
async fn exchange(
    port: u16,
    method: Method,
    uri: &str,
    body: &Value,
) -> Result<Value, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let body = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, "127.0.0.1")
        .body(Full::new(body))?;
    let answer = sender.send_request(request).await?;
    let text = answer.into_body().collect().await?.to_bytes();
    drop(sender);
    connection.await??;
    Ok(serde_json::from_slice(&text)?)
}

/// The driver names an element in an object with one member, whose name is a constant of the standard.
fn element(value: &Value) -> Element {
    let name = &value["element-6066-11e4-a52e-4f735466cecf"];
    Element(name.as_str().expect("an element").to_owned())
}
