//! `POST /refresh`, `GET|POST /logout`, `POST /logout/all`, `GET /sessions`, `DELETE /sessions/{id}`

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire::{request, response};
use crate::domain::error::Error;

/// Rotates the refresh token. One in the body wins over the cookie and is answered in the body.
pub(super) async fn refresh(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    if let Some(token) = request::refresh(&asked.json()?)? {
        let grant = api.refresh_json(token.expose(), &asked).await?;
        return Ok(answer::json(StatusCode::OK, &response::Tokens::of(&grant), vec![]));
    }
    let cookies = api.refresh_cookies(&asked).await?;
    Ok(answer::json(StatusCode::OK, &serde_json::json!({}), cookies))
}

/// Ends every session the request names.
pub(super) async fn logout(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let leaving = api.leaving(&asked)?;
    let forgets = request::switch(&asked.query_object(), "forgetMe")? || request::switch(&asked.json()?, "forgetMe")?;
    api.auth.logout(&leaving.sessions, forgets, &asked.ctx).await?;
    let device = if forgets { api.device_left_behind(&asked) } else { vec![] };
    let cookies = leaving.cookies.into_iter().chain(device).collect();
    Ok(answer::json(StatusCode::OK, &response::Success::DONE, cookies))
}

/// `HEAD /logout`: nothing to see, nothing to end.
pub(super) async fn not_for_head() -> Refusal {
    Error::MethodNotAllowed("GET,POST".to_owned()).into()
}

/// Ends every session of the caller.
pub(super) async fn logout_all(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    api.admit_leaving(&asked)?;
    let caller = api.caller(&asked, CsrfRule::Judged).await?;
    let forgets = request::switch(&asked.json()?, "forgetDevices")?;
    let revoked_count = api.auth.logout_all(caller.user.id, forgets, &asked.ctx).await?;
    let device = if forgets { api.device_left_behind(&asked) } else { vec![] };
    let cookies = api.cookies_left_behind(&asked).into_iter().chain(device).collect();
    Ok(answer::json(StatusCode::OK, &response::Revoked { revoked_count }, cookies))
}

/// The caller's living sessions.
pub(super) async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let listed = api.auth.sessions(&caller).await?;
    let sessions = listed.iter().map(response::Session::of).collect();
    Ok(answer::json(StatusCode::OK, &response::Sessions { sessions }, vec![]))
}

/// Ends one of the caller's sessions.
pub(super) async fn end_one(State(api): State<Api>, Path(id): Path<String>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let id = request::session_id(&id)?;
    let was_current_session = api.auth.end_one(&caller, id, &asked.ctx).await?;
    let cookies = if was_current_session { api.cookies_left_behind(&asked) } else { vec![] };
    Ok(answer::json(StatusCode::OK, &response::SessionEnded { success: true, was_current_session }, cookies))
}
