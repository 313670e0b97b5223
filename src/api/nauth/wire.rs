//! The shapes of the native wire: what requests must look like, what answers do look like.

use serde::Serialize;
use uuid::{Uuid, Variant};

use crate::api::json::Object;
use crate::api::nauth::fields::{Fields, Problems};
use crate::auth;
use crate::auth::{Answer, Challenged, Client, Grant, ListedSession, Outcome};
use crate::config::settings::Settings;
use crate::domain::challenge::{Step, StepKind};
use crate::domain::contact::{Email, Identifier, Username};
use crate::domain::error::Error;
use crate::domain::id::ChallengeId;
use crate::domain::secret::Secret;
use crate::domain::session::Delivery;
use crate::domain::user::User;

/// Longest password read, in characters. What makes a good one is the policy's business.
const MAX_PASSWORD: usize = 1024;
/// Longest identifier, in characters.
const MAX_IDENTIFIER: usize = 255;
/// Longest given or family name, in characters.
const MAX_NAME: usize = 100;

// Requests.

/// Reads `POST /signup`.
pub(crate) fn signup(body: &Object, client: Client) -> Result<auth::Signup, Error> {
    let mut fields = Fields::of(body);
    let email = fields.required("email", email);
    let password = fields.required("password", password);
    let username = fields.optional("username", username);
    let first_name = fields.optional("firstName", name);
    let last_name = fields.optional("lastName", name);
    let metadata = fields.optional_object("metadata");
    let timezone = fields.optional("timezone", timezone);
    let locale = fields.optional("locale", locale);
    let (Some(email), Some(password), true) = (email, password, fields.are_good()) else {
        return Err(fields.into_error());
    };
    Ok(auth::Signup { email, password, username, first_name, last_name, metadata, timezone, locale, client })
}

/// Reads `POST /login`.
pub(crate) fn login(body: &Object, client: Client) -> Result<auth::Login, Error> {
    let mut fields = Fields::of(body);
    let identifier = fields.required("identifier", identifier);
    let password = fields.required("password", password);
    let (Some(identifier), Some(password)) = (identifier, password) else {
        return Err(fields.into_error());
    };
    Ok(auth::Login { identifier, password, client })
}

/// Reads `POST /respond-challenge`.
pub(crate) fn respond(body: &Object, client: Client) -> Result<auth::Respond, Error> {
    let mut fields = Fields::of(body);
    let challenge = fields.required("session", challenge_id);
    let kind = fields.required("type", step_kind);
    let answer = kind.and_then(|kind| match kind {
        StepKind::VerifyEmail => fields.required("code", code).map(Answer::EmailCode),
    });
    let (Some(challenge), Some(answer)) = (challenge, answer) else {
        return Err(fields.into_error());
    };
    Ok(auth::Respond { challenge, answer, client })
}

/// Reads `POST /challenge/resend`.
pub(crate) fn resend(body: &Object) -> Result<ChallengeId, Error> {
    let mut fields = Fields::of(body);
    fields.required("session", challenge_id).ok_or_else(|| fields.into_error())
}

/// Reads `POST /refresh`. An empty token is none: older clients send one beside their cookies.
pub(crate) fn refresh(body: &Object) -> Result<Option<Secret<String>>, Error> {
    let mut fields = Fields::of(body);
    let token = fields.optional("refreshToken", |text| Ok(text.trim().to_owned()));
    if !fields.are_good() {
        return Err(fields.into_error());
    }
    Ok(token.filter(|token| !token.is_empty()).map(Secret::new))
}

// Rules. Each answers the value, or every sentence that is true of a bad one.

fn email(text: &str) -> Result<Email, Problems> {
    text.parse().map_err(|_| vec!["must be an email address of at most 255 characters".to_owned()])
}

fn username(text: &str) -> Result<Username, Problems> {
    text.parse().map_err(|_| vec!["must be 3 to 255 of a-z, 0-9, _ and -".to_owned()])
}

fn password(text: &str) -> Result<Secret<String>, Problems> {
    within(text, MAX_PASSWORD).map(|text| Secret::new(text.to_owned()))
}

fn identifier(text: &str) -> Result<Identifier, Problems> {
    within(text.trim(), MAX_IDENTIFIER).map(Identifier::read)
}

fn name(text: &str) -> Result<String, Problems> {
    let text = within(text.trim(), MAX_NAME)?;
    if text.chars().any(char::is_control) {
        return Err(vec!["must not contain control characters".to_owned()]);
    }
    Ok(text.to_owned())
}

/// The shape of an IANA time zone; whether it exists is for whoever formats times with it.
fn timezone(text: &str) -> Result<String, Problems> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(vec!["must be an IANA time zone".to_owned()])
}

/// The shape of a BCP 47 tag.
fn locale(text: &str) -> Result<String, Problems> {
    let is_subtag = |part: &str| (1..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric());
    if text.len() <= 35 && text.split('-').all(is_subtag) {
        return Ok(text.to_owned());
    }
    Err(vec!["must be a BCP 47 language tag".to_owned()])
}

/// UUID version 4, the only one this wire hands out.
fn challenge_id(text: &str) -> Result<ChallengeId, Problems> {
    let wrong = || vec!["must be a UUID".to_owned()];
    let text = text.trim().to_ascii_lowercase();
    let uuid = Uuid::try_parse(&text).map_err(|_| wrong())?;
    let is_v4 = uuid.get_version_num() == 4 && uuid.get_variant() == Variant::RFC4122;
    // Only the hyphenated form: the others a parser takes are no form this wire writes.
    if !is_v4 || text.len() != 36 {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn step_kind(text: &str) -> Result<StepKind, Problems> {
    StepKind::from_name(text).ok_or_else(|| vec!["must be one of the following values: VERIFY_EMAIL".to_owned()])
}

fn code(text: &str) -> Result<Secret<String>, Problems> {
    let text = text.trim();
    let mut problems = Problems::new();
    if !(4..=10).contains(&text.chars().count()) {
        problems.push("must be 4 to 10 characters long".to_owned());
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        problems.push("must contain only letters and digits".to_owned());
    }
    if problems.is_empty() { Ok(Secret::new(text.to_owned())) } else { Err(problems) }
}

fn within(text: &str, max: usize) -> Result<&str, Problems> {
    let length = text.chars().count();
    if (1..=max).contains(&length) {
        return Ok(text);
    }
    Err(vec![format!("must be 1 to {max} characters long")])
}

// Answers.

/// What signup, login and answered challenges end with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum AuthResponse {
    /// The user is in.
    Authenticated(Box<Authenticated>),
    /// Something is left to prove.
    Challenged(ChallengeResponse),
}

/// The user is in. The tokens are absent where cookies carry them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authenticated {
    #[serde(flatten)]
    tokens: Option<Tokens>,
    auth_method: String,
    user: AuthUser,
    sub: String,
}

/// The tokens of a session; all there is to say after a refresh.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokens {
    access_token: String,
    refresh_token: String,
    access_token_expires_at: i64,
    refresh_token_expires_at: i64,
}

/// The user, as told right after a login.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthUser {
    sub: String,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
    is_email_verified: bool,
    has_password_hash: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
}

/// Something is left to prove.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChallengeResponse {
    challenge_name: &'static str,
    session: String,
    challenge_parameters: ChallengeParameters,
    sub: String,
}

/// What the client needs to ask its user.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ChallengeParameters {
    #[serde(rename_all = "camelCase")]
    VerifyEmail { email: String, code_delivery_destination: String },
}

/// Where a resent code went.
#[derive(Debug, Serialize)]
pub(crate) struct ResendResponse {
    pub(crate) destination: String,
}

/// It is done.
#[derive(Debug, Serialize)]
pub(crate) struct Success {
    success: bool,
}

/// So many sessions have ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revoked {
    pub(crate) revoked_count: u64,
}

/// The user's own view of the account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the wire's own shape")]
pub(crate) struct Profile {
    sub: String,
    email: String,
    username: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    phone: Option<String>,
    is_email_verified: bool,
    is_phone_verified: bool,
    is_active: bool,
    is_locked: bool,
    mfa_enabled: bool,
    mfa_exempt: bool,
    social_providers: Option<Vec<String>>,
    has_password_hash: bool,
    created_at: String,
    updated_at: String,
    timezone: Option<String>,
    locale: Option<String>,
    session_auth_method: String,
}

/// The user's sessions.
#[derive(Debug, Serialize)]
pub(crate) struct Sessions {
    pub(crate) sessions: Vec<Session>,
}

/// One of them. What nothing is known of is `null`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the wire's own name for it")]
pub(crate) struct Session {
    session_id: String,
    device_id: Option<String>,
    device_name: Option<String>,
    device_type: Option<String>,
    platform: Option<String>,
    browser: Option<String>,
    ip_address: Option<String>,
    ip_country: Option<String>,
    ip_city: Option<String>,
    last_activity_at: String,
    created_at: String,
    expires_at: String,
    is_trusted_device: bool,
    is_current: bool,
    auth_method: Option<String>,
    auth_provider: Option<String>,
}

impl AuthResponse {
    /// Writes an outcome; in cookie delivery without the tokens.
    pub(crate) fn of(outcome: &Outcome, delivery: Delivery, settings: &Settings) -> Self {
        match outcome {
            Outcome::Authenticated(grant) => Self::Authenticated(Box::new(Authenticated::of(grant, delivery))),
            Outcome::Challenged(challenged) => {
                Self::Challenged(ChallengeResponse::of(challenged, settings.security.mask_sensitive))
            }
        }
    }
}

impl Authenticated {
    fn of(grant: &Grant, delivery: Delivery) -> Self {
        Self {
            tokens: (delivery == Delivery::Json).then(|| Tokens::of(grant)),
            auth_method: grant.session.auth_method.clone(),
            user: AuthUser::of(&grant.user),
            sub: grant.user.id.to_string(),
        }
    }
}

impl Tokens {
    /// The tokens of a grant, on their way into a body.
    pub(crate) fn of(grant: &Grant) -> Self {
        Self {
            access_token: grant.tokens.access.expose().clone(),
            refresh_token: grant.tokens.refresh.expose().clone(),
            access_token_expires_at: grant.tokens.access_expires_at.secs(),
            refresh_token_expires_at: grant.tokens.refresh_expires_at.secs(),
        }
    }
}

impl AuthUser {
    fn of(user: &User) -> Self {
        Self {
            sub: user.id.to_string(),
            email: user.email.to_string(),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            is_email_verified: user.email_verified,
            has_password_hash: user.password_hash.is_some(),
            timezone: user.timezone.clone(),
            locale: user.locale.clone(),
        }
    }
}

impl ChallengeResponse {
    fn of(challenged: &Challenged, mask: bool) -> Self {
        let challenge_parameters = match &challenged.step {
            Step::VerifyEmail { email } => ChallengeParameters::VerifyEmail {
                email: email.to_string(),
                code_delivery_destination: if mask { email.masked() } else { email.to_string() },
            },
        };
        Self {
            challenge_name: challenged.step.kind().as_str(),
            session: challenged.challenge.id.to_string(),
            challenge_parameters,
            sub: challenged.user.to_string(),
        }
    }
}

impl Success {
    /// `{"success": true}`
    pub(crate) const DONE: Self = Self { success: true };
}

impl Profile {
    /// The account behind a session.
    pub(crate) fn of(user: &User, session: &crate::domain::session::Session) -> Self {
        Self {
            sub: user.id.to_string(),
            email: user.email.to_string(),
            username: user.username.as_ref().map(ToString::to_string),
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            phone: None,
            is_email_verified: user.email_verified,
            is_phone_verified: false,
            // A disabled account is shown as locked; the wire's "inactive" is never used.
            is_active: true,
            is_locked: !user.is_active(),
            mfa_enabled: false,
            mfa_exempt: false,
            social_providers: None,
            has_password_hash: user.password_hash.is_some(),
            created_at: user.created_at.to_string(),
            updated_at: user.updated_at.to_string(),
            timezone: user.timezone.clone(),
            locale: user.locale.clone(),
            session_auth_method: session.auth_method.clone(),
        }
    }
}

impl Session {
    /// One entry of the list.
    pub(crate) fn of(listed: &ListedSession) -> Self {
        let session = &listed.session;
        Self {
            session_id: session.id.to_string(),
            device_id: None,
            device_name: None,
            device_type: None,
            platform: None,
            browser: None,
            ip_address: Some(session.ip.clone()),
            ip_country: None,
            ip_city: None,
            last_activity_at: session.last_activity_at.to_string(),
            created_at: session.created_at.to_string(),
            expires_at: session.expires_at.to_string(),
            is_trusted_device: false,
            is_current: listed.is_current,
            auth_method: Some(session.auth_method.clone()),
            auth_provider: None,
        }
    }
}
