//! Rules across keys.

use std::collections::BTreeMap;

use crate::config::reader::{Section, nearest};
use crate::config::settings::{Access, PathRule, Route, SameSite, Settings, Target};

/// Checks what no single section can see.
pub(super) fn across(root: &Section<'_>, settings: &Settings) {
    routes_go_somewhere(root, settings);
    routes_do_not_overlap(root, settings);
    whoami_stays_at_home(root, settings);
    login_page_is_reachable(root, settings);
    listeners_differ(root, settings);
    cookies_are_bound(root, settings);
    sessions_outlive_tokens(root, settings);
}

fn routes_go_somewhere(root: &Section<'_>, settings: &Settings) {
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

fn share_a_method(a: &Route, b: &Route) -> bool {
    a.methods.is_empty() || b.methods.is_empty() || a.methods.iter().any(|method| b.methods.contains(method))
}

fn whoami_stays_at_home(root: &Section<'_>, settings: &Settings) {
    if settings.server.public_url.is_loopback() {
        return;
    }
    for route in &settings.routes {
        let upstream = settings.upstreams.get(&route.upstream);
        let shows = upstream.is_some_and(|upstream| upstream.targets.contains(&Target::Whoami));
        if shows && route.allow_ips.is_empty() {
            let message = format!("route `{}` shows the built-in `whoami:` page to everybody", route.name);
            root.report_in(&route.origin, message, "set `allow_ips`, or a real target");
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
        })
        .max_by_key(|route| (matches!(route.path, PathRule::Exact(_)), path_text(&route.path).len()));
    if let Some(route) = longest.filter(|route| route.access == Access::Required) {
        let message = format!("the login page `{login}` lies behind route `{}`, which requires a login", route.name);
        root.report_in(&route.origin, message, "add a public route for it");
    }
}

fn listeners_differ(root: &Section<'_>, settings: &Settings) {
    if settings.server.listen == settings.management.addr && settings.server.listen.port() != 0 {
        root.error("server", "`server.listen` and `server.management.addr` are the same", "choose another port");
    }
}

fn cookies_are_bound(root: &Section<'_>, settings: &Settings) {
    let delivery = &settings.delivery;
    let bound = delivery.cookie_prefix.starts_with("__Host-");
    if settings.server.public_url.is_https() && delivery.cookie.domain.is_none() && !bound {
        root.warning(
            "token_delivery",
            "cookies can be overwritten by other hosts of this domain",
            "set `token_delivery.cookie = { host_prefix = true }`",
        );
    }
    if delivery.cookie.same_site == SameSite::None && delivery.web_origins.is_empty() {
        root.warning("token_delivery", "`same_site = \"none\"` without `web_origins` serves nobody", "remove it");
    }
}

fn sessions_outlive_tokens(root: &Section<'_>, settings: &Settings) {
    if settings.jwt.refresh_ttl > settings.session.max_lifetime {
        root.warning(
            "jwt",
            "`jwt.refresh_ttl` is longer than `session.max_lifetime`; sessions end first",
            "shorten the one or lengthen the other",
        );
    }
}

fn path_text(path: &PathRule) -> String {
    match path {
        PathRule::Exact(path) | PathRule::Prefix(path) => path.clone(),
    }
}

/// Whether a path is a prefix or lies below it, on a segment boundary.
fn is_below(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
