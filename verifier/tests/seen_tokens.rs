//! A token whose signature was looked at before is judged anew in everything else, and without a single
//! allocation. A program of its own, because it counts what is allocated.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

use std::alloc::System;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::{CertificateThumbprint, UnixTime};
use signet_verifier::Rejection;
use signet_verifier::token::claims::{Confirmation, Status, StatusListEntry};
use signet_verifier::token::{
    CheckedToken, Facts, FileSigner, SeenTokens, TokenChecker, TokenClaims, TokenSigner,
    VerifyingKey,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zeroize::Zeroizing;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: UnixTime = UnixTime(1_790_000_000);
const PEER: CertificateThumbprint = CertificateThumbprint([7; 32]);

fn signer() -> FileSigner {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    FileSigner::from_pkcs8(&Zeroizing::new(key.as_ref().to_vec())).unwrap()
}

fn checker(signer: &FileSigner) -> TokenChecker {
    TokenChecker {
        issuer: "https://authority.example".into(),
        audience: "mesh.example".into(),
        keys: vec![VerifyingKey::of_signer(signer)],
    }
}

fn token(signer: &FileSigner, number: u8) -> String {
    let claims = TokenClaims {
        iss: "https://authority.example".into(),
        aud: "mesh.example".into(),
        sub: "alice".into(),
        client_id: "spiffe://mesh.example/device/01".into(),
        iat: NOW.0,
        nbf: NOW.0,
        exp: NOW.0 + 300,
        jti: format!("{number:032x}"),
        sid: "22".repeat(16),
        auth_time: Some(NOW.0),
        acr: "signet.uv-hw".into(),
        amr: vec!["hwk".into(), "user".into()],
        cnf: Confirmation::certificate(PEER),
        scope: None,
        authorization_details: None,
        status: Status {
            status_list: StatusListEntry {
                idx: 1,
                uri: "https://authority.example/status/0".into(),
            },
        },
        signet: Facts {
            human: true,
            uvm: None,
            uvm_src: None,
            key_att: None,
            dev: "proven".into(),
            boot: "accepted".into(),
            pres_exp: Some(NOW.0 + 300),
            sess_exp: NOW.0 + 600,
            x5t_hex: PEER.to_hex(),
            once: false,
        },
    };
    let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, signer.key_id());
    let claims = serde_json::to_vec(&claims).unwrap();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn said(judged: Result<CheckedToken, Rejection>) -> &'static str {
    judged.map_or_else(|rejection| rejection.code().as_str(), |_| "good")
}

/// In one test: what others allocate meanwhile would count too.
#[test]
fn a_seen_token_costs_no_allocation_and_is_judged_in_all_but_its_signature() {
    let signer = signer();
    let (checker_now, seen) = (checker(&signer), SeenTokens::at_most(4));
    let good = token(&signer, 1);
    let judge = |checker: &TokenChecker, token: &str, peer, at: i64| {
        said(seen.check_jwt(checker, token, peer, UnixTime(NOW.0 + at)))
    };
    assert_eq!(judge(&checker_now, &good, PEER, 0), "good");
    let region = Region::new(COUNTING);
    for _ in 0..1000 {
        assert_eq!(judge(&checker_now, &good, PEER, 1), "good");
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));
    // All else is looked at each time.
    let other = CertificateThumbprint([8; 32]);
    assert_eq!(judge(&checker_now, &good, other, 0), "token-binding-mismatch");
    assert_eq!(judge(&checker_now, &good, PEER, -60), "token-expired");
    assert_eq!(judge(&checker_now, &good, PEER, 306), "token-expired");
    let elsewhere = TokenChecker { audience: "other.example".into(), ..checker(&signer) };
    assert_eq!(judge(&elsewhere, &good, PEER, 0), "token-audience-wrong");
    // One changed byte is another token, and a key that counts no more takes its tokens with it.
    let forged = good.replacen("eyJ", "eyK", 1);
    assert_eq!(judge(&checker_now, &forged, PEER, 0), "token-malformed");
    let cut = format!("{}AAAA", &good[..good.len() - 4]);
    assert_eq!(judge(&checker_now, &cut, PEER, 0), "token-signature-invalid");
    assert_eq!(judge(&checker_now, &good, PEER, 0), "good");
    let rotated = checker(&self::signer());
    assert_eq!(judge(&rotated, &good, PEER, 0), "token-signature-invalid");
    assert_eq!(judge(&checker_now, &good, PEER, 0), "good");
    // A key with the same name and another value is another key.
    let (impostor, name) = (self::signer(), signer.key_id());
    let mut jwk = signet_verifier::token::Jwk::of_point(impostor.public_point());
    jwk.kid = name.to_owned();
    let renamed =
        TokenChecker { keys: vec![VerifyingKey::from_jwk(&jwk).unwrap()], ..checker(&signer) };
    assert_eq!(judge(&renamed, &good, PEER, 0), "token-signature-invalid");
    assert_ne!(renamed.keys, checker_now.keys);
    let mut jwk = signet_verifier::token::Jwk::of_point(signer.public_point());
    assert_eq!(VerifyingKey::from_jwk(&jwk).as_ref(), checker_now.keys.first());
    jwk.kid = "another name".into();
    assert_ne!(VerifyingKey::from_jwk(&jwk).as_ref(), checker_now.keys.first());
    // More than it remembers: all are good all the same.
    for round in 0..3 {
        for number in 0..16 {
            let token = token(&signer, number);
            assert_eq!(judge(&checker_now, &token, PEER, 0), "good", "{round}");
        }
    }
}
