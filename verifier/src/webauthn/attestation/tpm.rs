//! `tpm` (L3 §8.3): an attestation identity key certified the credential's key.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use signet_evidence::binding::sha256;
use signet_evidence::tpm::{Attested, EccCurve, Name, TpmsAttest, TpmtPublic, WireError};
use signet_evidence::webauthn::{COSE_ALG_ES256, COSE_ALG_RS256, TpmStatement};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use super::{AttestationError, Subject, check_aaguid_extension};
use crate::certificate::{Certificate, CertificateError, CertificateKey, KeyPurpose};

/// `tcg-at-tpmManufacturer`, `-tpmModel` and `-tpmVersion`: 2.23.133.2.1 to 3, content octets.
const TPM_NAMES: [&[u8]; 3] =
    [&[0x67, 0x81, 5, 2, 1], &[0x67, 0x81, 5, 2, 2], &[0x67, 0x81, 5, 2, 3]];

/// Why a `tpm` statement is not believed. Variants stand in the order of the checks.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TpmStatementError {
    /// `certInfo` or `pubArea` is malformed, or not of a certification.
    #[error("a TPM structure of the statement is malformed")]
    Structure(#[source] WireError),
    /// `certInfo` is of another type than `TPM_ST_ATTEST_CERTIFY`.
    #[error("certInfo is not a certification")]
    NotCertification,
    /// `pubArea` is not the credential's key.
    #[error("pubArea is another key than the credential's")]
    OtherKey,
    /// `extraData` is not the hash over authenticator data and client data.
    #[error("certInfo was made over another registration")]
    ExtraData,
    /// The certified name is not that of `pubArea`.
    #[error("certInfo certifies another key than pubArea")]
    Name,
    /// The AIK certificate breaks L3 §8.3.1.
    #[error("AIK certificate breaks the rules of WebAuthn L3 section 8.3.1")]
    CertificateRequirements,
}

/// L3 §8.3, verification procedure, up to the path and to where the key lives.
pub(super) fn verify(
    statement: &TpmStatement,
    subject: &Subject<'_>,
) -> Result<(Certificate, TpmtPublic), AttestationError> {
    use TpmStatementError as E;
    let invalid = AttestationError::Tpm;
    let public = TpmtPublic::parse(&statement.public_area).map_err(|e| invalid(E::Structure(e)))?;
    let point = public.ecc().filter(|ecc| ecc.curve == EccCurve::P256);
    let point = point.map(|ecc| ecc.uncompressed_point());
    if point.as_deref() != Some(subject.key.uncompressed_point().as_slice()) {
        return Err(invalid(E::OtherKey));
    }
    let info = TpmsAttest::parse(&statement.certify_info).map_err(|e| invalid(E::Structure(e)))?;
    let Attested::Certify(certified) = &info.attested else {
        return Err(invalid(E::NotCertification));
    };
    // Both algorithms hash with SHA-256, and `extraData` by the same (§8.3).
    if info.extra_data != sha256(subject.signed) {
        return Err(invalid(E::ExtraData));
    }
    if certified.name != Name::of(&public) {
        return Err(invalid(E::Name));
    }
    let leaf = statement.x5c.first().ok_or(AttestationError::SignatureInvalid)?;
    let certificate = Certificate::parse(leaf).map_err(AttestationError::Certificate)?;
    check_signature(statement, &certificate)?;
    if !certificate.purposes().contains(&KeyPurpose::AttestationKey) {
        return Err(invalid(E::CertificateRequirements));
    }
    check_aik_certificate(leaf, subject)?;
    Ok((certificate, public))
}

fn check_signature(
    statement: &TpmStatement,
    certificate: &Certificate,
) -> Result<(), AttestationError> {
    let (info, signature) = (&statement.certify_info, &statement.signature);
    match (statement.algorithm, certificate.key()) {
        (COSE_ALG_ES256, CertificateKey::P256(key)) => {
            key.verify_der(info, signature).map_err(|_| AttestationError::SignatureInvalid)
        }
        (COSE_ALG_RS256, CertificateKey::Rsa { modulus, exponent }) => {
            RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_2048_8192_SHA256, info, signature)
                .map_err(|_| AttestationError::SignatureInvalid)
        }
        (COSE_ALG_ES256 | COSE_ALG_RS256, _) => {
            Err(AttestationError::Certificate(CertificateError::KeyNotP256))
        }
        // RS1 above all, which older Windows machines send: SHA-1 proves nothing.
        (other, _) => Err(AttestationError::Algorithm(other)),
    }
}

/// L3 §8.3.1, but for the extended key usage.
fn check_aik_certificate(leaf: &[u8], subject: &Subject<'_>) -> Result<(), AttestationError> {
    let broken = || AttestationError::Tpm(TpmStatementError::CertificateRequirements);
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| AttestationError::Certificate(CertificateError::Malformed))?;
    let not_a_ca = certificate
        .basic_constraints()
        .ok()
        .flatten()
        .is_some_and(|constraints| !constraints.value.ca);
    let names = certificate.subject_alternative_name().ok().flatten().ok_or_else(broken)?;
    let names_tpm = names.value.general_names.iter().any(|name| match name {
        GeneralName::DirectoryName(name) => TPM_NAMES.iter().all(|wanted| {
            name.iter_attributes().any(|attribute| attribute.attr_type().as_bytes() == *wanted)
        }),
        _ => false,
    });
    let nameless = certificate.subject().iter_attributes().next().is_none();
    if certificate.version() != X509Version::V3 || !nameless || !names_tpm || !not_a_ca {
        return Err(broken());
    }
    check_aaguid_extension(&certificate, subject.aaguid)
}

/// Whether the key was made in its TPM and stays there (Part 1 §27.2, §25).
pub(super) fn is_fixed(public: &TpmtPublic) -> bool {
    let attributes = public.attributes;
    attributes.fixed_tpm() && attributes.fixed_parent() && attributes.sensitive_data_origin()
}
