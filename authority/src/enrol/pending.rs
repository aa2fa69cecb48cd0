//! Machines between the two halves of their enrolment.
//!
//! Kept in memory only: the activation secret never touches the disk, and a restart forgets it, so
//! that nothing stays half-enrolled. One per ticket: whoever begins again starts anew, and nobody
//! without a ticket can fill the memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;
use signet_verifier::enrolment::PendingEnrolment;

/// Enrolments under way, by the ticket's digest.
#[derive(Default)]
pub struct PendingEnrolments(Mutex<HashMap<Sha256, Waiting>>);

/// One of them.
pub(super) struct Waiting {
    pub(super) enrolment: PendingEnrolment,
    pub(super) operator: String,
    pub(super) asset: Option<String>,
    pub(super) expires: UnixTime,
}

impl PendingEnrolments {
    /// Forgets those whose time is up.
    pub fn forget_expired(&self, now: UnixTime) {
        self.lock().retain(|_, waiting| now < waiting.expires);
    }

    pub(super) fn add(&self, ticket: Sha256, waiting: Waiting) {
        self.lock().insert(ticket, waiting);
    }

    /// Takes the enrolment with this id: it is answered once, rightly or wrongly.
    pub(super) fn take(&self, id: &str, now: UnixTime) -> Option<(Sha256, Waiting)> {
        let mut all = self.lock();
        let ticket = *all.iter().find(|(_, waiting)| waiting.enrolment.id == id)?.0;
        all.remove_entry(&ticket).filter(|(_, waiting)| now < waiting.expires)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha256, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
