//! Assertions: a human was present at a registered authenticator, for exactly this challenge.

use signet_evidence::FidoAssertion;
use signet_evidence::binding::sha256;
use signet_evidence::webauthn::{
    AuthenticatorData, AuthenticatorDataError, Ceremony, ClientData, ClientDataError, CoseKey,
};
use thiserror::Error;

use super::UserVerification;
use crate::ecdsa::P256PublicKey;

/// What an assertion must answer.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedAssertion<'a> {
    /// Id of the registered credential.
    pub credential_id: &'a [u8],
    /// Its public key.
    pub public_key: &'a CoseKey,
    /// Its signature counter as last seen.
    pub sign_count: u32,
    /// The challenge, before base64url.
    pub challenge: &'a [u8],
    /// The relying party.
    pub rp_id: &'a str,
    /// The origin in the client data.
    pub origin: &'a str,
    /// Whether UV must be set.
    pub user_verification: UserVerification,
}

/// Why an assertion is not believed. Variants stand in the order of the checks (L3 §7.2).
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AssertionError {
    /// Made by another credential than the one looked up (step 6).
    #[error("assertion is by another credential")]
    CredentialMismatch,
    /// `challenge` differs (step 11).
    #[error("assertion answers another challenge")]
    Challenge,
    /// Client data differs in another member (steps 10, 12 to 14).
    #[error("client data is not what was asked for")]
    ClientData(#[source] ClientDataError),
    /// Authenticator data is malformed.
    #[error("authenticator data is malformed")]
    AuthenticatorData(#[source] AuthenticatorDataError),
    /// `rpIdHash` differs (step 15).
    #[error("assertion is for another relying party")]
    RpId,
    /// UP is clear (step 16).
    #[error("nobody touched the authenticator")]
    UserPresence,
    /// UV is clear and demanded (step 17).
    #[error("the authenticator did not verify its user")]
    UserVerification,
    /// BE or BS is set (steps 18 and 19; protocol §4.2): the credential may be on other devices.
    #[error("the credential is or may be backed up")]
    BackupEligible,
    /// Attested credential data, which only registrations carry (L3 §6.1).
    #[error("assertion carries attested credential data")]
    AttestedCredentialData,
    /// The registered public key is not on the curve: it cannot have come through registration.
    #[error("registered credential key is not a point on P-256")]
    PublicKey,
    /// The credential did not sign this (step 21).
    #[error("the credential did not sign this assertion")]
    SignatureInvalid,
    /// The counter did not advance (step 22): the authenticator may have been cloned.
    #[error("signature counter went from {stored} to {found}")]
    CounterRegressed {
        /// The counter last seen.
        stored: u32,
        /// The counter in this assertion.
        found: u32,
    },
}

/// An assertion by a registered credential over the expected challenge.
#[derive(Debug)]
pub struct VerifiedAssertion {
    credential_id: Vec<u8>,
    user_verified: bool,
    sign_count: u32,
}

impl VerifiedAssertion {
    /// Checks an assertion by L3 §7.2, in the order of its steps.
    ///
    /// # Errors
    /// See [`AssertionError`].
    pub fn verify(
        assertion: &FidoAssertion,
        expected: &ExpectedAssertion<'_>,
    ) -> Result<Self, AssertionError> {
        use AssertionError as E;
        if assertion.credential_id != expected.credential_id {
            return Err(E::CredentialMismatch);
        }
        let client_data = ClientData {
            ceremony: Ceremony::Authentication,
            challenge: expected.challenge,
            origin: expected.origin,
        };
        client_data.check(&assertion.client_data).map_err(|error| match error {
            ClientDataError::Challenge => E::Challenge,
            other => E::ClientData(other),
        })?;
        let data = AuthenticatorData::parse(&assertion.authenticator_data)
            .map_err(E::AuthenticatorData)?;
        if data.rp_id_hash != sha256(expected.rp_id.as_bytes()) {
            return Err(E::RpId);
        }
        if !data.flags.user_present() {
            return Err(E::UserPresence);
        }
        let user_verified = data.flags.user_verified();
        if expected.user_verification == UserVerification::Required && !user_verified {
            return Err(E::UserVerification);
        }
        if data.flags.backup_eligible() || data.flags.backup_state() {
            return Err(E::BackupEligible);
        }
        if data.attested_credential.is_some() {
            return Err(E::AttestedCredentialData);
        }
        let key = P256PublicKey::from_uncompressed_point(expected.public_key.uncompressed_point())
            .map_err(|_| E::PublicKey)?;
        let signed = [&assertion.authenticator_data[..], &sha256(&assertion.client_data)].concat();
        key.verify_der(&signed, &assertion.signature).map_err(|_| E::SignatureInvalid)?;
        let (stored, found) = (expected.sign_count, data.sign_count);
        // An authenticator without a counter says 0 for ever (step 22).
        if (stored, found) != (0, 0) && found <= stored {
            return Err(E::CounterRegressed { stored, found });
        }
        Ok(Self {
            credential_id: assertion.credential_id.clone(),
            user_verified,
            sign_count: found,
        })
    }

    /// The credential that signed.
    #[must_use]
    pub fn credential_id(&self) -> &[u8] {
        &self.credential_id
    }

    /// UV: whether the authenticator verified its user, by PIN or biometric. UP is always set.
    #[must_use]
    pub fn user_verified(&self) -> bool {
        self.user_verified
    }

    /// The counter to store.
    #[must_use]
    pub fn sign_count(&self) -> u32 {
        self.sign_count
    }
}
