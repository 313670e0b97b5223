//! `POST /trust-device`, `GET /is-trusted-device`, `GET|DELETE /trusted-devices`, `DELETE /trusted-devices/{id}`

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::answer::{self, Refusal};
use crate::api::caller::CsrfRule;
use crate::api::context::Asked;
use crate::api::delivery;
use crate::api::nauth::wire::{request, response};
use crate::domain::error::Error;
use crate::domain::session::Delivery;

/// Trusts the caller's device. In cookies its token is in no body.
pub(super) async fn trust(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let token = api.auth.trust_device(&caller, &asked.ctx).await?;
    Ok(match api.delivery_of(&asked)? {
        Delivery::Json => {
            let body = response::DeviceToken { device_token: token.expose().clone() };
            answer::json(StatusCode::OK, &body, vec![])
        }
        Delivery::Cookies => {
            let cookie = delivery::device_cookie(&api.settings, token.expose());
            answer::json(StatusCode::OK, &serde_json::json!({}), vec![cookie])
        }
    })
}

/// Whether the caller's device is trusted.
pub(super) async fn is_trusted(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let trusted = api.auth.is_trusted_device(&caller, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::Trusted { trusted }, vec![]))
}

/// The caller's trusted devices.
pub(super) async fn list(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let devices = api.auth.trusted_devices(&caller).await?;
    let trusted_devices = devices.iter().map(response::TrustedDevice::of).collect();
    Ok(answer::json(StatusCode::OK, &response::TrustedDevices { trusted_devices }, vec![]))
}

/// Forgets them all.
pub(super) async fn forget_all(State(api): State<Api>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let revoked_count = api.auth.forget_devices(caller.user.id, &asked.ctx).await?;
    let cookies = api.device_left_behind(&asked);
    Ok(answer::json(StatusCode::OK, &response::Revoked { revoked_count }, cookies))
}

/// Forgets one.
pub(super) async fn forget(State(api): State<Api>, Path(id): Path<String>, asked: Asked) -> Result<Response, Refusal> {
    let caller = api.caller(&asked, CsrfRule::Token).await?;
    let id = request::number(&id).map_err(|_| Error::NotFound)?;
    api.auth.forget_device(&caller, id, &asked.ctx).await?;
    Ok(answer::json(StatusCode::OK, &response::Success::DONE, vec![]))
}
