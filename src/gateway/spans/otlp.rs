//! Spans as OTLP writes them, with the names of OpenTelemetry's conventions for HTTP servers.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status};
use prost::Message as _;

use super::Span;
use crate::gateway::trace::Origin;

/// The version of the conventions.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Of `flags`: the trace is sampled; it is known whether the parent is somewhere else; it is.
const SAMPLED: u32 = 0x01;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Who sends spans.
#[derive(Debug)]
pub(super) struct Resource(OtlpResource);

impl Resource {
    /// This process, by a name it makes up.
    pub(super) fn of_this_process() -> Self {
        let attributes = vec![
            text("service.name", "nauth"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ];
        Self(OtlpResource { attributes, ..OtlpResource::default() })
    }
}

/// The body of one request to a collector.
pub(super) fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "nauth".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans: spans.iter().map(span).collect(), schema_url: SCHEMA.to_owned() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource.0.clone()), scope_spans, schema_url: SCHEMA.to_owned() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// What a collector says of spans that it did not take although it answered with success.
pub(super) fn refusal(answer: &[u8]) -> Option<String> {
    let refused = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
    let said = refused.error_message;
    (refused.rejected_spans > 0).then(|| format!("the collector refused {} spans: {said}", refused.rejected_spans))
}

fn span(span: &Span) -> OtlpSpan {
    let ended = Duration::from_micros(u64::try_from(span.ended.micros()).unwrap_or(0));
    let (parent, remote) = match span.trace.origin {
        Origin::Within(parent) => (parent.to_be_bytes().to_vec(), IS_REMOTE),
        Origin::Begun | Origin::PassedOn => (Vec::new(), 0),
    };
    let method = if span.method == "_OTHER" { "HTTP" } else { span.method };
    OtlpSpan {
        trace_id: span.trace.id.bytes().to_vec(),
        span_id: span.trace.span.to_be_bytes().to_vec(),
        parent_span_id: parent,
        flags: SAMPLED | HAS_IS_REMOTE | remote,
        name: span.route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(ended.saturating_sub(span.took)),
        end_time_unix_nano: nanos(ended),
        attributes: attributes(span),
        // What a client did wrong is no error of the server's.
        status: (span.status >= 500).then(|| Status { code: StatusCode::Error.into(), message: String::new() }),
        ..OtlpSpan::default()
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("http.request.method", span.method),
        text("url.scheme", span.scheme),
        text("url.path", &*span.path),
        text("server.address", &*span.host),
        text("client.address", &*span.client),
        text("network.protocol.version", span.protocol),
        attribute("http.response.status_code", Value::IntValue(span.status.into())),
    ];
    attributes.extend(span.route.as_ref().map(|route| text("http.route", &**route)));
    attributes.extend((span.status >= 500).then(|| text("error.type", span.status.to_string())));
    attributes
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    #[test]
    fn a_success_may_be_a_refusal() {
        let answer = |rejected_spans| {
            let partial_success = ExportTracePartialSuccess { rejected_spans, error_message: "too old".to_owned() };
            ExportTraceServiceResponse { partial_success: Some(partial_success) }.encode_to_vec()
        };

        assert_eq!(refusal(&answer(3)), Some("the collector refused 3 spans: too old".to_owned()));
        // A warning, the specification says.
        assert_eq!(refusal(&answer(0)), None);
        for nothing in [&b""[..], b"{}", b"\xff\xff"] {
            assert_eq!(refusal(nothing), None);
        }
    }
}
