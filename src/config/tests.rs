//! What a configuration means and what is wrong with one, from text to settings and reports.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::settings::{LoginRedirect, QuestionHeaders};
use crate::domain::password_policy::About;

const SMALL: &str =
    "[[upstreams]]\nname = \"app\"\ntargets = [\"whoami:\"]\n[[routes]]\npath = \"/\"\nupstream = \"app\"\n";

fn load_text(text: &str) -> Result<Loaded, Report> {
    load_with(text, &Environment::default())
}

fn load_with(text: &str, environment: &Environment) -> Result<Loaded, Report> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nauth.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, environment)
}

fn messages(text: &str) -> Vec<String> {
    let report = load_text(text).unwrap_err();
    report.problems().iter().map(|problem| problem.message().to_owned()).collect()
}

#[test]
fn a_small_file_is_enough() {
    let settings = load_text(SMALL).unwrap().settings;

    assert_eq!(settings.server.public_url.origin, "http://localhost:8080");
    assert_eq!(settings.routes[0].origin, "nauth.toml:4");
    assert_eq!(settings.security.csrf.cookie_name, "nauth_csrf_token");
    assert_eq!(settings.login.login_url, "/auth/ui/login");
}

#[test]
fn every_problem_is_reported_at_once_and_in_order() {
    let text = format!(
        "[server]\nlistne = \"x\"\nheader_timeout = 10\n[jwt]\naccess_ttl = \"30d\"\nrefresh_ttl = \"15m\"\n{}",
        SMALL.replace("upstream = \"app\"", "upstream = \"ap\"")
    );

    let found = messages(&text);

    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], "unknown key `listne` in `[server]`");
    assert_eq!(found[1], "`server.header_timeout` must be a string, not an integer");
    assert_eq!(found[2], "`jwt.access_ttl` (30days) must be shorter than `jwt.refresh_ttl` (15m)");
    assert_eq!(found[3], "route `/` goes to `ap`, which is no upstream");
}

#[test]
fn a_report_puts_its_finger_on_the_line() {
    let report = load_text(&format!("[server]\nlistne = \"x\"\n{SMALL}")).unwrap_err().to_string();

    assert!(report.contains("error: unknown key `listne` in `[server]`"), "{report}");
    assert!(report.contains("nauth.toml:2:1"), "{report}");
    assert!(report.contains("^^^^^^"), "{report}");
    assert!(report.contains("hint: did you mean `listen`?"), "{report}");
}

#[test]
fn broken_text_is_a_problem_of_its_own() {
    let found = messages("[server]\nlisten = \n[jwt]\nissuer = \n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(load(Path::new("/nonexistent/nauth.toml"), &Environment::default()).is_err());
}

#[test]
fn values_come_from_the_environment_and_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nauth.toml");
    std::fs::write(dir.path().join("secret"), format!("{}\n", "s".repeat(40))).unwrap();
    let text = format!("[jwt]\naccess_secret = \"${{file:secret}}\"\nissuer = \"${{env:ISS:-me}}\"\n{SMALL}");
    std::fs::write(&path, text).unwrap();
    let environment =
        Environment::from([("NAUTH__SERVER__LISTEN", "127.0.0.1:9000"), ("NAUTH__LOG__ACCESS_LOG", "false")]);

    let loaded = load(&path, &environment).unwrap();

    assert_eq!(loaded.settings.jwt.access_secret.as_ref().unwrap().expose().len(), 40);
    assert_eq!(loaded.settings.jwt.issuer, "me");
    assert_eq!(loaded.settings.server.listeners[0].addr.port(), 9000);
    assert!(!loaded.settings.log.access_log);
    assert_eq!(loaded.overridden.len(), 2);
    assert_eq!(loaded.settings.files, [path.clone(), dir.path().join("secret")], "what is read is watched");
    std::fs::write(dir.path().join("secret"), "t".repeat(40)).unwrap();
    assert_ne!(load(&path, &environment).unwrap().fingerprint, loaded.fingerprint);
}

#[test]
fn the_password_policy_is_read_with_its_list_and_points_at_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nauth.toml");
    std::fs::write(dir.path().join("common.txt"), "Our Company Rocks\n").unwrap();
    let text = format!("[password]\ncommon_list = \"common.txt\"\nmin_strength = 0\nhistory = 24\n{SMALL}");
    std::fs::write(&path, text).unwrap();

    let password = load(&path, &Environment::default()).unwrap().settings.password.clone();

    assert_eq!((password.history, password.expiry.is_zero()), (24, true));
    assert!(password.policy.check("our company rocks", &About::default()).is_err());
    assert_eq!(password.policy.check("our company works", &About::default()), Ok(()));

    let wrong = "[password]\ncommon_list = \"nowhere.txt\"\nrequire = [\"uper\"]\nhistory = 25\n";
    let report = load_text(&format!("{wrong}{SMALL}")).unwrap_err().to_string();
    for wanted in ["nauth.toml:2", "nowhere.txt", "nauth.toml:3", "`uper`", "from 0 to 24"] {
        assert!(report.contains(wanted), "`{wanted}` is not in:\n{report}");
    }
}

#[test]
fn an_override_that_names_no_key_is_refused() {
    let environment = Environment::from([("NAUTH__SERVER__LISTNE", "x")]);

    let report = load_with(SMALL, &environment).unwrap_err();

    assert!(report.to_string().contains("NAUTH__SERVER__LISTNE"));
    assert_eq!(
        messages(&format!("[jwt]\nissuer = \"${{env:NOT_SET}}\"\n{SMALL}")),
        ["the environment variable `NOT_SET` is not set"]
    );
}

#[test]
fn included_files_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nauth.toml");
    std::fs::write(&path, format!("include = [\"more/*.toml\"]\n{SMALL}")).unwrap();
    std::fs::create_dir(dir.path().join("more")).unwrap();
    let more = dir.path().join("more/a.toml");
    std::fs::write(&more, "[[routes]]\npath = \"/public\"\nupstream = \"app\"\naccess = \"public\"\n").unwrap();

    let loaded = load(&path, &Environment::default()).unwrap();
    assert_eq!(loaded.settings.routes.len(), 2);
    assert_eq!(loaded.settings.routes[1].origin, "more/a.toml:1");
    assert_eq!(loaded.settings.files.len(), 2);

    std::fs::write(&more, "config_version = 1\n").unwrap();
    std::fs::write(dir.path().join("more/b.toml"), "config_version = 1\n").unwrap();
    assert!(load(&path, &Environment::default()).is_err());
}

#[test]
fn ways_out_of_the_house_must_lead_somewhere() {
    let secret = "0123456789abcdef0123456789abcdef";
    let production = "[server]\npublic_url = \"https://app.example.com\"\n[email]\nprovider = \"smtp\"\n";
    let webhook = |lines: &str| format!("[[webhooks]]\nname = \"crm\"\nevents = [\"user.created\"]\n{lines}\n");
    let good = format!("url = \"https://hooks.example.com/\"\nsecret = \"{secret}\"");
    let plain = format!("url = \"http://hooks.example.com/\"\nsecret = \"{secret}\"");
    let cases = [
        (webhook("url = \"https://hooks.example.com/\"\nsecret = \"short\""), "must have 32 characters or more"),
        (webhook(&format!("url = \"hooks\"\nsecret = \"{secret}\"")), "`hooks` is not a URL"),
        (webhook(&good) + &webhook(&good), "there are two webhooks `crm`"),
        (webhook(&good).replace("user.created", "user.crated"), "user.crated"),
        (format!("{production}{}", webhook(&plain)), "would carry secrets in the clear"),
        (format!("[[hooks]]\nevent = \"signup.pre\"\n{good}\ntimeout = \"1m\"\n"), "is at most 30s"),
        (format!("{production}[signup]\nverification_method = \"both\"\n"), "there is no service for text messages"),
        ("[sms]\nprovider = \"twilio\"\n".to_owned(), "Twilio needs a sender"),
        ("[sms]\nprovider = \"twilio\"\nfrom = \"0791234567\"\n".to_owned(), "is not a phone number"),
        ("[sms]\nprovider = \"webhook\"\n".to_owned(), "is not a URL"),
        ("[email]\nprovider = \"file\"\n".to_owned(), "file mail needs a directory"),
        ("[email]\ndefault_timezone = \"Mars/Olympus\"\n".to_owned(), "is not a time zone"),
        ("[email.vars]\nlogo_url = \"javascript:x\"\n".to_owned(), "is not a web address"),
    ];
    for (text, expected) in cases {
        let found = messages(&format!("{text}{SMALL}"));
        assert!(found.iter().any(|message| message.contains(expected)), "{text}: {found:?}");
    }
    assert!(load_text(&format!("{}{SMALL}", webhook(&good))).is_ok());
}

#[cfg(feature = "otel")]
#[test]
fn a_collector_has_an_address_and_a_path() {
    let endpoint = |text: &str| format!("[tracing]\notlp_endpoint = \"{text}\"\n{SMALL}");
    for (text, spans) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector.example.com/otlp/", "https://collector.example.com/otlp/v1/traces"),
    ] {
        let settings = load_text(&endpoint(text)).unwrap().settings;
        assert_eq!(settings.tracing.collector.as_ref().map(url::Url::as_str), Some(spans));
    }
    for text in ["127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://"] {
        assert_eq!(messages(&endpoint(text)), [format!("`{text}` is not a URL")]);
    }
    for text in ["http://ada:secret@collector", "http://collector/?key=1", "http://collector/#x"] {
        assert_eq!(messages(&endpoint(text)), ["`otlp_endpoint` has an address and a path, and nothing else"]);
    }
}

#[test]
fn what_would_fail_later_is_refused_now() {
    let cases = [
        ("[server]\nheader_timeout = \"0s\"\n", "must be longer than nothing"),
        ("[challenge]\nttl = \"0s\"\n", "must be longer than nothing"),
        ("[jwt]\nrefresh_ttl = \"1000000000y\"\n", "longer than 100 years"),
        ("[server]\nmax_header = \"1\"\n", "`server.max_header` must be from"),
        ("[tracing]\nsample = 1.01\n", "`tracing.sample` must be from 0 to 1"),
        ("[tracing]\nsample = -1\n", "`tracing.sample` must be from 0 to 1"),
        ("[tracing]\nsample = nan\n", "`tracing.sample` must be from 0 to 1"),
        ("[tracing]\nsample = \"5%\"\n", "`tracing.sample` must be a number, not a string"),
        ("[log]\nlevel = \"inof\"\n", "`inof` is no log level"),
        ("[log]\nlevel = \"nauth=loud\"\n", "`loud` is no log level"),
        ("[email]\nprovider = \"smtp\"\nsmtp = { url = \"smtp://\" }\n", "is not a mail server"),
        ("[database]\nurl = \"sqlite://\"\n", "names no file"),
        ("[database]\nurl = \"oracle://nauth@db/auth\"\n", "`oracle` is no database that nauth knows"),
        ("[database]\nschema = \"auth\"\n", "`schema` is for a database on a server"),
        ("[database]\nssl_mode = \"require\"\n", "`ssl_mode` is for a database on a server"),
        ("[database]\nurl = \"mariadb://nauth@db/auth\"\nschema = \"auth\"\n", "`schema` is for PostgreSQL"),
        ("[database]\nurl = \"postgres://nauth@db/auth\"\nschema = \"a.b\"\n", "`a.b` must be lower-case letters"),
        ("[database]\nurl = \"postgres://nauth@db/auth\"\nssl_cert = \"a.pem\"\n", "`ssl_cert` needs an `ssl_key`"),
        ("[database]\nurl = \"postgres://nauth@db/auth\"\nssl_ca = \"nowhere.pem\"\n", "nowhere.pem"),
        ("[database]\ntable_prefix = \"Nauth-\"\n", "`Nauth-` must be lower-case letters"),
        ("[database]\nmin_connections = 21\n", "`min_connections` is 21, `max_connections` is 20"),
        ("[metrics]\npath = \"/livez\"\n", "`/livez` is taken"),
        ("[server.management]\naddr = \"127.0.0.1:8080\"\n", "is the address of a public listener"),
        ("[server]\nlisten = \"0.0.0.0:9901\"\n", "is the address of a public listener"),
        (
            "[server]\nlisten = \"127.0.0.1:1\"\n[[server.listeners]]\naddr = \"127.0.0.1:2\"\n",
            "both say where to listen",
        ),
        ("[[server.listeners]]\nproxy_protocol = true\n", "a listener needs an `addr`"),
        (
            "[[server.listeners]]\naddr = \"127.0.0.1:1\"\n[[server.listeners]]\naddr = \"127.0.0.1:1\"\n",
            "another listener on",
        ),
        ("[[server.listeners]]\naddr = \"127.0.0.1:1\"\nredirect_https = true\n", "and none serves anything"),
        (
            "[[server.listeners]]\naddr = \"127.0.0.1:1\"\n[[server.listeners]]\naddr = \"127.0.0.1:2\"\nredirect_https = true\n",
            "`redirect_https` leads nowhere",
        ),
        ("[[server.listeners]]\naddr = \"0.0.0.0:9901\"\n", "is the address of a public listener"),
        ("include = [\"gone.toml\"]\n", "gone.toml` cannot be read"),
        ("[login]\nidentifiers = [\"username\"]\n[signup]\nusername = \"off\"\n", "nobody could log in"),
        ("[signup.email_verification]\nresend_delay = \"10m\"\n", "must be shorter than"),
        ("[security.csrf]\nexcluded_paths = [\"hooks\"]\n", "must begin with `/`"),
        ("[session]\nrevocation_poll = \"6s\"\n", "is longer than 5s"),
        ("[email]\nprovider = \"smtp\"\n[email.smtp]\nurl = \"\"\n", "`email.smtp.url` is empty"),
    ];
    for (text, expected) in cases {
        let found = messages(&format!("{text}{SMALL}"));
        assert!(found.iter().any(|message| message.contains(expected)), "{text}: {found:?}");
    }
}

#[test]
fn targets_that_make_no_sense_are_refused() {
    let many: Vec<String> = (0..65).map(|port| format!("\"http://app:{}\"", 1000 + port)).collect();
    let cases = [
        ("\"whoami:\", \"http://app\"", "has no other targets beside it"),
        ("\"http://app\", \"http://app:80/\"", "stands there twice"),
        ("{ url = \"http://app\", weight = 0 }", "must be from 1 to 100"),
        ("{ url = \"http://app\", wait = 1 }", "unknown key `wait`"),
        ("\"ftp://app\"", "must begin with http://, https:// or h2c://"),
        (&many.join(", "), "at most 64 targets"),
    ];
    for (targets, expected) in cases {
        let found = messages(&SMALL.replace("\"whoami:\"", targets));
        assert!(found.iter().any(|message| message.contains(expected)), "{targets}: {found:?}");
    }
}

#[test]
fn a_websocket_needs_a_target_that_speaks_it() {
    let text = |target: &str| format!("{}websocket = true\n", SMALL.replace("whoami:", target));
    assert_eq!(messages(&text("h2c://app")), ["route `/` takes WebSockets, which `h2c://app` does not speak"]);
    assert!(load_text(&text("https://app")).is_ok());
}

#[test]
fn checks_of_targets_are_read() {
    let health = |text: &str| SMALL.replace("\"whoami:\"]", &format!("\"http://app\"]\nhealth = {{ {text} }}"));
    let settings = load_text(&health("type = \"http\", path = \"/up?deep\", expect = 204")).unwrap().settings;
    let check = settings.upstreams["app"].health.clone().unwrap();
    assert_eq!(check.probe, settings::Probe::Http { path: "/up?deep".to_owned(), expect: 204 });
    assert_eq!((check.interval.as_secs(), check.timeout.as_secs(), check.healthy, check.unhealthy), (10, 2, 1, 3));

    let cases = [
        ("type = \"icmp\"", "`icmp` is not one of"),
        ("path = \"up\"", "`up` is not a path"),
        ("interval = \"5ms\"", "is too often"),
        ("timeout = \"0s\"", "must be longer than nothing"),
        ("unhealthy = 0", "must be from 1 to 100"),
        ("expect = 20", "must be from 100 to 599"),
    ];
    for (text, expected) in cases {
        let found = messages(&health(text));
        assert!(found.iter().any(|message| message.contains(expected)), "{text}: {found:?}");
    }
    let of_the_page = SMALL.replace("\"whoami:\"]", "\"whoami:\"]\nhealth = {}");
    assert_eq!(messages(&of_the_page), ["`whoami:` is always well"]);
    let idle = load_text(&health("type = \"tcp\", path = \"/up\"")).unwrap();
    assert!(idle.warnings.to_string().contains("says nothing with"), "{}", idle.warnings);
}

#[test]
fn cookies_that_browsers_would_drop_are_refused() {
    let cases = [
        ("cookie_prefix = \"a;b\"", "cannot stand in a cookie's name"),
        ("cookie_prefix = \"__Host-x_\"", "needs https"),
        ("cookie_prefix = \"__Secure-x_\"", "needs https"),
        ("cookie = { domain = \"example.com\" }", "is not `localhost` or a domain above it"),
        ("cookie = { domain = \"localhost; Secure\" }", "is not `localhost` or a domain above it"),
        ("cookie = { path = \"app\" }", "must begin with `/`"),
        ("cookie = { path = \"/;x\" }", "cannot stand in a cookie's path"),
        ("cookie = { secure = true }", "contradicts `server.public_url`"),
        ("web_origins = [\"localhost:3000\"]", "is not an origin"),
        ("native_origins = [\"capacitor://localhost/path\"]", "is not an origin"),
        ("web_origins = [\"https://a.example\"]\nnative_origins = [\"https://a.example\"]", "is on both lists"),
        ("refresh_ttl_json = \"1m\"", "must be shorter than `token_delivery.refresh_ttl_json`"),
    ];
    for (text, expected) in cases {
        let found = messages(&format!("[token_delivery]\n{text}\n{SMALL}"));
        assert!(found.iter().any(|message| message.contains(expected)), "{text}: {found:?}");
    }
    assert!(load_text(&format!("[token_delivery]\ncookie = {{ secure = false }}\n{SMALL}")).is_ok());
}

#[test]
fn csrf_cookies_take_after_the_token_cookies() {
    let text = "[token_delivery]\ncookie = { path = \"/app\", priority = \"low\" }\n";

    let csrf = &load_text(&format!("{text}{SMALL}")).unwrap().settings.security.csrf;

    assert_eq!((csrf.cookie.path.as_str(), csrf.cookie.priority), ("/app", settings::CookiePriority::Low));
    assert_eq!(csrf.cookie.same_site, settings::SameSite::Strict);
}

#[test]
fn each_problem_is_said_once() {
    for text in ["[jwt]\nrefresh_ttl = 5\n", "server = 1\n", "[server]\nmanagement = 1\n", "jwt = 1\n"] {
        assert_eq!(messages(&format!("{text}{SMALL}")).len(), 1, "{text}");
    }
}

#[test]
fn a_bad_override_is_blamed_on_its_variable() {
    let environment = Environment::from([("NAUTH__JWT__ACCESS_TTL", "soon")]);

    let report = load_with(&format!("[jwt]\naccess_ttl = \"5m\"\n{SMALL}"), &environment).unwrap_err().to_string();

    assert!(report.contains("NAUTH__JWT__ACCESS_TTL") && !report.contains("nauth.toml:2"), "{report}");
}

#[test]
fn a_report_does_not_show_secrets() {
    let text =
        format!("[jwt]\nacess_secret = \"hunter2\"\n[email]\nsmtp = {{ ulr = \"smtp://ada:hunter2@mx\" }}\n{SMALL}");

    let report = load_text(&text).unwrap_err().to_string();

    assert!(report.contains("acess_secret") && !report.contains("hunter2"), "{report}");
}

#[test]
fn what_follows_from_the_port_waits_with_it_for_the_restart() {
    let old = load_text(SMALL).unwrap().settings;
    let new = load_text(&format!("[server]\nlisten = \"127.0.0.1:1234\"\n{SMALL}")).unwrap().settings;

    let kept = without_restart_keys(&old, &new);

    assert_eq!(kept.server, old.server);
    assert_eq!((&kept.jwt.issuer, &kept.jwt.audience), (&old.jwt.issuer, &old.jwt.audience));
    assert_eq!(kept.delivery, old.delivery);
    assert_eq!(kept.security, old.security);
}

#[test]
fn a_new_cookie_prefix_holds_back_nothing_but_the_cookies() {
    let old = load_text(SMALL).unwrap().settings;
    let text = "[token_delivery]\ncookie_prefix = \"x_\"\nweb_origins = [\"https://spa.example\"]\n";
    let new = load_text(&format!("{text}{SMALL}")).unwrap().settings;

    let found = changes(&old, &new);
    let kept = without_restart_keys(&old, &new);

    assert_eq!(found.restart_required, ["token_delivery.cookie_prefix"]);
    assert!(found.applied.contains(&"token_delivery"), "{found:?}");
    assert_eq!(
        (&kept.delivery.cookie_prefix, &kept.delivery.web_origins),
        (&old.delivery.cookie_prefix, &new.delivery.web_origins)
    );
    assert_eq!(kept.security.csrf.cookie_name, old.security.csrf.cookie_name);
}

#[test]
fn former_master_keys_wait_for_a_restart() {
    let old = load_text(SMALL).unwrap().settings;
    let key = "c".repeat(43) + "=";
    let new = load_text(&format!("[secrets]\nprevious = [\"{key}\"]\n{SMALL}"));

    assert_eq!(changes(&old, &new.unwrap().settings).restart_required, ["secrets.previous"]);
}

#[test]
fn other_proxies_ask_only_where_they_are_listed() {
    let read = |lines: &str| load_text(&format!("[forward_auth]\n{lines}\n{SMALL}"));
    let settings = |lines: &str| read(lines).unwrap().settings.forward_auth.clone();

    assert_eq!(settings("trusted = [\"10.0.0.5\"]"), None);
    let traefik = settings("enabled = true\ntrusted = [\"10.0.0.5\", \"fd00::/8\"]").unwrap();
    assert_eq!((traefik.trusted.len(), traefik.redirect), (2, LoginRedirect::Found));
    let nginx = settings("enabled = true\ntrusted = [\"10.0.0.5\"]\nheaders = \"x-original\"").unwrap();
    assert_eq!((nginx.headers, nginx.redirect), (QuestionHeaders::XOriginal, LoginRedirect::Header));
    let told = settings("enabled = true\ntrusted = [\"10.0.0.5\"]\nredirect = \"header\"").unwrap();
    assert_eq!(told.redirect, LoginRedirect::Header);

    let cases = [
        ("enabled = true", "nauth.toml:1", "nobody may ask"),
        ("enabled = true\ntrusted = [\"proxy\"]", "nauth.toml:3", "`proxy` is not an address"),
        ("headers = \"forwarded\"", "nauth.toml:2", "`forwarded` is not one of"),
        ("redirect = \"never\"", "nauth.toml:2", "`never` is not one of"),
    ];
    for (lines, place, wanted) in cases {
        let report = read(lines).unwrap_err().to_string();
        assert!(report.contains(place) && report.contains(wanted), "{report}");
    }
    let open = read("enabled = true\ntrusted = [\"0.0.0.0/0\"]").unwrap();
    assert!(open.warnings.to_string().contains("lets everybody ask"));
}

#[test]
fn two_factors_are_asked_for_where_somebody_can_prove_them() {
    let asks = format!("{SMALL}min_aal = 2\n");
    let quiet = load_text(&asks).unwrap().warnings.to_string();
    assert!(!quiet.contains("min_aal"), "{quiet}");
    let off = load_text(&format!("[mfa]\nenabled = false\n{asks}")).unwrap().warnings.to_string();
    assert!(off.contains("nobody gets past `min_aal`"), "{off}");
}

#[test]
fn routes_go_somewhere_unless_other_proxies_ask_about_them() {
    let rules = "[[routes]]\npath = \"/\"\n";
    assert_eq!(messages(rules), ["there is no `[[upstreams]]`", "route `/` has no `upstream`"]);

    let asked = format!("[forward_auth]\nenabled = true\ntrusted = [\"10.0.0.5\"]\n{rules}");
    assert_eq!(load_text(&asked).unwrap().settings.routes[0].upstream, "");
    assert_eq!(messages(&format!("{asked}upstream = \"app\"\n")), ["route `/` goes to `app`, which is no upstream"]);
}

#[test]
fn a_reload_takes_over_who_may_ask() {
    let old = load_text(SMALL).unwrap().settings;
    let new =
        load_text(&format!("[forward_auth]\nenabled = true\ntrusted = [\"10.0.0.5\"]\n{SMALL}")).unwrap().settings;

    assert_eq!(changes(&old, &new).applied, ["forward_auth"]);
}

#[test]
fn a_file_that_names_itself_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nauth.toml");
    std::fs::write(&path, format!("include = [\"*.toml\", \"r*.toml\"]\n{SMALL}")).unwrap();
    std::fs::write(dir.path().join("routes.toml"), "[[routes]]\npath = \"/x\"\nupstream = \"app\"\n").unwrap();

    let loaded = load(&path, &Environment::default()).unwrap();

    assert_eq!(loaded.settings.routes.len(), 2);
}

#[test]
fn a_reload_takes_no_half_written_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nauth.toml");
    let reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        load_for_reload(&path, &Environment::default())
    };

    assert!(reload("").is_err());
    assert!(reload(&SMALL[..SMALL.find("[[routes]]").unwrap()]).is_err());
    assert!(reload(SMALL).is_ok());
    std::fs::remove_file(&path).unwrap();
    assert!(load_for_reload(&path, &Environment::default()).is_err());
}

#[test]
fn what_needs_a_restart_is_named_and_not_applied() {
    let old = load_text(SMALL).unwrap().settings;
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:1234\"\npublic_url = \"http://localhost:8080\"\n[jwt]\naccess_ttl = \"5m\"\n{SMALL}"
    );
    let new = load_text(&text).unwrap().settings;

    let found = changes(&old, &new);

    assert_eq!(found.restart_required, ["server.listen"]);
    assert!(found.applied.contains(&"jwt") && found.refused.is_empty(), "{found:?}");
    assert_eq!(without_restart_keys(&old, &new).server.listeners, old.server.listeners);
    assert_eq!(changes(&old, &old), Changes::default());
}

#[test]
fn the_shipped_file_and_the_examples_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = glob::glob(&root.join("examples/*.toml").to_string_lossy()).unwrap().map(Result::unwrap);
    let files: Vec<PathBuf> = examples.chain([root.join("nauth.toml")]).collect();
    assert!(files.len() > 1);
    let environment = Environment::from([("SMTP_URL", "smtp://localhost:25")]);
    for file in files {
        if let Err(report) = load(&file, &environment) {
            panic!("{}:\n{report}", file.display());
        }
    }
}

#[test]
fn the_reference_is_up_to_date() {
    is_up_to_date("docs/configuration.md", &reference());
}

#[test]
fn the_schema_is_up_to_date() {
    is_up_to_date("docs/nauth.schema.json", &schema());
}

#[test]
fn the_full_example_holds_every_key_with_its_default() {
    is_up_to_date("examples/full.toml", &full_example());

    let full = load_text(&full_example()).unwrap().settings;
    let small = load_text(SMALL).unwrap().settings;
    assert_eq!(changes(&small, &full), Changes::default());
}

/// Compares a file with what it is generated as. With `NAUTH_BLESS=1` it is written anew.
fn is_up_to_date(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if Environment::process().get("NAUTH_BLESS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == expected, "{file} is stale: run the tests with NAUTH_BLESS=1");
}

/// Every key with its default; what has none as in [`SMALL`].
fn full_example() -> String {
    let mut text = String::from(
        "# Every key with its default. This file is generated; docs/configuration.md says the same as a page.\n\
         # Start from nauth.toml instead, and take over only the keys that you change.\n",
    );
    // There is none of these unless somebody writes one.
    let absent = ["webhooks", "hooks", "server.listeners", "server.tls.certs", "tests", "tests.as", "upstreams.health"];
    for (section, keys) in load::declared().by_section() {
        let mark = if absent.contains(&section.as_str()) { "# " } else { "" };
        match section.as_str() {
            "" => {}
            name @ ("upstreams" | "routes") => write!(text, "\n[[{name}]]\n").unwrap(),
            name @ ("tests.as" | "upstreams.health") => write!(text, "\n# [{name}]\n").unwrap(),
            name if absent.contains(&name) => write!(text, "\n# [[{name}]]\n").unwrap(),
            name => write!(text, "\n[{name}]\n").unwrap(),
        }
        for key in keys {
            let value = match (section.as_str(), key.key) {
                ("upstreams", "name") | ("routes", "upstream") => "\"app\"",
                ("upstreams", "targets") => "[\"whoami:\"]",
                _ => &key.default,
            };
            writeln!(text, "# {}\n{mark}{} = {value}", key.text, key.key).unwrap();
        }
    }
    text
}

mod adaptive;
mod contradictions;
mod geoip;
mod identity;
mod keys;
mod passkey;
mod transient;
