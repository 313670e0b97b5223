//! The snapshot a request lives on: settings and everything compiled from them.
//!
//! Immutable. A reload builds another one and swaps the pointer; requests in flight finish on theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use http::{HeaderMap, HeaderValue};

use crate::api::{AuthApi, jwks};
use crate::auth::Auth;
use crate::config::settings::{Route, Settings};
use crate::gateway::credentials::CookieNames;
use crate::gateway::identity::Proof;
use crate::gateway::managed::Managed;
use crate::gateway::policy::Policy;
#[cfg(feature = "otel")]
use crate::gateway::spans::Spans;
use crate::gateway::trace::{Sampling, Trace};
use crate::gateway::upstream::Balanced;
use crate::metrics::{Metrics, ROUTE_ALL, ROUTE_AUTH, ROUTE_NONE, RouteMetrics};
use crate::tokens::AccessToken;

/// What one generation of settings has been made into.
#[derive(Debug)]
pub struct Runtime {
    /// Its number: each reload's is another.
    pub generation: u64,
    /// The settings.
    pub settings: Arc<Settings>,
    /// The use cases.
    pub auth: Auth,
    /// The auth API.
    pub api: Arc<AuthApi>,
    /// Which Hosts are served, which route a request takes, and who may.
    pub policy: Policy,
    /// Names that clients may not send.
    pub managed: Managed,
    /// Names of our cookies.
    pub names: CookieNames,
    /// What browsers are told on answers over TLS: to come by https only.
    pub hsts: Option<HeaderValue>,
    /// Which traces that begin here are recorded.
    pub sampling: Sampling,
    /// Where spans go.
    #[cfg(feature = "otel")]
    pub spans: Spans,
    /// Counters of what no route takes.
    pub unrouted: Arc<RouteMetrics>,
    /// Counters of the auth API.
    pub auth_metrics: Arc<RouteMetrics>,
    /// Where the keys of assertions are.
    jwks: Option<HeaderValue>,
    upstreams: BTreeMap<String, Arc<Balanced>>,
    route_metrics: AHashMap<String, Arc<RouteMetrics>>,
}

impl Runtime {
    /// Compiles the settings `auth` was built for. Upstreams that did not change keep their state.
    #[must_use]
    pub fn build(auth: Auth, metrics: &Metrics, previous: Option<&Self>) -> Self {
        let settings = Arc::clone(auth.settings());
        let none = BTreeMap::new();
        let upstreams =
            Balanced::all(&settings.upstreams, previous.map_or(&none, |runtime| &runtime.upstreams), metrics);
        let label = |route: &Route| {
            if settings.metrics.per_route_labels { route.name.clone() } else { ROUTE_ALL.to_owned() }
        };
        let route_metrics =
            settings.routes.iter().map(|route| (route.name.clone(), Arc::new(metrics.route(&label(route)))));
        Self {
            generation: previous.map_or(0, |runtime| runtime.generation) + 1,
            api: Arc::new(AuthApi::new(auth.clone())),
            policy: Policy::new(&settings),
            managed: Managed::new(&settings),
            jwks: jwks::address(&settings).and_then(|address| HeaderValue::try_from(address).ok()),
            names: CookieNames::new(&settings.delivery.cookie_prefix, &settings.security.csrf.cookie_name),
            hsts: hsts(&settings),
            sampling: Sampling::of(settings.tracing.sample),
            #[cfg(feature = "otel")]
            spans: previous.map(|runtime| runtime.spans.clone()).unwrap_or_default(),
            unrouted: Arc::new(metrics.route(ROUTE_NONE)),
            auth_metrics: Arc::new(metrics.route(ROUTE_AUTH)),
            route_metrics: route_metrics.collect(),
            upstreams,
            auth,
            settings,
        }
    }

    /// The same with somewhere for spans to go; its followers have it from it.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn with_spans(self, spans: Spans) -> Self {
        Self { spans, ..self }
    }

    /// The trace a request brings along, as it goes on from here.
    #[must_use]
    pub fn continued(&self, headers: &HeaderMap) -> Option<Trace> {
        let trace = Trace::brought(headers)?;
        #[cfg(feature = "otel")]
        if trace.is_sampled && self.spans.is_on() {
            return Some(trace.recorded());
        }
        Some(trace)
    }

    /// What an upstream is shown of whose request this is.
    #[must_use]
    pub fn proof(&self, token: &AccessToken, upstream: &str) -> Proof<'_> {
        Proof { assertion: self.auth.assertions().of(token, upstream), keys: self.jwks.as_ref() }
    }

    /// The upstream of a route; `None` when it is there for other proxies' questions alone.
    #[must_use]
    pub fn upstream(&self, route: &Route) -> Option<Arc<Balanced>> {
        self.upstreams.get(&route.upstream).map(Arc::clone)
    }

    /// Every upstream.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Balanced>> {
        self.upstreams.values()
    }

    /// The counters of a route.
    #[must_use]
    pub fn route_metrics(&self, route: &Route) -> Arc<RouteMetrics> {
        Arc::clone(self.route_metrics.get(&route.name).unwrap_or(&self.unrouted))
    }
}

/// Nothing while `public_url` is loopback: a browser would remember it for whatever else runs on that machine.
fn hsts(settings: &Settings) -> Option<HeaderValue> {
    let seconds = settings.tls.hsts.as_secs();
    let wanted = seconds > 0 && !settings.server.public_url.is_loopback();
    wanted.then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}
