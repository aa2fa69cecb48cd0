//! Issuing certificates: machines, attestation keys, gateways and this authority's own.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use signet_evidence::UnixTime;
use thiserror::Error;
use zeroize::Zeroizing;

/// `tcg-kp-AIKCertificate` (TCG OID registry): marks attestation keys.
const AIK_CERTIFICATE: &[u64] = &[2, 23, 133, 8, 3];
/// Ours and the operators' clocks may differ; certificates are valid from a little earlier.
const BACKDATE: Duration = Duration::from_secs(300);
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
}

/// One issuing key with its self-signed certificate.
pub struct CertificateAuthority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
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
    /// The certificate of a new CA named `name` for the key in `key_pem`, DER.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn self_signed(
        name: &str,
        key_pem: &str,
        now: UnixTime,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let key = KeyPair::from_pem(key_pem).map_err(IssueError::Signing)?;
        let mut params = parameters(name, now, CA_LIFETIME);
        // Leaves only: nobody may make a CA under this one.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(IssueError::Signing)?;
        Ok(certificate.der().clone())
    }

    /// A request for a certificate of a CA named `name` for the key in `key_pem`, PEM (RFC 2986).
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn request(name: &str, key_pem: &str) -> Result<String, IssueError> {
        let key = KeyPair::from_pem(key_pem).map_err(IssueError::Signing)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let request = params.serialize_request(&key).map_err(IssueError::Signing)?;
        request.pem().map_err(IssueError::Signing)
    }

    /// The CA with this certificate and key.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub fn load(certificate: CertificateDer<'static>, key_pem: &str) -> Result<Self, IssueError> {
        let key = KeyPair::from_pem(key_pem).map_err(IssueError::Signing)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(IssueError::Signing)?;
        Ok(Self { certificate, issuer })
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
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
        let mut params = parameters("Signet device", now, lifetime);
        params.subject_alt_names = vec![SanType::URI(ia5(spiffe_id)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, tls_key)
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
        let mut params = parameters("Signet gateway", now, lifetime);
        params.subject_alt_names = vec![SanType::URI(ia5(spiffe_id)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
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

    fn issue(&self, params: CertificateParams) -> Result<IssuedKey, IssueError> {
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
        let certificate =
            params.signed_by(&PublicPoint(point), &self.issuer).map_err(IssueError::Signing)?;
        Ok(certificate.der().clone())
    }
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
        let key = new_key().unwrap();
        let certificate = CertificateAuthority::self_signed("Test CA", &key, NOW).unwrap();
        CertificateAuthority::load(certificate, &key).unwrap()
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
