//! Floor 4, mail: from what happened to what a person reads.
//!
//! A [`Message`] is rendered when it is put into the outbox, in the transaction that causes it, and
//! delivered from there by a [`Transport`].

pub mod console;
pub mod content;
pub mod file;
pub mod render;
pub mod smtp;
pub mod webhook;
mod when;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use crate::outgoing::DeliveryError;
pub use content::{About, Code, Content, Message, Recipient};
pub use render::{RenderError, Renderer};
pub use when::is_timezone;

/// A message as text. Holds secrets: sealed at rest, never logged.
#[derive(Clone, Serialize, Deserialize)]
pub struct Rendered {
    /// The address, or the number.
    pub to: String,
    /// What kind of message it is.
    #[serde(default)]
    pub template: String,
    /// One line; empty for a text message.
    pub subject: String,
    /// The text part. A code stands alone on its line.
    pub text: String,
    /// The HTML part; empty for a text message.
    pub html: String,
    /// What it was made of, for whoever writes the words themselves.
    #[serde(default)]
    pub vars: serde_json::Value,
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
