//! The signed forms of a list (§5): `statuslist+jwt` and `statuslist+cwt`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coset::iana::Algorithm;
use coset::{
    CoseSign1, CoseSign1Builder, HeaderBuilder, Label, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};
use serde::{Deserialize, Serialize};
use signet_evidence::UnixTime;
use signet_evidence::cbor::{self, Value};
use thiserror::Error;

use super::{CWT_MEDIA_TYPE, ListFault, StatusList};
use crate::token::{SigningUnavailable, TokenSigner, VerifyingKey};

/// How far the issuer's and the reader's clocks may differ, in seconds.
const SKEW: i64 = 5;
/// Longest token that is looked at, in bytes: a list hardly shrinks where every second bit is set.
const MAX_TOKEN: usize = 4 << 20;
const TYP: i64 = 16;
const SUB: i64 = 2;
const EXP: i64 = 4;
const IAT: i64 = 6;
const STATUS_LIST: i64 = 65533;
const TTL: i64 = 65534;

/// A list as its issuer vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusListToken {
    /// `sub`: where the list is, as tokens name it.
    pub uri: String,
    /// `iat`: also a lower bound for the time now.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires: Option<UnixTime>,
    /// How long it may be used without asking again, in seconds.
    pub time_to_live: Option<i64>,
    /// The statuses.
    pub list: StatusList,
}

/// What a list is read for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The issuer's keys.
    pub keys: &'a [VerifyingKey],
    /// The `uri` of the token whose status is asked for.
    pub uri: &'a str,
    /// Now.
    pub now: UnixTime,
}

/// A list that does not count.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenFault {
    /// Not of the one form that is read.
    #[error("not a status list token")]
    Malformed,
    /// No key of the issuer's, or not its signature.
    #[error("the status list is not signed by its issuer")]
    Signature,
    /// Another list.
    #[error("this is the list of another place")]
    OtherList,
    /// Over.
    #[error("the status list has run out; get it anew")]
    Expired,
    /// By the list's own time this machine's clock is behind.
    #[error("the status list is of the future: set this machine's clock")]
    ClockBehind,
    /// The list itself.
    #[error("the statuses cannot be read")]
    List(#[from] ListFault),
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Members that are not known here are ignored (§5.1).
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
    status_list: List,
}

#[derive(Serialize, Deserialize)]
struct List {
    bits: u64,
    lst: String,
}

impl StatusListToken {
    /// The JWT (§5.1).
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn to_jwt(&self, signer: &dyn TokenSigner) -> Result<String, SigningUnavailable> {
        let header = Header {
            alg: "ES256".into(),
            kid: signer.key_id().into(),
            typ: "statuslist+jwt".into(),
        };
        let claims = Claims {
            sub: self.uri.clone(),
            iat: self.issued_at.0,
            exp: self.expires.map(|expires| expires.0),
            ttl: self.time_to_live,
            status_list: List {
                bits: self.list.width().bits(),
                lst: URL_SAFE_NO_PAD.encode(self.list.deflate()),
            },
        };
        let json = |value: Result<Vec<u8>, serde_json::Error>| {
            value.map(|value| URL_SAFE_NO_PAD.encode(value)).map_err(|_| SigningUnavailable::Failed)
        };
        let mut token = json(serde_json::to_vec(&header))?;
        token.push('.');
        token.push_str(&json(serde_json::to_vec(&claims))?);
        let signature = signer.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The CWT (§5.2).
    ///
    /// # Errors
    /// [`SigningUnavailable`].
    pub fn to_cwt(&self, signer: &dyn TokenSigner) -> Result<Vec<u8>, SigningUnavailable> {
        let list = Value::Map(vec![
            ("bits".into(), self.list.width().bits().into()),
            ("lst".into(), Value::Bytes(self.list.deflate())),
        ]);
        let mut claims = vec![
            (SUB, self.uri.as_str().into()),
            (IAT, self.issued_at.0.into()),
            (STATUS_LIST, list),
        ];
        claims.extend(self.expires.map(|expires| (EXP, expires.0.into())));
        claims.extend(self.time_to_live.map(|ttl| (TTL, ttl.into())));
        let header = HeaderBuilder::new()
            .algorithm(Algorithm::ES256)
            .key_id(signer.key_id().as_bytes().to_vec())
            .value(TYP, CWT_MEDIA_TYPE.into())
            .build();
        let payload = cbor::encode(&cbor::map(claims));
        let mut cose = CoseSign1Builder::new().protected(header).payload(payload).build();
        cose.signature = signer.sign(&cose.tbs_data(&[]))?.to_vec();
        cose.to_tagged_vec().map_err(|_| SigningUnavailable::Failed)
    }

    /// Reads a JWT and believes it, or says why not.
    ///
    /// # Errors
    /// See [`TokenFault`]; the first failing check decides.
    pub fn from_jwt(token: &str, scope: Scope<'_>) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(TokenFault::Malformed);
        }
        let (payload, signed) = parse_jwt(token).ok_or(TokenFault::Malformed)?;
        signed.check(scope.keys)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| TokenFault::Malformed)?;
        let List { bits, lst } = claims.status_list;
        let lst = URL_SAFE_NO_PAD.decode(lst).map_err(|_| TokenFault::Malformed)?;
        let read = Self {
            uri: claims.sub,
            issued_at: UnixTime(claims.iat),
            expires: claims.exp.map(UnixTime),
            time_to_live: claims.ttl,
            list: StatusList::inflate(bits, &lst)?,
        };
        read.for_now(scope)
    }

    /// Reads a CWT and believes it, or says why not.
    ///
    /// # Errors
    /// See [`TokenFault`]; the first failing check decides.
    pub fn from_cwt(token: &[u8], scope: Scope<'_>) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN {
            return Err(TokenFault::Malformed);
        }
        let (payload, signed) = parse_cwt(token).ok_or(TokenFault::Malformed)?;
        signed.check(scope.keys)?;
        let (claims, compressed) = cwt_claims(&payload).ok_or(TokenFault::Malformed)?;
        let read = Self {
            uri: claims.sub,
            issued_at: UnixTime(claims.iat),
            expires: claims.exp.map(UnixTime),
            time_to_live: claims.ttl,
            list: StatusList::inflate(claims.status_list.bits, &compressed)?,
        };
        read.for_now(scope)
    }

    fn for_now(self, scope: Scope<'_>) -> Result<Self, TokenFault> {
        if self.uri != scope.uri {
            return Err(TokenFault::OtherList);
        }
        if self.issued_at.0 > scope.now.0.saturating_add(SKEW) {
            return Err(TokenFault::ClockBehind);
        }
        let ended = |end: UnixTime| scope.now.0 >= end.0.saturating_add(SKEW);
        if self.expires.is_some_and(ended) {
            return Err(TokenFault::Expired);
        }
        Ok(self)
    }
}

/// What a signature is over, and whose it claims to be.
struct Signed {
    key_id: String,
    message: Vec<u8>,
    signature: [u8; 64],
}

impl Signed {
    fn check(&self, keys: &[VerifyingKey]) -> Result<(), TokenFault> {
        let key = keys.iter().find(|key| key.key_id() == self.key_id);
        let key = key.ok_or(TokenFault::Signature)?;
        key.verify(&self.message, &self.signature).map_err(|_| TokenFault::Signature)
    }
}

fn parse_jwt(token: &str) -> Option<(Vec<u8>, Signed)> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    if header.alg != "ES256" || header.typ != "statuslist+jwt" {
        return None;
    }
    let signed = Signed {
        key_id: header.kid,
        message: message.as_bytes().to_vec(),
        signature: URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?,
    };
    Some((URL_SAFE_NO_PAD.decode(payload).ok()?, signed))
}

/// The draft's own example is not in deterministic encoding, and names its key outside the signature.
fn parse_cwt(token: &[u8]) -> Option<(Vec<u8>, Signed)> {
    let cose = CoseSign1::from_tagged_slice(token).ok()?;
    let header = &cose.protected.header;
    let es256 = [Algorithm::ES256, Algorithm::ESP256].map(RegisteredLabelWithPrivate::Assigned);
    let typ = (Label::Int(TYP), Value::from(CWT_MEDIA_TYPE));
    if !header.alg.as_ref().is_some_and(|alg| es256.contains(alg))
        || !header.rest.contains(&typ)
        || !header.crit.is_empty()
    {
        return None;
    }
    let named = [&header.key_id, &cose.unprotected.key_id];
    let key_id = named.into_iter().find(|id| !id.is_empty())?.clone();
    let signed = Signed {
        key_id: String::from_utf8(key_id).ok()?,
        message: cose.tbs_data(&[]),
        signature: cose.signature.as_slice().try_into().ok()?,
    };
    Some((cose.payload?, signed))
}

fn cwt_claims(payload: &[u8]) -> Option<(Claims, Vec<u8>)> {
    let value: Value = ciborium::from_reader(payload).ok()?;
    let entries = value.as_map()?;
    let find = |label: i64| {
        let mut found = entries.iter().filter(|(key, _)| *key == Value::from(label));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    };
    let integer = |label: i64| i64::try_from(find(label)?.as_integer()?).ok();
    let list = find(STATUS_LIST)?.as_map()?;
    let member = |name: &str| {
        list.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value)
    };
    let bits = u64::try_from(member("bits")?.as_integer()?).ok()?;
    let claims = Claims {
        sub: find(SUB)?.as_text()?.to_owned(),
        iat: integer(IAT)?,
        exp: integer(EXP),
        ttl: integer(TTL),
        status_list: List { bits, lst: String::new() },
    };
    Some((claims, member("lst")?.as_bytes()?.clone()))
}
