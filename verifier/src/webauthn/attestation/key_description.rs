//! `android-key` (L3 §8.4) and `apple` (L3 §8.8): the certificate is for the credential's key and
//! names this very registration.

use signet_evidence::binding::sha256;
use signet_evidence::webauthn::PackedStatement;
use thiserror::Error;
use x509_parser::asn1_rs::{Any, Class, FromDer as _};
use x509_parser::certificate::X509Certificate;

use super::{AttestationError, Subject, verify_by_certificate};
use crate::certificate::{Certificate, CertificateError};

/// 1.3.6.1.4.1.11129.2.1.17, content octets: Android's key description.
const OID_KEY_DESCRIPTION: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 1, 17];
/// 1.2.840.113635.100.8.2, content octets: Apple's nonce.
const OID_APPLE_NONCE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 8, 2];

const TAG_PURPOSE: u32 = 1;
const TAG_ALL_APPLICATIONS: u32 = 600;
const TAG_ORIGIN: u32 = 702;
/// `KM_PURPOSE_SIGN`.
const PURPOSE_SIGN: u8 = 2;
/// `KM_ORIGIN_GENERATED`.
const ORIGIN_GENERATED: u8 = 0;

/// Why an `android-key` or `apple` statement is not believed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PlatformStatementError {
    /// The certificate is for another key than the credential's.
    #[error("attestation certificate is for another key than the credential's")]
    OtherKey,
    /// The extension that names the registration is missing or malformed.
    #[error("attestation certificate lacks the extension of its format, or it is malformed")]
    Extension,
    /// The extension names another registration.
    #[error("attestation certificate was made for another registration")]
    Challenge,
    /// Every application may use the key (§8.4).
    #[error("the key is not bound to one application")]
    AllApplications,
    /// The keystore does not say that it made the key itself, to sign. What only software says of
    /// itself does not count (§8.4 leaves that to the verifier).
    #[error("the keystore's protected part does not say that it made the key to sign with")]
    NotMadeToSign,
}

/// L3 §8.4, verification procedure.
pub(super) fn verify_android(
    statement: &PackedStatement,
    subject: &Subject<'_>,
) -> Result<Certificate, AttestationError> {
    let leaf = statement.x5c.first().ok_or(AttestationError::SignatureInvalid)?;
    let certificate = verify_by_certificate(leaf, subject.signed, &statement.signature)?;
    require_own_key(&certificate, subject)?;
    let extension = extension(leaf, OID_KEY_DESCRIPTION)?;
    check_description(&extension, subject.client_data_hash).map_err(AttestationError::Platform)?;
    Ok(certificate)
}

/// L3 §8.8, verification procedure.
pub(super) fn verify_apple(
    x5c: &[Vec<u8>],
    subject: &Subject<'_>,
) -> Result<Certificate, AttestationError> {
    let invalid = AttestationError::Platform;
    let leaf = x5c.first().ok_or(AttestationError::SignatureInvalid)?;
    let certificate = Certificate::parse(leaf).map_err(AttestationError::Certificate)?;
    let nonce = extension(leaf, OID_APPLE_NONCE)?;
    let nonce = apple_nonce(&nonce).ok_or(invalid(PlatformStatementError::Extension))?;
    if nonce != sha256(subject.signed) {
        return Err(invalid(PlatformStatementError::Challenge));
    }
    require_own_key(&certificate, subject)?;
    Ok(certificate)
}

fn require_own_key(
    certificate: &Certificate,
    subject: &Subject<'_>,
) -> Result<(), AttestationError> {
    let key = certificate.p256_key().map_err(AttestationError::Certificate)?;
    if key == subject.key {
        Ok(())
    } else {
        Err(AttestationError::Platform(PlatformStatementError::OtherKey))
    }
}

/// The value of the one extension of this kind.
fn extension(leaf: &[u8], oid: &[u8]) -> Result<Vec<u8>, AttestationError> {
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| AttestationError::Certificate(CertificateError::Malformed))?;
    let mut found = certificate.iter_extensions().filter(|one| one.oid.as_bytes() == oid);
    match (found.next(), found.next()) {
        (Some(extension), None) => Ok(extension.value.to_vec()),
        _ => Err(AttestationError::Platform(PlatformStatementError::Extension)),
    }
}

/// `KeyDescription`: versions and security levels, challenge, unique id, and the lists of what
/// software and the protected part (TEE or StrongBox) enforce.
fn check_description(der: &[u8], challenge: &[u8]) -> Result<(), PlatformStatementError> {
    use PlatformStatementError as E;
    let description = whole(der).and_then(|any| elements(any.data)).ok_or(E::Extension)?;
    let [_, _, _, _, found, _, software, protected] = &description[..] else {
        return Err(E::Extension);
    };
    if found.data != challenge {
        return Err(E::Challenge);
    }
    let software = elements(software.data).ok_or(E::Extension)?;
    let protected = elements(protected.data).ok_or(E::Extension)?;
    let all = |list: &[Any<'_>]| tagged(list, TAG_ALL_APPLICATIONS).is_some();
    if all(&software) || all(&protected) {
        return Err(E::AllApplications);
    }
    let origin = tagged(&protected, TAG_ORIGIN).and_then(|any| whole(any.data));
    let purposes = tagged(&protected, TAG_PURPOSE).and_then(|any| whole(any.data));
    let purposes = purposes.and_then(|set| elements(set.data)).ok_or(E::NotMadeToSign)?;
    let signs = matches!(&purposes[..], [only] if only.data == [PURPOSE_SIGN]);
    if origin.is_some_and(|origin| origin.data == [ORIGIN_GENERATED]) && signs {
        Ok(())
    } else {
        Err(E::NotMadeToSign)
    }
}

/// `SEQUENCE { [1] EXPLICIT OCTET STRING }`.
fn apple_nonce(der: &[u8]) -> Option<&[u8]> {
    let sequence = whole(der)?;
    let tagged = whole(sequence.data).filter(|any| any.header.tag().0 == 1)?;
    whole(tagged.data).map(|octets| octets.data)
}

fn tagged<'a, 'b>(list: &'b [Any<'a>], tag: u32) -> Option<&'b Any<'a>> {
    let context = |any: &&Any<'_>| any.header.class() == Class::ContextSpecific;
    list.iter().filter(context).find(|any| any.header.tag().0 == tag)
}

/// The one DER element that fills `der`.
fn whole(der: &[u8]) -> Option<Any<'_>> {
    let (rest, any) = Any::from_der(der).ok()?;
    rest.is_empty().then_some(any)
}

fn elements(mut der: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut found = Vec::new();
    while !der.is_empty() {
        let (rest, any) = Any::from_der(der).ok()?;
        found.push(any);
        der = rest;
    }
    Some(found)
}
