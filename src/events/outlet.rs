//! What leaves the house because of a change: messages to users, events to webhooks. All of it is
//! written into the outbox with the change itself.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::settings::{Audit, AuditSink, Notifications, Webhook};
use crate::domain::clock::Time;
use crate::domain::context::RequestContext;
use crate::domain::error::Error;
use crate::domain::event::Event;
use crate::domain::id::{UserId, random_number};
use crate::domain::user::User;
use crate::events::{Outputs, audit};
use crate::geoip::Databases;
use crate::mail::{Message, Recipient, Renderer};
use crate::sealing::{OUTBOX, Sealer};
use crate::store::Tx;
use crate::store::audit::AuditRow;
use crate::store::outbox::{Channel, NewMessage};
use crate::webhooks::{Webhooks, payload};

/// What an entry of the audit trail is called towards webhooks.
pub(super) const AUDIT_ENTRY: &str = "audit.entry";
/// How long an event is worth telling. A webhook's `max_attempts` usually ends it sooner.
const EVENT_TTL: Duration = Duration::from_hours(7 * 24);

/// Who is told, and in which words. Replaced as a whole by a reload.
#[derive(Debug)]
pub struct Outlet {
    /// What is kept.
    pub audit: Audit,
    /// Turns messages into text.
    pub renderer: Renderer,
    /// Which messages are wanted.
    pub notifications: Notifications,
    /// Who wants to know of events.
    pub webhooks: Webhooks,
    /// Where clients are.
    pub geoip: Databases,
    /// Who reads entries of the audit trail line by line.
    pub outputs: Outputs,
}

impl Outlet {
    /// Writes down what users are to read; answers how many messages there are.
    pub(super) async fn tell_users(
        &self,
        tx: &mut Tx,
        sealer: &Sealer,
        messages: &[(Message, Time)],
        now: Time,
    ) -> Result<usize, Error> {
        let mut count = 0;
        for (message, expires_at) in messages {
            if !message.content.is_wanted(&self.notifications) {
                continue;
            }
            let rendered = self.renderer.render(message, now).map_err(|error| Error::Internal(Box::new(error)))?;
            let channel = match message.to {
                Recipient::Email(_) => Channel::Email,
                Recipient::Phone(_) => Channel::Sms,
            };
            let kind = message.kind();
            let letter = Letter { channel, target: None, kind, expires_at: *expires_at };
            letter.enqueue(tx, sealer, &json(&rendered)?, now).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes down an entry of the audit trail for whichever webhook gets them; answers how many deliveries
    /// there are.
    pub(super) async fn tell_sinks(
        &self,
        tx: &mut Tx,
        sealer: &Sealer,
        row: &AuditRow,
        ctx: &RequestContext,
        now: Time,
    ) -> Result<usize, Error> {
        let mut count = 0;
        for sink in &self.audit.sinks {
            let AuditSink::Webhook(name) = sink else { continue };
            let Some(webhook) = self.webhooks.named(name) else { continue };
            let mut entry = audit::json(row, ctx, now);
            if !webhook.include_pii {
                // Masked, or in somebody's own words, but of a person.
                for personal in ["metadata", "reason", "deviceName"] {
                    entry.remove(personal);
                }
            }
            let user = json!({ "sub": row.user.map(|id| id.to_string()) });
            let data = Map::from_iter([("entry".to_owned(), Value::Object(entry))]);
            let body = payload::envelope(AUDIT_ENTRY, &user, self.client(webhook, ctx), data, now);
            let target = Some(webhook.name.as_str());
            let letter = Letter { channel: Channel::Webhook, target, kind: AUDIT_ENTRY, expires_at: now + EVENT_TTL };
            letter.enqueue(tx, sealer, &json::<Value>(&body)?, now).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes down what webhooks are to learn; answers how many deliveries there are.
    pub(super) async fn tell_webhooks(
        &self,
        tx: &mut Tx,
        sealer: &Sealer,
        events: &[Event],
        ctx: &RequestContext,
        now: Time,
    ) -> Result<usize, Error> {
        let mut count = 0;
        let mut known: HashMap<UserId, Option<User>> = HashMap::new();
        for (name, id, data) in events.iter().filter_map(payload::of) {
            let mut subscribers = self.webhooks.subscribers(name).peekable();
            if subscribers.peek().is_some() && !known.contains_key(&id) {
                known.insert(id, tx.users().by_id(id).await?);
            }
            for webhook in subscribers {
                // Whoever is gone by now still has an id.
                let user = match known.get(&id) {
                    Some(Some(user)) => payload::user(user, webhook.include_pii),
                    _ => json!({ "sub": id.to_string() }),
                };
                let body = payload::envelope(name, &user, self.client(webhook, ctx), data.clone(), now);
                let target = Some(webhook.name.as_str());
                let letter = Letter { channel: Channel::Webhook, target, kind: name, expires_at: now + EVENT_TTL };
                letter.enqueue(tx, sealer, &json::<Value>(&body)?, now).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// What a webhook learns of the client.
    fn client(&self, webhook: &Webhook, ctx: &RequestContext) -> Value {
        if webhook.include_pii { payload::client(ctx, &self.geoip) } else { json!({}) }
    }
}

/// What stands on the outside.
struct Letter<'a> {
    channel: Channel,
    target: Option<&'a str>,
    kind: &'a str,
    expires_at: Time,
}

impl Letter<'_> {
    async fn enqueue(&self, tx: &mut Tx, sealer: &Sealer, body: &[u8], now: Time) -> Result<(), Error> {
        let id = random_number();
        let Letter { channel, target, kind, expires_at } = *self;
        let sealed = sealer.seal(OUTBOX, id, body);
        tx.outbox().insert(&NewMessage { id, channel, target, kind, sealed: &sealed, expires_at }, now).await?;
        Ok(())
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(Box::new(error)))
}
