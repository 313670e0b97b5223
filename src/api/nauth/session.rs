//! `POST /refresh`, `GET|POST /logout`, `POST /logout/all`, `GET /sessions`

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::nauth::wire;
use crate::domain::error::Error;

/// Rotates the refresh token. One in the body wins over the cookie and is answered in the body.
pub(super) async fn refresh(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    if let Some(token) = wire::refresh(&asked.json()?)? {
        let grant = api.refresh_json(token.expose(), &asked).await?;
        return Ok(answer::json(StatusCode::OK, &wire::Tokens::of(&grant), vec![]));
    }
    let cookies = api.refresh_cookies(&asked).await?;
    Ok(answer::json(StatusCode::OK, &serde_json::json!({}), cookies))
}

/// Ends every session the request names.
pub(super) async fn logout(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let leaving = api.leaving(&asked)?;
    api.auth.logout(&leaving.sessions, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &wire::Success::DONE, leaving.cookies))
}

/// `HEAD /logout`: nothing to see, nothing to end.
pub(super) async fn not_for_head() -> Refusal {
    Error::MethodNotAllowed("GET,POST".to_owned()).into()
}

/// Ends every session of the caller.
pub(super) async fn logout_all(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    api.admit_leaving(&asked)?;
    let caller = api.caller(&asked, CsrfRule::Judged).await?;
    let revoked_count = api.auth.logout_all(caller.user.id, &asked.ctx).await?;
    let body = wire::Revoked { revoked_count };
    Ok(answer::json(StatusCode::OK, &body, api.cookies_left_behind(&asked)))
}

/// The caller's living sessions.
pub(super) async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let listed = api.auth.sessions(&caller).await?;
    let sessions = listed.iter().map(wire::Session::of).collect();
    Ok(answer::json(StatusCode::OK, &wire::Sessions { sessions }, vec![]))
}
