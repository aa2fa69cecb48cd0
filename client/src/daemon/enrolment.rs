//! The device's part of enrolment, over D-Bus.

use std::collections::BTreeMap;

use super::Daemon;
use super::dictionary::Dictionary;
use super::error::DaemonError;
use super::proxy::Arguments;
use crate::authority::{Base64Url, all};

/// An endorsement key of the TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementKey {
    /// `rsa-2048`, `ecc-p256` or `ecc-p384`; of the high range `rsa-2048-high`, `ecc-p256-high`.
    pub kind: String,
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// The maker's certificate, DER.
    pub certificate: Option<Vec<u8>>,
}

/// The keys that a machine enrols with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentKeys {
    /// Endorsement keys the TPM has.
    pub endorsement: Vec<EndorsementKey>,
    /// Intermediate certificates found beside them.
    pub endorsement_chain: Vec<Vec<u8>>,
    /// Attestation key, TPMT_PUBLIC.
    pub ak_public: Vec<u8>,
    /// TLS key, TPMT_PUBLIC.
    pub tls_public: Vec<u8>,
}

/// The authority's challenge to the TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationRequest {
    /// Which endorsement key it was made for.
    pub ek_kind: String,
    /// TPM2B_ID_OBJECT.
    pub credential_blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
    /// The authority's nonce.
    pub nonce: Vec<u8>,
    /// The enrolment transcript, CBOR.
    pub transcript: Vec<u8>,
}

/// The TPM's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// HMAC that proves the secret was recovered.
    pub proof: Vec<u8>,
    /// TPMS_ATTEST of the TLS key's certification.
    pub certify_attest: Vec<u8>,
    /// TPMT_SIGNATURE over it.
    pub certify_signature: Vec<u8>,
    /// TPMS_ATTEST of the quote.
    pub quote_attest: Vec<u8>,
    /// TPMT_SIGNATURE over it.
    pub quote_signature: Vec<u8>,
    /// PCR values by index.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
}

/// What the authority gives an enrolled machine to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolledState {
    /// mTLS client certificate, leaf first.
    pub device_chain: Vec<Vec<u8>>,
    /// AK certificate, leaf first.
    pub ak_chain: Vec<Vec<u8>>,
    /// UEID.
    pub device_id: Vec<u8>,
    /// The authority's URL.
    pub authority: String,
    /// Audience of evidence.
    pub audience: String,
    /// FIDO2 relying party.
    pub rp_id: String,
    /// The person this machine belongs to.
    pub operator: String,
    /// The authority's TLS trust anchors.
    pub trust_anchors: Vec<Vec<u8>>,
    /// Who signs this machine's certificates, now and at renewals.
    pub issuers: Vec<Vec<u8>>,
}

impl Daemon {
    /// Makes keys if there are none, and tells their public parts.
    ///
    /// # Errors
    /// When `signetd` refuses or cannot be reached.
    pub async fn begin_enrolment(&self) -> Result<EnrolmentKeys, DaemonError> {
        let mut keys = Dictionary::new(self.proxy.begin_enrolment().await?);
        let endorsement = keys.dictionaries("endorsement")?.into_iter().map(|mut key| {
            let certificate: Option<Vec<u8>> = key.optional("certificate")?;
            Ok(EndorsementKey {
                kind: key.take("kind")?,
                public: key.take("public")?,
                certificate: certificate.filter(|der| !der.is_empty()),
            })
        });
        Ok(EnrolmentKeys {
            endorsement: endorsement.collect::<Result<_, DaemonError>>()?,
            endorsement_chain: keys.optional("ek_chain")?.unwrap_or_default(),
            ak_public: keys.take("ak_public")?,
            tls_public: keys.take("tls_public")?,
        })
    }

    /// Lets the TPM answer the authority.
    ///
    /// # Errors
    /// When `signetd` refuses or cannot be reached.
    pub async fn activate_enrolment(
        &self,
        request: &ActivationRequest,
    ) -> Result<Activation, DaemonError> {
        let arguments: Arguments<'_> = [
            ("ek_kind", request.ek_kind.as_str().into()),
            ("credential_blob", request.credential_blob.as_slice().into()),
            ("encrypted_secret", request.encrypted_secret.as_slice().into()),
            ("nonce", request.nonce.as_slice().into()),
            ("transcript", request.transcript.as_slice().into()),
        ]
        .into();
        let mut answer = Dictionary::new(self.proxy.activate_enrolment(&arguments).await?);
        Ok(Activation {
            proof: answer.take("proof")?,
            certify_attest: answer.take("certify_attest")?,
            certify_signature: answer.take("certify_signature")?,
            quote_attest: answer.take("quote_attest")?,
            quote_signature: answer.take("quote_signature")?,
            pcrs: answer.numbered("pcrs")?,
            csr: answer.take("csr")?,
        })
    }

    /// Has `signetd` keep what the authority gave; from here on the machine is enrolled.
    ///
    /// # Errors
    /// When `signetd` refuses or cannot be reached.
    pub async fn complete_enrolment(&self, state: &EnrolledState) -> Result<(), DaemonError> {
        let arguments: Arguments<'_> = [
            ("device_chain", state.device_chain.clone().into()),
            ("ak_chain", state.ak_chain.clone().into()),
            ("device_id", state.device_id.as_slice().into()),
            ("authority", state.authority.as_str().into()),
            ("audience", state.audience.as_str().into()),
            ("rp_id", state.rp_id.as_str().into()),
            ("operator", state.operator.as_str().into()),
            ("ca", state.trust_anchors.clone().into()),
            ("issuers", state.issuers.clone().into()),
        ]
        .into();
        Ok(self.proxy.complete_enrolment(&arguments).await?)
    }

    /// Has `signetd` keep new certificates for the keys of this enrolment, DER, leaf first, and know the CAs that
    /// the ones it knows certified.
    ///
    /// # Errors
    /// When `signetd` refuses or cannot be reached; the old ones stay.
    pub async fn renew_certificates(
        &self,
        device_chain: Vec<Base64Url>,
        ak_chain: Vec<Base64Url>,
        successors: Vec<Base64Url>,
    ) -> Result<(), DaemonError> {
        let mut arguments: Arguments<'_> =
            [("device_chain", all(device_chain).into()), ("ak_chain", all(ak_chain).into())].into();
        // An earlier `signetd` refuses what it does not know, and needs it only when a CA changes.
        if !successors.is_empty() {
            arguments.insert("successors", all(successors).into());
        }
        Ok(self.proxy.renew_certificates(&arguments).await?)
    }
}
