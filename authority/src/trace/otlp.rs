//! Spans as OTLP/JSON (OpenTelemetry protocol 1.x, `ExportTraceServiceRequest`): ids in hex, times as
//! decimal text.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use signet_evidence::thumbprint::hex;

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const KINDS: [u8; 2] = [1, 2];
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Something that was done, from beginning to end.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    /// Whether it is a whole request.
    pub(super) whole: bool,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
}

/// The body of one export.
pub(super) fn request(spans: &[Span], instance: &str) -> Value {
    let resource = [
        attribute("service.name", &json!("signet-authority")),
        attribute("service.version", &json!(env!("CARGO_PKG_VERSION"))),
        attribute("service.instance.id", &json!(instance)),
    ];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "signet-authority"}, "spans": spans}],
    }]})
}

fn span(span: &Span) -> Value {
    let attributes: Vec<Value> =
        span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut out = json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "name": span.name,
        "kind": KINDS[usize::from(span.whole)],
        "startTimeUnixNano": nanoseconds(span.began),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        out["parentSpanId"] = hex(&parent).into();
    }
    if span.failed {
        out["status"] = json!({"code": ERROR});
    }
    out
}

fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Bool(value) => json!({"boolValue": value}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": name, "value": value})
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
