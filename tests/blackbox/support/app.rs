//! An authenticator app: codes by RFC 6238, computed from the secret as anybody's app would.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use totp_rs::{Builder, Totp};

use super::{Account, Answer, Nauth, Request};

/// An app that knows one secret.
#[derive(Debug)]
pub(crate) struct App {
    totp: Totp,
    /// The secret, as it was shown.
    pub(crate) secret: String,
}

impl App {
    /// An app that was told what `setup-data` answered. `step` is that of the settings.
    #[track_caller]
    pub(crate) fn told(setup: &Value, step: u64) -> Self {
        let secret = setup["secret"].as_str().unwrap_or_else(|| panic!("no secret: {setup}")).to_owned();
        let bytes = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        let totp = Builder::new().with_secret(bytes).with_step_duration(step).with_account_name("x").build().unwrap();
        Self { totp, secret }
    }

    /// The code of now.
    pub(crate) fn code(&self) -> String {
        self.code_at(now())
    }

    /// A code that is no code of these minutes.
    pub(crate) fn wrong_code(&self) -> String {
        let near: Vec<String> = (0..20)
            .flat_map(|n| {
                let by = n * self.totp.step();
                [self.code_at(now() + by), self.code_at(now() - by)]
            })
            .collect();
        (0..100).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
    }

    /// Waits until the present step is over.
    pub(crate) async fn next_step(&self) {
        let next = self.totp.next_step(now());
        while now() < next {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn code_at(&self, at: u64) -> String {
        self.totp.generate(at).to_string()
    }
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "an app looks at the clock on the wall")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Nauth {
    /// Posts JSON as the holder of a token.
    pub(crate) async fn post_as(&self, account: &Account, path: &str, body: &Value) -> Answer {
        self.send(&Request::post(path).bearer(&account.access_token).json(body)).await
    }

    /// Gets as the holder of a token.
    pub(crate) async fn get_as(&self, account: &Account, path: &str) -> Answer {
        self.send(&Request::get(path).bearer(&account.access_token)).await
    }

    /// Sets an app up for an account. Its code of the present step is used then.
    pub(crate) async fn set_up_app(&self, account: &Account, step: u64) -> App {
        let wish = json!({ "methodName": "totp" });
        let setup = self.post_as(account, "/auth/mfa/setup-data", &wish).await.expect(200).json();
        let app = App::told(&setup["setupData"], step);
        let data = json!({ "secret": app.secret, "code": app.code(), "deviceName": "Ada's phone" });
        let answer = json!({ "methodName": "totp", "setupData": data });
        let done = self.post_as(account, "/auth/mfa/verify-setup", &answer).await.expect(200);
        assert!(done.json()["deviceId"].is_i64(), "{done}");
        app
    }

    /// Answers a challenge.
    pub(crate) async fn answer(&self, session: &str, kind: &str, with: Value) -> Answer {
        let mut body = json!({ "session": session, "type": kind });
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        self.send(&Request::post("/auth/respond-challenge").json(&body)).await
    }

    /// Proves a factor.
    pub(crate) async fn prove(&self, session: &str, method: &str, code: &str) -> Answer {
        self.answer(session, "MFA_REQUIRED", json!({ "method": method, "code": code })).await
    }
}

/// The session of the challenge an answer puts.
#[track_caller]
pub(crate) fn challenged(answer: &Answer, kind: &str) -> String {
    let body = answer.json();
    assert_eq!(body["challengeName"], kind, "{answer}");
    body["session"].as_str().unwrap().to_owned()
}
