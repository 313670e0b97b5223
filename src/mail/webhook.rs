//! Mail by somebody else's program: a signed `POST` for each message.

use async_trait::async_trait;

use crate::mail::{DeliveryError, Rendered, Transport};
use crate::outgoing::{Endpoint, Outgoing};

/// Posts messages to an address of the operator's: `{to, template, subject, html, text, vars}`.
#[derive(Debug)]
pub struct Webhook {
    outgoing: Outgoing,
    endpoint: Endpoint,
}

impl Webhook {
    /// A transport to this endpoint.
    #[must_use]
    pub fn new(outgoing: Outgoing, endpoint: Endpoint) -> Self {
        Self { outgoing, endpoint }
    }
}

#[async_trait]
impl Transport for Webhook {
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError> {
        let body = serde_json::to_vec(message).map_err(|error| DeliveryError::Permanent(error.to_string()))?;
        self.outgoing.post(&self.endpoint, "message", &uuid::Uuid::now_v7().to_string(), body).await.map(drop)
    }
}
