//! A user who signs up, logs in and out, refreshes and changes passwords, on whichever node is reached.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use nauth::domain::id::random_number;
use serde_json::{Value, json};

use super::dice;
use super::ledger::Ledger;
use crate::support::{Mailbox, millis, secs};

/// What one account does before the next one is made.
const ACTS: usize = 14;
/// Mail that was on its way when a node died comes when its lease has ended, which nobody here waits for.
const MAIL_PATIENCE: std::time::Duration = secs(4);
/// What a page is made of.
const PARTS: usize = 6;
/// Former passwords of an account that are tried at the end.
const TRIED: usize = 3;

/// One of those who work side by side.
pub(super) struct Client {
    nodes: [SocketAddr; 2],
    mailbox: Arc<Mailbox>,
    ledger: Arc<Ledger>,
    http: reqwest::Client,
    accounts: Vec<Account>,
}

/// What a client knows of an account.
struct Account {
    email: String,
    /// One of them is right; several where nobody was told how a change ended.
    passwords: Vec<String>,
    former: Vec<String>,
    sessions: Vec<Session>,
    /// Codes that were mailed so far.
    mails: usize,
}

struct Session {
    access: String,
    refresh: String,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Live,
    /// Nobody was told whether it has ended.
    Unknown,
    /// It was said to have ended, then.
    Ended(Instant),
}

/// What came back from a node.
struct Answer {
    status: u16,
    body: Value,
    /// Name and value.
    cookies: Vec<(String, String)>,
}

/// What a request shows of who sends it.
#[derive(Clone, Copy)]
enum Shown<'a> {
    Nothing,
    Bearer(&'a str),
    /// The refresh cookie: the access cookie has lapsed.
    RefreshCookie(&'a str),
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn session(&self) -> Option<Session> {
        let text = |name: &str| self.body[name].as_str().map(str::to_owned);
        Some(Session { access: text("accessToken")?, refresh: text("refreshToken")?, fate: Fate::Live })
    }

    /// The same, of an answer to a browser. Cookies that are taken away bring nothing.
    fn session_in_cookies(&self) -> Option<Session> {
        let cookie = |wanted: &str| {
            let of_name = self.cookies.iter().find(|(name, _)| name == wanted);
            of_name.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let (access, refresh) = (cookie("nauth_access_token")?, cookie("nauth_refresh_token")?);
        Some(Session { access, refresh, fate: Fate::Live })
    }
}

impl Client {
    pub(super) fn new(nodes: [SocketAddr; 2], mailbox: Arc<Mailbox>, ledger: Arc<Ledger>) -> Self {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(secs(15)).build().unwrap();
        Self { nodes, mailbox, ledger, http, accounts: Vec::new() }
    }

    /// Uses one account after the other, until enough has happened.
    pub(super) async fn works(mut self) -> Self {
        while !self.ledger.is_full() {
            let Some(mut account) = self.signs_up().await else { continue };
            for _ in 0..ACTS {
                if self.ledger.is_full() {
                    break;
                }
                self.acts(&mut account).await;
            }
            self.accounts.push(account);
        }
        self
    }

    async fn acts(&self, account: &mut Account) {
        match dice(12) {
            0 | 1 => self.logs_in(account).await,
            2..=4 => self.refreshes(account).await,
            5 | 6 => self.opens_a_page(account).await,
            7 => self.logs_out(account).await,
            8 => self.logs_out_everywhere(account).await,
            9 => self.changes_password(account).await,
            10 => self.resets_password(account).await,
            _ => self.tries_what_has_ended(account).await,
        }
    }

    async fn signs_up(&self) -> Option<Account> {
        let (email, password) = (format!("u{:x}@example.com", random_number()), new_password());
        let answer = self.posts("/auth/signup", None, &json!({ "email": email, "password": password })).await;
        let Some(answer) = answer.filter(|answer| answer.status == 201) else {
            tokio::time::sleep(millis(100)).await;
            return None;
        };
        self.ledger.done("signup");
        let challenge = answer.body["session"].as_str()?.to_owned();
        let mut account = Account { email, passwords: vec![password], former: vec![], sessions: vec![], mails: 1 };
        let code = self.mailbox.code_for(&account.email, 0, MAIL_PATIENCE).await;
        if let Some(code) = code {
            let body = json!({ "session": challenge, "type": "VERIFY_EMAIL", "code": code });
            let answers = self.posts_to_both("/auth/respond-challenge", &body, &body).await;
            let mut sessions: Vec<_> = answers.iter().flatten().filter_map(Answer::session).collect();
            if sessions.len() > 1 {
                self.ledger.wrong(format!("a code worked twice: {}", account.email));
            }
            account.sessions.extend(sessions.pop());
        }
        Some(account)
    }

    async fn logs_in(&self, account: &mut Account) {
        let mut refused = 0;
        for password in &account.passwords {
            let body = json!({ "identifier": account.email, "password": password });
            let Some(answer) = self.posts("/auth/login", None, &body).await else { return };
            match answer.status {
                200 => {
                    self.ledger.done("login");
                    account.mails = self.mailbox.codes_for(&account.email);
                    account.sessions.extend(answer.session());
                    return;
                }
                401 => refused += 1,
                status => return self.ledger.wrong(format!("a login answered {status}: {}", answer.body)),
            }
        }
        if refused == account.passwords.len() {
            self.ledger.wrong(format!("no password of {} is right", account.email));
        }
    }

    /// With the same token on both nodes at once.
    async fn refreshes(&self, account: &mut Account) {
        let Some(session) = account.a_session() else { return };
        let body = json!({ "refreshToken": session.refresh });
        let answers = self.posts_to_both("/auth/refresh", &body, &body).await;
        self.goes_on_with(session, answers.into_iter().flatten().map(|answer| (answer.session(), answer)).collect());
    }

    /// A page of several parts, when the access cookie has lapsed: every part comes with the old cookies.
    async fn opens_a_page(&self, account: &mut Account) {
        let Some(session) = account.a_session() else { return };
        let shown = Shown::RefreshCookie(&session.refresh);
        let parts = join_all((0..PARTS).map(|part| self.asks(part % 2, "/page", shown, None))).await;
        let answers = parts.into_iter().flatten().map(|answer| (answer.session_in_cookies(), answer)).collect();
        self.goes_on_with(session, answers);
    }

    /// Takes over the tokens that several answers to one refresh brought; they must agree.
    fn goes_on_with(&self, session: &mut Session, answers: Vec<(Option<Session>, Answer)>) {
        let mut tokens = Vec::new();
        for (new, answer) in answers {
            if let Some(new) = new {
                self.ledger.issued(&new.refresh);
                tokens.push(new);
            } else if answer.code() == "AUTH_TOKEN_REUSE_DETECTED" {
                self.ledger.wrong("somebody honest was taken for a thief".to_owned());
            } else if session.fate != Fate::Live && answer.status == 401 {
                session.fate = Fate::Ended(Instant::now());
            } else {
                self.ledger.wrong(format!("a refresh answered {}: {}", answer.status, answer.body));
            }
        }
        if let [first, rest @ ..] = tokens.as_slice() {
            self.ledger.done("refresh");
            if matches!(session.fate, Fate::Ended(_)) || rest.iter().any(|other| other.refresh != first.refresh) {
                self.ledger.wrong("the answers to one refresh do not agree".to_owned());
            }
            (session.access, session.refresh) = (first.access.clone(), first.refresh.clone());
        }
    }

    async fn logs_out(&self, account: &mut Account) {
        let Some(session) = account.a_session() else { return };
        match self.posts("/auth/logout", Some(&session.access), &json!({})).await {
            Some(answer) if answer.status == 200 => {
                self.ledger.done("logout");
                session.fate = Fate::Ended(Instant::now());
            }
            Some(answer) => self.is_no_wonder(session, &answer),
            None => session.fate = Fate::Unknown,
        }
    }

    async fn logs_out_everywhere(&self, account: &mut Account) {
        let Some(session) = account.a_session() else { return };
        match self.posts("/auth/logout/all", Some(&session.access), &json!({})).await {
            Some(answer) if answer.status == 200 => {
                self.ledger.done("logout everywhere");
                account.all_are(Fate::Ended(Instant::now()));
            }
            Some(answer) => self.is_no_wonder(session, &answer),
            None => account.all_are(Fate::Unknown),
        }
    }

    async fn changes_password(&self, account: &mut Account) {
        let (new, old) = (new_password(), account.passwords.clone());
        // Whoever does not know the password cannot change it.
        let [old] = old.as_slice() else { return };
        let Some(session) = account.a_session() else { return };
        let body = json!({ "oldPassword": old, "newPassword": new });
        match self.posts("/auth/change-password", Some(&session.access), &body).await {
            Some(answer) if answer.status == 200 => {
                self.ledger.done("new password");
                account.has_now(new);
            }
            Some(answer) => self.is_no_wonder(session, &answer),
            None => {
                account.passwords.push(new);
                account.all_are(Fate::Unknown);
            }
        }
    }

    /// With one code on both nodes at once, and a password for each.
    async fn resets_password(&self, account: &mut Account) {
        account.mails = self.mailbox.codes_for(&account.email);
        let body = json!({ "identifier": account.email });
        let asked = self.posts("/auth/forgot-password", None, &body).await;
        if asked.is_none_or(|answer| answer.status != 200) {
            return;
        }
        let Some(code) = self.mailbox.code_for(&account.email, account.mails, MAIL_PATIENCE).await else { return };
        let new = [new_password(), new_password()];
        let confirm = |new: &String| json!({ "identifier": account.email, "code": code, "newPassword": new });
        let answers = self.posts_to_both("/auth/forgot-password/confirm", &confirm(&new[0]), &confirm(&new[1])).await;
        let worked = |answer: &Option<Answer>| answer.as_ref().is_some_and(|answer| answer.status == 200);
        match [worked(&answers[0]), worked(&answers[1])] {
            [true, true] => self.ledger.wrong(format!("a reset code worked twice: {}", account.email)),
            [false, false] if answers.iter().any(Option::is_none) => {
                account.passwords.extend(new);
                account.all_are(Fate::Unknown);
            }
            [false, false] => {}
            [first, _] => {
                self.ledger.done("reset");
                let [one, other] = new;
                account.has_now(if first { one } else { other });
            }
        }
    }

    /// What has ended is never refreshed, and no node lets it in once it can know.
    async fn tries_what_has_ended(&self, account: &Account) {
        for session in &account.sessions {
            let Fate::Ended(at) = session.fate else { continue };
            let is_due = self.ledger.is_due(at);
            let refresh = self.posts("/auth/refresh", None, &json!({ "refreshToken": session.refresh })).await;
            if refresh.is_some_and(|answer| answer.status == 200) {
                self.ledger.wrong(format!("what has ended was refreshed: {}", account.email));
            }
            for node in 0..self.nodes.len() {
                let let_in = self.asks(node, "/", Shown::Bearer(&session.access), None).await;
                match let_in.map(|answer| answer.status) {
                    Some(200) if is_due && self.ledger.is_due(at) => {
                        self.ledger.wrong(format!("what has ended was let in: {}", account.email));
                    }
                    Some(401) => self.ledger.done("revocation held"),
                    _ => {}
                }
            }
        }
    }

    /// When everything is up again: every password and every session is as was said.
    pub(super) async fn settles_accounts(&self) {
        for account in &self.accounts {
            self.settles(account).await;
        }
    }

    async fn settles(&self, account: &Account) {
        let email = &account.email;
        let mut right = 0;
        for password in &account.passwords {
            right += usize::from(self.opens(email, password).await == 200);
        }
        if right != 1 {
            let known = account.passwords.len();
            self.ledger.wrong(format!("{right} of {known} passwords of {email} are right"));
        }
        for password in account.former.iter().rev().take(TRIED) {
            let status = self.opens(email, password).await;
            if status != 401 {
                self.ledger.wrong(format!("a former password of {email}: {status}"));
            }
        }
        for session in &account.sessions {
            let Fate::Ended(_) = session.fate else { continue };
            let refresh = self.certainly("/auth/refresh", &json!({ "refreshToken": session.refresh })).await;
            if refresh != 401 {
                self.ledger.wrong(format!("what has ended was refreshed at the end, {refresh}: {email}"));
            }
            for node in 0..self.nodes.len() {
                let status =
                    self.asks(node, "/", Shown::Bearer(&session.access), None).await.map(|answer| answer.status);
                if status != Some(401) {
                    self.ledger.wrong(format!("what has ended was let in at the end, {status:?}: {email}"));
                }
            }
        }
    }

    async fn opens(&self, email: &str, password: &str) -> u16 {
        self.certainly("/auth/login", &json!({ "identifier": email, "password": password })).await
    }

    /// The status of an answer that must come, now that everything is up.
    async fn certainly(&self, path: &str, body: &Value) -> u16 {
        for _ in 0..50 {
            if let Some(answer) = self.posts(path, None, body).await {
                return answer.status;
            }
            tokio::time::sleep(millis(200)).await;
        }
        0
    }

    /// A session whose end nobody confirmed may have ended.
    fn is_no_wonder(&self, session: &mut Session, answer: &Answer) {
        if session.fate == Fate::Unknown && answer.status == 401 {
            session.fate = Fate::Ended(Instant::now());
        } else {
            self.ledger.wrong(format!("a {:?} session answered {}: {}", session.fate, answer.status, answer.body));
        }
    }

    async fn posts(&self, path: &str, bearer: Option<&str>, body: &Value) -> Option<Answer> {
        self.asks(dice(2), path, bearer.map_or(Shown::Nothing, Shown::Bearer), Some(body)).await
    }

    /// Both at once; the answers in the order of the nodes.
    async fn posts_to_both(&self, path: &str, first: &Value, second: &Value) -> [Option<Answer>; 2] {
        let (one, other) = tokio::join!(
            self.asks(0, path, Shown::Nothing, Some(first)),
            self.asks(1, path, Shown::Nothing, Some(second))
        );
        [one, other]
    }

    /// `None` when nobody was told what came of it: the node was gone, or could not serve. What a
    /// node that died had sent to its database may still arrive, so nothing is said for a moment.
    async fn asks(&self, node: usize, path: &str, shown: Shown<'_>, body: Option<&Value>) -> Option<Answer> {
        let answer = self.tries_to_ask(node, path, shown, body).await;
        if answer.is_none() {
            tokio::time::sleep(millis(200)).await;
        }
        answer
    }

    async fn tries_to_ask(&self, node: usize, path: &str, shown: Shown<'_>, body: Option<&Value>) -> Option<Answer> {
        let url = format!("http://{}{path}", self.nodes[node]);
        let mut request = match body {
            Some(body) => self.http.post(url).header("content-type", "application/json").body(body.to_string()),
            None => self.http.get(url),
        };
        request = match shown {
            Shown::Nothing => request,
            Shown::Bearer(token) => request.bearer_auth(token),
            Shown::RefreshCookie(token) => request.header("cookie", format!("nauth_refresh_token={token}")),
        };
        let answer = request.send().await.inspect_err(|error| self.minds_waiting(path, error)).ok()?;
        let status = answer.status().as_u16();
        let has_advice = answer.headers().contains_key("retry-after");
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().filter_map(name_and_value).collect();
        let text = answer.text().await.inspect_err(|error| self.minds_waiting(path, error)).ok()?;
        match status {
            503 if has_advice && cookies.is_empty() => None,
            500.. => {
                self.ledger.wrong(format!("{path} answered {status}: {text}"));
                None
            }
            _ => Some(Answer { status, body: serde_json::from_str(&text).unwrap_or_default(), cookies }),
        }
    }

    fn minds_waiting(&self, path: &str, error: &reqwest::Error) {
        if error.is_timeout() {
            self.ledger.wrong(format!("{path} did not answer"));
        }
    }
}

impl Account {
    /// One that is not known to have ended.
    fn a_session(&mut self) -> Option<&mut Session> {
        let mut living: Vec<_> =
            self.sessions.iter_mut().filter(|session| !matches!(session.fate, Fate::Ended(_))).collect();
        if living.is_empty() { None } else { Some(living.swap_remove(dice(living.len()))) }
    }

    fn all_are(&mut self, fate: Fate) {
        for session in &mut self.sessions {
            if !matches!(session.fate, Fate::Ended(_)) {
                session.fate = fate;
            }
        }
    }

    /// This password, and no other one any more; every session has ended.
    fn has_now(&mut self, password: String) {
        self.former.append(&mut self.passwords);
        self.passwords = vec![password];
        self.all_are(Fate::Ended(Instant::now()));
    }
}

fn name_and_value(line: &reqwest::header::HeaderValue) -> Option<(String, String)> {
    let (name, value) = line.to_str().ok()?.split(';').next()?.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

fn new_password() -> String {
    format!("the sea was {:x} and {:x}", random_number(), random_number())
}
