//! What tokens say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Claims that are nauth's own to set.
pub const OWN: [&str; 24] = [
    "sub",
    "email",
    "emailVerified",
    "username",
    "type",
    "sessionId",
    "tokenFamily",
    "iat",
    "exp",
    "iss",
    "aud",
    "roles",
    "amr",
    "acr",
    "authTime",
    "gen",
    "epoch",
    "cv",
    "ge",
    "nbf",
    "jti",
    "cnf",
    "scopes",
    "told",
];

/// Whether an operator may add a claim of this name: 1 to 64 of `A-Z a-z 0-9 _ . : / -`, and not
/// one of [`OWN`].
#[must_use]
pub fn may_be_added(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(allowed) && !OWN.contains(&name)
}

/// The claims of an access token (DECISIONS D3), in the order they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The user.
    pub sub: String,
    /// The user's address.
    pub email: String,
    /// Whether the address is proven.
    #[serde(rename = "emailVerified")]
    pub email_verified: bool,
    /// The user's name, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Always `access`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The session, as a decimal string.
    #[serde(rename = "sessionId")]
    pub session_id: String,
    /// The family of refresh tokens the session runs on.
    #[serde(rename = "tokenFamily")]
    pub token_family: String,
    /// Issued at, seconds.
    pub iat: i64,
    /// Expires at, seconds.
    pub exp: i64,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: Vec<String>,
    /// The user's roles, sorted.
    pub roles: Vec<String>,
    /// How the user proved who they are.
    pub amr: Vec<String>,
    /// Assurance level.
    pub acr: String,
    /// When the user proved who they are, seconds.
    #[serde(rename = "authTime")]
    pub auth_time: i64,
    /// The generation of refresh token it was issued beside.
    #[serde(rename = "gen")]
    pub generation: i64,
    /// The user's authentication epoch.
    pub epoch: i64,
    /// The version of what is said here about the user.
    pub cv: i64,
    /// The installation's epoch; an older one means "refresh".
    pub ge: i64,
    /// What templates of headers ask for, under its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, Words>,
    /// What the operator adds, for upstreams that read tokens. Of it nauth reads `scope` alone.
    #[serde(flatten, skip_deserializing)]
    pub added: Map<String, Value>,
    /// What the credential may be used for; set by what was added.
    #[serde(default, skip_serializing)]
    pub scope: Option<Scope>,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Words {
    /// What a JSON value says in words: a text, a number, yes or no, or a list of such. `None` for the rest.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Array(values) => values.iter().map(word).collect::<Option<_>>().map(Self::Many),
            value => word(value).map(Self::One),
        }
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The claim that grants scopes (RFC 9068), in either of its forms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// Divided by blanks.
    Words(String),
    /// One by one.
    List(Vec<String>),
}

impl Scope {
    /// Whether it grants one scope.
    #[must_use]
    pub fn grants(&self, scope: &str) -> bool {
        self.words().any(|word| word == scope)
    }

    /// What it grants, one by one.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let (words, list) = match self {
            Self::Words(words) => (words.as_str(), &[][..]),
            Self::List(list) => ("", list.as_slice()),
        };
        words.split(' ').filter(|word| !word.is_empty()).chain(list.iter().map(String::as_str))
    }
}

/// The claims of a refresh token, in the order they are written. All of them stand in the
/// session's row, so the same row always gives the same token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshClaims {
    /// The user.
    pub sub: String,
    /// Always `refresh`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The session, as a decimal string.
    #[serde(rename = "sessionId")]
    pub session_id: String,
    /// The family.
    #[serde(rename = "tokenFamily")]
    pub token_family: String,
    /// Which rotation it belongs to.
    #[serde(rename = "gen")]
    pub generation: i64,
    /// When that rotation was, seconds.
    pub iat: i64,
    /// Expires at, seconds.
    pub exp: i64,
}

/// The claims of an assertion, in the order they are written.
#[derive(Debug, Serialize)]
pub struct AssertionClaims<'a> {
    /// Issuer: where the keys are published.
    pub iss: &'a str,
    /// The one upstream it is meant for.
    pub aud: &'a str,
    /// The user.
    pub sub: &'a str,
    /// The session, as a decimal string.
    pub sid: &'a str,
    /// The user's roles, sorted.
    pub roles: &'a [String],
    /// How the user proved who they are.
    pub amr: &'a [String],
    /// Assurance level.
    pub acr: &'a str,
    /// When the user proved who they are, seconds.
    pub auth_time: i64,
    /// The user's address, where upstreams are told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<&'a str>,
    /// Whether that address is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Issued at, seconds.
    pub iat: i64,
    /// Expires at, seconds.
    pub exp: i64,
    /// Names this one.
    pub jti: String,
}
