//! Users of the tests: signed up over the API, with what they hold.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Answer, Nauth, Request};

/// The password of everybody.
pub(crate) const PASSWORD: &str = "a long walk by the sea";

/// A user with a session, by JSON.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The address.
    pub(crate) email: String,
    /// The user.
    pub(crate) sub: String,
    /// The access token.
    pub(crate) access_token: String,
    /// The refresh token.
    pub(crate) refresh_token: String,
}

impl Account {
    /// Reads an answer that brought tokens.
    #[track_caller]
    pub(crate) fn in_answer(answer: &Answer) -> Self {
        let body = answer.json();
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("no tokens: {answer}")).to_owned();
        Self {
            email: text(&body["user"]["email"]),
            sub: text(&body["sub"]),
            access_token: text(&body["accessToken"]),
            refresh_token: text(&body["refreshToken"]),
        }
    }

    /// The tokens as the cookies a browser would send.
    pub(crate) fn cookies(&self) -> String {
        format!("nauth_access_token={}; nauth_refresh_token={}", self.access_token, self.refresh_token)
    }

    /// Only the refresh cookie.
    pub(crate) fn refresh_cookie(&self) -> String {
        format!("nauth_refresh_token={}", self.refresh_token)
    }
}

/// What a token says.
pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

impl Nauth {
    /// Asks for an account and returns whatever is answered.
    pub(crate) async fn try_signup(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.send(&Request::post("/auth/signup").json(&body)).await
    }

    /// Makes an account, answering the code where one is asked for.
    pub(crate) async fn signup(&self, email: &str) -> Account {
        let answer = self.try_signup(email, PASSWORD).await.expect(201);
        let body = answer.json();
        let Some(session) = body["session"].as_str() else { return Account::in_answer(&answer) };
        let code = self.code_for(email).await;
        Account::in_answer(&self.respond(session, &code).await.expect(200))
    }

    /// Logs in and returns whatever is answered.
    pub(crate) async fn try_login(&self, identifier: &str, password: &str) -> Answer {
        let body = json!({ "identifier": identifier, "password": password });
        self.send(&Request::post("/auth/login").json(&body)).await
    }

    /// Logs in.
    pub(crate) async fn login(&self, email: &str) -> Account {
        Account::in_answer(&self.try_login(email, PASSWORD).await.expect(200))
    }

    /// Answers a `VERIFY_EMAIL` challenge.
    pub(crate) async fn respond(&self, session: &str, code: &str) -> Answer {
        let body = json!({ "session": session, "type": "VERIFY_EMAIL", "code": code });
        self.send(&Request::post("/auth/respond-challenge").json(&body)).await
    }

    /// Refreshes by JSON and returns whatever is answered.
    pub(crate) async fn try_refresh(&self, refresh_token: &str) -> Answer {
        let body = json!({ "refreshToken": refresh_token });
        self.send(&Request::post("/auth/refresh").json(&body)).await
    }

    /// Refreshes by JSON.
    pub(crate) async fn refresh(&self, account: &Account) -> Account {
        let answer = self.try_refresh(&account.refresh_token).await.expect(200);
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned();
        Account { access_token: text("accessToken"), refresh_token: text("refreshToken"), ..account.clone() }
    }
}
