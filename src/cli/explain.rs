//! `nauth explain`: what becomes of a request, and why. Nothing is sent anywhere.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context;
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::api::jwks;
use crate::cli::user;
use crate::config::settings::{Access, Described, Route, Settings};
use crate::domain::assurance::Aal;
use crate::domain::claims::AccessClaims;
use crate::domain::clock::Clock;
use crate::domain::outcome::{self, Outcome, Persona};
use crate::domain::user::User;
use crate::gateway::canonical::Canonical;
use crate::gateway::credentials::CookieNames;
use crate::gateway::identity::{self, Proof};
use crate::gateway::managed::Managed;
use crate::gateway::policy::{AnsweredBy, Policy, Verdict};
use crate::gateway::rewrite;
use crate::tokens::{self, AccessToken};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The method
    method: String,
    /// A URL, or a path of `server.public_url`
    url: String,
    /// Who asks: anonymous, a user of the database, or `role=NAME,aal=2,scope=NAME,email_verified=false,auth_age=20m`
    #[arg(long = "as", value_name = "WHO", default_value = "anonymous", value_parser = parse_who)]
    who: Who,
    /// A header field, as "name: value"; may be given several times
    #[arg(long = "header", value_name = "FIELD", value_parser = parse_field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Who asks.
#[derive(Debug, Clone)]
struct Who {
    /// E-mail address, user name or id.
    user: Option<String>,
    /// `None` = anonymous.
    persona: Option<Persona>,
}

pub(super) fn run(settings: &Arc<Settings>, arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { method, url, who, headers, json } = arguments;
    let mut described = Described::new(&method, &url).map_err(anyhow::Error::msg)?;
    described.headers.extend(headers);
    let user = who.user.as_deref().map(|name| look_up(settings, name)).transpose()?;
    let persona = who.persona.map(|persona| match &user {
        Some(user) => of_user(persona, user),
        None => persona,
    });
    let (policy, now) = (Policy::new(settings), Clock::system().now());
    let verdict = policy.evaluate(&described, persona.as_ref(), now);
    let claims =
        persona.as_ref().map(|persona| claims(settings, AccessToken::described(persona, now).claims, user.as_ref()));
    let explained = Explained { settings, described: &described, persona: persona.as_ref(), claims, verdict };
    let text = if json { format!("{:#}\n", explained.json()) } else { explained.text() };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn look_up(settings: &Arc<Settings>, name: &str) -> anyhow::Result<User> {
    super::block_on(async {
        let auth = user::open(settings).await?;
        auth.find_user(name)
            .await
            .with_context(|| format!("`{name}` is no user; write role=… or anonymous to describe one"))
    })
}

/// What is described, on top of what is known of the user.
fn of_user(persona: Persona, user: &User) -> Persona {
    let roles = user.roles.iter().map(ToString::to_string).chain(persona.roles);
    Persona { roles: roles.collect(), email_verified: user.email_verified && persona.email_verified, ..persona }
}

fn claims(settings: &Settings, described: AccessClaims, user: Option<&User>) -> AccessClaims {
    let Some(user) = user else { return described };
    AccessClaims {
        sub: user.id.to_string(),
        email: user.email.to_string(),
        username: user.username.as_ref().map(|name| name.as_str().to_owned()),
        told: tokens::told(&settings.jwt, user),
        ..described
    }
}

/// A verdict, and what goes with it.
struct Explained<'a> {
    settings: &'a Settings,
    described: &'a Described,
    persona: Option<&'a Persona>,
    claims: Option<AccessClaims>,
    verdict: Verdict<'a>,
}

impl Explained<'_> {
    fn text(&self) -> String {
        let mut text = format!("{} as {}\n\n", self.described, outcome::named(self.persona));
        let mut line = |name: &str, value: &str| writeln!(text, "{name:<10} {value}").expect("writing to a string");
        line("decision", &self.verdict.outcome.to_string());
        line("because", &self.because());
        line("decided by", &self.verdict.decided_by());
        if let Some(route) = self.verdict.route() {
            line("asks for", &demands(route));
        }
        if let Some(target) = &self.verdict.target {
            line("canonical", target.target());
        }
        if let Some((upstream, targets, target)) = self.upstream() {
            line("upstream", &format!("{upstream} ({}) gets {target}", targets.join(", ")));
            line("strips", &self.stripped().join(", "));
            let set = self.set().into_iter().map(|(name, value)| format!("{name}: {value}"));
            line("sets", &set.collect::<Vec<_>>().join(", "));
        }
        text
    }

    fn json(&self) -> Value {
        let route = self.verdict.route();
        let upstream = self.upstream().map(|(name, targets, target)| {
            let set: Vec<Value> =
                self.set().into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            json!({ "name": name, "targets": targets, "target": target, "strips": self.stripped(), "sets": set })
        });
        json!({
            "request": self.described.to_string(),
            "as": outcome::named(self.persona),
            "decision": self.verdict.outcome.to_string(),
            "because": self.because(),
            "decidedBy": self.verdict.decided_by(),
            "route": route.map(|route| json!({ "name": route.name, "line": route.origin, "asksFor": demands(route) })),
            "canonical": self.verdict.target.as_ref().map(Canonical::target),
            "upstream": upstream,
        })
    }

    fn because(&self) -> String {
        if let Some(error) = &self.verdict.error {
            return error.to_string();
        }
        let text = match (self.verdict.outcome, self.verdict.answered_by) {
            (Outcome::Login, _) => {
                let page = &self.settings.login.login_url;
                return format!("nobody is known; browsers are sent to {page}, other clients get 401");
            }
            (Outcome::StepUp, _) => "a stronger or more recent login is required",
            (_, Some(AnsweredBy::Api)) => "nauth answers itself",
            (_, Some(AnsweredBy::Gateway)) => "a page of a listed origin may ask",
            (_, Some(AnsweredBy::Route(route))) if route.access == Access::Public => "everybody may",
            (_, Some(AnsweredBy::Route(route))) if route.access == Access::Optional => "everybody may, known or not",
            _ => "who asks may",
        };
        text.to_owned()
    }

    /// The upstream's name, its targets, and the path it gets; `None` when nothing is forwarded.
    fn upstream(&self) -> Option<(&str, Vec<String>, String)> {
        let route = self.verdict.route().filter(|_| self.verdict.outcome == Outcome::Allow)?;
        let target = self.verdict.target.as_ref()?;
        let upstream = self.settings.upstreams.get(&route.upstream)?;
        let path = rewrite::target(route, target).unwrap_or_else(|| target.target().to_owned());
        Some((&upstream.name, upstream.targets.iter().map(|target| target.url.clone()).collect(), path))
    }

    /// What the upstream does not get: the credentials, and every described field by which a client
    /// could say who it is.
    fn stripped(&self) -> Vec<String> {
        let mut stripped = Vec::new();
        let settings = self.settings;
        if settings.gateway.strip_credentials {
            let names = CookieNames::new(&settings.delivery.cookie_prefix, &settings.security.csrf.cookie_name);
            stripped.push(format!("cookies {}* and {}", names.prefix, names.csrf));
            stripped.push("a bearer token of nauth".to_owned());
        }
        let (managed, route) = (Managed::new(settings), self.verdict.route());
        let keeps = |name: &&HeaderName| route.is_some_and(|route| route.keep_request_headers.contains(name));
        let names =
            self.described.headers.keys().filter(|name| managed.class_of_strangers(name).is_some() && !keeps(name));
        stripped.extend(names.map(ToString::to_string));
        stripped
    }

    /// What the upstream gets besides.
    fn set(&self) -> Vec<(String, String)> {
        let Some(route) = self.verdict.route() else { return Vec::new() };
        let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let own = route.set_request_headers.iter();
        let mut set: Vec<(String, String)> = own.map(|(name, given)| (name.to_string(), value(given))).collect();
        // On a public route nobody is looked for, so nobody is told of.
        if let Some(claims) = self.claims.as_ref().filter(|_| route.access != Access::Public) {
            let keys = jwks::address(self.settings).and_then(|address| HeaderValue::try_from(address).ok());
            let proof = Proof { assertion: HeaderValue::from_static("<assertion>"), keys: keys.as_ref() };
            let mut tell = |name: &HeaderName, given: HeaderValue| set.push((name.to_string(), value(&given)));
            identity::tell(claims, &route.identity, Some(&proof), &mut tell);
            if let Some(name) = &self.settings.gateway.assertion.header {
                tell(name, proof.assertion);
            }
        }
        set
    }
}

/// What a route asks of who sends a request.
fn demands(route: &Route) -> String {
    let access = match route.access {
        Access::Public => "nothing",
        Access::Optional => "nothing, but looks who it is",
        Access::Required => "a login",
    };
    let mut demands = vec![access.to_owned()];
    let mut list = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            demands.push(format!("{what} {}", names.join(", ")));
        }
    };
    list("any role of", route.roles.iter().map(ToString::to_string).collect());
    list("all roles of", route.roles_all.iter().map(ToString::to_string).collect());
    list("all scopes of", route.scopes.clone());
    list("an address of", route.allow_ips.iter().map(ToString::to_string).collect());
    let more = [
        (route.min_aal > Aal::One).then(|| route.min_aal.as_str().to_owned()),
        route.max_auth_age.map(|age| format!("a login of the last {}", humantime::format_duration(age))),
        route.verified_email.then(|| "a proven address".to_owned()),
        route.rate_limit.map(|rate| format!("at most {} requests in {:?}", rate.window.max, rate.window.window)),
    ];
    demands.extend(more.into_iter().flatten());
    demands.join("; ")
}

fn parse_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as \"name: value\"")?;
    let name = name.trim().to_ascii_lowercase().parse().map_err(|_| format!("`{name}` is not a header name"))?;
    let value = value.trim().parse().map_err(|_| format!("the value of `{name}` cannot be sent"))?;
    Ok((name, value))
}

fn parse_who(text: &str) -> Result<Who, String> {
    if text == "anonymous" {
        return Ok(Who { user: None, persona: None });
    }
    let mut who = Who { user: None, persona: None };
    let mut persona = Persona::default();
    for (at, part) in text.split(',').map(str::trim).enumerate() {
        match part.split_once('=') {
            None if at == 0 && !part.is_empty() => who.user = Some(part.to_owned()),
            None => return Err(format!("`{part}` is not `key=value`")),
            Some(("role", role)) => persona.roles.push(role.to_owned()),
            Some(("scope", scope)) => persona.scopes.push(scope.to_owned()),
            Some(("aal", "1" | "aal1")) => persona.aal = Aal::One,
            Some(("aal", "2" | "aal2")) => persona.aal = Aal::Two,
            Some(("email_verified", "true")) => persona.email_verified = true,
            Some(("email_verified", "false")) => persona.email_verified = false,
            Some(("auth_age", age)) => persona.auth_age = user::parse_duration(age)?,
            Some((key @ ("aal" | "email_verified"), value)) => {
                return Err(format!("`{value}` is not a value of `{key}`"));
            }
            Some((key, _)) => {
                return Err(format!("`{key}` is not one of `role`, `aal`, `scope`, `email_verified`, `auth_age`"));
            }
        }
    }
    who.persona = Some(persona);
    Ok(who)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_described_in_one_argument() {
        let who = parse_who("ada@example.com,role=admin,role=user,aal=2,auth_age=20m,email_verified=false").unwrap();
        let persona = who.persona.unwrap();

        assert_eq!(who.user.as_deref(), Some("ada@example.com"));
        assert_eq!(persona.to_string(), "roles=[admin, user], aal2, address not verified, logged in 20m ago");
        assert!(parse_who("anonymous").unwrap().persona.is_none());
        assert!(parse_who("role=user").unwrap().user.is_none());
        for wrong in ["role=user,ada", "aal=3", "rank=1", "", "auth_age=old", "email_verified=maybe"] {
            assert!(parse_who(wrong).is_err(), "{wrong}");
        }
    }
}
