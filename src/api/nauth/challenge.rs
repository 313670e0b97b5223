//! `POST /respond-challenge`, `POST /challenge/resend`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::context::Asked;
use crate::api::dialect::Dialect;
use crate::api::nauth::{Nauth, wire};

/// Answers a challenge with tokens or the next challenge.
pub(super) async fn respond(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let client = api.welcome::<Nauth>(&asked)?;
    let input = Nauth::decode_respond(&asked.json()?, client)?;
    let outcome = api.auth.respond(input, &asked.ctx).await?;
    Ok(api.entered::<Nauth>(StatusCode::OK, &asked, &outcome, client))
}

/// Sends the code of a challenge again and tells where to.
pub(super) async fn resend(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let challenge = wire::resend(&asked.json()?)?;
    let resent = api.auth.resend(challenge, &asked.ctx).await?;
    let body = wire::ResendResponse { destination: resent.destination };
    Ok(answer::json(StatusCode::OK, &body, vec![]))
}
