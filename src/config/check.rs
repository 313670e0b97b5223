//! Rules across keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::config::reader::{Section, nearest};
use crate::config::settings::{
    Access, AuditSink, DatabasePlace, Destination, HookEvent, Instances, PathRule, Route, SameSite, Scheme, Serves,
    Settings, SmsProvider, Target, UsernameRule,
};
use crate::domain::assurance::Aal;
use crate::domain::factor::Method;
use crate::domain::mfa::Enforcement;
use crate::domain::risk::Sign;
use crate::domain::template::Source;

/// Access tokens that live longer than this are worth a look: a lost one is good for as long.
const LONG_ACCESS_TTL: Duration = Duration::from_secs(60 * 60 + 1);
const ACCESS_TTL_HINT: &str = "access tokens usually live 5m to 1h";

/// Checks what no single section can see.
pub(super) fn across(root: &Section<'_>, settings: &Settings) {
    routes_go_somewhere(root, settings);
    routes_do_not_overlap(root, settings);
    expressions_are_reached(root, settings);
    identity_headers_are_ours(root, settings);
    claims_are_set_by_somebody(root, settings);
    whoami_stays_at_home(root, settings);
    sockets_are_spoken_there(root, settings);
    login_page_is_reachable(root, settings);
    listeners_differ(root, settings);
    redirects_lead_somewhere(root, settings);
    public_url_is_what_is_spoken(root, settings);
    proxy_headers_are_believed(root, settings);
    cookies_are_bound(root, settings);
    cookies_travel_by_https(root, settings);
    tokens_live_in_order(root, settings);
    somebody_can_log_in(root, settings);
    text_messages_leave_the_house(root, settings);
    nodes_have_what_they_share(root, settings);
    audit_sinks_are_there(root, settings);
    risks_can_be_told(root, settings);
    second_factors_can_be_proven(root, settings);
}

fn second_factors_can_be_proven(root: &Section<'_>, settings: &Settings) {
    if settings.mfa.enabled {
        return;
    }
    for route in settings.routes.iter().filter(|route| route.min_aal > Aal::One) {
        let message = format!("nobody gets past `min_aal` of route `{}`: `mfa.enabled` is false", route.name);
        root.warn_in(&route.origin, message, "set `mfa.enabled = true`, or remove the line");
    }
}

/// An entry for a webhook that is not there would go nowhere.
fn audit_sinks_are_there(root: &Section<'_>, settings: &Settings) {
    for sink in &settings.audit.sinks {
        let AuditSink::Webhook(name) = sink else { continue };
        if settings.webhooks.iter().any(|webhook| webhook.name == *name) {
            continue;
        }
        let known = settings.webhooks.iter().map(|webhook| webhook.name.as_str());
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `webhook:{near}`?"),
            None => format!("add a `[[webhooks]]` with `name = \"{name}\"`"),
        };
        root.error("audit.sink", format!("`webhook:{name}` names no webhook"), hint);
    }
}

/// What makes logins unusual is only seen where somebody looks.
fn risks_can_be_told(root: &Section<'_>, settings: &Settings) {
    let (mfa, key) = (&settings.mfa, "mfa.adaptive.triggers");
    if !mfa.enabled || mfa.policy.enforcement != Enforcement::Adaptive {
        return;
    }
    let needs = "`new_country` and `impossible_travel` need to know where addresses are";
    if mfa.risk.needs_locations() && !settings.geoip.enabled {
        let hint = "set `geoip.enabled = true`, or leave them out of `mfa.adaptive.triggers`";
        root.error(key, format!("{needs}, and `geoip.enabled` is false"), hint);
    } else if mfa.risk.needs_locations() {
        for missing in &settings.geoip.missing {
            let hint = "put the database there, or leave them out of `mfa.adaptive.triggers`";
            root.error(key, format!("{needs}, and `{}` is not there", missing.display()), hint);
        }
    }
    if mfa.risk.triggers.contains(&Sign::SuspiciousActivity) && !settings.audit.enabled {
        let message = "`suspicious_activity` is read from the audit trail, and `audit.enabled` is false";
        root.error(key, message, "keep the audit trail, or leave it out of `mfa.adaptive.triggers`");
    }
}

/// Several nodes need a database that is nobody's own, and one master key.
fn nodes_have_what_they_share(root: &Section<'_>, settings: &Settings) {
    if settings.server.instances == Instances::Single {
        return;
    }
    if let DatabasePlace::Sqlite(_) = settings.database.place {
        let message = "`server.instances` is `multi`, and the database is a SQLite file, which is of one node";
        root.error("server.instances", message, "set `database.url` to a PostgreSQL or MariaDB server");
    }
    if settings.secrets.master_key.is_none() {
        let message = "`server.instances` is `multi`, and each node would make a master key of its own";
        root.error("server.instances", message, "set `secrets.master_key` to the same on every node");
    }
}

/// The console is for whoever sits in front of it.
fn text_messages_leave_the_house(root: &Section<'_>, settings: &Settings) {
    let is_console = matches!(settings.sms.provider, SmsProvider::Console);
    if !is_console || settings.server.public_url.is_loopback() {
        return;
    }
    if settings.mfa.allows(Method::Sms) {
        let message = "`mfa.methods` has `sms`, and there is no service for text messages";
        root.error("sms.provider", message, "set `sms.provider` to \"twilio\" or \"webhook\"");
    }
    if settings.signup.verification_method.asks_phone() {
        let message = "`signup.verification_method` asks for phone numbers, and there is no service for text messages";
        root.error("sms.provider", message, "set `sms.provider` to \"twilio\" or \"webhook\"");
    }
}

/// Only where other proxies ask can there be rules about requests that go nowhere from here.
fn routes_go_somewhere(root: &Section<'_>, settings: &Settings) {
    if settings.upstreams.is_empty() && settings.forward_auth.is_none() {
        root.error("upstreams", "there is no `[[upstreams]]`", "add one with a name and targets");
    }
    let goes_nowhere = |route: &&Arc<Route>| route.upstream.is_empty() && settings.forward_auth.is_none();
    for route in settings.routes.iter().filter(goes_nowhere) {
        let message = format!("route `{}` has no `upstream`", route.name);
        root.report_in(&route.origin, message, "name one of `[[upstreams]]`");
    }
    for route in settings.routes.iter().filter(|route| !route.upstream.is_empty()) {
        if settings.upstreams.contains_key(&route.upstream) {
            continue;
        }
        let near = nearest(&route.upstream, settings.upstreams.keys().map(String::as_str));
        let hint =
            near.map_or_else(|| "name one of `[[upstreams]]`".to_owned(), |near| format!("did you mean `{near}`?"));
        let message = format!("route `{}` goes to `{}`, which is no upstream", route.name, route.upstream);
        root.report_in(&route.origin, message, hint);
    }
}

fn routes_do_not_overlap(root: &Section<'_>, settings: &Settings) {
    let mut taken: BTreeMap<(String, String), Vec<&Route>> = BTreeMap::new();
    for route in &settings.routes {
        let path = path_text(&route.path);
        if is_below(&path, &settings.api.prefix) {
            let message =
                format!("route `{}` lies under `{}`, which nauth answers itself", route.name, settings.api.prefix);
            root.report_in(&route.origin, message, "choose another path, or move the API with `api.prefix`");
        }
        let hosts = if route.hosts.is_empty() { vec![String::new()] } else { route.hosts.clone() };
        for host in hosts {
            let exact = matches!(route.path, PathRule::Exact(_));
            let others = taken.entry((host, format!("{exact}{path}"))).or_default();
            if let Some(other) = others.iter().find(|other| share_a_method(other, route)) {
                let message = format!("route `{}` takes the same requests as route `{}`", route.name, other.name);
                root.report_in(&route.origin, message, "the second one would never be reached");
            }
            others.push(route);
        }
    }
}

/// Prefixes win over expressions, so beside `/` on the same hosts an expression is never looked at.
fn expressions_are_reached(root: &Section<'_>, settings: &Settings) {
    let is_everything = |route: &&Route| matches!(&route.path, PathRule::Prefix(prefix) if prefix == "/");
    for route in settings.routes.iter().filter(|route| matches!(route.path, PathRule::Pattern(_))) {
        let mut wider = settings.routes.iter().map(AsRef::as_ref).filter(is_everything);
        let Some(other) = wider.find(|other| other.hosts == route.hosts) else { continue };
        let message = format!("route `{}` is never reached: route `{}` takes every path", route.name, other.name);
        root.report_in(&route.origin, message, "prefixes win over expressions; give the wider one other prefixes");
    }
}

fn share_a_method(a: &Route, b: &Route) -> bool {
    a.methods.is_empty() || b.methods.is_empty() || a.methods.iter().any(|method| b.methods.contains(method))
}

/// A header that nauth itself sends cannot also pass from the client: it would be believed.
fn identity_headers_are_ours(root: &Section<'_>, settings: &Settings) {
    for route in &settings.routes {
        // Upstreams that speak CGI or WSGI read `_` and `-` alike.
        let spelled = |name: &HeaderName| name.as_str().replace(['_', '.'], "-");
        let assertion = settings.gateway.assertion.header.as_ref().map(spelled);
        if let Some(name) = route.identity.header_names().find(|name| assertion.as_deref() == Some(name.as_str())) {
            let message = format!("`{name}` already says something else to the upstream of route `{}`", route.name);
            root.error("gateway.identity.assertion", message, "choose another header");
        }
        let sent = |name: &&HeaderName| {
            let spelled = spelled(name);
            spelled.starts_with("x-nauth-")
                || assertion.as_ref() == Some(&spelled)
                || route.identity.header_names().any(|sent| sent.as_str() == spelled)
        };
        if let Some(name) = route.keep_request_headers.iter().find(sent) {
            let message = format!("route `{}` keeps `{name}`, which tells the upstream who the user is", route.name);
            root.report_in(&route.origin, message, "remove it, or set `identity = { preset = \"none\" }` there");
        }
    }
}

/// A header of a claim that nothing sets would never be sent.
fn claims_are_set_by_somebody(root: &Section<'_>, settings: &Settings) {
    if settings.hooks.iter().any(|hook| hook.event == HookEvent::LoginPreToken) {
        return;
    }
    let is_set = |claim: &String| settings.jwt.claims.iter().any(|(name, _)| name == claim);
    let mut said: BTreeSet<&str> = BTreeSet::new();
    let of_routes = settings.routes.iter().map(|route| (&route.identity, Some(&route.origin)));
    for (identity, origin) in std::iter::once((&settings.gateway.identity, None)).chain(of_routes) {
        for (header, told) in identity.asks_for() {
            let Source::Claim(claim) = told.source() else { continue };
            if is_set(claim) || !said.insert(claim) {
                continue;
            }
            let message = format!("`{header}` asks for the claim `{claim}`, which nothing sets");
            let hint = "set it in `[jwt.claims]`, or by a hook `login.pre_token`";
            match origin {
                None => root.error(&format!("gateway.identity.extra.{header}"), message, hint),
                Some(origin) => root.report_in(origin, message, hint),
            }
        }
    }
}

fn whoami_stays_at_home(root: &Section<'_>, settings: &Settings) {
    if settings.server.public_url.is_loopback() {
        return;
    }
    for route in &settings.routes {
        let upstream = settings.upstreams.get(&route.upstream);
        let shows = upstream.is_some_and(|upstream| upstream.is_whoami());
        if shows && route.allow_ips.is_empty() {
            let message = format!("route `{}` shows the built-in `whoami:` page to everybody", route.name);
            root.report_in(&route.origin, message, "set `allow_ips`, or a real target");
        }
    }
}

/// A WebSocket is made of an HTTP/1.1 connection.
fn sockets_are_spoken_there(root: &Section<'_>, settings: &Settings) {
    for route in settings.routes.iter().filter(|route| route.websocket) {
        let upstream = settings.upstreams.get(&route.upstream);
        let speaks_h2c = |target: &Target| matches!(target.to, Destination::Http { scheme: Scheme::H2c, .. });
        if let Some(target) = upstream.and_then(|upstream| upstream.targets.iter().find(|target| speaks_h2c(target))) {
            let message = format!("route `{}` takes WebSockets, which `{}` does not speak", route.name, target.url);
            root.report_in(&route.origin, message, "name an http:// target, or remove `websocket`");
        }
    }
}

fn login_page_is_reachable(root: &Section<'_>, settings: &Settings) {
    let login = &settings.login.login_url;
    let path = login.split(['?', '#']).next().unwrap_or(login);
    if !path.starts_with('/') || is_below(path, &settings.api.prefix) {
        return;
    }
    let longest = settings
        .routes
        .iter()
        .filter(|route| match &route.path {
            PathRule::Exact(exact) => exact == path,
            PathRule::Prefix(prefix) => is_below(path, prefix),
            PathRule::Pattern(pattern) => pattern.matches(path),
        })
        .max_by_key(|route| (rank(&route.path), path_text(&route.path).len()));
    if let Some(route) = longest.filter(|route| route.access == Access::Required) {
        let message = format!("the login page `{login}` lies behind route `{}`, which requires a login", route.name);
        root.report_in(&route.origin, message, "add a public route for it");
    }
}

fn listeners_differ(root: &Section<'_>, settings: &Settings) {
    let management = settings.management.addr;
    let is_taken = |listen: SocketAddr| {
        let same_address =
            listen.ip() == management.ip() || listen.ip().is_unspecified() || management.ip().is_unspecified();
        same_address && listen.port() == management.port() && listen.port() != 0
    };
    if settings.server.listeners.iter().any(|listener| is_taken(listener.addr)) {
        root.error(
            "server.management.addr",
            "`server.management.addr` is the address of a public listener",
            "choose another port",
        );
    }
}

/// A redirect leads to where https is spoken.
fn redirects_lead_somewhere(root: &Section<'_>, settings: &Settings) {
    let redirects = settings.server.listeners.iter().any(|listener| listener.serves == Serves::HttpsElsewhere);
    if redirects && !settings.server.public_url.is_https() {
        let message = "`redirect_https` leads nowhere: `server.public_url` is not https";
        root.error("server.listeners", message, "write https:// in `server.public_url`");
    }
}

/// Where only TLS is spoken, cookies, links and redirects have to be for https.
fn public_url_is_what_is_spoken(root: &Section<'_>, settings: &Settings) {
    let mut serving = settings.server.listeners.iter().filter(|listener| listener.serves == Serves::Everything);
    if serving.all(|listener| listener.tls) && !settings.server.public_url.is_https() {
        let message = "`server.public_url` is not https, and every listener speaks TLS";
        root.warning("server.public_url", message, "write https:// in `server.public_url`");
    }
}

/// Whoever may write a PROXY header chooses the address that limits and logs see.
fn proxy_headers_are_believed(root: &Section<'_>, settings: &Settings) {
    let server = &settings.server;
    if server.trusted_proxies.is_empty() && server.listeners.iter().any(|listener| listener.proxy_protocol) {
        let message = "everybody who can connect may name any address in a PROXY header";
        root.warning("server.listeners", message, "name the load balancers in `server.trusted_proxies`");
    }
}

fn cookies_are_bound(root: &Section<'_>, settings: &Settings) {
    let delivery = &settings.delivery;
    let bound = delivery.cookie_prefix.starts_with("__Host-");
    if settings.server.public_url.is_https() && delivery.cookie.domain.is_none() && !bound {
        root.warning(
            "token_delivery.cookie",
            "cookies can be overwritten by other hosts of this domain",
            "set `token_delivery.cookie = { host_prefix = true }`",
        );
    }
    let own = &settings.server.public_url.origin;
    if delivery.cookie.same_site == SameSite::None && delivery.web_origins.iter().all(|origin| origin == own) {
        root.warning(
            "token_delivery.cookie",
            "`same_site = \"none\"` without `web_origins` serves nobody",
            "remove it",
        );
    }
}

fn cookies_travel_by_https(root: &Section<'_>, settings: &Settings) {
    let url = &settings.server.public_url;
    if !url.is_https() && !url.is_loopback() {
        root.warning(
            "server.public_url",
            format!("passwords and cookies travel unprotected to {}", url.origin),
            "end TLS in front of nauth and write https:// in `server.public_url`",
        );
    }
}

/// Access token, refresh token, session: each ends before the next.
fn tokens_live_in_order(root: &Section<'_>, settings: &Settings) {
    let default = settings.jwt.refresh_ttl;
    if (LONG_ACCESS_TTL..default).contains(&settings.jwt.access_ttl) {
        root.warning("jwt.access_ttl", "access tokens live for more than an hour", ACCESS_TTL_HINT);
    }
    token_lives_in_order(root, settings, "jwt.refresh_ttl", default);
    let own = [
        ("token_delivery.refresh_ttl_cookies", settings.delivery.refresh_ttl_cookies),
        ("token_delivery.refresh_ttl_json", settings.delivery.refresh_ttl_json),
    ];
    for (key, refresh) in own.into_iter().filter(|(_, refresh)| *refresh != default) {
        token_lives_in_order(root, settings, key, refresh);
    }
}

fn token_lives_in_order(root: &Section<'_>, settings: &Settings, key: &str, refresh: Duration) {
    let access = settings.jwt.access_ttl;
    if access >= refresh {
        let message = format!("`jwt.access_ttl` ({}) must be shorter than `{key}` ({})", shown(access), shown(refresh));
        let at = if root.has("jwt.access_ttl") { "jwt.access_ttl" } else { key };
        root.error(at, message, ACCESS_TTL_HINT);
    }
    if refresh > settings.session.max_lifetime {
        let message = format!("`{key}` is longer than `session.max_lifetime`; sessions end first");
        root.warning(key, message, "shorten the one or lengthen the other");
    }
}

fn somebody_can_log_in(root: &Section<'_>, settings: &Settings) {
    if !settings.login.email && settings.signup.username == UsernameRule::Off {
        root.error(
            "login.identifiers",
            "nobody could log in: `login.identifiers` has user names alone, and `signup.username` is off",
            "add `email` to `login.identifiers`",
        );
    }
}

fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// Which kind of path wins over which.
fn rank(path: &PathRule) -> u8 {
    match path {
        PathRule::Exact(_) => 2,
        PathRule::Prefix(_) => 1,
        PathRule::Pattern(_) => 0,
    }
}

fn path_text(path: &PathRule) -> String {
    match path {
        PathRule::Exact(path) | PathRule::Prefix(path) => path.clone(),
        PathRule::Pattern(pattern) => format!("~{}", pattern.as_str()),
    }
}

/// Whether a path is a prefix or lies below it, on a segment boundary.
fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
