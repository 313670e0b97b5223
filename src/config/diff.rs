//! What a reload changes, and what has to wait for a restart.

use crate::config::settings::{EmailProvider, Route, RuleTest, Settings, SmsProvider, default_origin, listening_key};

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
    // What follows from a key that waits for a restart waits with it, and is no change of its own.
    let in_force = without_restart_keys(old, new);
    Changes { applied: applied(old, &in_force), restart_required: waiting(old, new), refused: refused(old, new) }
}

/// The sections that are the same in both, as far as they can change while nauth runs.
#[must_use]
pub fn unchanged(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let waiting = waiting(old, new);
    let waits = |section: &str| {
        waiting.iter().any(|key| key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    let sections = sections(old, &without_restart_keys(old, new)).into_iter();
    sections.filter(|(section, changed)| !changed && !waits(section)).map(|(section, _)| section).collect()
}

fn applied(old: &Settings, new: &Settings) -> Vec<&'static str> {
    changed(&sections(old, new))
}

/// Every section that can change while nauth runs, and whether it does.
fn sections(old: &Settings, new: &Settings) -> Vec<(&'static str, bool)> {
    vec![
        ("server", old.server != new.server),
        ("server.tls", old.tls != new.tls),
        ("reload", old.reload.debounce != new.reload.debounce),
        ("transient", old.transient != new.transient),
        ("jwt", shown(&old.jwt) != shown(&new.jwt)),
        ("session", old.session != new.session),
        ("token_delivery", old.delivery != new.delivery),
        ("security", old.security != new.security),
        ("signup", old.signup != new.signup),
        ("login", old.login != new.login),
        ("password", old.password != new.password),
        ("challenge", old.challenge != new.challenge),
        ("mfa", old.mfa != new.mfa),
        ("geoip", old.geoip != new.geoip),
        ("email", shown(&old.email) != shown(&new.email) || email_secret(old) != email_secret(new)),
        ("notifications", old.notifications != new.notifications),
        ("sms", shown(&old.sms) != shown(&new.sms) || sms_secret(old) != sms_secret(new)),
        ("webhooks", shown(&old.webhooks) != shown(&new.webhooks) || webhook_secrets(old) != webhook_secrets(new)),
        ("hooks", shown(&old.hooks) != shown(&new.hooks) || hook_secrets(old) != hook_secrets(new)),
        ("lockout", old.lockout != new.lockout),
        ("rate_limit", old.rate_limit != new.rate_limit),
        ("audit", old.audit != new.audit),
        ("log", old.log != new.log),
        ("metrics", old.metrics.per_route_labels != new.metrics.per_route_labels),
        ("tracing", old.tracing != new.tracing),
        ("api", old.api != new.api),
        ("gateway", shown(&old.gateway) != shown(&new.gateway)),
        ("forward_auth", old.forward_auth != new.forward_auth),
        ("upstreams", old.upstreams != new.upstreams),
        ("routes", shown(&unplaced(old)) != shown(&unplaced(new))),
        ("tests", shown(&untold(old)) != shown(&untold(new))),
    ]
}

fn waiting(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let previous = |settings: &Settings| settings.secrets.previous.iter().map(|key| key.expose().clone()).collect();
    let (old_previous, new_previous): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (previous(old), previous(new));
    let is_short = |settings: &Settings| listening_key(&settings.server.listeners) == "server.listen";
    let listening = if is_short(old) { listening_key(&new.server.listeners) } else { "server.listeners" };
    // Else it may be another because they are.
    let follows_nothing = old.redis == new.redis && old.server.instances == new.server.instances;
    changed(&[
        (listening, old.server.listeners != new.server.listeners),
        ("server.data_dir", old.server.data_dir != new.server.data_dir),
        ("server.instances", old.server.instances != new.server.instances),
        ("server.threads", old.server.threads != new.server.threads),
        ("server.management", old.management.addr != new.management.addr || token(old) != token(new)),
        ("secrets.previous", old_previous != new_previous),
        ("jwt.private_key", private_key(old) != private_key(new)),
        ("reload.watch", old.reload.watch != new.reload.watch),
        ("database", old.database != new.database),
        ("redis", old.redis != new.redis),
        ("transient.backend", follows_nothing && old.transient.backend != new.transient.backend),
        ("session.revocation_poll", old.session.revocation_poll != new.session.revocation_poll),
        ("token_delivery.cookie_prefix", old.delivery.cookie_prefix != new.delivery.cookie_prefix),
        ("log.format", old.log.format != new.log.format),
        ("metrics.enabled", old.metrics.enabled != new.metrics.enabled),
        ("metrics.path", old.metrics.path != new.metrics.path),
    ])
}

fn refused(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let exposed = |secret: &Option<crate::domain::secret::Secret<String>>| secret.as_ref().map(|s| s.expose().clone());
    let master = |settings: &Settings| settings.secrets.master_key.as_ref().map(|key| key.expose().clone());
    changed(&[
        ("secrets.master_key", master(old) != master(new)),
        ("jwt.access_secret", exposed(&old.jwt.access_secret) != exposed(&new.jwt.access_secret)),
        ("jwt.refresh_secret", exposed(&old.jwt.refresh_secret) != exposed(&new.jwt.refresh_secret)),
    ])
}

/// `new` with the old values of everything that needs a restart, so that nothing is half applied.
#[must_use]
pub fn without_restart_keys(old: &Settings, new: &Settings) -> Settings {
    let mut settings = new.clone();
    keep_derived_origin(old, &mut settings);
    settings.server.listeners.clone_from(&old.server.listeners);
    if old.server.data_dir != new.server.data_dir && new.geoip.dir.starts_with(&new.server.data_dir) {
        settings.geoip = old.geoip.clone();
    }
    settings.server.data_dir.clone_from(&old.server.data_dir);
    settings.server.instances = old.server.instances;
    settings.server.threads = old.server.threads;
    settings.management = old.management.clone();
    if private_key(old) != private_key(new) {
        // A key is of one kind, so it stays with its algorithm.
        settings.jwt.private_key.clone_from(&old.jwt.private_key);
        settings.jwt.algorithm = old.jwt.algorithm;
    }
    settings.reload.watch = old.reload.watch;
    settings.secrets = old.secrets.clone();
    settings.database = old.database.clone();
    settings.redis.clone_from(&old.redis);
    settings.transient.backend = old.transient.backend.clone();
    settings.session.revocation_poll = old.session.revocation_poll;
    if old.delivery.cookie_prefix != new.delivery.cookie_prefix {
        // A prefix may demand flags (`__Host-`), so names and flags stay together.
        settings.delivery.cookie_prefix.clone_from(&old.delivery.cookie_prefix);
        settings.delivery.cookie = old.delivery.cookie.clone();
        settings.security.csrf.cookie_name.clone_from(&old.security.csrf.cookie_name);
        settings.security.csrf.cookie = old.security.csrf.cookie.clone();
    }
    settings.log.format = old.log.format;
    settings.metrics.enabled = old.metrics.enabled;
    settings.metrics.path.clone_from(&old.metrics.path);
    settings
}

fn changed(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect()
}

/// The default of `server.public_url` names the port, and a new port waits for a restart.
fn keep_derived_origin(old: &Settings, settings: &mut Settings) {
    let derived = |settings: &Settings| default_origin(&settings.server.listeners);
    let (origin, follows) = (derived(settings), settings.server.public_url.origin == derived(settings));
    if !follows || old.server.public_url.origin != derived(old) {
        return;
    }
    settings.server.public_url = old.server.public_url.clone();
    let issuer = std::iter::once(&mut settings.jwt.issuer);
    let lists = [&mut settings.jwt.audience, &mut settings.delivery.web_origins, &mut settings.security.cors_origins];
    for value in issuer.chain(lists.into_iter().flatten()).filter(|value| **value == origin) {
        value.clone_from(&old.server.public_url.origin);
    }
}

/// Routes without their lines: a comment above them changes nothing.
fn unplaced(settings: &Settings) -> Vec<Route> {
    settings.routes.iter().map(|route| Route { origin: String::new(), ..Route::clone(route) }).collect()
}

/// Tests without their lines.
fn untold(settings: &Settings) -> Vec<RuleTest> {
    settings.tests.iter().map(|test| RuleTest { origin: String::new(), ..test.clone() }).collect()
}

fn token(settings: &Settings) -> Option<String> {
    settings.management.token.as_ref().map(|token| token.expose().clone())
}

fn private_key(settings: &Settings) -> Option<&[u8]> {
    settings.jwt.private_key.as_ref().map(|key| key.expose().as_slice())
}

fn email_secret(settings: &Settings) -> Option<&str> {
    match &settings.email.provider {
        EmailProvider::Console | EmailProvider::File { .. } => None,
        EmailProvider::Smtp { url, .. } => Some(url.expose()),
        EmailProvider::Webhook(hook) => Some(hook.secret.expose()),
    }
}

fn sms_secret(settings: &Settings) -> Option<&str> {
    match &settings.sms.provider {
        SmsProvider::Console => None,
        SmsProvider::Twilio { auth_token, .. } => Some(auth_token.expose()),
        SmsProvider::Webhook(hook) => Some(hook.secret.expose()),
    }
}

fn webhook_secrets(settings: &Settings) -> Vec<&str> {
    settings.webhooks.iter().map(|webhook| webhook.secret.expose().as_str()).collect()
}

fn hook_secrets(settings: &Settings) -> Vec<&str> {
    settings.hooks.iter().map(|hook| hook.secret.expose().as_str()).collect()
}

/// Comparable text of settings that hold secrets, which are compared by themselves.
fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}
