//! Attestation objects (L3 §6.5.4) with the statement formats that enrolment takes.

use ciborium::Value;
use thiserror::Error;

use crate::cbor::{self, CborError};

/// Certificates in one `x5c`; real chains have one to three.
const LONGEST_CHAIN: usize = 8;
/// `ver` of the `tpm` format.
const TPM_VERSION: &str = "2.0";

/// An attestation object (L3 §6.5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationObject {
    /// `fmt` and `attStmt`.
    pub statement: AttestationStatement,
    /// `authData`: the bytes the attestation signs over.
    pub authenticator_data: Vec<u8>,
}

/// An attestation statement (L3 §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttestationStatement {
    /// `none` (§8.7).
    None,
    /// `packed` (§8.2).
    Packed(PackedStatement),
    /// `fido-u2f` (§8.6).
    FidoU2f(U2fStatement),
    /// `tpm` (§8.3).
    Tpm(TpmStatement),
    /// `android-key` (§8.4): shaped like `packed`, always with a chain.
    AndroidKey(PackedStatement),
    /// `apple` (§8.8): certificates, leaf first; the leaf holds what others sign.
    Apple(Vec<Vec<u8>>),
}

/// `attStmt` of the `tpm` format (L3 §8.3). `ver` is always `2.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmStatement {
    /// COSE algorithm of the signature.
    pub algorithm: i64,
    /// AIK certificates, leaf first.
    pub x5c: Vec<Vec<u8>>,
    /// Signature by the AIK over `certify_info`, in the algorithm's WebAuthn form.
    pub signature: Vec<u8>,
    /// `certInfo`: `TPMS_ATTEST`.
    pub certify_info: Vec<u8>,
    /// `pubArea`: `TPMT_PUBLIC` of the credential's key.
    pub public_area: Vec<u8>,
}

/// `attStmt` of the `packed` format (L3 §8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedStatement {
    /// COSE algorithm of the signature.
    pub algorithm: i64,
    /// The signature, in the algorithm's WebAuthn form (ASN.1 DER for ECDSA).
    pub signature: Vec<u8>,
    /// Attestation certificates, leaf first; empty for self attestation.
    pub x5c: Vec<Vec<u8>>,
}

/// `attStmt` of the `fido-u2f` format (L3 §8.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct U2fStatement {
    /// ECDSA signature, ASN.1 DER.
    pub signature: Vec<u8>,
    /// The one attestation certificate.
    pub certificate: Vec<u8>,
}

/// Why bytes are not an attestation object that enrolment takes.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AttestationObjectError {
    /// Not one canonical CBOR value (CTAP 2.1 §8).
    #[error("attestation object is not canonical CBOR")]
    Cbor(#[from] CborError),
    /// Not a map of exactly `fmt`, `attStmt` and `authData`.
    #[error("attestation object does not have exactly fmt, attStmt and authData")]
    Malformed,
    /// A format that is not read here.
    #[error("attestation format is not one of none, packed, fido-u2f, tpm, android-key, apple")]
    UnsupportedFormat,
    /// `attStmt` does not have the members of its format.
    #[error("attestation statement does not have the members of its format")]
    Statement,
    /// `x5c` is present but empty, or longer than any real chain.
    #[error("attestation certificate chain has {length} certificates")]
    ChainLength {
        /// Certificates found.
        length: usize,
    },
}

impl AttestationObject {
    /// Parses an attestation object that fills `bytes`.
    ///
    /// # Errors
    /// See [`AttestationObjectError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, AttestationObjectError> {
        use AttestationObjectError as E;
        let mut members = Members::new(cbor::decode(bytes)?).ok_or(E::Malformed)?;
        let Some(Value::Text(format)) = members.take("fmt") else {
            return Err(E::Malformed);
        };
        let authenticator_data = members.bytes("authData").ok_or(E::Malformed)?;
        let statement = members.take("attStmt").ok_or(E::Malformed)?;
        members.finish().ok_or(E::Malformed)?;
        let members = Members::new(statement).ok_or(E::Malformed)?;
        let statement = match format.as_str() {
            "none" => {
                members.finish().ok_or(E::Statement)?;
                AttestationStatement::None
            }
            "packed" => AttestationStatement::Packed(packed(members)?),
            "fido-u2f" => AttestationStatement::FidoU2f(u2f(members)?),
            "tpm" => AttestationStatement::Tpm(tpm(members)?),
            "android-key" => AttestationStatement::AndroidKey(android_key(members)?),
            "apple" => AttestationStatement::Apple(apple(members)?),
            _ => return Err(E::UnsupportedFormat),
        };
        Ok(Self { statement, authenticator_data })
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |bytes: &Vec<u8>| Value::Bytes(bytes.clone());
        let (format, statement) = match &self.statement {
            AttestationStatement::None => ("none", vec![]),
            AttestationStatement::Packed(packed) => ("packed", signed_members(packed)),
            AttestationStatement::AndroidKey(signed) => ("android-key", signed_members(signed)),
            AttestationStatement::FidoU2f(u2f) => {
                let chain = chain_value(std::slice::from_ref(&u2f.certificate));
                ("fido-u2f", vec![("sig", bytes(&u2f.signature)), ("x5c", chain)])
            }
            AttestationStatement::Tpm(tpm) => (
                "tpm",
                vec![
                    ("ver", TPM_VERSION.into()),
                    ("alg", tpm.algorithm.into()),
                    ("x5c", chain_value(&tpm.x5c)),
                    ("sig", bytes(&tpm.signature)),
                    ("certInfo", bytes(&tpm.certify_info)),
                    ("pubArea", bytes(&tpm.public_area)),
                ],
            ),
            AttestationStatement::Apple(x5c) => ("apple", vec![("x5c", chain_value(x5c))]),
        };
        cbor::encode(&text_map(vec![
            ("fmt", Value::Text(format.to_owned())),
            ("attStmt", text_map(statement)),
            ("authData", Value::Bytes(self.authenticator_data.clone())),
        ]))
    }
}

fn signed_members(signed: &PackedStatement) -> Vec<(&'static str, Value)> {
    let mut members =
        vec![("alg", signed.algorithm.into()), ("sig", Value::Bytes(signed.signature.clone()))];
    if !signed.x5c.is_empty() {
        members.push(("x5c", chain_value(&signed.x5c)));
    }
    members
}

fn packed(mut members: Members) -> Result<PackedStatement, AttestationObjectError> {
    use AttestationObjectError as E;
    let algorithm = members.integer("alg").ok_or(E::Statement)?;
    let signature = members.bytes("sig").ok_or(E::Statement)?;
    let x5c = members.take("x5c").map_or(Ok(vec![]), chain)?;
    members.finish().ok_or(E::Statement)?;
    Ok(PackedStatement { algorithm, signature, x5c })
}

fn android_key(members: Members) -> Result<PackedStatement, AttestationObjectError> {
    let signed = packed(members)?;
    if signed.x5c.is_empty() { Err(AttestationObjectError::Statement) } else { Ok(signed) }
}

fn tpm(mut members: Members) -> Result<TpmStatement, AttestationObjectError> {
    use AttestationObjectError as E;
    if members.take("ver") != Some(TPM_VERSION.into()) {
        return Err(E::Statement);
    }
    let statement = TpmStatement {
        algorithm: members.integer("alg").ok_or(E::Statement)?,
        x5c: chain(members.take("x5c").ok_or(E::Statement)?)?,
        signature: members.bytes("sig").ok_or(E::Statement)?,
        certify_info: members.bytes("certInfo").ok_or(E::Statement)?,
        public_area: members.bytes("pubArea").ok_or(E::Statement)?,
    };
    members.finish().ok_or(E::Statement)?;
    Ok(statement)
}

fn apple(mut members: Members) -> Result<Vec<Vec<u8>>, AttestationObjectError> {
    use AttestationObjectError as E;
    let x5c = chain(members.take("x5c").ok_or(E::Statement)?)?;
    // Level 2 had `alg` here, which said nothing; devices still send it.
    members.take("alg");
    members.finish().ok_or(E::Statement)?;
    Ok(x5c)
}

fn u2f(mut members: Members) -> Result<U2fStatement, AttestationObjectError> {
    use AttestationObjectError as E;
    let signature = members.bytes("sig").ok_or(E::Statement)?;
    let mut certificates = chain(members.take("x5c").ok_or(E::Statement)?)?;
    members.finish().ok_or(E::Statement)?;
    let length = certificates.len();
    match certificates.pop() {
        Some(certificate) if length == 1 => Ok(U2fStatement { signature, certificate }),
        _ => Err(E::ChainLength { length }),
    }
}

fn chain(value: Value) -> Result<Vec<Vec<u8>>, AttestationObjectError> {
    let Value::Array(items) = value else {
        return Err(AttestationObjectError::Statement);
    };
    let length = items.len();
    if length == 0 || length > LONGEST_CHAIN {
        return Err(AttestationObjectError::ChainLength { length });
    }
    let certificate = |item| match item {
        Value::Bytes(der) => Ok(der),
        _ => Err(AttestationObjectError::Statement),
    };
    items.into_iter().map(certificate).collect()
}

fn chain_value(certificates: &[Vec<u8>]) -> Value {
    Value::Array(certificates.iter().cloned().map(Value::Bytes).collect())
}

fn text_map(members: Vec<(&str, Value)>) -> Value {
    Value::Map(
        members.into_iter().map(|(key, value)| (Value::Text(key.to_owned()), value)).collect(),
    )
}

/// Text-keyed members, taken out one by one so that what is left over can be refused.
struct Members(Vec<(String, Value)>);

impl Members {
    fn new(value: Value) -> Option<Self> {
        let Value::Map(entries) = value else {
            return None;
        };
        let text = |(key, value)| match key {
            Value::Text(key) => Some((key, value)),
            _ => None,
        };
        entries.into_iter().map(text).collect::<Option<_>>().map(Self)
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let index = self.0.iter().position(|(found, _)| found == key)?;
        Some(self.0.swap_remove(index).1)
    }

    fn bytes(&mut self, key: &str) -> Option<Vec<u8>> {
        match self.take(key)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn integer(&mut self, key: &str) -> Option<i64> {
        self.take(key)?.as_integer().and_then(|value| i64::try_from(value).ok())
    }

    fn finish(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
