//! CWT (RFC 8392): the JWT's twin for those who speak CBOR, bound to the key and not the certificate.

use coset::iana::Algorithm;
use coset::{
    CoseSign1, CoseSign1Builder, HeaderBuilder, Label, RegisteredLabelWithPrivate,
    TaggedCborSerializable,
};
use signet_evidence::cbor::{self, Value};
use signet_evidence::thumbprint::{hex, unhex};
use zeroize::Zeroizing;

use super::claims::{Confirmation, Facts, Status, StatusListEntry, TokenClaims};
use super::signer::{SigningUnavailable, TokenSigner};

const TYP: i64 = 16;
const MEDIA_TYPE: &str = "application/cwt";

const ISS: i64 = 1;
const SUB: i64 = 2;
const AUD: i64 = 3;
const EXP: i64 = 4;
const NBF: i64 = 5;
const IAT: i64 = 6;
const CTI: i64 = 7;
const CNF: i64 = 8;
const SCOPE: i64 = 9;
const STATUS: i64 = 65535;
const SID: i64 = -70004;
const AUTH_TIME: i64 = -70010;
const ACR: i64 = -70011;
const AMR: i64 = -70012;
const CLIENT: i64 = -70013;
const FACTS: i64 = -70014;
const DETAILS: i64 = -70015;
const CKT: i64 = 5;

/// A CWT taken apart; nothing is verified yet.
pub(super) struct ParsedCwt {
    pub(super) key_id: String,
    pub(super) signed: Vec<u8>,
    pub(super) signature: [u8; 64],
    payload: Vec<u8>,
}

pub(super) fn encode(
    claims: &TokenClaims,
    signer: &dyn TokenSigner,
) -> Result<Zeroizing<Vec<u8>>, SigningUnavailable> {
    let payload = cbor::encode(&to_map(claims).ok_or(SigningUnavailable::Failed)?);
    let header = HeaderBuilder::new()
        .algorithm(Algorithm::ESP256)
        .key_id(signer.key_id().as_bytes().to_vec())
        .value(TYP, MEDIA_TYPE.into())
        .build();
    let mut cose = CoseSign1Builder::new().protected(header).payload(payload).build();
    cose.signature = signer.sign(&cose.tbs_data(&[]))?.to_vec();
    cose.to_tagged_vec().map(Zeroizing::new).map_err(|_| SigningUnavailable::Failed)
}

pub(super) fn parse(token: &[u8]) -> Option<ParsedCwt> {
    cbor::decode(token).ok()?;
    let cose = CoseSign1::from_tagged_slice(token).ok()?;
    cbor::decode(cose.protected.original_data.as_deref()?).ok()?;
    let header = &cose.protected.header;
    let known = cose.unprotected.is_empty()
        && header.alg == Some(RegisteredLabelWithPrivate::Assigned(Algorithm::ESP256))
        && header.rest == [(Label::Int(TYP), Value::from(MEDIA_TYPE))]
        && header.crit.is_empty()
        && header.content_type.is_none()
        && header.iv.is_empty()
        && header.partial_iv.is_empty()
        && header.counter_signatures.is_empty();
    if !known {
        return None;
    }
    Some(ParsedCwt {
        key_id: String::from_utf8(header.key_id.clone()).ok()?,
        signed: cose.tbs_data(&[]),
        signature: cose.signature.as_slice().try_into().ok()?,
        payload: cose.payload?,
    })
}

impl ParsedCwt {
    /// The claims; call it only once the signature was found good.
    pub(super) fn claims(&self) -> Option<TokenClaims> {
        from_map(cbor::decode(&self.payload).ok()?)
    }
}

fn to_map(claims: &TokenClaims) -> Option<Value> {
    let mut entries = vec![
        (ISS, claims.iss.as_str().into()),
        (SUB, claims.sub.as_str().into()),
        (AUD, claims.aud.as_str().into()),
        (EXP, claims.exp.into()),
        (NBF, claims.nbf.into()),
        (IAT, claims.iat.into()),
        (CTI, Value::Bytes(unhex(&claims.jti)?)),
        (CNF, cbor::map(vec![(CKT, Value::Bytes(claims.cnf.ckt?.to_vec()))])),
        (SID, Value::Bytes(claims.session()?.0.to_vec())),
        (ACR, claims.acr.as_str().into()),
        (AMR, Value::Array(claims.amr.iter().map(|method| method.as_str().into()).collect())),
        (CLIENT, claims.client_id.as_str().into()),
        (FACTS, json_to_cbor(&serde_json::to_value(&claims.signet).ok()?)?),
        (STATUS, status_to_map(&claims.status)),
    ];
    if let Some(auth_time) = claims.auth_time {
        entries.push((AUTH_TIME, auth_time.into()));
    }
    if let Some(scope) = &claims.scope {
        entries.push((SCOPE, scope.as_str().into()));
    }
    if let Some(details) = &claims.authorization_details {
        entries.push((DETAILS, Value::Bytes(serde_json::to_vec(details).ok()?)));
    }
    Some(cbor::map(entries))
}

fn from_map(value: Value) -> Option<TokenClaims> {
    let Value::Map(entries) = value else { return None };
    let known = [
        ISS, SUB, AUD, EXP, NBF, IAT, CTI, CNF, SCOPE, STATUS, SID, AUTH_TIME, ACR, AMR, CLIENT,
        FACTS, DETAILS,
    ];
    let key = |value: &Value| i64::try_from(value.as_integer()?).ok();
    if !entries.iter().all(|(label, _)| key(label).is_some_and(|label| known.contains(&label))) {
        return None;
    }
    let find = |label: i64| {
        entries.iter().find(|(found, _)| key(found) == Some(label)).map(|(_, value)| value)
    };
    let text = |label: i64| find(label)?.as_text().map(String::from);
    let integer = |label: i64| i64::try_from(find(label)?.as_integer()?).ok();
    let bytes = |label: i64| find(label)?.as_bytes().map(|bytes| hex(bytes));
    let ckt = match find(CNF)?.as_map()?.as_slice() {
        [(label, Value::Bytes(ckt))] if key(label) == Some(CKT) => {
            ckt.as_slice().try_into().ok()?
        }
        _ => return None,
    };
    let amr = find(AMR)?.as_array()?.iter().map(|method| method.as_text().map(String::from));
    let facts: Facts = serde_json::from_value(cbor_to_json(find(FACTS)?)?).ok()?;
    let details = match find(DETAILS) {
        Some(value) => Some(serde_json::from_slice(value.as_bytes()?).ok()?),
        None => None,
    };
    Some(TokenClaims {
        iss: text(ISS)?,
        aud: text(AUD)?,
        sub: text(SUB)?,
        client_id: text(CLIENT)?,
        iat: integer(IAT)?,
        nbf: integer(NBF)?,
        exp: integer(EXP)?,
        jti: bytes(CTI)?,
        sid: bytes(SID)?,
        auth_time: integer(AUTH_TIME),
        acr: text(ACR)?,
        amr: amr.collect::<Option<_>>()?,
        cnf: Confirmation { x5t_s256: None, ckt: Some(ckt) },
        scope: text(SCOPE),
        authorization_details: details,
        status: status_from_map(find(STATUS)?)?,
        signet: facts,
    })
}

fn status_to_map(status: &Status) -> Value {
    let entry = Value::Map(vec![
        ("idx".into(), status.status_list.idx.into()),
        ("uri".into(), status.status_list.uri.as_str().into()),
    ]);
    Value::Map(vec![("status_list".into(), entry)])
}

fn status_from_map(value: &Value) -> Option<Status> {
    let json = cbor_to_json(value)?;
    let entry: StatusListEntry = serde_json::from_value(json.get("status_list")?.clone()).ok()?;
    Some(Status { status_list: entry })
}

/// The facts are a flat map of texts, booleans and integers in both forms.
fn json_to_cbor(value: &serde_json::Value) -> Option<Value> {
    Some(match value {
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => number.as_i64()?.into(),
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Object(members) => Value::Map(
            members
                .iter()
                .map(|(key, value)| Some((key.as_str().into(), json_to_cbor(value)?)))
                .collect::<Option<_>>()?,
        ),
        serde_json::Value::Null | serde_json::Value::Array(_) => return None,
    })
}

fn cbor_to_json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Bool(value) => (*value).into(),
        Value::Integer(number) => i64::try_from(*number).ok()?.into(),
        Value::Text(text) => text.as_str().into(),
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|(key, value)| Some((key.as_text()?.to_owned(), cbor_to_json(value)?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coset::iana::{CoapContentFormat, HeaderParameter};
    use coset::{CoseSignatureBuilder, Header};
    use rcgen::KeyPair;

    use super::*;
    use crate::token::FileSigner;

    fn signer() -> FileSigner {
        let key = KeyPair::generate().unwrap();
        FileSigner::from_pkcs8(&Zeroizing::new(key.serialize_der())).unwrap()
    }

    fn claims() -> TokenClaims {
        TokenClaims {
            iss: "https://authority.example".into(),
            aud: "mesh.example".into(),
            sub: "alice".into(),
            client_id: "spiffe://mesh.example/device/01".into(),
            iat: 1,
            nbf: 2,
            exp: 3,
            jti: "11".repeat(16),
            sid: "22".repeat(16),
            auth_time: Some(4),
            acr: "signet.uv".into(),
            amr: vec!["hwk".into(), "user".into()],
            cnf: Confirmation { x5t_s256: None, ckt: Some([5; 32]) },
            scope: Some("a b".into()),
            authorization_details: None,
            status: Status { status_list: StatusListEntry { idx: 6, uri: "u".into() } },
            signet: Facts {
                human: true,
                uvm: None,
                uvm_src: None,
                key_att: None,
                dev: "proven".into(),
                boot: "accepted".into(),
                pres_exp: Some(7),
                sess_exp: 8,
                x5t_hex: "33".repeat(32),
                once: false,
            },
        }
    }

    fn header() -> HeaderBuilder {
        HeaderBuilder::new()
            .algorithm(Algorithm::ESP256)
            .key_id(b"key".to_vec())
            .value(TYP, MEDIA_TYPE.into())
    }

    fn with(protected: Header, unprotected: Header) -> Option<String> {
        let cose = CoseSign1Builder::new().protected(protected).unprotected(unprotected);
        let cose = cose.payload(vec![0xa0]).signature(vec![0; 64]).build();
        parse(&cose.to_tagged_vec().unwrap()).map(|parsed| parsed.key_id)
    }

    /// Whatever could change what is checked, or be read by others as something else, is refused.
    #[test]
    fn a_header_says_what_it_must_and_nothing_more() {
        assert_eq!(with(header().build(), Header::default()), Some("key".into()));
        let other = HeaderBuilder::new().key_id(b"other".to_vec()).build();
        assert_eq!(with(header().build(), other), None);
        let signature = CoseSignatureBuilder::new().signature(vec![1]).build();
        let named = || HeaderBuilder::new().key_id(b"key".to_vec());
        for wrong in [
            header().algorithm(Algorithm::ES256),
            named().value(TYP, MEDIA_TYPE.into()),
            named().algorithm(Algorithm::ESP256),
            named().algorithm(Algorithm::ESP256).value(TYP, "application/statuslist+cwt".into()),
            header().value(99, 1.into()),
            header().add_critical(HeaderParameter::Alg),
            header().content_format(CoapContentFormat::Cwt),
            header().iv(vec![1]),
            header().partial_iv(vec![1]),
            header().add_counter_signature(signature),
        ] {
            let wrong = wrong.build();
            assert_eq!(with(wrong.clone(), Header::default()), None, "{wrong:?}");
        }
    }

    #[test]
    fn claims_are_read_as_they_were_written_and_no_others_are() {
        let token = encode(&claims(), &signer()).unwrap();
        assert_eq!(parse(&token).unwrap().claims(), Some(claims()));
        let read = |without: i64, with: Option<(Value, Value)>| {
            let Value::Map(mut entries) = to_map(&claims()).unwrap() else { panic!("a map") };
            entries.retain(|(label, _)| *label != without.into());
            entries.extend(with);
            from_map(Value::Map(entries))
        };
        assert_eq!(read(0, None), Some(claims()));
        assert_eq!(read(0, Some((99.into(), 1.into()))), None);
        assert_eq!(read(0, Some(("iss".into(), "a".into()))), None);
        assert_eq!(read(ISS, None), None);
        // A confirmation of another kind, and one of two kinds.
        let bound_to =
            |members: Vec<(i64, Value)>| read(CNF, Some((CNF.into(), cbor::map(members))));
        let thumbprint = || Value::Bytes(vec![5; 32]);
        assert_eq!(bound_to(vec![(CKT, thumbprint())]), Some(claims()));
        assert_eq!(bound_to(vec![(3, thumbprint())]), None);
        assert_eq!(bound_to(vec![(3, thumbprint()), (CKT, thumbprint())]), None);
        assert_eq!(bound_to(vec![(CKT, Value::Bytes(vec![5; 31]))]), None);
    }

    /// By RFC 8392, RFC 8747, RFC 8693, the Token Status List, and protocol 3.1 for those below -70000.
    #[test]
    fn claims_have_the_labels_of_the_protocol() {
        let mut every = claims();
        every.authorization_details = Some(Vec::new());
        let Some(Value::Map(entries)) = to_map(&every) else { panic!("a map") };
        let mut labels: Vec<i128> =
            entries.iter().map(|(label, _)| label.as_integer().unwrap().into()).collect();
        labels.sort_unstable();
        let private = [-70015, -70014, -70013, -70012, -70011, -70010, -70004];
        let registered = [1, 2, 3, 4, 5, 6, 7, 8, 9, 65535];
        assert_eq!(labels, [&private[..], &registered].concat());
    }

    /// The published example of a token that refers to a list has its place where ours have it.
    #[test]
    fn the_published_reference_to_a_status_list_is_read() {
        let file = "../fixtures/published/status-list/referenced_token_cwt.md";
        let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file));
        let token: String = text.unwrap().split_whitespace().collect();
        let cose = CoseSign1::from_tagged_slice(&unhex(&token).unwrap()).unwrap();
        let payload: Value = ciborium::from_reader(cose.payload.unwrap().as_slice()).unwrap();
        let mut claims = payload.as_map().unwrap().iter();
        let (_, status) = claims.find(|(label, _)| *label == Value::from(STATUS)).unwrap();
        let uri = "https://example.com/statuslists/1".to_owned();
        let expected = Status { status_list: StatusListEntry { idx: 0, uri } };
        assert_eq!(status_from_map(status), Some(expected.clone()));
        assert_eq!(status_to_map(&expected), *status);
    }
}
