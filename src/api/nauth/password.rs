//! `POST /forgot-password`, `…/confirm`, `POST /reset-password/confirm`, `POST /change-password`,
//! `POST /reauthenticate`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire::request::Confirmation;
use crate::api::nauth::wire::{request, response};
use crate::domain::session::Delivery;

/// Sends a code, or says that it did.
pub(super) async fn forgot(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let input = request::forgot_password(&asked.json()?)?;
    let forgotten = api.auth.forgot_password(input, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::Forgotten::of(&forgotten), vec![]))
}

/// Sets a password with the code the user asked for.
pub(super) async fn confirm_forgot(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    reset(&api, &asked, false).await
}

/// Sets a password with the code an operator sent.
pub(super) async fn confirm_admin_reset(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    reset(&api, &asked, true).await
}

async fn reset(api: &Api, asked: &Asked, by_operator: bool) -> Result<Response, Refusal> {
    let input = request::reset_password(&asked.json()?, by_operator)?;
    api.auth.reset_password(input, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::PasswordReset::DONE, vec![]))
}

/// Changes the caller's password; every session ends, and so do the cookies of this one.
pub(super) async fn change(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let (old, new) = request::change_password(&asked.json()?)?;
    api.auth.change_password(&caller, old, new, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::Success::DONE, api.cookies_left_behind(&asked)))
}

/// Confirms who the caller is. Answers tokens that say so, the way the credential came.
pub(super) async fn reauthenticate(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let grant = match request::reauthenticate(&asked.json()?)? {
        Confirmation::Password(password) => api.auth.reauthenticate(&caller, password, &asked.ctx).await?,
        Confirmation::Factor(proof) => api.auth.reauthenticate_with_factor(&caller, &proof, &asked.ctx).await?,
    };
    Ok(match api.delivery_of(&asked)? {
        Delivery::Json => answer::json(StatusCode::OK, &response::Tokens::of(&grant), vec![]),
        Delivery::Cookies => {
            let cookies = api.cookies_for(&asked, &grant);
            answer::json(StatusCode::OK, &serde_json::json!({}), cookies)
        }
    })
}
