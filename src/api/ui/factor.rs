//! The pages of second factors: one is set up, or proven.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use minijinja::{Value, context};

use crate::api::ui::form::Fields;
use crate::api::ui::page::Page;
use crate::api::ui::{Desk, read_code, read_phone};
use crate::api::{Api, qr};
use crate::auth::mfa::{SetupData, SetupWish};
use crate::auth::{Answer, FactorAnswer, SetupAnswer};
use crate::domain::challenge::Step;
use crate::domain::error::{Error, FieldError};
use crate::domain::factor::Method;
use crate::domain::secret::Secret;

/// Begins to set a factor up, and shows what its user needs.
pub(super) async fn set_up(State(api): State<Api>, asked: crate::api::context::Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let (challenge, step) = match desk.challenged().await {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let begun = match read_wish(&fields) {
        Ok(wish) => desk.api.auth.begin_demanded_factor(challenge, &wish, &desk.asked.ctx).await,
        Err(error) => Err(error),
    };
    match begun {
        Ok(SetupData::App(secret)) => {
            let (secret, uri) = (secret.secret.expose().clone(), secret.uri.expose().clone());
            let known = [("method", "totp".to_owned()), ("secret", secret), ("uri", uri)];
            desk.show(StatusCode::OK, Page::FinishFactor, &fields.with(known), None)
        }
        Ok(SetupData::CodeSent { .. }) => desk.show(StatusCode::OK, Page::FinishFactor, &fields, None),
        // Proven before: nothing is left to be typed.
        Ok(SetupData::Done { .. }) => desk.respond(&step, &fields.with([("code", String::new())])).await,
        // Not read above: passkeys have a form of their own.
        Ok(SetupData::Passkey(_)) => desk.go_to("login", None),
        Err(error) => desk.refuse(Page::SetUpFactor, &asked_for(&fields, &step), &error),
    }
}

/// Sends the code of a factor.
pub(super) async fn send(State(api): State<Api>, asked: crate::api::context::Asked) -> Response {
    let desk = Desk::new(api, asked);
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let (challenge, step) = match desk.challenged().await {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let sent = match read_method(&fields) {
        Ok(method) => desk.api.auth.begin_proof(challenge, method, &desk.asked.ctx).await,
        Err(error) => Err(error),
    };
    let fields = asked_for(&fields, &step);
    match sent {
        Ok(_) => desk.show(StatusCode::OK, Page::FactorSent, &fields, None),
        Err(error) => desk.refuse(Page::Factor, &fields, &error),
    }
}

/// What somebody wants to set up.
fn read_wish(fields: &Fields) -> Result<SetupWish, Error> {
    let phone = Some(fields.get("phone")).filter(|phone| !phone.is_empty()).map(read_phone).transpose()?;
    Ok(SetupWish { method: read_method(fields)?, phone, name: None })
}

/// What is answered by typing.
pub(super) fn read_method(fields: &Fields) -> Result<Method, Error> {
    let wrong = || Error::Validation(vec![FieldError::new("method", "Choose one of the ways offered.")]);
    Method::from_name(fields.get("method")).filter(|method| *method != Method::Passkey).ok_or_else(wrong)
}

/// The answer to a challenge about a factor.
pub(super) fn read_setup(fields: &Fields) -> Result<Answer, Error> {
    let text = |name: &str| Some(fields.get(name)).filter(|text| !text.is_empty());
    let code = text("code").map_or_else(|| Ok(Secret::new(String::new())), |_| read_code(fields))?;
    let secret = text("secret").map(|secret| Secret::new(secret.to_owned()));
    Ok(Answer::SetUp(SetupAnswer { method: read_method(fields)?, code, secret, phone: None, name: None }))
}

/// The proof of a factor.
pub(super) fn read_proof(fields: &Fields) -> Result<FactorAnswer, Error> {
    Ok(FactorAnswer { method: read_method(fields)?, code: read_code(fields)?, factor: None })
}

/// What the pages of factors show beside the rest.
pub(super) fn values(fields: &Fields) -> Value {
    let choices = fields.get("choices").split(' ').filter_map(Method::from_name);
    // Passkeys have a form of their own.
    let choices: Vec<Value> = choices.filter(|method| *method != Method::Passkey).map(choice).collect();
    let uri = fields.get("uri");
    context! {
        choices,
        method => fields.get("method"),
        needs_phone => !fields.get("needs_phone").is_empty(),
        secret => fields.get("secret"),
        uri,
        qr => if uri.is_empty() { String::new() } else { qr::data_url(uri) },
    }
}

fn choice(method: Method) -> Value {
    let words = match method {
        Method::Totp => "code of your app",
        Method::Passkey => "passkey",
        Method::Email => "code by mail",
        Method::Sms => "code by text message",
        Method::Backup => "backup code",
    };
    context! { name => method.as_str(), words, is_sent => matches!(method, Method::Email | Method::Sms) }
}

/// The fields of a form, and what its page offers.
pub(super) fn asked_for(fields: &Fields, step: &Step) -> Fields {
    let offered = |methods: &[Method]| methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(" ");
    match step {
        Step::SetUpFactor { methods, needs_phone } => fields
            .with([("choices", offered(methods)), ("needs_phone", if *needs_phone { "true" } else { "" }.to_owned())]),
        Step::ProveFactor(asked) => {
            let method = Some(fields.get("method")).filter(|method| !method.is_empty());
            let method = method.unwrap_or(asked.preferred.as_str()).to_owned();
            // The page has another one selected where this one is not offered.
            fields.with([("choices", offered(&asked.methods)), ("method", method)])
        }
        _ => fields.with([]),
    }
}
