//! Attestation: what an authenticator can prove about its own model (L3 §8).

mod key_description;
mod tpm;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use signet_evidence::binding::Sha256;
use signet_evidence::webauthn::{
    Aaguid, AttestationObject, AttestationObjectError, AttestationStatement,
    AttestedCredentialData, AuthenticatorData, AuthenticatorDataError, COSE_ALG_ES256,
    PackedStatement, U2fStatement,
};
use signet_evidence::{CertificateThumbprint, UnixTime};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Version};

use crate::assurance::AttestationKind;
use crate::certificate::{Certificate, CertificateError, PathError, TrustAnchors, VerifiedPath};
use crate::ecdsa::P256PublicKey;
use crate::metadata::AttestationKeyId;

pub use key_description::PlatformStatementError;
pub use tpm::TpmStatementError;

/// `id-fido-gen-ce-aaguid`, 1.3.6.1.4.1.45724.1.1.4 (L3 §8.2.1), content octets.
const OID_AAGUID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0xe5, 0x1c, 1, 1, 4];

/// Why an attestation is not believed. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AttestationError {
    /// The attestation object is malformed, or of a format that is not known here.
    #[error("attestation object is not taken")]
    Object(#[source] AttestationObjectError),
    /// Authenticator data is malformed, or its credential is not ES256.
    #[error("authenticator data is not taken")]
    AuthenticatorData(#[source] AuthenticatorDataError),
    /// A registration without attested credential data (L3 §6.1).
    #[error("authenticator data holds no credential")]
    CredentialMissing,
    /// The credential public key is not on the curve.
    #[error("credential public key is not a point on P-256")]
    CredentialKey,
    /// The statement is signed with another algorithm than ES256, or RS256 for `tpm`.
    #[error("attestation algorithm {0} is not taken")]
    Algorithm(i64),
    /// The attestation certificate cannot be read, or its key is not on P-256.
    #[error("attestation certificate is not taken")]
    Certificate(#[source] CertificateError),
    /// A `tpm` statement (L3 §8.3).
    #[error("tpm statement is not believed")]
    Tpm(#[source] TpmStatementError),
    /// An `android-key` or `apple` statement (L3 §8.4, §8.8).
    #[error("statement of a platform is not believed")]
    Platform(#[source] PlatformStatementError),
    /// The attestation signature does not verify (L3 §8.2, §8.6).
    #[error("attestation signature does not verify")]
    SignatureInvalid,
    /// The attestation certificate breaks L3 §8.2.1: version, subject or basic constraints.
    #[error("attestation certificate breaks the rules of WebAuthn L3 section 8.2.1")]
    CertificateRequirements,
    /// The AAGUID in the certificate is not that of the credential (L3 §8.2).
    #[error("attestation certificate is for another model than the credential says")]
    AaguidMismatch,
    /// A `fido-u2f` credential that names a model: U2F cannot (FIDO2 conformance, CTAP 2.1 §10.3.1).
    #[error("a fido-u2f attestation cannot prove an AAGUID")]
    U2fAaguid,
    /// The certificate does not lead to one of the accepted roots (L3 §7.1 step 23).
    #[error("attestation certificate does not lead to an accepted root")]
    Untrusted(#[source] PathError),
}

/// A credential with what its authenticator proved about itself (L3 §6.5, §7.1 steps 20 to 23).
#[derive(Debug)]
pub struct VerifiedAttestation {
    kind: AttestationKind,
    data: AuthenticatorData,
    credential: AttestedCredentialData,
    proof: Option<Proof>,
    leaves_tpm: bool,
}

/// What a certificate chain proved.
#[derive(Clone, Copy, Debug)]
struct Proof {
    anchor: CertificateThumbprint,
    key: Option<AttestationKeyId>,
}

/// What an attestation statement is about.
struct Subject<'a> {
    /// `authData ‖ SHA-256(clientDataJSON)`: what most formats sign.
    signed: &'a [u8],
    client_data_hash: &'a Sha256,
    key: &'a P256PublicKey,
    aaguid: Aaguid,
}

impl VerifiedAttestation {
    /// Checks the attestation statement over `client_data_hash` and, where it has a certificate, its
    /// path to `roots` at `now`. A root may be the attestation certificate itself, as FIDO metadata has
    /// it.
    ///
    /// Flags, relying party and challenge are for [`super::VerifiedRegistration`].
    ///
    /// # Errors
    /// See [`AttestationError`].
    pub fn verify(
        attestation_object: &[u8],
        client_data_hash: &Sha256,
        roots: &TrustAnchors,
        now: UnixTime,
    ) -> Result<Self, AttestationError> {
        use AttestationError as E;
        let object = AttestationObject::parse(attestation_object).map_err(E::Object)?;
        let data =
            AuthenticatorData::parse(&object.authenticator_data).map_err(E::AuthenticatorData)?;
        let credential = data.attested_credential.clone().ok_or(E::CredentialMissing)?;
        let key =
            P256PublicKey::from_uncompressed_point(credential.public_key.uncompressed_point())
                .map_err(|_| E::CredentialKey)?;
        let signed = [&object.authenticator_data[..], client_data_hash].concat();
        let subject =
            Subject { signed: &signed, client_data_hash, key: &key, aaguid: credential.aaguid };
        let mut leaves_tpm = false;
        let (kind, leaf, chain) = match &object.statement {
            AttestationStatement::None => (AttestationKind::None, None, &[][..]),
            AttestationStatement::Packed(packed) => match verify_packed(packed, &subject)? {
                Some(leaf) => (AttestationKind::Packed, Some(leaf), &packed.x5c[..]),
                None => (AttestationKind::PackedSelf, None, &[][..]),
            },
            AttestationStatement::FidoU2f(u2f) => {
                let message = u2f_message(&data, &credential, client_data_hash);
                let leaf = verify_u2f(u2f, &message, &subject)?;
                let chain = std::slice::from_ref(&u2f.certificate);
                (AttestationKind::FidoU2f, Some(leaf), chain)
            }
            AttestationStatement::Tpm(statement) => {
                let (leaf, public) = tpm::verify(statement, &subject)?;
                leaves_tpm = !tpm::is_fixed(&public);
                (AttestationKind::Tpm, Some(leaf), &statement.x5c[..])
            }
            AttestationStatement::AndroidKey(statement) => {
                let leaf = key_description::verify_android(statement, &subject)?;
                (AttestationKind::AndroidKey, Some(leaf), &statement.x5c[..])
            }
            AttestationStatement::Apple(x5c) => {
                let leaf = key_description::verify_apple(x5c, &subject)?;
                (AttestationKind::Apple, Some(leaf), &x5c[..])
            }
        };
        let proof = match (leaf, chain.split_first()) {
            (Some(certificate), Some((leaf, intermediates))) => Some(Proof {
                anchor: anchor_of(leaf, intermediates, roots, now)?,
                key: certificate.p256_key().ok().map(attestation_key_id),
            }),
            _ => None,
        };
        Ok(Self { kind, data, credential, proof, leaves_tpm })
    }

    /// How the authenticator attested itself.
    #[must_use]
    pub fn kind(&self) -> AttestationKind {
        self.kind
    }

    /// The model it says it is: proved only where [`VerifiedAttestation::anchor`] is present.
    #[must_use]
    pub fn aaguid(&self) -> Aaguid {
        self.credential.aaguid
    }

    /// The credential.
    #[must_use]
    pub fn credential(&self) -> &AttestedCredentialData {
        &self.credential
    }

    /// The authenticator data that was attested.
    #[must_use]
    pub fn authenticator_data(&self) -> &AuthenticatorData {
        &self.data
    }

    /// The root that the attestation certificate leads to.
    #[must_use]
    pub fn anchor(&self) -> Option<CertificateThumbprint> {
        self.proof.map(|proof| proof.anchor)
    }

    /// The key that attested, as metadata names it; `None` for one that is not on P-256.
    #[must_use]
    pub fn attestation_key(&self) -> Option<AttestationKeyId> {
        self.proof.and_then(|proof| proof.key)
    }

    /// Whether this is a TPM's key that may leave it (`fixedTPM`, `fixedParent` or
    /// `sensitiveDataOrigin` is clear). L3 §8.3 leaves that to the verifier's policy.
    #[must_use]
    pub fn leaves_tpm(&self) -> bool {
        self.leaves_tpm
    }
}

/// L3 §8.2, verification procedure, up to the path. `None` for self attestation.
fn verify_packed(
    packed: &PackedStatement,
    subject: &Subject<'_>,
) -> Result<Option<Certificate>, AttestationError> {
    use AttestationError as E;
    if packed.algorithm != COSE_ALG_ES256 {
        return Err(E::Algorithm(packed.algorithm));
    }
    let Some(leaf) = packed.x5c.first() else {
        let signature = &packed.signature;
        subject.key.verify_der(subject.signed, signature).map_err(|_| E::SignatureInvalid)?;
        return Ok(None);
    };
    let certificate = verify_by_certificate(leaf, subject.signed, &packed.signature)?;
    check_packed_certificate(leaf, subject.aaguid)?;
    Ok(Some(certificate))
}

/// L3 §8.6, verification procedure, up to the path.
fn verify_u2f(
    u2f: &U2fStatement,
    signed: &[u8],
    subject: &Subject<'_>,
) -> Result<Certificate, AttestationError> {
    let certificate = verify_by_certificate(&u2f.certificate, signed, &u2f.signature)?;
    if subject.aaguid != Aaguid::ZERO {
        return Err(AttestationError::U2fAaguid);
    }
    Ok(certificate)
}

/// `verificationData` of L3 §8.6.
fn u2f_message(
    data: &AuthenticatorData,
    credential: &AttestedCredentialData,
    client_data_hash: &Sha256,
) -> Vec<u8> {
    let point = credential.public_key.uncompressed_point();
    [&[0x00][..], &data.rp_id_hash, client_data_hash, &credential.credential_id, point].concat()
}

fn verify_by_certificate(
    leaf: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<Certificate, AttestationError> {
    let certificate = Certificate::parse(leaf).map_err(AttestationError::Certificate)?;
    let key = certificate.p256_key().map_err(AttestationError::Certificate)?;
    key.verify_der(signed, signature).map_err(|_| AttestationError::SignatureInvalid)?;
    Ok(certificate)
}

/// SHA-1 of the key's point: metadata's own name for it, which nothing rests on.
fn attestation_key_id(key: &P256PublicKey) -> AttestationKeyId {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.uncompressed_point());
    let mut id = [0; 20];
    id.copy_from_slice(digest.as_ref());
    AttestationKeyId(id)
}

fn anchor_of(
    leaf: &[u8],
    intermediates: &[Vec<u8>],
    roots: &TrustAnchors,
    now: UnixTime,
) -> Result<CertificateThumbprint, AttestationError> {
    let untrusted = AttestationError::Untrusted;
    if roots.contains(leaf) {
        let facts = Certificate::parse(leaf).map_err(AttestationError::Certificate)?;
        if now < facts.not_before() {
            return Err(untrusted(PathError::NotYetValid));
        }
        if now > facts.not_after() {
            return Err(untrusted(PathError::Expired));
        }
        return Ok(facts.thumbprint());
    }
    let path = VerifiedPath::verify(leaf, intermediates, roots, None, now).map_err(untrusted)?;
    Ok(path.anchor())
}

/// L3 §8.2.1, and the AAGUID extension of §8.2.
fn check_packed_certificate(leaf: &[u8], aaguid: Aaguid) -> Result<(), AttestationError> {
    use AttestationError as E;
    let (_, certificate) =
        X509Certificate::from_der(leaf).map_err(|_| E::Certificate(CertificateError::Malformed))?;
    let subject = certificate.subject();
    let unit_is_attestation =
        only(subject.iter_organizational_unit()) == Some("Authenticator Attestation");
    let country = only(subject.iter_country()).unwrap_or_default();
    let country_is_code =
        country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    let named = [only(subject.iter_organization()), only(subject.iter_common_name())]
        .into_iter()
        .all(|name| name.is_some_and(|name| !name.is_empty()));
    let constraints = certificate.basic_constraints().ok().flatten();
    let not_a_ca = constraints.is_some_and(|constraints| !constraints.value.ca);
    if certificate.version() != X509Version::V3
        || !(unit_is_attestation && country_is_code && named && not_a_ca)
    {
        return Err(E::CertificateRequirements);
    }
    check_aaguid_extension(&certificate, aaguid)
}

/// The AAGUID extension of L3 §8.2 and §8.3, where there is one.
fn check_aaguid_extension(
    certificate: &X509Certificate<'_>,
    aaguid: Aaguid,
) -> Result<(), AttestationError> {
    use AttestationError as E;
    let mut found =
        certificate.iter_extensions().filter(|extension| extension.oid.as_bytes() == OID_AAGUID);
    let Some(extension) = found.next() else { return Ok(()) };
    if extension.critical || found.next().is_some() {
        return Err(E::CertificateRequirements);
    }
    // The extension's value is an OCTET STRING in its OCTET STRING.
    match extension.value {
        [0x04, 0x10, value @ ..] if value == aaguid.0 => Ok(()),
        [0x04, 0x10, value @ ..] if value.len() == 16 => Err(E::AaguidMismatch),
        _ => Err(E::CertificateRequirements),
    }
}

/// The text of the one attribute; `None` when there is none, or more than one.
fn only<'a>(
    mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Option<&'a str> {
    let first = attributes.next()?;
    if attributes.next().is_some() { None } else { first.as_str().ok() }
}
