//! `nauth routes`: what is routed where, in the order it is tried.

use crate::config::settings::{Access, PathRule, Route, Settings};

/// Columns of the table.
const COLUMNS: usize = 6;

pub(super) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut routes: Vec<&Route> = settings.routes.iter().map(AsRef::as_ref).collect();
    routes.sort_by_key(|route| std::cmp::Reverse(specificity(route)));
    super::table::print(["HOST", "PATH", "METHODS", "ACCESS", "UPSTREAM", "NAME (LINE)"], routes.into_iter().map(row))
}

/// Host before path: exact, wildcard, none; then exact paths, then longer prefixes.
fn specificity(route: &Route) -> (u8, bool, usize) {
    let host = match route.hosts.first() {
        None => 0,
        Some(host) if host.starts_with('*') => 1,
        Some(_) => 2,
    };
    match &route.path {
        PathRule::Exact(path) => (host, true, path.len()),
        PathRule::Prefix(path) => (host, false, path.len()),
        PathRule::Pattern(_) => (host, false, 0),
    }
}

fn row(route: &Route) -> [String; COLUMNS] {
    let any = |list: Vec<String>| if list.is_empty() { "*".to_owned() } else { list.join(",") };
    let path = match &route.path {
        PathRule::Exact(path) => format!("={path}"),
        PathRule::Prefix(path) => path.clone(),
        PathRule::Pattern(pattern) => format!("~{}", pattern.as_str()),
    };
    [
        any(route.hosts.clone()),
        path,
        any(route.methods.iter().map(ToString::to_string).collect()),
        access(route),
        if route.upstream.is_empty() { "-".to_owned() } else { route.upstream.clone() },
        format!("{} ({})", route.name, route.origin),
    ]
}

fn access(route: &Route) -> String {
    let roles: Vec<String> = route.roles.iter().chain(&route.roles_all).map(ToString::to_string).collect();
    match route.access {
        Access::Public => "public".to_owned(),
        Access::Optional => "optional".to_owned(),
        Access::Required if roles.is_empty() => "required".to_owned(),
        Access::Required => format!("required: {}", roles.join(",")),
    }
}
