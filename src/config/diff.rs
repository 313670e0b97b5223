//! What a reload changes, and what has to wait for a restart.

use crate::config::settings::Settings;

/// The changes between two configurations, by section or key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// In force at once.
    pub applied: Vec<&'static str>,
    /// In force after a restart; until then the old value counts.
    pub restart_required: Vec<&'static str>,
    /// Not allowed while running; the whole reload is refused.
    pub refused: Vec<&'static str>,
}

/// What changed from `old` to `new`.
#[must_use]
pub fn changes(old: &Settings, new: &Settings) -> Changes {
    let live = [
        ("server", shown(&live_server(old)) != shown(&live_server(new))),
        ("reload", old.reload.debounce != new.reload.debounce),
        ("jwt", shown(&old.jwt) != shown(&new.jwt)),
        (
            "session",
            old.session.max_lifetime != new.session.max_lifetime
                || old.session.revocation_max_stale != new.session.revocation_max_stale,
        ),
        ("token_delivery", old.delivery != new.delivery && old.delivery.cookie_prefix == new.delivery.cookie_prefix),
        ("security", old.security != new.security),
        ("signup", old.signup != new.signup),
        ("login", old.login != new.login),
        ("password", old.password != new.password),
        ("challenge", old.challenge != new.challenge),
        ("email", shown(&old.email) != shown(&new.email) || email_url(old) != email_url(new)),
        ("log", live_log(old) != live_log(new)),
        ("metrics", old.metrics.per_route_labels != new.metrics.per_route_labels),
        ("api", old.api != new.api),
        ("gateway", shown(&old.gateway) != shown(&new.gateway)),
        ("upstreams", old.upstreams != new.upstreams),
        ("routes", shown(&old.routes) != shown(&new.routes)),
    ];
    let restart = [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.data_dir", old.server.data_dir != new.server.data_dir),
        ("server.threads", old.server.threads != new.server.threads),
        ("server.management", old.management.addr != new.management.addr || token(old) != token(new)),
        ("reload.watch", old.reload.watch != new.reload.watch),
        ("database", old.database != new.database),
        ("session.revocation_poll", old.session.revocation_poll != new.session.revocation_poll),
        ("token_delivery.cookie_prefix", old.delivery.cookie_prefix != new.delivery.cookie_prefix),
        ("log.format", old.log.format != new.log.format),
        ("metrics.enabled", old.metrics.enabled != new.metrics.enabled),
        ("metrics.path", old.metrics.path != new.metrics.path),
    ];
    let exposed = |secret: &Option<crate::domain::secret::Secret<String>>| secret.as_ref().map(|s| s.expose().clone());
    let master = |settings: &Settings| settings.secrets.master_key.as_ref().map(|key| key.expose().clone());
    let refused = [
        ("secrets.master_key", master(old) != master(new)),
        ("jwt.access_secret", exposed(&old.jwt.access_secret) != exposed(&new.jwt.access_secret)),
        ("jwt.refresh_secret", exposed(&old.jwt.refresh_secret) != exposed(&new.jwt.refresh_secret)),
    ];
    Changes { applied: changed(&live), restart_required: changed(&restart), refused: changed(&refused) }
}

/// `new` with the old values of everything that needs a restart, so that nothing is half applied.
#[must_use]
pub fn without_restart_keys(old: &Settings, new: &Settings) -> Settings {
    let mut settings = new.clone();
    settings.server.listen = old.server.listen;
    settings.server.data_dir.clone_from(&old.server.data_dir);
    settings.server.threads = old.server.threads;
    settings.management = old.management.clone();
    settings.reload.watch = old.reload.watch;
    settings.database = old.database.clone();
    settings.session.revocation_poll = old.session.revocation_poll;
    if old.delivery.cookie_prefix != new.delivery.cookie_prefix {
        settings.delivery = old.delivery.clone();
        settings.security.csrf.cookie_name.clone_from(&old.security.csrf.cookie_name);
    }
    settings.log.format = old.log.format;
    settings.metrics.enabled = old.metrics.enabled;
    settings.metrics.path.clone_from(&old.metrics.path);
    settings
}

fn changed(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect()
}

fn live_log(settings: &Settings) -> (&str, bool, bool) {
    (&settings.log.level, settings.log.redact_pii, settings.log.access_log)
}

fn live_server(settings: &Settings) -> crate::config::settings::Server {
    let fixed = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let server = settings.server.clone();
    crate::config::settings::Server { listen: fixed, data_dir: std::path::PathBuf::new(), threads: 0, ..server }
}

fn token(settings: &Settings) -> Option<String> {
    settings.management.token.as_ref().map(|token| token.expose().clone())
}

fn email_url(settings: &Settings) -> Option<String> {
    match &settings.email.provider {
        crate::config::settings::EmailProvider::Console => None,
        crate::config::settings::EmailProvider::Smtp { url, .. } => Some(url.expose().clone()),
    }
}

/// Comparable text of settings that hold secrets, which are compared by themselves.
fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}
