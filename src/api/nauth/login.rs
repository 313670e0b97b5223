//! `POST /login`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::Refusal;
use crate::api::context::Asked;
use crate::api::dialect::Dialect;
use crate::api::nauth::Nauth;

/// Answers tokens or a challenge.
pub(super) async fn login(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let client = api.welcome::<Nauth>(&asked)?;
    let mut input = Nauth::decode_login(&asked.json()?, client.clone())?;
    input.renews = api.session_shown(&asked);
    let outcome = api.auth.login(input, &asked.ctx).await?;
    Ok(api.entered::<Nauth>(StatusCode::OK, &asked, &outcome, &client))
}
