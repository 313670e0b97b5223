//! What answers look like. Dates are ISO 8601, expiries of tokens Unix seconds.

use serde::Serialize;

use crate::api::nauth::wire::factor;
use crate::auth::{Challenged, ForgottenPassword, Grant, ListedSession, Outcome};
use crate::config::settings::Settings;
use crate::domain::challenge::Step;
use crate::domain::device;
use crate::domain::factor::{AskedFactors, Method};
use crate::domain::mfa::Grace;
use crate::domain::risk::Assessment;
use crate::domain::session::Delivery;
use crate::domain::user::User;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
    user: AuthUser,
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfa_grace_period: Option<GracePeriod>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    risk: Option<GraceRisk>,
}

/// How unusual a login was that needed no second factor yet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GraceRisk {
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_ends_at: Option<String>,
    risk_score: u32,
    risk_level: &'static str,
}

impl GraceRisk {
    fn of(grace: &Grace, risk: &Assessment) -> Self {
        Self {
            grace_period_ends_at: grace.ends_at.map(|at| at.to_string()),
            risk_score: risk.score,
            risk_level: risk.level.as_str(),
        }
    }
}

/// Until when the user may do without a second factor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GracePeriod {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    days_remaining: i64,
    enforcement: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_at_next_login: Option<bool>,
}

impl GracePeriod {
    fn of(grace: &Grace) -> Self {
        Self {
            active: true,
            ends_at: grace.ends_at.map(|at| at.to_string()),
            days_remaining: grace.days_remaining,
            enforcement: grace.enforcement.as_str(),
            required_at_next_login: grace.ends_at.is_none().then_some(true),
        }
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    is_email_verified: bool,
    is_phone_verified: bool,
    social_providers: Option<Vec<String>>,
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
    VerifyEmail {
        email: String,
        code_delivery_destination: String,
    },
    #[serde(rename_all = "camelCase")]
    VerifyPhone {
        phone: String,
        code_delivery_destination: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        sms_error: Option<String>,
    },
    #[serde(rename_all = "camelCase")]
    CollectPhone {
        requires_phone_collection: &'static str,
        instructions: &'static str,
    },
    Instructions {
        instructions: &'static str,
    },
    #[serde(rename_all = "camelCase")]
    SetUpFactor {
        allowed_methods: Vec<&'static str>,
        instructions: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        requires_phone_collection: Option<&'static str>,
    },
    #[serde(rename_all = "camelCase")]
    ProveFactor {
        available_methods: Vec<&'static str>,
        preferred_method: &'static str,
        masked_email: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        masked_phone: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        devices: Vec<ChosenFactor>,
        #[serde(skip_serializing_if = "Option::is_none")]
        preferred_device_id: Option<i64>,
    },
}

/// A factor a client lets its user choose.
#[derive(Debug, Serialize)]
struct ChosenFactor {
    id: i64,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
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

/// What became of a forgotten password, the same for everybody.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forgotten {
    success: bool,
    destination: String,
    delivery_medium: &'static str,
    expires_in: u64,
}

/// A password was reset.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PasswordReset {
    success: bool,
    must_change_password: bool,
}

/// A session was ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionEnded {
    pub(crate) success: bool,
    pub(crate) was_current_session: bool,
}

/// The token of a device that is trusted from now on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceToken {
    pub(crate) device_token: String,
}

/// Whether this device is trusted.
#[derive(Debug, Serialize)]
pub(crate) struct Trusted {
    pub(crate) trusted: bool,
}

/// The user's trusted devices.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrustedDevices {
    pub(crate) trusted_devices: Vec<TrustedDevice>,
}

/// One of them; never its token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrustedDevice {
    id: i64,
    device_id: String,
    device_name: Option<String>,
    device_type: Option<String>,
    ip_address: String,
    platform: Option<String>,
    browser: Option<String>,
    trusted_until: String,
    last_used_at: Option<String>,
    created_at: String,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_phone: Option<String>,
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
            trusted: grant.device_token.as_ref().map(|device| device.trusted),
            device_token: grant
                .device_token
                .as_ref()
                .filter(|_| delivery == Delivery::Json)
                .map(|device| device.value.expose().clone()),
            user: AuthUser::of(&grant.user),
            sub: grant.user.id.to_string(),
            mfa_grace_period: grant.grace.as_ref().map(GracePeriod::of),
            risk: grant.grace.as_ref().zip(grant.risk.as_ref()).map(|(grace, risk)| GraceRisk::of(grace, risk)),
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
            phone: user.phone.as_ref().map(ToString::to_string),
            is_email_verified: user.email_verified,
            is_phone_verified: user.phone_verified,
            social_providers: None,
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
            Step::VerifyPhone { phone } => ChallengeParameters::VerifyPhone {
                phone: phone.to_string(),
                code_delivery_destination: if mask { phone.masked() } else { phone.to_string() },
                sms_error: challenged.sms_error.clone(),
            },
            Step::CollectPhone => ChallengeParameters::CollectPhone {
                requires_phone_collection: "true",
                instructions: "Provide a phone number to continue",
            },
            Step::ChangePassword => {
                ChallengeParameters::Instructions { instructions: "You must change your password before continuing" }
            }
            Step::SetUpFactor { methods, needs_phone } => ChallengeParameters::SetUpFactor {
                allowed_methods: factor::names(methods),
                instructions: "Set up a second factor to continue",
                requires_phone_collection: needs_phone.then_some("true"),
            },
            Step::ProveFactor(asked) => prove_factor(asked, mask),
        };
        Self {
            challenge_name: challenged.step.kind().as_str(),
            session: challenged.challenge.id.to_string(),
            challenge_parameters,
            sub: challenged.user.to_string(),
        }
    }
}

fn prove_factor(asked: &AskedFactors, mask: bool) -> ChallengeParameters {
    let devices: Vec<_> = asked
        .devices
        .iter()
        .map(|(id, name, method)| ChosenFactor { id: *id, name: name.clone(), kind: method.as_str() })
        .collect();
    let phone = asked.phone.as_ref().filter(|_| asked.methods.contains(&Method::Sms));
    ChallengeParameters::ProveFactor {
        available_methods: factor::names(&asked.methods),
        preferred_method: asked.preferred.as_str(),
        masked_email: if mask { asked.email.masked() } else { asked.email.to_string() },
        masked_phone: phone.map(|phone| if mask { phone.masked() } else { phone.to_string() }),
        preferred_device_id: devices.iter().any(|device| device.id == asked.preferred_id).then_some(asked.preferred_id),
        devices,
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
            phone: user.phone.as_ref().map(ToString::to_string),
            is_email_verified: user.email_verified,
            is_phone_verified: user.phone_verified,
            // A disabled account is shown as locked; the wire's "inactive" is never used.
            is_active: true,
            is_locked: !user.is_active(),
            mfa_enabled: user.mfa_enabled,
            mfa_exempt: user.mfa_exempt.is_some(),
            social_providers: None,
            has_password_hash: user.password_hash.is_some(),
            created_at: user.created_at.to_string(),
            updated_at: user.updated_at.to_string(),
            timezone: user.timezone.clone(),
            locale: user.locale.clone(),
            session_auth_method: session.auth_method.clone(),
            pending_email: user.pending_email.as_ref().map(ToString::to_string),
            pending_phone: user.pending_phone.as_ref().map(ToString::to_string),
        }
    }
}

impl Session {
    /// One entry of the list.
    pub(crate) fn of(listed: &ListedSession) -> Self {
        let session = &listed.session;
        Self {
            session_id: session.id.to_string(),
            device_id: Some(session.device.id.clone()).filter(|id| !id.is_empty()),
            device_name: session.device.name.clone(),
            device_type: session.device.kind.clone(),
            platform: session.device.platform.clone(),
            browser: session.device.browser.clone(),
            ip_address: Some(session.ip.clone()),
            ip_country: session.location.country.clone(),
            ip_city: session.location.city.clone(),
            last_activity_at: session.last_activity_at.to_string(),
            created_at: session.created_at.to_string(),
            expires_at: session.expires_at.to_string(),
            is_trusted_device: listed.on_trusted_device,
            is_current: listed.is_current,
            auth_method: Some(session.auth_method.clone()),
            auth_provider: None,
        }
    }
}

impl Forgotten {
    /// The answer to everybody who forgot a password.
    pub(crate) fn of(forgotten: &ForgottenPassword) -> Self {
        Self {
            success: true,
            destination: forgotten.destination.clone(),
            delivery_medium: if forgotten.by_sms { "sms" } else { "email" },
            expires_in: forgotten.expires_in.as_secs(),
        }
    }
}

impl PasswordReset {
    /// A reset sets the password for good.
    pub(crate) const DONE: Self = Self { success: true, must_change_password: false };
}

impl TrustedDevice {
    /// One entry of the list.
    pub(crate) fn of(device: &device::TrustedDevice) -> Self {
        Self {
            id: device.id,
            device_id: device.device.id.clone(),
            device_name: device.device.name.clone(),
            device_type: device.device.kind.clone(),
            ip_address: device.ip.clone(),
            platform: device.device.platform.clone(),
            browser: device.device.browser.clone(),
            trusted_until: device.trusted_until.to_string(),
            last_used_at: device.last_used_at.map(|at| at.to_string()),
            created_at: device.created_at.to_string(),
        }
    }
}
