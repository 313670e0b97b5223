//! `/mfa/…`: the user's second factors

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire::{factor, request};
use crate::domain::error::Error;
use crate::domain::session::Delivery;

/// How it stands with them.
pub(super) async fn status(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let status = api.auth.factor_status(&caller).await?;
    Ok(answer::json(StatusCode::OK, &factor::Status::of(&status), vec![]))
}

/// What may be set up here.
pub(super) async fn available_methods(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    api.caller(&asked, CsrfRule::Token).await?;
    let names = factor::names(api.auth.factor_methods());
    Ok(answer::json(StatusCode::OK, &json!({ "availableMethods": names }), vec![]))
}

/// What a client needs to set one up.
pub(super) async fn setup_data(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let wish = factor::setup_wish(&asked.json()?)?;
    let data = api.auth.begin_factor(&caller, &wish, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &factor::setup_data(&data), vec![]))
}

/// Finishes it. In cookies the session's access token comes anew when it is surer now than the one shown says;
/// any other client refreshes.
pub(super) async fn verify_setup(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let input = factor::setup(&asked.json()?)?;
    let id = api.auth.finish_factor(&caller, &input, &asked.ctx).await?;
    let cookies = match api.delivery_of(&asked)? {
        Delivery::Json => vec![],
        // The factor is stored: what can be told of it only later is no reason to say otherwise.
        Delivery::Cookies => api.raised_cookie(&asked, &caller).await.unwrap_or_default(),
    };
    Ok(answer::json(StatusCode::OK, &json!({ "deviceId": id }), cookies))
}

/// What a client needs to prove one, and so to raise its session (`POST /reauthenticate`).
pub(super) async fn challenge_data(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let method = factor::own_proof_wish(&asked.json()?)?;
    let data = api.auth.begin_own_proof(&caller, method, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &factor::challenge_data(&data), vec![]))
}

/// New backup codes.
pub(super) async fn backup_codes(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let codes = api.auth.new_codes(&caller, &asked.ctx).await?;
    let codes: Vec<&String> = codes.iter().map(crate::domain::secret::Secret::expose).collect();
    Ok(answer::json(StatusCode::OK, &json!({ "codes": codes }), vec![]))
}

/// All of them.
pub(super) async fn devices(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let status = api.auth.factor_status(&caller).await?;
    Ok(answer::json(StatusCode::OK, &factor::devices(&status), vec![]))
}

/// Asks for one of them first.
pub(super) async fn prefer(State(api): State<Api>, Path(id): Path<String>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let id = device_id(&id)?;
    api.auth.prefer_factor(&caller, id, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &json!({ "message": "Preferred MFA device updated" }), vec![]))
}

/// Removes one.
pub(super) async fn remove(State(api): State<Api>, Path(id): Path<String>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let removed = api.auth.remove_factor(&caller, device_id(&id)?, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &factor::removed(&removed), vec![]))
}

fn device_id(text: &str) -> Result<i64, Error> {
    request::number(text).map_err(|_| Error::NotFound)
}
