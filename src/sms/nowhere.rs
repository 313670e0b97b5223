//! No service for text messages: where `sms.provider` is the console and nobody sits in front of it.

use async_trait::async_trait;

use crate::mail::{DeliveryError, Rendered, Transport};

/// Gives every message up, and says why.
#[derive(Debug, Default)]
pub struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn deliver(&self, _message: &Rendered) -> Result<(), DeliveryError> {
        Err(DeliveryError::Permanent("no service for text messages is set up; see `sms.provider`".to_owned()))
    }
}
