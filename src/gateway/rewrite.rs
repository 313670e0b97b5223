//! The path as the upstream gets it, where a route says that it differs from what was asked for.

use crate::config::settings::{PathRule, Route};
use crate::gateway::canonical::Canonical;

/// The target towards the upstream; `None` where it is the one that was asked for.
///
/// A canonical path stays one: what is put in is canonical, and what follows begins with a slash.
#[must_use]
pub fn target(route: &Route, asked: &Canonical) -> Option<String> {
    let to = route.rewrite.as_deref()?.trim_end_matches('/');
    let rest = match &route.path {
        PathRule::Exact(_) | PathRule::Pattern(_) => "",
        PathRule::Prefix(prefix) => &asked.path()[prefix.trim_end_matches('/').len()..],
    };
    let path = if to.is_empty() && rest.is_empty() { "/" } else { "" };
    let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{to}{rest}{path}{query}"))
}

/// The prefix that a route takes off the path, for the app to make links with.
#[must_use]
pub fn taken_off(route: &Route) -> Option<&str> {
    match &route.path {
        PathRule::Prefix(prefix) if prefix != "/" => Some(prefix),
        PathRule::Prefix(_) | PathRule::Exact(_) | PathRule::Pattern(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Access;
    use crate::gateway::canonical::Host;
    use crate::gateway::decide::tests::route;

    #[test]
    fn what_a_route_names_gives_way_to_what_it_says() {
        let prefix = |path: &str| PathRule::Prefix(path.to_owned());
        let exact = |path: &str| PathRule::Exact(path.to_owned());
        let cases = [
            (prefix("/app"), Some("/"), "/app/x?y=1", Some("/x?y=1")),
            (prefix("/app"), Some("/"), "/app", Some("/")),
            (prefix("/app"), Some("/"), "/app/", Some("/")),
            (prefix("/api"), Some("/v1"), "/api/users//1", Some("/v1/users/1")),
            (prefix("/api"), Some("/v1/"), "/api", Some("/v1")),
            (prefix("/"), Some("/base"), "/a%2Fb", Some("/base/a%2Fb")),
            (exact("/old"), Some("/new/place"), "/old?q", Some("/new/place?q")),
            (prefix("/app"), None, "/app/x", None),
        ];
        let host = Host::parse(b"app.example.com").unwrap();
        for (path, rewrite, asked, expected) in cases {
            let route = Route { path, rewrite: rewrite.map(str::to_owned), ..route(Access::Public) };
            let asked = Canonical::parse(asked.as_bytes(), &host).unwrap();
            let found = target(&route, &asked);
            assert_eq!(found.as_deref(), expected, "{rewrite:?}");
            let again = found.map(|found| Canonical::parse(found.as_bytes(), &host).unwrap().target().to_owned());
            assert_eq!(again.as_deref(), expected, "what is sent on is canonical");
        }
    }
}
