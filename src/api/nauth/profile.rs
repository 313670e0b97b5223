//! `GET|PUT /profile`, `POST /profile/contact/verify`, `…/resend`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire::{request, response};

/// The caller's own account.
pub(super) async fn profile(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let body = response::Profile::of(&caller.user, &caller.session);
    Ok(answer::json(StatusCode::OK, &body, vec![]))
}

/// Changes it; an address that waits to be proven stands beside the one in force.
pub(super) async fn update(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let update = request::profile(&asked.json()?)?;
    let user = api.auth.update_profile(&caller, update, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::Profile::of(&user, &caller.session), vec![]))
}

/// Puts the address in force that the code was sent to.
pub(super) async fn verify_contact(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let code = request::verify_contact(&asked.json()?)?;
    let user = api.auth.verify_contact(&caller, &code, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::Profile::of(&user, &caller.session), vec![]))
}

/// Sends that code again and tells where to.
pub(super) async fn resend_contact(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let destination = api.auth.resend_contact(&caller, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::ResendResponse { destination }, vec![]))
}
