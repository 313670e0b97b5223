//! Described requests meet written rules.

use super::*;
use crate::config::{Environment, load};
use crate::domain::assurance::Aal;

const RULES: &str = r#"
[server]
public_url = "https://app.example.com"
[email]
provider = "smtp"
[email.smtp]
url = "smtp://localhost:25"
[[upstreams]]
name = "app"
targets = ["http://127.0.0.1:1"]
[[routes]]
name = "admin"
path = "/admin"
upstream = "app"
roles = ["admin"]
min_aal = 2
[[routes]]
name = "orders"
path = "/api/orders"
upstream = "app"
methods = ["GET", "POST"]
scopes = ["orders"]
[[routes]]
name = "proven"
path = "/proven"
upstream = "app"
verified_email = true
max_auth_age = "15m"
[[routes]]
name = "open"
hosts = ["open.example.com"]
path = "/open"
upstream = "app"
access = "public"
[[routes]]
name = "socket"
path = "/socket"
upstream = "app"
websocket = true
allow_ips = ["10.0.0.0/8"]
"#;

fn policy() -> Policy {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nauth.toml");
    std::fs::write(&file, RULES).unwrap();
    Policy::new(&load(&file, &Environment::default()).unwrap().settings)
}

fn known(roles: &[&str]) -> Persona {
    Persona { roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..Persona::default() }
}

#[test]
fn described_requests_get_what_real_ones_would() {
    let policy = policy();
    let now = Time::from_secs(1_000_000);
    let user = known(&["user"]);
    let admin = Persona { aal: Aal::Two, ..known(&["admin"]) };
    let weak = known(&["admin"]);
    let granted = Persona { scopes: vec!["orders".to_owned()], ..Persona::default() };
    let unproven = Persona { email_verified: false, ..Persona::default() };
    let old = Persona { auth_age: Duration::from_mins(16), ..Persona::default() };
    let cases = [
        ("GET https://app.example.com/admin/x", None, "login", "admin"),
        ("POST /admin", None, "deny:no_session", "admin"),
        ("GET /admin", Some(&user), "deny:role", "admin"),
        ("GET /admin", Some(&weak), "step_up", "admin"),
        ("POST /admin", Some(&weak), "step_up", "admin"),
        ("GET /%61dmin//x?y", Some(&admin), "allow", "admin"),
        ("GET /administrator", Some(&admin), "not_found", ""),
        ("GET /admin/../x", Some(&admin), "deny:bad_request", ""),
        ("GET /admin/a%2Fx", Some(&admin), "deny:bad_request", ""),
        ("GET /api/orders", None, "deny:no_session", "orders"),
        ("GET /api/orders", Some(&user), "deny:scope", "orders"),
        ("POST /api/orders", Some(&granted), "allow", "orders"),
        ("DELETE /api/orders", Some(&granted), "deny:method", ""),
        ("GET /proven", Some(&user), "allow", "proven"),
        ("GET /proven", Some(&unproven), "deny:verified_email", "proven"),
        ("GET /proven", Some(&old), "step_up", "proven"),
        ("GET https://open.example.com/open", None, "allow", "open"),
        ("GET https://app.example.com/open", None, "not_found", ""),
        ("GET https://other.example/open", None, "deny:host", ""),
        ("GET https://a b/open", None, "deny:bad_request", ""),
        ("GET /socket", Some(&user), "allow", "socket"),
        ("POST /auth/login", None, "allow", ""),
        ("TRACE /admin", Some(&admin), "deny:method", ""),
    ];
    for (request, persona, expected, route) in cases {
        let verdict = policy.evaluate(&request.parse().unwrap(), persona, now);
        let found = verdict.route().map_or("", |route| route.name.as_str());
        assert_eq!((verdict.outcome.to_string().as_str(), found), (expected, route), "{request} as {persona:?}");
    }
}

#[test]
fn header_fields_that_are_described_count() {
    let policy = policy();
    let with = |request: &str, fields: &[(&'static str, &'static str)]| {
        let mut described: Described = request.parse().unwrap();
        described.headers.extend(
            fields.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        policy.evaluate(&described, Some(&known(&["user"])), Time::from_secs(1_000_000)).outcome.to_string()
    };

    assert_eq!(with("GET /socket", &[("upgrade", "websocket")]), "allow");
    assert_eq!(with("GET /proven", &[("upgrade", "websocket")]), "deny:upgrade");
    assert_eq!(with("POST /proven", &[("origin", "https://evil.example")]), "deny:cross_site");
    assert_eq!(with("POST /proven", &[("sec-fetch-site", "cross-site")]), "deny:cross_site");
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    assert_eq!(with("OPTIONS /proven", &preflight), "deny:origin");
    let own = [("origin", "https://app.example.com"), ("access-control-request-method", "POST")];
    assert_eq!(with("OPTIONS /proven", &own), "allow");
}

#[test]
fn who_decides_is_told_with_its_line() {
    let policy = policy();
    let decided_by = |request: &str| policy.evaluate(&request.parse().unwrap(), None, Time::from_secs(0)).decided_by();

    assert_eq!(decided_by("GET /admin"), "route `admin` (nauth.toml:11)");
    assert_eq!(decided_by("GET /auth/profile"), "the auth API");
    assert_eq!(decided_by("GET /nowhere"), "no route");
}
