//! The seam between nauth and the wires it speaks.
//!
//! A dialect is a set of routes, a way to read requests and write answers, a vocabulary of errors and
//! its cookie names. The use cases below know none of it, and dialects never call each other: a
//! second one is a second implementation of [`Dialect`] beside [`crate::api::nauth`].

use axum::Router;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::api::Api;
use crate::api::json::Object;
use crate::auth::{Client, Login, Outcome, Respond, Signup};
use crate::config::settings::Settings;
use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::domain::session::Delivery;

/// One wire over the use cases.
pub trait Dialect {
    /// The name remembered with every session that begins here.
    const NAME: &'static str;

    /// What is mounted under the prefix, as the settings have it.
    fn routes(settings: &Settings) -> Router<Api>;

    /// The cookies its clients hold.
    fn cookie_names(settings: &Settings) -> CookieNames;

    /// Reads a signup.
    fn decode_signup(body: &Object, client: Client) -> Result<Signup, Error>;

    /// Reads a login.
    fn decode_login(body: &Object, client: Client) -> Result<Login, Error>;

    /// Reads the answer to a challenge.
    fn decode_respond(body: &Object, client: Client) -> Result<Respond, Error>;

    /// Writes what a way in ended with. In cookie delivery the tokens are not in it.
    fn encode(outcome: &Outcome, delivery: Delivery, settings: &Settings) -> serde_json::Value;

    /// Writes a refusal.
    fn error(error: &Error, path: &str, now: Time) -> Rendered;
}

/// An error as it goes over the wire, in types any server can send.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The status.
    pub status: StatusCode,
    /// The headers, `Content-Type` and `Cache-Control` among them, without `Content-Length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// JSON.
    pub body: String,
}

/// The names of nauth's cookies, prefix included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieNames {
    /// Holds the access token.
    pub access: String,
    /// Holds the refresh token.
    pub refresh: String,
    /// Holds the token of a trusted device.
    pub device: String,
    /// Holds the readable half of the CSRF double submit.
    pub csrf: String,
}
