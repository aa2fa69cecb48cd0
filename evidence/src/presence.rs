//! Presence Evidence: the tagged `COSE_Sign1` (RFC 9052 §4.2) around a statement.

use coset::iana::Algorithm;
use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use thiserror::Error;

use crate::binding::{self, Sha256};
use crate::cbor::{self, CborError, Fields, Value};
use crate::header::{
    CertificateChain, FidoAssertion, FidoRegistration, HeaderError, MAX_EVENT_LOG, SentLog,
    TpmEvidence,
};
use crate::key::{
    ASSERTION, Assertion, KeyPart, PLATFORM_ASSERTION, PLATFORM_REGISTRATION, REGISTRATION,
    Registration,
};
use crate::platform::{PlatformAssertion, PlatformRegistration};
use crate::statement::{Purpose, Statement, StatementError};

/// Largest evidence without an event log, in bytes (protocol §2.1).
pub const MAX_EVIDENCE_WITHOUT_LOG: usize = 8 * 1024;
/// Largest evidence, in bytes: with the longest event log.
pub const MAX_EVIDENCE: usize = MAX_EVENT_LOG + MAX_EVIDENCE_WITHOUT_LOG;
/// Media type of evidence (RFC 9782); also the `typ` header (RFC 9596).
pub const MEDIA_TYPE: &str = "application/eat+cwt";

/// CBOR tag of `COSE_Sign1` (RFC 9052 §2).
const COSE_SIGN1: u64 = 18;
/// ESP256 (RFC 9864) and ES256 (RFC 9053 §2.1), which are the same with our keys.
const ALGORITHMS: [i128; 2] = [-9, -7];
const ALG: i64 = 1;
const TYP: i64 = 16;
const X5CHAIN: i64 = 33;
const TPM: i64 = -70102;

/// A part of the protected header with the bytes it came as: digests are over the bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded<T> {
    /// The content of the byte string on the wire.
    pub bytes: Vec<u8>,
    /// What it says.
    pub value: T,
}

/// Parsed evidence: attacker-controlled values until a verifier has judged them.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The header's bytes as they travelled.
    protected: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// The statement.
    pub statement: Statement,
    /// mTLS client certificate, leaf first (RFC 9360).
    pub certificate_chain: CertificateChain,
    /// Absent: no person is claimed.
    pub assertion: Option<Encoded<Assertion>>,
    /// Present at key enrolment only.
    pub registration: Option<Encoded<Registration>>,
    /// Quote, and certification where one is due.
    pub tpm: TpmEvidence,
}

/// Bytes that are not Presence Evidence. Shape only: nothing here says that a signature is good.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum EvidenceError {
    /// Larger than is ever needed.
    #[error("evidence of {found} bytes is larger than {limit}")]
    TooLarge {
        /// The limit that applies.
        limit: usize,
        /// Bytes received.
        found: usize,
    },
    /// Not deterministic CBOR.
    #[error("evidence is not deterministic CBOR")]
    Cbor(#[from] CborError),
    /// Not a tagged COSE_Sign1 with an attached payload and a 64-byte signature.
    #[error("evidence is not a tagged COSE_Sign1 with payload and ES256 signature")]
    NotCoseSign1,
    /// The unprotected header must be empty: nothing signs it.
    #[error("the unprotected header is not empty")]
    UnprotectedHeader,
    /// `alg` is neither −9 (ESP256) nor −7 (ES256).
    #[error("the signature algorithm is not ESP256")]
    Algorithm,
    /// `typ` is not [`MEDIA_TYPE`].
    #[error("the typ header is not {MEDIA_TYPE}")]
    Type,
    /// A protected label that nobody here understands.
    #[error("unknown protected header label {0}")]
    UnknownLabel(i64),
    /// A part of the protected header is missing or malformed.
    #[error("protected header {label} is missing or malformed")]
    Header {
        /// The label.
        label: i64,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The statement is not valid.
    #[error("the statement is not valid")]
    Statement(#[from] StatementError),
    /// Two headers that stand for each other: which of them counted would be anybody's guess.
    #[error("protected headers {0} and {1} exclude each other")]
    Both(i64, i64),
    /// The purpose forbids this part of the header.
    #[error("purpose {purpose} forbids protected header {label}")]
    Forbidden {
        /// The statement's purpose.
        purpose: Purpose,
        /// The label.
        label: i64,
    },
    /// The purpose demands this part of the header.
    #[error("purpose {purpose} demands protected header {label}")]
    Demanded {
        /// The statement's purpose.
        purpose: Purpose,
        /// The label.
        label: i64,
    },
}

impl Evidence {
    /// Parses evidence: size, shape, and what its purpose demands and forbids (protocol §2.4, step 1).
    ///
    /// # Errors
    /// See [`EvidenceError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        at_most(bytes.len(), MAX_EVIDENCE)?;
        let [protected, payload, signature] = cose_sign1(cbor::decode(bytes)?)?;
        let mut header = ProtectedHeader::parse(&protected)?;
        let statement = Statement::decode(&payload)?;
        let evidence = Self {
            certificate_chain: header.required(X5CHAIN, CertificateChain::from_value)?,
            assertion: header.either(
                (ASSERTION, |bytes| FidoAssertion::decode(bytes).map(Assertion::SecurityKey)),
                (PLATFORM_ASSERTION, |bytes| {
                    PlatformAssertion::decode(bytes).map(Assertion::Platform)
                }),
            )?,
            registration: header.either(
                (REGISTRATION, |bytes| {
                    FidoRegistration::decode(bytes).map(Registration::SecurityKey)
                }),
                (PLATFORM_REGISTRATION, |bytes| {
                    PlatformRegistration::decode(bytes).map(Registration::Platform)
                }),
            )?,
            tpm: header.required(TPM, |value| encoded(value, TpmEvidence::decode))?.value,
            protected,
            payload,
            signature,
            statement,
        };
        header.finish()?;
        let log = match &evidence.tpm.event_log {
            Some(SentLog::Whole(log)) => log.len(),
            Some(SentLog::Known(_) | SentLog::Withheld(_)) | None => 0,
        };
        at_most(bytes.len(), MAX_EVIDENCE_WITHOUT_LOG + log)?;
        evidence.check_purpose()?;
        Ok(evidence)
    }

    /// The statement's bytes as they travelled: `S`.
    #[must_use]
    pub fn statement_bytes(&self) -> &[u8] {
        &self.payload
    }

    /// What the TLS key signed: the `Sig_structure` (RFC 9052 §4.4), with empty external data.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.protected.len() + self.payload.len() + 32);
        bytes.extend_from_slice(b"\x84\x6aSignature1");
        for part in [self.protected.as_slice(), &[], &self.payload] {
            cbor::put_bytes(&mut bytes, part);
        }
        bytes
    }

    /// The outer signature, r ‖ s, 64 bytes.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What the quote's and the certification's `extraData` must be.
    #[must_use]
    pub fn qualifying_data(&self) -> Sha256 {
        binding::qualifying_data(
            &self.payload,
            self.assertion.as_ref().map_or(&[], |part| part.bytes.as_slice()),
            self.registration.as_ref().map(|part| part.bytes.as_slice()),
        )
    }

    /// A missing assertion is judged in step 11, where it has its own code: a stripped touch is an
    /// attack and not a malformed message.
    fn check_purpose(&self) -> Result<(), EvidenceError> {
        let purpose = self.statement.purpose;
        if let Some(assertion) = &self.assertion {
            let allowed = match purpose {
                Purpose::Session | Purpose::Action => true,
                // A platform key is only as good as the host, and brings no further key.
                Purpose::EnrolKey => assertion.value.security_key().is_some(),
                Purpose::Renew | Purpose::EnrolDevice | Purpose::Workload => false,
            };
            if !allowed {
                return Err(EvidenceError::Forbidden { purpose, label: assertion.value.label() });
            }
        }
        match &self.registration {
            Some(registration) if purpose != Purpose::EnrolKey => {
                Err(EvidenceError::Forbidden { purpose, label: registration.value.label() })
            }
            None if purpose == Purpose::EnrolKey => {
                Err(EvidenceError::Demanded { purpose, label: REGISTRATION })
            }
            _ => Ok(()),
        }
    }
}

/// Evidence without its outer signature: what `signetd` puts together.
#[derive(Clone, Debug)]
pub struct UnsignedEvidence {
    builder: CoseSign1,
}

impl UnsignedEvidence {
    /// Puts the parts together; `statement`, `assertion` and `registration` are the very bytes that
    /// the earlier signers saw.
    #[must_use]
    pub fn new(
        statement: &[u8],
        certificate_chain: &CertificateChain,
        assertion: Option<KeyPart<'_>>,
        registration: Option<KeyPart<'_>>,
        tpm: &TpmEvidence,
    ) -> Self {
        let tpm = tpm.encode();
        let mut parts = vec![(TPM, tpm.as_slice())];
        parts.extend(assertion.map(|part| part.entry(ASSERTION, PLATFORM_ASSERTION)));
        parts.extend(registration.map(|part| part.entry(REGISTRATION, PLATFORM_REGISTRATION)));
        // Labels in the order of their encodings, so that the header is deterministic.
        parts.sort_unstable_by_key(|(label, _)| std::cmp::Reverse(*label));
        let mut header = HeaderBuilder::new()
            .algorithm(Algorithm::ESP256)
            .value(TYP, MEDIA_TYPE.into())
            .value(X5CHAIN, certificate_chain.to_value());
        for (label, content) in parts {
            header = header.value(label, Value::Bytes(content.to_vec()));
        }
        let builder =
            CoseSign1Builder::new().protected(header.build()).payload(statement.to_vec()).build();
        Self { builder }
    }

    /// What the TLS key signs.
    #[must_use]
    pub fn to_be_signed(&self) -> Vec<u8> {
        self.builder.tbs_data(&[])
    }

    /// The finished evidence; `signature` is r ‖ s over [`Self::to_be_signed`].
    ///
    /// # Errors
    /// [`EvidenceError`] when the result is not what a verifier would parse, so that it is never sent.
    pub fn finish(mut self, signature: [u8; 64]) -> Result<Vec<u8>, EvidenceError> {
        self.builder.signature = signature.to_vec();
        let bytes = self.builder.to_tagged_vec().map_err(|_| EvidenceError::NotCoseSign1)?;
        Evidence::parse(&bytes)?;
        Ok(bytes)
    }
}

/// Protected header, payload and signature of a tagged `COSE_Sign1` with nothing in the unprotected header.
fn cose_sign1(value: Value) -> Result<[Vec<u8>; 3], EvidenceError> {
    let not = EvidenceError::NotCoseSign1;
    let Value::Tag(COSE_SIGN1, inner) = value else { return Err(not) };
    let Value::Array(items) = *inner else { return Err(not) };
    let Ok([protected, unprotected, payload, signature]) = <[Value; 4]>::try_from(items) else {
        return Err(not);
    };
    let (Value::Bytes(protected), Value::Map(unprotected)) = (protected, unprotected) else {
        return Err(not);
    };
    let (Value::Bytes(payload), Value::Bytes(signature)) = (payload, signature) else {
        return Err(not);
    };
    if signature.len() != 64 {
        return Err(not);
    }
    if !unprotected.is_empty() {
        return Err(EvidenceError::UnprotectedHeader);
    }
    Ok([protected, payload, signature])
}

/// The protected header's entries beyond `alg` and `typ`, taken out one by one.
struct ProtectedHeader(Fields);

impl ProtectedHeader {
    fn parse(encoded: &[u8]) -> Result<Self, EvidenceError> {
        let entries = Fields::new(cbor::decode(encoded)?);
        let mut entries = Self(entries.ok_or(EvidenceError::NotCoseSign1)?);
        match entries.0.take(ALG) {
            Some(Value::Integer(alg)) if ALGORITHMS.contains(&alg.into()) => {}
            _ => return Err(EvidenceError::Algorithm),
        }
        match entries.0.take(TYP) {
            Some(Value::Text(text)) if text == MEDIA_TYPE => Ok(entries),
            _ => Err(EvidenceError::Type),
        }
    }

    fn required<T>(
        &mut self,
        label: i64,
        decode: impl FnOnce(Value) -> Result<T, HeaderError>,
    ) -> Result<T, EvidenceError> {
        self.0
            .take(label)
            .ok_or(HeaderError::Missing)
            .and_then(decode)
            .map_err(|source| EvidenceError::Header { label, source })
    }

    /// At most one of two headers that stand for each other.
    fn either<T>(
        &mut self,
        (left, decode_left): (i64, impl FnOnce(&[u8]) -> Result<T, HeaderError>),
        (right, decode_right): (i64, impl FnOnce(&[u8]) -> Result<T, HeaderError>),
    ) -> Result<Option<Encoded<T>>, EvidenceError> {
        let (label, part) = match (self.0.take(left), self.0.take(right)) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(EvidenceError::Both(left, right)),
            (Some(value), None) => (left, encoded(value, decode_left)),
            (None, Some(value)) => (right, encoded(value, decode_right)),
        };
        part.map(Some).map_err(|source| EvidenceError::Header { label, source })
    }

    fn finish(self) -> Result<(), EvidenceError> {
        self.0.left_over().map_or(Ok(()), |label| Err(EvidenceError::UnknownLabel(label)))
    }
}

fn encoded<T>(
    value: Value,
    decode: impl FnOnce(&[u8]) -> Result<T, HeaderError>,
) -> Result<Encoded<T>, HeaderError> {
    let bytes = value.into_bytes().map_err(|_| HeaderError::Shape)?;
    Ok(Encoded { value: decode(&bytes)?, bytes })
}

fn at_most(found: usize, limit: usize) -> Result<(), EvidenceError> {
    if found > limit { Err(EvidenceError::TooLarge { limit, found }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
