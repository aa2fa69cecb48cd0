//! The published examples, read and written.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coset::iana::{Algorithm, HeaderParameter};
use coset::{CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use rcgen::KeyPair;
use signet_evidence::UnixTime;
use signet_evidence::thumbprint::unhex;
use zeroize::Zeroizing;

use super::*;
use crate::token::{FileSigner, Jwk, TokenSigner, VerifyingKey};

fn published(name: &str) -> String {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/published/status-list");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// What follows `encoded:`, or all, without white space.
fn joined(name: &str) -> String {
    let text = published(name);
    let encoded = text.split_once("encoded:").map_or(text.as_str(), |(_, rest)| rest);
    encoded.split_whitespace().collect()
}

fn of_json(name: &str) -> StatusList {
    let json: serde_json::Value = serde_json::from_str(&joined(name)).unwrap();
    let lst = URL_SAFE_NO_PAD.decode(json["lst"].as_str().unwrap()).unwrap();
    StatusList::inflate(json["bits"].as_u64().unwrap(), &lst).unwrap()
}

fn of_cbor(name: &str) -> StatusList {
    // Not in deterministic encoding, which the draft does not ask for.
    let bytes = unhex(&joined(name)).unwrap();
    let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
    let map = value.as_map().unwrap();
    let (bits, lst) = (&map[0].1, &map[1].1);
    assert_eq!((map[0].0.as_text(), map[1].0.as_text()), (Some("bits"), Some("lst")));
    let bits = u64::try_from(bits.as_integer().unwrap()).unwrap();
    StatusList::inflate(bits, lst.as_bytes().unwrap()).unwrap()
}

fn made(width: Width, length: u64, statuses: &[(u64, u8)]) -> StatusList {
    let mut list = StatusList::of_width(width, length);
    for (index, status) in statuses {
        list.set_to(*index, *status);
    }
    list
}

/// Each published list in both forms, and the statuses that the draft prints for it.
#[test]
fn published_lists_say_what_the_draft_prints() {
    const MILLION: u64 = 1 << 20;
    let one = [0, 3, 4, 5, 7, 8, 9, 13, 15].map(|index| (index, 1));
    let two = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];
    let two: Vec<_> = (0..).zip(two).collect();
    let long_one =
        [0, 1993, 25_460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534, 1_000_345];
    let long_two: Vec<_> = long_one.into_iter().zip([1, 2, 1, 3, 1, 1, 2, 1, 1, 2, 3]).collect();
    let long_one = long_one.map(|index| (index, 1));
    let four = [
        (0, 1),
        (1993, 2),
        (35_460, 3),
        (459_495, 4),
        (595_669, 5),
        (754_353, 6),
        (845_645, 7),
        (923_232, 8),
        (924_445, 9),
        (934_534, 10),
        (1_004_534, 11),
        (1_000_345, 12),
        (1_030_203, 13),
        (1_030_204, 14),
        (1_030_205, 15),
    ];
    type Case<'a> = (&'a str, Width, u64, &'a [(u64, u8)]);
    let cases: [Case<'_>; 5] = [
        ("", Width::One, 16, &one),
        ("2", Width::Two, 12, &two),
        ("1_long", Width::One, MILLION, &long_one),
        ("2_long", Width::Two, MILLION, &long_two),
        ("4", Width::Four, MILLION, &four),
    ];
    for (name, width, length, statuses) in cases {
        let expected = made(width, length, statuses);
        assert_eq!(of_json(&format!("status_list_encoding{name}_json.md")), expected, "{name}");
        assert_eq!(of_cbor(&format!("status_list_encoding{name}_cbor.md")), expected, "{name}");
        for (index, status) in statuses {
            assert_eq!(expected.get(*index), Some(*status), "{name} {index}");
        }
        let again = StatusList::inflate(width.bits(), &expected.deflate());
        assert_eq!(again, Ok(expected), "{name}");
    }
    assert_eq!(made(Width::One, 16, &one).bytes(), [0xb9, 0xa3]);
    assert_eq!(made(Width::Two, 12, &two).bytes(), [0xc9, 0x44, 0xf9]);
}

/// The example of eight bits holds every status but 0 once.
#[test]
fn the_published_list_of_bytes_holds_each_status_once() {
    let list = of_json("status_list_encoding8_json.md");
    assert_eq!(list, of_cbor("status_list_encoding8_cbor.md"));
    let mut found: Vec<u8> =
        (0..1 << 20).filter_map(|index| list.get(index)).filter(|status| *status != 0).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=255).collect::<Vec<u8>>());
    for (index, status) in [(1199, 121), (4520, 213), (19_535, 255), (117_310, 68)] {
        assert_eq!(list.get(index), Some(status));
    }
}

/// The key of the draft's examples.
fn published_key() -> VerifyingKey {
    let jwk = Jwk {
        kty: "EC".into(),
        crv: "P-256".into(),
        x: "I3HWm_0Ds1dPMI-IWmf4mBmH-YaeAVbPVu7vB27CxXo".into(),
        y: "6N_d5Elj9bs1htgV3okJKIdbHEpkgTmAluYKJemzn1M".into(),
        kid: "12".into(),
        usage: "sig".into(),
        alg: "ES256".into(),
    };
    VerifyingKey::from_jwk(&jwk).unwrap()
}

fn published_token() -> StatusListToken {
    StatusListToken {
        uri: "https://example.com/statuslists/1".into(),
        issued_at: UnixTime(1_686_920_170),
        expires: Some(UnixTime(2_291_720_170)),
        time_to_live: Some(43_200),
        list: StatusList::from_bytes(Width::One, vec![0xb9, 0xa3]),
    }
}

#[test]
fn published_tokens_are_believed() {
    let keys = [published_key()];
    let uri = "https://example.com/statuslists/1";
    let scope = Scope { keys: &keys, uri, now: UnixTime(1_686_920_170) };
    let jwt = joined("status_list_jwt_raw.md");
    assert_eq!(StatusListToken::from_jwt(&jwt, scope), Ok(published_token()));
    let cwt = unhex(&joined("status_list_cwt.md")).unwrap();
    assert_eq!(StatusListToken::from_cwt(&cwt, scope), Ok(published_token()));
}

fn signer() -> FileSigner {
    let key = KeyPair::generate().unwrap();
    FileSigner::from_pkcs8(&Zeroizing::new(key.serialize_der())).unwrap()
}

fn key_of(signer: &FileSigner) -> VerifyingKey {
    VerifyingKey::of_signer(signer)
}

#[test]
fn what_was_signed_is_read_again_in_both_forms() {
    let signer = signer();
    let keys = [key_of(&signer)];
    let token = published_token();
    let scope = Scope { keys: &keys, uri: &token.uri, now: token.issued_at };
    let jwt = token.to_jwt(&signer).unwrap();
    let cwt = token.to_cwt(&signer).unwrap();
    assert_eq!(StatusListToken::from_jwt(&jwt, scope), Ok(token.clone()));
    assert_eq!(StatusListToken::from_cwt(&cwt, scope), Ok(token.clone()));
    let faults = |scope: Scope<'_>| {
        let jwt = StatusListToken::from_jwt(&jwt, scope).unwrap_err();
        assert_eq!(StatusListToken::from_cwt(&cwt, scope), Err(jwt));
        jwt
    };
    let other = [published_key()];
    assert_eq!(faults(Scope { keys: &other, ..scope }), TokenFault::Signature);
    assert_eq!(faults(Scope { uri: "https://example.com/2", ..scope }), TokenFault::OtherList);
    let at = |seconds: i64| Scope { now: UnixTime(seconds), ..scope };
    assert_eq!(faults(at(2_291_720_175)), TokenFault::Expired);
    assert_eq!(faults(at(1_686_920_164)), TokenFault::ClockBehind);
    // Clocks may differ by five seconds.
    for scope in [at(1_686_920_165), at(2_291_720_174)] {
        assert_eq!(StatusListToken::from_jwt(&jwt, scope), Ok(token.clone()));
        assert_eq!(StatusListToken::from_cwt(&cwt, scope), Ok(token.clone()));
    }
}

#[test]
fn a_changed_token_is_not_believed() {
    let signer = signer();
    let keys = [key_of(&signer)];
    let token = published_token();
    let scope = Scope { keys: &keys, uri: &token.uri, now: token.issued_at };
    let cwt = token.to_cwt(&signer).unwrap();
    for at in 0..cwt.len() {
        let mut changed = cwt.clone();
        changed[at] ^= 1;
        let fault = StatusListToken::from_cwt(&changed, scope).unwrap_err();
        assert!(matches!(fault, TokenFault::Malformed | TokenFault::Signature), "{at}: {fault}");
    }
    let jwt = token.to_jwt(&signer).unwrap();
    let (signed, _) = jwt.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1; 64]));
    assert_eq!(StatusListToken::from_jwt(&forged, scope), Err(TokenFault::Signature));
    let none = signed.replacen(
        signed.split('.').next().unwrap(),
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"12","typ":"statuslist+jwt"}"#),
        1,
    );
    assert_eq!(StatusListToken::from_jwt(&format!("{none}."), scope), Err(TokenFault::Malformed));
}

/// Signed, and by the right key: the header alone is wrong.
#[test]
fn a_list_says_what_it_is_and_how_it_is_signed() {
    let signer = signer();
    let keys = [key_of(&signer)];
    let token = published_token();
    let scope = Scope { keys: &keys, uri: &token.uri, now: token.issued_at };
    let jwt = token.to_jwt(&signer).unwrap();
    let payload = jwt.split('.').nth(1).unwrap();
    let with = |alg: &str, typ: &str| {
        let header = serde_json::json!({ "alg": alg, "kid": signer.key_id(), "typ": typ });
        let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).unwrap());
        StatusListToken::from_jwt(&format!("{message}.{signature}"), scope)
    };
    assert_eq!(with("ES256", "statuslist+jwt"), Ok(token.clone()));
    assert_eq!(with("ES384", "statuslist+jwt"), Err(TokenFault::Malformed));
    assert_eq!(with("ES256", "at+jwt"), Err(TokenFault::Malformed));

    let sound = CoseSign1::from_tagged_slice(&token.to_cwt(&signer).unwrap()).unwrap();
    let header = |algorithm, media_type: &str| {
        let header = HeaderBuilder::new().algorithm(algorithm).value(16, media_type.into());
        header.key_id(signer.key_id().into())
    };
    let with = |header: HeaderBuilder| {
        let payload = sound.payload.clone().unwrap();
        let mut cose = CoseSign1Builder::new().protected(header.build()).payload(payload).build();
        cose.signature = signer.sign(&cose.tbs_data(&[])).unwrap().to_vec();
        StatusListToken::from_cwt(&cose.to_tagged_vec().unwrap(), scope)
    };
    for algorithm in [Algorithm::ES256, Algorithm::ESP256] {
        assert_eq!(with(header(algorithm, CWT_MEDIA_TYPE)), Ok(token.clone()));
    }
    let wrong = [
        header(Algorithm::ES384, CWT_MEDIA_TYPE),
        header(Algorithm::ESP256, "application/cwt"),
        header(Algorithm::ESP256, CWT_MEDIA_TYPE).add_critical(HeaderParameter::Alg),
    ];
    for header in wrong {
        assert_eq!(with(header), Err(TokenFault::Malformed));
    }
}

/// The bound is on the bytes that came, and the longest that is read is read.
#[test]
fn a_list_of_four_megabytes_is_read_and_no_longer_one() {
    const MOST: usize = 4 << 20;
    let signer = signer();
    let keys = [key_of(&signer)];
    let token = |length| StatusListToken { uri: "u".repeat(length), ..published_token() };
    let read = |token: &StatusListToken, jwt: bool| {
        let scope = Scope { keys: &keys, uri: &token.uri, now: token.issued_at };
        if jwt {
            let bytes = token.to_jwt(&signer).unwrap();
            (bytes.len(), StatusListToken::from_jwt(&bytes, scope))
        } else {
            let bytes = token.to_cwt(&signer).unwrap();
            (bytes.len(), StatusListToken::from_cwt(&bytes, scope))
        }
    };
    for (jwt, per_letter) in [(false, (1, 1)), (true, (3, 4))] {
        let start = 3_000_000;
        let (length, _) = read(&token(start), jwt);
        let about = start + (MOST - length) * per_letter.0 / per_letter.1;
        // Base64 grows by one letter or by two.
        let mut longest = (about..about + 3).map(token);
        let longest = longest.find(|token| read(token, jwt).0 == MOST).unwrap();
        assert_eq!(read(&longest, jwt).1.as_ref(), Ok(&longest));
        let (_, judged) = read(&token(longest.uri.len() + 1), jwt);
        assert_eq!(judged, Err(TokenFault::Malformed));
    }
}

#[test]
fn what_cannot_be_a_list_is_refused() {
    assert_eq!(StatusList::inflate(3, &[]), Err(ListFault::Width(3)));
    assert_eq!(StatusList::inflate(1, b"not zlib"), Err(ListFault::Compression));
    // A megabyte of zeros takes a kilobyte: what grows beyond the bound is given up there.
    let bomb = StatusList::from_bytes(Width::One, vec![0; MAX_BYTES + 1]).deflate();
    assert!(bomb.len() < MAX_BYTES / 100);
    assert_eq!(StatusList::inflate(1, &bomb), Err(ListFault::TooLong));
    let longest = StatusList::from_bytes(Width::One, vec![0; 2 << 20]);
    assert_eq!(StatusList::inflate(1, &longest.deflate()), Ok(longest));
}

#[test]
fn an_index_beyond_the_list_changes_nothing() {
    let mut list = StatusList::new(8);
    list.set(8);
    list.set(u64::MAX);
    assert_eq!(list, StatusList::new(8));
    assert_eq!((list.get(7), list.get(8), list.get(u64::MAX)), (Some(0), None, None));
}

#[test]
fn everything_below_a_place() {
    for below in [0, 1, 7, 8, 9, 16, 20] {
        let mut list = StatusList::new(16);
        list.set_below(below);
        let set = (0..16).filter(|index| list.get(*index) == Some(1)).count();
        assert_eq!(set, usize::try_from(below.min(16)).unwrap(), "{below}");
        assert!((0..below.min(16)).all(|index| list.get(index) == Some(1)), "{below}");
    }
    let mut wide = StatusList::of_width(Width::Two, 8);
    wide.set_below(3);
    assert_eq!(wide.bytes(), [0b01_01_01, 0]);
    wide.set_below(5);
    assert_eq!(wide.bytes(), [0b01_01_01_01, 1]);
    let mut widest = StatusList::of_width(Width::Eight, 16);
    widest.set_below(9);
    assert_eq!(widest.bytes()[..10], [1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
}

#[test]
fn a_status_takes_the_place_of_the_one_before_and_of_no_other() {
    let mut list = StatusList::of_width(Width::Two, 4);
    (0..4).for_each(|index| list.set_to(index, 3));
    list.set_to(2, 1);
    assert_eq!([0, 1, 2, 3].map(|index| list.get(index)), [Some(3), Some(3), Some(1), Some(3)]);
}

#[test]
fn lists_only_gain_by_merging() {
    let mut list = StatusList::new(8);
    list.set(1);
    let mut other = StatusList::new(16);
    other.set(9);
    list.merge(&other);
    assert_eq!(list.bytes(), [2, 2]);
    list.merge(&StatusList::new(8));
    assert_eq!(list.bytes(), [2, 2]);
}
