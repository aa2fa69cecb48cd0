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
    PublicBuilder, PublicEccParametersBuilder, PublicKeyRsa, PublicRsaParametersBuilder,
    RsaExponent, SignatureScheme, SymmetricDefinitionObject,
};

use super::endorsement::EndorsementKind;

/// PolicyB of the high range with SHA-256 (EK Credential Profile 2.5 appendix B.6.5); the library has the
/// others.
const POLICY_B_SHA256: [u8; 32] = [
    0xca, 0x3d, 0x0a, 0x99, 0xa2, 0xb9, 0x39, 0x06, 0xf7, 0xa3, 0x34, 0x24, 0x14, 0xef, 0xcf, 0xb3,
    0xa3, 0x85, 0xd4, 0x4c, 0xd1, 0xfd, 0x45, 0x90, 0x89, 0xd1, 0x9b, 0x50, 0x71, 0xc0, 0xb7, 0xa0,
];

/// The endorsement key of the TCG EK Credential Profile 2.5: templates L-1 and L-2 (appendix B.3), H-1
/// to H-3 (B.4).
pub(super) fn endorsement_key(kind: EndorsementKind) -> Result<Public> {
    let algorithm = match kind {
        EndorsementKind::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        EndorsementKind::EccP256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        EndorsementKind::EccP384 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
        EndorsementKind::Rsa2048High => {
            return Ok(Public::Rsa {
                object_attributes: high_range_attributes()?,
                name_hashing_algorithm: HashingAlgorithm::Sha256,
                auth_policy: Digest::try_from(POLICY_B_SHA256.as_slice())?,
                parameters: PublicRsaParametersBuilder::new_restricted_decryption_key(
                    SymmetricDefinitionObject::AES_128_CFB,
                    RsaKeyBits::Rsa2048,
                    RsaExponent::default(),
                )
                .build()?,
                unique: PublicKeyRsa::default(),
            });
        }
        EndorsementKind::EccP256High => {
            return builder(
                high_range_attributes()?,
                EccScheme::Null,
                SymmetricDefinitionObject::AES_128_CFB,
                EccPoint::default(),
            )?
            .with_auth_policy(Digest::try_from(POLICY_B_SHA256.as_slice())?)
            .build();
        }
    };
    create_ek_public_from_default_template_2(algorithm, None)
}

/// The template with a maker's nonce: at the front of `unique`, which is 256 bytes for RSA 2048 and two
/// coordinates of 32 bytes for P-256, the rest zeros. `None` when the nonce is longer.
pub(super) fn with_nonce(template: Public, nonce: &[u8]) -> Option<Public> {
    let padded = |length: usize| {
        let mut bytes = nonce.to_vec();
        bytes.resize(length.max(nonce.len()), 0);
        (bytes.len() == length).then_some(bytes)
    };
    Some(match template {
        Public::Rsa {
            object_attributes, name_hashing_algorithm, auth_policy, parameters, ..
        } => {
            let unique = PublicKeyRsa::try_from(padded(256)?).ok()?;
            Public::Rsa {
                object_attributes,
                name_hashing_algorithm,
                auth_policy,
                parameters,
                unique,
            }
        }
        Public::Ecc {
            object_attributes, name_hashing_algorithm, auth_policy, parameters, ..
        } => {
            let x = EccParameter::try_from(padded(32)?).ok()?;
            let unique = EccPoint::new(x, EccParameter::try_from(vec![0; 32]).ok()?);
            Public::Ecc {
                object_attributes,
                name_hashing_algorithm,
                auth_policy,
                parameters,
                unique,
            }
        }
        other => other,
    })
}

fn high_range_attributes() -> Result<ObjectAttributes> {
    ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_admin_with_policy(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()
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

/// The TLS key: signs any digest; with a policy, only while that is fulfilled.
pub(super) fn tls_key(policy: Option<Digest>) -> Result<Public> {
    let attributes = signing_attributes().with_user_with_auth(policy.is_none()).build()?;
    builder(attributes, ecdsa_sha256(), SymmetricDefinitionObject::Null, EccPoint::default())?
        .with_auth_policy(policy.unwrap_or_default())
        .build()
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

/// Whether a key was made from this template, whatever its `unique`.
pub(super) fn fits(key: &Public, template: &Public) -> bool {
    let without_unique = |public: &Public| match public {
        Public::Ecc {
            object_attributes, name_hashing_algorithm, auth_policy, parameters, ..
        } => Some((*object_attributes, *name_hashing_algorithm, auth_policy.clone(), *parameters)),
        _ => None,
    };
    without_unique(template).is_some_and(|wanted| without_unique(key) == Some(wanted))
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
