//! Second factors: how they are set up and asked for, alike for every method.
//!
//! What a method is stands in a file of its own behind `Kind`. What holds for all stands here and in
//! `setup` (setting up, in a session or on the way in), `proof` (proving, on the way in or to raise
//! a session), `manage` (what a user sees and changes) and `operator` (what an operator does).

mod app;
mod backup;
mod desk;
mod email;
mod manage;
mod operator;
mod passkey;
mod proof;
mod relying_party;
mod sent;
mod setup;
mod sms;

use desk::{At, Desk, Kind};
pub(in crate::auth) use passkey::{Asked, Shown};
pub(in crate::auth) use relying_party::RelyingParty;

use crate::domain::contact::Phone;
use crate::domain::factor::{Factor, Method};
use crate::domain::secret::Secret;
use crate::domain::user::Exemption;

/// The context of sealed secrets of factors.
const SEALED: &str = "factor";
/// Most factors of a user.
const MAX_FACTORS: usize = 20;

/// What a client wants to set up.
#[derive(Debug, Clone)]
pub struct SetupWish {
    /// What.
    pub method: Method,
    /// The number for text messages, where the account has none.
    pub phone: Option<Phone>,
    /// What the user calls it.
    pub name: Option<String>,
}

/// What a client needs to set a factor up.
#[derive(Debug, Clone)]
pub enum SetupData {
    /// The secret for an app.
    App(AppSecret),
    /// What `navigator.credentials.create` is called with.
    Passkey(serde_json::Value),
    /// A code is on its way.
    CodeSent {
        /// What is set up.
        method: Method,
        /// Where to, masked unless `security.mask_sensitive` is off.
        destination: String,
    },
    /// Nothing is left to be proven: the address was proven before.
    Done {
        /// The factor's number; `None` on the way in, where it is stored with the answer.
        factor: Option<i64>,
    },
}

/// What an app has to know.
#[derive(Debug, Clone)]
pub struct AppSecret {
    /// Base 32, without padding.
    pub secret: Secret<String>,
    /// The same and everything else as an `otpauth:` URI.
    pub uri: Secret<String>,
    /// What the app shows the account under.
    pub issuer: String,
    /// What the app calls the account.
    pub account: String,
}

/// What a client answers to finish.
#[derive(Debug, Clone)]
pub struct SetupAnswer {
    /// What is set up.
    pub method: Method,
    /// The code, or what an authenticator answered, as JSON; may be empty where nothing was sent.
    pub code: Secret<String>,
    /// The secret of an app, as it was given out.
    pub secret: Option<Secret<String>>,
    /// The number codes were sent to.
    pub phone: Option<Phone>,
    /// What the user calls it.
    pub name: Option<String>,
}

/// What a client proves a factor with.
#[derive(Debug, Clone)]
pub struct FactorAnswer {
    /// By which method.
    pub method: Method,
    /// The code, or what an authenticator answered, as JSON.
    pub code: Secret<String>,
    /// Which factor is meant, where there are several.
    pub factor: Option<i64>,
}

/// What a client needs before it can prove a factor.
#[derive(Debug, Clone, PartialEq)]
pub enum ProofData {
    /// A code is on its way.
    CodeSent {
        /// Where to, masked unless `security.mask_sensitive` is off.
        destination: String,
    },
    /// What `navigator.credentials.get` is called with.
    Passkey(serde_json::Value),
}

/// What a user sees of their factors.
#[derive(Debug, Clone)]
pub struct FactorStatus {
    /// The factors, in the order they were set up.
    pub factors: Vec<Factor>,
    /// What may be set up.
    pub allowed: Vec<Method>,
    /// How many backup codes are unused.
    pub backup_codes: i64,
    /// Whether an operator has freed the account.
    pub exempt: Option<Exemption>,
}

impl FactorStatus {
    /// The factor that is asked for first.
    #[must_use]
    pub fn preferred(&self) -> Option<&Factor> {
        self.factors.iter().find(|factor| factor.preferred).or(self.factors.first())
    }
}

/// What became of a factor that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFactor {
    /// Its number.
    pub id: i64,
    /// What it was.
    pub method: Method,
    /// Whether it was the last one.
    pub was_last: bool,
}

/// Runs one verb of a method.
macro_rules! of_method {
    ($method:expr, $kind:ident => $verb:expr) => {
        match $method {
            Method::Totp => {
                let $kind = app::App;
                $verb
            }
            Method::Email => {
                let $kind = email::Mailed;
                $verb
            }
            Method::Sms => {
                let $kind = sms::Texted;
                $verb
            }
            Method::Backup => {
                let $kind = backup::Kept;
                $verb
            }
            Method::Passkey => {
                let $kind = passkey::Passkeys;
                $verb
            }
        }
    };
}
use of_method;
