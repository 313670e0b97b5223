//! What nauth counts, for Prometheus.
//!
//! Every series is made here and nowhere else, in a registry of our own. Label values come from the
//! closed lists of this module's `labels`, or are names the operator gave to routes and upstreams. The path of a
//! request touches only handles made beforehand ([`RouteMetrics`], [`UpstreamMetrics`]): counting is
//! a few atomic additions.

mod connection;
mod database;
mod labels;
mod make;
mod route;
mod status;
mod upstream;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::domain::event::LockoutScope;
use crate::domain::session::EndReason;

pub use connection::ConnectionMetrics;
pub use database::DatabaseMetrics;
pub use labels::*;
pub use route::{InFlight, RouteMetrics};
pub use upstream::UpstreamMetrics;

use make::Make;
use status::StatusCounters;

/// The `route` label of requests no route takes.
pub const ROUTE_NONE: &str = "_none";
/// The `route` label of the auth API.
pub const ROUTE_AUTH: &str = "_auth";
/// The `route` label of every route where `metrics.per_route_labels` is off.
pub const ROUTE_ALL: &str = "_all";

/// The algorithm passwords are hashed with.
const ALGORITHM: &str = "argon2id";

/// Whole requests, the slowest uploads included.
const REQUEST_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// What nauth itself takes.
const OVERHEAD_SECONDS: &[f64] = &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05];
/// From the commit of a revocation to its force on this node.
const LAG_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// One statement.
const QUERY_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From an empty body to a large file.
const SIZE_BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 16_777_216.0];

/// Every series. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Series>);

#[derive(Debug)]
struct Series {
    registry: Registry,
    http_requests: IntCounterVec,
    http_request_duration: HistogramVec,
    http_requests_in_flight: IntGaugeVec,
    http_request_size: HistogramVec,
    http_response_size: HistogramVec,
    gateway_overhead: HistogramVec,
    upstream_requests: IntCounterVec,
    upstream_request_duration: HistogramVec,
    upstream_connect_errors: IntCounterVec,
    upstream_retries: IntCounterVec,
    upstream_healthy: IntGaugeVec,
    upstream_breaker_open: IntGaugeVec,
    connections_open: IntGaugeVec,
    streams_open: IntGaugeVec,
    streams_closed: IntCounterVec,
    authz_decisions: IntCounterVec,
    authz_duration: Histogram,
    forward_auth_requests: IntCounterVec,
    forward_auths: Vec<OnceLock<IntCounter>>,
    rejected_requests: IntCounterVec,
    spoofed_headers: IntCounterVec,
    rate_limited: IntCounterVec,
    uncounted: IntCounterVec,
    token_verifications: IntCounterVec,
    verifications: Vec<OnceLock<IntCounter>>,
    session_refreshes: IntCounterVec,
    session_refresh_duration: Histogram,
    session_refresh_waiters: IntGauge,
    session_cache_requests: IntCounterVec,
    cache_requests: Vec<OnceLock<IntCounter>>,
    sessions_active: IntGauge,
    sessions_ended: IntCounterVec,
    revocation_lag: Histogram,
    auth_events: IntCounterVec,
    account_lockouts: IntCounterVec,
    login_duration: HistogramVec,
    password_hash_duration: HistogramVec,
    password_hash_queue_depth: IntGauge,
    emails: IntCounterVec,
    webhook_deliveries: IntCounterVec,
    webhook_queue_depth: IntGauge,
    config_reloads: IntCounterVec,
    config_last_reload_successful: IntGauge,
    config_last_reload_success_timestamp: Gauge,
    config_info: IntGaugeVec,
    signing_key_age: IntGaugeVec,
    cert_not_after: IntGaugeVec,
    db_query_duration: HistogramVec,
    db_pool_connections: IntGaugeVec,
    db_errors: IntCounterVec,
    audit_dropped: IntCounter,
}

impl Metrics {
    /// A registry with every series at zero.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a flat list of every series, one after the other")]
    pub fn new() -> Self {
        let make = Make(Registry::new());
        make.build_info();
        make.0.register(Box::new(ProcessCollector::for_self())).expect("every name is registered once");
        let metrics = Self(Arc::new(Series {
            http_requests: make.counters(
                "nauth_http_requests_total",
                "Requests answered.",
                &["route", "method", "code"],
            ),
            http_request_duration: make.histograms(
                "nauth_http_request_duration_seconds",
                "From the request's head to the end of the answer.",
                &["route", "method"],
                REQUEST_SECONDS,
            ),
            http_requests_in_flight: make.gauges(
                "nauth_http_requests_in_flight",
                "Requests being answered.",
                &["route"],
            ),
            http_request_size: make.histograms(
                "nauth_http_request_size_bytes",
                "Bytes of request bodies.",
                &["route"],
                SIZE_BYTES,
            ),
            http_response_size: make.histograms(
                "nauth_http_response_size_bytes",
                "Bytes of response bodies.",
                &["route"],
                SIZE_BYTES,
            ),
            gateway_overhead: make.histograms(
                "nauth_gateway_overhead_seconds",
                "From a request's head until the upstream is asked.",
                &["route"],
                OVERHEAD_SECONDS,
            ),
            upstream_requests: make.counters(
                "nauth_upstream_requests_total",
                "Answers of upstreams.",
                &["upstream", "code"],
            ),
            upstream_request_duration: make.histograms(
                "nauth_upstream_request_duration_seconds",
                "From sending a request to the head of the upstream's answer.",
                &["upstream"],
                REQUEST_SECONDS,
            ),
            upstream_connect_errors: make.counters(
                "nauth_upstream_connect_errors_total",
                "Connections to upstreams that failed.",
                &["upstream", "reason"],
            ),
            upstream_retries: make.counters("nauth_upstream_retries_total", "Further tries.", &["upstream", "outcome"]),
            upstream_healthy: make.gauges(
                "nauth_upstream_healthy",
                "Whether requests go to a target.",
                &["upstream", "endpoint"],
            ),
            upstream_breaker_open: make.gauges(
                "nauth_upstream_breaker_open",
                "Whether there is no room for another request.",
                &["upstream"],
            ),
            connections_open: make.gauges(
                "nauth_connections_open",
                "Connections of clients.",
                &["listener", "protocol"],
            ),
            streams_open: make.gauges("nauth_streams_open", "Streams being relayed.", &["route", "kind"]),
            streams_closed: make.counters(
                "nauth_streams_closed_total",
                "Streams that ended.",
                &["route", "kind", "reason"],
            ),
            authz_decisions: make.counters(
                "nauth_authz_decisions_total",
                "Who was let through, and why.",
                &["route", "decision", "reason"],
            ),
            authz_duration: make.histogram(
                "nauth_authz_duration_seconds",
                "From a request's head to the decision about it.",
                OVERHEAD_SECONDS,
            ),
            forward_auth_requests: make.counters(
                "nauth_forward_auth_requests_total",
                "Questions of other proxies, and how they were answered.",
                &["preset", "decision"],
            ),
            forward_auths: slots(Asker::ALL.len() * Decision::ALL.len()),
            rejected_requests: make.counters(
                "nauth_rejected_requests_total",
                "Requests refused before routing.",
                &["reason"],
            ),
            spoofed_headers: make.counters(
                "nauth_spoofed_headers_stripped_total",
                "Identity headers of clients that were dropped.",
                &["header_class"],
            ),
            rate_limited: make.counters(
                "nauth_rate_limited_total",
                "Requests, messages and tries refused because there were too many.",
                &["scope", "key"],
            ),
            uncounted: make.counters(
                "nauth_rate_uncounted_total",
                "Requests, messages and tries that could not be counted.",
                &["scope", "result"],
            ),
            verifications: slots(CredentialKind::ALL.len() * VerificationResult::ALL.len()),
            cache_requests: slots(CacheResult::ALL.len()),
            token_verifications: make.counters(
                "nauth_token_verifications_total",
                "Tokens verified.",
                &["kind", "result"],
            ),
            session_refreshes: make.counters("nauth_session_refreshes_total", "Refreshes of sessions.", &["result"]),
            session_refresh_duration: make.histogram(
                "nauth_session_refresh_duration_seconds",
                "How long refreshes take.",
                REQUEST_SECONDS,
            ),
            session_refresh_waiters: make
                .gauge("nauth_session_refresh_waiters", "Requests waiting for another one's refresh."),
            session_cache_requests: make.counters(
                "nauth_session_cache_requests_total",
                "Lookups in the cache of verified tokens.",
                &["result"],
            ),
            sessions_active: make.gauge("nauth_sessions_active", "Sessions that have not ended."),
            sessions_ended: make.counters("nauth_sessions_ended_total", "Sessions ended on purpose.", &["reason"]),
            revocation_lag: make.histogram(
                "nauth_revocation_lag_seconds",
                "From the commit of a revocation to its force on this node.",
                LAG_SECONDS,
            ),
            auth_events: make.counters(
                "nauth_auth_events_total",
                "What users did.",
                &["event", "method", "result", "error"],
            ),
            account_lockouts: make.counters(
                "nauth_account_lockouts_total",
                "Times too many logins had failed.",
                &["scope"],
            ),
            login_duration: make.histograms(
                "nauth_login_duration_seconds",
                "How long logins take.",
                &["method"],
                REQUEST_SECONDS,
            ),
            password_hash_duration: make.histograms(
                "nauth_password_hash_duration_seconds",
                "How long hashing a password takes, the wait excluded.",
                &["op", "algorithm"],
                REQUEST_SECONDS,
            ),
            password_hash_queue_depth: make.gauge("nauth_password_hash_queue_depth", "Passwords waiting to be hashed."),
            emails: make.counters("nauth_emails_total", "Mails handed to the mail server.", &["template", "result"]),
            webhook_deliveries: make.counters(
                "nauth_webhook_deliveries_total",
                "Events handed to webhooks.",
                &["hook", "result"],
            ),
            webhook_queue_depth: make.gauge("nauth_webhook_queue_depth", "Events waiting for webhooks."),
            config_reloads: make.counters("nauth_config_reloads_total", "Reloads of the settings.", &["result"]),
            config_last_reload_successful: make
                .gauge("nauth_config_last_reload_successful", "Whether the last reload took effect."),
            config_last_reload_success_timestamp: make
                .float_gauge("nauth_config_last_reload_success_timestamp_seconds", "When settings last took effect."),
            signing_key_age: make.gauges("nauth_signing_key_age_seconds", "How old the keys are that sign.", &["use"]),
            config_info: make.gauges("nauth_config_info", "The settings in force.", &["sha256"]),
            cert_not_after: make.gauges(
                "nauth_tls_cert_not_after_timestamp_seconds",
                "When certificates expire.",
                &["server_name"],
            ),
            db_query_duration: make.histograms(
                "nauth_db_query_duration_seconds",
                "How long the database takes.",
                &["operation"],
                QUERY_SECONDS,
            ),
            db_pool_connections: make.gauges("nauth_db_pool_connections", "Connections to the database.", &["state"]),
            db_errors: make.counters(
                "nauth_db_errors_total",
                "Times the database did not do what it was asked for.",
                &["kind"],
            ),
            audit_dropped: make.counter("nauth_audit_dropped_total", "Audit rows lost."),
            registry: make.0,
        }));
        metrics.begin_at_nought();
        metrics
    }

    /// Counts at nought what alerts look for: an increase from nothing to one is none to Prometheus.
    fn begin_at_nought(&self) {
        for result in RefreshResult::ALL {
            self.0.session_refreshes.with_label_values(&[result.as_str()]);
        }
        for result in ReloadResult::ALL {
            self.0.config_reloads.with_label_values(&[result.as_str()]);
        }
        for (scope, result) in
            RateScope::ALL.iter().flat_map(|scope| Uncounted::ALL.iter().map(move |result| (scope, result)))
        {
            self.0.uncounted.with_label_values(&[scope.as_str(), result.as_str()]);
        }
        for template in MailTemplate::ALL {
            self.0.emails.with_label_values(&[template.as_str(), DeliveryResult::Dead.as_str()]);
        }
    }

    /// Everything counted so far, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text).expect("writing to memory succeeds");
        String::from_utf8(text).expect("labels are text")
    }

    /// The handles of one route; made once for each generation of settings.
    #[must_use]
    pub fn route(&self, name: &str) -> RouteMetrics {
        RouteMetrics::new(&self.0, name)
    }

    /// The handles of one upstream; made once for each generation of settings.
    #[must_use]
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics::new(&self.0, name)
    }

    /// The gauges of a listener's connections.
    #[must_use]
    pub fn connections(&self, listener: Listener) -> ConnectionMetrics {
        ConnectionMetrics::new(&self.0.connections_open, listener)
    }

    /// The handles of the database.
    #[must_use]
    pub fn database(&self) -> DatabaseMetrics {
        DatabaseMetrics::new(&self.0.db_query_duration, &self.0.db_errors)
    }

    /// So many connections to the database there are now.
    pub fn database_connections(&self, state: DatabaseConnection, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.db_pool_connections.with_label_values(&[state.as_str()]).set(count);
    }

    /// A proxy asked whether a request may pass.
    pub fn asked(&self, asker: Asker, decision: Decision) {
        let slot = (asker as usize) * Decision::ALL.len() + (decision as usize);
        let labels = [asker.as_str(), decision.as_str()];
        self.0.forward_auths[slot].get_or_init(|| self.0.forward_auth_requests.with_label_values(&labels)).inc();
    }

    /// A request was refused before any route was looked at.
    pub fn rejected(&self, reason: Rejection) {
        self.0.rejected_requests.with_label_values(&[reason.as_str()]).inc();
    }

    /// An identity header of a client was dropped.
    pub fn spoofed_header_stripped(&self, class: HeaderClass) {
        self.0.spoofed_headers.with_label_values(&[class.as_str()]).inc();
    }

    /// Something was refused because there was too much of it.
    pub fn rate_limited(&self, scope: RateScope, key: RateKey) {
        self.0.rate_limited.with_label_values(&[scope.as_str(), key.as_str()]).inc();
    }

    /// Something could not be counted, because whoever counts did not answer.
    pub fn uncounted(&self, scope: RateScope, result: Uncounted) {
        self.0.uncounted.with_label_values(&[scope.as_str(), result.as_str()]).inc();
    }

    /// A token was verified.
    pub fn token_verified(&self, kind: CredentialKind, result: VerificationResult) {
        // The vector finds its counters under a lock that all requests would share.
        let slot = (kind as usize) * VerificationResult::ALL.len() + (result as usize);
        let labels = [kind.as_str(), result.as_str()];
        self.0.verifications[slot].get_or_init(|| self.0.token_verifications.with_label_values(&labels)).inc();
    }

    /// The cache of verified tokens was asked.
    pub fn session_cache(&self, result: CacheResult) {
        let counter = &self.0.cache_requests[result as usize];
        counter.get_or_init(|| self.0.session_cache_requests.with_label_values(&[result.as_str()])).inc();
    }

    /// A refresh ended after `took`.
    pub fn session_refreshed(&self, result: RefreshResult, took: Duration) {
        self.0.session_refreshes.with_label_values(&[result.as_str()]).inc();
        self.0.session_refresh_duration.observe(took.as_secs_f64());
    }

    /// The gauge of requests waiting for another one's refresh.
    #[must_use]
    pub fn session_refresh_waiters(&self) -> &IntGauge {
        &self.0.session_refresh_waiters
    }

    /// So many sessions had not ended when they were last counted.
    pub fn sessions_active(&self, count: i64) {
        self.0.sessions_active.set(count);
    }

    /// `count` sessions were ended.
    pub fn sessions_ended(&self, reason: EndReason, count: u64) {
        self.0.sessions_ended.with_label_values(&[reason.as_str()]).inc_by(count);
    }

    /// A revocation is in force `lag` after its commit.
    pub fn revocation_lag(&self, lag: Duration) {
        self.0.revocation_lag.observe(lag.as_secs_f64());
    }

    /// A user did something, or tried.
    pub fn auth_event(&self, event: AuthEvent, method: AuthMethod, result: AuthResult, error: AuthError) {
        let labels = [event.as_str(), method.as_str(), result.as_str(), error.as_str()];
        self.0.auth_events.with_label_values(&labels).inc();
    }

    /// A user tried something with a password and was refused.
    pub fn refused(&self, event: AuthEvent, error: &Error) {
        self.auth_event(event, AuthMethod::Password, AuthResult::Failure, AuthError::from(error));
    }

    /// Too many logins have failed.
    pub fn locked_out(&self, scope: LockoutScope) {
        self.0.account_lockouts.with_label_values(&[scope.as_str()]).inc();
    }

    /// A login was answered after `took`.
    pub fn login_took(&self, method: AuthMethod, took: Duration) {
        self.0.login_duration.with_label_values(&[method.as_str()]).observe(took.as_secs_f64());
    }

    /// A password was hashed.
    pub fn password_hashed(&self, op: HashOp, took: Duration) {
        self.0.password_hash_duration.with_label_values(&[op.as_str(), ALGORITHM]).observe(took.as_secs_f64());
    }

    /// The gauge of passwords waiting to be hashed.
    #[must_use]
    pub fn password_hash_queue_depth(&self) -> &IntGauge {
        &self.0.password_hash_queue_depth
    }

    /// The delivery of a mail was tried.
    pub fn email(&self, template: MailTemplate, result: DeliveryResult) {
        self.0.emails.with_label_values(&[template.as_str(), result.as_str()]).inc();
    }

    /// The delivery of an event to a webhook, by its configured name, was tried.
    pub fn webhook(&self, hook: &str, result: DeliveryResult) {
        self.0.webhook_deliveries.with_label_values(&[hook, result.as_str()]).inc();
    }

    /// So many events waited for webhooks when they were last counted.
    pub fn webhook_queue_depth(&self, count: i64) {
        self.0.webhook_queue_depth.set(count);
    }

    /// Settings with this digest took effect, at the start (`result` is `None`) or by a reload.
    pub fn config_applied(&self, sha256: &str, at: Time, result: Option<ReloadResult>) {
        self.0.config_info.reset();
        self.0.config_info.with_label_values(&[sha256]).set(1);
        self.0.config_last_reload_successful.set(1);
        let micros = Duration::from_micros(u64::try_from(at.micros()).unwrap_or(0));
        self.0.config_last_reload_success_timestamp.set(micros.as_secs_f64());
        if let Some(result) = result {
            self.0.config_reloads.with_label_values(&[result.as_str()]).inc();
        }
    }

    /// A key for this use was made this long ago.
    pub fn signing_key_age(&self, of: &'static str, age: Duration) {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.0.signing_key_age.with_label_values(&[of]).set(seconds);
    }

    /// The certificates in force, by the names they are for.
    pub fn certificates_expire<'a>(&self, expiries: impl Iterator<Item = (&'a str, Time)>) {
        self.0.cert_not_after.reset();
        for (name, at) in expiries {
            self.0.cert_not_after.with_label_values(&[name]).set(at.secs());
        }
    }

    /// A reload changed nothing because the files are unusable.
    pub fn config_rejected(&self) {
        self.0.config_last_reload_successful.set(0);
        self.0.config_reloads.with_label_values(&[ReloadResult::Rejected.as_str()]).inc();
    }

    /// Audit rows were lost.
    pub fn audit_dropped(&self, rows: u64) {
        self.0.audit_dropped.inc_by(rows);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Room for counters that are found once and then kept.
fn slots(count: usize) -> Vec<OnceLock<IntCounter>> {
    (0..count).map(|_| OnceLock::new()).collect()
}

#[cfg(test)]
mod tests;
