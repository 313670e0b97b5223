//! `GET /profile`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire;

/// The caller's own account.
pub(super) async fn profile(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let body = wire::Profile::of(&caller.user, &caller.session);
    Ok(answer::json(StatusCode::OK, &body, vec![]))
}
