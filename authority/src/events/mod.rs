//! The push to verifiers: what each connected one must hear, and what it has applied.
//!
//! One ring of events serves every stream, so a reader that is slow costs no memory: it falls out of the
//! ring, its stream ends, and it begins anew where it was. One that acknowledges nothing for [`SILENCE`]
//! is cut off.

mod hub;
mod record;
mod stream;

use std::time::Duration;

pub use hub::{Hub, Presence, TooMany, VerifierId};
pub use record::{beat, record};
pub use stream::routes;

/// How often verifiers hear that nothing happened.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// A verifier that acknowledged nothing for this long is taken for gone.
pub const SILENCE: Duration = Duration::from_secs(15);
/// Events that a stream may be behind before it has to begin anew.
const RING: usize = 1024;
/// Revocations in one event.
const CHUNK: usize = 256;
/// How many revocations a verifier may have missed before it is told to read the lists instead.
const LONGEST_RESUME: i64 = 4096;
