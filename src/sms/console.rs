//! Text messages on the terminal, for a machine without a service.

use std::io::Write;

use async_trait::async_trait;

use crate::mail::{DeliveryError, Rendered, Transport};

/// Prints messages to standard output, past the log.
#[derive(Debug, Default)]
pub struct Console;

#[async_trait]
impl Transport for Console {
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError> {
        let line: String = message.text.chars().filter(|c| !c.is_control()).collect();
        let block =
            format!("\n┌─ text message to {}\n│ {line}\n└─────────────────────────────────────────\n\n", message.to);
        let printed = tokio::task::spawn_blocking(move || std::io::stdout().lock().write_all(block.as_bytes())).await;
        match printed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DeliveryError::Temporary(error.to_string())),
            Err(error) => Err(DeliveryError::Temporary(error.to_string())),
        }
    }
}
