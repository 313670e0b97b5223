//! Mail through a mail server (RFC 5321), plain or by TLS.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, MultiPart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::domain::secret::Secret;
use crate::mail::{DeliveryError, Rendered, Transport};

/// Delivers to one mail server, over a few connections that stay open.
#[derive(Debug)]
pub struct Smtp {
    server: AsyncSmtpTransport<Tokio1Executor>,
    mime: Mime,
}

/// Writes messages as mail servers take them (RFC 5322, MIME).
#[derive(Debug, Clone)]
pub struct Mime {
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

/// The settings of a mail server do not make sense.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// The URL.
    #[error("`email.smtp.url` is not a mail server")]
    Url(#[source] lettre::transport::smtp::Error),
    /// A sender.
    #[error("`{0}` is not an address")]
    Address(String),
}

impl Mime {
    /// From this sender.
    pub fn new(from: &str, reply_to: Option<&str>) -> Result<Self, SmtpError> {
        let mailbox = |text: &str| text.parse::<Mailbox>().map_err(|_| SmtpError::Address(text.to_owned()));
        Ok(Self { from: mailbox(from)?, reply_to: reply_to.map(mailbox).transpose()? })
    }

    /// A message with its headers.
    pub(super) fn of(&self, message: &Rendered) -> Result<Message, DeliveryError> {
        let unusable = |error: &dyn std::error::Error| DeliveryError::Permanent(error.to_string());
        let to: Mailbox = message.to.parse().map_err(|error| unusable(&error))?;
        let mut mime = Message::builder().from(self.from.clone()).to(to).subject(&message.subject);
        if let Some(reply_to) = &self.reply_to {
            mime = mime.reply_to(reply_to.clone());
        }
        mime.message_id(None)
            .date_now()
            .multipart(MultiPart::alternative_plain_html(message.text.clone(), message.html.clone()))
            .map_err(|error| unusable(&error))
    }
}

impl Smtp {
    /// A transport to the server at `url`: `smtp://` (plain; `?tls=required` demands STARTTLS,
    /// `?tls=opportunistic` uses it where offered) or `smtps://`. Certificates are checked against
    /// the system's authorities.
    pub fn new(url: &Secret<String>, timeout: Duration, mime: Mime) -> Result<Self, SmtpError> {
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose())
            .map_err(SmtpError::Url)?
            .timeout(Some(timeout))
            .build();
        Ok(Self { server, mime })
    }
}

#[async_trait]
impl Transport for Smtp {
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError> {
        let mime = self.mime.of(message)?;
        match self.server.send(mime).await {
            Ok(_) => Ok(()),
            // 5xx: the server has looked at it and will not take it, now or later.
            Err(error) if error.is_permanent() => Err(DeliveryError::Permanent(error.to_string())),
            Err(error) => Err(DeliveryError::Temporary(crate::logging::chain(&error))),
        }
    }
}
