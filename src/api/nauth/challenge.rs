//! `POST /respond-challenge`, `POST /challenge/resend`, `…/setup-data`, `…/challenge-data`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::context::Asked;
use crate::api::dialect::Dialect;
use crate::api::nauth::Nauth;
use crate::api::nauth::wire::{factor, request, response};

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

/// What a client needs to set up the factor that is demanded.
pub(super) async fn setup_data(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let (challenge, wish) = factor::demanded_wish(&asked.json()?)?;
    let data = api.auth.begin_demanded_factor(challenge, &wish, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &factor::setup_data(&data), vec![]))
}

/// What a client needs to prove a factor.
pub(super) async fn challenge_data(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let (challenge, method) = factor::proof_wish(&asked.json()?)?;
    let data = api.auth.begin_proof(challenge, method, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &factor::challenge_data(&data), vec![]))
}
