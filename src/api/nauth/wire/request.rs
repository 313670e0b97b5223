//! What requests must look like.
//!
//! Unknown properties are ignored; everything that is wrong with a body is told at once. Lengths are in characters.

use uuid::{Uuid, Variant};

use crate::api::json::Object;
use crate::api::nauth::fields::{Fields, Problems};
use crate::api::nauth::wire::factor;
use crate::auth;
use crate::auth::{Answer, Client, FactorAnswer};
use crate::domain::challenge::StepKind;
use crate::domain::contact::{Email, Identifier, Phone, Username};
use crate::domain::error::Error;
use crate::domain::id::{ChallengeId, SessionId};
use crate::domain::secret::Secret;

/// Longest password read, in characters. What makes a good one is the policy's business.
const MAX_PASSWORD: usize = 1024;
/// Longest identifier, in characters.
const MAX_IDENTIFIER: usize = 255;
/// Longest phone number as typed, in characters.
const MAX_PHONE: usize = 20;
/// Shortest thing a link carries, in characters.
const LINK_TOKEN: std::ops::RangeInclusive<usize> = 26..=64;
/// Longest given or family name, in characters.
pub(in crate::api) const MAX_NAME: usize = 100;

/// Reads `POST /signup`.
pub fn signup(body: &Object, client: Client) -> Result<auth::Signup, Error> {
    let mut fields = Fields::of(body);
    let email = fields.required("email", email);
    let password = fields.required("password", password);
    let username = fields.optional("username", username);
    let first_name = fields.optional("firstName", name);
    let last_name = fields.optional("lastName", name);
    let metadata = fields.optional_object("metadata");
    let phone = fields.optional("phone", phone);
    let invite_code = fields.optional("inviteCode", invite_code);
    let timezone = fields.optional("timezone", timezone);
    let locale = fields.optional("locale", locale);
    let client = with_device(&mut fields, client);
    let (Some(email), Some(password), true) = (email, password, fields.are_good()) else {
        return Err(fields.into_error());
    };
    Ok(auth::Signup {
        email,
        password,
        username,
        phone,
        invite_code,
        first_name,
        last_name,
        metadata,
        timezone,
        locale,
        client,
    })
}

/// Reads `POST /login`.
pub fn login(body: &Object, client: Client) -> Result<auth::Login, Error> {
    let mut fields = Fields::of(body);
    let identifier = fields.required("identifier", identifier);
    let password = fields.required("password", password);
    let client = with_device(&mut fields, client);
    let (Some(identifier), Some(password), true) = (identifier, password, fields.are_good()) else {
        return Err(fields.into_error());
    };
    Ok(auth::Login { identifier, password, renews: None, client })
}

/// Reads `POST /respond-challenge`.
pub fn respond(body: &Object, client: Client) -> Result<auth::Respond, Error> {
    let mut fields = Fields::of(body);
    let challenge = fields.required("session", challenge_id);
    let kind = fields.required("type", step_kind);
    let answer = kind.and_then(|kind| match kind {
        StepKind::VerifyEmail => {
            let password = fields.optional("password", password);
            fields.required("code", code).map(|code| Answer::EmailCode { code, password })
        }
        StepKind::VerifyPhone => phone_answer(&mut fields),
        StepKind::ChangePassword => fields.required("newPassword", password).map(Answer::NewPassword),
        StepKind::SetUpFactor => factor::demanded_setup(&mut fields).map(Answer::SetUp),
        StepKind::ProveFactor => factor::proof(&mut fields).map(Answer::Factor),
    });
    let client = with_device(&mut fields, client);
    let (Some(challenge), Some(answer), true) = (challenge, answer, fields.are_good()) else {
        return Err(fields.into_error());
    };
    Ok(auth::Respond { challenge, answer, client })
}

/// A number to be verified, or the code that verifies it.
fn phone_answer(fields: &mut Fields<'_>) -> Option<Answer> {
    let phone = fields.optional("phone", phone);
    // A number that is malformed is still meant to be one.
    if phone.is_some() || !fields.are_good() {
        return phone.map(Answer::Phone);
    }
    fields.required("code", code).map(Answer::PhoneCode)
}

/// Reads `POST /passkey/login`.
pub fn passkey_login(body: &Object, client: Client) -> Result<auth::PasskeyLogin, Error> {
    let mut fields = Fields::of(body);
    let session = fields.required("session", challenge_id);
    let credential = fields.required_object("credential");
    let client = with_device(&mut fields, client);
    let (Some(session), Some(credential), true) = (session, credential, fields.are_good()) else {
        return Err(fields.into_error());
    };
    Ok(auth::PasskeyLogin { session, credential: factor::as_text(credential), renews: None, client })
}

/// Reads `POST /forgot-password`.
pub fn forgot_password(body: &Object) -> Result<auth::ForgotPassword, Error> {
    let mut fields = Fields::of(body);
    match fields.required("identifier", identifier) {
        Some(identifier) => Ok(auth::ForgotPassword { identifier }),
        None => Err(fields.into_error()),
    }
}

/// Reads `POST /forgot-password/confirm` and `POST /reset-password/confirm`.
pub fn reset_password(body: &Object, by_operator: bool) -> Result<auth::ResetPassword, Error> {
    let mut fields = Fields::of(body);
    let identifier = fields.required("identifier", identifier);
    let code = fields.required("code", code);
    let password = fields.required("newPassword", password);
    let (Some(identifier), Some(code), Some(password)) = (identifier, code, password) else {
        return Err(fields.into_error());
    };
    Ok(auth::ResetPassword { identifier, code, password, by_operator })
}

/// Reads `POST /change-password`: the old one, empty for an account that has none, and the new one.
pub fn change_password(body: &Object) -> Result<(Secret<String>, Secret<String>), Error> {
    let mut fields = Fields::of(body);
    let old = fields
        .required("oldPassword", |text| if text.is_empty() { Ok(Secret::new(String::new())) } else { password(text) });
    let new = fields.required("newPassword", password);
    let (Some(old), Some(new)) = (old, new) else {
        return Err(fields.into_error());
    };
    Ok((old, new))
}

/// What somebody confirms who they are with.
pub enum Confirmation {
    /// The password.
    Password(Secret<String>),
    /// A second factor.
    Factor(FactorAnswer),
}

/// Reads `POST /reauthenticate`: a password, or a second factor by `method` and `code`.
pub fn reauthenticate(body: &Object) -> Result<Confirmation, Error> {
    let mut fields = Fields::of(body);
    let confirmation = if body.contains_key("method") {
        factor::proof(&mut fields).map(Confirmation::Factor)
    } else {
        fields.required("password", password).map(Confirmation::Password)
    };
    match confirmation {
        Some(confirmation) if fields.are_good() => Ok(confirmation),
        _ => Err(fields.into_error()),
    }
}

/// Reads `PUT /profile`.
pub fn profile(body: &Object) -> Result<auth::ProfileUpdate, Error> {
    let mut fields = Fields::of(body);
    let update = auth::ProfileUpdate {
        first_name: fields.optional("firstName", name),
        last_name: fields.optional("lastName", name),
        email: fields.optional("email", email),
        phone: fields.optional("phone", phone),
        username: fields.optional("username", username),
        metadata: fields.optional_object("metadata"),
        timezone: fields.optional("timezone", timezone),
        locale: fields.optional("locale", locale),
        preferred_method: fields.optional("preferredMfaMethod", factor::factor_method),
    };
    if fields.are_good() { Ok(update) } else { Err(fields.into_error()) }
}

/// Reads `POST /profile/contact/verify`.
pub fn verify_contact(body: &Object) -> Result<Secret<String>, Error> {
    let mut fields = Fields::of(body);
    fields.required("code", code).ok_or_else(|| fields.into_error())
}

/// Reads a switch of a body or a query; absent is off.
pub fn switch(body: &Object, name: &str) -> Result<bool, Error> {
    let mut fields = Fields::of(body);
    let value = fields.optional_bool(name);
    if fields.are_good() { Ok(value.unwrap_or(false)) } else { Err(fields.into_error()) }
}

/// Reads a number of a path.
pub fn number(text: &str) -> Result<i64, Error> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain);
    number.ok_or_else(|| Error::InvalidInput("Expected a number".to_owned()))
}

/// Reads the session of a path. A number that no session can have is one that is not there.
pub fn session_id(text: &str) -> Result<SessionId, Error> {
    let number = number(text)?;
    SessionId::from_number(number).map_err(|_| Error::SessionNotFound("Session not found"))
}

/// What any body may say of the device it comes from.
fn with_device(fields: &mut Fields<'_>, mut client: Client) -> Client {
    client.device_name = fields.optional("deviceName", name);
    client.device_type = fields.optional("deviceType", device_type);
    client
}

/// Reads a body that names a challenge: `POST /challenge/resend`, `…/setup-data`, `…/challenge-data`.
pub fn challenge(body: &Object) -> Result<ChallengeId, Error> {
    let mut fields = Fields::of(body);
    fields.required("session", challenge_id).ok_or_else(|| fields.into_error())
}

/// Reads `POST /refresh`. An empty token is none: older clients send one beside their cookies.
pub fn refresh(body: &Object) -> Result<Option<Secret<String>>, Error> {
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

pub(super) fn phone(text: &str) -> Result<Phone, Problems> {
    let wrong = || vec!["must be a phone number in E.164 format, such as +41791234567".to_owned()];
    if text.chars().count() > MAX_PHONE {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

fn device_type(text: &str) -> Result<String, Problems> {
    let known = ["mobile", "desktop", "tablet"];
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(vec!["must be one of the following values: mobile, desktop, tablet".to_owned()])
}

fn invite_code(text: &str) -> Result<Secret<String>, Problems> {
    within(text.trim(), MAX_NAME).map(|text| Secret::new(text.to_owned()))
}

/// What somebody calls themselves or something of theirs.
pub(in crate::api) fn name(text: &str) -> Result<String, Problems> {
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
pub(super) fn challenge_id(text: &str) -> Result<ChallengeId, Problems> {
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
    let known = || StepKind::ALL.map(StepKind::as_str).join(", ");
    StepKind::from_name(text).ok_or_else(|| vec![format!("must be one of the following values: {}", known())])
}

pub(super) fn code(text: &str) -> Result<Secret<String>, Problems> {
    let text = text.trim();
    let mut problems = Problems::new();
    let length = text.chars().count();
    if !(4..=10).contains(&length) && !LINK_TOKEN.contains(&length) {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::session::Delivery;

    const CLIENT: Client = Client::new("nauth", Delivery::Json);
    const SESSION: &str = "0b6f7c1a-9f7d-4c53-8f0e-3f1d6d8f5a11";

    fn object(body: &Value) -> Object {
        body.as_object().unwrap().clone()
    }

    /// The names of the fields a reader complains about.
    fn complaints<T>(read: Result<T, Error>) -> Vec<String> {
        match read {
            Ok(_) => vec![],
            Err(Error::Validation(problems)) => problems.into_iter().map(|problem| problem.field).collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn signup_with(field: &str, value: &Value) -> Vec<String> {
        let mut body = json!({"email": "ada@example.com", "password": "x"});
        body[field] = value.clone();
        complaints(signup(&object(&body), CLIENT))
    }

    #[test]
    fn a_signup_is_normalised_and_what_is_unknown_is_ignored() {
        let body = json!({
            "email": " Ada@Example.COM ", "password": " spaces count ", "username": " Ada_L ", "firstName": " Ada ",
            "lastName": null, "metadata": {"a": [1]}, "timezone": "Europe/Berlin", "locale": "de-DE",
            "recaptchaToken": 7, "isAdmin": true,
        });

        let signup = signup(&object(&body), CLIENT).unwrap();

        assert_eq!(signup.email.as_str(), "ada@example.com");
        assert_eq!(signup.password.expose(), " spaces count ");
        assert_eq!(signup.username.unwrap().as_str(), "ada_l");
        assert_eq!((signup.first_name.as_deref(), signup.last_name), (Some("Ada"), None));
        assert_eq!(signup.metadata.unwrap()["a"], json!([1]));
        assert_eq!((signup.timezone.as_deref(), signup.locale.as_deref()), (Some("Europe/Berlin"), Some("de-DE")));
    }

    #[test]
    fn each_field_has_its_limits() {
        let good = [
            ("password", json!("x".repeat(1024))),
            ("firstName", json!("ä".repeat(100))),
            ("username", json!("abc")),
            ("metadata", json!({})),
        ];
        let bad = [
            ("email", json!("ada")),
            ("email", json!(7)),
            ("email", json!(null)),
            ("password", json!("")),
            ("password", json!("x".repeat(1025))),
            ("password", json!(["x"])),
            ("username", json!("ab")),
            ("username", json!("a b c")),
            ("firstName", json!("  ")),
            ("firstName", json!("ä".repeat(101))),
            ("lastName", json!("a\u{0}b")),
            ("metadata", json!([])),
            ("metadata", json!("{}")),
            ("timezone", json!("Europe Berlin")),
            ("locale", json!("de_DE")),
            ("locale", json!("")),
        ];
        for (field, value) in good {
            assert!(signup_with(field, &value).is_empty(), "{field} {value}");
        }
        for (field, value) in bad {
            assert_eq!(signup_with(field, &value), [field], "{value}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        assert_eq!(complaints(signup(&Object::new(), CLIENT)), ["email", "password"]);
        assert_eq!(complaints(login(&Object::new(), CLIENT)), ["identifier", "password"]);
        assert_eq!(complaints(respond(&Object::new(), CLIENT)), ["session", "type"]);
        let body = json!({"session": "x", "type": "VERIFY_EMAIL", "code": "-"});
        assert_eq!(complaints(respond(&object(&body), CLIENT)), ["session", "code", "code"]);
    }

    #[test]
    fn an_identifier_is_at_most_255_characters() {
        for (length, expected) in [(255, 0), (256, 1)] {
            let body = json!({"identifier": "x".repeat(length), "password": "x"});
            assert_eq!(complaints(login(&object(&body), CLIENT)).len(), expected, "{length}");
        }
    }

    #[test]
    fn a_challenge_is_named_by_a_uuid_of_version_4() {
        let good = [SESSION.to_owned(), format!("  {} ", SESSION.to_uppercase())];
        let bad = ["0b6f7c1a-9f7d-1c53-8f0e-3f1d6d8f5a11", "0b6f7c1a9f7d4c538f0e3f1d6d8f5a11", "7", ""];
        for session in good {
            assert_eq!(challenge(&object(&json!({"session": session}))).unwrap().to_string(), SESSION);
        }
        for session in bad {
            assert_eq!(complaints(challenge(&object(&json!({"session": session})))), ["session"], "{session}");
        }
    }

    #[test]
    fn a_code_is_4_to_10_letters_and_digits() {
        for (code, expected) in
            [("123456", 0), (" 1234 ", 0), ("ABcd123456", 0), ("123", 1), ("12345678901", 1), ("12-456", 1), ("", 1)]
        {
            let body = json!({"session": SESSION, "type": "VERIFY_EMAIL", "code": code});
            assert_eq!(complaints(respond(&object(&body), CLIENT)).len(), expected, "{code}");
        }
        for kind in ["mfa_required", "verify_email", ""] {
            let body = json!({"session": SESSION, "type": kind, "code": "123456"});
            assert_eq!(complaints(respond(&object(&body), CLIENT)), ["type"], "{kind}");
        }
    }

    #[test]
    fn an_empty_refresh_token_is_none() {
        let read = |body: Value| refresh(&object(&body)).map(|token| token.map(|token| token.expose().clone()));

        assert_eq!(read(json!({})).unwrap(), None);
        assert_eq!(read(json!({"refreshToken": ""})).unwrap(), None);
        assert_eq!(read(json!({"refreshToken": null})).unwrap(), None);
        assert_eq!(read(json!({"refreshToken": " a.b.c "})).unwrap().as_deref(), Some("a.b.c"));
        assert_eq!(complaints(read(json!({"refreshToken": 1}))), ["refreshToken"]);
    }
}
