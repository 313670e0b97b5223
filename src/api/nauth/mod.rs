//! The native dialect: the wire of nauth-toolkit's clients.

pub mod error;

mod audit;
mod challenge;
mod device;
mod fields;
mod login;
mod mfa;
mod passkey;
mod password;
mod profile;
mod session;
mod signup;
pub mod wire;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, post, put};

use crate::api::Api;
use crate::api::delivery;
use crate::api::dialect::{CookieNames, Dialect, Rendered};
use crate::api::json::Object;
use crate::api::nauth::wire::{request, response};
use crate::auth::{Client, Login, Outcome, Respond, Signup};
use crate::config::settings::{ApiGroup, Settings};
use crate::domain::clock::Time;
use crate::domain::error::Error;
use crate::domain::session::Delivery;

/// The native dialect.
#[derive(Debug, Clone, Copy)]
pub struct Nauth;

/// One route: the key `api.exclude` names it by, its group, its path below the prefix, its handlers.
type Route = (&'static str, ApiGroup, &'static str, MethodRouter<Api>);

/// Every route of this wire.
fn all_routes() -> Vec<Route> {
    use ApiGroup::{Audit, Core, Device, Mfa, Profile};
    vec![
        ("signup", Core, "/signup", post(signup::signup)),
        ("login", Core, "/login", post(login::login)),
        ("respondChallenge", Core, "/respond-challenge", post(challenge::respond)),
        ("resendCode", Core, "/challenge/resend", post(challenge::resend)),
        ("getSetupData", Core, "/challenge/setup-data", post(challenge::setup_data)),
        ("getChallengeData", Core, "/challenge/challenge-data", post(challenge::challenge_data)),
        ("passkeyOptions", Core, "/passkey/options", post(passkey::options)),
        ("passkeyLogin", Core, "/passkey/login", post(passkey::login)),
        ("forgotPassword", Core, "/forgot-password", post(password::forgot)),
        ("confirmForgotPassword", Core, "/forgot-password/confirm", post(password::confirm_forgot)),
        ("confirmAdminResetPassword", Core, "/reset-password/confirm", post(password::confirm_admin_reset)),
        ("reauthenticate", Core, "/reauthenticate", post(password::reauthenticate)),
        ("refresh", Core, "/refresh", post(session::refresh)),
        // A HEAD would be answered by GET's handler; what only asks must not log out.
        ("logout", Core, "/logout", get(session::logout).post(session::logout).head(session::not_for_head)),
        ("logoutAll", Core, "/logout/all", post(session::logout_all)),
        ("profile", Profile, "/profile", get(profile::profile)),
        ("updateProfile", Profile, "/profile", put(profile::update)),
        ("verifyContact", Profile, "/profile/contact/verify", post(profile::verify_contact)),
        ("resendContact", Profile, "/profile/contact/resend", post(profile::resend_contact)),
        ("changePassword", Profile, "/change-password", post(password::change)),
        ("mfaStatus", Mfa, "/mfa/status", get(mfa::status)),
        ("mfaAvailableMethods", Mfa, "/mfa/available-methods", get(mfa::available_methods)),
        ("mfaSetupData", Mfa, "/mfa/setup-data", post(mfa::setup_data)),
        ("mfaVerifySetup", Mfa, "/mfa/verify-setup", post(mfa::verify_setup)),
        ("mfaChallengeData", Mfa, "/mfa/challenge-data", post(mfa::challenge_data)),
        ("mfaBackupCodes", Mfa, "/mfa/backup-codes/generate", post(mfa::backup_codes)),
        ("mfaDevices", Mfa, "/mfa/devices", get(mfa::devices)),
        ("mfaPreferred", Mfa, "/mfa/devices/{id}/preferred", post(mfa::prefer)),
        ("mfaRemoveDevice", Mfa, "/mfa/devices/{id}", delete(mfa::remove)),
        ("sessions", Device, "/sessions", get(session::list)),
        ("logoutSession", Device, "/sessions/{id}", delete(session::end_one)),
        ("trustDevice", Device, "/trust-device", post(device::trust)),
        ("isTrustedDevice", Device, "/is-trusted-device", get(device::is_trusted)),
        ("trustedDevices", Device, "/trusted-devices", get(device::list)),
        ("revokeAllTrustedDevices", Device, "/trusted-devices", delete(device::forget_all)),
        ("revokeTrustedDevice", Device, "/trusted-devices/{id}", delete(device::forget)),
        ("auditHistory", Audit, "/audit/history", get(audit::history)),
    ]
}

impl Dialect for Nauth {
    const NAME: &'static str = "nauth";

    fn routes(settings: &Settings) -> Router<Api> {
        let is_mounted = |key: &str, group: ApiGroup| {
            let is_built = match key {
                "passkeyOptions" | "passkeyLogin" => settings.mfa.is_passwordless(),
                "getSetupData" | "getChallengeData" => settings.mfa.enabled,
                _ => match group {
                    ApiGroup::Mfa => settings.mfa.enabled,
                    ApiGroup::Audit => settings.audit.enabled,
                    _ => true,
                },
            };
            is_built
                && settings.api.groups.contains(&group)
                && !settings.api.exclude.iter().any(|excluded| excluded == key)
        };
        let mounted = all_routes().into_iter().filter(|(key, group, ..)| is_mounted(key, *group));
        mounted.fold(Router::new(), |router, (_, _, path, handlers)| router.route(path, handlers))
    }

    fn cookie_names(settings: &Settings) -> CookieNames {
        delivery::cookie_names(settings)
    }

    fn decode_signup(body: &Object, client: Client) -> Result<Signup, Error> {
        request::signup(body, client)
    }

    fn decode_login(body: &Object, client: Client) -> Result<Login, Error> {
        request::login(body, client)
    }

    fn decode_respond(body: &Object, client: Client) -> Result<Respond, Error> {
        request::respond(body, client)
    }

    fn encode(outcome: &Outcome, delivery: Delivery, settings: &Settings) -> serde_json::Value {
        let answer = response::AuthResponse::of(outcome, delivery, settings);
        serde_json::to_value(answer).expect("strings, numbers and booleans always serialise")
    }

    fn error(error: &Error, path: &str, now: Time) -> Rendered {
        error::render(error, path, now)
    }
}
