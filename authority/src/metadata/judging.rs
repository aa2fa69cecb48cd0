//! The rules that evidence is judged by, with the metadata that counts at this moment.

use std::sync::{Arc, PoisonError, RwLock};

use signet_evidence::binding::Sha256;
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::policy::AppraisalPolicy;

use crate::store::{Store, StoreError};

/// Rules with metadata, read anew when another node, or the command line, imported some.
pub struct Judging {
    current: RwLock<Current>,
}

struct Current {
    settings: AppraisalPolicy,
    digest: Option<Sha256>,
    policy: Arc<AppraisalPolicy>,
}

impl Judging {
    /// The rules of the settings, without metadata yet.
    #[must_use]
    pub fn new(settings: AppraisalPolicy) -> Self {
        let policy = Arc::new(settings.clone());
        Self { current: RwLock::new(Current { settings, digest: None, policy }) }
    }

    /// Goes by other anchors of machines' and attestation keys' certificates from now on.
    pub fn trust(&self, device: TrustAnchors, ak: TrustAnchors) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut policy = (*current.policy).clone();
        for rules in [&mut current.settings, &mut policy] {
            (rules.device_anchors, rules.ak_anchors) = (device.clone(), ak.clone());
        }
        current.policy = Arc::new(policy);
    }

    /// The rules for evidence in which no security key is judged: metadata is not asked for.
    pub fn without_keys(&self) -> Arc<AppraisalPolicy> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).policy.clone()
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
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut policy = current.settings.clone();
        policy.registration = policy.registration.with_metadata(metadata);
        let policy = Arc::new(policy);
        (current.digest, current.policy) = (digest, policy.clone());
        Ok(policy)
    }
}
