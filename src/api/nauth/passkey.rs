//! `POST /passkey/options`, `POST /passkey/login`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::context::Asked;
use crate::api::nauth::Nauth;
use crate::api::nauth::wire::request;

/// What a client needs to ask for a passkey, whosever it is.
pub(super) async fn options(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    asked.json()?;
    let question = api.auth.ask_for_passkey(&asked.ctx).await?;
    let body = json!({ "options": question.options, "session": question.session.to_string() });
    Ok(answer::json(StatusCode::OK, &body, vec![]))
}

/// Answers tokens or a challenge.
pub(super) async fn login(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let client = api.welcome::<Nauth>(&asked)?;
    let mut input = request::passkey_login(&asked.json()?, client.clone())?;
    input.renews = api.session_shown(&asked);
    let outcome = api.auth.login_with_passkey(input, &asked.ctx).await?;
    Ok(api.entered::<Nauth>(StatusCode::OK, &asked, &outcome, &client))
}
