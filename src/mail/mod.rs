//! Floor 4, mail: from what happened to what a person reads.
//!
//! A [`Message`] is rendered when it is put into the outbox, in the transaction that causes it, and
//! delivered from there by the [`outbox`] dispatcher through one [`Transport`].

pub mod console;
pub mod outbox;
pub mod render;
pub mod smtp;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::contact::Email;
use crate::domain::secret::Secret;
use crate::metrics::MailTemplate;

pub use render::{RenderError, Renderer};

/// A message to a user.
#[derive(Debug, Clone)]
pub struct Message {
    /// Whom it goes to.
    pub to: Email,
    /// What it says.
    pub content: Content,
}

/// What messages say. A closed list: each has its templates.
#[derive(Debug, Clone)]
pub enum Content {
    /// The code that proves the address.
    Verification {
        /// The code.
        code: Secret<String>,
        /// How long it is good.
        ttl: Duration,
    },
}

impl Message {
    /// What kind of message it is.
    #[must_use]
    pub fn kind(&self) -> MailTemplate {
        match self.content {
            Content::Verification { .. } => MailTemplate::Verification,
        }
    }
}

/// A message as text. Holds secrets: sealed at rest, never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct Rendered {
    /// The address.
    pub to: String,
    /// One line.
    pub subject: String,
    /// The text part. A code stands alone on its line.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rendered([redacted])")
    }
}

/// Takes messages out of the house.
#[async_trait]
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Delivers one message.
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError>;
}

/// Why a message was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Trying again may help.
    #[error("{0}")]
    Temporary(String),
    /// Trying again does not help.
    #[error("{0}")]
    Permanent(String),
}
