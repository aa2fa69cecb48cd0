//! Status reports (FIDO MDS v3.1 §3.1.3, §3.1.4): what became of a model since it was published.

use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;

/// `AuthenticatorStatus`, as far as it decides something here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ModelStatus {
    /// `FIDO_CERTIFIED` at any level.
    Certified(String),
    /// `USER_VERIFICATION_BYPASS`.
    UserVerificationBypass,
    /// `ATTESTATION_KEY_COMPROMISE`. The `certificate` of such a report narrows it to a batch; the
    /// whole model is refused nevertheless, because a chain is not kept with a credential.
    AttestationKeyCompromise,
    /// `USER_KEY_REMOTE_COMPROMISE`.
    UserKeyRemoteCompromise,
    /// `USER_KEY_PHYSICAL_COMPROMISE`.
    UserKeyPhysicalCompromise,
    /// `REVOKED`.
    Revoked,
    /// Any other, unknown ones included: says nothing against a model. Servers must ignore values
    /// they do not know (MDS §3.1.4), so that new words of praise break nothing; it is shown.
    Other(String),
}

impl ModelStatus {
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "USER_VERIFICATION_BYPASS" => Self::UserVerificationBypass,
            "ATTESTATION_KEY_COMPROMISE" => Self::AttestationKeyCompromise,
            "USER_KEY_REMOTE_COMPROMISE" => Self::UserKeyRemoteCompromise,
            "USER_KEY_PHYSICAL_COMPROMISE" => Self::UserKeyPhysicalCompromise,
            "REVOKED" => Self::Revoked,
            name if name.starts_with("FIDO_CERTIFIED") => Self::Certified(name.to_owned()),
            name => Self::Other(name.to_owned()),
        }
    }

    /// Its name in metadata.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::UserVerificationBypass => "USER_VERIFICATION_BYPASS",
            Self::AttestationKeyCompromise => "ATTESTATION_KEY_COMPROMISE",
            Self::UserKeyRemoteCompromise => "USER_KEY_REMOTE_COMPROMISE",
            Self::UserKeyPhysicalCompromise => "USER_KEY_PHYSICAL_COMPROMISE",
            Self::Revoked => "REVOKED",
            Self::Certified(name) | Self::Other(name) => name,
        }
    }

    /// Whether keys of a model with this status are refused.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        !matches!(self, Self::Certified(_) | Self::Other(_))
    }
}

/// `StatusReport`, as far as it decides something here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The status.
    pub status: ModelStatus,
    /// `effectiveDate`, midnight UTC in seconds since 1970; absent: as long as the report stands.
    pub effective: Option<i64>,
}

/// What all reports on a model come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelCondition<'a> {
    /// Nothing is reported against it.
    Good,
    /// This report stands against it.
    Bad(&'a ModelStatus),
}

/// A report against a model stands until a certification that took effect on a later day; without a
/// date it stands as long as it is published. One with a date to come counts at once: a warning is no
/// less true for being early.
pub(super) fn condition(reports: &[StatusReport], now: UnixTime) -> ModelCondition<'_> {
    let certified = reports
        .iter()
        .filter(|report| matches!(report.status, ModelStatus::Certified(_)))
        .filter_map(|report| report.effective)
        .filter(|date| *date <= now.0)
        .max();
    let stands = |report: &&StatusReport| match (report.effective, certified) {
        (Some(reported), Some(certified)) => certified <= reported,
        _ => true,
    };
    match reports.iter().filter(|report| report.status.is_bad()).find(stands) {
        Some(report) => ModelCondition::Bad(&report.status),
        None => ModelCondition::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, effective: Option<i64>) -> StatusReport {
        StatusReport { status: ModelStatus::from_name(name), effective }
    }

    fn bad(reports: &[StatusReport]) -> Option<String> {
        match condition(reports, UnixTime(100)) {
            ModelCondition::Good => None,
            ModelCondition::Bad(status) => Some(status.as_str().to_owned()),
        }
    }

    #[test]
    fn each_bad_status_stands_until_a_later_certification() {
        let certified = |date| report("FIDO_CERTIFIED_L1", date);
        for name in [
            "REVOKED",
            "USER_VERIFICATION_BYPASS",
            "ATTESTATION_KEY_COMPROMISE",
            "USER_KEY_REMOTE_COMPROMISE",
            "USER_KEY_PHYSICAL_COMPROMISE",
        ] {
            let stands = Some(name.to_owned());
            assert_eq!(bad(&[certified(Some(10)), report(name, Some(50))]), stands);
            // Neither the order in the list nor a certification of the same day lifts it.
            assert_eq!(bad(&[report(name, Some(50)), certified(Some(50))]), stands);
            assert_eq!(bad(&[report(name, Some(50)), certified(None)]), stands);
            // A certification to come does not count yet; a warning does.
            assert_eq!(bad(&[report(name, Some(50)), certified(Some(101))]), stands);
            assert_eq!(bad(&[report(name, Some(200))]), stands);
            assert_eq!(bad(&[report(name, None), certified(Some(99))]), stands);
            assert_eq!(bad(&[report(name, Some(50)), certified(Some(51))]), None);
        }
    }

    #[test]
    fn other_and_unknown_statuses_neither_condemn_nor_lift() {
        for name in ["NOT_FIDO_CERTIFIED", "UPDATE_AVAILABLE", "RETIRED", "A_WORD_OF_TOMORROW"] {
            assert_eq!(bad(&[report(name, Some(60))]), None);
            let revoked = report("REVOKED", Some(50));
            assert_eq!(bad(&[revoked, report(name, Some(60))]), Some("REVOKED".to_owned()));
        }
    }
}
