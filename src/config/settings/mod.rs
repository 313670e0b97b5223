//! The settings as the program uses them: resolved, checked, immutable.
//!
//! Nothing here is optional in the sense of "default": every default is applied, every secret is
//! read, every duration is parsed. A reload makes a whole new [`Settings`].

mod accounts;
mod assertion;
mod database;
mod forward_auth;
mod gateway;
mod geoip;
mod identity;
mod limits;
mod listeners;
mod messages;
mod mfa;
mod passwords;
mod routes;
mod rule_tests;
mod server;
mod tls;
mod tokens;
mod tracing;
mod transient;
mod upstreams;
mod webhooks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use accounts::*;
pub use assertion::*;
pub use database::*;
pub use forward_auth::*;
pub use gateway::*;
pub use geoip::*;
pub use identity::*;
pub use limits::*;
pub use listeners::*;
pub use messages::*;
pub use mfa::*;
pub use passwords::*;
pub use routes::*;
pub use rule_tests::*;
pub use server::*;
pub use tls::*;
pub use tokens::*;
pub use tracing::*;
pub use transient::*;
pub use upstreams::*;
pub use webhooks::*;

/// All of `nauth.toml`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every file the settings came from: the main one, the included ones, and those named in them.
    pub files: Vec<PathBuf>,
    /// `[server]`
    pub server: Server,
    /// `[server.management]`
    pub management: Management,
    /// `[server.tls]`
    pub tls: Tls,
    /// `[reload]`
    pub reload: Reload,
    /// `[secrets]`
    pub secrets: Secrets,
    /// `[database]`
    pub database: Database,
    /// `[redis]`; `None` while there is none.
    pub redis: Option<Redis>,
    /// `[transient]`
    pub transient: Transient,
    /// `[jwt]`
    pub jwt: Jwt,
    /// `[session]`
    pub session: Session,
    /// `[token_delivery]`
    pub delivery: Delivery,
    /// `[security]`
    pub security: Security,
    /// `[signup]`
    pub signup: Signup,
    /// `[login]`
    pub login: Login,
    /// `[password]`
    pub password: Password,
    /// `[challenge]`
    pub challenge: Challenge,
    /// `[mfa]`
    pub mfa: Mfa,
    /// `[geoip]`
    pub geoip: GeoIp,
    /// `[email]`
    pub email: Email,
    /// `[notifications]`
    pub notifications: Notifications,
    /// `[sms]`
    pub sms: Sms,
    /// `[[webhooks]]`
    pub webhooks: Vec<Arc<Webhook>>,
    /// `[[hooks]]`, in file order.
    pub hooks: Vec<Arc<Hook>>,
    /// `[lockout]`
    pub lockout: Lockout,
    /// `[rate_limit]`
    pub rate_limit: RateLimits,
    /// `[audit]`
    pub audit: Audit,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[tracing]`
    pub tracing: Tracing,
    /// `[api]`
    pub api: Api,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[forward_auth]`; `None` while it is not enabled.
    pub forward_auth: Option<ForwardAuth>,
    /// `[[upstreams]]`, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// `[[routes]]`, in file order.
    pub routes: Vec<Arc<Route>>,
    /// `[[tests]]`, in file order.
    pub tests: Vec<RuleTest>,
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub max: u32,
    /// In how long.
    pub window: Duration,
}
