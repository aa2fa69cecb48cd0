//! Device enrolment (protocol §4.1): a machine proves that its AK and its TLS key live in the TPM
//! whose endorsement key it shows.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use signet_evidence::binding::{enrolment_qualifying_data, sha256};
use signet_evidence::cbor::{self, Value};
use signet_evidence::header::SignedAttest;
use signet_evidence::tpm::{Name, TpmtPublic};
use signet_evidence::{DeviceId, RejectionCode, UnixTime};
use thiserror::Error;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use crate::appraise::pcr_values;
use crate::certificate::TrustAnchors;
use crate::ecdsa::P256PublicKey;
use crate::records::TpmClock;
use crate::rejection::Rejection;
use crate::tpm::{
    AttestationKey, EndorsementKey, TlsKey, VerifiedCertification, VerifiedEndorsement,
    VerifiedQuote, make_credential,
};

const DOMAIN: &str = "signet-enrol-v1";

/// Which machines may enrol.
#[derive(Clone, Debug, Default)]
pub struct EnrolmentPolicy {
    /// Roots (or intermediates) of the TPM makers.
    pub makers: TrustAnchors,
    /// Certificates between those and the EKs', fetched ahead of time; only to build chains with.
    pub intermediates: Vec<Vec<u8>>,
    /// Accept any TPM without an EK certificate, with nobody's approval: its tokens say `dev: unproven`.
    pub danger_accept_unproven: bool,
}

/// What the machine shows first.
#[derive(Clone, Debug)]
pub struct EnrolmentRequest {
    /// `TPMT_PUBLIC` of the EK.
    pub ek_public: Vec<u8>,
    /// The EK's certificate as read from NV, padding cut.
    pub ek_certificate: Option<Vec<u8>>,
    /// Intermediates, any order.
    pub ek_chain: Vec<Vec<u8>>,
    /// `TPMT_PUBLIC` of the AK.
    pub ak_public: Vec<u8>,
    /// `TPMT_PUBLIC` of the TLS key.
    pub tls_public: Vec<u8>,
    /// Whether somebody answers for this very EK: an administrator, or the ticket that names it. Known by
    /// the authority, never by the machine. Counts only where the TPM has no certificate.
    pub ek_approved: bool,
}

/// Fresh random bytes of the authority, one set for each enrolment.
pub struct EnrolmentRandomness {
    /// The secret that only the right TPM can open.
    pub secret: Zeroizing<[u8; 32]>,
    /// Seed of its wrapping.
    pub seed: Zeroizing<[u8; 32]>,
    /// Nonce of the quote and certification.
    pub nonce: [u8; 32],
    /// The device's id.
    pub device: [u8; 16],
}

/// An enrolment between its two messages. Holds a secret: it is kept in memory only, so that a
/// restart of the authority ends it.
pub struct PendingEnrolment {
    /// Its id, as both messages name it.
    pub id: String,
    /// `TPM2B_ID_OBJECT` for `TPM2_ActivateCredential`.
    pub credential_blob: Vec<u8>,
    /// `TPM2B_ENCRYPTED_SECRET` for the same.
    pub encrypted_secret: Vec<u8>,
    /// What both sides bind to: deterministic CBOR of everything exchanged.
    pub transcript: Vec<u8>,
    /// Nonce of the quote and certification.
    pub nonce: [u8; 32],
    /// The id the device will have.
    pub device: DeviceId,
    secret: Zeroizing<[u8; 32]>,
    ak: AttestationKey,
    ak_name: Name,
    tls_public: Vec<u8>,
    ek_digest: [u8; 32],
    endorsement_proven: bool,
}

/// What the machine answers.
#[derive(Clone, Debug)]
pub struct EnrolmentProof {
    /// `HMAC-SHA-256(secret, transcript ‖ nonce)`.
    pub proof: Vec<u8>,
    /// `TPM2_Certify` of the TLS key.
    pub certification: SignedAttest,
    /// `TPM2_Quote`.
    pub quote: SignedAttest,
    /// Quoted PCR values.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// PKCS#10 request (DER), signed by the TLS key.
    pub request: Vec<u8>,
}

/// A machine whose keys were shown to live in one TPM.
#[derive(Debug)]
pub struct VerifiedDevice {
    device: DeviceId,
    ak: P256PublicKey,
    ak_name: Name,
    tls: P256PublicKey,
    ek_digest: [u8; 32],
    endorsement_proven: bool,
    clock: TpmClock,
    pcrs: BTreeMap<u8, Vec<u8>>,
}

#[derive(Debug, Error)]
enum Cause {
    #[error("a public area is malformed")]
    Public(#[source] signet_evidence::tpm::WireError),
    #[error("the TPM has no endorsement certificate")]
    NoCertificate,
    #[error("the certificate request is malformed")]
    Request,
    #[error("the certificate request is for another key, or not signed by it")]
    RequestKey,
}

impl PendingEnrolment {
    /// First message: judges the three public areas and the EK's certificate, and wraps a secret for
    /// exactly this EK and AK.
    ///
    /// # Errors
    /// `ek-untrusted`, `ek-mismatch`, `ak-attributes`, `tls-key-attributes`.
    pub fn begin(
        id: &str,
        request: &EnrolmentRequest,
        policy: &EnrolmentPolicy,
        randomness: EnrolmentRandomness,
        now: UnixTime,
    ) -> Result<Self, Rejection> {
        let (ek, proven) = endorsement(request, policy, now)?;
        let ak_code = RejectionCode::AkAttributes;
        let ak_public = public_area(&request.ak_public, ak_code)?;
        let ak = AttestationKey::from_public(&ak_public)
            .map_err(|error| Rejection::because(ak_code, error))?;
        let tls_code = RejectionCode::TlsKeyAttributes;
        TlsKey::from_public(&public_area(&request.tls_public, tls_code)?)
            .map_err(|error| Rejection::because(tls_code, error))?;
        let ak_name = Name::of(&ak_public);
        let EnrolmentRandomness { secret, seed, nonce, device } = randomness;
        let wrapped = make_credential(&ek, &ak_name, secret.as_slice(), &seed)
            .map_err(|error| Rejection::because(RejectionCode::EkMismatch, error))?;
        let credential_blob = sized(&wrapped.credential_blob);
        let encrypted_secret = sized(&wrapped.encrypted_secret);
        let device = DeviceId::from_random(&device).ok_or(RejectionCode::EnrolmentUnknown)?;
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        let transcript = cbor::encode(&Value::Array(vec![
            DOMAIN.into(),
            id.into(),
            bytes(&request.ek_public),
            bytes(&request.ak_public),
            bytes(&request.tls_public),
            bytes(&credential_blob),
            bytes(&encrypted_secret),
            bytes(&nonce),
            bytes(device.as_bytes()),
        ]));
        Ok(Self {
            id: id.to_owned(),
            credential_blob,
            encrypted_secret,
            transcript,
            nonce,
            device,
            secret,
            ak,
            ak_name,
            tls_public: request.tls_public.clone(),
            ek_digest: sha256(&request.ek_public),
            endorsement_proven: proven,
        })
    }

    /// Second message: the secret was opened, so EK and AK share a TPM; the AK certifies the TLS key
    /// and quotes; the TLS key signed the certificate request.
    ///
    /// # Errors
    /// `activation-failed`, the `certification-…` and `quote-…` codes, `csr-mismatch`.
    pub fn finish(self, proof: &EnrolmentProof) -> Result<VerifiedDevice, Rejection> {
        let message = [self.transcript.as_slice(), &self.nonce].concat();
        hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_slice()),
            &message,
            &proof.proof,
        )
        .map_err(|_| Rejection::new(RejectionCode::ActivationFailed))?;
        let qualifying_data = enrolment_qualifying_data(&self.transcript, &self.nonce);
        let certification = VerifiedCertification::verify(
            &self.ak,
            &proof.certification.attest,
            &proof.certification.signature,
            &qualifying_data,
            &self.tls_public,
        )?;
        let tls = certification.key().public_key();
        let quote = VerifiedQuote::verify(
            &self.ak,
            &proof.quote.attest,
            &proof.quote.signature,
            &qualifying_data,
            Some(pcr_values(&proof.pcrs)?),
        )?;
        check_request(&proof.request, tls)?;
        Ok(VerifiedDevice {
            device: self.device,
            ak: self.ak.public_key().clone(),
            ak_name: self.ak_name,
            tls: tls.clone(),
            ek_digest: self.ek_digest,
            endorsement_proven: self.endorsement_proven,
            clock: quote.clock_info().into(),
            pcrs: proof.pcrs.clone(),
        })
    }
}

impl VerifiedDevice {
    /// Its id.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The AK to certify.
    #[must_use]
    pub fn ak(&self) -> &P256PublicKey {
        &self.ak
    }

    /// The AK's Name.
    #[must_use]
    pub fn ak_name(&self) -> &Name {
        &self.ak_name
    }

    /// The TLS key to certify.
    #[must_use]
    pub fn tls_key(&self) -> &P256PublicKey {
        &self.tls
    }

    /// SHA-256 of the EK's `TPMT_PUBLIC`: which TPM this is.
    #[must_use]
    pub fn ek_digest(&self) -> [u8; 32] {
        self.ek_digest
    }

    /// Whether a maker's certificate vouches for the EK.
    #[must_use]
    pub fn endorsement_proven(&self) -> bool {
        self.endorsement_proven
    }

    /// The TPM's clock at enrolment.
    #[must_use]
    pub fn clock(&self) -> TpmClock {
        self.clock
    }

    /// PCR values at enrolment: the first approved state.
    #[must_use]
    pub fn pcrs(&self) -> &BTreeMap<u8, Vec<u8>> {
        &self.pcrs
    }
}

fn endorsement(
    request: &EnrolmentRequest,
    policy: &EnrolmentPolicy,
    now: UnixTime,
) -> Result<(EndorsementKey, bool), Rejection> {
    let mismatch = RejectionCode::EkMismatch;
    let key = EndorsementKey::from_public(&public_area(&request.ek_public, mismatch)?)
        .map_err(|error| Rejection::because(mismatch, error))?;
    let untrusted = RejectionCode::EkUntrusted;
    let Some(certificate) = &request.ek_certificate else {
        return if request.ek_approved || policy.danger_accept_unproven {
            Ok((key, false))
        } else {
            Err(Rejection::because(RejectionCode::EkUnapproved, Cause::NoCertificate))
        };
    };
    // A certificate that does not verify is refused even where none would be accepted: it is a
    // finding, and hiding it would be a silent fallback.
    let between = [request.ek_chain.as_slice(), policy.intermediates.as_slice()].concat();
    let verified =
        VerifiedEndorsement::verify(key.clone(), certificate, &between, &policy.makers, now);
    verified.map_err(|error| {
        let code = match &error {
            crate::tpm::EndorsementError::Untrusted(_) => untrusted,
            crate::tpm::EndorsementError::KeyMismatch => mismatch,
        };
        Rejection::because(code, error)
    })?;
    Ok((key, true))
}

fn public_area(bytes: &[u8], code: RejectionCode) -> Result<TpmtPublic, Rejection> {
    TpmtPublic::parse(bytes).map_err(|error| Rejection::because(code, Cause::Public(error)))
}

/// A PKCS#10 request (RFC 2986) for exactly `key`, signed by it.
fn check_request(der: &[u8], key: &P256PublicKey) -> Result<(), Rejection> {
    let refused = |cause| Rejection::because(RejectionCode::CsrMismatch, cause);
    let (rest, request) =
        X509CertificationRequest::from_der(der).map_err(|_| refused(Cause::Request))?;
    if !rest.is_empty() {
        return Err(refused(Cause::Request));
    }
    let info = &request.certification_request_info;
    if info.subject_pki.subject_public_key.data.as_ref() != key.uncompressed_point() {
        return Err(refused(Cause::RequestKey));
    }
    key.verify_der(info.raw, &request.signature_value.data).map_err(|_| refused(Cause::RequestKey))
}

/// A `TPM2B`: a 16-bit size, then the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&size.to_be_bytes(), bytes].concat()
}
