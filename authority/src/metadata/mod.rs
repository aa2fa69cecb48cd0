//! FIDO metadata: believed once, stored, and applied by every node that shares the database.

mod judging;
mod refresh;
mod source;

use signet_evidence::UnixTime;
use signet_evidence::binding::sha256;
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::metadata::{BlobError, Metadata, Signer};
use thiserror::Error;

use crate::config::Config;
use crate::store::{
    AuditEntry, Decision, Event, ImportError, Imported, Store, StoreError, StoredMetadata,
};
use crate::trust::{TrustError, metadata_roots};

pub use judging::Judging;
pub use refresh::keep_fresh;
pub use source::{Fetched, Source, SourceError};

/// Metadata was not taken.
#[derive(Debug, Error)]
pub enum TakeError {
    /// Nobody may sign it.
    #[error("the settings have no [metadata]; write it with the roots that may sign")]
    NotConfigured,
    /// The roots cannot be used.
    #[error("the roots of [metadata] cannot be used")]
    Roots(#[from] TrustError),
    /// The BLOB is not believed.
    #[error("the metadata is not believed")]
    Blob(#[from] BlobError),
    /// The store did not take it.
    #[error("the metadata was not stored")]
    Import(#[from] ImportError),
}

/// Who may sign BLOBs, by the settings.
#[derive(Clone, Debug)]
pub struct Trusted {
    roots: TrustAnchors,
    signer: String,
}

impl Trusted {
    /// Reads the roots.
    ///
    /// # Errors
    /// [`TakeError::NotConfigured`] or [`TakeError::Roots`].
    pub fn load(config: &Config) -> Result<Self, TakeError> {
        let roots = metadata_roots(config)?.ok_or(TakeError::NotConfigured)?;
        let settings = config.settings.metadata.as_ref().ok_or(TakeError::NotConfigured)?;
        Ok(Self { roots, signer: settings.signer.get_ref().clone() })
    }

    /// Believes `blob` or not.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub fn verify(&self, blob: &[u8], now: UnixTime) -> Result<StoredMetadata, BlobError> {
        let signer = Signer { roots: &self.roots, name: Some(&self.signer) };
        let metadata = Metadata::verify(blob, signer, now)?;
        Ok(StoredMetadata { digest: sha256(blob), metadata, imported_at: now })
    }
}

/// Believes `blob`, stores it and marks the enrolled keys that it speaks against.
///
/// # Errors
/// See [`TakeError`]; then nothing was changed.
pub async fn take(
    store: &dyn Store,
    trusted: &Trusted,
    blob: &[u8],
    from: &str,
    now: UnixTime,
) -> Result<(StoredMetadata, Imported), TakeError> {
    let stored = trusted.verify(blob, now)?;
    let mut entry = AuditEntry::new(now, Event::Metadata, Decision::Allowed);
    entry.detail = format!(
        "number {} with {} models, from {from}",
        stored.metadata.number(),
        stored.metadata.models().len()
    );
    let imported = store.import_metadata(&stored, &entry).await?;
    Ok((stored, imported))
}

impl From<StoreError> for TakeError {
    fn from(error: StoreError) -> Self {
        Self::Import(ImportError::Store(error))
    }
}
