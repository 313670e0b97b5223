//! The words of the audit trail, as the wire and every place entries go to know them.

/// Every type of entry the wire knows. Some belong to what this server does not do: a client may ask
/// for them, and finds nothing.
pub const EVENT_TYPES: &[&str] = &[
    "ACCOUNT_CREATED",
    "ACCOUNT_DELETED",
    "ACCOUNT_DISABLED",
    "ACCOUNT_ENABLED",
    "ADAPTIVE_MFA_BYPASSED",
    "ADAPTIVE_MFA_RISK_ASSESSED",
    "ADAPTIVE_MFA_TRIGGERED",
    "ADMIN_PASSWORD_RESET_COMPLETED",
    "ADMIN_PASSWORD_RESET_FAILED",
    "ADMIN_PASSWORD_RESET_INITIATED",
    "ADMIN_ROLE_GRANTED",
    "ADMIN_ROLE_REVOKED",
    "API_KEY_CREATED",
    "API_KEY_DELETED",
    "API_KEY_REVOKED",
    "API_KEY_UPDATED",
    "API_KEY_USED_DENIED",
    "AUTHORIZATION_DENIED",
    "CHALLENGE_ATTEMPT_FAILED",
    "CHALLENGE_COMPLETED",
    "CHALLENGE_CREATED",
    "CONFIG_RELOADED",
    "DEVICE_TRUSTED",
    "DEVICE_UNTRUSTED",
    "EMAIL_CHANGED",
    "EMAIL_VERIFICATION_FAILED",
    "EMAIL_VERIFICATION_REQUESTED",
    "EMAIL_VERIFICATION_STATUS_UPDATED",
    "EMAIL_VERIFIED",
    "GATEWAY_ACCESS_DENIED",
    "GLOBAL_SIGNOUT",
    "LOCKOUT_CLEARED",
    "LOCKOUT_TRIGGERED",
    "LOGIN_ATTEMPT",
    "LOGIN_BLOCKED",
    "LOGIN_FAILED",
    "LOGIN_SUCCESS",
    "MFA_BACKUP_CODES_GENERATED",
    "MFA_BACKUP_CODE_USED",
    "MFA_DEVICE_ADDED",
    "MFA_DEVICE_REMOVED",
    "MFA_DEVICE_UPDATED",
    "MFA_DISABLED",
    "MFA_ENABLED",
    "MFA_EXEMPTION_GRANTED",
    "MFA_EXEMPTION_REVOKED",
    "MFA_PREFERRED_METHOD_UPDATED",
    "MFA_VERIFICATION_FAILED",
    "MFA_VERIFICATION_SUCCESS",
    "OIDC_ACCESS_DENIED",
    "OIDC_CONSENT_DENIED",
    "OIDC_CONSENT_GRANTED",
    "OIDC_LOGIN_COMPLETED",
    "PASSWORD_CHANGED",
    "PASSWORD_FORCE_CHANGE_COMPLETED",
    "PASSWORD_FORCE_CHANGE_SET",
    "PASSWORD_RESET_COMPLETED",
    "PASSWORD_RESET_FAILED",
    "PASSWORD_RESET_REQUESTED",
    "PHONE_CHANGED",
    "PHONE_VERIFICATION_FAILED",
    "PHONE_VERIFICATION_REQUESTED",
    "PHONE_VERIFICATION_STATUS_UPDATED",
    "PHONE_VERIFIED",
    "PROFILE_UPDATED",
    "SESSION_CREATED",
    "SESSION_REVOKED",
    "SOCIAL_ACCOUNT_LINKED",
    "SOCIAL_ACCOUNT_UNLINKED",
    "SOCIAL_LOGIN",
    "STATE_RESTORED",
    "SUSPICIOUS_ACTIVITY",
    "USERNAME_CHANGED",
    "WEBHOOK_FAILED",
];

/// How what happened ended, in the words of the wire.
pub const EVENT_STATUSES: [&str; 4] = ["SUCCESS", "FAILURE", "INFO", "SUSPICIOUS"];

/// What happened, in a sentence for people: fixed words for a type of entry, its reason and what somebody logged
/// in with. `None` for what is never written.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a flat list of every type, one after the other")]
pub fn describe(event_type: &str, reason: Option<&str>, method: Option<&str>) -> Option<&'static str> {
    let reason = reason.unwrap_or_default();
    Some(match event_type {
        "ACCOUNT_CREATED" => "The account was made",
        "ACCOUNT_DELETED" if reason == "signup_replaced" => "The unfinished account gave way to a new sign-up",
        "ACCOUNT_DELETED" if reason == "signup_lapsed" => "The account was deleted because it was never finished",
        "ACCOUNT_DELETED" => "The account was deleted",
        "ACCOUNT_DISABLED" => "The account was disabled",
        "ACCOUNT_ENABLED" => "The account was enabled",
        "ADAPTIVE_MFA_BYPASSED" => "An unusual sign-in was not asked for a second factor",
        "ADAPTIVE_MFA_RISK_ASSESSED" => "A sign-in was unusual",
        "ADAPTIVE_MFA_TRIGGERED" => "An unusual sign-in was asked for a second factor",
        "ADMIN_PASSWORD_RESET_COMPLETED" => "The password was reset with a code that an operator had sent",
        "ADMIN_PASSWORD_RESET_FAILED" => "A code to reset the password that an operator had sent was answered wrongly",
        "ADMIN_PASSWORD_RESET_INITIATED" => "An operator had a code sent to reset the password",
        "ADMIN_ROLE_GRANTED" => "A role was granted",
        "ADMIN_ROLE_REVOKED" => "A role was taken away",
        "CHALLENGE_ATTEMPT_FAILED" => match reason {
            "MFA_REQUIRED" => "A second factor was wrong",
            "MFA_SETUP_REQUIRED" => "Setting up a second factor failed",
            "VERIFY_EMAIL" => "A code sent by e-mail was wrong",
            "VERIFY_PHONE" => "A code sent by text message was wrong",
            _ => "A step of a sign-in failed",
        },
        "CHALLENGE_COMPLETED" => match reason {
            "FORCE_CHANGE_PASSWORD" => "A sign-in set the new password that was asked for",
            "MFA_REQUIRED" => "A sign-in proved the second factor that was asked for",
            "MFA_SETUP_REQUIRED" => "A sign-in set up the second factor that was asked for",
            "VERIFY_EMAIL" => "A sign-in proved the e-mail address",
            "VERIFY_PHONE" => "A sign-in proved the phone number",
            _ => "A step of a sign-in was passed",
        },
        "CHALLENGE_CREATED" | "LOGIN_ATTEMPT" => match reason {
            "FORCE_CHANGE_PASSWORD" => "A sign-in was asked for a new password",
            "MFA_REQUIRED" => "A sign-in was asked for a second factor",
            "MFA_SETUP_REQUIRED" => "A sign-in was asked to set up a second factor",
            "VERIFY_EMAIL" => "A sign-in was asked to prove the e-mail address",
            "VERIFY_PHONE" => "A sign-in was asked to prove the phone number",
            _ => "A sign-in was asked for more",
        },
        "CONFIG_RELOADED" => "Other settings are in force",
        "DEVICE_TRUSTED" => "A device is trusted",
        "DEVICE_UNTRUSTED" => "Devices are trusted no longer",
        "EMAIL_CHANGED" => "The e-mail address was changed",
        "EMAIL_VERIFICATION_FAILED" => "A code to prove the e-mail address was wrong",
        "EMAIL_VERIFICATION_REQUESTED" => "A code to prove the e-mail address was sent",
        "EMAIL_VERIFICATION_STATUS_UPDATED" => "The new e-mail address is not proven yet",
        "EMAIL_VERIFIED" => "The e-mail address was proven",
        "GATEWAY_ACCESS_DENIED" => match reason {
            "address" => "A request was refused because of the address it came from",
            "role" => "A request was refused because a role is missing",
            "scope" => "A request was refused because a scope is missing",
            "step_up" => "A request was refused because it needs a surer or fresher sign-in",
            "verified_email" => "A request was refused because the e-mail address is not proven",
            _ => "A request was refused",
        },
        "GLOBAL_SIGNOUT" => "Every session was ended",
        "LOCKOUT_CLEARED" => "Signing in is not held up by failures any more",
        "LOCKOUT_TRIGGERED" => "Too many sign-ins had failed; the next ones have to wait",
        "LOGIN_BLOCKED" => "A sign-in had to wait because too many had failed",
        "LOGIN_FAILED" => match reason {
            "account_locked" => "A sign-in was refused because the account is disabled",
            "denied" => "A sign-in was refused by a rule of the operator",
            "identifier_kind" => "A sign-in used a name that is not accepted",
            "risk" => "A sign-in was refused because it was too unusual",
            "unknown_user" => "A sign-in used a name that nobody has",
            "wrong_passkey" => "A sign-in with a wrong passkey was refused",
            "wrong_password" => "A sign-in with a wrong password was refused",
            _ => "A sign-in was refused",
        },
        "LOGIN_SUCCESS" if reason == "reauthenticated" => "Confirmed by signing in again",
        "LOGIN_SUCCESS" => match method {
            Some("passkey") => "Signed in with a passkey",
            Some("password") => "Signed in with a password",
            _ => "Signed in",
        },
        "MFA_BACKUP_CODES_GENERATED" => "New backup codes were made",
        "MFA_BACKUP_CODE_USED" => "A backup code was used",
        "MFA_DEVICE_ADDED" => "A further second factor was set up",
        "MFA_DEVICE_REMOVED" => "A second factor was removed",
        "MFA_DISABLED" => "The last second factor was removed",
        "MFA_ENABLED" => "A second factor was set up for the first time",
        "MFA_EXEMPTION_GRANTED" => "No second factor is asked for any more",
        "MFA_EXEMPTION_REVOKED" => "A second factor is asked for again",
        "MFA_PREFERRED_METHOD_UPDATED" => "Another second factor is asked for first",
        "MFA_VERIFICATION_FAILED" => "A second factor was wrong",
        "MFA_VERIFICATION_SUCCESS" => "A second factor was proven",
        "PASSWORD_CHANGED" => "The password was changed",
        "PASSWORD_FORCE_CHANGE_COMPLETED" => "The password that had to be changed was changed",
        "PASSWORD_FORCE_CHANGE_SET" => "The next sign-in must set another password",
        "PASSWORD_RESET_COMPLETED" => "The password was reset with a code",
        "PASSWORD_RESET_FAILED" => "A code to reset the password was wrong",
        "PASSWORD_RESET_REQUESTED" => "A code to reset the password was asked for",
        "PHONE_CHANGED" => "The phone number was changed",
        "PHONE_VERIFICATION_FAILED" => "A code to prove the phone number was wrong",
        "PHONE_VERIFICATION_REQUESTED" => "A code to prove the phone number was sent",
        "PHONE_VERIFICATION_STATUS_UPDATED" => "The new phone number is not proven yet",
        "PHONE_VERIFIED" => "The phone number was proven",
        "PROFILE_UPDATED" => match reason {
            "completed" => "The sign-up was completed",
            "email_change_requested" => "A new e-mail address waits to be proven",
            "phone_change_requested" => "A new phone number waits to be proven",
            _ => "The profile was changed",
        },
        "SESSION_CREATED" => "A session was opened",
        "SESSION_REVOKED" => match reason {
            "logout" => "Signed out",
            "max_concurrent" => "A session was ended because there were too many",
            "same_device" => "A session was ended by a new sign-in on the same device",
            "single_session" => "A session was ended by a new sign-in",
            "token_reuse" => "A session was ended because its refresh token was used twice",
            _ => "A session was ended",
        },
        "STATE_RESTORED" => "The database was put back to an earlier state",
        "SUSPICIOUS_ACTIVITY" => match reason {
            "credential_conflict" => "A request carried cookies of more than one session",
            "foreign_refresh" => "A refresh token came from another client than the one that holds it",
            "passkey_cloned" => "A passkey was refused because somebody has a copy of it",
            "token_reuse" => "A refresh token was used twice; its session was ended",
            "unknown_device_token" => "A login showed the token of a device that is not trusted",
            _ => "Something suspicious happened",
        },
        "USERNAME_CHANGED" => "The user name was changed",
        "WEBHOOK_FAILED" => "An event could not be delivered to a webhook",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_in_order_and_each_is_there_once() {
        assert!(EVENT_TYPES.is_sorted_by(|a, b| a < b), "{EVENT_TYPES:?}");
    }

    #[test]
    fn entries_are_described_by_type_reason_and_method_and_never_by_what_users_say() {
        let cases = [
            ("LOGIN_SUCCESS", None, Some("password"), "Signed in with a password"),
            ("LOGIN_SUCCESS", None, Some("passkey"), "Signed in with a passkey"),
            ("LOGIN_SUCCESS", Some("reauthenticated"), None, "Confirmed by signing in again"),
            ("CHALLENGE_ATTEMPT_FAILED", Some("MFA_REQUIRED"), None, "A second factor was wrong"),
            ("ACCOUNT_DISABLED", Some("rude words"), None, "The account was disabled"),
            ("SESSION_REVOKED", Some("what comes later"), None, "A session was ended"),
        ];
        for (kind, reason, method, sentence) in cases {
            assert_eq!(describe(kind, reason, method), Some(sentence));
        }
        assert_eq!(describe("NO_SUCH", None, None), None);
    }
}
