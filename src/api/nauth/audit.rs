//! `GET /audit/history`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire::audit;

/// What happened to the caller's account, page by page.
pub(super) async fn history(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let wish = audit::wish(asked.query())?;
    let history = api.auth.history(&caller, &wish).await?;
    Ok(answer::json(StatusCode::OK, &audit::page(&history, &wish, &caller.user), vec![]))
}
