//! What is told of what was counted.

use http::Method;

use super::*;
use crate::domain::error::Error;

#[test]
fn a_finished_request_is_counted_under_its_route() {
    let metrics = Metrics::new();
    let route = metrics.route("api");

    route.finished(RequestMethod::from(&Method::GET), 200, Duration::from_millis(3), 10, 2000);
    route.finished(RequestMethod::from(&Method::from_bytes(b"BREW").unwrap()), 999, Duration::ZERO, 0, 0);
    route.overhead(Duration::from_micros(60));

    let text = metrics.render();
    assert!(text.contains(r#"nauth_http_requests_total{code="200",method="GET",route="api"} 1"#), "{text}");
    assert!(text.contains(r#"nauth_http_requests_total{code="other",method="other",route="api"} 1"#), "{text}");
    assert!(text.contains(r#"nauth_http_response_size_bytes_sum{route="api"} 2000"#), "{text}");
    assert!(text.contains(r#"nauth_gateway_overhead_seconds_bucket{route="api",le="0.0001"} 1"#), "{text}");
}

#[test]
fn requests_in_flight_are_counted_until_the_guard_is_dropped() {
    let metrics = Metrics::new();
    let route = metrics.route("api");

    let guard = route.begin();
    let during = metrics.render();
    drop(guard);

    assert!(during.contains(r#"nauth_http_requests_in_flight{route="api"} 1"#), "{during}");
    assert!(metrics.render().contains(r#"nauth_http_requests_in_flight{route="api"} 0"#));
}

#[test]
fn handles_of_the_same_name_count_together_across_generations() {
    let metrics = Metrics::new();

    metrics.upstream("app").answered(502, Duration::from_millis(1));
    metrics.upstream("app").answered(502, Duration::from_millis(1));
    metrics.upstream("app").connect_error(ConnectError::Refused);

    let text = metrics.render();
    assert!(text.contains(r#"nauth_upstream_requests_total{code="502",upstream="app"} 2"#), "{text}");
    assert!(text.contains(r#"nauth_upstream_connect_errors_total{reason="refused",upstream="app"} 1"#), "{text}");
}

#[test]
fn only_the_settings_in_force_are_told() {
    let metrics = Metrics::new();

    metrics.config_applied("aaa", Time::from_secs(5), None);
    metrics.config_applied("bbb", Time::from_secs(6), Some(ReloadResult::Applied));
    metrics.config_rejected();

    let text = metrics.render();
    assert!(!text.contains("aaa"), "{text}");
    assert!(text.contains(r#"nauth_config_info{sha256="bbb"} 1"#), "{text}");
    assert!(text.contains("nauth_config_last_reload_successful 0"), "{text}");
    assert!(text.contains("nauth_config_last_reload_success_timestamp_seconds 6"), "{text}");
}

#[test]
fn the_standard_process_series_and_the_build_are_told() {
    let text = Metrics::new().render();
    assert!(text.contains("process_open_fds"), "{text}");
    let build = text.lines().find(|line| line.starts_with("nauth_build_info{"));
    assert!(build.is_some_and(|line| line.contains("rustc=\"1.")), "{text}");
}

#[test]
fn refusals_are_counted_by_their_reason() {
    let metrics = Metrics::new();

    metrics.refused(AuthEvent::Login, &Error::InvalidCredentials);

    let series = r#"nauth_auth_events_total{error="credentials",event="login",method="password",result="failure"} 1"#;
    assert!(metrics.render().contains(series));
}
