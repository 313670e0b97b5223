//! `[[routes]]`

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::config::reader::Section;
use crate::config::sections::accounts::role;
use crate::config::sections::gateway::header_name;
use crate::config::sections::identity::{self, Written};
use crate::config::sections::server::{network, number, origin};
use crate::config::settings::{
    Access, Credentials, DeliveryMethod, EncodedSlash, Identity, OnUnauthenticated, PathRule, Pattern, Route,
    RouteRate, SecurityHeaders, Server, WebSocket, Window,
};
use crate::config::values;
use crate::domain::assurance::Aal;
use crate::domain::user::Role;

pub(super) const ACCESS: [(&str, Access); 3] =
    [("public", Access::Public), ("optional", Access::Optional), ("required", Access::Required)];

/// What routes need of the rest.
pub(super) struct RouteContext<'a> {
    pub(super) server: &'a Server,
    pub(super) method: DeliveryMethod,
    pub(super) default_access: &'static str,
    pub(super) roles: &'a BTreeSet<Role>,
    /// What upstreams are told about users, and whether that may be unproven addresses.
    pub(super) identity: (&'a Written, bool),
    /// What other proxies are told about them.
    pub(super) asked_identity: &'a Written,
    /// What upstreams say instead, by name.
    pub(super) upstreams: &'a HashMap<String, Written>,
}

pub(super) fn routes(root: &mut Section<'_>, context: &RouteContext<'_>) -> Vec<Route> {
    let sections = root.sections("routes");
    if sections.is_empty() {
        route(root.absent("routes"), context);
        root.error("routes", "there is no `[[routes]]`", "add one with a path and an upstream");
    }
    let mut names = HashSet::new();
    let mut routes = Vec::with_capacity(sections.len());
    for section in sections {
        let at = section.at();
        let route = route(section, context);
        if !names.insert(route.name.clone()) {
            root.report_at(at, format!("there is another route `{}`", route.name), "give one of them a `name`");
        }
        routes.push(route);
    }
    routes
}

fn route(mut s: Section<'_>, context: &RouteContext<'_>) -> Route {
    let origin_line = s.origin();
    let hosts = s.list("hosts", "[]", "Hosts it answers, `*.example.com` among them. Empty means every host.", host);
    let hosts = hosts.unwrap_or_default();
    let doc = "`\"/x\"`: this path and what is below it. `\"=/x\"`: this path alone. `\"~^/x\"`: what a regular \
               expression matches. Exact paths win, then the longest prefix, then the first expression in the file.";
    let written = s.text("path", "/", doc);
    let path = path_rule(&written).unwrap_or_else(|message| {
        s.error("path", message, "write it in canonical form, such as \"/app\" or \"=/app/login\"");
        PathRule::Prefix("/".to_owned())
    });
    let rewrite = rewrite(&mut s);
    if rewrite.is_some() && matches!(path, PathRule::Pattern(_)) {
        s.error("path", "an expression names no part of the path to be rewritten", "use a prefix or an exact path");
    }
    let name = s.optional("name", "Unique; metrics and messages use it. Empty means host and path.");
    let name = name.unwrap_or_else(|| format!("{}{written}", hosts.first().map_or("", String::as_str)));
    let doc = "The upstream it goes to. With `forward_auth` it may be left out: then the route only says who may, and is \
               404 for requests that are to be proxied.";
    let upstream = s.text("upstream", "", doc);
    let methods = s.list("methods", "[]", "Methods it takes. Empty means all.", |text| {
        let upper = text.chars().all(|c| c.is_ascii_uppercase());
        text.parse::<Method>().ok().filter(|_| upper).ok_or_else(|| format!("`{text}` is not a method such as GET"))
    });
    let doc = "Who may: everybody (`public`), everybody with the identity of who is known (`optional`), or only who is \
               known (`required`).";
    let access = s.choice("access", context.default_access, &ACCESS, doc);
    let (identity, asked_identity) = told(&mut s, &upstream, context);
    let route = Route {
        access,
        roles: roles(&mut s, "roles", "Any of these roles is needed.", context.roles),
        roles_all: roles(&mut s, "roles_all", "All of these roles are needed.", context.roles),
        scopes: scopes(&mut s),
        min_aal: min_aal(&mut s),
        max_auth_age: max_auth_age(&mut s),
        verified_email: s.boolean("verified_email", false, "Whether the address must be proven."),
        credentials: credentials(&mut s, context.method),
        identity,
        asked_identity,
        keep_request_headers: s
            .list("keep_request_headers", "[]", "Headers that pass although they would be dropped.", header_name)
            .unwrap_or_default(),
        encoded_slash: s.choice(
            "encoded_slash",
            "reject",
            &[("reject", EncodedSlash::Reject), ("keep", EncodedSlash::Keep)],
            "Whether `%2F` in the path is refused or passed on; it never counts as `/`.",
        ),
        allow_ips: s.list("allow_ips", "[]", "Clients that may. Empty means all.", network).unwrap_or_default(),
        rate_limit: rate_limit(&mut s),
        timeout: optional_duration(&mut s, context),
        max_body: optional_size(&mut s, context),
        websocket: s.boolean("websocket", false, "Whether WebSockets pass."),
        ws: ws(&mut s),
        csrf: s.boolean(
            "csrf",
            true,
            "Whether cookie-authenticated requests that change something must come from our own pages.",
        ),
        on_unauthenticated: s.choice(
            "on_unauthenticated",
            "auto",
            &[
                ("auto", OnUnauthenticated::Auto),
                ("401", OnUnauthenticated::Status401),
                ("redirect", OnUnauthenticated::Redirect),
            ],
            "What a client without a login gets: a redirect for browser navigations and 401 for the rest, or always \
             one of them.",
        ),
        set_request_headers: headers(&mut s, "set_request_headers", "Headers set on the request."),
        cache_control: cache_control(&mut s),
        security_headers: security_headers(&mut s),
        set_response_headers: headers(&mut s, "set_response_headers", "Headers set on the answer."),
        remove_response_headers: s
            .list("remove_response_headers", "[]", "Headers removed from the answer.", header_name)
            .unwrap_or_default(),
        methods: methods.unwrap_or_default(),
        name,
        origin: origin_line,
        hosts,
        path,
        rewrite,
        upstream,
    };
    if access != Access::Required
        && let Some(key) = asks_of_the_known(&route)
    {
        let message = format!("`{key}` needs `access = \"required\"`");
        s.error(key, message, "nobody is known for sure otherwise");
    }
    if !route.csrf && access != Access::Public {
        s.warning("csrf", "other sites' pages can act for whoever is logged in", "remove `csrf = false`");
    }
    s.finish();
    route
}

/// A key by which the route asks something of whoever is known.
fn asks_of_the_known(route: &Route) -> Option<&'static str> {
    let asked = [
        ("roles", !route.roles.is_empty()),
        ("roles_all", !route.roles_all.is_empty()),
        ("scopes", !route.scopes.is_empty()),
        ("min_aal", route.min_aal > Aal::One),
        ("max_auth_age", route.max_auth_age.is_some()),
        ("verified_email", route.verified_email),
    ];
    asked.into_iter().find(|(_, asks)| *asks).map(|(key, _)| key)
}

fn scopes(s: &mut Section<'_>) -> Vec<String> {
    let doc = "All of these scopes are needed in the credential's claim `scope` (RFC 9068): words divided by blanks, or \
               a list of them. The hook `login.pre_token` can set it.";
    s.list("scopes", "[]", doc, |text| {
        // RFC 6749, section 3.3.
        let is_scope = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        if !text.is_empty() && text.chars().all(is_scope) {
            return Ok(text.to_owned());
        }
        Err(format!("`{text}` is not a scope: letters, digits and punctuation without blanks"))
    })
    .unwrap_or_default()
}

fn min_aal(s: &mut Section<'_>) -> Aal {
    let doc = "How sure the login must be (NIST SP 800-63B): 1, one factor; 2, two factors. A weaker one gets 401 \
               `AUTH_STEP_UP_REQUIRED` (RFC 9470), a browser the login page.";
    if s.integer("min_aal", 1, 1..=2, doc) == 2 { Aal::Two } else { Aal::One }
}

fn max_auth_age(s: &mut Section<'_>) -> Option<Duration> {
    let doc = "How long ago the login may be. An older one gets 401 `AUTH_STEP_UP_REQUIRED` (RFC 9470), a browser the \
               login page, and then what it asked for. Empty means as long as the session lives.";
    let text = s.optional("max_auth_age", doc)?;
    let message = match values::duration(&text) {
        Ok(age) if age < Duration::from_secs(1) => {
            format!("`{text}` is over before a person is back from the login page")
        }
        Ok(age) => return Some(age),
        Err(message) => message,
    };
    s.error("max_auth_age", message, "write it as \"15m\"; the least is \"1s\"");
    None
}

/// What the upstream is told, and what another proxy is: what the route says, else what the upstream says, else
/// `[gateway.identity]` and `[forward_auth]`.
fn told(s: &mut Section<'_>, upstream: &str, context: &RouteContext<'_>) -> (Identity, Identity) {
    let (everywhere, allow_unverified) = context.identity;
    let of_upstream = context.upstreams.get(upstream).cloned().unwrap_or_default();
    let nearer = of_upstream.with(&identity::overrides(s));
    let resolved = |further: &Written| further.with(&nearer).resolved(allow_unverified);
    (resolved(everywhere), resolved(context.asked_identity))
}

fn rewrite(s: &mut Section<'_>) -> Option<String> {
    let doc = "Whether the part that `path` names is taken off towards the upstream: `/app/x` of route `/app` becomes \
               `/x`, and `X-Forwarded-Prefix` says `/app`.";
    let strips = s.boolean("strip_prefix", false, doc);
    let doc = "What takes the place of the part that `path` names, towards the upstream: with `/v1`, `/api/x` of route \
               `/api` becomes `/v1/x`.";
    let written = s.optional("rewrite", doc);
    if strips && written.is_some() {
        s.error("rewrite", "`rewrite` and `strip_prefix` both say what becomes of the path", "remove one of them");
    }
    if let Some(Err(message)) = written.as_deref().map(path) {
        s.error("rewrite", message, "write it in canonical form, such as \"/v1\"");
        return None;
    }
    written.or(strips.then(|| "/".to_owned()))
}

fn cache_control(s: &mut Section<'_>) -> Option<HeaderValue> {
    let doc = "`Cache-Control` of the answer, in place of the upstream's. An answer that carries a session is never \
               cacheable.";
    let written = s.optional("cache_control", doc)?;
    let value = HeaderValue::from_str(&written).ok();
    if value.is_none() {
        s.error("cache_control", format!("`{written}` cannot be sent"), "plain text such as \"no-store\"");
    }
    value
}

fn security_headers(s: &mut Section<'_>) -> SecurityHeaders {
    let doc = "Headers added to the answer where the upstream is silent. `basic`: `X-Content-Type-Options`, \
               `X-Frame-Options: SAMEORIGIN`, `Referrer-Policy`. `strict`: what the OWASP Secure Headers Project \
               proposes, a Content-Security-Policy of our own origin alone among it.";
    let presets =
        [("none", SecurityHeaders::None), ("basic", SecurityHeaders::Basic), ("strict", SecurityHeaders::Strict)];
    s.choice("security_headers", "none", &presets, doc)
}

fn roles(s: &mut Section<'_>, key: &'static str, doc: &'static str, known: &BTreeSet<Role>) -> Vec<Role> {
    s.list(key, "[]", doc, |text| role(text, known)).unwrap_or_default()
}

fn credentials(s: &mut Section<'_>, method: DeliveryMethod) -> Credentials {
    let kinds = [("session", true), ("bearer", false)];
    let doc = "Which credentials are looked at: `session` (the cookies), `bearer` (Authorization). The default follows \
               `token_delivery.method`.";
    let written = s.choices("credentials", "[\"session\", \"bearer\"]", &kinds, doc);
    match (written, method) {
        (Some(kinds), _) => {
            if kinds.is_empty() {
                s.error("credentials", "no credential would ever be looked at", "name `session` or `bearer`");
            }
            let credentials = Credentials { session: kinds.contains(&true), bearer: kinds.contains(&false) };
            if credentials.session && method == DeliveryMethod::Json {
                s.error("credentials", "`session` needs cookies, but `token_delivery.method` is json", "use hybrid");
            }
            if credentials.bearer && method == DeliveryMethod::Cookies {
                s.error("credentials", "`bearer` needs JSON, but `token_delivery.method` is cookies", "use hybrid");
            }
            credentials
        }
        (None, DeliveryMethod::Hybrid) => Credentials { session: true, bearer: true },
        (None, DeliveryMethod::Cookies) => Credentials { session: true, bearer: false },
        (None, DeliveryMethod::Json) => Credentials { session: false, bearer: true },
    }
}

fn rate_limit(parent: &mut Section<'_>) -> Option<RouteRate> {
    let mut s = parent.section("rate_limit");
    let max =
        number(s.integer("max", 0, 0..=1_000_000_000, "Requests it takes of one client. 0 means as many as come."));
    let window = Window { max, window: s.lasting("window", "1m", "In how long.") };
    let doc = "Whose requests count together: those of one user (`user`; whoever is not known counts by address), or of \
               one address (`ip`).";
    let by_user = s.choice("key", "ip", &[("ip", false), ("user", true)], doc);
    s.finish();
    (max > 0).then_some(RouteRate { window, by_user })
}

fn optional_duration(s: &mut Section<'_>, context: &RouteContext<'_>) -> Duration {
    let doc = "The upstream's response head must arrive within this. Empty means `server.request_timeout`.";
    let Some(text) = s.optional("timeout", doc) else { return context.server.request_timeout };
    let message = match values::duration(&text) {
        Ok(Duration::ZERO) => format!("`{text}` would let no answer arrive"),
        Ok(timeout) => return timeout,
        Err(message) => message,
    };
    s.error("timeout", message, "write it as \"30s\"");
    context.server.request_timeout
}

fn optional_size(s: &mut Section<'_>, context: &RouteContext<'_>) -> u64 {
    let doc = "Largest request body. Empty means `server.max_body`, \"0\" unlimited.";
    let Some(text) = s.optional("max_body", doc) else { return context.server.max_body };
    values::size(&text).unwrap_or_else(|message| {
        s.error("max_body", message, "write it as \"1MiB\"");
        context.server.max_body
    })
}

fn ws(parent: &mut Section<'_>) -> WebSocket {
    let mut s = parent.section("ws");
    let doc = "Origins, besides our own, whose pages may open a WebSocket.";
    let ws = WebSocket {
        origins: s.list("origins", "[]", doc, origin).unwrap_or_default(),
        idle_timeout: s.lasting("idle_timeout", "5m", "A WebSocket without traffic is closed after this."),
        recheck: s.lasting("recheck", "30s", "How often the session behind an open WebSocket is looked up."),
    };
    s.finish();
    ws
}

fn headers(s: &mut Section<'_>, key: &'static str, doc: &'static str) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = s.pairs(key, doc);
    let mut headers = Vec::with_capacity(pairs.len());
    for (name, value, at) in pairs {
        match (header_name(&name), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(message), _) => s.report_at(Some(at), message, "letters, digits and `-`"),
            (_, Err(_)) => s.report_at(Some(at), format!("the value of `{name}` cannot be sent"), "plain text only"),
        }
    }
    headers
}

fn host(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let name = lower.strip_prefix("*.").unwrap_or(&lower);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    let port = name.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']') && !name.starts_with('['));
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') || port {
        return Err(format!("`{text}` is not a host such as app.example.com or *.example.com"));
    }
    Ok(lower)
}

fn path_rule(text: &str) -> Result<PathRule, String> {
    if let Some(pattern) = text.strip_prefix('~') {
        return Pattern::new(pattern).map(PathRule::Pattern);
    }
    let (exact, rest) = text.strip_prefix('=').map_or((false, text), |rest| (true, rest));
    path(rest)?;
    if exact {
        return Ok(PathRule::Exact(rest.to_owned()));
    }
    let trimmed = if rest.len() > 1 { rest.trim_end_matches('/') } else { rest };
    Ok(PathRule::Prefix(trimmed.to_owned()))
}

/// Whether a path is written as nauth compares it: canonical, nothing encoded that need not be.
pub(super) fn path(text: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(format!("`{text}` {why}"));
    if !text.starts_with('/') {
        return refuse("must begin with `/`");
    }
    if text.contains("//") {
        return refuse("has an empty segment");
    }
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return refuse("has a dot segment");
    }
    if text.contains(['?', '#', '\\', '*', ' ']) || !text.is_ascii() || text.chars().any(|c| c.is_ascii_control()) {
        return refuse("has a character that cannot stand in a path; escape it");
    }
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|d| d.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c)));
        let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return refuse("has an escape that is not `%` and two upper-case hexadecimal digits");
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return refuse("escapes a character that needs none");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_they_are_compared() {
        let cases = [
            ("/", Some(PathRule::Prefix("/".to_owned()))),
            ("/app/", Some(PathRule::Prefix("/app".to_owned()))),
            ("=/app", Some(PathRule::Exact("/app".to_owned()))),
            ("/a%20b", Some(PathRule::Prefix("/a%20b".to_owned()))),
            ("app", None),
            ("/a//b", None),
            ("/a/../b", None),
            ("/%61", None),
            ("/a%2f", None),
            ("/a b", None),
            ("~^/x$", Some(PathRule::Pattern(Pattern::new("^/x$").unwrap()))),
            ("~/x", None),
            ("~^/x(", None),
            ("~^/(a{1000}){1000}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(path_rule(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn hosts_are_names_without_ports() {
        assert_eq!(host("*.Example.com"), Ok("*.example.com".to_owned()));
        for bad in ["", "*.", "a b", "example.com:80", "http://x"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
