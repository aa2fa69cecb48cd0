//! Credential activation: a secret that only a TPM which holds both EK and AK can open.
//!
//! `TPM2_MakeCredential` in software (Part 1 §24, Part 3 §12.6), so that the verifier links no TPM
//! library.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use aws_lc_rs::{agreement, hmac, rand};
use signet_evidence::tpm::{
    EccCurve, EccParameters, HashAlgorithm, Name, PublicParameters, RsaParameters, Symmetric,
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::attributes::EndorsementKey;

/// Label of all seed exchanges for credentials (Part 1 §24.4).
const IDENTITY: &str = "IDENTITY";

/// What `TPM2_ActivateCredential` takes, each without its outer `TPM2B` size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationCredential {
    /// `TPMS_ID_OBJECT` (Part 2 §12.4.2): HMAC and encrypted secret.
    pub credential_blob: Vec<u8>,
    /// `TPMU_ENCRYPTED_SECRET` (Part 2 §11.4.2): the seed, for the EK alone.
    pub encrypted_secret: Vec<u8>,
}

/// Why no credential was made.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CredentialError {
    /// The secret is empty, or longer than the EK's name algorithm's digest (Part 3 §12.6).
    #[error("secret of {length} bytes where 1 to {limit} are allowed")]
    SecretLength {
        /// Its length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// The EK's public key is not one: its point is not on the curve, or its modulus no modulus.
    #[error("endorsement key is not a valid public key")]
    PublicKey,
    /// The cryptographic library refused to work.
    #[error("cryptographic library failed")]
    Library,
}

/// Wraps `secret` so that it opens only in the TPM that holds `ek` and a key named `ak_name`.
///
/// `seed` is fresh random bytes, used with RSA endorsement keys; with ECC the seed comes out of an
/// agreement with an ephemeral key of the library's making.
///
/// # Errors
/// See [`CredentialError`].
pub fn make_credential(
    ek: &EndorsementKey,
    ak_name: &Name,
    secret: &[u8],
    seed: &Zeroizing<[u8; 32]>,
) -> Result<ActivationCredential, CredentialError> {
    let hash = ek.public().name_algorithm;
    let (length, limit) = (secret.len(), hash.digest_length());
    if length == 0 || length > limit {
        return Err(CredentialError::SecretLength { length, limit });
    }
    let (seed, encrypted_secret, symmetric) = match &ek.public().parameters {
        PublicParameters::Rsa(rsa) => {
            (Zeroizing::new(seed.to_vec()), encrypt_seed(rsa, seed)?, rsa.symmetric)
        }
        PublicParameters::Ecc(ecc) => {
            let (seed, point) = agree_on_seed(ecc, hash)?;
            (seed, point, ecc.symmetric)
        }
    };
    let credential_blob = protect(hash, symmetric, &seed, ak_name, secret)?;
    Ok(ActivationCredential { credential_blob, encrypted_secret })
}

/// RSA: the seed under OAEP with the label `IDENTITY\0` (Part 1 §B.10.4).
fn encrypt_seed(rsa: &RsaParameters, seed: &[u8; 32]) -> Result<Vec<u8>, CredentialError> {
    let exponent = rsa.public_exponent().to_be_bytes();
    let start = exponent.iter().position(|byte| *byte != 0).unwrap_or(0);
    let key = PublicKeyComponents { n: rsa.modulus.as_slice(), e: &exponent[start..] };
    let key: PublicEncryptingKey = key.try_into().map_err(|_| CredentialError::PublicKey)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| CredentialError::PublicKey)?;
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA256_MGF1SHA256, seed, &mut ciphertext, Some(b"IDENTITY\0"))
        // The library looks at the modulus only now; an even one, say, is none.
        .map_err(|_| CredentialError::PublicKey)?
        .len();
    ciphertext.truncate(length);
    Ok(ciphertext)
}

/// ECC: one-pass ECDH with an ephemeral key, then KDFe (Part 1 §C.6.1, §C.6.4). Returns the seed and
/// the ephemeral `TPMS_ECC_POINT`.
fn agree_on_seed(
    ek: &EccParameters,
    hash: HashAlgorithm,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), CredentialError> {
    let algorithm = match ek.curve {
        EccCurve::P256 => &agreement::ECDH_P256,
        EccCurve::P384 => &agreement::ECDH_P384,
    };
    let ephemeral = agreement::EphemeralPrivateKey::generate(algorithm, &rand::SystemRandom::new())
        .map_err(|_| CredentialError::Library)?;
    let public = ephemeral.compute_public_key().map_err(|_| CredentialError::Library)?;
    let ek_point = ek.uncompressed_point();
    let length = ek.curve.coordinate_length();
    let (Some(x), Some(y), Some(ek_x)) = (
        public.as_ref().get(1..=length),
        public.as_ref().get(1 + length..),
        ek_point.get(1..=length),
    ) else {
        return Err(CredentialError::Library);
    };
    let seed = agreement::agree_ephemeral(
        ephemeral,
        agreement::UnparsedPublicKey::new(algorithm, &ek_point),
        CredentialError::PublicKey,
        |z| Ok(kdf_e(hash, z, IDENTITY, x, ek_x, hash.digest_length())),
    )?;
    let mut point = Vec::new();
    put_sized(&mut point, x);
    put_sized(&mut point, y);
    Ok((seed, point))
}

/// The blob: the secret encrypted under the seed, and an HMAC that binds the AK's name
/// (Part 1 §24.4 and §24.5).
fn protect(
    hash: HashAlgorithm,
    symmetric: Symmetric,
    seed: &[u8],
    ak_name: &Name,
    secret: &[u8],
) -> Result<Vec<u8>, CredentialError> {
    let (algorithm, key_length) = match symmetric {
        Symmetric::AesCfb { key_bits: 128 } => (&AES_128, 16),
        Symmetric::AesCfb { key_bits: 192 } => (&AES_192, 24),
        Symmetric::AesCfb { key_bits: 256 } => (&AES_256, 32),
        Symmetric::AesCfb { .. } | Symmetric::Null => return Err(CredentialError::Library),
    };
    let key = kdf_a(hash, seed, "STORAGE", ak_name.as_bytes(), &[], key_length);
    // Room for all of it, so that no copy is left behind by growing.
    let mut identity = Zeroizing::new(Vec::with_capacity(2 + secret.len()));
    put_sized(&mut identity, secret);
    // The key is used once, so the TPM's all-zero IV is fresh (Part 1 §24.4).
    UnboundCipherKey::new(algorithm, &key)
        .and_then(EncryptingKey::cfb128)
        .and_then(|key| {
            let iv = EncryptionContext::Iv128(FixedLength::from([0; 16]));
            key.less_safe_encrypt(&mut identity, iv)
        })
        .map_err(|_| CredentialError::Library)?;
    let hmac_key = kdf_a(hash, seed, "INTEGRITY", &[], &[], hash.digest_length());
    let integrity = hmac_of(hash, &hmac_key, &[&identity, ak_name.as_bytes()]);
    let mut blob = Vec::new();
    put_sized(&mut blob, integrity.as_ref());
    blob.extend_from_slice(&identity);
    Ok(blob)
}

/// `KDFa` (Part 1 §11.4.10.2): SP 800-108 in counter mode with HMAC.
fn kdf_a(
    hash: HashAlgorithm,
    key: &[u8],
    label: &str,
    context_u: &[u8],
    context_v: &[u8],
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let bits = bit_count(length);
    expand(length, |counter| {
        let parts = [&counter[..], label.as_bytes(), &[0], context_u, context_v, &bits];
        hmac_of(hash, key, &parts).as_ref().to_vec()
    })
}

/// `KDFe` (Part 1 §11.4.10.3): SP 800-56A concatenation of hashes.
fn kdf_e(
    hash: HashAlgorithm,
    z: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
    length: usize,
) -> Zeroizing<Vec<u8>> {
    expand(length, |counter| hash.digest(&[&counter, z, label.as_bytes(), &[0], party_u, party_v]))
}

/// Blocks with the counters 1, 2, … until there are `length` bytes.
fn expand(length: usize, block: impl Fn([u8; 4]) -> Vec<u8>) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(length + 64));
    let mut counter = 1_u32;
    while out.len() < length {
        out.extend_from_slice(&Zeroizing::new(block(counter.to_be_bytes())));
        counter = counter.wrapping_add(1);
    }
    out.truncate(length);
    out
}

fn bit_count(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes * 8).unwrap_or(u32::MAX).to_be_bytes()
}

fn hmac_of(hash: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let algorithm = match hash {
        HashAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HashAlgorithm::Sha384 => hmac::HMAC_SHA384,
        HashAlgorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

/// Appends a `TPM2B`; everything here is a digest, a coordinate or a bounded secret.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_evidence::thumbprint::hex;

    fn unhex(text: &str) -> Vec<u8> {
        signet_evidence::thumbprint::unhex(text).unwrap()
    }

    /// Made with Python's hmac module from the formula of SP 800-108 in counter mode.
    #[test]
    fn kdf_a_by_another_implementation() {
        let key: Vec<u8> = (0..32).collect();
        let name = [&[0x00, 0x0b][..], &[0x11; 32]].concat();
        let derived = kdf_a(HashAlgorithm::Sha256, &key, "STORAGE", &name, &[], 16);
        assert_eq!(hex(&derived), "4b6977df7782a6d0312cc5f537456667");
        let (u, v) = ([0x01; 16], [0x02; 16]);
        let derived = kdf_a(HashAlgorithm::Sha256, &[0x0b; 32], "ATH", &u, &v, 32);
        let expected = "63591fea5c8a26cee98e509a3cd1ba3b4e3c079f7014fc56e5805175d15e292b";
        assert_eq!(hex(&derived), expected);
        let key: Vec<u8> = (0..48).collect();
        let derived = kdf_a(HashAlgorithm::Sha384, &key, "INTEGRITY", &[], &[], 100);
        assert_eq!(
            hex(&derived),
            "d134dbb2899444b2a120aa48b37b2fd24cb776671e0f7aefcdcb59e9a2ac509c03dae4c10b65bb5064353efb\
             a272091444b0a3dd0bbdc5de8c43bbc23c654c6dd2ac0e5395e498e6a492e5d1f588957b8702c7ee1090575a\
             d3a89f62fbb4f9ed464cea63"
        );
    }

    /// chrisfenner/tpm-test-vectors, vectors/kdfe.json at 1c886f6c: cases 35 and 38, made with go-tpm.
    #[test]
    fn kdf_e_by_go_tpm() {
        let derived = kdf_e(
            HashAlgorithm::Sha256,
            &unhex("8995a6318a0217c7c7bf543f50da29016c4ff2a1ea5daf54ebcb00"),
            "INTEGRITY",
            &unhex("8852f14d8e9b68"),
            &unhex("74ff"),
            42,
        );
        let expected =
            "92343ef558feb95fd14838f9ca39c8618598a7eeb31af7fc276030b8c3ff326d4870f190e54abbec9da4";
        assert_eq!(hex(&derived), expected);
        let derived = kdf_e(
            HashAlgorithm::Sha256,
            &[0],
            "OBFUSCATE",
            &unhex("ebcb3cd4a002941ed496ef1d32a70b0b7f6f05b8a51803d5a9ff9b"),
            &unhex("a1f79a7ee2beee21e2bfaee67769874687bfe21b2468fc8e721b6e967e12ff"),
            62,
        );
        assert_eq!(
            hex(&derived),
            "dcd14d72e0d5d8ec15b5ea15ae060e02f0e042f3af7efbd73650bb4457d73b060ef8f78bdf8cea099fe98fad\
             6359bcfe92c1c6be8a157c1064c85ada3ad2"
        );
    }
}
