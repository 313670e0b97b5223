//! A whole auth API on a database in memory, without sockets, mail or background work.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequest;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::Notify;

use crate::api::context::{Arrival, Asked};
use crate::api::{Api, AuthApi};
use crate::auth::{Auth, Parts, Sightings};
use crate::config::settings::{self, *};
use crate::domain::clock::{Clock, Time};
use crate::events::{Events, Parts as EventParts, Recorder};
use crate::mail::render::Renderer;
use crate::metrics::Metrics as Counts;
use crate::password_hash::Hasher;
use crate::revocation::Revocations;
use crate::sealing::Sealer;
use crate::store::db::Db;
use crate::store::{Store, migrations};
use crate::tokens::KeyRing;
use crate::tokens::keys::Purpose;
use crate::transient::Memory;

/// The password of every test user.
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The origin of our own pages.
pub(crate) const ORIGIN: &str = "http://localhost:8080";

/// The shipped defaults, without e-mail verification and with cheap hashes.
pub(crate) fn settings() -> Settings {
    let cookie = |same_site| CookieFlags {
        secure: false,
        same_site,
        path: "/".to_owned(),
        domain: None,
        priority: CookiePriority::High,
    };
    Settings {
        files: vec![],
        server: server(),
        management: Management { addr: "127.0.0.1:9901".parse().unwrap(), token: None },
        reload: Reload { watch: false, debounce: Duration::from_millis(500) },
        secrets: Secrets { master_key: None, previous: vec![] },
        database: Database {
            path: "nauth.db".into(),
            max_connections: 2,
            acquire_timeout: Duration::from_secs(5),
            migrate: true,
        },
        jwt: Jwt {
            algorithm: HmacAlgorithm::Hs256,
            issuer: ORIGIN.to_owned(),
            audience: vec![ORIGIN.to_owned()],
            access_ttl: Duration::from_mins(15),
            refresh_ttl: Duration::from_hours(7 * 24),
            refresh_grace: Duration::from_secs(10),
            leeway: Duration::from_secs(30),
            access_secret: None,
            refresh_secret: None,
        },
        session: Session {
            max_lifetime: Duration::from_hours(30 * 24),
            revocation_poll: Duration::from_millis(500),
            revocation_max_stale: Duration::from_mins(1),
        },
        delivery: Delivery {
            method: DeliveryMethod::Hybrid,
            hybrid_default: HybridDefault::Auto,
            cookie_prefix: "nauth_".to_owned(),
            cookie: cookie(SameSite::Lax),
            web_origins: vec![ORIGIN.to_owned(), "http://spa.local".to_owned()],
            native_origins: vec!["capacitor://localhost".to_owned()],
            refresh_ttl_cookies: Duration::from_hours(7 * 24),
            refresh_ttl_json: Duration::from_hours(7 * 24),
        },
        security: Security {
            mask_sensitive: true,
            return_to_origins: vec![],
            password_hash: PasswordHash { memory_kib: 8, iterations: 1, parallelism: 1, threads: 1, max_queue: 64 },
            csrf: Csrf {
                cookie_name: "nauth_csrf_token".to_owned(),
                header_name: HeaderName::from_static("x-csrf-token"),
                excluded_paths: vec!["/auth/hooks".to_owned()],
                cookie: cookie(SameSite::Strict),
            },
            cors_origins: vec![ORIGIN.to_owned(), "http://spa.local".to_owned()],
            cors_max_age: Duration::from_mins(10),
        },
        signup: signup(),
        login: Login { email: true, username: true, login_url: "/auth/ui/login".to_owned() },
        password: Password { min_length: 10, max_length: 128 },
        challenge: Challenge { ttl: Duration::from_mins(15), max_attempts: 3 },
        email: Email {
            provider: EmailProvider::Console,
            from: "nauth <no-reply@localhost>".to_owned(),
            reply_to: None,
            vars: EmailVars {
                app_name: "nauth".to_owned(),
                support_email: String::new(),
                brand_color: "#4f46e5".to_owned(),
            },
        },
        log: Log { format: LogFormat::Text, level: "info".to_owned(), redact_pii: true, access_log: false },
        metrics: Metrics { enabled: true, path: "/metrics".to_owned(), per_route_labels: true },
        api: settings::Api {
            prefix: "/auth".to_owned(),
            groups: vec![ApiGroup::Core, ApiGroup::Profile, ApiGroup::Device],
            exclude: vec![],
        },
        gateway: Gateway {
            api_prefixes: vec!["/api".to_owned()],
            strip_request_headers: vec![],
            strip_credentials: true,
            forwarded_headers: true,
            auto_refresh: true,
            identity: Identity { allow_unverified: false, user: IdentityUser::Sub, preset: IdentityPreset::Standard },
        },
        upstreams: BTreeMap::new(),
        routes: vec![],
    }
}

fn server() -> Server {
    Server {
        public_url: PublicUrl {
            scheme: "http".to_owned(),
            host: "localhost".to_owned(),
            authority: "localhost:8080".to_owned(),
            origin: ORIGIN.to_owned(),
        },
        listen: "127.0.0.1:8080".parse().unwrap(),
        data_dir: "data".into(),
        threads: 1,
        trusted_proxies: vec![],
        client_ip_header: ClientIpHeader::XForwardedFor,
        max_body: 10 << 20,
        header_timeout: Duration::from_secs(10),
        body_read_timeout: Duration::from_secs(30),
        keepalive_timeout: Duration::from_mins(1),
        keepalive_requests: 1000,
        max_connections_per_ip: 0,
        max_header: 32 << 10,
        request_timeout: Duration::from_mins(1),
        shutdown_grace: Duration::from_secs(30),
    }
}

fn signup() -> Signup {
    Signup {
        enabled: true,
        verification_method: VerificationMethod::None,
        username: UsernameRule::Optional,
        default_roles: vec!["user".parse().unwrap()],
        metadata_keys: MetadataKeys::Any,
        metadata_max: 4096,
        email_verification: EmailVerification {
            code_length: 6,
            ttl: Duration::from_mins(10),
            max_attempts: 3,
            resend_delay: Duration::from_mins(1),
            send_limit: Window { max: 3, window: Duration::from_hours(1) },
        },
    }
}

/// The API, and the hand on its clock.
pub(crate) struct TestApi {
    api: AuthApi,
    pub(crate) auth: Auth,
    pub(crate) clock: Clock,
}

impl TestApi {
    pub(crate) async fn start(settings: Settings) -> Self {
        let db = Db::in_memory().await.unwrap();
        let clock = Clock::manual(Time::from_secs(1_800_000_000));
        migrations::apply(&db, clock.now()).await.unwrap();
        let auth = Auth::new(Arc::new(settings.clone()), Arc::new(parts(&settings, Store::new(db), &clock)));
        Self { api: AuthApi::new(auth.clone()), auth, clock }
    }

    /// Sends a request as the listener would hand it over.
    pub(crate) async fn send(&self, mut request: Request<Bytes>) -> Answer {
        request.extensions_mut().insert(arrival());
        Answer(self.api.answer(request).await)
    }

    /// A request as handlers get it, and the API they get it with.
    pub(crate) async fn asked(&self, mut request: Request<Bytes>) -> (&Api, Asked) {
        request.extensions_mut().insert(arrival());
        let asked = Asked::from_request(request.map(axum::body::Body::from), &self.api.api).await;
        (&self.api.api, asked.unwrap())
    }

    /// Signs ada up; JSON delivery.
    pub(crate) async fn ada(&self) -> Answer {
        self.send(post("/auth/signup", &[], &credentials("email"))).await.expect(201)
    }
}

fn arrival() -> Arrival {
    let client_ip = IpAddr::from([192, 0, 2, 1]);
    Arrival { client_ip, own_origin: ORIGIN.to_owned(), request_id: Arc::from("test") }
}

fn parts(settings: &Settings, store: Store, clock: &Clock) -> Parts {
    let (keys, metrics) = (KeyRing::ephemeral(), Counts::new());
    let revocations = Arc::new(Revocations::new(clock.clone(), metrics.clone()));
    let events = Events::new(EventParts {
        store: store.clone(),
        revocations: Arc::clone(&revocations),
        sealer: Arc::new(Sealer::new(keys.purpose(Purpose::Outbox))),
        renderer: arc_swap::ArcSwap::from_pointee(Renderer::new(settings.email.vars.clone())),
        metrics: metrics.clone(),
        recorder: Recorder::default(),
        outbox: Arc::new(Notify::new()),
        leeway_ms: std::sync::atomic::AtomicU64::new(30_000),
        clock: clock.clone(),
    });
    let hasher = Hasher::start(&settings.security.password_hash, &metrics).unwrap();
    Parts {
        store,
        transient: Arc::new(Memory::new(clock.clone())),
        events,
        hasher: arc_swap::ArcSwap::from_pointee(hasher),
        keys,
        revocations,
        sightings: Sightings::default(),
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
