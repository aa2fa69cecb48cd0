//! Platform keys: user keys that live in the workstation's TPM, in place of a security key
//! (protocol §5.1).

use crate::cbor::{self, Value};
use crate::header::{HeaderError, Members, SignedAttest};

/// `platform-assertion`: a signature by a platform key over the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformAssertion {
    /// The key's TPM Name, by SHA-256: its credential id.
    pub key: PlatformKeyId,
    /// `TPMT_SIGNATURE`, ECDSA with SHA-256, over [`crate::binding::platform_digest`].
    pub signature: Vec<u8>,
}

/// A platform key's credential id: its Name, `000b ‖ SHA-256(TPMT_PUBLIC)` (TCG Part 1 §16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlatformKeyId([u8; 34]);

impl PlatformKeyId {
    /// `TPM_ALG_SHA256`.
    const SHA256: [u8; 2] = [0x00, 0x0b];

    /// The id of these bytes; `None` when they are not a Name by SHA-256.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let name: [u8; 34] = bytes.try_into().ok()?;
        name.starts_with(&Self::SHA256).then_some(Self(name))
    }

    /// The Name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PlatformAssertion {
    /// Deterministic encoding: the `F` of the qualifying data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&cbor::map(vec![
            (1, Value::Bytes(self.key.as_bytes().to_vec())),
            (2, Value::Bytes(self.signature.clone())),
        ]))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::decode(bytes)?;
        let assertion = Self {
            key: PlatformKeyId::from_bytes(&members.bytes(1, 34)?).ok_or(HeaderError::Shape)?,
            signature: members.bytes(2, 256)?,
        };
        members.finish()?;
        Ok(assertion)
    }
}

/// `platform-registration`: a new platform key, certified by the AK of the same TPM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformRegistration {
    /// `TPMT_PUBLIC` of the new key (TCG Part 2 §12.2.4).
    pub public: Vec<u8>,
    /// `TPM2_Certify` of it by the AK, with [`crate::binding::platform_registration_challenge`] as
    /// extraData.
    pub certification: SignedAttest,
    /// `TPMT_PUBLIC` of the key whose signature releases it: fingerprint keys only.
    pub authorisation_key: Option<Vec<u8>>,
}

impl PlatformRegistration {
    /// Deterministic encoding: the `R` of the qualifying data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let certification = vec![
            Value::Bytes(self.certification.attest.clone()),
            Value::Bytes(self.certification.signature.clone()),
        ];
        let mut members =
            vec![(1, Value::Bytes(self.public.clone())), (2, Value::Array(certification))];
        if let Some(public) = &self.authorisation_key {
            members.push((3, Value::Bytes(public.clone())));
        }
        cbor::encode(&cbor::map(members))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut members = Members::decode(bytes)?;
        let [attest, signature] = members.byte_strings(2)?.ok_or(HeaderError::Missing)?;
        let registration = Self {
            public: members.bytes(1, 512)?,
            certification: SignedAttest { attest, signature },
            authorisation_key: members.optional_bytes(3, 512)?,
        };
        members.finish()?;
        Ok(registration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assertion() -> PlatformAssertion {
        let key = PlatformKeyId::from_bytes(&[&[0, 0x0b][..], &[7; 32]].concat()).unwrap();
        PlatformAssertion { key, signature: vec![1; 72] }
    }

    fn registration() -> PlatformRegistration {
        PlatformRegistration {
            public: vec![1],
            certification: SignedAttest { attest: vec![2], signature: vec![3] },
            authorisation_key: Some(vec![4]),
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(PlatformAssertion::decode(&assertion().encode()), Ok(assertion()));
        assert_eq!(PlatformRegistration::decode(&registration().encode()), Ok(registration()));
        let pin = PlatformRegistration { authorisation_key: None, ..registration() };
        assert_eq!(PlatformRegistration::decode(&pin.encode()), Ok(pin));
    }

    #[test]
    fn a_key_is_named_by_a_sha256_name_only() {
        assert_eq!(PlatformKeyId::from_bytes(&[0; 34]), None);
        assert_eq!(PlatformKeyId::from_bytes(&[&[0, 0x0b][..], &[7; 31]].concat()), None);
        assert_eq!(PlatformKeyId::from_bytes(&[&[0, 0x0b][..], &[7; 33]].concat()), None);
        let sha1 = [&[0, 0x04][..], &[7; 32]].concat();
        assert_eq!(PlatformKeyId::from_bytes(&sha1), None);
    }

    #[test]
    fn other_shapes_are_refused() {
        let edit = |bytes: &[u8], key: i64, value: Option<Value>| {
            let Value::Map(mut map) = cbor::decode(bytes).unwrap() else { panic!() };
            map.retain(|(found, _)| *found != Value::from(key));
            map.extend(value.map(|value| (key.into(), value)));
            cbor::encode(&Value::Map(map))
        };
        let bytes = |length| Some(Value::Bytes(vec![0; length]));
        let (shape, missing) = (Err(HeaderError::Shape), Err(HeaderError::Missing));
        let assertion = assertion().encode();
        for (key, value, expected) in [
            (1, None, missing.clone()),
            (1, bytes(34), shape.clone()),
            (2, None, missing.clone()),
            (2, bytes(0), shape.clone()),
            (2, bytes(257), shape.clone()),
            (3, bytes(1), shape.clone()),
        ] {
            assert_eq!(PlatformAssertion::decode(&edit(&assertion, key, value)), expected);
        }
        let registration = registration().encode();
        let (shape, missing) = (Err(HeaderError::Shape), Err(HeaderError::Missing));
        let one = Some(Value::Array(vec![Value::Bytes(vec![1])]));
        for (key, value, expected) in [
            (1, None, missing.clone()),
            (1, bytes(513), shape.clone()),
            (2, None, missing),
            (2, one, shape.clone()),
            (3, bytes(0), shape.clone()),
            (3, Some("x".into()), shape.clone()),
            (4, bytes(1), shape),
        ] {
            assert_eq!(PlatformRegistration::decode(&edit(&registration, key, value)), expected);
        }
    }
}
