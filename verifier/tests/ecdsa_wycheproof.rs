//! The signature check against the Wycheproof vectors for P-256 with SHA-256, both encodings.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use serde_json::Value;
use signet_verifier::ecdsa::{NotAPoint, P256PublicKey, SignatureInvalid};

const FIXED: &str =
    include_str!("../../fixtures/published/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json");
const DER: &str =
    include_str!("../../fixtures/published/wycheproof/ecdsa_secp256r1_sha256_test.json");

fn unhex(text: &Value) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text.as_str().unwrap()).unwrap()
}

/// Runs every vector and returns how many there were.
fn judge(
    vectors: &str,
    verify: impl Fn(&P256PublicKey, &[u8], &[u8]) -> Result<(), SignatureInvalid>,
) -> u64 {
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let mut count = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let point = unhex(&group["publicKey"]["uncompressed"]);
        let key = P256PublicKey::from_uncompressed_point(&point).unwrap();
        for test in group["tests"].as_array().unwrap() {
            let found = verify(&key, &unhex(&test["msg"]), &unhex(&test["sig"]));
            let expected = match test["result"].as_str().unwrap() {
                "valid" => Ok(()),
                "invalid" => Err(SignatureInvalid),
                other => panic!("result {other}"),
            };
            assert_eq!(found, expected, "{} {}", test["tcId"], test["comment"]);
            count += 1;
        }
    }
    assert_eq!(Some(count), vectors["numberOfTests"].as_u64());
    count
}

#[test]
fn fixed_signatures() {
    assert!(judge(FIXED, P256PublicKey::verify_fixed) > 200);
}

#[test]
fn der_signatures() {
    assert!(judge(DER, P256PublicKey::verify_der) > 400);
}

#[test]
fn points_must_be_on_the_curve_and_uncompressed() {
    let vectors: Value = serde_json::from_str(FIXED).unwrap();
    let mut point = unhex(&vectors["testGroups"][0]["publicKey"]["uncompressed"]);
    let refused = |point: &[u8]| P256PublicKey::from_uncompressed_point(point).unwrap_err();
    assert_eq!(refused(&point[..64]), NotAPoint);
    assert_eq!(refused(&[&[2], &point[1..33]].concat()), NotAPoint);
    assert_eq!(refused(&[0]), NotAPoint); // the point at infinity
    assert_eq!(refused(&[4; 65]), NotAPoint);
    point[64] ^= 1;
    assert_eq!(refused(&point), NotAPoint);
}
