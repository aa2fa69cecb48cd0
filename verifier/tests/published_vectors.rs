//! Vectors that others published for JWS, JWK, COSE, CWT, EAT and thumbprints, answered by what judges
//! tokens and evidence. `webauthn_vectors`, `ecdsa_wycheproof` and `merkle_vectors` have more.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
#![allow(clippy::disallowed_methods, reason = "vectors are files")]

mod exceptions;

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use coset::iana::Algorithm;
use coset::{CoseSign1, RegisteredLabelWithPrivate, TaggedCborSerializable};
use exceptions::Set;
use serde_json::Value;
use signet_evidence::thumbprint::unhex;
use signet_evidence::tpm::TpmtPublic;
use signet_evidence::{
    CertificateThumbprint, DeviceId, Evidence, KeyThumbprint, Statement, UnixTime, cbor,
};
use signet_verifier::ecdsa::P256PublicKey;
use signet_verifier::token::{Jwk, TokenChecker, VerifyingKey};
use signet_verifier::tpm::{AttestationKey, VerifiedQuote};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published").join(name)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(folder(path)).unwrap()
}

fn json(path: &str) -> Value {
    serde_json::from_str(&text(path)).unwrap()
}

/// The vectors of a folder of JSON files, by their names.
fn files(name: &str) -> Vec<(String, Value)> {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = entries.filter(|path| path.extension().unwrap() == "json").collect();
    names.sort();
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    names.iter().map(|path| (stem(path), json(path.to_str().unwrap()))).collect()
}

/// The keys of a JWK or a JWK set that we would take from an issuer.
fn keys(published: &Value) -> Vec<Jwk> {
    let several = published["keys"].as_array().cloned();
    let one = || vec![published.clone()];
    let jwks = several.unwrap_or_else(one).into_iter();
    let jwks = jwks.filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok());
    jwks.filter(|jwk| VerifyingKey::from_jwk(jwk).is_some()).collect()
}

/// Whether the signature of a compact JWS is of one of the keys: what comes after the header was found
/// to be ours, as that of no vector is.
fn signed_by(jws: &str, keys: &[Jwk]) -> bool {
    let signature = |jws: &str| {
        let (signed, signature) = jws.rsplit_once('.')?;
        Some((signed.to_owned(), URL_SAFE_NO_PAD.decode(signature).ok()?))
    };
    let Some((signed, signature)) = signature(jws) else { return false };
    keys.iter().any(|jwk| {
        let key = P256PublicKey::from_uncompressed_point(&jwk.point().unwrap());
        key.is_ok_and(|key| key.verify_fixed(signed.as_bytes(), &signature).is_ok())
    })
}

/// Judges a set of Wycheproof's for JSON, of which no vector is a token of ours.
fn judge_jws(name: &'static str, accepted: usize) {
    let mut set = Set::of(name);
    let published = json(&format!("wycheproof/{name}.json"));
    let mut genuine = 0;
    for group in published["testGroups"].as_array().unwrap() {
        let public = group.get("public").filter(|public| !public.is_null());
        let keys = keys(public.unwrap_or(&group["private"]));
        let checker = TokenChecker {
            issuer: "https://authority.example".into(),
            audience: "example".into(),
            keys: keys.iter().filter_map(VerifyingKey::from_jwk).collect(),
        };
        for test in group["tests"].as_array().unwrap() {
            let jws = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let peer = CertificateThumbprint([0; 32]);
            let checked = checker.check_jwt(&jws, peer, UnixTime(1_800_000_000));
            assert!(checked.unwrap_err().code().as_str().starts_with("token-"));
            let found = signed_by(&jws, &keys);
            genuine += usize::from(found);
            set.judged(&test["tcId"].to_string(), found == (test["result"] == "valid"));
        }
    }
    assert_eq!(genuine, accepted);
    let all = usize::try_from(published["numberOfTests"].as_u64().unwrap()).unwrap();
    assert!(set.settle() < all);
}

#[test]
fn wycheproof_json_web_signatures() {
    judge_jws("json_web_signature_test", 2);
}

#[test]
fn wycheproof_json_web_keys() {
    judge_jws("json_web_key_test", 0);
}

/// Whether a message is a COSE_Sign1 as evidence and tokens are: tag 18, deterministic, algorithm
/// protected, no external data, signed by the key.
fn cose_holds(message: &[u8], key: &P256PublicKey) -> bool {
    let Ok(cose) = CoseSign1::from_tagged_slice(message) else { return false };
    let ours = [Algorithm::ES256, Algorithm::ESP256].map(RegisteredLabelWithPrivate::Assigned);
    let algorithm = cose.protected.header.alg.as_ref();
    cbor::decode(message).is_ok()
        && algorithm.is_some_and(|algorithm| ours.contains(algorithm))
        && key.verify_fixed(&cose.tbs_data(&[]), &cose.signature).is_ok()
}

/// The signer's key, where it is one on P-256.
fn cose_key(vector: &Value) -> Option<P256PublicKey> {
    let key = &vector["input"]["sign0"]["key"];
    let coordinate = |name: &str| match key[format!("{name}_hex")].as_str() {
        Some(hex) => unhex(hex),
        None => URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok(),
    };
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    P256PublicKey::from_uncompressed_point(&point).ok()
}

/// Judges a folder of cose-wg's: messages that hold, or have `fail`.
fn judge_cose(name: &'static str) -> usize {
    let mut set = Set::of(name);
    for (vector, published) in files(name) {
        let message = unhex(published["output"]["cbor"].as_str().unwrap()).unwrap();
        let holds = cose_key(&published).is_some_and(|key| cose_holds(&message, &key));
        set.judged(&vector, holds != (published["fail"] == true));
        Evidence::parse(&message).unwrap_err();
    }
    set.settle()
}

#[test]
fn cose_sign1_and_ecdsa() {
    assert_eq!(judge_cose("cose"), 8);
}

#[test]
fn cwt_of_appendix_a() {
    assert_eq!(judge_cose("cwt"), 1);
    // Its claims read as RFC 8392 prints them; what our own tokens need besides is missing.
    let signed = unhex(json("cwt/A_3.json")["output"]["cbor"].as_str().unwrap()).unwrap();
    let payload = CoseSign1::from_tagged_slice(&signed).unwrap().payload.unwrap();
    let claims = cbor::decode(&payload).unwrap().into_map().unwrap();
    let labels: Vec<i128> =
        claims.iter().map(|(label, _)| label.as_integer().unwrap().into()).collect();
    assert_eq!(labels, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(claims[0].1.as_text(), Some("coap://as.example.com"));
    assert_eq!(claims[6].1.as_bytes().unwrap(), &[0x0b, 0x71]);
}

/// The hex between `h'` and `'` of a text in diagnostic notation, in order.
fn blocks(diagnostic: &str) -> Vec<Vec<u8>> {
    let parts = diagnostic.split("h'").skip(1).map(|rest| rest.split_once('\'').unwrap().0);
    parts.map(|hex| unhex(&hex.split_whitespace().collect::<String>()).unwrap()).collect()
}

#[test]
fn examples_of_eat() {
    let mut set = Set::of("eat");
    let nonce = |bytes: &Vec<u8>| (8..=64).contains(&bytes.len());

    let simple = blocks(&text("eat/simple.diag"));
    assert!(nonce(&simple[0]));
    assert_eq!(DeviceId::from_bytes(&simple[1]), None);
    let claims = vec![(10, simple[0].clone()), (256, simple[1].clone()), (258, simple[2].clone())];
    let claims = claims.into_iter().map(|(label, bytes)| (label, cbor::Value::Bytes(bytes)));
    let payload = cbor::encode(&cbor::map(claims.collect()));
    set.judged("simple", Statement::decode(&payload).is_ok());

    let [protected, payload, signature] = &blocks(&text("eat/valid_cwt.diag"))[..] else {
        panic!("the token has three byte strings");
    };
    let parts = [protected, payload, signature].map(|part| cbor::Value::Bytes(part.clone()));
    let [protected, content, signature] = parts;
    let parts = cbor::Value::Array(vec![protected, cbor::map(vec![]), content, signature]);
    let tagged = |tag, value| cbor::Value::Tag(tag, Box::new(value));
    let token = cbor::encode(&tagged(61, tagged(18, parts.clone())));
    cbor::decode(payload).unwrap_err();
    let inner = Evidence::parse(&cbor::encode(&tagged(18, parts)));
    set.judged("valid_cwt", Evidence::parse(&token).is_ok() || inner.is_ok());

    let store = blocks(&text("eat/valid_key_store.diag"));
    assert!(nonce(&store[0]));
    set.judged("valid_key_store", store.iter().any(|block| Statement::decode(block).is_ok()));
    let results = text("eat/valid_results.json");
    set.judged("valid_results", Statement::decode(results.as_bytes()).is_ok());
    assert_eq!(set.settle(), 0);
}

/// A published quote under its own AK, or why it is none of ours.
fn quote_fault(published: &Value) -> Option<String> {
    let bytes = |member: &str| unhex(published[member].as_str()?);
    let Some(public) = bytes("ak_public") else { return Some("no key".into()) };
    let public = TpmtPublic::parse(&public).unwrap();
    let ak = match AttestationKey::from_public(&public) {
        Ok(ak) => ak,
        Err(error) => return Some(format!("{error:?}")),
    };
    let [attest, signature, extra] = ["attest", "signature", "extra_data"].map(bytes);
    let (attest, signature) = (attest.unwrap(), signature.unwrap());
    VerifiedQuote::verify(&ak, &attest, &signature, &extra.unwrap_or_default(), None)
        .err()
        .map(|error| format!("{error:?}"))
}

#[test]
fn quotes_of_real_and_virtual_tpms() {
    let mut set = Set::of("tpm-quotes");
    let mut faults = BTreeSet::new();
    for (name, published) in files("tpm-quotes") {
        let fault = quote_fault(&published);
        set.judged(&name, fault.is_none());
        faults.extend(fault);
    }
    assert_eq!(set.settle(), 1);
    assert_eq!(faults, ["KeyType", "no key"].map(str::to_owned).into());
}

#[test]
fn thumbprints_of_certificates_and_keys() {
    let published = json("rfc/thumbprints.json");
    let mut set = Set::of("rfc");
    let certificate = &published["rfc8705_appendix_a"];
    let der = STANDARD.decode(certificate["cert_der_b64"].as_str().unwrap()).unwrap();
    let found = URL_SAFE_NO_PAD.encode(CertificateThumbprint::of_der(&der).0);
    set.judged("rfc8705_appendix_a", certificate["x5t#S256"] == *found);

    let key = &published["rfc9679_example"];
    let coordinate = |name: &str| unhex(key["cose_key"][name].as_str().unwrap()).unwrap();
    let [x, y] = ["x", "y"].map(|name| <[u8; 32]>::try_from(coordinate(name)).unwrap());
    let found = signet_evidence::thumbprint::hex(&KeyThumbprint::of_p256(&x, &y).0);
    set.judged("rfc9679_example", key["ckt"] == *found);
    let sets: BTreeSet<_> = published.as_object().unwrap().keys().cloned().collect();
    assert_eq!(set.settle(), sets.len());
}
