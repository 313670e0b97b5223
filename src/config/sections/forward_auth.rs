//! `[forward_auth]`

use crate::config::reader::Section;
use crate::config::sections::identity::{self, Written};
use crate::config::sections::server::network;
use crate::config::settings::{ForwardAuth, LoginRedirect, QuestionHeaders};

/// Where and how other proxies ask (`None` where they cannot), and what they are told unless upstreams or routes
/// say otherwise.
pub(super) fn forward_auth(
    root: &mut Section<'_>,
    everywhere: &Written,
    allow_unverified: bool,
) -> (Option<ForwardAuth>, Written) {
    let mut s = root.section("forward_auth");
    let doc = "Whether other proxies (nginx, Traefik, Caddy, Envoy, HAProxy) may ask at `{api.prefix}/verify` if a \
               request may pass, and do the proxying themselves. See docs/forward-auth.md.";
    let enabled = s.boolean("enabled", false, doc);
    let doc = "Networks of the proxies that may ask. What they say of a request and of its client is believed, so list \
               nothing else. Needed once `enabled`; `server.trusted_proxies` is another list.";
    let trusted = s.list("trusted", "[]", doc, network).unwrap_or_default();
    let headers = s.choice(
        "headers",
        "x-forwarded",
        &[
            ("x-forwarded", QuestionHeaders::XForwarded),
            ("x-original", QuestionHeaders::XOriginal),
            ("envoy", QuestionHeaders::Envoy),
        ],
        "Where a question says which request it is about; the headers of another kind are refused. `x-forwarded` \
         (Traefik, Caddy, HAProxy): X-Forwarded-Method, -Proto, -Host, -Uri. `x-original` (nginx): X-Original-Method, \
         and X-Original-URL with scheme and host. `envoy`: the question's own method and Host, and its path behind \
         `{api.prefix}/verify`. The client's address stands in `server.client_ip_header`.",
    );
    let redirect = s.choice(
        "redirect",
        "auto",
        &[("auto", None), ("302", Some(LoginRedirect::Found)), ("header", Some(LoginRedirect::Header))],
        "How a browser gets to the login page. `302`: the proxy passes the redirect on. `header`: the answer is 401 \
         with the place in X-Nauth-Redirect, and every other refusal is 403, for nginx, which knows no more than \
         these two. `auto`: `header` with `x-original`, else `302`.",
    );
    let doc = "The identity headers of the answer, as for `gateway.identity.preset`. The proxy copies them into the \
               request. What an upstream or a route says in its `identity` counts before it.";
    let identity = everywhere.with(&identity::preset(&mut s, "identity", "remote", doc));
    if enabled && trusted.is_empty() {
        s.error(
            "trusted",
            "nobody may ask: `forward_auth.trusted` is empty",
            "list the proxy: trusted = [\"10.0.0.5\"]",
        );
    }
    if let Some(all) = trusted.iter().find(|network| network.prefix_len() == 0) {
        let message = format!("`{all}` lets everybody ask in the name of every client");
        s.warning("trusted", message, "list the proxies alone");
    }
    s.finish();
    let derived = if headers == QuestionHeaders::XOriginal { LoginRedirect::Header } else { LoginRedirect::Found };
    let redirect = redirect.unwrap_or(derived);
    let told = identity.resolved(allow_unverified);
    (enabled.then_some(ForwardAuth { trusted, headers, redirect, identity: told }), identity)
}
