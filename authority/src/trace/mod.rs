//! Which request something belongs to: W3C Trace Context, in log lines, problem documents, audit records
//! and, where a collector is named, spans.

mod export;
mod otlp;
mod span;

use std::fmt;

use axum::http::HeaderMap;
use signet_evidence::thumbprint::{hex, unhex};

use crate::random;

pub use export::{Exporter, ExporterError, layer};
pub use span::SpanLayer;

/// Names a request, wherever it goes (W3C Trace Context §3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What came along with a request, or was made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Names the request.
    pub id: TraceId,
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Does `work` as part of this request.
pub async fn within<T>(context: TraceContext, work: impl Future<Output = T>) -> T {
    CURRENT.scope(context, work).await
}

/// The request that this is part of.
#[must_use]
pub fn current() -> Option<TraceId> {
    CURRENT.try_with(|context| context.id).ok()
}

impl TraceContext {
    /// Taken over from the one `traceparent` header where it is well formed, else new.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all("traceparent").iter();
        let told = match (values.next(), values.next()) {
            (Some(only), None) => only.to_str().ok().and_then(Self::parse),
            _ => None,
        };
        told.unwrap_or_else(|| Self { id: TraceId(random::bytes()), parent: None })
    }

    /// W3C Trace Context §3.2: `00-<32 hex>-<16 hex>-<2 hex>`; later versions may append to it.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let version: [u8; 1] = lower_hex(parts.next()?)?;
        let id: [u8; 16] = lower_hex(parts.next()?)?;
        let parent: [u8; 8] = lower_hex(parts.next()?)?;
        let _flags: [u8; 1] = lower_hex(parts.next()?)?;
        let more = parts.next().is_some();
        if version == [0xff] || (version == [0] && more) || id == [0; 16] || parent == [0; 8] {
            return None;
        }
        Some(Self { id: TraceId(id), parent: Some(parent) })
    }
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { unhex(text)?.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn taken_over(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().unwrap());
        }
        TraceContext::of(&headers).parent.is_some()
    }

    /// The example of W3C Trace Context §3.2.3.
    #[test]
    fn a_well_formed_header_is_taken_over() {
        let context = TraceContext::parse(GOOD).unwrap();
        assert_eq!(context.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent, Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        let later = GOOD.replacen("00", "cc", 1) + "-what-the-future-will-be-like";
        assert!(taken_over(&[&later]) && taken_over(&[GOOD]));
    }

    #[test]
    fn anything_else_is_replaced() {
        let wrong = [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            format!("{GOOD}-more"),
            GOOD[..54].to_owned(),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("4bf9", "4bf 9"),
        ];
        for wrong in wrong {
            assert!(!taken_over(&[&wrong]), "{wrong}");
        }
        assert!(!taken_over(&[GOOD, GOOD]) && !taken_over(&[]));
        let new = || TraceContext::of(&HeaderMap::new()).id;
        assert_ne!(new(), new());
    }
}
