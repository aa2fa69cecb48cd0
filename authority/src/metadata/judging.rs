//! The rules that evidence is judged by, with the metadata that counts at this moment.

use std::sync::{Arc, PoisonError, RwLock};

use signet_evidence::binding::Sha256;
use signet_verifier::policy::AppraisalPolicy;

use crate::store::{Store, StoreError};

/// Rules with metadata, read anew when another node, or the command line, imported some.
pub struct Judging {
    settings: AppraisalPolicy,
    current: RwLock<Current>,
}

struct Current {
    digest: Option<Sha256>,
    policy: Arc<AppraisalPolicy>,
}

impl Judging {
    /// The rules of the settings, without metadata yet.
    #[must_use]
    pub fn new(settings: AppraisalPolicy) -> Self {
        let policy = Arc::new(settings.clone());
        Self { settings, current: RwLock::new(Current { digest: None, policy }) }
    }

    /// The rules by the metadata in `store`. Asking costs one small query; only what changed is read.
    ///
    /// # Errors
    /// [`StoreError`]: without knowing what counts nothing is judged.
    pub async fn policy(&self, store: &dyn Store) -> Result<Arc<AppraisalPolicy>, StoreError> {
        let digest = store.metadata_digest().await?;
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if current.digest == digest {
                return Ok(current.policy.clone());
            }
        }
        let stored = store.metadata().await?;
        let digest = stored.as_ref().map(|stored| stored.digest);
        let metadata = stored.map(|stored| Arc::new(stored.metadata));
        let mut policy = self.settings.clone();
        policy.registration = policy.registration.with_metadata(metadata);
        let policy = Arc::new(policy);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current { digest, policy: policy.clone() };
        Ok(policy)
    }
}
