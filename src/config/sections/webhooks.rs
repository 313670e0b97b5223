//! `[[webhooks]]`, `[[hooks]]`

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::config::reader::Section;
use crate::config::sections::server::number;
use crate::config::settings::{AuditSink, Hook, HookEvent, OnHookError, PublicUrl, WEBHOOK_EVENTS, Webhook};
use crate::domain::secret::Secret;

/// `sinks` may name webhooks that get entries of the audit trail, and then need no events.
pub(super) fn webhooks(root: &mut Section<'_>, public_url: &PublicUrl, sinks: &[AuditSink]) -> Vec<Arc<Webhook>> {
    let sections = root.sections("webhooks");
    if sections.is_empty() {
        webhook(root.absent("webhooks"), public_url, sinks);
    }
    let mut names = BTreeSet::new();
    let mut webhooks = Vec::with_capacity(sections.len());
    for section in sections {
        let at = section.at();
        let Some(webhook) = webhook(section, public_url, sinks) else { continue };
        if !names.insert(webhook.name.clone()) {
            root.report_at(at, format!("there are two webhooks `{}`", webhook.name), "names are unique");
        }
        webhooks.push(Arc::new(webhook));
    }
    webhooks
}

fn webhook(mut s: Section<'_>, public_url: &PublicUrl, sinks: &[AuditSink]) -> Option<Webhook> {
    let name = s.text("name", "", "Names it in the log; unique.");
    let url = url(&mut s, public_url);
    let doc = "Events: user.created, user.onboarded, user.updated, password.changed, account.disabled, \
               account.enabled, email.changed, phone.changed, sessions.revoked, mfa.enabled, mfa.method_added, \
               mfa.device_removed, risk.detected.";
    let events = s.choices("events", "[]", &WEBHOOK_EVENTS.map(|name| (name, name)), doc).unwrap_or_default();
    let events: Vec<String> = events.into_iter().map(str::to_owned).collect();
    let secret = secret(&mut s);
    let timeout = s.lasting("timeout", "5s", "Longest wait for an answer.");
    let max_attempts = number(s.integer("max_attempts", 8, 1..=50, "Tries before an event is given up."));
    let doc = "Whether addresses of private networks may be connected to.";
    let allow_private = s.boolean("allow_private", false, doc);
    let doc = "Whether events hold names, addresses and numbers of people.";
    let include_pii = s.boolean("include_pii", true, doc);
    if s.at().is_some() {
        if name.is_empty() {
            s.error("name", "a webhook needs a name", "write name = \"crm\"");
        }
        if events.is_empty() && !sinks.contains(&AuditSink::Webhook(name.clone())) {
            s.error("events", "a webhook needs events", "write events = [\"user.created\"]");
        }
    }
    s.finish();
    Some(Webhook { name, url: url?, events, secret: secret?, timeout, max_attempts, allow_private, include_pii })
}

pub(super) fn hooks(root: &mut Section<'_>, public_url: &PublicUrl) -> Vec<Arc<Hook>> {
    let sections = root.sections("hooks");
    if sections.is_empty() {
        hook(root.absent("hooks"), public_url);
    }
    sections.into_iter().filter_map(|section| hook(section, public_url).map(Arc::new)).collect()
}

fn hook(mut s: Section<'_>, public_url: &PublicUrl) -> Option<Hook> {
    let events = [("signup.pre", HookEvent::SignupPre), ("login.pre_token", HookEvent::LoginPreToken)];
    let event = s.choice("event", "signup.pre", &events, "Before what it is asked: signup.pre, login.pre_token.");
    let url = url(&mut s, public_url);
    let secret = secret(&mut s);
    let timeout = s.lasting("timeout", "2s", "Longest wait for an answer.");
    if timeout > Duration::from_secs(30) {
        s.error("timeout", "`timeout` of a hook is at most 30s", "somebody waits for it");
    }
    let on_error = s.choice(
        "on_error",
        "deny",
        &[("deny", OnHookError::Deny), ("allow", OnHookError::Allow)],
        "What no usable answer means.",
    );
    s.finish();
    Some(Hook { event, url: url?, secret: secret?, timeout, on_error })
}

fn url(s: &mut Section<'_>, public_url: &PublicUrl) -> Option<Url> {
    let text = s.text("url", "", "Where to: `https://…`; `http://…` only while `server.public_url` is loopback.");
    s.at()?;
    checked_url(s, &text, public_url)
}

fn secret(s: &mut Section<'_>) -> Option<Arc<Secret<String>>> {
    let secret = s.text("secret", "", "Signs what is sent; 32 characters or more.");
    s.at()?;
    checked_secret(s, secret).map(|secret| Arc::new(Secret::new(secret)))
}

/// The `url` of an endpoint of the operator's.
pub(super) fn checked_url(s: &Section<'_>, text: &str, public_url: &PublicUrl) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    match url {
        None => {
            s.error("url", format!("`{text}` is not a URL"), "write url = \"https://hooks.example.com/nauth\"");
            None
        }
        Some(url) if url.scheme() == "http" && !public_url.is_loopback() => {
            s.error("url", format!("`{text}` would carry secrets in the clear"), "write https://…");
            None
        }
        url => url,
    }
}

/// The `secret` of an endpoint of the operator's.
pub(super) fn checked_secret(s: &Section<'_>, secret: String) -> Option<String> {
    if secret.chars().count() < 32 {
        s.error("secret", "`secret` must have 32 characters or more", "make one with: openssl rand -hex 32");
        return None;
    }
    Some(secret)
}
