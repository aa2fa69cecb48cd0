//! Bodies that pass through.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;

/// Why a body ended early.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body that is there as a whole.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
