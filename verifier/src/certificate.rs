//! X.509 certificates: the facts of a leaf, and the path from it to a trust anchor.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    TrustAnchor, UnixTime as PkiTime,
};
use signet_evidence::binding::{Sha256, sha256};
use signet_evidence::{CertificateThumbprint, UnixTime};
use thiserror::Error;
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::error::X509Error;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::{
    OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::ecdsa::P256PublicKey;

/// What a certificate's key may be used for (extended key usage, RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPurpose {
    /// `id-kp-clientAuth`, 1.3.6.1.5.5.7.3.2: a device's TLS key.
    ClientAuthentication,
    /// `tcg-kp-AIKCertificate`, 2.23.133.8.3: an attestation key.
    AttestationKey,
    /// `tcg-kp-EKCertificate`, 2.23.133.8.1: an endorsement key.
    EndorsementKey,
}

impl KeyPurpose {
    const ALL: [Self; 3] = [Self::ClientAuthentication, Self::AttestationKey, Self::EndorsementKey];

    /// Content octets of its object identifier.
    pub(crate) fn oid(self) -> &'static [u8] {
        match self {
            Self::ClientAuthentication => &[0x2b, 6, 1, 5, 5, 7, 3, 2],
            Self::AttestationKey => &[0x67, 0x81, 5, 8, 3],
            Self::EndorsementKey => &[0x67, 0x81, 5, 8, 1],
        }
    }
}

/// A certificate's public key, of the kinds that occur in this protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateKey {
    /// EC on P-256.
    P256(P256PublicKey),
    /// EC on P-384: the uncompressed point (EK certificates and CAs).
    P384(Vec<u8>),
    /// RSA (EK certificates).
    Rsa {
        /// Modulus, big-endian, without leading zeros.
        modulus: Vec<u8>,
        /// Public exponent, big-endian, without leading zeros.
        exponent: Vec<u8>,
    },
    /// Anything else, or a point that is not on its curve.
    Other,
}

/// The facts of one certificate. Nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    key: CertificateKey,
    uris: Vec<String>,
    purposes: Vec<KeyPurpose>,
    serial: Vec<u8>,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Why bytes are not a certificate of use here.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum CertificateError {
    /// Not one DER certificate, or an extension in it is malformed or given twice.
    #[error("not a DER certificate")]
    Malformed,
    /// The public key is not on P-256.
    #[error("certificate key is not on P-256")]
    KeyNotP256,
    /// Not exactly one URI name (X509-SVID §2).
    #[error("certificate has {found} URI names where a SPIFFE certificate has one")]
    UriCount {
        /// URI names found.
        found: usize,
    },
    /// The URI name is not a SPIFFE ID (SPIFFE-ID §2).
    #[error("certificate's URI name is not a SPIFFE ID")]
    NotASpiffeId,
}

impl Certificate {
    /// Reads the facts of one DER certificate that fills `der`.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        // Of the extensions two are facts here, and read below.
        let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
        let (rest, parsed) = parser.parse(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        Ok(Self {
            der: der.to_vec(),
            key: key_of(&parsed),
            uris: uris_of(&parsed)?,
            purposes: purposes_of(&parsed)?,
            serial: parsed.raw_serial().to_vec(),
            not_before: UnixTime(parsed.validity().not_before.timestamp()),
            not_after: UnixTime(parsed.validity().not_after.timestamp()),
        })
    }

    /// The certificate as it came.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn thumbprint(&self) -> CertificateThumbprint {
        CertificateThumbprint::of_der(&self.der)
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> &CertificateKey {
        &self.key
    }

    /// The public key, on P-256.
    ///
    /// # Errors
    /// [`CertificateError::KeyNotP256`].
    pub fn p256_key(&self) -> Result<&P256PublicKey, CertificateError> {
        match &self.key {
            CertificateKey::P256(key) => Ok(key),
            _ => Err(CertificateError::KeyNotP256),
        }
    }

    /// The one SPIFFE ID of an X509-SVID (X509-SVID §2).
    ///
    /// # Errors
    /// [`CertificateError::UriCount`] or [`CertificateError::NotASpiffeId`].
    pub fn spiffe_id(&self) -> Result<&str, CertificateError> {
        match self.uris.as_slice() {
            [uri] if uri.strip_prefix("spiffe://").is_some_and(|rest| !rest.is_empty()) => Ok(uri),
            [_] => Err(CertificateError::NotASpiffeId),
            uris => Err(CertificateError::UriCount { found: uris.len() }),
        }
    }

    /// The extended key usages that this protocol knows. `anyExtendedKeyUsage` counts for none.
    #[must_use]
    pub fn purposes(&self) -> &[KeyPurpose] {
        &self.purposes
    }

    /// Serial number, the content octets of the INTEGER.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// First second of validity.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// Last second of validity.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

/// The certificate at the front of an NV area: TPM makers pad them (the ST33 with 431 bytes).
///
/// # Errors
/// [`CertificateError::Malformed`] when no whole DER SEQUENCE stands there.
pub fn without_padding(nv: &[u8]) -> Result<&[u8], CertificateError> {
    let length = match nv {
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        [0x30, 0x81, low, ..] => 3 + usize::from(*low),
        _ => return Err(CertificateError::Malformed),
    };
    nv.get(..length).ok_or(CertificateError::Malformed)
}

fn key_of(parsed: &X509Certificate<'_>) -> CertificateKey {
    let without_zeros = |bytes: &[u8]| {
        bytes.iter().position(|byte| *byte != 0).map_or(vec![], |start| bytes[start..].to_vec())
    };
    match parsed.public_key().parsed() {
        Ok(PublicKey::EC(point)) if curve_is(parsed, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]) => {
            P256PublicKey::from_uncompressed_point(point.data())
                .map_or(CertificateKey::Other, CertificateKey::P256)
        }
        Ok(PublicKey::EC(point)) if curve_is(parsed, &[0x2b, 0x81, 4, 0, 0x22]) => {
            CertificateKey::P384(point.data().to_vec())
        }
        Ok(PublicKey::RSA(rsa)) => CertificateKey::Rsa {
            modulus: without_zeros(rsa.modulus),
            exponent: without_zeros(rsa.exponent),
        },
        _ => CertificateKey::Other,
    }
}

fn curve_is(parsed: &X509Certificate<'_>, oid: &[u8]) -> bool {
    let parameters = parsed.public_key().algorithm.parameters.as_ref();
    parameters.and_then(|any| any.as_oid().ok()).is_some_and(|found| found.as_bytes() == oid)
}

/// The extension of this identifier, if there is one.
fn extension<'a, T: FromDer<'a, X509Error>>(
    parsed: &X509Certificate<'a>,
    identifier: &Oid<'_>,
) -> Result<Option<T>, CertificateError> {
    let found = parsed.get_extension_unique(identifier).map_err(|_| CertificateError::Malformed)?;
    let read = found.map(|extension| T::from_der(extension.value)).transpose();
    Ok(read.map_err(|_| CertificateError::Malformed)?.map(|(_, extension)| extension))
}

fn uris_of(parsed: &X509Certificate<'_>) -> Result<Vec<String>, CertificateError> {
    let names: Option<SubjectAlternativeName<'_>> =
        extension(parsed, &OID_X509_EXT_SUBJECT_ALT_NAME)?;
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    Ok(names.map_or(vec![], |names| names.general_names.iter().filter_map(uri).collect()))
}

fn purposes_of(parsed: &X509Certificate<'_>) -> Result<Vec<KeyPurpose>, CertificateError> {
    let usage: Option<ExtendedKeyUsage<'_>> = extension(parsed, &OID_X509_EXT_EXTENDED_KEY_USAGE)?;
    let Some(usage) = usage else { return Ok(vec![]) };
    let has = |purpose: &KeyPurpose| match purpose {
        KeyPurpose::ClientAuthentication => usage.client_auth,
        other => usage.other.iter().any(|oid| oid.as_bytes() == other.oid()),
    };
    Ok(KeyPurpose::ALL.into_iter().filter(has).collect())
}

/// Certificates that are trusted without looking further: roots, or intermediates where a maker's
/// chain cannot be verified above them (STMicroelectronics marks certificate policies critical).
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    anchors: Vec<TrustAnchor<'static>>,
    thumbprints: Vec<CertificateThumbprint>,
    /// Of those on P-256.
    keys: Vec<P256PublicKey>,
    /// Over all of the above.
    digest: Sha256,
}

/// A trust anchor that cannot be used: the operator's setting, not the sender's fault.
#[derive(Debug, Error)]
#[error("trust anchor {index} (counted from 0) is not a usable certificate")]
pub struct AnchorError {
    /// Its place in the list.
    pub index: usize,
    #[source]
    source: webpki::Error,
}

impl TrustAnchors {
    /// Takes DER certificates as anchors. Only name, key and name constraints of an anchor count,
    /// not its validity (RFC 5280 §6.1.1 d).
    ///
    /// # Errors
    /// [`AnchorError`] for the first certificate that is none.
    pub fn from_der<D: AsRef<[u8]>>(
        certificates: impl IntoIterator<Item = D>,
    ) -> Result<Self, AnchorError> {
        let mut all = Self::default();
        for (index, der) in certificates.into_iter().enumerate() {
            let certificate = CertificateDer::from(der.as_ref());
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|source| AnchorError { index, source })?;
            all.push(&anchor, der.as_ref());
        }
        Ok(all)
    }

    /// Those of `certificates` that can be anchors. Metadata publishes some that cannot, such as
    /// certificates of version 1; what leads to them is not believed.
    pub(crate) fn usable<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Self::default();
        for der in certificates {
            if let Ok(anchor) = webpki::anchor_from_trusted_cert(&CertificateDer::from(der)) {
                all.push(&anchor, der);
            }
        }
        all
    }

    fn push(&mut self, anchor: &TrustAnchor<'_>, der: &[u8]) {
        let thumbprint = CertificateThumbprint::of_der(der);
        self.anchors.push(anchor.to_owned());
        self.thumbprints.push(thumbprint);
        self.keys.extend(Certificate::parse(der).ok().and_then(|own| own.p256_key().cloned().ok()));
        self.digest = sha256(&[self.digest, thumbprint.0].concat());
    }

    /// Which anchors these are, in this order.
    pub(crate) fn digest(&self) -> &Sha256 {
        &self.digest
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// Whether there is none: then nothing verifies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// Whether `der` is itself one of the anchors.
    pub(crate) fn contains(&self, der: &[u8]) -> bool {
        self.thumbprints.contains(&CertificateThumbprint::of_der(der))
    }

    fn thumbprint_of(&self, anchor: &TrustAnchor<'_>) -> Option<CertificateThumbprint> {
        let index = self.anchors.iter().position(|candidate| candidate == anchor)?;
        self.thumbprints.get(index).copied()
    }
}

/// ECDSA with SHA-256 by a key on P-256, as webpki verifies it; but the keys of anchors were put on the curve
/// when they were set.
#[derive(Debug)]
struct ByAnchors<'a>(&'a TrustAnchors);

impl SignatureVerificationAlgorithm for ByAnchors<'_> {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        ECDSA_P256_SHA256.signature_alg_id()
    }

    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        match self.0.keys.iter().find(|key| key.uncompressed_point() == public_key) {
            Some(key) => key.verify_certificate(message, signature).map_err(|_| InvalidSignature),
            None => ECDSA_P256_SHA256.verify_signature(public_key, message, signature),
        }
    }
}

/// Why a certificate does not lead to a trust anchor.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PathError {
    /// The leaf is not a certificate of use here.
    #[error("leaf certificate cannot be read")]
    Leaf(#[from] CertificateError),
    /// A certificate of the path is not valid yet.
    #[error("a certificate of the path is not valid yet")]
    NotYetValid,
    /// A certificate of the path has run out.
    #[error("a certificate of the path has expired")]
    Expired,
    /// No anchor issued it, nor did an intermediate that an anchor issued.
    #[error("no trust anchor issued this certificate")]
    UnknownIssuer,
    /// An issuer of the right name did not sign it.
    #[error("a signature in the path does not verify")]
    SignatureInvalid,
    /// The leaf does not have the extended key usage, or an intermediate excludes it.
    #[error("certificate is not for the purpose {0:?}")]
    Purpose(KeyPurpose),
    /// Another rule of RFC 5280 is broken.
    #[error("certificate path breaks a rule of RFC 5280")]
    Path(#[source] webpki::Error),
}

/// A leaf that leads to a trust anchor at a given time. Clones share the leaf.
#[derive(Clone, Debug)]
pub struct VerifiedPath {
    leaf: Arc<Certificate>,
    anchor: CertificateThumbprint,
    /// First and last second at which every certificate of this path is valid.
    valid: (UnixTime, UnixTime),
}

impl VerifiedPath {
    /// Builds a path from `leaf` over `intermediates` (any order) to one of `anchors`, valid at
    /// `now` (RFC 5280 §6). With a `purpose`, the leaf must have that extended key usage and no
    /// intermediate may exclude it.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn verify(
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        anchors: &TrustAnchors,
        purpose: Option<KeyPurpose>,
        now: UnixTime,
    ) -> Result<Self, PathError> {
        let facts = Certificate::parse(leaf)?;
        if let Some(purpose) = purpose.filter(|purpose| !facts.purposes.contains(purpose)) {
            return Err(PathError::Purpose(purpose));
        }
        let der = CertificateDer::from(leaf);
        let end_entity = EndEntityCert::try_from(&der).map_err(PathError::Path)?;
        let intermediates: Vec<CertificateDer<'_>> =
            intermediates.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let by_anchors = ByAnchors(anchors);
        let others = webpki::ALL_VERIFICATION_ALGS.iter().copied();
        let algorithms: Vec<_> =
            std::iter::once(&by_anchors as &dyn SignatureVerificationAlgorithm)
                .chain(others)
                .collect();
        let path = end_entity
            .verify_for_usage(
                &algorithms,
                &anchors.anchors,
                &intermediates,
                pki_time(now),
                IntermediatesAllow(purpose),
                None,
                None,
            )
            .map_err(|error| path_error(error, purpose))?;
        let anchor = anchors.thumbprint_of(path.anchor()).ok_or(PathError::UnknownIssuer)?;
        let mut valid = (facts.not_before, facts.not_after);
        for intermediate in path.intermediate_certificates() {
            let issuer = Certificate::parse(&intermediate.der())?;
            valid = (valid.0.max(issuer.not_before), valid.1.min(issuer.not_after));
        }
        Ok(Self { leaf: Arc::new(facts), anchor, valid })
    }

    /// Whether every certificate of this path is valid at `now`: all that time changes about it.
    pub(crate) fn holds_at(&self, now: UnixTime) -> bool {
        (self.valid.0..=self.valid.1).contains(&now)
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// Which anchor the path ends at.
    #[must_use]
    pub fn anchor(&self) -> CertificateThumbprint {
        self.anchor
    }
}

/// An extended key usage, where there is one, must name the purpose. webpki asks this of every
/// certificate of the path; the leaf has been asked for more before.
struct IntermediatesAllow(Option<KeyPurpose>);

impl ExtendedKeyUsageValidator for IntermediatesAllow {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self.0 {
            None => Ok(()),
            Some(KeyPurpose::ClientAuthentication) => {
                webpki::KeyUsage::client_auth().validate(usages)
            }
            Some(purpose) => webpki::KeyUsage::required_if_present(purpose.oid()).validate(usages),
        }
    }
}

fn pki_time(now: UnixTime) -> PkiTime {
    PkiTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.0).unwrap_or(0)))
}

fn path_error(error: webpki::Error, purpose: Option<KeyPurpose>) -> PathError {
    match (error, purpose) {
        (webpki::Error::CertNotValidYet { .. }, _) => PathError::NotYetValid,
        (webpki::Error::CertExpired { .. }, _) => PathError::Expired,
        (webpki::Error::UnknownIssuer, _) => PathError::UnknownIssuer,
        (webpki::Error::InvalidSignatureForPublicKey, _) => PathError::SignatureInvalid,
        (webpki::Error::RequiredEkuNotFoundContext(_), Some(purpose)) => {
            PathError::Purpose(purpose)
        }
        (other, _) => PathError::Path(other),
    }
}
