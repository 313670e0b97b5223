//! Floor 4, requests to other people's servers: bounded, signed, and kept away from our own network.
//!
//! No redirect is followed and no proxy of the environment is used. Unless an endpoint says so, only
//! public addresses are connected to: what a name resolves to is looked at in the resolver of the
//! connection itself, so a name that changes its mind between two look-ups gains nothing.

mod guard;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use url::Url;

use crate::domain::clock::{Clock, Time};
use crate::domain::hex::hex;
use crate::domain::secret::Secret;

/// Most of an answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for a service whose timeout is not configured.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Requests that leave. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Made for the first request: each client reads all the certificates this machine trusts.
    clients: Arc<OnceLock<Result<Clients, String>>>,
    clock: Clock,
}

#[derive(Debug)]
struct Clients {
    /// Reaches public addresses only.
    public: reqwest::Client,
    /// Reaches every address.
    any: reqwest::Client,
}

/// Why something was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Trying again may help.
    #[error("{0}")]
    Temporary(String),
    /// Trying again does not help.
    #[error("{0}")]
    Permanent(String),
}

/// Where signed requests go.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://`, or `http://` where that is allowed.
    pub url: Url,
    /// Signs what is sent.
    pub secret: Arc<Secret<String>>,
    /// Longest wait for the whole answer.
    pub timeout: Duration,
    /// Whether addresses of private networks may be connected to.
    pub allow_private: bool,
}

/// An answer, its body cut to 64 KiB.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Outgoing {
    /// Requests that take the time of their signatures from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clients: Arc::default(), clock }
    }

    /// Posts signed JSON; a 2xx answer is what counts as delivered.
    ///
    /// # Errors
    /// [`DeliveryError::Permanent`] for 410 and for destinations that are refused; everything else is
    /// worth another try.
    pub async fn post(&self, to: &Endpoint, event: &str, id: &str, body: Vec<u8>) -> Result<Answer, DeliveryError> {
        let answer = self.ask(to, event, id, body).await?;
        match answer.status {
            200..300 => Ok(answer),
            410 => Err(DeliveryError::Permanent("the endpoint is gone (410)".to_owned())),
            status => Err(DeliveryError::Temporary(format!("the endpoint answered {status}"))),
        }
    }

    /// Posts signed JSON and answers whatever comes back.
    pub async fn ask(&self, to: &Endpoint, event: &str, id: &str, body: Vec<u8>) -> Result<Answer, DeliveryError> {
        let client = self.client_for(&to.url, to.allow_private)?;
        let signature = sign(&to.secret, self.clock.now(), &body);
        let request = client
            .post(to.url.clone())
            .timeout(to.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("Nauth-Event", event)
            .header("Nauth-Delivery", id)
            .header("Nauth-Signature", signature)
            .body(body);
        read(request).await
    }

    /// Posts a form with HTTP Basic credentials.
    pub async fn post_form(
        &self,
        url: &str,
        (user, password): (&str, &str),
        form: String,
    ) -> Result<Answer, DeliveryError> {
        use base64::Engine as _;
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let request = self
            .clients()?
            .any
            .post(url)
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, format!("Basic {credentials}"))
            .body(form);
        read(request).await
    }

    /// Posts protobuf to a service of the operator's own, wherever it is.
    #[cfg(feature = "otel")]
    pub async fn post_protobuf(&self, to: &Url, body: Vec<u8>) -> Result<Answer, DeliveryError> {
        let request = self
            .clients()?
            .any
            .post(to.clone())
            .timeout(TIMEOUT)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        read(request).await
    }

    fn client_for(&self, url: &Url, allow_private: bool) -> Result<&reqwest::Client, DeliveryError> {
        let clients = self.clients()?;
        if allow_private {
            return Ok(&clients.any);
        }
        // An address in the URL itself is never looked up.
        if guard::is_private_literal(url) {
            return Err(DeliveryError::Permanent("the destination is in a private network".to_owned()));
        }
        Ok(&clients.public)
    }

    fn clients(&self) -> Result<&Clients, DeliveryError> {
        let clients = self.clients.get_or_init(|| Clients::new().map_err(|error| crate::logging::chain(&error)));
        clients.as_ref().map_err(|error| DeliveryError::Temporary(error.clone()))
    }
}

impl Clients {
    fn new() -> Result<Self, reqwest::Error> {
        let builder = || {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT)
                .pool_max_idle_per_host(2)
                .user_agent(concat!("nauth/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self { public: builder().dns_resolver(Arc::new(guard::PublicOnly)).build()?, any: builder().build()? })
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, DeliveryError> {
    // Without the URL: it may hold what only its owner should know.
    let failed = |error: reqwest::Error| DeliveryError::Temporary(crate::logging::chain(&error.without_url()));
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    Ok(Answer { status, body })
}

/// The value of `Nauth-Signature`: `t=<unix seconds>,v1=<hex HMAC-SHA256(secret, "<t>.<body>")>`.
///
/// A receiver computes the same over the time it is told and the body it got, compares in constant
/// time, and refuses what is more than 300 s off its own clock.
#[must_use]
pub fn sign(secret: &Secret<String>, now: Time, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(now.secs().to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("t={},v1={}", now.secs(), hex(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_made_as_documented() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef".to_owned());
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let expected = "t=1700000000,v1=f05f2539e3ae1c49aec5f8cfdad75ef6b06480b133973ffbb7ec9e18827af177";
        assert_eq!(sign(&secret, Time::from_secs(1_700_000_000), br#"{"a":1}"#), expected);
    }
}
