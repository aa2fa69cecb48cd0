//! Machines between the two halves of their enrolment.
//!
//! Kept in memory only: the activation secret never touches the disk, and a restart forgets it, so
//! that nothing stays half-enrolled. One per ticket: whoever begins again starts anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;

/// Enrolments under way.
#[derive(Default)]
pub struct PendingEnrolments(Mutex<HashMap<String, Pending>>);

struct Pending {
    ticket: Sha256,
    expires: UnixTime,
}

impl PendingEnrolments {
    /// Forgets those whose time is up.
    pub fn forget_expired(&self, now: UnixTime) {
        self.lock().retain(|_, pending| now < pending.expires);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
