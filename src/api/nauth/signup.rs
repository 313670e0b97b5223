//! `POST /signup`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::Refusal;
use crate::api::context::Asked;
use crate::api::dialect::Dialect;
use crate::api::nauth::Nauth;

/// Makes an account. Answers 201, with tokens or with the first challenge.
pub(super) async fn signup(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let client = api.welcome::<Nauth>(&asked)?;
    let input = Nauth::decode_signup(&asked.json()?, client.clone())?;
    let outcome = api.auth.signup(input, &asked.ctx).await?;
    Ok(api.entered::<Nauth>(StatusCode::CREATED, &asked, &outcome, &client))
}
