//! The roots that the settings name, as the verifier wants them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use signet_evidence::UnixTime;
use signet_evidence::webauthn::{Aaguid, CredProtect};
use signet_verifier::ModelVerification;
use signet_verifier::assurance::AuthenticatorModel;
use signet_verifier::boot::{MachinePolicy, PolicyError};
use signet_verifier::certificate::{AnchorError, TrustAnchors};
use signet_verifier::enrolment::EnrolmentPolicy;
use signet_verifier::policy::{
    AppraisalPolicy, AttestationRoot, BootPolicy, RegistrationPolicy, RegistrationRules,
};
use thiserror::Error;

use crate::config::{
    AaguidText, BootMode, Config, CredProtectKind, StalePolicy, UserVerificationKind,
};
use crate::keys::{CaRing, KeyError, Keys, read_certificates};
use crate::makers::{MakerCertificates, MakersError};

/// A root cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A certificate file.
    #[error("a root certificate cannot be read")]
    File(#[from] KeyError),
    /// A directory of the settings.
    #[error("cannot list {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A machine policy.
    #[error("{} is not a usable machine policy: correct it, or move it out of the directory", path.display())]
    MachinePolicy {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        source: Box<PolicyError>,
    },
    /// Two machine policies of one name: records would not say which.
    #[error("{} has the name {name:?} of another machine policy; give it one of its own", path.display())]
    MachinePolicyName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TPM makers' certificates.
    #[error("the TPM makers' certificates cannot be used")]
    Makers(#[from] MakersError),
    /// A certificate that cannot be an anchor.
    #[error("a root certificate cannot be used")]
    Anchor(#[from] AnchorError),
}

/// What the certificates of machines and of attestation keys lead to at `now`.
///
/// # Errors
/// [`AnchorError`].
pub fn anchors(keys: &Keys, now: UnixTime) -> Result<(TrustAnchors, TrustAnchors), AnchorError> {
    let of = |ca: &CaRing| TrustAnchors::from_der(ca.trusted(now));
    Ok((of(&keys.device_ca)?, of(&keys.ak_ca)?))
}

/// What evidence must show at `now`, by the settings.
///
/// # Errors
/// See [`TrustError`].
pub fn appraisal(
    config: &Config,
    keys: &Keys,
    now: UnixTime,
) -> Result<AppraisalPolicy, TrustError> {
    let settings = &config.settings;
    let (device_anchors, ak_anchors) = anchors(keys, now)?;
    Ok(AppraisalPolicy {
        audience: settings.issuer.to_string(),
        trust_domain: settings.trust_domain.to_string(),
        device_anchors,
        ak_anchors,
        chains: Arc::default(),
        rp_id: settings.rp_id.to_string(),
        required_pcrs: settings.tpm.required_pcrs.get_ref().clone(),
        boot: match settings.tpm.boot {
            BootMode::Baseline => BootPolicy::Enforce,
            BootMode::Record => BootPolicy::Monitor,
        },
        machines: machine_policies(config)?.into(),
        registration: registration(config)?,
    })
}

/// The policies about what machines may boot, in the order of their files' names.
///
/// # Errors
/// See [`TrustError`].
pub fn machine_policies(config: &Config) -> Result<Vec<MachinePolicy>, TrustError> {
    let Some(machines) = &config.settings.machines else { return Ok(Vec::new()) };
    let directory = config.resolve(machines.policies.get_ref());
    let mut policies: Vec<MachinePolicy> = Vec::new();
    for path in files_in(&directory, &["toml"])? {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| TrustError::Unreadable { path: path.clone(), source })?;
        let policy = MachinePolicy::from_toml(&text).map_err(|source| {
            TrustError::MachinePolicy { path: path.clone(), source: Box::new(source) }
        })?;
        if policies.iter().any(|other| other.name == policy.name) {
            return Err(TrustError::MachinePolicyName { path, name: policy.name });
        }
        policies.push(policy);
    }
    Ok(policies)
}

/// The files of these extensions in a directory, in the order of their names.
fn files_in(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, TrustError> {
    let unlisted = |source| TrustError::Directory { path: directory.to_owned(), source };
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(unlisted)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unlisted)?;
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    });
    files.sort();
    Ok(files)
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

/// Which machines may enrol: the TPM makers' certificates that an endorsement key's chain may lead to.
///
/// # Errors
/// See [`TrustError`].
pub fn enrolment(config: &Config) -> Result<EnrolmentPolicy, TrustError> {
    let directory = config.resolve(config.settings.tpm.ek_roots.get_ref());
    let makers = MakerCertificates::load(&directory)?;
    Ok(EnrolmentPolicy {
        makers: TrustAnchors::from_der(makers.anchors())?,
        intermediates: makers.intermediates(),
        danger_accept_unproven: config.settings.tpm.danger_accept_unproven,
    })
}
