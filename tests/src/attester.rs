//! The Attester's side, piece by piece, on real parts: a TPM emulator through the daemon's own TPM
//! module, and a software key running third-party firmware through the project's own FIDO2 client.
//!
//! Where `signetd` makes only evidence that fits together, this makes any: that is what attacks are
//! built from.

use std::collections::BTreeMap;
use std::error::Error;

use aws_lc_rs::hmac;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData, SanType, SigningKey, date_time_ymd,
};
use signet_ctap::commands::{RelyingParty, UserEntity};
use signet_ctap::operation::{AssertRequest, Prompt, RegisterRequest, UserVerification};
use signet_ctap::{Key, Timing};
use signet_daemon::tpm::{Endorsement, Tpm, TpmConfig};
use signet_evidence::binding::{
    assertion_challenge, enrolment_qualifying_data, qualifying_data, registration_challenge, sha256,
};
use signet_evidence::header::{CertifiedKey, SignedAttest};
use signet_evidence::tpm::TpmtPublic;
use signet_evidence::webauthn::{Ceremony, ClientData};
use signet_evidence::{
    CertificateChain, DeviceId, FidoAssertion, FidoRegistration, KeyThumbprint,
    ObservedVerification, Purpose, Statement, TpmEvidence, UnixTime, UnsignedEvidence,
};
use signet_test_authenticators::{
    AttestationBatch, AttestationRoot, Firmware, KeyOptions, VirtualKey,
};

use crate::swtpm::Swtpm;
use zeroize::Zeroizing;

/// Anything that goes wrong while evidence is made; tests only print it.
pub type Fault = Box<dyn Error + Send + Sync>;

/// PCRs of the fixtures and tests.
pub const PCRS: [u8; 3] = [0, 4, 7];
/// RP ID of the fixtures and tests.
pub const RP_ID: &str = "presence.mesh.example";
/// The key's PIN.
pub const PIN: &str = "294817";
/// The enrolled finger.
pub const FINGER: &str = "right-index";

/// A certification authority that a test holds.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl TestCa {
    /// A fresh CA of this name.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn generate(name: &str) -> Result<Self, Fault> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
        let der = params.self_signed(&key)?.der().to_vec();
        Ok(Self { issuer: Issuer::new(params, key), der })
    }

    /// The CA's certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// A device's client certificate over any P-256 point.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn device(
        &self,
        trust_domain: &str,
        device: &DeviceId,
        point: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        self.spiffe(&signet_verifier::appraise::device_spiffe_id(trust_domain, device), point)
    }

    /// A client certificate of any SPIFFE ID over any P-256 point.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn spiffe(&self, id: &str, point: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.to_owned().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, point)
    }

    /// An AK certificate over any P-256 point.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn attestation_key(&self, point: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ak_usage()];
        self.issue(params, point)
    }

    /// A certificate of any names and usages, valid in these years, over any P-256 point.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn any(
        &self,
        names: &[&str],
        usages: Vec<ExtendedKeyUsagePurpose>,
        years: std::ops::Range<i32>,
        point: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(SanType::URI((*name).to_owned().try_into()?));
        }
        params.extended_key_usages = usages;
        self.issue_for(params, years, point)
    }

    fn issue(&self, params: CertificateParams, point: &[u8]) -> Result<Vec<u8>, Fault> {
        self.issue_for(params, 2020..2120, point)
    }

    fn issue_for(
        &self,
        mut params: CertificateParams,
        years: std::ops::Range<i32>,
        point: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        params.use_authority_key_identifier_extension = true;
        let subject = ForeignKey(point.to_vec());
        Ok(params.signed_by(&subject, &self.issuer)?.der().to_vec())
    }
}

/// The extended key usage of attestation keys.
pub fn ak_usage() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 3])
}

/// A public key whose private half is elsewhere.
struct ForeignKey(Vec<u8>);

impl PublicKeyData for ForeignKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A workstation with its TPM and its operator's key.
pub struct Attester {
    /// The TPM emulator; kept so that it lives.
    pub swtpm: Swtpm,
    /// The daemon's TPM module on it.
    pub tpm: Tpm,
    /// The software key.
    pub virtual_key: VirtualKey,
    /// The key, opened.
    pub key: Key,
    /// The software key's maker.
    pub attestation_root: Vec<u8>,
    /// What the maker wrote into it.
    pub batch: AttestationBatch,
    /// EKs and certificates.
    pub endorsement: Endorsement,
    /// `TPMT_PUBLIC` of the AK.
    pub ak_public: Vec<u8>,
    /// `TPMT_PUBLIC` of the TLS key.
    pub tls_public: Vec<u8>,
}

impl Attester {
    /// Starts everything and makes the TPM's keys.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn start() -> Result<Self, Fault> {
        let swtpm = Swtpm::copy()?;
        let tpm = Tpm::start(TpmConfig::new(swtpm.tcti(), [7; 32]))?;
        let endorsement = tpm.endorsement().await?;
        let ak_public = tpm.attestation_key().await?.public;
        let tls_public = tpm.create_tls_key().await?.public;
        let root = AttestationRoot::generate()?;
        let batch = root.issue(Firmware::OpenSk.aaguid())?;
        let virtual_key =
            KeyOptions::new(Firmware::OpenSk).finger(FINGER).attestation(batch.clone()).start()?;
        let mut key = Key::open_path(&virtual_key.socket(), Timing::default()).await?;
        // The firmware takes no finger before there is a PIN to fall back to.
        key.set_pin(&Zeroizing::new(PIN.into())).await?;
        Ok(Self {
            swtpm,
            tpm,
            virtual_key,
            key,
            attestation_root: root.certificate().to_vec(),
            batch,
            endorsement,
            ak_public,
            tls_public,
        })
    }

    /// The uncompressed point of a `TPMT_PUBLIC`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn point(public: &[u8]) -> Result<Vec<u8>, Fault> {
        let public = TpmtPublic::parse(public)?;
        Ok(public.ecc().ok_or("not an ECC key")?.uncompressed_point())
    }

    /// A statement of this machine for `purpose`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn statement(
        &self,
        purpose: Purpose,
        audience: &str,
        device: &DeviceId,
    ) -> Result<Statement, Fault> {
        let point = Self::point(&self.tls_public)?;
        Ok(Statement {
            challenge: vec![0; 8],
            audience: audience.into(),
            issued_at: UnixTime(0),
            confirmation: KeyThumbprint::of_uncompressed_point(&point).ok_or("bad point")?,
            device: device.clone(),
            subject: Some("alice".into()),
            scope: None,
            purpose,
            acr: None,
            action: None,
            session: None,
            host_facts: None,
        })
    }

    /// A touch (and a finger where `verify`) over `statement`.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn assert(
        &mut self,
        statement: &[u8],
        credential: &[u8],
        origin: &str,
        verify: bool,
    ) -> Result<FidoAssertion, Fault> {
        let challenge = assertion_challenge(statement);
        let client_data =
            ClientData { ceremony: Ceremony::Authentication, challenge: &challenge, origin }
                .to_json();
        if verify {
            self.virtual_key.finger(FINGER)?;
        }
        let request = AssertRequest {
            rp_id: RP_ID.into(),
            client_data_hash: sha256(&client_data),
            allow_list: vec![credential.to_vec()],
            user_verification: if verify {
                UserVerification::Required { pin_fallback: false }
            } else {
                UserVerification::Discouraged
            },
        };
        let assertion = self.key.assert(&request, &Prompt::nobody()).await?;
        Ok(FidoAssertion {
            credential_id: assertion.credential_id,
            authenticator_data: assertion.auth_data,
            client_data,
            signature: assertion.signature,
            observed: verify.then_some(ObservedVerification::BuiltIn),
        })
    }

    /// A new credential over `statement`.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn register(&mut self, statement: &[u8]) -> Result<FidoRegistration, Fault> {
        let challenge = registration_challenge(statement);
        let origin = format!("https://{RP_ID}");
        let client_data =
            ClientData { ceremony: Ceremony::Registration, challenge: &challenge, origin: &origin }
                .to_json();
        self.virtual_key.finger(FINGER)?;
        let name = "alice".to_owned();
        let request = RegisterRequest {
            rp: RelyingParty { id: RP_ID.into(), name: RP_ID.into() },
            user: UserEntity { id: vec![1; 16], name: name.clone(), display_name: name },
            client_data_hash: sha256(&client_data),
            algorithms: vec![-7],
            exclude_list: Vec::new(),
            resident_key: false,
            // Left open, so that a touch without verification can be made and refused.
            protection: None,
            min_pin_length: false,
            enterprise_attestation: None,
            user_verification: UserVerification::Required { pin_fallback: false },
        };
        let registration = self.key.register(&request, &Prompt::nobody()).await?;
        Ok(FidoRegistration { attestation_object: registration.attestation_object, client_data })
    }

    /// Quote, and certification where asked, over statement, assertion and registration.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn tpm_evidence(
        &self,
        ak_certificate: &[u8],
        statement: &[u8],
        assertion: Option<&[u8]>,
        registration: Option<&[u8]>,
        certify: bool,
        pcrs: &[u8],
    ) -> Result<TpmEvidence, Fault> {
        let data = qualifying_data(statement, assertion.unwrap_or_default(), registration);
        let quote = self.tpm.quote(data, pcrs).await?;
        let certification = if certify {
            let certified = self.tpm.certify_tls_key(data).await?;
            let signed = SignedAttest { attest: certified.attest, signature: certified.signature };
            Some(CertifiedKey { signed, public: certified.public })
        } else {
            None
        };
        Ok(TpmEvidence {
            ak_chain: CertificateChain::new(vec![ak_certificate.to_vec()]).ok_or("empty chain")?,
            quote: SignedAttest { attest: quote.attest, signature: quote.signature },
            certification,
            pcrs: Some(quote.pcrs),
            event_log: None,
        })
    }

    /// The outer signature by the TLS key in the TPM.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn seal(&self, evidence: UnsignedEvidence) -> Result<Vec<u8>, Fault> {
        let signature = self.tpm.sign_tls(sha256(&evidence.to_be_signed())).await?;
        Ok(evidence.finish(signature)?)
    }

    /// Answers an enrolment's second message.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn prove_enrolment(
        &self,
        pending: &signet_verifier::enrolment::PendingEnrolment,
    ) -> Result<signet_verifier::enrolment::EnrolmentProof, Fault> {
        let kind = self.endorsement.certified()?.kind;
        let secret = self
            .tpm
            .activate_credential(kind, &pending.credential_blob, &pending.encrypted_secret)
            .await?;
        let message = [pending.transcript.as_slice(), &pending.nonce].concat();
        let proof = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), &message);
        let data = enrolment_qualifying_data(&pending.transcript, &pending.nonce);
        let certified = self.tpm.certify_tls_key(data).await?;
        let quote = self.tpm.quote(data, &PCRS).await?;
        let request = self.certificate_request().await?;
        Ok(signet_verifier::enrolment::EnrolmentProof {
            proof: proof.as_ref().to_vec(),
            certification: SignedAttest {
                attest: certified.attest,
                signature: certified.signature,
            },
            quote: SignedAttest { attest: quote.attest, signature: quote.signature },
            pcrs: quote.pcrs,
            request,
        })
    }

    /// PKCS#10 signed by the TLS key in the TPM.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn certificate_request(&self) -> Result<Vec<u8>, Fault> {
        let key = TpmSigningKey {
            point: Self::point(&self.tls_public)?,
            tpm: self.tpm.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        let request = tokio::task::spawn_blocking(move || {
            CertificateParams::default()
                .serialize_request(&key)
                .map(|request| request.der().to_vec())
        });
        Ok(request.await??)
    }
}

/// rcgen's view of the TLS key.
struct TpmSigningKey {
    point: Vec<u8>,
    tpm: Tpm,
    runtime: tokio::runtime::Handle,
}

impl PublicKeyData for TpmSigningKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for TpmSigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .runtime
            .block_on(self.tpm.sign_tls(sha256(message)))
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(der_signature(&signature))
    }
}

/// `Ecdsa-Sig-Value` (RFC 3279 §2.2.3) of r ‖ s.
pub fn der_signature(signature: &[u8; 64]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        let mut value = bytes[start..].to_vec();
        if value[0] & 0x80 != 0 {
            value.insert(0, 0);
        }
        let mut out = vec![0x02, u8::try_from(value.len()).unwrap_or(0)];
        out.append(&mut value);
        out
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, u8::try_from(body.len()).unwrap_or(0)][..], &body].concat()
}

/// PCR values keyed for the world file.
pub fn pcrs_of(evidence: &TpmEvidence) -> BTreeMap<u8, Vec<u8>> {
    evidence.pcrs.clone().unwrap_or_default()
}
