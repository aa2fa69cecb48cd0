//! Keys of the machine's TPM that stand in for a security key, made by the daemon's own TPM module; the
//! part that would talk to fprintd is played by a test, which says yes.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use signet_daemon::tpm::{CertifiedUserKey, PinValue, ReleaseRequest, Tpm, UserKey};
use signet_evidence::binding::{platform_digest, platform_registration_challenge};
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{
    EccCurve, EccParameters, HashAlgorithm, Name, ObjectAttributes, PublicParameters, Scheme,
    Symmetric, TpmtPublic,
};
use signet_evidence::{FingerFacts, PlatformAssertion, PlatformKeyId, PlatformRegistration};

use crate::attester::Fault;

/// The PIN that the TPM checks.
pub const TPM_PIN: &str = "quiet harbour 58";

/// Makes and uses platform keys.
pub struct PlatformKeys {
    tpm: Tpm,
    authorisation: Arc<EcdsaKeyPair>,
}

/// A key with the registration that was made for it.
pub struct MadeKey {
    /// The key's blob.
    pub key: UserKey,
    /// Its registration.
    pub registration: PlatformRegistration,
}

impl MadeKey {
    /// Its public area.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn public(&self) -> Result<TpmtPublic, Fault> {
        Ok(TpmtPublic::parse(&self.registration.public)?)
    }

    fn id(&self) -> Result<PlatformKeyId, Fault> {
        id_of(&self.key)
    }
}

fn id_of(key: &UserKey) -> Result<PlatformKeyId, Fault> {
    let name = Name::of(&TpmtPublic::parse(&key.public)?);
    Ok(PlatformKeyId::from_bytes(name.as_bytes()).ok_or("name")?)
}

impl PlatformKeys {
    /// Keys in this TPM, fingerprint keys released by a key made for the purpose.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn new(tpm: Tpm) -> Result<Self, Fault> {
        Ok(Self { tpm, authorisation: Arc::new(key_pair()?) })
    }

    /// `TPMT_PUBLIC` of the key that releases fingerprint keys.
    pub fn authorisation_public(&self) -> Vec<u8> {
        public_area(self.authorisation.public_key().as_ref())
    }

    /// A new key behind [`TPM_PIN`], registered with `statement`.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn register_pin(&self, statement: &[u8]) -> Result<MadeKey, Fault> {
        let challenge = platform_registration_challenge(statement);
        let made = self.tpm.create_pin_key(PinValue::of(TPM_PIN), challenge).await?;
        Ok(registered(made, None))
    }

    /// A new key that a match releases, registered with `statement`.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn register_finger(&self, statement: &[u8]) -> Result<MadeKey, Fault> {
        let challenge = platform_registration_challenge(statement);
        let public = self.authorisation_public();
        let made = self.tpm.create_released_key(public.clone(), challenge).await?;
        Ok(registered(made, Some(public)))
    }

    /// `key` signs `statement`, with the right PIN.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn assert_pin(
        &self,
        key: &MadeKey,
        statement: &[u8],
    ) -> Result<PlatformAssertion, Fault> {
        let (pin, digest) = (PinValue::of(TPM_PIN), platform_digest(statement));
        let signature = self.tpm.sign_with_pin(key.key.clone(), pin, digest).await?;
        Ok(PlatformAssertion { key: key.id()?, signature })
    }

    /// `key` signs `statement`, released as after a match.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn assert_finger(
        &self,
        key: &MadeKey,
        statement: &[u8],
    ) -> Result<PlatformAssertion, Fault> {
        let authorisation = self.authorisation.clone();
        let releaser = Box::new(move |request: &ReleaseRequest| {
            let message = request.message().ok()?;
            let signature = authorisation.sign(&SystemRandom::new(), &message).ok()?;
            signature.as_ref().try_into().ok()
        });
        let (public, digest) = (self.authorisation_public(), platform_digest(statement));
        let signature = self.tpm.sign_released(key.key.clone(), digest, public, releaser).await?;
        Ok(PlatformAssertion { key: key.id()?, signature })
    }
}

/// The reader and the finger of the fixtures.
pub fn finger_facts() -> FingerFacts {
    FingerFacts {
        driver: "Goodix MOC Fingerprint Sensor".into(),
        fingers: signet_evidence::finger_set_digest(["right-index-finger", "left-thumb"]),
    }
}

/// A key in software.
///
/// # Errors
/// [`Fault`].
pub fn key_pair() -> Result<EcdsaKeyPair, Fault> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    Ok(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?)
}

/// `TPMT_PUBLIC` of a signing key outside the TPM.
pub fn public_area(point: &[u8]) -> Vec<u8> {
    let (x, y) = point[1..].split_at(32);
    TpmtPublic {
        name_algorithm: HashAlgorithm::Sha256,
        attributes: ObjectAttributes::SIGN.union(ObjectAttributes::USER_WITH_AUTH),
        auth_policy: Vec::new(),
        parameters: PublicParameters::Ecc(EccParameters {
            symmetric: Symmetric::Null,
            scheme: Scheme::Ecdsa(HashAlgorithm::Sha256),
            curve: EccCurve::P256,
            x: x.to_vec(),
            y: y.to_vec(),
        }),
    }
    .to_bytes()
}

fn registered(made: CertifiedUserKey, authorisation_key: Option<Vec<u8>>) -> MadeKey {
    let certification = SignedAttest { attest: made.attest, signature: made.signature };
    let public = made.key.public.clone();
    let registration = PlatformRegistration { public, certification, authorisation_key };
    MadeKey { key: made.key, registration }
}
