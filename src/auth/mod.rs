//! Floor 5, the use cases: what nauth does, in words that know no HTTP.
//!
//! Every verb takes plain input and the [`RequestContext`](crate::domain::context::RequestContext) of who asks, and answers an outcome or
//! an [`Error`](crate::domain::error::Error). The dialects above only translate.

mod challenge;
mod code;
mod device;
mod entry;
mod guard;
mod hooks;
pub mod import;
mod jobs;
mod login;
pub mod mfa;
mod notices;
pub mod operator;
mod own;
mod password;
mod passwordless;
mod profile;
mod refresh;
pub mod restored;
mod risk;
mod session;
mod sight;
mod signup;
mod trail;

use std::sync::Arc;

use crate::config::settings::Settings;
use crate::domain::challenge::{Challenge, Policy, Step};
use crate::domain::clock::{Clock, Time};
use crate::domain::contact::{Email, Identifier, Phone, Username};
use crate::domain::factor::Method;
use crate::domain::id::{ChallengeId, SessionId, UserId};
use crate::domain::mfa::Grace;
use crate::domain::risk::Assessment;
use crate::domain::secret::Secret;
use crate::domain::session::{Delivery, Session};
use crate::domain::user::User;
use crate::events::Events;
use crate::outgoing::Outgoing;
use crate::password_hash::Hasher;
use crate::revocation::Revocations;
use crate::sealing::Sealer;
use crate::store::Store;
use crate::tokens::keys;
use crate::tokens::signing::Use;
use crate::tokens::{
    AccessMinter, AccessToken, AssertionCache, Assertions, KeyRing, Keychain, RefreshTokens, Verifier,
};
use crate::transient::Transient;
use crate::webhooks::hooks::Hooks;

pub use guard::Operation;
pub use jobs::{COUNT_EVERY, PURGE_EVERY};
pub use mfa::{FactorAnswer, SetupAnswer};
pub use passwordless::{PasskeyLogin, PasskeyQuestion};
pub use sight::Sightings;
pub use trail::{History, HistoryWish};

/// The use cases under one set of settings. Cheap to clone; a reload makes a new one on the same parts.
#[derive(Debug, Clone)]
pub struct Auth {
    settings: Arc<Settings>,
    parts: Arc<Parts>,
    verifier: Arc<Verifier>,
    minter: Arc<AccessMinter>,
    assertions: Arc<Assertions>,
    keys: Arc<KeyRing>,
    /// Seals what proves second factors.
    sealer: Arc<Sealer>,
    /// What passkeys are for; `None` where there are none.
    relying_party: Option<Arc<mfa::RelyingParty>>,
    hooks: Hooks,
}

/// What the use cases stand on. Survives a reload.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Counters.
    pub transient: Arc<dyn Transient>,
    /// Commits changes.
    pub events: Events,
    /// Hashes passwords.
    pub hasher: arc_swap::ArcSwap<Hasher>,
    /// Every key.
    pub keys: Keychain,
    /// What upstreams were told already.
    pub assertions: Arc<AssertionCache>,
    /// What tokens are measured against.
    pub revocations: Arc<Revocations>,
    /// Notes the first sight of a generation.
    pub sightings: Sightings,
    /// Asks the operator's programs.
    pub outgoing: Outgoing,
    /// Counts.
    pub metrics: crate::metrics::Metrics,
    /// Time.
    pub clock: Clock,
}

impl Auth {
    /// The use cases under these settings.
    #[must_use]
    pub fn new(settings: Arc<Settings>, parts: Arc<Parts>) -> Self {
        let (keys, clock) = (parts.keys.ring(), parts.clock.clone());
        let verifier = Verifier::new(&keys, &settings.jwt, &clock, &parts.metrics);
        let minter = AccessMinter::new(keys.signing(Use::Access), &settings.jwt);
        let told = Arc::clone(&parts.assertions);
        let assertions = Assertions::new(keys.signing(Use::Assertion), &settings, told, clock);
        let hooks = Hooks::new(&settings.hooks, parts.outgoing.clone());
        Self {
            verifier: Arc::new(verifier),
            minter: Arc::new(minter),
            assertions: Arc::new(assertions),
            sealer: Arc::new(Sealer::new(keys.purpose(keys::Purpose::Factor))),
            relying_party: settings.mfa.passkey.as_ref().map(|rules| Arc::new(mfa::RelyingParty::new(rules))),
            settings,
            parts,
            keys,
            hooks,
        }
    }

    /// The same use cases under other settings.
    #[must_use]
    pub fn under(&self, settings: Arc<Settings>) -> Self {
        Self::new(settings, Arc::clone(&self.parts))
    }

    /// Writes what waits in queues, for a program that ends now.
    pub async fn flush(&self) {
        self.parts.events.flush().await;
    }

    /// Verifies tokens.
    #[must_use]
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Tells upstreams who asks, signed.
    #[must_use]
    pub fn assertions(&self) -> &Assertions {
        &self.assertions
    }

    /// The keys it runs under.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    fn refresh_tokens(&self) -> &RefreshTokens {
        self.verifier.refresh_tokens()
    }

    /// What tokens are measured against.
    #[must_use]
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.parts.revocations
    }

    /// The settings it runs under.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// Time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.parts.clock
    }

    fn now(&self) -> Time {
        self.parts.clock.now()
    }

    fn policy(&self) -> Policy<'_> {
        let (method, mfa) = (self.settings.signup.verification_method, &self.settings.mfa);
        let mfa = mfa.enabled.then_some(&mfa.policy);
        Policy { verify_email: method.asks_email(), verify_phone: method.asks_phone(), mfa }
    }
}

/// What signup asks for.
#[derive(Debug, Clone)]
pub struct Signup {
    /// The address, normalised.
    pub email: Email,
    /// Not trimmed; the policy is checked here.
    pub password: Secret<String>,
    /// The user name, normalised.
    pub username: Option<Username>,
    /// The phone number.
    pub phone: Option<Phone>,
    /// Opens signup while it is invite-only.
    pub invite_code: Option<Secret<String>>,
    /// 1 to 100 characters, trimmed.
    pub first_name: Option<String>,
    /// 1 to 100 characters, trimmed.
    pub last_name: Option<String>,
    /// A JSON object, as text.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// IANA time zone.
    pub timezone: Option<String>,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// How the tokens will go to the client.
    pub client: Client,
}

/// What login asks for.
#[derive(Debug, Clone)]
pub struct Login {
    /// What was typed.
    pub identifier: Identifier,
    /// Not trimmed.
    pub password: Secret<String>,
    /// The session the client came with; a login of its user renews it.
    pub renews: Option<SessionId>,
    /// How the tokens will go to the client.
    pub client: Client,
}

/// The client as its dialect and delivery describe it; remembered with the session.
#[derive(Debug, Clone)]
pub struct Client {
    /// `nauth`, for now the only dialect.
    pub dialect: &'static str,
    /// How the tokens go to the client.
    pub delivery: Delivery,
    /// What the client calls its device.
    pub device_name: Option<String>,
    /// `mobile`, `desktop` or `tablet`, as the client says.
    pub device_type: Option<String>,
}

impl Client {
    /// A client that says nothing of its device.
    #[must_use]
    pub const fn new(dialect: &'static str, delivery: Delivery) -> Self {
        Self { dialect, delivery, device_name: None, device_type: None }
    }
}

/// An answer to a challenge.
#[derive(Debug, Clone)]
pub struct Respond {
    /// Which challenge.
    pub challenge: ChallengeId,
    /// The answer. Its kind must be the challenge's.
    pub answer: Answer,
    /// How the tokens will go to the client.
    pub client: Client,
}

/// The answers a challenge can get, by the step they belong to.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Step::VerifyEmail`]: what the mail says.
    EmailCode {
        /// The code, or what the link carries.
        code: Secret<String>,
        /// The account's password, for a link that is opened elsewhere.
        password: Option<Secret<String>>,
    },
    /// To [`Step::CollectPhone`], or instead of a code: the number.
    Phone(Phone),
    /// To [`Step::VerifyPhone`]: the code from the message.
    PhoneCode(Secret<String>),
    /// To [`Step::ChangePassword`].
    NewPassword(Secret<String>),
    /// To [`Step::SetUpFactor`].
    SetUp(SetupAnswer),
    /// To [`Step::ProveFactor`].
    Factor(FactorAnswer),
}

/// What a profile is to be changed to; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct ProfileUpdate {
    /// 1 to 100 characters.
    pub first_name: Option<String>,
    /// 1 to 100 characters.
    pub last_name: Option<String>,
    /// Waits to be proven.
    pub email: Option<Email>,
    /// Waits to be proven.
    pub phone: Option<Phone>,
    /// Normalised.
    pub username: Option<Username>,
    /// Merged into what is there; `null` takes a key away.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// IANA time zone.
    pub timezone: Option<String>,
    /// BCP 47 tag.
    pub locale: Option<String>,
    /// The second factor that is asked for first.
    pub preferred_method: Option<Method>,
}

/// What a forgotten password is asked for with.
#[derive(Debug, Clone)]
pub struct ForgotPassword {
    /// What was typed.
    pub identifier: Identifier,
}

/// What is answered, the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgottenPassword {
    /// What was typed, masked.
    pub destination: String,
    /// Whether what was typed is a phone number.
    pub by_sms: bool,
    /// Life of a code.
    pub expires_in: std::time::Duration,
}

/// A new password with a code.
#[derive(Debug, Clone)]
pub struct ResetPassword {
    /// What was typed.
    pub identifier: Identifier,
    /// The code, or what the link carries.
    pub code: Secret<String>,
    /// Not trimmed.
    pub password: Secret<String>,
    /// Whether an operator sent the code. Codes of one kind are nothing for the other.
    pub by_operator: bool,
}

/// What every way in ends with.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The user is in.
    Authenticated(Box<Grant>),
    /// Something is left to prove.
    Challenged(Box<Challenged>),
}

/// A session and its fresh tokens.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Who.
    pub user: User,
    /// The session, as it is after this.
    pub session: Session,
    /// What goes to the client.
    pub tokens: TokenPair,
    /// The access token as the gateway would read it back.
    pub access: Arc<AccessToken>,
    /// The device token the client holds from now on, if any.
    pub device_token: Option<DeviceToken>,
    /// Until when the user may do without a second factor, where one will be demanded.
    pub grace: Option<Grace>,
    /// How unusual the login was, where that matters.
    pub risk: Option<Assessment>,
}

/// The token of a device, on its way to the client or back.
#[derive(Debug, Clone)]
pub struct DeviceToken {
    /// The token.
    pub value: Secret<String>,
    /// Whether the device is trusted.
    pub trusted: bool,
    /// Whether the client does not hold it yet.
    pub renewed: bool,
}

/// The two tokens of a session, as text.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// The access token.
    pub access: Secret<String>,
    /// Its `exp`.
    pub access_expires_at: Time,
    /// The refresh token.
    pub refresh: Secret<String>,
    /// Its `exp`.
    pub refresh_expires_at: Time,
}

/// A challenge put to a client.
#[derive(Debug, Clone)]
pub struct Challenged {
    /// Whose it is.
    pub user: UserId,
    /// The challenge.
    pub challenge: Challenge,
    /// What is asked.
    pub step: Step,
    /// Why no text message went out, where that is not the end of it.
    pub sms_error: Option<String>,
}

/// Where a resent code went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resent {
    /// Masked unless `security.mask_sensitive` is off.
    pub destination: String,
}

/// Who calls the auth API, from an access token checked against the database.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user as stored now.
    pub user: User,
    /// The session as stored now.
    pub session: Session,
}

/// One entry of the list of sessions.
#[derive(Debug, Clone)]
pub struct ListedSession {
    /// The session.
    pub session: Session,
    /// Whether it is the caller's own.
    pub is_current: bool,
    /// Whether it began on a device that is trusted now.
    pub on_trusted_device: bool,
}

/// A session named by a credential with a good signature, expired or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedSession {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub session: SessionId,
}
