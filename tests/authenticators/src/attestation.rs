//! Attestation certificates for test keys, made anew for every test or demo.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// Object identifier `id-fido-gen-ce-aaguid` (WebAuthn L3 §8.2.1).
const AAGUID_EXTENSION: [u64; 10] = [1, 3, 6, 1, 4, 1, 45724, 1, 1, 4];

/// A maker of keys: the root that a policy trusts.
pub struct AttestationRoot {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for AttestationRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttestationRoot").finish_non_exhaustive()
    }
}

impl AttestationRoot {
    /// Makes a root CA with a fresh key.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(None, "Signet Test FIDO Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// The root certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The root certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// Issues a batch certificate by the packed profile (WebAuthn L3 §8.2.1).
    pub fn issue(&self, aaguid: [u8; 16]) -> Result<AttestationBatch, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name =
            name(Some("Authenticator Attestation"), "Signet Test Key Batch 1");
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let mut value = vec![0x04, 0x10];
        value.extend_from_slice(&aaguid);
        params.custom_extensions.push(CustomExtension::from_oid_content(&AAGUID_EXTENSION, value));
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(AttestationBatch {
            aaguid,
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        })
    }
}

/// What a factory writes into every key of one batch.
#[derive(Clone)]
pub struct AttestationBatch {
    /// Model of the key; also inside the certificate.
    pub aaguid: [u8; 16],
    /// Leaf certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key, PKCS#8 DER. A test key: worthless.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for AttestationBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttestationBatch").field("aaguid", &self.aaguid).finish_non_exhaustive()
    }
}

/// The raw scalar of a P-256 key in PKCS#8 DER (the `ECPrivateKey` of RFC 5915 inside).
pub fn scalar(pkcs8: &[u8]) -> Option<[u8; 32]> {
    const VERSION_AND_LENGTH: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = pkcs8.windows(VERSION_AND_LENGTH.len()).position(|w| w == VERSION_AND_LENGTH)?;
    pkcs8.get(at + VERSION_AND_LENGTH.len()..)?.first_chunk().copied()
}

fn name(unit: Option<&str>, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "DE");
    name.push(DnType::OrganizationName, "Signet Test");
    if let Some(unit) = unit {
        name.push(DnType::OrganizationalUnitName, unit);
    }
    name.push(DnType::CommonName, common_name);
    name
}
