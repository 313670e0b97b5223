//! A whole auth API on a database in memory, without sockets, mail or background work.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::FromRequest;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::Value;

use crate::api::context::{Arrival, Asked};
use crate::api::{Api, AuthApi};
use crate::auth::{Auth, Parts, Sightings};
use crate::config::settings::{PasswordHash, Settings, VerificationMethod};
use crate::domain::clock::{Clock, Time};
use crate::domain::id::UserId;
use crate::domain::password_policy::PasswordPolicy;
use crate::domain::password_policy::tests_support::lenient;
use crate::domain::secret::Secret;
use crate::events::{Events, Feed, Outlet, Outputs, Parts as EventParts, Recorder, Wake};
use crate::mail::{Rendered, Renderer};
use crate::metrics::Metrics as Counts;
use crate::outgoing::Outgoing;
use crate::password_hash::Hasher;
use crate::revocation::Revocations;
use crate::sealing::{OUTBOX, Sealer};
use crate::store::db::Db;
use crate::store::outbox::{Channel, OutboxRow};
use crate::store::{Store, migrations};
use crate::tokens::keys::Purpose;
use crate::tokens::{AssertionCache, Keychain, MasterKeys, Wanted};
use crate::transient::Memory;
use crate::webhooks::Webhooks;

/// The password of every test user.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The origin of our own pages.
pub(crate) const ORIGIN: &str = "http://localhost:8080";

/// The defaults, without e-mail verification, with cheap hashes and further origins.
pub(crate) fn settings() -> Settings {
    let mut settings = crate::config::defaults();
    settings.delivery.web_origins = vec![ORIGIN.to_owned(), "http://spa.local".to_owned()];
    settings.delivery.native_origins = vec!["capacitor://localhost".to_owned()];
    settings.security.cors_origins.clone_from(&settings.delivery.web_origins);
    settings.security.password_hash =
        PasswordHash { memory_kib: 8, iterations: 1, parallelism: 1, threads: 1, max_queue: 64 };
    settings.security.csrf.excluded_paths = vec!["/auth/hooks".to_owned()];
    settings.password.policy = Arc::new(PasswordPolicy { min_length: 10, ..lenient() });
    settings.signup.verification_method = VerificationMethod::None;
    settings
}

/// The API, and the hand on its clock.
pub(crate) struct TestNauth {
    api: AuthApi,
    store: Store,
    sealer: Arc<Sealer>,
    pub(crate) auth: Auth,
    pub(crate) clock: Clock,
    metrics: Counts,
    /// Where requests come from.
    client_ip: Mutex<IpAddr>,
}

impl TestNauth {
    pub(crate) async fn start(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let db = Db::in_memory().await.unwrap();
        let clock = Clock::manual(Time::from_secs(1_800_000_000));
        migrations::apply(&db, clock.now()).await.unwrap();
        let store = Store::new(db);
        let masters = MasterKeys { current: Secret::new(vec![7; 32]), previous: Vec::new() };
        let keys = Keychain::open(store.clone(), masters, &Wanted::by(&settings), clock.now()).await.unwrap();
        let sealer = Arc::new(Sealer::new(keys.ring().purpose(Purpose::Outbox)));
        let parts = parts(&settings, keys, Arc::clone(&sealer), store.clone(), &clock);
        let metrics = parts.metrics.clone();
        let auth = Auth::new(settings, Arc::new(parts));
        let client_ip = Mutex::new(IpAddr::from([192, 0, 2, 1]));
        Self { api: AuthApi::new(auth.clone()), store, sealer, auth, clock, metrics, client_ip }
    }

    /// Requests come from this address from now on.
    pub(crate) fn from(&self, address: &str) -> &Self {
        *self.client_ip.lock().unwrap() = address.parse().unwrap();
        self
    }

    fn arrival(&self) -> Arrival {
        let client_ip = *self.client_ip.lock().unwrap();
        Arrival { client_ip, address_is_certain: true, own_origin: ORIGIN.to_owned(), request_id: Arc::from("test") }
    }

    /// Under other settings from now on, as after a reload.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::clone(self.auth.settings());
        change(&mut settings);
        self.auth = self.auth.under(Arc::new(settings));
        self.api = AuthApi::new(self.auth.clone());
    }

    /// The types of ada's entries in the audit trail, oldest first.
    pub(crate) async fn audit_types(&self) -> Vec<String> {
        self.audit_types_of(self.auth.find_user("ada@example.com").await.unwrap().id).await
    }

    /// The types of somebody's entries in the audit trail, oldest first.
    pub(crate) async fn audit_types_of(&self, user: UserId) -> Vec<String> {
        let entries = self.store.audit().of_user(user).await.unwrap();
        entries.into_iter().map(|(kind, _)| kind).collect()
    }

    /// Everything counted so far, as Prometheus reads it.
    pub(crate) fn metrics(&self) -> String {
        self.metrics.render()
    }

    /// Every message written so far that has not been read, oldest first.
    pub(crate) async fn messages(&self) -> Vec<Rendered> {
        let mut bodies = self.sent(Channel::Email).await;
        bodies.extend(self.sent(Channel::Sms).await);
        bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect()
    }

    /// What went out by a channel and has not been read, oldest first.
    pub(crate) async fn sent(&self, channel: Channel) -> Vec<Vec<u8>> {
        let mut tx = self.store.begin().await.unwrap();
        let rows = tx.outbox().claim(channel, self.clock.now(), Duration::from_hours(24 * 365), 1000).await.unwrap();
        tx.commit().await.unwrap();
        let open = |row: &OutboxRow| self.sealer.open(OUTBOX, row.id, &row.sealed).unwrap();
        rows.iter().map(open).collect()
    }

    /// The code of the latest message to somebody: what stands alone on a line.
    pub(crate) async fn code_to(&self, to: &str) -> String {
        let messages = self.messages().await;
        let latest = messages.iter().rfind(|message| message.to == to);
        let text = &latest.unwrap_or_else(|| panic!("no message to {to}")).text;
        let mut lines = text.lines().map(str::trim);
        let is_code = |word: &&str| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_digit());
        // In a mail it stands alone on its line, in a text message between other words.
        let in_line = || text.split(|c: char| !c.is_ascii_digit()).find(is_code);
        lines.find(is_code).or_else(in_line).unwrap_or_else(|| panic!("no code in {text}")).to_owned()
    }

    /// Signs ada up where her address must be proven; answers the challenge.
    pub(crate) async fn ada_unproven(&self) -> Value {
        self.send(post("/auth/signup", &[], &credentials("email"))).await.expect(201).json()
    }

    /// Answers a challenge with a code.
    pub(crate) async fn respond(&self, session: &Value, step: &str, code: &str) -> Answer {
        let body = serde_json::json!({ "session": session, "type": step, "code": code });
        self.send(post("/auth/respond-challenge", &[], &body)).await
    }

    /// Logs somebody in by JSON.
    pub(crate) async fn login(&self, identifier: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "identifier": identifier, "password": password });
        self.send(post("/auth/login", &[], &body)).await
    }

    /// Posts as whoever this token is of.
    pub(crate) async fn post_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send(post(path, &[("authorization", &bearer(token))], body)).await
    }

    /// Gets as whoever this token is of.
    pub(crate) async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(get(path, &[("authorization", &bearer(token))])).await
    }

    /// Deletes as whoever this token is of.
    pub(crate) async fn delete_as(&self, token: &str, path: &str) -> Answer {
        self.send(request("DELETE", path, &[("authorization", &bearer(token))], Bytes::new())).await
    }

    /// Sends a request as the listener would hand it over.
    pub(crate) async fn send(&self, mut request: Request<Bytes>) -> Answer {
        request.extensions_mut().insert(self.arrival());
        Answer(self.api.answer(request).await)
    }

    /// A request as handlers get it, and the API they get it with.
    pub(crate) async fn asked(&self, mut request: Request<Bytes>) -> (&Api, Asked) {
        request.extensions_mut().insert(self.arrival());
        let asked = Asked::from_request(request.map(axum::body::Body::from), &self.api.api).await;
        (&self.api.api, asked.unwrap())
    }

    /// Signs ada up; JSON delivery.
    pub(crate) async fn ada(&self) -> Answer {
        self.send(post("/auth/signup", &[], &credentials("email"))).await.expect(201)
    }
}

fn parts(settings: &Settings, keys: Keychain, sealer: Arc<Sealer>, store: Store, clock: &Clock) -> Parts {
    let metrics = Counts::new();
    let outgoing = Outgoing::new(clock.clone());
    let outlet = Outlet {
        audit: settings.audit.clone(),
        renderer: Renderer::new(&settings.email, &settings.sms).unwrap(),
        notifications: settings.notifications,
        webhooks: Webhooks::new(&settings.webhooks, outgoing.clone()),
        geoip: settings.geoip.databases.clone(),
        outputs: Outputs::default(),
    };
    let revocations = Arc::new(Revocations::new(clock.clone(), metrics.clone()));
    let events = Events::new(EventParts {
        store: store.clone(),
        revocations: Arc::clone(&revocations),
        sealer,
        outlet: arc_swap::ArcSwap::from_pointee(outlet),
        metrics: metrics.clone(),
        recorder: Recorder::default(),
        feed: Feed::default(),
        outbox: Arc::new(Wake::default()),
        leeway_ms: std::sync::atomic::AtomicU64::new(30_000),
        access_ttl_ms: std::sync::atomic::AtomicU64::new(900_000),
        clock: clock.clone(),
    });
    let hasher = Hasher::start(&settings.security.password_hash, &metrics).unwrap();
    Parts {
        store,
        transient: Arc::new(Memory::new(clock.clone())),
        events,
        hasher: arc_swap::ArcSwap::from_pointee(hasher),
        keys,
        assertions: Arc::new(AssertionCache::default()),
        revocations,
        sightings: Sightings::default(),
        outgoing,
        metrics,
        clock: clock.clone(),
    }
}

/// What ada types, the address under `key`.
pub(crate) fn credentials(key: &str) -> Value {
    serde_json::json!({ key: "ada@example.com", "password": PASSWORD })
}

pub(crate) fn get(path: &str, lines: &[(&str, &str)]) -> Request<Bytes> {
    request("GET", path, lines, Bytes::new())
}

pub(crate) fn post(path: &str, lines: &[(&str, &str)], body: &Value) -> Request<Bytes> {
    let mut request = request("POST", path, lines, Bytes::from(body.to_string()));
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    request
}

pub(crate) fn request(method: &str, path: &str, lines: &[(&str, &str)], body: Bytes) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// An answer, read as tests like it.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Response<Bytes>);

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.0.status(), StatusCode::from_u16(status).unwrap(), "{self:?}");
        self
    }

    /// Expects a refusal with this status and code.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json()["code"], code, "{answer:?}");
        answer
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.0.body()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        self.0.headers().get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap()).collect()
    }

    /// The value a cookie is set to; `None` when it is not set or cleared.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.cookies().into_iter();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.split(';').next());
        values.find(|value| !value.is_empty())
    }

    /// Whether a cookie is taken away.
    pub(crate) fn clears(&self, name: &str) -> bool {
        self.cookies().iter().any(|line| line.starts_with(&format!("{name}=; ")) && line.contains("Max-Age=0"))
    }

    /// A string of the body.
    pub(crate) fn text(&self, key: &str) -> String {
        self.json()[key].as_str().unwrap().to_owned()
    }
}

/// `Authorization` with this token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
