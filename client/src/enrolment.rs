//! Enrolling this machine by its TPM.

use thiserror::Error;

use crate::authority::{Authority, AuthorityError, EnrolmentFinished, all};
use crate::daemon::{
    ActivationRequest, Daemon, DaemonError, EndorsementKey, EnrolledState, EnrolmentKeys,
};
use crate::tls::{TlsConfigError, client_config};

/// Why the machine was not enrolled.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// `signetd` refused, or cannot be reached.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The authority refused, or cannot be reached.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The CA file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The TPM has no endorsement key of this kind, or none at all.
    #[error("the TPM has no endorsement key that fits: it has {}", .found.join(", "))]
    NoEndorsementKey {
        /// Kinds it has.
        found: Vec<String>,
    },
}

/// What was enrolled.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// What the authority gave.
    pub finished: EnrolmentFinished,
    /// The endorsement key that vouched for the TPM.
    pub ek_kind: String,
    /// Whether its maker's certificate was shown.
    pub ek_certified: bool,
}

/// Who enrols this machine, and on whose word.
#[derive(Clone, Copy, Debug)]
pub struct EnrolmentTerms<'a> {
    /// The authority's URL.
    pub authority: &'a str,
    /// Its CA certificates, DER.
    pub trust_anchors: &'a [Vec<u8>],
    /// The ticket: a secret.
    pub ticket: &'a str,
    /// A kind of endorsement key, when it is not to be chosen.
    pub ek_kind: Option<&'a str>,
}

/// Enrols: keys from the TPM, the authority's challenge, the TPM's answer, certificates kept.
/// Until the last step nothing is kept here, so that it can be begun again at any point.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(daemon: &Daemon, terms: EnrolmentTerms<'_>) -> Result<Enrolled, EnrolError> {
    let authority = Authority::new(terms.authority, client_config(terms.trust_anchors, None)?)?;
    let keys = daemon.begin_enrolment().await?;
    let endorsement = choose(&keys, terms.ek_kind)?;
    let begun = authority.begin_enrolment(terms.ticket, &keys, endorsement).await?;
    let activation = daemon
        .activate_enrolment(&ActivationRequest {
            ek_kind: endorsement.kind.clone(),
            credential_blob: begun.credential_blob.0,
            encrypted_secret: begun.encrypted_secret.0,
            nonce: begun.nonce.0,
            transcript: begun.transcript.0,
        })
        .await?;
    let finished = authority.finish_enrolment(&begun.enrolment_id, &activation).await?;
    daemon
        .complete_enrolment(&EnrolledState {
            device_chain: all(finished.device_chain.clone()),
            ak_chain: all(finished.ak_chain.clone()),
            device_id: finished.device_id.0.clone(),
            authority: authority.origin(),
            audience: finished.audience.clone(),
            rp_id: finished.rp_id.clone(),
            operator: finished.operator.clone(),
            trust_anchors: all(finished.ca.clone()),
            issuers: all(finished.issuers.clone()),
        })
        .await?;
    let ek_certified = endorsement.certificate.is_some();
    Ok(Enrolled { finished, ek_kind: endorsement.kind.clone(), ek_certified })
}

/// The key of the kind asked for; else a certified one before an uncertified one, and the smaller
/// signatures first.
fn choose<'a>(
    keys: &'a EnrolmentKeys,
    kind: Option<&str>,
) -> Result<&'a EndorsementKey, EnrolError> {
    const PREFERENCE: [&str; 5] =
        ["ecc-p256", "ecc-p256-high", "ecc-p384", "rsa-2048", "rsa-2048-high"];
    let rank = |key: &&EndorsementKey| {
        let place = PREFERENCE.iter().position(|kind| *kind == key.kind);
        (key.certificate.is_none(), place.unwrap_or(PREFERENCE.len()))
    };
    keys.endorsement
        .iter()
        .filter(|key| kind.is_none_or(|kind| key.kind == kind))
        .min_by_key(rank)
        .ok_or_else(|| EnrolError::NoEndorsementKey {
            found: keys.endorsement.iter().map(|key| key.kind.clone()).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(found: &[(&str, bool)]) -> EnrolmentKeys {
        let key = |(kind, certified): &(&str, bool)| EndorsementKey {
            kind: (*kind).to_owned(),
            public: vec![],
            certificate: certified.then(Vec::new),
        };
        EnrolmentKeys {
            endorsement: found.iter().map(key).collect(),
            endorsement_chain: vec![],
            ak_public: vec![],
            tls_public: vec![],
        }
    }

    #[test]
    fn a_certified_key_comes_first() {
        let found = keys(&[("ecc-p256", false), ("rsa-2048", true)]);
        assert_eq!(choose(&found, None).unwrap().kind, "rsa-2048");
        assert_eq!(choose(&found, Some("ecc-p256")).unwrap().kind, "ecc-p256");
        let found = keys(&[("rsa-2048", true), ("ecc-p256", true)]);
        assert_eq!(choose(&found, None).unwrap().kind, "ecc-p256");
        let none = choose(&found, Some("ecc-p384"));
        assert!(matches!(none, Err(EnrolError::NoEndorsementKey { found }) if found.len() == 2));
    }
}
