//! Which route a request takes: the most specific one, whatever the order of the file.
//!
//! Host before path, path before method: a method that the most specific path does not take is 405,
//! it never falls through to a wider route with looser rules.

use std::sync::Arc;

use ahash::AHashMap;
use http::Method;

use crate::config::settings::{EncodedSlash, PathRule, Pattern, Route};
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::hosts::is_below;

/// What was found for a request.
#[derive(Debug)]
pub enum Match<'a> {
    /// This route.
    Found(&'a Arc<Route>),
    /// The path is known, but not for this method. The allowed ones, comma separated.
    MethodNotAllowed(String),
    /// The path holds `%2F` and the route does not keep it.
    EncodedSlash,
    /// No route.
    NotFound,
}

/// All routes, ready to be searched without allocating.
#[derive(Debug, Default)]
pub struct Table {
    exact: AHashMap<String, Paths>,
    /// By suffix, longest first.
    wildcards: Vec<(String, Paths)>,
    any: Paths,
}

impl Table {
    /// Compiles the routes.
    #[must_use]
    pub fn new(routes: &[Arc<Route>]) -> Self {
        let mut table = Self::default();
        for route in routes {
            if route.hosts.is_empty() {
                table.any.add(route);
            }
            for host in &route.hosts {
                table.paths_of(host).add(route);
            }
        }
        table.wildcards.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    fn paths_of(&mut self, host: &str) -> &mut Paths {
        let Some(suffix) = host.strip_prefix('*') else {
            return self.exact.entry(host.to_owned()).or_default();
        };
        let at = self.wildcards.iter().position(|(known, _)| known == suffix).unwrap_or_else(|| {
            self.wildcards.push((suffix.to_owned(), Paths::default()));
            self.wildcards.len() - 1
        });
        &mut self.wildcards[at].1
    }

    /// The route for a request.
    #[must_use]
    pub fn find(&self, host: &Host, target: &Canonical, method: &Method) -> Match<'_> {
        let Some(candidates) = self.candidates(host.name(), target.path()) else {
            return Match::NotFound;
        };
        let Some(route) = candidates.iter().find(|route| takes(route, method)) else {
            return Match::MethodNotAllowed(allowed(candidates));
        };
        if target.has_encoded_slash() && route.encoded_slash == EncodedSlash::Reject {
            return Match::EncodedSlash;
        }
        Match::Found(route)
    }

    /// The routes of the most specific host and path.
    fn candidates(&self, host: &str, path: &str) -> Option<&[Arc<Route>]> {
        let exact = self.exact.get(host).into_iter();
        let below = self.wildcards.iter().filter(|(suffix, _)| is_below(host, suffix)).map(|(_, paths)| paths);
        exact.chain(below).chain([&self.any]).find_map(|paths| paths.find(path))
    }
}

/// The paths of one host.
#[derive(Debug, Default)]
struct Paths {
    exact: AHashMap<String, Vec<Arc<Route>>>,
    /// Without a trailing slash, so `/` is the empty string.
    prefixes: AHashMap<String, Vec<Arc<Route>>>,
    /// In file order.
    patterns: Vec<(Pattern, Vec<Arc<Route>>)>,
}

impl Paths {
    fn add(&mut self, route: &Arc<Route>) {
        let routes = match &route.path {
            PathRule::Exact(path) => self.exact.entry(path.clone()).or_default(),
            PathRule::Prefix(path) => self.prefixes.entry(path.trim_end_matches('/').to_owned()).or_default(),
            PathRule::Pattern(pattern) => self.matched_by(pattern),
        };
        routes.push(Arc::clone(route));
    }

    fn find(&self, path: &str) -> Option<&[Arc<Route>]> {
        if let Some(routes) = self.exact.get(path) {
            return Some(routes);
        }
        let mut prefix = path;
        loop {
            if let Some(routes) = self.prefixes.get(prefix) {
                return Some(routes);
            }
            match prefix.rfind('/') {
                Some(slash) => prefix = &prefix[..slash],
                None => break,
            }
        }
        let matching = self.patterns.iter().find(|(pattern, _)| pattern.matches(path));
        matching.map(|(_, routes)| routes.as_slice())
    }

    fn matched_by(&mut self, pattern: &Pattern) -> &mut Vec<Arc<Route>> {
        let at = self.patterns.iter().position(|(known, _)| known == pattern).unwrap_or_else(|| {
            self.patterns.push((pattern.clone(), Vec::new()));
            self.patterns.len() - 1
        });
        &mut self.patterns[at].1
    }
}

/// `HEAD` is `GET` without the body; `TRACE` and `CONNECT` are nobody's.
fn takes(route: &Route, method: &Method) -> bool {
    if *method == Method::TRACE || *method == Method::CONNECT {
        return false;
    }
    route.methods.is_empty()
        || route.methods.contains(method)
        || (*method == Method::HEAD && route.methods.contains(&Method::GET))
}

fn allowed(routes: &[Arc<Route>]) -> String {
    const USUAL: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    if routes.iter().any(|route| route.methods.is_empty()) {
        return USUAL.to_owned();
    }
    let mut names: Vec<&str> = Vec::new();
    for method in routes.iter().flat_map(|route| &route.methods) {
        if !names.contains(&method.as_str()) {
            names.push(method.as_str());
        }
    }
    names.join(", ")
}
