//! The roots that the settings name, as the verifier wants them.

use std::path::PathBuf;

use signet_evidence::webauthn::Aaguid;
use signet_verifier::ModelVerification;
use signet_verifier::assurance::AuthenticatorModel;
use signet_verifier::certificate::{AnchorError, TrustAnchors};
use signet_verifier::enrolment::EnrolmentPolicy;
use signet_verifier::policy::{AppraisalPolicy, AttestationRoot, BootPolicy, RegistrationPolicy};
use thiserror::Error;

use crate::config::{BootMode, Config, UserVerificationKind};
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
    let danger_accept_unattested = config.settings.registration.danger_accept_unattested;
    Ok(RegistrationPolicy::new(roots, danger_accept_unattested)?)
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
