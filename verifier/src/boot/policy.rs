//! Policies for machines, as files that people review.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer};
use signet_evidence::CertificateThumbprint;
use signet_evidence::thumbprint::{hex, unhex};
use thiserror::Error;

use super::pattern::TextPattern;

/// What follows from a finding. A policy goes through them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Findings are recorded.
    Monitor,
    /// Findings are recorded and the person and the administrator hear of them.
    Warn,
    /// Findings refuse the machine.
    Enforce,
}

impl Mode {
    /// Its name in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

/// A PCR's number, 0 to 23.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct PcrIndex(u8);

impl PcrIndex {
    /// The PCR of this number.
    #[must_use]
    pub fn new(index: u8) -> Option<Self> {
        (index < 24).then_some(Self(index))
    }

    /// Its number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// Why a key of a policy is not a PCR.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("a PCR is a number from 0 to 23")]
pub struct PcrIndexError;

impl TryFrom<String> for PcrIndex {
    type Error = PcrIndexError;

    fn try_from(text: String) -> Result<Self, PcrIndexError> {
        text.parse().ok().and_then(Self::new).ok_or(PcrIndexError)
    }
}

/// Something that is allowed, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// A PCR's value, a measurement's digest, or a certificate's SHA-256 thumbprint.
    #[serde(deserialize_with = "digest")]
    pub digest: Vec<u8>,
    /// What it is, for people.
    #[serde(default)]
    pub what: String,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.digest))?;
        if self.what.is_empty() { Ok(()) } else { write!(f, " ({})", self.what) }
    }
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    unhex(&text)
        .filter(|digest| matches!(digest.len(), 32 | 48))
        .ok_or_else(|| serde::de::Error::custom("a digest is 64 or 96 hex digits"))
}

impl Rules {
    /// Whether texts of boot loaders are judged.
    pub(super) fn judges_texts(&self) -> bool {
        self.boot_texts.is_some() || self.boot_text_patterns.is_some()
    }

    /// Whether something is judged by what PCR 7 holds.
    pub(super) fn judges_secure_boot(&self) -> bool {
        self.secure_boot
            || self.pk_certificates.is_some()
            || self.kek_certificates.is_some()
            || self.db_certificates.is_some()
            || self.dbx_images.is_some()
            || self.signers.is_some()
    }

    pub(super) fn allows_text(&self, text: &str) -> bool {
        self.boot_texts.iter().flatten().any(|allowed| allowed == text)
            || self.boot_text_patterns.iter().flatten().any(|pattern| pattern.matches(text))
    }
}

/// What is demanded of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogPolicy {
    /// Whether a machine must send one.
    pub required: bool,
    /// PCRs that the log must explain. The running system extends PCR 10 and above after the log is
    /// closed.
    pub explains: BTreeSet<u8>,
}

impl Default for LogPolicy {
    fn default() -> Self {
        Self { required: true, explains: [0, 1, 2, 3, 4, 5, 6, 7].into() }
    }
}

/// Rules about what was booted. A rule that is left out is not judged; one that is there needs a log
/// that explains its PCRs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Secure Boot must be on (PCR 7), and shim must check what it starts.
    pub secure_boot: bool,
    /// Platform keys that may be there.
    pub pk_certificates: Option<Vec<Allowed>>,
    /// Key exchange keys that may be there.
    pub kek_certificates: Option<Vec<Allowed>>,
    /// Certificates that db may hold.
    pub db_certificates: Option<Vec<Allowed>>,
    /// Digests of images that db may hold besides; judged with `db_certificates`.
    pub db_images: Vec<Allowed>,
    /// Digests of images that dbx must hold.
    pub dbx_images: Option<Vec<Allowed>>,
    /// Certificates that may have verified a boot loader or kernel (PCR 7 after its separator).
    pub signers: Option<Vec<Allowed>>,
    /// Every text that a boot loader measured into PCR 8 or 12: commands of GRUB and kernel command
    /// lines alike, because nothing measures which of them is which.
    pub boot_texts: Option<Vec<String>>,
    /// The same for texts that differ between machines, such as the UUID of a disk.
    pub boot_text_patterns: Option<Vec<TextPattern>>,
}

/// A policy for machines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachinePolicy {
    /// Its name in records.
    pub name: String,
    /// For machines that are in none of the groups; left out: those are not judged by this policy.
    pub mode: Option<Mode>,
    /// For machines of these groups; of several, the strictest.
    #[serde(default)]
    pub groups: BTreeMap<String, Mode>,
    /// The event log.
    #[serde(default)]
    pub log: LogPolicy,
    /// Allowed values of whole PCRs. They need no log.
    #[serde(default)]
    pub pcrs: BTreeMap<PcrIndex, Vec<Allowed>>,
    /// Allowed measurements: everything in such a PCR must be one of them, or a separator.
    #[serde(default)]
    pub measurements: BTreeMap<PcrIndex, Vec<Allowed>>,
    /// Rules.
    #[serde(default)]
    pub rules: Rules,
}

/// Why a text is not a policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// Not TOML of this shape.
    #[error("not a machine policy")]
    Shape(#[from] Box<toml::de::Error>),
    /// It would never judge a machine.
    #[error("machine policy {name:?} is for no machine: give a mode, or groups with modes")]
    ForNobody {
        /// Its name.
        name: String,
    },
    /// A PCR above 23.
    #[error("machine policy {name:?} names PCR {pcr}, which does not exist")]
    NoSuchPcr {
        /// Its name.
        name: String,
        /// The number.
        pcr: u8,
    },
    /// A list of certificates holds something that is no SHA-256 thumbprint.
    #[error("machine policy {name:?} names a certificate by something else than its SHA-256")]
    Thumbprint {
        /// Its name.
        name: String,
    },
}

impl MachinePolicy {
    /// Reads a policy file. A word that is not known is an error: a rule with a typing mistake would
    /// not be judged.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text).map_err(Box::new)?;
        let name = policy.name.clone();
        if policy.mode.is_none() && policy.groups.is_empty() {
            return Err(PolicyError::ForNobody { name });
        }
        if let Some(pcr) = policy.log.explains.iter().copied().find(|pcr| *pcr > 23) {
            return Err(PolicyError::NoSuchPcr { name, pcr });
        }
        let rules = &policy.rules;
        let lists = [
            &Some(rules.db_images.clone()),
            &rules.pk_certificates,
            &rules.kek_certificates,
            &rules.db_certificates,
            &rules.dbx_images,
            &rules.signers,
        ];
        if lists.into_iter().flatten().flatten().any(|allowed| allowed.digest.len() != 32) {
            return Err(PolicyError::Thumbprint { name });
        }
        Ok(policy)
    }

    /// The mode for a machine of these groups; `None` where this policy does not judge it.
    #[must_use]
    pub fn mode_for<'g>(&self, groups: impl IntoIterator<Item = &'g str>) -> Option<Mode> {
        let of_groups = groups.into_iter().filter_map(|group| self.groups.get(group));
        of_groups.max().copied().or(self.mode)
    }
}

/// Whether `list` allows this certificate.
pub(super) fn allows(list: &[Allowed], thumbprint: CertificateThumbprint) -> bool {
    list.iter().any(|allowed| allowed.digest == thumbprint.0)
}
