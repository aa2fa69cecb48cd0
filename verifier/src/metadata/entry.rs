//! One model, as its metadata describes it (FIDO Metadata Statement v3).

use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use signet_evidence::webauthn::Aaguid;

use super::date::midnight;
use super::status::{ModelCondition, ModelStatus, StatusReport, condition};
use super::verification;
use crate::assurance::ModelVerification;

/// SHA-1 of an attestation certificate's public key (RFC 5280 §4.2.1.2, method 1): how metadata names
/// a U2F model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttestationKeyId(pub [u8; 20]);

/// What a model is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelIdentity {
    /// FIDO2.
    Aaguid([u8; 16]),
    /// U2F: `attestationCertificateKeyIdentifiers`.
    AttestationKeys(Vec<AttestationKeyId>),
}

/// A model with what its metadata says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Which model.
    pub identity: ModelIdentity,
    /// `description`, for people: printable, at most 200 characters; empty without a statement.
    pub description: String,
    /// `authenticatorVersion`: the firmware that the statement is about.
    pub firmware: Option<u64>,
    /// What `userVerificationDetails` come to; `None` when that is not known.
    pub verification: Option<ModelVerification>,
    /// `keyProtection`, such as `hardware` and `secure_element`.
    pub key_protection: Vec<String>,
    /// `matcherProtection`.
    pub matcher_protection: Vec<String>,
    /// `attestationTypes`, such as `basic_full`.
    pub attestation_types: Vec<String>,
    /// Whether `authenticatorGetInfo` lists the extension `credProtect`.
    pub cred_protect: bool,
    /// `attestationRootCertificates`, DER.
    pub roots: Vec<Vec<u8>>,
    /// `statusReports`.
    pub reports: Vec<StatusReport>,
}

impl ModelEntry {
    /// What its status reports come to at `now`.
    #[must_use]
    pub fn condition(&self, now: UnixTime) -> ModelCondition<'_> {
        condition(&self.reports, now)
    }

    /// Whether this is the model of a key with this AAGUID or, where that is zero, with this
    /// attestation key.
    #[must_use]
    pub fn describes(&self, aaguid: Aaguid, attestation_key: Option<AttestationKeyId>) -> bool {
        match &self.identity {
            ModelIdentity::Aaguid(known) => aaguid != Aaguid::ZERO && *known == aaguid.0,
            ModelIdentity::AttestationKeys(known) => {
                aaguid == Aaguid::ZERO && attestation_key.is_some_and(|key| known.contains(&key))
            }
        }
    }
}

/// `MetadataBLOBPayloadEntry`, the members that count here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawEntry {
    aaguid: Option<String>,
    attestation_certificate_key_identifiers: Option<Vec<String>>,
    metadata_statement: Option<RawStatement>,
    status_reports: Vec<RawReport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatement {
    #[serde(default)]
    description: String,
    authenticator_version: Option<u64>,
    #[serde(default)]
    user_verification_details: Vec<Vec<RawMethod>>,
    #[serde(default)]
    key_protection: Vec<String>,
    #[serde(default)]
    matcher_protection: Vec<String>,
    #[serde(default)]
    attestation_types: Vec<String>,
    #[serde(default)]
    attestation_root_certificates: Vec<String>,
    authenticator_get_info: Option<RawInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMethod {
    // Absent where a maker left it out; then nothing is known of this way.
    user_verification_method: Option<String>,
}

#[derive(Deserialize)]
struct RawInfo {
    #[serde(default)]
    extensions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReport {
    status: String,
    effective_date: Option<String>,
}

/// An entry that is not what the specification says.
pub(super) struct Malformed;

impl RawEntry {
    /// The model; `None` for UAF, which this protocol does not speak.
    pub(super) fn read(self) -> Result<Option<ModelEntry>, Malformed> {
        let identity = match (self.aaguid, self.attestation_certificate_key_identifiers) {
            (Some(text), None) => {
                let aaguid = Aaguid::from_text(&text.to_ascii_lowercase()).ok_or(Malformed)?;
                ModelIdentity::Aaguid(aaguid.0)
            }
            (None, Some(keys)) => {
                let keys: Option<Vec<_>> = keys.iter().map(|text| key_id(text)).collect();
                ModelIdentity::AttestationKeys(keys.ok_or(Malformed)?)
            }
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(Malformed),
        };
        let reports: Result<_, _> = self.status_reports.into_iter().map(RawReport::read).collect();
        let mut entry = ModelEntry {
            identity,
            description: String::new(),
            firmware: None,
            verification: None,
            key_protection: Vec::new(),
            matcher_protection: Vec::new(),
            attestation_types: Vec::new(),
            cred_protect: false,
            roots: Vec::new(),
            reports: reports?,
        };
        if let Some(statement) = self.metadata_statement {
            statement.describe(&mut entry)?;
        }
        Ok(Some(entry))
    }
}

impl RawStatement {
    fn describe(self, entry: &mut ModelEntry) -> Result<(), Malformed> {
        const LONGEST: usize = 200;
        let printable = self.description.chars().filter(|c| !c.is_control());
        entry.description = printable.take(LONGEST).collect();
        entry.firmware = self.authenticator_version;
        let details: Vec<Vec<String>> = self
            .user_verification_details
            .into_iter()
            .map(|ways| {
                let method = |raw: RawMethod| raw.user_verification_method.unwrap_or_default();
                ways.into_iter().map(method).collect()
            })
            .collect();
        entry.verification = verification::of_details(&details);
        entry.key_protection = self.key_protection;
        entry.matcher_protection = self.matcher_protection;
        entry.attestation_types = self.attestation_types;
        let extensions = self.authenticator_get_info.map(|info| info.extensions);
        entry.cred_protect = extensions
            .is_some_and(|extensions| extensions.iter().any(|name| name == "credProtect"));
        entry.roots = self
            .attestation_root_certificates
            .iter()
            .map(|text| super::jws::base64_certificate(text).ok_or(Malformed))
            .collect::<Result<_, _>>()?;
        Ok(())
    }
}

impl RawReport {
    fn read(self) -> Result<StatusReport, Malformed> {
        let effective = match self.effective_date {
            None => None,
            Some(text) => Some(midnight(&text).ok_or(Malformed)?.0),
        };
        Ok(StatusReport { status: ModelStatus::from_name(&self.status), effective })
    }
}

fn key_id(text: &str) -> Option<AttestationKeyId> {
    let bytes = signet_evidence::thumbprint::unhex(&text.to_ascii_lowercase())?;
    bytes.try_into().ok().map(AttestationKeyId)
}
