//! `POST /respond-challenge`, `POST /challenge/resend`, `…/setup-data`, `…/challenge-data`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::context::Asked;
use crate::api::dialect::Dialect;
use crate::api::nauth::Nauth;
use crate::api::nauth::wire::{request, response};
use crate::domain::error::Error;

/// Answers a challenge with tokens or the next challenge.
pub(super) async fn respond(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let client = api.welcome::<Nauth>(&asked)?;
    let input = Nauth::decode_respond(&asked.json()?, client.clone())?;
    let outcome = api.auth.respond(input, &asked.ctx).await?;
    Ok(api.entered::<Nauth>(StatusCode::OK, &asked, &outcome, &client))
}

/// Sends the code of a challenge again and tells where to.
pub(super) async fn resend(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let challenge = request::challenge(&asked.json()?)?;
    let resent = api.auth.resend(challenge, &asked.ctx).await?;
    let body = response::ResendResponse { destination: resent.destination };
    Ok(answer::json(StatusCode::OK, &body, vec![]))
}

/// What a client needs to set a factor up. No challenge that is put today asks for one.
pub(super) async fn setup_data(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    data(&api, &asked, "setup data", "MFA_SETUP_REQUIRED").await
}

/// What a client needs to use a factor. No challenge that is put today asks for one.
pub(super) async fn challenge_data(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    data(&api, &asked, "challenge data", "MFA_REQUIRED").await
}

async fn data(api: &Api, asked: &Asked, what: &str, expected: &str) -> Result<Response, Refusal> {
    let step = api.auth.challenge_step(request::challenge(&asked.json()?)?).await?;
    let found = step.kind().as_str();
    Err(Error::InvalidInput(format!("Cannot get {what}: expected {expected} challenge, got {found}")).into())
}
