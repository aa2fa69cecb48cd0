//! Spans of `tracing` on their way to the exporter.

use std::fmt::Debug;
use std::time::SystemTime;

use serde_json::Value;
use signet_evidence::thumbprint::unhex;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::export::Dropped;
use super::otlp::Span;
use crate::random;

/// Hands each span that belongs to a request to the exporter. What the queue does not hold is dropped
/// and counted: nobody waits for a collector.
#[derive(Debug)]
pub struct SpanLayer {
    pub(super) queue: mpsc::Sender<Span>,
    pub(super) dropped: Dropped,
}

/// A span's fields. `trace` and `parent` make it the whole of a request.
#[derive(Default)]
struct Fields {
    trace: Option<[u8; 16]>,
    parent: Option<[u8; 8]>,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "trace" => self.trace = unhex(value).and_then(|bytes| bytes.try_into().ok()),
            "parent" => self.parent = unhex(value).and_then(|bytes| bytes.try_into().ok()),
            name => self.attributes.push((name, value.into())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // A status of 500 and above is this server's failure; below, it is the caller's.
        self.failed |= field.name() == "http.response.status_code" && value >= 500;
        self.attributes.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.failed |= field.name() == "failed" && value;
        self.attributes.push((field.name(), value.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S> Layer<S> for SpanLayer
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Span>().map(|parent| (parent.trace, parent.id))
        });
        let (trace, parent) = match (fields.trace, above) {
            (Some(trace), _) => (trace, fields.parent),
            (None, Some((trace, parent))) => (trace, Some(parent)),
            // What belongs to no request is not followed.
            (None, None) => return,
        };
        let began = SystemTime::now();
        span.extensions_mut().insert(Span {
            trace,
            id: random::bytes(),
            parent,
            name: span.name(),
            whole: fields.trace.is_some(),
            began,
            ended: began,
            attributes: fields.attributes,
            failed: fields.failed,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = span.extensions_mut().get_mut::<Span>() {
            span.attributes.append(&mut fields.attributes);
            span.failed |= fields.failed;
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(mut span) = span.extensions_mut().remove::<Span>() else { return };
        span.ended = SystemTime::now();
        if self.queue.try_send(span).is_err() {
            self.dropped.one();
        }
    }
}
