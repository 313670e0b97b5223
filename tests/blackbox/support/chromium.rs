//! A real browser without a screen, driven over the `DevTools` protocol, with an authenticator of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// The browser; it ends with its owner.
pub(crate) struct Chromium {
    process: Child,
    tools: WebSocketStream<TcpStream>,
    page: Option<String>,
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
        let mut browser = Self { process, tools, page: None, sent: 0, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let wish = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", wish).await;
        browser.page = Some(attached["sessionId"].as_str().unwrap().to_owned());
        browser.call("WebAuthn.enable", json!({})).await;
        let authenticator = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "automaticPresenceSimulation": true,
        });
        browser.call("WebAuthn.addVirtualAuthenticator", json!({ "options": authenticator })).await;
        browser.call("Page.enable", json!({})).await;
        browser.call("Page.navigate", json!({ "url": url })).await;
        while browser.message().await["method"] != "Page.loadEventFired" {}
        browser
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
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(page) = &self.page {
            message["sessionId"] = json!(page);
        }
        self.tools.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let mut answer = self.message().await;
            if answer["id"] == self.sent {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
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
