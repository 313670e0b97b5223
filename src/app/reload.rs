//! Reloading: parse, check, build, swap; or change nothing and say why.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tracing::{error, warn};

use crate::app::reload_report::ReloadReport;
use crate::app::{post, prove};
use crate::auth::{Auth, Parts};
use crate::config::settings::{Described, Settings};
use crate::config::{self, Environment};
use crate::domain::context::RequestContext;
use crate::domain::event::Event;
use crate::domain::outcome::Persona;
use crate::gateway::policy::{self, Change};
use crate::gateway::tls::ServerTls;
use crate::gateway::{PublicEdge, Runtime};
use crate::logging::Logging;
use crate::metrics::{Metrics, ReloadResult};
use crate::outbox::WaysOut;
use crate::password_hash::Hasher;
use crate::tokens::signing::Use;
use crate::tokens::{KeyError, Wanted};

/// Requests of late, and who asked.
type Seen = Vec<(Described, Option<Persona>)>;

/// Replaces the settings of a running server.
pub struct Reloader {
    /// The main file.
    pub path: PathBuf,
    /// The environment the server was started with.
    pub environment: Environment,
    /// What is in force, and what it was read from.
    pub current: Mutex<InForce>,
    /// What the use cases stand on.
    pub parts: Arc<Parts>,
    /// The public listener.
    pub edge: Arc<PublicEdge>,
    /// How messages and events leave.
    pub ways_out: Arc<ArcSwap<WaysOut>>,
    /// The log.
    pub logging: Arc<Logging>,
    /// Counts.
    pub metrics: Metrics,
}

/// The settings in force and the fingerprint of their files.
pub struct InForce {
    /// The settings.
    pub settings: Arc<Settings>,
    /// SHA-256 of the files.
    pub fingerprint: String,
}

impl Reloader {
    /// Loads the file anew. One at a time.
    ///
    /// # Errors
    /// Why nothing changed, in words for whoever asked.
    pub async fn reload(&self) -> Result<ReloadReport, String> {
        let mut current = self.current.lock().await;
        let loaded = match config::load_for_reload(&self.path, &self.environment) {
            Ok(loaded) => loaded,
            Err(report) => return Err(self.reject(report.to_string())),
        };
        if let Err(report) = prove(&loaded) {
            return Err(self.reject(report.to_string()));
        }
        let changes = config::changes(&current.settings, &loaded.settings);
        if !changes.refused.is_empty() {
            let keys = changes.refused.join("`, `");
            return Err(self.reject(format!(
                "`{keys}` cannot change while nauth runs; rotate through `secrets.previous` and restart"
            )));
        }
        let settings = Arc::new(config::without_restart_keys(&current.settings, &loaded.settings));
        let seen = self.edge.gateway().recent().seen();
        let asked = seen.len();
        let decisions = match self.apply(&current.settings, &settings, seen).await {
            Ok(decisions) => decisions,
            Err(error) => return Err(self.reject(format!("{error:#}"))),
        };
        let result = if changes.applied.is_empty() { ReloadResult::Noop } else { ReloadResult::Applied };
        self.metrics.config_applied(&loaded.fingerprint, self.parts.clock.now(), Some(result));
        let report = ReloadReport {
            unchanged: config::unchanged(&current.settings, &loaded.settings),
            applied: changes.applied,
            restart_required: changes.restart_required,
            overridden: loaded.overridden,
            warnings: loaded.warnings.to_string(),
            asked,
            decisions,
        };
        *current = InForce { settings, fingerprint: loaded.fingerprint };
        report.log();
        if !report.applied.is_empty() {
            let event = Event::ConfigReloaded { sections: report.applied.clone() };
            self.parts.events.record_soon(&event, &RequestContext::local());
        }
        Ok(report)
    }

    /// Takes over keys that have changed since they were read; answers whether any have.
    pub async fn follow_keys(&self) -> Result<bool, KeyError> {
        // A reload in between would build on other keys.
        let current = self.current.lock().await;
        let changed = self.parts.keys.follow().await?;
        if changed {
            let gateway = self.edge.gateway();
            let auth = Auth::new(Arc::clone(&current.settings), Arc::clone(&self.parts));
            gateway.set_runtime(Runtime::build(auth, &self.metrics, Some(&gateway.runtime())));
        }
        let (ring, now) = (self.parts.keys.ring(), self.parts.clock.now());
        for of in Use::ALL {
            self.metrics.signing_key_age(of.as_str(), now.since(ring.signing(of).since));
        }
        Ok(changed)
    }

    /// Everything that can fail comes before the first thing that changes.
    /// Answers what is decided otherwise now of the requests that were `seen`.
    async fn apply(&self, old: &Settings, new: &Arc<Settings>, seen: Seen) -> anyhow::Result<Vec<Change>> {
        let wanted = Wanted::by(new);
        self.parts.keys.refit(&wanted, self.parts.clock.now()).await.context("the keys cannot be read")?;
        let ways_out = post::ways_out(new, &self.parts.outgoing)?;
        let outlet = post::outlet(new, &self.parts.outgoing)?;
        let hasher = if old.security.password_hash == new.security.password_hash {
            None
        } else {
            Some(Hasher::start(&new.security.password_hash, &self.metrics)?)
        };
        let gateway = self.edge.gateway();
        let auth = Auth::new(Arc::clone(new), Arc::clone(&self.parts));
        let previous = gateway.runtime();
        let runtime = Runtime::build(auth, &self.metrics, Some(&previous));
        let tls = ServerTls::build(&new.tls)?;
        let decisions = policy::changes(&previous.policy, &runtime.policy, seen, self.parts.clock.now());

        self.logging.reload(&new.log);
        self.ways_out.store(Arc::new(ways_out));
        self.parts.events.extend(new.jwt.leeway, new.jwt.access_ttl);
        self.parts.events.set_outlet(outlet);
        if let Some(hasher) = hasher {
            self.parts.hasher.store(Arc::new(hasher));
            let auth = gateway.runtime().auth.clone();
            tokio::spawn(async move {
                if let Err(error) = auth.learn_hash_kinds().await {
                    warn!(error = %crate::logging::chain(&error), "the kinds of password hashes cannot be looked up");
                }
            });
        }
        #[cfg(feature = "otel")]
        runtime.spans.send_to(new.tracing.collector.clone());
        gateway.set_runtime(runtime);
        self.edge.set_limits(&new.server, tls);
        self.metrics.certificates_expire(new.tls.expiries());
        Ok(decisions)
    }

    fn reject(&self, reason: String) -> String {
        self.metrics.config_rejected();
        error!("settings not reloaded; the old ones stay in force\n{reason}");
        reason
    }
}
