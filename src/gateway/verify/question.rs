//! What a proxy asks about: the request it describes, read without any leniency.
//!
//! The proxy forwards what it received, whatever nauth makes of it. So nothing is brought into form
//! here: a description that is incomplete, contradicts itself or reads in two ways is refused.

use http::{HeaderMap, Method, header};
use pingora::http::RequestHeader;

use crate::config::settings::QuestionHeaders;
use crate::domain::error::Error;
use crate::gateway::canonical::{Canonical, Host};
use crate::gateway::managed::Managed;

/// Below `api.prefix`.
const PATH: &[u8] = b"/verify";
/// Headers by which some proxy tells which request it means.
const DESCRIBING: [&str; 7] = [
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-envoy-original-path",
];
const INCOMPLETE: Error = Error::BadRequest(
    "the question needs X-Forwarded-Method, X-Forwarded-Proto, X-Forwarded-Host and X-Forwarded-Uri, each once",
);
const INCOMPLETE_ORIGINAL: Error =
    Error::BadRequest("the question needs X-Original-Method, and X-Original-URL with scheme and host, each once");

/// The request a proxy asks about.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// `http` or `https`, as the client speaks it.
    pub scheme: &'static str,
    /// The host the client asks.
    pub host: Host,
    /// Its path and query, as the proxy has them.
    pub target: Vec<u8>,
}

impl Question {
    /// What follows in a target that asks something; `None` when it is no question.
    #[must_use]
    pub fn asked<'a>(raw_target: &'a [u8], api_prefix: &str) -> Option<&'a [u8]> {
        let rest = raw_target.strip_prefix(api_prefix.as_bytes())?.strip_prefix(PATH)?;
        matches!(rest.first(), None | Some(b'/' | b'?')).then_some(rest)
    }

    /// Reads a question. `scheme` is that of clients a proxy says nothing of, `rest` what follows in the target.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for what is missing, repeated, malformed, of another kind, or not in canonical form.
    pub fn read(
        head: &RequestHeader,
        rest: &[u8],
        kind: QuestionHeaders,
        managed: &Managed,
        scheme: &'static str,
    ) -> Result<Self, Error> {
        let headers = &head.headers;
        is_of_one_kind(headers, kind, managed)?;
        if kind != QuestionHeaders::Envoy && rest.starts_with(b"/") {
            return Err(Error::NotFound);
        }
        let question = match kind {
            QuestionHeaders::XForwarded => {
                let one = |name| one(headers, name).ok_or(INCOMPLETE);
                Self {
                    method: method(one("x-forwarded-method")?)?,
                    scheme: client_scheme(one("x-forwarded-proto")?)?,
                    host: Host::parse(one("x-forwarded-host")?)?,
                    target: one("x-forwarded-uri")?.to_vec(),
                }
            }
            QuestionHeaders::XOriginal => {
                let one = |name| one(headers, name).ok_or(INCOMPLETE_ORIGINAL);
                let (scheme, host, target) = absolute(one("x-original-url")?).ok_or(INCOMPLETE_ORIGINAL)?;
                Self {
                    method: method(one("x-original-method")?)?,
                    scheme: client_scheme(scheme)?,
                    host: Host::parse(host)?,
                    target: target.to_vec(),
                }
            }
            QuestionHeaders::Envoy => Self {
                method: method(head.method.as_str().as_bytes())?,
                scheme: match headers.get("x-forwarded-proto") {
                    Some(_) => client_scheme(one(headers, "x-forwarded-proto").unwrap_or_default())?,
                    None => scheme,
                },
                host: Host::from_values(headers.get_all(header::HOST).iter().map(http::HeaderValue::as_bytes))?,
                target: rest.to_vec(),
            },
        };
        question.is_canonical()?;
        Ok(question)
    }

    /// The proxy's upstream gets these very bytes, so they must be what is decided about.
    fn is_canonical(&self) -> Result<(), Error> {
        if self.target.first() != Some(&b'/') {
            return Err(Error::BadRequest("the target asked about must begin with `/`"));
        }
        let canonical = Canonical::parse(&self.target, &self.host)?;
        if canonical.target().as_bytes() != self.target {
            return Err(Error::BadRequest("the path asked about is not in canonical form"));
        }
        Ok(())
    }
}

/// Neither another kind's headers, nor any that means something in another spelling: those would
/// pass by the proxy, and be believed by an app that reads `_` as `-`.
fn is_of_one_kind(headers: &HeaderMap, kind: QuestionHeaders, managed: &Managed) -> Result<(), Error> {
    let own: &[&str] = match kind {
        QuestionHeaders::XForwarded => &DESCRIBING[..2],
        QuestionHeaders::XOriginal => &DESCRIBING[2..4],
        QuestionHeaders::Envoy => &[],
    };
    for name in headers.keys() {
        if DESCRIBING.contains(&name.as_str()) && !own.contains(&name.as_str()) {
            return Err(Error::BadRequest("the question holds headers of another kind of proxy"));
        }
        if !name.as_str().contains(['_', '.']) {
            continue;
        }
        let proper = name.as_str().replace(['_', '.'], "-");
        if managed.class_of(name).is_some() || DESCRIBING.contains(&proper.as_str()) {
            return Err(Error::BadRequest("a header is spelled like one that proxies and nauth write"));
        }
    }
    Ok(())
}

/// The only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// Methods are told apart by letter case, but not by every app.
fn method(bytes: &[u8]) -> Result<Method, Error> {
    let method = Method::from_bytes(bytes).ok().filter(|_| !bytes.iter().any(u8::is_ascii_lowercase));
    method.ok_or(Error::BadRequest("the method asked about is malformed"))
}

/// The scheme behind what a proxy calls it; some have names of their own for sockets.
fn client_scheme(bytes: &[u8]) -> Result<&'static str, Error> {
    match bytes {
        b"http" | b"ws" => Ok("http"),
        b"https" | b"wss" => Ok("https"),
        _ => Err(Error::BadRequest("the scheme asked about is neither http nor https")),
    }
}

/// Scheme, authority and the rest of an absolute URL.
fn absolute(url: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = url.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = url.split_at(colon);
    let rest = rest.strip_prefix(b"://")?;
    let slash = rest.iter().position(|&byte| byte == b'/')?;
    let (authority, target) = rest.split_at(slash);
    Some((scheme, authority, target))
}

#[cfg(test)]
mod tests;
