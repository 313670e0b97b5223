//! What requests about second factors must look like, and what is answered to them.

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::json::Object;
use crate::api::nauth::fields::{Fields, Problems};
use crate::api::nauth::wire::request::{challenge_id, code, name, phone};
use crate::api::qr;
use crate::auth::mfa::{AppSecret, FactorStatus, ProofData, RemovedFactor, SetupData, SetupWish};
use crate::auth::{FactorAnswer, SetupAnswer};
use crate::domain::contact::Phone;
use crate::domain::error::Error;
use crate::domain::factor::{Factor, Method};
use crate::domain::id::ChallengeId;
use crate::domain::secret::Secret;

/// Longest secret of an app as typed, in characters.
const MAX_SECRET: usize = 256;

/// Reads `POST /mfa/setup-data`.
pub(in crate::api::nauth) fn setup_wish(body: &Object) -> Result<SetupWish, Error> {
    let mut fields = Fields::of(body);
    let method = fields.required("methodName", factor_method);
    let (phone, name) = wished(&mut fields);
    done(fields, method.map(|method| SetupWish { method, phone, name }))
}

/// Reads `POST /challenge/setup-data`.
pub(in crate::api::nauth) fn demanded_wish(body: &Object) -> Result<(ChallengeId, SetupWish), Error> {
    let mut fields = Fields::of(body);
    let challenge = fields.required("session", challenge_id);
    let method = fields.required("method", factor_method);
    let (phone, name) = wished(&mut fields);
    done(fields, challenge.zip(method).map(|(challenge, method)| (challenge, SetupWish { method, phone, name })))
}

/// Reads `POST /challenge/challenge-data`.
pub(in crate::api::nauth) fn proof_wish(body: &Object) -> Result<(ChallengeId, Method), Error> {
    let mut fields = Fields::of(body);
    let challenge = fields.required("session", challenge_id);
    let method = fields.required("method", any_method);
    done(fields, challenge.zip(method))
}

/// Reads `POST /mfa/challenge-data`.
pub(in crate::api::nauth) fn own_proof_wish(body: &Object) -> Result<Method, Error> {
    let mut fields = Fields::of(body);
    let method = fields.required("method", any_method);
    done(fields, method)
}

/// Reads `POST /mfa/verify-setup`.
pub(in crate::api::nauth) fn setup(body: &Object) -> Result<SetupAnswer, Error> {
    let mut fields = Fields::of(body);
    let name = fields.optional("deviceName", name);
    let answer = setup_answer(&mut fields, "methodName");
    done(fields, answer.map(|answer| SetupAnswer { name: answer.name.clone().or(name), ..answer }))
}

/// Reads the answer to `MFA_SETUP_REQUIRED`.
pub(super) fn demanded_setup(fields: &mut Fields<'_>) -> Option<SetupAnswer> {
    setup_answer(fields, "method")
}

/// Reads the proof of a factor.
pub(super) fn proof(fields: &mut Fields<'_>) -> Option<FactorAnswer> {
    let method = fields.required("method", any_method);
    let factor = fields.optional_integer("deviceId");
    let code = match method {
        Some(Method::Passkey) => fields.required_object("credential").map(as_text),
        _ => fields.required("code", code),
    };
    method.zip(code).map(|(method, code)| FactorAnswer { method, code, factor })
}

/// A method that can be a factor.
pub(super) fn factor_method(text: &str) -> Result<Method, Problems> {
    among(text, &Method::FACTORS)
}

fn any_method(text: &str) -> Result<Method, Problems> {
    among(text, &Method::ALL)
}

fn among(text: &str, methods: &[Method]) -> Result<Method, Problems> {
    let known = || methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    let found = Method::from_name(text).filter(|method| methods.contains(method));
    found.ok_or_else(|| vec![format!("must be one of the following values: {}", known())])
}

fn setup_answer(fields: &mut Fields<'_>, method: &str) -> Option<SetupAnswer> {
    let method = fields.required(method, factor_method);
    let data = fields.optional_object("setupData").unwrap_or_default();
    let mut inner = Fields::of(&data);
    if method == Some(Method::Passkey) {
        let answer = passkey_setup(&mut inner);
        fields.adopt(inner);
        return answer;
    }
    let answer = method.map(|method| SetupAnswer {
        method,
        // Nothing was sent to an address that was proven before.
        code: inner.optional("code", code_or_nothing).unwrap_or_else(|| Secret::new(String::new())),
        secret: inner.optional("secret", secret),
        phone: inner.optional("phoneNumber", phone),
        name: inner.optional("deviceName", name),
    });
    fields.adopt(inner);
    answer
}

/// Reads a new passkey: `{credential}`, or `{credential: {credential, deviceName}}` as older clients nest it.
/// `expectedChallenge` beside it is what the client says was asked; the server knows.
fn passkey_setup(fields: &mut Fields<'_>) -> Option<SetupAnswer> {
    let outer = fields.required_object("credential")?;
    let transports = fields.value("transports").cloned();
    let mut name_given = fields.optional("deviceName", name);
    let mut credential = outer;
    if let Some(Value::Object(nested)) = credential.get("credential").cloned() {
        let mut inner = Fields::of(&credential);
        name_given = inner.optional("deviceName", name).or(name_given);
        fields.adopt(inner);
        credential = nested;
    }
    if let (Some(transports), Some(Value::Object(response))) = (transports, credential.get_mut("response")) {
        response.entry("transports").or_insert(transports);
    }
    Some(SetupAnswer {
        method: Method::Passkey,
        code: as_text(credential),
        secret: None,
        phone: None,
        name: name_given,
    })
}

/// What an authenticator answered, as it is read below.
pub(super) fn as_text(credential: Object) -> Secret<String> {
    Secret::new(Value::Object(credential).to_string())
}

/// What is known of a factor before it is set up: its number, and what it is called, which some clients say
/// beside `setupData` and some in it.
fn wished(fields: &mut Fields<'_>) -> (Option<Phone>, Option<String>) {
    let beside = fields.optional("deviceName", name);
    let data = fields.optional_object("setupData").unwrap_or_default();
    let mut inner = Fields::of(&data);
    let phone = inner.optional("phoneNumber", phone);
    let name = inner.optional("deviceName", name).or(beside);
    fields.adopt(inner);
    (phone, name)
}

fn code_or_nothing(text: &str) -> Result<Secret<String>, Problems> {
    if text.trim().is_empty() { Ok(Secret::new(String::new())) } else { code(text) }
}

fn secret(text: &str) -> Result<Secret<String>, Problems> {
    if text.chars().count() <= MAX_SECRET {
        Ok(Secret::new(text.to_owned()))
    } else {
        Err(vec!["is too long".to_owned()])
    }
}

fn done<T>(fields: Fields<'_>, read: Option<T>) -> Result<T, Error> {
    match read {
        Some(read) if fields.are_good() => Ok(read),
        _ => Err(fields.into_error()),
    }
}

/// `{"setupData": …}`
pub(in crate::api::nauth) fn setup_data(data: &SetupData) -> Value {
    json!({ "setupData": match data {
        SetupData::App(secret) => app(secret),
        SetupData::Passkey(options) => passkey(options),
        SetupData::CodeSent { method: Method::Sms, destination } => json!({ "maskedPhone": destination }),
        SetupData::CodeSent { destination, .. } => json!({ "maskedEmail": destination }),
        SetupData::Done { factor: Some(factor) } => json!({ "deviceId": factor, "autoCompleted": true }),
        SetupData::Done { factor: None } => json!({ "autoCompleted": true }),
    } })
}

/// The options under their name, and spread for clients that look for them right here.
fn passkey(options: &Value) -> Value {
    let mut data = options.clone();
    data["options"] = options.clone();
    data
}

fn app(secret: &AppSecret) -> Value {
    let text = secret.secret.expose();
    let grouped: Vec<&str> = (0..text.len()).step_by(4).map(|at| &text[at..text.len().min(at + 4)]).collect();
    json!({
        "secret": text,
        "qrCode": qr::data_url(secret.uri.expose()),
        "otpauthUrl": secret.uri.expose(),
        "manualEntryKey": grouped.join(" "),
        "issuer": secret.issuer,
        "accountName": secret.account,
    })
}

/// `{"challengeData": …}`
pub(in crate::api::nauth) fn challenge_data(data: &ProofData) -> Value {
    match data {
        ProofData::CodeSent { destination } => json!({ "challengeData": destination }),
        ProofData::Passkey(options) => json!({ "challengeData": passkey(options) }),
    }
}

/// How it stands with a user's factors.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the wire's own shape")]
pub(in crate::api::nauth) struct Status {
    enabled: bool,
    required: bool,
    configured_methods: Vec<&'static str>,
    // The same under the name older clients know.
    methods: Vec<&'static str>,
    available_methods: Vec<&'static str>,
    has_backup_codes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_method: Option<&'static str>,
    mfa_exempt: bool,
    mfa_exempt_reason: Option<String>,
    mfa_exempt_granted_at: Option<String>,
}

impl Status {
    pub(in crate::api::nauth) fn of(status: &FactorStatus) -> Self {
        let mut methods: Vec<&'static str> = Vec::new();
        for factor in &status.factors {
            if !methods.contains(&factor.method.as_str()) {
                methods.push(factor.method.as_str());
            }
        }
        let mut available = names(&status.allowed);
        if status.backup_codes > 0 {
            available.push(Method::Backup.as_str());
        }
        Self {
            enabled: !methods.is_empty(),
            required: !methods.is_empty(),
            configured_methods: methods.clone(),
            methods,
            available_methods: available,
            has_backup_codes: status.backup_codes > 0,
            preferred_method: status.preferred().map(|factor| factor.method.as_str()),
            mfa_exempt: status.exempt.is_some(),
            mfa_exempt_reason: status.exempt.as_ref().and_then(|exempt| exempt.reason.clone()),
            mfa_exempt_granted_at: status.exempt.as_ref().map(|exempt| exempt.at.to_string()),
        }
    }
}

/// The names of methods.
pub(in crate::api::nauth) fn names(methods: &[Method]) -> Vec<&'static str> {
    methods.iter().map(|method| method.as_str()).collect()
}

/// One factor; never what proves it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api::nauth) struct Device {
    id: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    is_preferred: bool,
    // The same under the name older clients know.
    is_primary: bool,
    is_active: bool,
    created_at: String,
    last_used_at: Option<String>,
}

/// Every factor of a user.
pub(in crate::api::nauth) fn devices(status: &FactorStatus) -> Value {
    let preferred = status.preferred().map(|factor| factor.id);
    let of = |factor: &Factor| Device {
        id: factor.id,
        kind: factor.method.as_str(),
        name: factor.name.clone(),
        is_preferred: preferred == Some(factor.id),
        is_primary: preferred == Some(factor.id),
        is_active: true,
        created_at: factor.created_at.to_string(),
        last_used_at: factor.last_used_at.map(|at| at.to_string()),
    };
    json!({ "devices": status.factors.iter().map(of).collect::<Vec<_>>() })
}

/// A factor is gone.
pub(in crate::api::nauth) fn removed(removed: &RemovedFactor) -> Value {
    json!({
        "removedDeviceId": removed.id,
        "removedMethod": removed.method.as_str(),
        "mfaDisabled": removed.was_last,
    })
}
