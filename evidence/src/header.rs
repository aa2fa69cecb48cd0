//! The parts of the protected header: certificate chain, FIDO2 assertion or registration, TPM evidence.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::binding::Sha256;
use crate::cbor::{self, CborError, Fields, Value};

/// A malformed part of the protected header.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum HeaderError {
    /// Not there.
    #[error("missing")]
    Missing,
    /// Of the wrong CBOR type, or a member is missing, unknown or too large.
    #[error("wrong shape")]
    Shape,
    /// Not deterministic CBOR.
    #[error("not deterministic CBOR")]
    Cbor(#[from] CborError),
}

/// DER certificates, leaf first: `x5chain = bstr / [2* bstr]` (RFC 9360 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateChain(Vec<Vec<u8>>);

impl CertificateChain {
    /// More certificates than any chain here has.
    const MAX: usize = 4;

    /// A chain of one to four certificates; `None` for none, too many, or an empty one.
    #[must_use]
    pub fn new(certificates: Vec<Vec<u8>>) -> Option<Self> {
        let sound = (1..=Self::MAX).contains(&certificates.len())
            && certificates.iter().all(|der| !der.is_empty());
        sound.then_some(Self(certificates))
    }

    /// The end-entity certificate.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    /// The certificates above the leaf.
    #[must_use]
    pub fn intermediates(&self) -> &[Vec<u8>] {
        self.0.get(1..).unwrap_or_default()
    }

    /// All certificates, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0
    }

    pub(crate) fn to_value(&self) -> Value {
        match self.0.as_slice() {
            [leaf] => Value::Bytes(leaf.clone()),
            chain => Value::Array(chain.iter().cloned().map(Value::Bytes).collect()),
        }
    }

    pub(crate) fn from_value(value: Value) -> Result<Self, HeaderError> {
        let certificates = match value {
            Value::Bytes(leaf) => vec![leaf],
            Value::Array(items) if items.len() >= 2 => items
                .into_iter()
                .map(Value::into_bytes)
                .collect::<Result<_, _>>()
                .map_err(|_| HeaderError::Shape)?,
            _ => return Err(HeaderError::Shape),
        };
        Self::new(certificates).ok_or(HeaderError::Shape)
    }
}

/// How the host saw the user verified. A hint: the UV flag that the authenticator signs is the same
/// for every method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedVerification {
    /// Built in to the authenticator (fingerprint, or a keypad on the key).
    BuiltIn,
    /// PIN entered at the host.
    Pin,
    /// Another way.
    Other,
}

impl ObservedVerification {
    fn number(self) -> u8 {
        match self {
            Self::BuiltIn => 1,
            Self::Pin => 2,
            Self::Other => 3,
        }
    }

    fn from_value(value: &Value) -> Option<Self> {
        let number = i128::from(value.as_integer()?);
        [Self::BuiltIn, Self::Pin, Self::Other]
            .into_iter()
            .find(|method| i128::from(method.number()) == number)
    }
}

/// `fido-assertion`: a WebAuthn assertion over the statement (WebAuthn L3 §5.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FidoAssertion {
    /// Credential id, 1 to 1023 bytes.
    pub credential_id: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// ES256 signature, DER.
    pub signature: Vec<u8>,
    /// What the host saw; untrusted.
    pub observed: Option<ObservedVerification>,
}

impl FidoAssertion {
    /// Deterministic encoding: the `F` of the qualifying data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut members = vec![
            (1, Value::Bytes(self.credential_id.clone())),
            (2, Value::Bytes(self.authenticator_data.clone())),
            (3, Value::Bytes(self.client_data.clone())),
            (4, Value::Bytes(self.signature.clone())),
        ];
        if let Some(observed) = self.observed {
            members.push((5, observed.number().into()));
        }
        cbor::encode(&cbor::map(members))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::decode(bytes)?;
        let assertion = Self {
            credential_id: members.bytes(1, 1023)?,
            authenticator_data: members.bytes(2, 2048)?,
            client_data: members.bytes(3, 1024)?,
            signature: members.bytes(4, 256)?,
            observed: members
                .0
                .take(5)
                .map(|value| ObservedVerification::from_value(&value).ok_or(HeaderError::Shape))
                .transpose()?,
        };
        members.finish()?;
        Ok(assertion)
    }
}

/// `fido-registration`: a new credential's attestation (WebAuthn L3 §5.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FidoRegistration {
    /// `attestationObject`.
    pub attestation_object: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
}

impl FidoRegistration {
    /// Deterministic encoding: the `R` of the qualifying data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&cbor::map(vec![
            (1, Value::Bytes(self.attestation_object.clone())),
            (2, Value::Bytes(self.client_data.clone())),
        ]))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::decode(bytes)?;
        let registration = Self {
            attestation_object: members.bytes(1, 6144)?,
            client_data: members.bytes(2, 1024)?,
        };
        members.finish()?;
        Ok(registration)
    }
}

/// A structure that the AK signed: `TPMS_ATTEST` and `TPMT_SIGNATURE` as the TPM marshalled them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAttest {
    /// `TPMS_ATTEST` (TCG TPM 2.0 Part 2 §10.12.8).
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE` (Part 2 §11.3.4).
    pub signature: Vec<u8>,
}

/// `TPM2_Certify` of the TLS key by the AK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedKey {
    /// What the AK signed.
    pub signed: SignedAttest,
    /// `TPMT_PUBLIC` of the TLS key (Part 2 §12.2.4).
    pub public: Vec<u8>,
}

/// `tpm-evidence`: what the workstation's TPM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmEvidence {
    /// AK certificate of the authority's CA (EKU 2.23.133.8.3).
    pub ak_chain: CertificateChain,
    /// `TPM2_Quote`.
    pub quote: SignedAttest,
    /// `TPM2_Certify` of the TLS key: at session start and after a certificate's rotation.
    pub certification: Option<CertifiedKey>,
    /// PCR values that hash to the quoted digest, by index.
    pub pcrs: Option<BTreeMap<u8, Vec<u8>>>,
    /// The TCG event log, or why there is none. Absent: the host says nothing of it.
    pub event_log: Option<SentLog>,
}

/// Longest event log that is sent, in bytes: three times the longest known.
pub const MAX_EVENT_LOG: usize = 256 << 10;

/// What a host sends of its event log. Nothing signs a log: it is believed as far as it leads to the
/// quoted PCRs, so it may as well have been sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentLog {
    /// The log, as the firmware left it.
    Whole(Vec<u8>),
    /// SHA-256 of a log that the authority has of this machine.
    Known(Sha256),
    /// Why there is none.
    Withheld(WithheldLog),
}

/// Why a host sends no event log. Said by the host, proved by nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithheldLog {
    /// There is none.
    Missing,
    /// It is longer than [`MAX_EVENT_LOG`].
    TooLong,
    /// It cannot be read.
    Unreadable,
}

impl WithheldLog {
    const ALL: [(Self, i64); 3] = [(Self::Missing, 1), (Self::TooLong, 2), (Self::Unreadable, 3)];
}

impl SentLog {
    fn to_value(&self) -> Value {
        match self {
            Self::Whole(log) => Value::Bytes(log.clone()),
            Self::Known(digest) => Value::Array(vec![Value::Bytes(digest.to_vec())]),
            Self::Withheld(why) => WithheldLog::ALL
                .into_iter()
                .find(|(known, _)| known == why)
                .map_or(Value::Null, |(_, number)| number.into()),
        }
    }

    fn from_value(value: Value) -> Result<Self, HeaderError> {
        let known = match value {
            Value::Bytes(log) if (1..=MAX_EVENT_LOG).contains(&log.len()) => {
                return Ok(Self::Whole(log));
            }
            Value::Array(items) => items,
            Value::Integer(number) => {
                let number = i128::from(number);
                let why =
                    WithheldLog::ALL.into_iter().find(|(_, known)| i128::from(*known) == number);
                return why.map(|(why, _)| Self::Withheld(why)).ok_or(HeaderError::Shape);
            }
            _ => return Err(HeaderError::Shape),
        };
        let [Value::Bytes(digest)] = known.as_slice() else { return Err(HeaderError::Shape) };
        digest.as_slice().try_into().map(Self::Known).map_err(|_| HeaderError::Shape)
    }
}

impl TpmEvidence {
    /// Deterministic encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let signed = |signed: &SignedAttest| {
            vec![Value::Bytes(signed.attest.clone()), Value::Bytes(signed.signature.clone())]
        };
        let mut members =
            vec![(1, self.ak_chain.to_value()), (2, Value::Array(signed(&self.quote)))];
        if let Some(certification) = &self.certification {
            let mut items = signed(&certification.signed);
            items.push(Value::Bytes(certification.public.clone()));
            members.push((3, Value::Array(items)));
        }
        if let Some(pcrs) = &self.pcrs {
            let entries =
                pcrs.iter().map(|(index, value)| (i64::from(*index), Value::Bytes(value.clone())));
            members.push((4, cbor::map(entries.collect())));
        }
        if let Some(log) = &self.event_log {
            members.push((5, log.to_value()));
        }
        cbor::encode(&cbor::map(members))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::decode(bytes)?;
        let quote: [Vec<u8>; 2] = members.byte_strings(2)?.ok_or(HeaderError::Missing)?;
        let [attest, signature] = quote;
        let evidence = Self {
            ak_chain: members
                .0
                .take(1)
                .ok_or(HeaderError::Missing)
                .and_then(CertificateChain::from_value)?,
            quote: SignedAttest { attest, signature },
            certification: members.byte_strings(3)?.map(|[attest, signature, public]| {
                CertifiedKey { signed: SignedAttest { attest, signature }, public }
            }),
            pcrs: members.0.take(4).map(pcr_values).transpose()?,
            event_log: members.0.take(5).map(SentLog::from_value).transpose()?,
        };
        members.finish()?;
        Ok(evidence)
    }
}

fn pcr_values(value: Value) -> Result<BTreeMap<u8, Vec<u8>>, HeaderError> {
    let Value::Map(entries) = value else { return Err(HeaderError::Shape) };
    let entry = |(index, value): (Value, Value)| {
        let index = index.as_integer().and_then(|index| u8::try_from(index).ok())?;
        let value = value.into_bytes().ok()?;
        // PCRs 0 to 23 of a PC client; SHA-256 or SHA-384 bank.
        (index < 24 && matches!(value.len(), 32 | 48)).then_some((index, value))
    };
    entries.into_iter().map(entry).collect::<Option<_>>().ok_or(HeaderError::Shape)
}

pub(crate) struct Members(pub(crate) Fields);

impl Members {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        Ok(Self(Fields::new(cbor::decode(bytes)?).ok_or(HeaderError::Shape)?))
    }

    pub(crate) fn bytes(&mut self, key: i64, max: usize) -> Result<Vec<u8>, HeaderError> {
        self.optional_bytes(key, max)?.ok_or(HeaderError::Missing)
    }

    pub(crate) fn optional_bytes(
        &mut self,
        key: i64,
        max: usize,
    ) -> Result<Option<Vec<u8>>, HeaderError> {
        match self.0.take(key) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) if (1..=max).contains(&bytes.len()) => Ok(Some(bytes)),
            Some(_) => Err(HeaderError::Shape),
        }
    }

    pub(crate) fn byte_strings<const N: usize>(
        &mut self,
        key: i64,
    ) -> Result<Option<[Vec<u8>; N]>, HeaderError> {
        let Some(value) = self.0.take(key) else { return Ok(None) };
        let Value::Array(items) = value else { return Err(HeaderError::Shape) };
        let strings: Result<Vec<_>, _> = items.into_iter().map(Value::into_bytes).collect();
        let strings = strings.map_err(|_| HeaderError::Shape)?;
        strings.try_into().map(Some).map_err(|_| HeaderError::Shape)
    }

    pub(crate) fn finish(self) -> Result<(), HeaderError> {
        match self.0.left_over() {
            None => Ok(()),
            Some(_) => Err(HeaderError::Shape),
        }
    }
}
