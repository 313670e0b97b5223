//! What must be true of everything that reads bytes of a client, whatever they are.
//!
//! Each function takes bytes and fails by panicking. `main.rs` feeds them with random and with nearly
//! right input; the fuzzer (`fuzz/`) feeds them with what it finds.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue};
use nauth::api::context::{Arrival, context};
use nauth::api::cookies::cookies;
use nauth::api::dialect::CookieNames as ApiNames;
use nauth::api::json::object;
use nauth::api::nauth::wire::request;
use nauth::api::return_to;
use nauth::app::World;
use nauth::auth::{Auth, Client};
use nauth::config::settings::{Credentials, QuestionHeaders};
use nauth::config::{Environment, load};
use nauth::domain::clock::Clock;
use nauth::domain::contact::{Email, Identifier, Phone, Username};
use nauth::domain::password_policy;
use nauth::domain::secret::Secret;
use nauth::domain::session::Delivery;
use nauth::gateway::canonical::{Canonical, Host};
use nauth::gateway::credentials::{CookieNames, Presented, without_own};
use nauth::gateway::frames::Frames;
use nauth::gateway::head::{HeadScanner, Scan};
use nauth::gateway::managed::Managed;
use nauth::gateway::verify::question::Question;
use nauth::metrics::Metrics;
use nauth::password_hash::imported::ImportedHash;
use nauth::store::db::Db;
use nauth::store::{Store, migrations};
use nauth::tokens::MasterKeys;
use pingora::http::RequestHeader;

const OWN: &str = "https://app.example.com";
const LISTED: &str = "https://other.example.com:8443";

/// A property of whatever bytes.
pub(crate) type Property = fn(&[u8]);

/// Every property, by the name of its fuzz target.
pub(crate) const ALL: [(&str, Property); 12] = [
    ("path", path),
    ("host", host),
    ("question", question),
    ("head", head),
    ("cookie", cookie),
    ("authorization", authorization),
    ("json_body", json_body),
    ("return_to_page", return_to_page),
    ("device_token", device_token),
    ("contact", contact),
    ("token", token),
    ("password", password),
];

/// A path that is let through has one meaning: it is the same read again, and leads nowhere else.
pub(crate) fn path(data: &[u8]) {
    let host = Host::parse(b"app.example.com").unwrap();
    let Ok(once) = Canonical::parse(data, &host) else { return };
    let twice = Canonical::parse(once.target().as_bytes(), &host).expect("what was canonical stays good");
    assert_eq!(once, twice);
    assert!(once.path().starts_with('/'));
    assert!(once.path().split('/').all(|segment| segment != "." && segment != ".."), "{}", once.path());
    assert!(!once.path().contains("//") && !once.path().contains('\\'), "{}", once.path());
    assert!(once.path().bytes().all(|byte| byte.is_ascii_graphic()), "{}", once.path());
    assert!(!once.target().contains(|c: char| c.is_ascii_control() || c == ' '), "{}", once.target());
}

/// A host that is let through is one name, in one spelling.
pub(crate) fn host(data: &[u8]) {
    let Ok(once) = Host::parse(data) else { return };
    let twice = Host::parse(once.authority().as_bytes()).expect("what was canonical stays good");
    assert_eq!((once.name(), once.authority()), (twice.name(), twice.authority()));
    assert!(!once.name().contains(['/', '@', '?', '#', ' ']), "{}", once.name());
}

/// What another proxy asks about is decided about as it stands, for its upstream gets those very bytes.
pub(crate) fn question(data: &[u8]) {
    let mut head = RequestHeader::build("GET", b"/auth/verify", None).unwrap();
    head.insert_header("x-original-method", "GET").unwrap();
    let Ok(()) = HeaderValue::from_bytes(data).map(|url| head.insert_header("x-original-url", url).unwrap()) else {
        return;
    };
    let managed = Managed::new(auth().settings());
    let Ok(asked) = Question::read(&head, b"", QuestionHeaders::XOriginal, &managed, "https") else { return };
    let canonical = Canonical::parse(&asked.target, &asked.host).expect("what was let through is canonical");
    assert_eq!(canonical.target().as_bytes(), asked.target);
    assert!(data.ends_with(&asked.target) && asked.target.starts_with(b"/"), "{asked:?}");
    assert!(["http", "https"].contains(&asked.scheme), "{asked:?}");
}

/// Where a head ends does not depend on the pieces it comes in; and frames likewise.
pub(crate) fn head(data: &[u8]) {
    let at_once = HeadScanner::default().scan(data);
    let mut scanner = HeadScanner::default();
    let mut by_pieces = Scan::Partial;
    for end in 0..=data.len() {
        by_pieces = scanner.scan(&data[..end]);
        if by_pieces != Scan::Partial {
            break;
        }
    }
    assert_eq!(at_once, by_pieces);

    let (mut whole, mut pieces) = (Frames::default(), Frames::default());
    whole.wrote(data);
    for byte in data {
        pieces.wrote(std::slice::from_ref(byte));
    }
    assert_eq!(whole.at_boundary(), pieces.at_boundary());
}

fn header(name: &http::HeaderName, data: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        headers.append(name, HeaderValue::from_bytes(line).ok()?);
    }
    Some(headers)
}

fn names() -> CookieNames {
    CookieNames::new("nauth_", "nauth_csrf_token")
}

/// Cookies of ours never go on to the upstream, and those of others go on unchanged.
pub(crate) fn cookie(data: &[u8]) {
    let Some(headers) = header(&COOKIE, data) else { return };
    let names = names();
    let others: HashSet<(String, String)> = cookies(&headers)
        .filter(|(name, _)| !names.is_own(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut passed = HeaderMap::new();
    passed.extend(without_own(&headers, &names).map(|line| (COOKIE, line)));
    for (name, value) in cookies(&passed) {
        assert!(!names.is_own(name), "{name} goes on to the upstream");
        assert!(others.contains(&(name.to_owned(), value.to_owned())), "{name} was not there before");
    }
    let both = Credentials { session: true, bearer: true };
    if let Ok(presented) = Presented::read(&headers, &names, both) {
        let values: HashSet<&str> = cookies(&headers).map(|(_, value)| value).collect();
        assert!(presented.access.iter().chain(&presented.refresh).all(|value| values.contains(value)));
        assert!(presented.access.len() <= 16 && presented.refresh.len() <= 16);
    }
}

/// Whoever claims to show a bearer token is not taken for somebody by a cookie.
pub(crate) fn authorization(data: &[u8]) {
    let Some(mut headers) = header(&AUTHORIZATION, data) else { return };
    headers.insert(COOKIE, HeaderValue::from_static("nauth_access_token=cookie"));
    let claims = headers.get_all(AUTHORIZATION).iter().any(|line| {
        let line = line.as_bytes();
        line.len() >= 6 && line[..6].eq_ignore_ascii_case(b"bearer") && line.get(6).is_none_or(u8::is_ascii_whitespace)
    });
    match Presented::read(&headers, &names(), Credentials { session: true, bearer: true }) {
        Ok(presented) => assert_eq!(presented.bearer.is_some(), claims, "{presented:?}"),
        Err(_) => assert!(claims),
    }
}

/// A body is an object that every endpoint reads or refuses, and what is read is in its one form.
pub(crate) fn json_body(data: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Ok(body) = object(&headers, &Bytes::copy_from_slice(data)) else { return };
    let client = || Client::new("nauth", Delivery::Json);
    if let Ok(signup) = request::signup(&body, client()) {
        assert_eq!(signup.email.as_str().parse::<Email>().as_ref().map(Email::as_str), Ok(signup.email.as_str()));
        assert!(signup.first_name.is_none_or(|name| (1..=100).contains(&name.chars().count())));
    }
    if let Ok(login) = request::login(&body, client()) {
        assert!(login.identifier.as_str().chars().count() <= 255);
    }
    let _ = request::respond(&body, client());
    let _ = request::forgot_password(&body);
    let _ = request::reset_password(&body, false);
    let _ = request::change_password(&body);
    let _ = request::reauthenticate(&body);
    let _ = request::profile(&body);
    let _ = request::verify_contact(&body);
    let _ = request::challenge(&body);
    let _ = request::refresh(&body);
}

/// A way back is one of ours, or of a listed origin, as a browser would read it.
pub(crate) fn return_to_page(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let listed = [LISTED.to_owned()];
    let Some(safe) = return_to::safe(text, OWN, &listed) else { return };
    let url = url::Url::parse(OWN).unwrap().join(&safe).expect("a browser can follow it");
    let origin = url.origin().ascii_serialization();
    assert!(origin == OWN || origin == LISTED, "{text:?} leads to {origin}");
    assert!(url.username().is_empty() && url.password().is_none(), "{safe}");
    assert_eq!(return_to::safe(&safe, OWN, &listed).as_deref(), Some(safe.as_str()), "{text:?}");
}

/// A device token is short text, or it is none.
pub(crate) fn device_token(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("x-device-token", value);
    let names = ApiNames {
        access: "nauth_access_token".to_owned(),
        refresh: "nauth_refresh_token".to_owned(),
        device: "nauth_device_token".to_owned(),
        csrf: "nauth_csrf_token".to_owned(),
    };
    let arrival = Arrival {
        client_ip: [192, 0, 2, 1].into(),
        address_is_certain: true,
        own_origin: OWN.to_owned(),
        request_id: Arc::from("x"),
    };
    if let Some(token) = context(&arrival, &headers, &names).device_token {
        assert!(!token.is_empty() && token.len() <= 128, "{token}");
    }
}

/// What names somebody is in one form, whichever way it is typed.
pub(crate) fn contact(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(email) = text.parse::<Email>() {
        assert_eq!(email.as_str().parse::<Email>().expect("its own form is good").as_str(), email.as_str());
        let shouted = email.as_str().to_ascii_uppercase().parse::<Email>();
        assert_eq!(shouted.expect("letter case is no matter").as_str(), email.as_str());
        assert!(email.as_str().chars().count() <= 255 && !email.as_str().chars().any(char::is_control));
        assert!(!email.masked().is_empty());
    }
    if let Ok(username) = text.parse::<Username>() {
        assert_eq!(username.as_str().parse::<Username>().expect("its own form is good").as_str(), username.as_str());
    }
    if let Ok(phone) = text.parse::<Phone>() {
        assert!(phone.as_str().starts_with('+') && phone.as_str()[1..].bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(phone.as_str().parse::<Phone>().expect("its own form is good").as_str(), phone.as_str());
        let _ = (phone.country(), phone.masked());
    }
    let identifier = Identifier::read(text);
    assert_eq!(Identifier::read(identifier.as_str()).as_str(), identifier.as_str());
    let _ = identifier.masked();
}

/// Nothing verifies but what was made here.
pub(crate) fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let verifier = auth().verifier();
    assert!(verifier.verify(text).is_err(), "{text}");
    assert!(verifier.verify_refresh(text).is_err(), "{text}");
}

/// Passwords have one form, a policy decides about every one, and a hash that is read is bounded.
pub(crate) fn password(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let normal = password_policy::normalise(text);
    assert_eq!(password_policy::normalise(&normal), normal);
    let about = password_policy::About { email: "ada@example.com", ..password_policy::About::default() };
    if auth().settings().password.policy.check(text, &about).is_ok() {
        assert!((10..=128).contains(&normal.chars().count()));
    }
    let _ = ImportedHash::parse(text);
}

/// The use cases on a database in memory, with keys that only this process has.
pub(crate) fn auth() -> &'static Auth {
    static WORLD: OnceLock<World> = OnceLock::new();
    let world = WORLD.get_or_init(|| {
        let runtime = Box::leak(Box::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()));
        runtime.block_on(world())
    });
    &world.auth
}

async fn world() -> World {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let directory = std::env::temp_dir().join(format!("nauth-properties-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file: PathBuf = directory.join("nauth.toml");
    let text = "[[upstreams]]\nname = \"app\"\ntargets = [\"whoami:\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";
    std::fs::write(&file, text).unwrap();
    let settings = load(&file, &Environment::default()).unwrap().settings;
    std::fs::remove_dir_all(&directory).unwrap();
    let db = Db::in_memory().await.unwrap();
    migrations::apply(&db, Clock::system().now()).await.unwrap();
    let masters = MasterKeys { current: Secret::new(uuid::Uuid::new_v4().as_bytes().repeat(2)), previous: vec![] };
    World::build(&settings, Store::new(db), &masters, Clock::system(), Metrics::new()).await.unwrap()
}
