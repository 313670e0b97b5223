//! Text messages by Twilio's REST API (`POST /2010-04-01/Accounts/{sid}/Messages.json`).

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use crate::config::settings::SmsSender;
use crate::domain::secret::Secret;
use crate::mail::{DeliveryError, Rendered, Transport};
use crate::outgoing::Outgoing;

/// Sends by one account.
#[derive(Debug)]
pub struct Twilio {
    outgoing: Outgoing,
    url: String,
    account_sid: String,
    auth_token: Secret<String>,
    sender: SmsSender,
}

/// What Twilio says when it will not.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: Option<i64>,
}

impl Twilio {
    /// A transport by this account, to Twilio at `api`.
    #[must_use]
    pub fn new(
        outgoing: Outgoing,
        api: &Url,
        account_sid: &str,
        auth_token: Secret<String>,
        sender: SmsSender,
    ) -> Self {
        let api = api.as_str().trim_end_matches('/');
        let url = format!("{api}/2010-04-01/Accounts/{account_sid}/Messages.json");
        Self { outgoing, url, account_sid: account_sid.to_owned(), auth_token, sender }
    }

    fn form(&self, message: &Rendered) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("To", &message.to).append_pair("Body", &message.text);
        match &self.sender {
            SmsSender::From(number) => form.append_pair("From", number),
            SmsSender::MessagingService(sid) => form.append_pair("MessagingServiceSid", sid),
        };
        form.finish()
    }
}

#[async_trait]
impl Transport for Twilio {
    async fn deliver(&self, message: &Rendered) -> Result<(), DeliveryError> {
        let credentials = (self.account_sid.as_str(), self.auth_token.expose().as_str());
        let answer = self.outgoing.post_form(&self.url, credentials, self.form(message)).await?;
        let status = answer.status;
        if (200..300).contains(&status) {
            return Ok(());
        }
        // Its number says more than its words, and its words may repeat the message.
        let code = serde_json::from_slice::<Refusal>(&answer.body).ok().and_then(|refusal| refusal.code);
        let reason =
            format!("Twilio answered {status}{}", code.map(|code| format!(", error {code}")).unwrap_or_default());
        let is_final = (400..500).contains(&status) && !matches!(status, 401 | 403 | 408 | 429);
        if is_final { Err(DeliveryError::Permanent(reason)) } else { Err(DeliveryError::Temporary(reason)) }
    }
}
