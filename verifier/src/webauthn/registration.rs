//! Registrations: a new credential, and what is known of the authenticator that holds it.

use signet_evidence::binding::sha256;
use signet_evidence::webauthn::{
    Aaguid, Ceremony, ClientData, ClientDataError, CoseKey, CredProtect,
};
use signet_evidence::{CertificateThumbprint, FidoRegistration, UnixTime};
use thiserror::Error;

use super::UserVerification;
use super::attestation::{AttestationError, VerifiedAttestation};
use crate::assurance::AttestationKind;
use crate::certificate::TrustAnchors;
use crate::metadata::AttestationKeyId;

/// What a registration must answer.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedRegistration<'a> {
    /// The challenge, before base64url.
    pub challenge: &'a [u8],
    /// The relying party.
    pub rp_id: &'a str,
    /// The origin in the client data.
    pub origin: &'a str,
    /// Whether UV must be set.
    pub user_verification: UserVerification,
}

/// Why a registration is not believed. Variants stand in the order of the checks (L3 §7.1).
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum RegistrationError {
    /// `challenge` differs (step 8).
    #[error("registration answers another challenge")]
    Challenge,
    /// Client data differs in another member (steps 7, 9 to 11).
    #[error("client data is not what was asked for")]
    ClientData(#[source] ClientDataError),
    /// The attestation is not believed (steps 12, 13 and 20 to 23).
    #[error("attestation is not believed")]
    Attestation(#[source] AttestationError),
    /// `rpIdHash` differs (step 14).
    #[error("registration is for another relying party")]
    RpId,
    /// UP is clear (step 15).
    #[error("nobody touched the authenticator")]
    UserPresence,
    /// UV is clear and demanded (step 16).
    #[error("the authenticator did not verify its user")]
    UserVerification,
    /// BE or BS is set (steps 17 and 18; protocol §4.2): the credential may be on other devices.
    #[error("the credential is or may be backed up")]
    BackupEligible,
}

/// A credential that may be enrolled, if policy likes what it proved.
#[derive(Debug)]
pub struct VerifiedRegistration {
    attestation: VerifiedAttestation,
}

impl VerifiedRegistration {
    /// Checks a registration by L3 §7.1. Whether the kind of attestation, the model and the
    /// protection level are good enough is for the caller's policy.
    ///
    /// # Errors
    /// See [`RegistrationError`].
    pub fn verify(
        registration: &FidoRegistration,
        expected: &ExpectedRegistration<'_>,
        roots: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, RegistrationError> {
        use RegistrationError as E;
        let client_data = ClientData {
            ceremony: Ceremony::Registration,
            challenge: expected.challenge,
            origin: expected.origin,
        };
        client_data.check(&registration.client_data).map_err(|error| match error {
            ClientDataError::Challenge => E::Challenge,
            other => E::ClientData(other),
        })?;
        let client_data_hash = sha256(&registration.client_data);
        let object = &registration.attestation_object;
        let attestation = VerifiedAttestation::verify(object, &client_data_hash, roots, now)
            .map_err(E::Attestation)?;
        let data = attestation.authenticator_data();
        if data.rp_id_hash != sha256(expected.rp_id.as_bytes()) {
            return Err(E::RpId);
        }
        if !data.flags.user_present() {
            return Err(E::UserPresence);
        }
        let required = expected.user_verification == UserVerification::Required;
        if required && !data.flags.user_verified() {
            return Err(E::UserVerification);
        }
        if data.flags.backup_eligible() || data.flags.backup_state() {
            return Err(E::BackupEligible);
        }
        Ok(Self { attestation })
    }

    /// Id of the new credential, 1 to 1023 bytes.
    #[must_use]
    pub fn credential_id(&self) -> &[u8] {
        &self.attestation.credential().credential_id
    }

    /// Its public key, on the curve.
    #[must_use]
    pub fn public_key(&self) -> &CoseKey {
        &self.attestation.credential().public_key
    }

    /// Its signature counter.
    #[must_use]
    pub fn sign_count(&self) -> u32 {
        self.attestation.authenticator_data().sign_count
    }

    /// UV: whether the authenticator verified its user. UP is always set.
    #[must_use]
    pub fn user_verified(&self) -> bool {
        self.attestation.authenticator_data().flags.user_verified()
    }

    /// `credProtect`, if the authenticator answered it (CTAP 2.1 §12.1).
    #[must_use]
    pub fn cred_protect(&self) -> Option<CredProtect> {
        let extensions = self.attestation.authenticator_data().extensions.as_ref();
        extensions.and_then(|extensions| extensions.cred_protect)
    }

    /// How the authenticator attested itself.
    #[must_use]
    pub fn kind(&self) -> AttestationKind {
        self.attestation.kind()
    }

    /// The model it says it is: proved only where [`VerifiedRegistration::anchor`] is present and the
    /// kind is [`AttestationKind::Packed`].
    #[must_use]
    pub fn aaguid(&self) -> Aaguid {
        self.attestation.aaguid()
    }

    /// The key that attested, as metadata names U2F models.
    #[must_use]
    pub fn attestation_key(&self) -> Option<AttestationKeyId> {
        self.attestation.attestation_key()
    }

    /// Whether this is a TPM's key that may leave it.
    #[must_use]
    pub fn leaves_tpm(&self) -> bool {
        self.attestation.leaves_tpm()
    }

    /// The root that the attestation certificate leads to.
    #[must_use]
    pub fn anchor(&self) -> Option<CertificateThumbprint> {
        self.attestation.anchor()
    }
}
