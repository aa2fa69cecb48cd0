//! Token Status Lists as this authority publishes them: one bit a session, set when it was revoked.

use signet_evidence::UnixTime;
use signet_verifier::status_list::StatusListToken;

pub use signet_verifier::status_list::{LIST_LENGTH, StatusList};

/// How long a gateway may use a list without asking again, in seconds.
pub const TIME_TO_LIVE: i64 = 10;
/// How long a list may be used at all, in seconds.
const LIFETIME: i64 = 60;

/// `list`, found at `uri`, as it counts now.
#[must_use]
pub fn token(list: StatusList, uri: String, now: UnixTime) -> StatusListToken {
    StatusListToken {
        uri,
        issued_at: now,
        expires: Some(UnixTime(now.0.saturating_add(LIFETIME))),
        time_to_live: Some(TIME_TO_LIVE),
        list,
    }
}
