//! A real browser without a screen, driven over the `DevTools` protocol, with an authenticator of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{eventually, secs};

/// The browser; it ends with its owner.
pub(crate) struct Chromium {
    process: Child,
    tools: WebSocketStream<TcpStream>,
    page: Option<String>,
    authenticator: Value,
    sent: u64,
    _profile: TempDir,
}

impl Chromium {
    /// Starts it with one page at `url` and an authenticator that is part of the machine and has verified
    /// who sits there.
    pub(crate) async fn open(url: &str) -> Self {
        let profile = TempDir::new().unwrap();
        let flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
        let mut process = Command::new("chromium")
            .args(flags)
            .args(["--remote-debugging-port=0", "--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium is installed");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = tokio::task::spawn_blocking(move || {
            let told = lines.find_map(|line| Some(line.ok()?.strip_prefix("DevTools listening on ")?.to_owned()));
            // What it says from here on is read, so that it never waits for a reader.
            std::thread::spawn(move || lines.for_each(drop));
            told.expect("chromium can be driven")
        });
        let address = address.await.unwrap();
        let host = address.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let stream = TcpStream::connect(host).await.unwrap();
        let (tools, _) = tokio_tungstenite::client_async(address, stream).await.unwrap();
        let mut browser = Self { process, tools, page: None, authenticator: Value::Null, sent: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let wish = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", wish).await;
        browser.page = Some(attached["sessionId"].as_str().unwrap().to_owned());
        browser.call("WebAuthn.enable", json!({})).await;
        let authenticator = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "automaticPresenceSimulation": true,
        });
        let mut added = browser.call("WebAuthn.addVirtualAuthenticator", json!({ "options": authenticator })).await;
        browser.authenticator = added["authenticatorId"].take();
        browser.call("Page.enable", json!({})).await;
        browser.goto(url).await;
        browser
    }

    /// Types an address.
    pub(crate) async fn goto(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        while self.message().await["method"] != "Page.loadEventFired" {}
    }

    /// Switches JavaScript on or off, for the pages from here on.
    pub(crate) async fn scripts(&mut self, are_run: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !are_run })).await;
    }

    /// Has the authenticator forget every passkey.
    pub(crate) async fn forget_passkeys(&mut self) {
        let wish = json!({ "authenticatorId": self.authenticator });
        self.call("WebAuthn.clearCredentials", wish).await;
    }

    /// Types into a field of the page.
    pub(crate) async fn fill(&mut self, field: &str, text: &str) {
        let (field, text) = (json!(field), json!(text));
        self.run(&format!("document.querySelector({field}).value = {text};")).await;
    }

    /// Presses the first button that can be seen and says exactly this.
    pub(crate) async fn press(&mut self, words: &str) {
        let find = format!("[...document.querySelectorAll('button')].find(it => it.innerText === {})", json!(words));
        let press = json!({ "expression": format!("{find}.click()"), "userGesture": true });
        let answer = self.call("Runtime.evaluate", press).await;
        assert!(answer["exceptionDetails"].is_null(), "no button `{words}`: {answer}");
    }

    /// Waits until the page shows this; answers all it shows.
    pub(crate) async fn shows(&mut self, words: &str) -> String {
        let mut seen = String::new();
        let shown = eventually(secs(20), async || {
            // Between two pages there is nothing to be asked.
            let look = json!({ "expression": "document.body.innerText", "returnByValue": true });
            let answer = self.try_call("Runtime.evaluate", look).await.ok()?;
            answer["result"]["value"].as_str().unwrap_or_default().clone_into(&mut seen);
            seen.contains(words).then_some(())
        });
        let shown = shown.await.is_some();
        assert!(shown, "`{words}` never came; the page shows:\n{seen}");
        seen
    }

    /// Runs the body of an asynchronous function on the page; answers what it returns.
    pub(crate) async fn run(&mut self, body: &str) -> Value {
        let wish = json!({
            "expression": format!("(async () => {{ {body} }})()"), "awaitPromise": true, "returnByValue": true,
        });
        let answer = self.call("Runtime.evaluate", wish).await;
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(page) = &self.page {
            message["sessionId"] = json!(page);
        }
        self.tools.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let mut answer = self.message().await;
            if answer["id"] == self.sent {
                return if answer["error"].is_null() { Ok(answer["result"].take()) } else { Err(answer) };
            }
        }
    }

    async fn message(&mut self) -> Value {
        let message = self.tools.next().await.expect("the browser is there").unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
