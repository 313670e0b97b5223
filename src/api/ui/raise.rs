//! Raising a session by a code: what the pages that confirm and step up take beside a password and a passkey.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::Api;
use crate::api::context::Asked;
use crate::api::ui::page::Page;
use crate::api::ui::{Desk, factor};
use crate::auth::Outcome;

/// Sends a code to whoever confirms that it is them.
pub(super) async fn confirm_send(State(api): State<Api>, asked: Asked) -> Response {
    send(&Desk::new(api, asked), Page::Confirm).await
}

/// Takes the code of whoever confirms that it is them.
pub(super) async fn confirm_code(State(api): State<Api>, asked: Asked) -> Response {
    check(&Desk::new(api, asked), Page::Confirm).await
}

/// Sends a code to whoever shows a second factor.
pub(super) async fn step_up_send(State(api): State<Api>, asked: Asked) -> Response {
    send(&Desk::new(api, asked), Page::StepUp).await
}

/// Takes the code of whoever shows a second factor.
pub(super) async fn step_up_code(State(api): State<Api>, asked: Asked) -> Response {
    check(&Desk::new(api, asked), Page::StepUp).await
}

async fn send(desk: &Desk, page: Page) -> Response {
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    // The page may have been open until the session ended.
    let Some(caller) = desk.caller().await else { return desk.go_to("login", Some(&fields)) };
    let fields = desk.fields_for(&caller, &fields).await;
    let sent = match factor::read_method(&fields) {
        Ok(method) => desk.api.auth.begin_own_proof(&caller, method, &desk.asked.ctx).await,
        Err(error) => Err(error),
    };
    match sent {
        Ok(_) => desk.show(StatusCode::OK, page, &fields.with([("is_sent", "true".to_owned())]), None),
        Err(error) => desk.refuse(page, &fields, &error),
    }
}

async fn check(desk: &Desk, page: Page) -> Response {
    let fields = match desk.fields() {
        Ok(fields) => fields,
        Err(refused) => return *refused,
    };
    let Some(caller) = desk.caller().await else { return desk.go_to("login", Some(&fields)) };
    let fields = desk.fields_for(&caller, &fields).await;
    let outcome = match factor::read_proof(&fields) {
        Ok(proof) => desk.api.auth.reauthenticate_with_factor(&caller, &proof, &desk.asked.ctx).await,
        Err(error) => Err(error),
    };
    desk.settle(page, &fields, outcome.map(|grant| Outcome::Authenticated(Box::new(grant))))
}
