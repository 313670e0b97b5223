//! Floor 4, webhooks: other programs learn what happened, and some are asked before it does.
//!
//! What happened is written into the outbox with the change itself and delivered from there
//! ([`Webhooks`]). What is asked before it happens holds the change up ([`hooks::Hooks`]).

pub mod hooks;
pub mod payload;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::config::settings;
use crate::outgoing::{DeliveryError, Endpoint, Outgoing};

/// The webhooks of one configuration.
#[derive(Debug, Clone)]
pub struct Webhooks {
    outgoing: Outgoing,
    by_name: Arc<HashMap<String, Arc<settings::Webhook>>>,
}

impl Webhooks {
    /// The webhooks of these settings.
    #[must_use]
    pub fn new(webhooks: &[Arc<settings::Webhook>], outgoing: Outgoing) -> Self {
        let by_name = webhooks.iter().map(|webhook| (webhook.name.clone(), Arc::clone(webhook))).collect();
        Self { outgoing, by_name: Arc::new(by_name) }
    }

    /// Who wants to know of events with this name.
    pub fn subscribers<'a>(&'a self, event: &'a str) -> impl Iterator<Item = &'a Arc<settings::Webhook>> {
        self.by_name.values().filter(move |webhook| webhook.events.iter().any(|wanted| wanted == event))
    }

    /// The one with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<settings::Webhook>> {
        self.by_name.get(name)
    }

    /// How often a delivery is tried.
    #[must_use]
    pub fn max_attempts(&self, name: &str) -> i64 {
        self.by_name.get(name).map_or(1, |webhook| i64::from(webhook.max_attempts))
    }

    /// Delivers one event, as [`payload`] wrote it.
    ///
    /// # Errors
    /// [`DeliveryError::Permanent`] when there is no such webhook any more, when its address lies in a
    /// private network, or when it says that it is gone.
    pub async fn deliver(&self, name: &str, body: &[u8]) -> Result<(), DeliveryError> {
        let gone = || DeliveryError::Permanent("there is no such webhook any more".to_owned());
        let webhook = self.by_name.get(name).ok_or_else(gone)?;
        let event: Value =
            serde_json::from_slice(body).map_err(|_| DeliveryError::Permanent("its body cannot be read".to_owned()))?;
        let text = |key: &str| event[key].as_str().unwrap_or("").to_owned();
        let endpoint = Endpoint {
            url: webhook.url.clone(),
            secret: Arc::clone(&webhook.secret),
            timeout: webhook.timeout,
            allow_private: webhook.allow_private,
        };
        self.outgoing.post(&endpoint, &text("type"), &text("id"), body.to_vec()).await.map(drop)
    }
}
