//! Mail on the terminal, for a machine without a mail server: a person sees the code at once.

use std::io::Write;

use async_trait::async_trait;

use crate::mail::{DeliveryError, Rendered, Transport};

/// Prints messages to standard output, past the log.
#[derive(Debug, Default)]
pub struct Console;

#[async_trait]
impl Transport for Console {
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError> {
        let block = frame(message);
        let printed = tokio::task::spawn_blocking(move || std::io::stdout().lock().write_all(block.as_bytes())).await;
        match printed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DeliveryError::Temporary(error.to_string())),
            Err(error) => Err(DeliveryError::Temporary(error.to_string())),
        }
    }
}

fn frame(message: &Rendered) -> String {
    let mut block = format!(
        "\n┌─ mail ─────────────────────────────────\n│ To:      {}\n│ Subject: {}\n│\n",
        message.to, message.subject
    );
    for line in message.text.trim_end().lines() {
        block.push_str("│ ");
        // A terminal obeys control characters.
        block.extend(line.chars().filter(|c| !c.is_control()));
        block.push('\n');
    }
    block.push_str("└─────────────────────────────────────────\n\n");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_given_orders() {
        let message = Rendered {
            to: "ada@example.com".to_owned(),
            template: "verification".to_owned(),
            subject: "Your code".to_owned(),
            text: "Hello\u{1b}[2J\n\n123456\n".to_owned(),
            html: String::new(),
            vars: serde_json::Value::Null,
        };

        let block = frame(&message);

        assert!(!block.contains('\u{1b}'));
        assert!(block.lines().any(|line| line == "│ 123456"));
    }
}
