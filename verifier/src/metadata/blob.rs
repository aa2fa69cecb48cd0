//! The BLOB (FIDO MDS v3.1 §3.1.6, §3.1.7): from signed bytes to models.

use std::collections::BTreeSet;

use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use signet_evidence::webauthn::Aaguid;
use thiserror::Error;
use webpki::EndEntityCert;

use super::date::midnight;
use super::entry::{AttestationKeyId, ModelEntry, ModelIdentity, RawEntry};
use super::jws::{Jws, JwsError};
use super::status::{ModelCondition, ModelStatus};
use crate::certificate::{PathError, TrustAnchors, VerifiedPath};

/// Largest BLOB, in bytes; that of October 2026 has 12.5 million.
pub const LARGEST_BLOB: usize = 64 * 1024 * 1024;

/// Who may sign a BLOB.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// Roots that its chain may lead to.
    pub roots: &'a TrustAnchors,
    /// DNS name that its certificate must have. Without it every certificate under the roots may
    /// sign, and the root of the real service is that of a public web CA.
    pub name: Option<&'a str>,
}

/// Why a BLOB is not believed. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum BlobError {
    /// Larger than [`LARGEST_BLOB`], or not text.
    #[error("not a metadata BLOB: too large, or not text")]
    NotText,
    /// The JWS.
    #[error("the BLOB's JWS is not taken")]
    Jws(#[from] JwsError),
    /// Its certificate does not lead to one of the roots now.
    #[error("the BLOB's certificate does not lead to a configured root")]
    Untrusted(#[source] PathError),
    /// Its certificate is somebody else's.
    #[error("the BLOB's certificate is not for the configured signer name")]
    SignerName,
    /// The payload is not what MDS v3.1 §3.1.6 says.
    #[error("the BLOB's payload is not a metadata payload")]
    Payload,
    /// An entry is not what MDS v3.1 §3.1.1 says.
    #[error("entry {0} (counted from 0) is malformed")]
    Entry(usize),
    /// Two entries for one AAGUID: which of them counts nobody could say.
    #[error("two entries describe the model {0}")]
    Duplicate(Aaguid),
}

/// An older BLOB than the one that counts.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("BLOB number {offered} is older than number {current}, which counts now")]
pub struct Rollback {
    /// The number that counts.
    pub current: u64,
    /// The number offered.
    pub offered: u64,
}

/// What a believed BLOB says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// `no`: grows with each BLOB.
    number: u64,
    /// `nextUpdate`, midnight UTC in seconds since 1970.
    next_update: i64,
    models: Vec<ModelEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPayload {
    no: u64,
    next_update: String,
    entries: Vec<RawEntry>,
}

impl Metadata {
    /// Reads the compact JWS in `blob` and believes it if its chain leads to `signer` at `now`.
    /// White space around it is ignored.
    ///
    /// # Errors
    /// See [`BlobError`].
    pub fn verify(blob: &[u8], signer: Signer<'_>, now: UnixTime) -> Result<Self, BlobError> {
        use BlobError as E;
        if blob.len() > LARGEST_BLOB {
            return Err(E::NotText);
        }
        let text = std::str::from_utf8(blob).map_err(|_| E::NotText)?;
        let jws = Jws::parse(text.trim_ascii())?;
        let (leaf, intermediates) =
            jws.chain.split_first().ok_or(E::Jws(JwsError::ChainLength(0)))?;
        let path = VerifiedPath::verify(leaf, intermediates, signer.roots, None, now)
            .map_err(E::Untrusted)?;
        if let Some(name) = signer.name {
            check_name(leaf, name)?;
        }
        let payload = jws.payload(path.leaf())?;
        Self::read(&payload)
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self, BlobError> {
        use BlobError as E;
        let raw: RawPayload = serde_json::from_slice(payload).map_err(|_| E::Payload)?;
        let next_update = midnight(&raw.next_update).ok_or(E::Payload)?;
        let mut models = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, entry) in raw.entries.into_iter().enumerate() {
            let Some(model) = entry.read().map_err(|_| E::Entry(index))? else { continue };
            if let ModelIdentity::Aaguid(aaguid) = model.identity
                && !seen.insert(aaguid)
            {
                return Err(E::Duplicate(Aaguid(aaguid)));
            }
            models.push(model);
        }
        Ok(Self { number: raw.no, next_update: next_update.0, models })
    }

    /// `no`: grows with each BLOB.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// `nextUpdate`: when the next BLOB is due at the latest.
    #[must_use]
    pub fn next_update(&self) -> UnixTime {
        UnixTime(self.next_update)
    }

    /// Whether the next BLOB is overdue: the day of `nextUpdate` is over.
    #[must_use]
    pub fn is_stale(&self, now: UnixTime) -> bool {
        now.0.saturating_sub(self.next_update) >= 86_400
    }

    /// Whether this BLOB may take the place of number `current` (MDS v3.1 §3.2 step 3). The same one
    /// may come again.
    ///
    /// # Errors
    /// [`Rollback`].
    pub fn may_follow(&self, current: u64) -> Result<(), Rollback> {
        let offered = self.number;
        if offered < current { Err(Rollback { current, offered }) } else { Ok(()) }
    }

    /// All models.
    #[must_use]
    pub fn models(&self) -> &[ModelEntry] {
        &self.models
    }

    /// What is said of the model of a key with this AAGUID or, where that is zero, with this
    /// attestation key. Makers list one attestation key in several entries.
    pub fn describing(
        &self,
        aaguid: Aaguid,
        attestation_key: Option<AttestationKeyId>,
    ) -> impl Iterator<Item = &ModelEntry> {
        self.models.iter().filter(move |model| model.describes(aaguid, attestation_key))
    }

    /// What stands against that model: the worst of all entries counts.
    #[must_use]
    pub fn reported(
        &self,
        aaguid: Aaguid,
        attestation_key: Option<AttestationKeyId>,
        now: UnixTime,
    ) -> Option<&ModelStatus> {
        self.describing(aaguid, attestation_key).find_map(|model| match model.condition(now) {
            ModelCondition::Good => None,
            ModelCondition::Bad(status) => Some(status),
        })
    }
}

fn check_name(leaf: &[u8], name: &str) -> Result<(), BlobError> {
    let der = CertificateDer::from(leaf);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| BlobError::SignerName)?;
    let name = ServerName::try_from(name).map_err(|_| BlobError::SignerName)?;
    certificate.verify_is_valid_for_subject_name(&name).map_err(|_| BlobError::SignerName)
}
