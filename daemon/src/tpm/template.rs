//! Public areas of the keys that we ask the TPM for.

use tss_esapi::Result;
use tss_esapi::abstraction::AsymmetricAlgorithmSelection;
use tss_esapi::abstraction::ek::create_ek_public_from_default_template_2;
use tss_esapi::attributes::{ObjectAttributes, ObjectAttributesBuilder};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::structures::{
    Digest, EccParameter, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme, Public,
    PublicBuilder, PublicEccParametersBuilder, SignatureScheme, SymmetricDefinitionObject,
};

use super::endorsement::EndorsementKind;

/// The endorsement key of the TCG EK Credential Profile 2.5: templates L-1 and L-2 (appendix B.3)
/// and H-3 (B.4).
pub(super) fn endorsement_key(kind: EndorsementKind) -> Result<Public> {
    let algorithm = match kind {
        EndorsementKind::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        EndorsementKind::EccP256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        EndorsementKind::EccP384 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
    };
    create_ek_public_from_default_template_2(algorithm, None)
}

/// The AK: restricted, so that it signs nothing but what the TPM made itself. `salt` is the x
/// coordinate of `unique`, which goes into the derivation of a primary key.
pub(super) fn attestation_key(salt: &[u8; 32]) -> Result<Public> {
    let attributes = signing_attributes().with_restricted(true).build()?;
    let unique = EccPoint::new(
        EccParameter::try_from(salt.as_slice())?,
        EccParameter::try_from([0; 32].as_slice())?,
    );
    p256(attributes, ecdsa_sha256(), SymmetricDefinitionObject::Null, unique)
}

/// The TLS key: signs any digest.
pub(super) fn tls_key() -> Result<Public> {
    let attributes = signing_attributes().build()?;
    p256(attributes, ecdsa_sha256(), SymmetricDefinitionObject::Null, EccPoint::default())
}

/// A user key: released by `policy` alone, and wrong PINs count (no `noDA`).
pub(super) fn user_key(policy: &[u8; 32]) -> Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_sign_encrypt(true)
        .build()?;
    builder(attributes, ecdsa_sha256(), SymmetricDefinitionObject::Null, EccPoint::default())?
        .with_auth_policy(Digest::try_from(policy.as_slice())?)
        .build()
}

/// The storage root key, parent of the TLS key and the user keys: the P-256 template of the TCG TPM v2.0
/// Provisioning Guidance.
pub(super) fn storage_root_key() -> Result<Public> {
    let attributes = bound_attributes().with_restricted(true).with_decrypt(true).build()?;
    let unique = EccPoint::new(
        EccParameter::try_from([0; 32].as_slice())?,
        EccParameter::try_from([0; 32].as_slice())?,
    );
    p256(attributes, EccScheme::Null, SymmetricDefinitionObject::AES_128_CFB, unique)
}

/// ECDSA with SHA-256, as a parameter of `TPM2_Sign`.
pub(super) fn signature_scheme() -> SignatureScheme {
    SignatureScheme::EcDsa { hash_scheme: HashScheme::new(HashingAlgorithm::Sha256) }
}

fn ecdsa_sha256() -> EccScheme {
    EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256))
}

/// Made in this TPM, never leaves it, used with an empty password, outside the lockout counting.
fn bound_attributes() -> ObjectAttributesBuilder {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
}

fn signing_attributes() -> ObjectAttributesBuilder {
    bound_attributes().with_sign_encrypt(true)
}

fn p256(
    attributes: ObjectAttributes,
    scheme: EccScheme,
    symmetric: SymmetricDefinitionObject,
    unique: EccPoint,
) -> Result<Public> {
    builder(attributes, scheme, symmetric, unique)?.build()
}

fn builder(
    attributes: ObjectAttributes,
    scheme: EccScheme,
    symmetric: SymmetricDefinitionObject,
    unique: EccPoint,
) -> Result<PublicBuilder> {
    let parameters = PublicEccParametersBuilder::new()
        .with_symmetric(symmetric)
        .with_ecc_scheme(scheme)
        .with_curve(EccCurve::NistP256)
        .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
        .with_is_signing_key(attributes.sign_encrypt())
        .with_is_decryption_key(attributes.decrypt())
        .with_restricted(attributes.restricted())
        .build()?;
    Ok(PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters)
        .with_ecc_unique_identifier(unique))
}
