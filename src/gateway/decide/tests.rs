//! The decision, case by case.

use serde_json::json;

use super::*;
use crate::config::settings::{Credentials, EncodedSlash, OnUnauthenticated, PathRule, SecurityHeaders, WebSocket};
use crate::tokens::access::tests_support::token;

const FRESH: Freshness = Freshness::Polled(Duration::ZERO);
const MAX_STALE: Duration = Duration::from_mins(1);

pub(crate) fn route(access: Access) -> Route {
    Route {
        name: "app".to_owned(),
        origin: "nauth.toml:1".to_owned(),
        hosts: Vec::new(),
        path: PathRule::Prefix("/".to_owned()),
        rewrite: None,
        rate_limit: None,
        cache_control: None,
        methods: Vec::new(),
        upstream: "app".to_owned(),
        access,
        roles: Vec::new(),
        roles_all: Vec::new(),
        scopes: Vec::new(),
        min_aal: Aal::One,
        max_auth_age: None,
        verified_email: false,
        credentials: Credentials { session: true, bearer: true },
        identity: crate::config::defaults().gateway.identity,
        asked_identity: crate::config::defaults().gateway.identity,
        keep_request_headers: Vec::new(),
        encoded_slash: EncodedSlash::Reject,
        allow_ips: Vec::new(),
        timeout: Duration::from_mins(1),
        max_body: 0,
        websocket: false,
        ws: WebSocket { origins: Vec::new(), idle_timeout: MAX_STALE, recheck: MAX_STALE },
        csrf: true,
        on_unauthenticated: OnUnauthenticated::Auto,
        set_request_headers: Vec::new(),
        security_headers: SecurityHeaders::None,
        set_response_headers: Vec::new(),
        remove_response_headers: Vec::new(),
    }
}

fn question(route: &Route, identified: Identified) -> Question<'_> {
    Question {
        route,
        identified,
        has_refresh: false,
        can_refresh: false,
        is_unsafe: false,
        is_upgrade: false,
        may_act: true,
        can_redirect: false,
        freshness: FRESH,
        max_stale: MAX_STALE,
        now: Time::from_secs(1_060),
    }
}

fn known(by: By) -> Identified {
    Identified::Known(Arc::new(token(1, 1, 0)), by)
}

/// One word for a decision, to be put into tables.
fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Pass(Some(_)) => "known",
        Decision::Pass(None) => "anonymous",
        Decision::Refresh => "refresh",
        Decision::Login(Error::StepUpRequired(_)) => "login again",
        Decision::Login(_) => "login",
        Decision::Deny(Error::TokenMissing) => "missing",
        Decision::Deny(Error::TokenExpired) => "expired",
        Decision::Deny(Error::TokenInvalid(_)) => "invalid",
        Decision::Deny(Error::SessionNotFound(_)) => "revoked",
        Decision::Deny(Error::CredentialConflict) => "conflict",
        Decision::Deny(Error::Forbidden(denial)) => denial.as_str(),
        Decision::Deny(Error::StepUpRequired(_)) => "step_up",
        Decision::Deny(Error::Unavailable(_)) => "unavailable",
        Decision::Deny(_) => "other",
    }
}

#[test]
fn every_identity_meets_every_access() {
    let cases = [
        (Identified::Anonymous, ["anonymous", "anonymous", "missing"]),
        (known(By::Bearer), ["anonymous", "known", "known"]),
        (known(By::Cookie), ["anonymous", "known", "known"]),
        (Identified::Expired(By::Bearer), ["anonymous", "anonymous", "expired"]),
        (Identified::Expired(By::Cookie), ["anonymous", "anonymous", "expired"]),
        (Identified::Stale(By::Bearer), ["anonymous", "anonymous", "invalid"]),
        (Identified::Revoked(By::Cookie), ["anonymous", "anonymous", "revoked"]),
        (Identified::Invalid(By::Cookie), ["anonymous", "anonymous", "invalid"]),
        (Identified::Conflict, ["anonymous", "conflict", "conflict"]),
    ];
    for (identified, expected) in cases {
        for (access, expected) in [Access::Public, Access::Optional, Access::Required].into_iter().zip(expected) {
            let route = route(access);
            let decision = decide(&question(&route, identified.clone()));
            assert_eq!(word(&decision), expected, "{identified:?} {access:?}");
        }
    }
}

#[test]
fn only_cookies_that_have_lapsed_are_refreshed() {
    let cases = [
        (Identified::Anonymous, "refresh"),
        (Identified::Expired(By::Cookie), "refresh"),
        (Identified::Stale(By::Cookie), "refresh"),
        (Identified::Expired(By::Bearer), "expired"),
        (Identified::Stale(By::Bearer), "invalid"),
        (Identified::Invalid(By::Cookie), "invalid"),
        (Identified::Revoked(By::Cookie), "revoked"),
        (known(By::Cookie), "known"),
    ];
    let route = route(Access::Required);
    for (identified, expected) in cases {
        let question = Question { can_refresh: true, ..question(&route, identified) };
        assert_eq!(word(&decide(&question)), expected, "{:?}", question.identified);
    }
}

#[test]
fn browsers_are_sent_to_the_login_page_but_never_for_what_they_may_not() {
    let mut route = route(Access::Required);
    let anonymous = Question { can_redirect: true, ..question(&route, Identified::Anonymous) };
    assert_eq!(word(&decide(&anonymous)), "login");

    route.roles = vec!["admin".parse().unwrap()];
    let forbidden = Question { can_redirect: true, ..question(&route, known(By::Cookie)) };
    assert_eq!(word(&decide(&forbidden)), "role");
}

#[test]
fn cookies_do_not_speak_for_other_sites_pages() {
    let route = route(Access::Required);
    let cases = [
        (known(By::Cookie), true, false, "cross_site"),
        (known(By::Cookie), false, true, "cross_site"),
        (known(By::Cookie), false, false, "known"),
        (known(By::Bearer), true, false, "known"),
        (known(By::Bearer), true, true, "known"),
    ];
    for (identified, is_unsafe, is_upgrade, expected) in cases {
        let question = Question { is_unsafe, is_upgrade, may_act: false, ..question(&route, identified) };
        assert_eq!(word(&decide(&question)), expected, "{question:?}");
    }
    let refreshing = Question {
        has_refresh: true,
        can_refresh: true,
        is_unsafe: true,
        may_act: false,
        ..question(&route, Identified::Anonymous)
    };
    assert_eq!(word(&decide(&refreshing)), "cross_site", "refused before anything is rotated");
}

#[test]
fn a_route_without_csrf_takes_posts_but_no_foreign_sockets() {
    let route = Route { csrf: false, ..route(Access::Required) };
    let post = Question { is_unsafe: true, may_act: false, ..question(&route, known(By::Cookie)) };
    let socket = Question { is_upgrade: true, may_act: false, ..question(&route, known(By::Cookie)) };

    assert_eq!(word(&decide(&post)), "known");
    assert_eq!(word(&decide(&socket)), "cross_site");
}

#[test]
fn roles_and_proven_addresses_are_asked_of_the_token() {
    let role = |name: &str| name.parse::<Role>().unwrap();
    let cases = [
        (vec![], vec![], false, "known"),
        (vec![role("user"), role("admin")], vec![], false, "known"),
        (vec![role("admin")], vec![], false, "role"),
        (vec![], vec![role("user")], false, "known"),
        (vec![], vec![role("user"), role("admin")], false, "role"),
        (vec![], vec![], true, "known"),
    ];
    for (roles, roles_all, verified_email, expected) in cases {
        let route = Route { roles, roles_all, verified_email, ..route(Access::Required) };
        assert_eq!(word(&decide(&question(&route, known(By::Cookie)))), expected);
    }
}

#[test]
fn without_the_revocations_nobody_is_known() {
    let required = route(Access::Required);
    let loading = |identified| Question { freshness: Freshness::Loading, ..question(&required, identified) };
    assert_eq!(word(&decide(&loading(known(By::Bearer)))), "unavailable");
    assert_eq!(word(&decide(&loading(Identified::Anonymous))), "missing");

    let old = Freshness::Polled(Duration::from_secs(61));
    let with_roles = Route { roles: vec!["user".parse().unwrap()], ..route(Access::Required) };
    let stale = |route| Question { freshness: old, ..question(route, known(By::Bearer)) };
    assert_eq!(word(&decide(&stale(&with_roles))), "unavailable");
    assert_eq!(word(&decide(&stale(&required))), "known");
}

#[test]
fn a_route_may_ask_for_a_proven_address() {
    let route = Route { verified_email: true, ..route(Access::Required) };
    let mut unproven = token(1, 1, 0);
    unproven.claims.email_verified = false;

    let decision = decide(&question(&route, Identified::Known(Arc::new(unproven), By::Cookie)));

    assert_eq!(word(&decision), "verified_email");
}

#[test]
fn a_route_may_ask_for_scopes() {
    let route = Route { scopes: vec!["read".to_owned(), "write".to_owned()], ..route(Access::Required) };
    let cases = [
        (None, "scope"),
        (Some(json!("read")), "scope"),
        (Some(json!("readwrite read")), "scope"),
        (Some(json!("write other read")), "known"),
        (Some(json!(["write", "read"])), "known"),
    ];
    for (scope, expected) in cases {
        let mut token = token(1, 1, 0);
        token.claims.scope = scope.clone().map(|scope| serde_json::from_value(scope).unwrap());
        let decision = decide(&question(&route, Identified::Known(Arc::new(token), By::Bearer)));
        assert_eq!(word(&decision), expected, "{scope:?}");
    }
}

#[test]
fn a_weak_or_old_login_is_asked_for_anew() {
    // The token is of a login at second 1000, and it is second 1060.
    let cases = [
        (Aal::One, None, "aal1", "known"),
        (Aal::One, Some(60), "aal1", "known"),
        (Aal::One, Some(59), "aal1", "step_up"),
        (Aal::Two, None, "aal1", "step_up"),
        (Aal::Two, None, "", "step_up"),
        (Aal::Two, None, "aal2", "known"),
        (Aal::Two, Some(30), "aal2", "step_up"),
        (Aal::One, None, "", "known"),
    ];
    for (min_aal, max_auth_age, acr, expected) in cases {
        let max_auth_age = max_auth_age.map(Duration::from_secs);
        let route = Route { min_aal, max_auth_age, ..route(Access::Required) };
        let mut token = token(1, 1, 0);
        acr.clone_into(&mut token.claims.acr);
        let token = Arc::new(token);
        let identified = |by| Identified::Known(Arc::clone(&token), by);

        assert_eq!(word(&decide(&question(&route, identified(By::Bearer)))), expected, "{min_aal:?} {acr}");
        let page = Question { can_redirect: true, ..question(&route, identified(By::Cookie)) };
        let of_page = if expected == "step_up" { "login again" } else { expected };
        assert_eq!(word(&decide(&page)), of_page, "a browser is sent to the login page");
        let bearer = Question { can_redirect: true, ..question(&route, identified(By::Bearer)) };
        assert_eq!(word(&decide(&bearer)), expected, "a bearer never");
    }
}

#[test]
fn who_lacks_a_role_is_not_asked_to_log_in_again() {
    let role = vec!["admin".parse().unwrap()];
    let route = Route { roles: role, min_aal: Aal::Two, ..route(Access::Required) };
    assert_eq!(word(&decide(&question(&route, known(By::Cookie)))), "role");
}

#[test]
fn a_sure_login_is_not_believed_while_revocations_are_unknown() {
    let route = Route { min_aal: Aal::Two, ..route(Access::Required) };
    let stale = Freshness::Polled(Duration::from_secs(61));
    let question = Question { freshness: stale, ..question(&route, known(By::Bearer)) };
    assert_eq!(word(&decide(&question)), "unavailable");
}
