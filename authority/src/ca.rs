//! Issuing certificates: machines, attestation keys, gateways and this authority's own.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
    SigningKey, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use signet_evidence::UnixTime;
use signet_verifier::token::{FileSigner, SigningUnavailable, TokenSigner};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// `tcg-kp-AIKCertificate` (TCG OID registry): marks attestation keys.
const AIK_CERTIFICATE: &[u64] = &[2, 23, 133, 8, 3];
/// Ours and the operators' clocks may differ; certificates are valid from a little earlier.
pub(crate) const BACKDATE: Duration = Duration::from_secs(300);
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86400);

/// A certificate could not be made.
#[derive(Debug, Error)]
pub enum IssueError {
    /// A name holds characters that a certificate cannot.
    #[error("a name cannot stand in a certificate")]
    Name(#[source] rcgen::Error),
    /// The key did not sign, or is not usable.
    #[error("the CA could not sign")]
    Signing(#[source] rcgen::Error),
    /// A key of another kind than P-256, or none.
    #[error("not a P-256 key in PKCS#8")]
    Key(#[from] SigningUnavailable),
    /// Certificate and key are not of each other.
    #[error("the CA's certificate is not one of its key")]
    OtherKey,
    /// A request that is none, or not signed by the key that it asks for.
    #[error("not a certificate request (RFC 2986) for a P-256 key, signed by that key")]
    Request(#[source] rcgen::Error),
}

/// One issuing key with its certificate.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, CaKey>,
    of_key: bool,
}

/// A CA's key, wherever it is: in memory, or in a token.
struct CaKey(Arc<dyn TokenSigner>);

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(ecdsa_der(&signature))
    }
}

/// r ‖ s as certificates hold it: `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), DER.
fn ecdsa_der(signature: &[u8; 64]) -> Vec<u8> {
    let mut content = Vec::with_capacity(70);
    for half in signature.chunks(32) {
        let start = half.iter().position(|byte| *byte != 0).unwrap_or(31);
        let digits = half.get(start..).unwrap_or_default();
        let pad = digits.first().is_some_and(|byte| *byte >= 0x80);
        // At most 33 bytes: one length byte each.
        content.extend([0x02, u8::try_from(digits.len()).unwrap_or(32) + u8::from(pad)]);
        content.extend(pad.then_some(0));
        content.extend(digits);
    }
    let length = u8::try_from(content.len()).unwrap_or(70);
    [&[0x30, length], content.as_slice()].concat()
}

/// The P-256 key in `pem` (PKCS#8).
///
/// # Errors
/// [`IssueError::Key`].
pub fn key_of_pem(pem: &str) -> Result<Arc<dyn TokenSigner>, IssueError> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    let key = key.map_err(|_| SigningUnavailable::KeyFormat)?;
    let pkcs8 = Zeroizing::new(key.secret_der().to_vec());
    Ok(Arc::new(FileSigner::from_pkcs8(&pkcs8)?))
}

/// A fresh key with its certificate.
pub struct IssuedKey {
    /// The certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// The private key, PKCS#8 PEM.
    pub key_pem: Zeroizing<String>,
}

/// A P-256 public key that lives elsewhere, as an uncompressed point.
struct PublicPoint<'a>(&'a [u8; 65]);

impl PublicKeyData for PublicPoint<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A new P-256 key, PKCS#8 PEM.
///
/// # Errors
/// [`IssueError::Signing`] when there is no randomness.
pub fn new_key() -> Result<Zeroizing<String>, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Signing)?;
    Ok(Zeroizing::new(key.serialize_pem()))
}

/// A new Ed25519 key, PKCS#8 PEM.
///
/// # Errors
/// [`IssueError::Signing`] when there is no randomness.
pub fn new_log_key() -> Result<Zeroizing<String>, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ED25519).map_err(IssueError::Signing)?;
    Ok(Zeroizing::new(key.serialize_pem()))
}

impl CertificateAuthority {
    /// The certificate of a new CA named `name` for `key`, DER.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn self_signed(
        name: &str,
        key: Arc<dyn TokenSigner>,
        now: UnixTime,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let certificate = ca_parameters(name, now).self_signed(&CaKey(key));
        let certificate = certificate.map_err(IssueError::Signing)?;
        Ok(certificate.der().clone())
    }

    /// A request for a certificate of a CA named `name` for `key`, PEM (RFC 2986).
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn request(name: &str, key: Arc<dyn TokenSigner>) -> Result<String, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let request = params.serialize_request(&CaKey(key)).map_err(IssueError::Signing)?;
        request.pem().map_err(IssueError::Signing)
    }

    /// The CA with this certificate and key. Where they do not belong together it can still be trusted, but
    /// issues nothing: see [`Self::check`].
    ///
    /// # Errors
    /// [`IssueError::Signing`] when the certificate cannot be read.
    pub fn load(
        certificate: CertificateDer<'static>,
        key: Arc<dyn TokenSigner>,
    ) -> Result<Self, IssueError> {
        let of_key = X509Certificate::from_der(&certificate).is_ok_and(|(_, parsed)| {
            parsed.public_key().subject_public_key.data.as_ref() == key.public_point()
        });
        let issuer =
            Issuer::from_ca_cert_der(&certificate, CaKey(key)).map_err(IssueError::Signing)?;
        Ok(Self { certificate, issuer, of_key })
    }

    /// That the certificate is one of the key.
    ///
    /// # Errors
    /// [`IssueError::OtherKey`].
    pub fn check(&self) -> Result<(), IssueError> {
        self.of_key.then_some(()).ok_or(IssueError::OtherKey)
    }

    /// Whether the certificate is its own issuer's, and not one of an outside CA.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        X509Certificate::from_der(&self.certificate)
            .is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate of the CA named `name` that is to follow this one. It ends no path: this CA's may not
    /// issue for CAs. It tells whoever knows this CA's key the next one.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn certify_ca(
        &self,
        name: &str,
        point: &[u8; 65],
        now: UnixTime,
    ) -> Result<CertificateDer<'static>, IssueError> {
        self.sign(ca_parameters(name, now), point)
    }

    /// Certificate of a machine's TLS key: an X509-SVID for client authentication.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue_device(
        &self,
        tls_key: &[u8; 65],
        spiffe_id: &str,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssueError> {
        self.issue_client("Signet device", tls_key, spiffe_id, now, lifetime)
    }

    /// Certificate of a machine's TLS key under the name of the operator who proved presence there: an
    /// X509-SVID for client authentication.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue_operator(
        &self,
        tls_key: &[u8; 65],
        spiffe_id: &str,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssueError> {
        self.issue_client("Signet operator", tls_key, spiffe_id, now, lifetime)
    }

    /// Certificate of a machine's attestation key.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue_attestation_key(
        &self,
        ak: &[u8; 65],
        spiffe_id: &str,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let mut params = parameters("Signet attestation key", now, lifetime);
        params.subject_alt_names = vec![SanType::URI(ia5(spiffe_id)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(AIK_CERTIFICATE.into())];
        self.sign(params, ak)
    }

    /// A gateway's key and certificate: an X509-SVID for client authentication.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue_gateway(
        &self,
        spiffe_id: &str,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<IssuedKey, IssueError> {
        self.issue(client("Signet gateway", spiffe_id, now, lifetime)?)
    }

    /// A gateway's certificate for the key that made `request` (PKCS#10, DER). Names and extensions that it
    /// asks for are not looked at.
    ///
    /// # Errors
    /// [`IssueError::Request`]; see [`IssueError`].
    pub fn certify_gateway(
        &self,
        request: &[u8],
        spiffe_id: &str,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let request = CertificateSigningRequestDer::from(request);
        let asked = CertificateSigningRequestParams::from_der(&request);
        let asked = asked.map_err(IssueError::Request)?;
        let point: Option<&[u8; 65]> = asked.public_key.der_bytes().try_into().ok();
        let point = point.filter(|_| *asked.public_key.algorithm() == PKCS_ECDSA_P256_SHA256);
        let point =
            point.ok_or(IssueError::Request(rcgen::Error::UnsupportedSignatureAlgorithm))?;
        self.issue_client("Signet gateway", point, spiffe_id, now, lifetime)
    }

    /// This authority's own key and certificate for `names` (host names or IP addresses).
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn issue_server(
        &self,
        names: &[String],
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<IssuedKey, IssueError> {
        let named = CertificateParams::new(names).map_err(IssueError::Name)?;
        let mut params = parameters("Signet authority", now, lifetime);
        params.subject_alt_names = named.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    fn issue_client(
        &self,
        name: &str,
        point: &[u8; 65],
        spiffe_id: &str,
        now: UnixTime,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, IssueError> {
        self.sign(client(name, spiffe_id, now, lifetime)?, point)
    }

    fn issue(&self, params: CertificateParams) -> Result<IssuedKey, IssueError> {
        self.check()?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IssueError::Signing)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(IssueError::Signing)?;
        Ok(IssuedKey {
            certificate: certificate.der().clone(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    fn sign(
        &self,
        params: CertificateParams,
        point: &[u8; 65],
    ) -> Result<CertificateDer<'static>, IssueError> {
        self.check()?;
        let certificate =
            params.signed_by(&PublicPoint(point), &self.issuer).map_err(IssueError::Signing)?;
        Ok(certificate.der().clone())
    }
}

fn ca_parameters(name: &str, now: UnixTime) -> CertificateParams {
    let mut params = parameters(name, now, CA_LIFETIME);
    // Leaves only: nobody may make a CA under this one.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// An X509-SVID (SPIFFE X509-SVID §2): one name, a URI.
fn client(
    name: &str,
    spiffe_id: &str,
    now: UnixTime,
    lifetime: Duration,
) -> Result<CertificateParams, IssueError> {
    let mut params = parameters(name, now, lifetime);
    params.subject_alt_names = vec![SanType::URI(ia5(spiffe_id)?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn parameters(name: &str, now: UnixTime, lifetime: Duration) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let start = u64::try_from(now.0).unwrap_or(0);
    let mut params = CertificateParams::default();
    params.not_before = epoch + Duration::from_secs(start.saturating_sub(BACKDATE.as_secs()));
    params.not_after = epoch + Duration::from_secs(start) + lifetime;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

/// 127 random bits: positive, and unguessable (CA/B BR §7.1).
fn serial() -> SerialNumber {
    let mut bytes = crate::random::bytes::<16>();
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn ia5(text: &str) -> Result<rcgen::string::Ia5String, IssueError> {
    text.try_into().map_err(IssueError::Name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_verifier::certificate::{Certificate, KeyPurpose, TrustAnchors, VerifiedPath};

    const NOW: UnixTime = UnixTime(1_790_000_000);

    fn authority() -> CertificateAuthority {
        let key = key_of_pem(&new_key().unwrap()).unwrap();
        let certificate = CertificateAuthority::self_signed("Test CA", key.clone(), NOW).unwrap();
        CertificateAuthority::load(certificate, key).unwrap()
    }

    #[test]
    fn a_certificate_of_another_key_is_none_of_this_ca() {
        let (one, other) = (authority(), key_of_pem(&new_key().unwrap()).unwrap());
        let loaded = CertificateAuthority::load(one.certificate().clone(), other).unwrap();
        assert!(matches!(loaded.check(), Err(IssueError::OtherKey)));
        let issued =
            loaded.issue_gateway("spiffe://mesh.example/gateway/a", NOW, Duration::from_secs(60));
        assert!(matches!(issued.err(), Some(IssueError::OtherKey)));
    }

    #[test]
    fn numbers_of_a_signature_are_the_shortest_that_are_positive() {
        let mut signature = [0; 64];
        signature[31] = 1;
        signature[32] = 0x80;
        let der = ecdsa_der(&signature);
        assert_eq!(der[..8], [0x30, 38, 0x02, 1, 1, 0x02, 33, 0]);
        assert_eq!(der[8..10], [0x80, 0]);
        signature[32] = 0x7f;
        assert_eq!(ecdsa_der(&signature)[..7], [0x30, 37, 0x02, 1, 1, 0x02, 32]);
        assert_eq!(ecdsa_der(&[0; 64]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn a_device_certificate_is_what_the_verifier_expects() {
        let ca = authority();
        let id = "spiffe://mesh.example/device/0100";
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let point: &[u8; 65] = key.public_key_raw().try_into().unwrap();
        let device = ca.issue_device(point, id, NOW, Duration::from_secs(600)).unwrap();
        let parsed = Certificate::parse(&device).unwrap();
        assert_eq!(parsed.spiffe_id(), Ok(id));
        assert_eq!(parsed.purposes(), [KeyPurpose::ClientAuthentication]);
        assert_eq!(parsed.not_after(), UnixTime(NOW.0 + 600));
        let ak = ca.issue_attestation_key(point, id, NOW, Duration::from_secs(600)).unwrap();
        assert_eq!(Certificate::parse(&ak).unwrap().purposes(), [KeyPurpose::AttestationKey]);
        let anchors = TrustAnchors::from_der([ca.certificate()]).unwrap();
        for (leaf, purpose) in
            [(&device, KeyPurpose::ClientAuthentication), (&ak, KeyPurpose::AttestationKey)]
        {
            VerifiedPath::verify(leaf, &[], &anchors, Some(purpose), NOW).unwrap();
        }
    }
}
