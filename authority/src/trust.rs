//! The roots that the settings name, as the verifier wants them.

use std::path::PathBuf;

use signet_evidence::webauthn::{Aaguid, CredProtect};
use signet_verifier::ModelVerification;
use signet_verifier::assurance::AuthenticatorModel;
use signet_verifier::certificate::{AnchorError, TrustAnchors};
use signet_verifier::enrolment::EnrolmentPolicy;
use signet_verifier::policy::{
    AppraisalPolicy, AttestationRoot, BootPolicy, RegistrationPolicy, RegistrationRules,
};
use thiserror::Error;

use crate::config::{
    AaguidText, BootMode, Config, CredProtectKind, StalePolicy, UserVerificationKind,
};
use crate::keys::{KeyError, Keys, read_certificates};

/// A root cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A certificate file.
    #[error("a root certificate cannot be read")]
    File(#[from] KeyError),
    /// The directory of TPM makers' roots.
    #[error("cannot list {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate that cannot be an anchor.
    #[error("a root certificate cannot be used")]
    Anchor(#[from] AnchorError),
}

/// What evidence must show, by the settings.
///
/// # Errors
/// See [`TrustError`].
pub fn appraisal(config: &Config, keys: &Keys) -> Result<AppraisalPolicy, TrustError> {
    let settings = &config.settings;
    Ok(AppraisalPolicy {
        audience: settings.issuer.to_string(),
        trust_domain: settings.trust_domain.to_string(),
        device_anchors: TrustAnchors::from_der([keys.device_ca.certificate()])?,
        ak_anchors: TrustAnchors::from_der([keys.ak_ca.certificate()])?,
        rp_id: settings.rp_id.to_string(),
        required_pcrs: settings.tpm.required_pcrs.get_ref().clone(),
        boot: match settings.tpm.boot {
            BootMode::Baseline => BootPolicy::Enforce,
            BootMode::Record => BootPolicy::Monitor,
        },
        registration: registration(config)?,
    })
}

fn registration(config: &Config) -> Result<RegistrationPolicy, TrustError> {
    let mut roots = Vec::new();
    for model in &config.settings.authenticators {
        let verification = match model.user_verification {
            UserVerificationKind::None => ModelVerification::TouchOnly,
            UserVerificationKind::Pin => ModelVerification::PinOnly,
            UserVerificationKind::BuiltInOrPin => ModelVerification::BuiltInOrPin,
            UserVerificationKind::BuiltIn => ModelVerification::BuiltInOnly,
        };
        let models: Vec<AuthenticatorModel> = model
            .aaguids
            .iter()
            .map(|aaguid| AuthenticatorModel { aaguid: Aaguid(aaguid.0), verification })
            .collect();
        for certificate in read_certificates(&config.resolve(model.roots.get_ref()))? {
            roots.push(AttestationRoot {
                certificate: certificate.to_vec(),
                models: models.clone(),
            });
        }
    }
    Ok(RegistrationPolicy::new(roots, rules(config))?)
}

fn rules(config: &Config) -> RegistrationRules {
    let (settings, metadata) = (&config.settings.registration, config.settings.metadata.as_ref());
    let models = |listed: &Vec<AaguidText>| listed.iter().map(|one| Aaguid(one.0)).collect();
    RegistrationRules {
        danger_accept_unattested: settings.danger_accept_unattested,
        accept_touch_only: settings.accept_touch_only,
        allowed: settings.allow_aaguids.as_ref().map(models),
        denied: models(settings.deny_aaguids.get_ref()),
        accept_all_models: metadata.is_some_and(|metadata| metadata.accept_all_models),
        refuse_stale_metadata: metadata
            .is_some_and(|metadata| metadata.stale == StalePolicy::Refuse),
        least_cred_protect: match settings.cred_protect {
            CredProtectKind::UvRequired => Some(CredProtect::UserVerificationRequired),
            CredProtectKind::UvOptionalWithList => {
                Some(CredProtect::UserVerificationOptionalWithCredentialIdList)
            }
            CredProtectKind::Any => None,
        },
    }
}

/// Whose signature metadata needs; `None` where the settings have no `[metadata]`.
///
/// # Errors
/// See [`TrustError`].
pub fn metadata_roots(config: &Config) -> Result<Option<TrustAnchors>, TrustError> {
    let Some(metadata) = &config.settings.metadata else { return Ok(None) };
    let certificates = read_certificates(&config.resolve(metadata.roots.get_ref()))?;
    Ok(Some(TrustAnchors::from_der(certificates)?))
}

/// Which machines may enrol: the TPM makers' certificates that may end an endorsement key's chain.
///
/// # Errors
/// See [`TrustError`].
pub fn enrolment(config: &Config) -> Result<EnrolmentPolicy, TrustError> {
    let path = config.resolve(config.settings.tpm.ek_roots.get_ref());
    let directory = |source| TrustError::Directory { path: path.clone(), source };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&path)
        .map_err(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(directory)?;
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("pem" | "crt" | "cer" | "der"))
    });
    files.sort();
    let mut certificates = Vec::new();
    for file in files {
        certificates.extend(read_certificates(&file)?);
    }
    Ok(EnrolmentPolicy {
        makers: TrustAnchors::from_der(certificates)?,
        danger_accept_unproven: config.settings.tpm.danger_accept_unproven,
    })
}
