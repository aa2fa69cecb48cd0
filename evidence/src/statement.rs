//! The statement: the EAT claims-set (RFC 9711) that every signer commits to.

use std::fmt;

use thiserror::Error;

use crate::action::{Action, ActionError};
use crate::cbor::{self, CborError, Fields, Value};
use crate::facts::HostFacts;
use crate::thumbprint::KeyThumbprint;
use crate::time::UnixTime;

/// `eat_profile` of everything Signet signs (RFC 9711 §6).
pub const PROFILE: &str = "urn:uuid:5b2d8f0e-7c1a-4e57-9a3c-1d6f0c9be2a4";

const SUB: i64 = 2;
const AUD: i64 = 3;
const IAT: i64 = 6;
const CNF: i64 = 8;
const SCOPE: i64 = 9;
const NONCE: i64 = 10;
const UEID: i64 = 256;
const EAT_PROFILE: i64 = 265;
const PURPOSE: i64 = -70001;
const ACR: i64 = -70002;
const ACTION: i64 = -70003;
const SID: i64 = -70004;
const HOST_FACTS: i64 = -70005;
/// `cnf` member: COSE Key Thumbprint (RFC 9679 §5.6).
const CKT: i64 = 5;

/// Longest text claim that is accepted, in bytes.
const MAX_TEXT: usize = 512;

/// What the evidence is for; decides which parts must and must not be present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A person starts a session, or renews their presence in one.
    Session,
    /// The machine renews a session's token; nobody is asked.
    Renew,
    /// A person approves exactly one request.
    Action,
    /// A machine joins.
    EnrolDevice,
    /// A person registers an authenticator.
    EnrolKey,
    /// A service without a person.
    Workload,
}

impl Purpose {
    /// Every purpose, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::Session,
        Self::Renew,
        Self::Action,
        Self::EnrolDevice,
        Self::EnrolKey,
        Self::Workload,
    ];

    /// The claim's value.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Session => 1,
            Self::Renew => 2,
            Self::Action => 3,
            Self::EnrolDevice => 4,
            Self::EnrolKey => 5,
            Self::Workload => 6,
        }
    }

    /// The purpose with this number.
    #[must_use]
    pub fn from_number(number: i128) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| i128::from(purpose.number()) == number)
    }

    /// Its name in HTTP and D-Bus messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Renew => "renew",
            Self::Action => "action",
            Self::EnrolDevice => "enrol-device",
            Self::EnrolKey => "enrol-key",
            Self::Workload => "workload",
        }
    }

    /// The purpose of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The device's UEID (RFC 9711 §4.2.1), type RAND (0x01): one type byte and 16 to 32 random bytes,
/// given at enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Vec<u8>);

impl DeviceId {
    const RAND: u8 = 0x01;

    /// A device id over random bytes; `None` unless there are 16 to 32 of them.
    #[must_use]
    pub fn from_random(random: &[u8]) -> Option<Self> {
        (16..=32).contains(&random.len()).then(|| Self([&[Self::RAND], random].concat()))
    }

    /// Parses the bytes of a `ueid` claim; only the RAND type is ours.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rand = bytes.first() == Some(&Self::RAND) && (17..=33).contains(&bytes.len());
        rand.then(|| Self(bytes.to_vec()))
    }

    /// The claim's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id from its hex form.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&crate::thumbprint::unhex(text)?)
    }
}

/// Lower-case hex.
impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::thumbprint::hex(&self.0))
    }
}

/// A session's identifier: 128 random bits, the token's `sid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::thumbprint::hex(&self.0))
    }
}

impl SessionId {
    /// The id from 32 hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Some(Self(crate::thumbprint::unhex(text)?.try_into().ok()?))
    }
}

/// The claims-set that is signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// `eat_nonce`: 8 to 64 bytes issued by the authority.
    pub challenge: Vec<u8>,
    /// `aud`: the authority's URL.
    pub audience: String,
    /// `iat` by the host's clock: informational, decides nothing.
    pub issued_at: UnixTime,
    /// `cnf.ckt` of the mTLS public key.
    pub confirmation: KeyThumbprint,
    /// `ueid`.
    pub device: DeviceId,
    /// `sub`: the operator; absent for workloads.
    pub subject: Option<String>,
    /// `scope` asked for.
    pub scope: Option<String>,
    /// What this is for.
    pub purpose: Purpose,
    /// `acr` asked for; what is granted is computed from what was proved.
    pub acr: Option<String>,
    /// The exact request that is approved; purpose `action` only.
    pub action: Option<Action>,
    /// The session that is renewed (purpose `renew`) or in which presence is proved anew
    /// (purpose `session`).
    pub session: Option<SessionId>,
    /// What the host says of itself.
    pub host_facts: Option<HostFacts>,
}

/// A statement that does not say what its purpose needs.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum StatementError {
    /// Not deterministic CBOR.
    #[error("the statement is not deterministic CBOR")]
    Cbor(#[from] CborError),
    /// Not a map with integer keys.
    #[error("the statement is not a claims-set")]
    NotAMap,
    /// A required claim is absent.
    #[error("claim {0} is missing")]
    Missing(i64),
    /// A claim has the wrong type or size.
    #[error("claim {0} has the wrong type or size")]
    Invalid(i64),
    /// `eat_profile` is not [`PROFILE`].
    #[error("the profile is not Signet's")]
    Profile,
    /// The purpose's number is not known.
    #[error("unknown purpose")]
    UnknownPurpose,
    /// The purpose demands this claim.
    #[error("purpose {purpose} demands claim {claim}")]
    Demanded {
        /// The statement's purpose.
        purpose: Purpose,
        /// The claim's key.
        claim: i64,
    },
    /// The purpose forbids this claim.
    #[error("purpose {purpose} forbids claim {claim}")]
    Forbidden {
        /// The statement's purpose.
        purpose: Purpose,
        /// The claim's key.
        claim: i64,
    },
    /// The action is not one we can show and check.
    #[error("the action is not valid")]
    Action(#[from] ActionError),
}

impl Statement {
    /// Deterministic encoding.
    ///
    /// # Errors
    /// [`StatementError`] when claims do not fit the purpose, so that nobody signs what would be refused.
    pub fn encode(&self) -> Result<Vec<u8>, StatementError> {
        let mut claims = vec![
            (EAT_PROFILE, Value::from(PROFILE)),
            (NONCE, Value::Bytes(self.challenge.clone())),
            (AUD, self.audience.as_str().into()),
            (IAT, self.issued_at.0.into()),
            (CNF, cbor::map(vec![(CKT, Value::Bytes(self.confirmation.0.to_vec()))])),
            (UEID, Value::Bytes(self.device.as_bytes().to_vec())),
            (PURPOSE, self.purpose.number().into()),
        ];
        let texts = [(SUB, &self.subject), (SCOPE, &self.scope), (ACR, &self.acr)];
        claims.extend(
            texts.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?.into()))),
        );
        if let Some(action) = &self.action {
            claims.push((ACTION, Value::Bytes(action.as_bytes().to_vec())));
        }
        if let Some(session) = self.session {
            claims.push((SID, Value::Bytes(session.0.to_vec())));
        }
        if let Some(facts) = &self.host_facts {
            claims.push((HOST_FACTS, facts.to_value()));
        }
        let bytes = cbor::encode(&cbor::map(claims));
        Self::decode(&bytes)?;
        Ok(bytes)
    }

    /// Parses and checks a statement. Unknown claims are ignored (RFC 9711 §3); unknown purposes are not.
    ///
    /// # Errors
    /// See [`StatementError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut claims = Fields::new(cbor::decode(bytes)?).ok_or(StatementError::NotAMap)?;
        if text(&mut claims, EAT_PROFILE)?.ok_or(StatementError::Missing(EAT_PROFILE))? != PROFILE {
            return Err(StatementError::Profile);
        }
        let number =
            take(&mut claims, PURPOSE)?.as_integer().ok_or(StatementError::Invalid(PURPOSE))?;
        let purpose = Purpose::from_number(number.into()).ok_or(StatementError::UnknownPurpose)?;
        let action =
            bytes_of(&mut claims, ACTION)?.map(|bytes| Action::parse(&bytes)).transpose()?;
        let statement = Self {
            challenge: required_bytes(&mut claims, NONCE, 8..=64)?,
            audience: text(&mut claims, AUD)?.ok_or(StatementError::Missing(AUD))?,
            issued_at: issued_at(&mut claims)?,
            confirmation: confirmation(&mut claims)?,
            device: DeviceId::from_bytes(&required_bytes(&mut claims, UEID, 7..=33)?)
                .ok_or(StatementError::Invalid(UEID))?,
            subject: text(&mut claims, SUB)?,
            scope: text(&mut claims, SCOPE)?,
            purpose,
            acr: text(&mut claims, ACR)?,
            action,
            session: session(&mut claims)?,
            host_facts: host_facts(&mut claims)?,
        };
        statement.check_purpose()?;
        Ok(statement)
    }

    /// Which claims each purpose demands and forbids (protocol §2.1).
    fn check_purpose(&self) -> Result<(), StatementError> {
        use Purpose::{Action, EnrolDevice, EnrolKey, Renew, Session, Workload};
        let purpose = self.purpose;
        // (present, demanded, forbidden, claim)
        let rules = [
            (
                self.subject.is_some(),
                matches!(purpose, Session | Renew | Action | EnrolKey),
                matches!(purpose, Workload),
                SUB,
            ),
            (self.action.is_some(), purpose == Action, purpose != Action, ACTION),
            (
                self.session.is_some(),
                purpose == Renew,
                matches!(purpose, Action | EnrolDevice | EnrolKey | Workload),
                SID,
            ),
        ];
        for (present, demanded, forbidden, claim) in rules {
            if demanded && !present {
                return Err(StatementError::Demanded { purpose, claim });
            }
            if forbidden && present {
                return Err(StatementError::Forbidden { purpose, claim });
            }
        }
        Ok(())
    }
}

fn take(claims: &mut Fields, key: i64) -> Result<Value, StatementError> {
    claims.take(key).ok_or(StatementError::Missing(key))
}

fn text(claims: &mut Fields, key: i64) -> Result<Option<String>, StatementError> {
    match claims.take(key) {
        None => Ok(None),
        Some(Value::Text(text)) if (1..=MAX_TEXT).contains(&text.len()) => Ok(Some(text)),
        Some(_) => Err(StatementError::Invalid(key)),
    }
}

fn bytes_of(claims: &mut Fields, key: i64) -> Result<Option<Vec<u8>>, StatementError> {
    match claims.take(key) {
        None => Ok(None),
        Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
        Some(_) => Err(StatementError::Invalid(key)),
    }
}

fn required_bytes(
    claims: &mut Fields,
    key: i64,
    sizes: std::ops::RangeInclusive<usize>,
) -> Result<Vec<u8>, StatementError> {
    let bytes = bytes_of(claims, key)?.ok_or(StatementError::Missing(key))?;
    if sizes.contains(&bytes.len()) { Ok(bytes) } else { Err(StatementError::Invalid(key)) }
}

fn issued_at(claims: &mut Fields) -> Result<UnixTime, StatementError> {
    take(claims, IAT)?
        .as_integer()
        .and_then(|integer| i64::try_from(integer).ok())
        .map(UnixTime)
        .ok_or(StatementError::Invalid(IAT))
}

fn confirmation(claims: &mut Fields) -> Result<KeyThumbprint, StatementError> {
    let mut members = Fields::new(take(claims, CNF)?).ok_or(StatementError::Invalid(CNF))?;
    let Some(Value::Bytes(thumbprint)) = members.take(CKT) else {
        return Err(StatementError::Invalid(CNF));
    };
    // Exactly one way of naming the key: a second one could name another key.
    match (<[u8; 32]>::try_from(thumbprint), members.left_over()) {
        (Ok(thumbprint), None) => Ok(KeyThumbprint(thumbprint)),
        _ => Err(StatementError::Invalid(CNF)),
    }
}

fn session(claims: &mut Fields) -> Result<Option<SessionId>, StatementError> {
    bytes_of(claims, SID)?
        .map(|bytes| bytes.try_into().map(SessionId).map_err(|_| StatementError::Invalid(SID)))
        .transpose()
}

fn host_facts(claims: &mut Fields) -> Result<Option<HostFacts>, StatementError> {
    let facts = claims.take(HOST_FACTS).map(HostFacts::from_value);
    facts.map(|facts| facts.ok_or(StatementError::Invalid(HOST_FACTS))).transpose()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn session_statement() -> Statement {
        Statement {
            challenge: vec![7; 39],
            audience: "https://authority.example".into(),
            issued_at: UnixTime(1_700_000_000),
            confirmation: KeyThumbprint([3; 32]),
            device: DeviceId::from_random(&[9; 16]).unwrap(),
            subject: Some("alice".into()),
            scope: None,
            purpose: Purpose::Session,
            acr: None,
            action: None,
            session: None,
            host_facts: Some(HostFacts {
                driver: Some("goodixmoc".into()),
                ..HostFacts::default()
            }),
        }
    }

    #[test]
    fn round_trip() {
        let statement = session_statement();
        assert_eq!(Statement::decode(&statement.encode().unwrap()), Ok(statement));
    }

    #[test]
    fn purposes_demand_and_forbid() {
        let purpose = Purpose::Renew;
        let statement = Statement { purpose, ..session_statement() };
        assert_eq!(statement.encode(), Err(StatementError::Demanded { purpose, claim: SID }));
        let purpose = Purpose::Action;
        let statement = Statement { purpose, ..session_statement() };
        assert_eq!(statement.encode(), Err(StatementError::Demanded { purpose, claim: ACTION }));
        let purpose = Purpose::Workload;
        let statement = Statement { purpose, ..session_statement() };
        assert_eq!(statement.encode(), Err(StatementError::Forbidden { purpose, claim: SUB }));
        let statement = Statement { subject: None, ..session_statement() };
        let purpose = Purpose::Session;
        assert_eq!(statement.encode(), Err(StatementError::Demanded { purpose, claim: SUB }));
    }

    #[test]
    fn unknown_claims_are_ignored_and_unknown_purposes_are_not() {
        type Claims = Vec<(Value, Value)>;
        let edit = |change: &dyn Fn(&mut Claims)| {
            let bytes = session_statement().encode().unwrap();
            let Value::Map(mut entries) = cbor::decode(&bytes).unwrap() else { panic!() };
            change(&mut entries);
            Statement::decode(&cbor::encode(&Value::Map(entries)))
        };
        assert_eq!(edit(&|claims| claims.push((4.into(), 5.into()))), Ok(session_statement()));
        let set = |key: i64, value: Value| {
            edit(&|claims| {
                claims.retain(|(found, _)| *found != Value::from(key));
                claims.push((key.into(), value.clone()));
            })
        };
        assert_eq!(set(PURPOSE, 9.into()), Err(StatementError::UnknownPurpose));
        assert_eq!(set(EAT_PROFILE, "urn:other".into()), Err(StatementError::Profile));
        assert_eq!(set(NONCE, Value::Bytes(vec![0; 7])), Err(StatementError::Invalid(NONCE)));
        assert_eq!(set(SUB, "".into()), Err(StatementError::Invalid(SUB)));
        let two_names = cbor::map(vec![(5, Value::Bytes(vec![0; 32])), (1, 0.into())]);
        let fact = cbor::map(vec![(2, "no digest".into())]);
        assert_eq!(set(HOST_FACTS, fact), Err(StatementError::Invalid(HOST_FACTS)));
        assert_eq!(set(CNF, two_names), Err(StatementError::Invalid(CNF)));
    }
}
