//! Requests that stand for all others: for every route of two files its paths, methods and hosts, and
//! for every rule somebody who meets it and somebody who does not.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::config::settings::{Described, PathRule, Pattern, Route, Settings};
use crate::domain::assurance::Aal;
use crate::domain::outcome::Persona;

/// Longest path that is made up for an expression.
const LONGEST: usize = 512;
/// Most people that are made up.
const MOST_PERSONAS: usize = 512;

/// What two files are asked about.
#[derive(Debug)]
pub struct Representative {
    /// The requests; each is asked as everybody of `personas`.
    pub requests: Vec<Described>,
    /// Who asks.
    pub personas: Vec<Option<Persona>>,
    /// Requests of `[[tests]]`, as those they name.
    pub tests: Vec<(Described, Option<Persona>)>,
    /// Routes whose expression no path could be made up for.
    pub unseen: Vec<String>,
}

impl Representative {
    /// Requests for these settings together.
    #[must_use]
    pub fn of(all: &[&Settings]) -> Self {
        let (mut requests, mut known, mut unseen) = (Vec::new(), BTreeSet::new(), Vec::new());
        for settings in all {
            for route in &settings.routes {
                let paths = paths(&route.path);
                if paths.is_empty() {
                    unseen.push(format!("`{}` ({})", route.name, route.origin));
                }
                for (method, url) in combined(settings, route, &paths) {
                    if known.insert((method.to_string(), url.clone())) {
                        requests.extend(Described::new(method.as_str(), &url));
                    }
                }
            }
        }
        let tests = all.iter().flat_map(|settings| {
            settings.tests.iter().map(|test| (placed(settings, &test.request), test.persona.clone()))
        });
        Self { requests, personas: personas(all), tests: tests.collect(), unseen }
    }

    /// Every request as everybody.
    pub fn pairs(&self) -> impl Iterator<Item = (Described, Option<Persona>)> {
        let everybody = self
            .requests
            .iter()
            .flat_map(|request| self.personas.iter().map(move |persona| (request.clone(), persona.clone())));
        everybody.chain(self.tests.iter().cloned())
    }
}

/// A request of a file at its own `server.public_url`, which the other file may not share.
fn placed(settings: &Settings, request: &Described) -> Described {
    let host = request.host.clone().unwrap_or_else(|| settings.server.public_url.authority.clone());
    let url = if request.host.is_some() {
        request.url.clone()
    } else {
        format!("{}{}", settings.server.public_url.origin, request.url)
    };
    Described { url, host: Some(host), ..request.clone() }
}

fn combined(settings: &Settings, route: &Route, paths: &[String]) -> Vec<(Method, String)> {
    let public_url = &settings.server.public_url;
    let mut authorities: Vec<String> = route.hosts.iter().map(|host| host.replacen('*', "any", 1)).collect();
    authorities.push(public_url.authority.clone());
    let mut methods = vec![Method::GET, Method::POST];
    methods.extend(route.methods.iter().filter(|method| !matches!(**method, Method::GET | Method::POST)).cloned());
    let mut combined = Vec::new();
    for (authority, path) in authorities.iter().flat_map(|authority| paths.iter().map(move |path| (authority, path))) {
        let url = format!("{}://{authority}{path}", public_url.scheme);
        combined.extend(methods.iter().map(|method| (method.clone(), url.clone())));
    }
    combined
}

fn paths(rule: &PathRule) -> Vec<String> {
    match rule {
        PathRule::Exact(path) | PathRule::Prefix(path) => {
            vec![path.clone(), format!("{}/below", path.trim_end_matches('/'))]
        }
        PathRule::Pattern(pattern) => example(pattern).into_iter().collect(),
    }
}

/// A path that an expression matches.
fn example(pattern: &Pattern) -> Option<String> {
    let mut path = String::new();
    append(&regex_syntax::parse(pattern.as_str()).ok()?, &mut path)?;
    pattern.matches(&path).then_some(path)
}

/// Appends the shortest thing that comes to mind.
fn append(hir: &Hir, to: &mut String) -> Option<()> {
    if to.len() > LONGEST {
        return None;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(()),
        HirKind::Literal(literal) => {
            to.push_str(std::str::from_utf8(&literal.0).ok()?);
            Some(())
        }
        HirKind::Class(Class::Unicode(class)) => {
            let holds = |c: &char| class.iter().any(|range| (range.start()..=range.end()).contains(c));
            let plain = ['a', '1', 'A', '-', '/'].into_iter().find(holds);
            to.push(plain.or_else(|| class.iter().next().map(regex_syntax::hir::ClassUnicodeRange::start))?);
            Some(())
        }
        HirKind::Class(Class::Bytes(_)) => None,
        HirKind::Repetition(repeated) => {
            let least = if repeated.max == Some(0) { 0 } else { repeated.min.max(1) };
            (0..least).try_for_each(|_| append(&repeated.sub, to))
        }
        HirKind::Capture(capture) => append(&capture.sub, to),
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| append(part, to)),
        HirKind::Alternation(parts) => append(parts.first()?, to),
    }
}

/// Somebody unknown, and everybody who differs in what some route asks for.
fn personas(all: &[&Settings]) -> Vec<Option<Persona>> {
    let routes: Vec<&Route> = all.iter().flat_map(|settings| settings.routes.iter().map(AsRef::as_ref)).collect();
    let mut roles: BTreeSet<Vec<String>> = BTreeSet::from([Vec::new()]);
    for route in &routes {
        roles.extend(route.roles.iter().map(|role| vec![role.to_string()]));
        let required: Vec<String> = route.roles_all.iter().map(ToString::to_string).collect();
        roles.extend(route.roles.iter().map(|role| [&required[..], &[role.to_string()]].concat()));
        roles.insert(required);
    }
    let scopes: BTreeSet<Vec<String>> = routes.iter().map(|route| route.scopes.clone()).chain([Vec::new()]).collect();
    let aals: &[Aal] =
        if routes.iter().any(|route| route.min_aal > Aal::One) { &[Aal::One, Aal::Two] } else { &[Aal::One] };
    let verified: &[bool] = if routes.iter().any(|route| route.verified_email) { &[true, false] } else { &[true] };
    let ages: BTreeSet<Duration> = routes
        .iter()
        .filter_map(|route| Some(route.max_auth_age? + Duration::from_mins(1)))
        .chain([Duration::ZERO])
        .collect();

    let mut personas = vec![None];
    for roles in &roles {
        for scopes in &scopes {
            for (aal, email_verified) in
                aals.iter().flat_map(|aal| verified.iter().map(move |verified| (*aal, *verified)))
            {
                personas.extend(ages.iter().map(|auth_age| {
                    let (roles, scopes) = (roles.clone(), scopes.clone());
                    Some(Persona { roles, scopes, aal, email_verified, auth_age: *auth_age })
                }));
            }
        }
    }
    personas.truncate(MOST_PERSONAS);
    personas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_up_for_an_expression() {
        for pattern in ["^/x/[0-9]+$", "^/(a|b)/c?", "^/files/.*\\.txt$", "^/\\w{3}", "^/[^/]+/edit$", "^/"] {
            let pattern = Pattern::new(pattern).unwrap();
            let found = example(&pattern).unwrap_or_else(|| panic!("nothing for {}", pattern.as_str()));
            assert!(pattern.matches(&found), "{found}");
        }
        assert_eq!(example(&Pattern::new("^/x{100}{100}").unwrap()), None, "longer than a path");
        assert_eq!(example(&Pattern::new("^/a$b").unwrap()), None, "matches nothing");
    }
}
