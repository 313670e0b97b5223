//! How messages and events leave under one set of settings.

use anyhow::Context;

use crate::config::settings::{EmailProvider, MessageHook, Settings, SmsProvider};
use crate::events::{Outlet, Outputs};
use crate::mail::file::File;
use crate::mail::smtp::{Mime, Smtp};
use crate::mail::{Renderer, Transport, console, webhook};
use crate::outbox::WaysOut;
use crate::outgoing::{Endpoint, Outgoing};
use crate::sms;
use crate::webhooks::Webhooks;

/// Who is told of changes, and in which words.
///
/// # Errors
/// A template of the operator's that is of no use; a file that cannot be appended to.
pub(super) fn outlet(settings: &Settings, outgoing: &Outgoing) -> anyhow::Result<Outlet> {
    Ok(Outlet {
        audit: settings.audit.clone(),
        renderer: renderer(settings)?,
        notifications: settings.notifications,
        webhooks: Webhooks::new(&settings.webhooks, outgoing.clone()),
        geoip: settings.geoip.databases.clone(),
        outputs: Outputs::open(&settings.audit.sinks, settings.log.redact_pii)
            .context("a file of `audit.sink` cannot be written")?,
    })
}

/// The words messages are written with.
///
/// # Errors
/// A template of the operator's that is of no use.
pub fn renderer(settings: &Settings) -> anyhow::Result<Renderer> {
    Renderer::new(&settings.email, &settings.sms).context("a template of messages cannot be used")
}

/// The ways out of the house.
///
/// # Errors
/// A mail server or a sender that cannot be understood.
pub(super) fn ways_out(settings: &Settings, outgoing: &Outgoing) -> anyhow::Result<WaysOut> {
    Ok(WaysOut {
        mail: mail(settings, outgoing)?,
        sms: text_messages(settings, outgoing),
        webhooks: Webhooks::new(&settings.webhooks, outgoing.clone()),
    })
}

fn mail(settings: &Settings, outgoing: &Outgoing) -> anyhow::Result<Box<dyn Transport>> {
    let email = &settings.email;
    let mime = Mime::new(&email.from, email.reply_to.as_deref())?;
    Ok(match &email.provider {
        EmailProvider::Console => Box::new(console::Console),
        EmailProvider::File { directory } => Box::new(File::new(directory.clone(), mime)),
        EmailProvider::Smtp { url, timeout } => Box::new(Smtp::new(url, *timeout, mime)?),
        EmailProvider::Webhook(hook) => Box::new(webhook::Webhook::new(outgoing.clone(), endpoint(hook))),
    })
}

fn text_messages(settings: &Settings, outgoing: &Outgoing) -> Box<dyn Transport> {
    match &settings.sms.provider {
        SmsProvider::Console if settings.server.public_url.is_loopback() => Box::new(sms::Console),
        SmsProvider::Console => Box::new(sms::Nowhere),
        SmsProvider::Twilio { account_sid, auth_token, sender, api } => {
            Box::new(sms::Twilio::new(outgoing.clone(), api, account_sid, auth_token.clone(), sender.clone()))
        }
        SmsProvider::Webhook(hook) => Box::new(webhook::Webhook::new(outgoing.clone(), endpoint(hook))),
    }
}

/// An endpoint of the operator's own, which may well stand beside nauth.
fn endpoint(hook: &MessageHook) -> Endpoint {
    Endpoint {
        url: hook.url.clone(),
        secret: hook.secret.clone(),
        timeout: std::time::Duration::from_secs(15),
        allow_private: true,
    }
}
