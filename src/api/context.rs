//! What a request is before anybody reads its body: who asks, and under which of our names.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, Method, header};

use crate::api::Api;
use crate::api::answer::Refusal;
use crate::api::cookies::cookie_values;
use crate::api::dialect::CookieNames;
use crate::api::json::{self, Object};
use crate::domain::context::RequestContext;
use crate::domain::error::Error;

/// Longest `User-Agent` kept, in bytes.
const MAX_USER_AGENT: usize = 512;
/// Longest device token looked at, in bytes.
const MAX_DEVICE_TOKEN: usize = 128;

/// What only the listener knows about a request. It puts one into the extensions of every
/// request before handing it to the auth API.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The client's address: the socket's peer, or what a trusted proxy says of it.
    pub client_ip: IpAddr,
    /// Whether that address is the client's own, as far as can be known.
    pub address_is_certain: bool,
    /// `scheme://host[:port]` as the client addressed us: the `Origin` of our own pages.
    pub own_origin: String,
    /// Identifies the request in logs, errors and towards the upstream.
    pub request_id: Arc<str>,
}

/// A request to the auth API, read in full.
#[derive(Debug)]
pub struct Asked {
    /// Who asks, for the use cases.
    pub ctx: RequestContext,
    /// The `Origin` of our own pages in this request.
    pub own_origin: String,
    /// The method.
    pub method: Method,
    /// The path, prefix included, without the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    query: String,
    body: Bytes,
}

impl Asked {
    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The query, without `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The query as an object of texts; of a name that occurs twice, the first.
    #[must_use]
    pub fn query_object(&self) -> Object {
        let mut object = Object::new();
        for (name, value) in url::form_urlencoded::parse(self.query.as_bytes()) {
            object.entry(name.into_owned()).or_insert_with(|| value.into_owned().into());
        }
        object
    }

    /// The body as a JSON object; `{}` when there is none.
    pub fn json(&self) -> Result<Object, Error> {
        json::object(&self.headers, &self.body)
    }
}

impl FromRequest<Api> for Asked {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let arrival = request.extensions().get::<Arrival>().cloned();
        let arrival = arrival.ok_or_else(|| Error::Internal("the listener put no Arrival into the request".into()))?;
        // Nested routers see their own part of the path; the whole one is kept beside it.
        let path = request.extensions().get::<axum::extract::OriginalUri>().map(|uri| uri.path().to_owned());
        let path = path.unwrap_or_else(|| request.uri().path().to_owned());
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let ctx = context(&arrival, &headers, &api.names);
        let query = request.uri().query().unwrap_or("").to_owned();
        let body = Bytes::from_request(request, api).await.map_err(|_| Error::PayloadTooLarge)?;
        Ok(Self { ctx, own_origin: arrival.own_origin, method, path, headers, query, body })
    }
}

/// Who asks, from what the listener knows and the headers say.
#[must_use]
pub fn context(arrival: &Arrival, headers: &HeaderMap, names: &CookieNames) -> RequestContext {
    RequestContext {
        ip: arrival.client_ip,
        address_is_certain: arrival.address_is_certain,
        user_agent: headers.get(header::USER_AGENT).map(|value| cut(value.as_bytes()).into()),
        device_token: device_token(headers, names),
        session: None,
        device: OnceLock::new(),
        request_id: Arc::clone(&arrival.request_id),
    }
}

/// At most [`MAX_USER_AGENT`] bytes of text, whole characters only.
fn cut(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(MAX_USER_AGENT));
    text
}

/// From the cookie, else from the header.
fn device_token(headers: &HeaderMap, names: &CookieNames) -> Option<Arc<str>> {
    let header = || headers.get("x-device-token").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let token = cookie_values(headers, &names.device).into_iter().next().or_else(header)?;
    (!token.is_empty() && token.len() <= MAX_DEVICE_TOKEN).then(|| token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_agents_are_cut_between_characters() {
        let long = "a".repeat(511) + "ä";

        assert_eq!(cut(long.as_bytes()).len(), 511);
        assert_eq!(cut(b"curl/8"), "curl/8");
        assert_eq!(cut(&[0xff]), "\u{fffd}");
    }
}
