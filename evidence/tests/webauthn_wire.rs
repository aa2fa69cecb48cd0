//! WebAuthn structures: built and read byte for byte.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use proptest::prelude::*;
use serde_json::Value;
use signet_evidence::cbor::{self, CborError};
use signet_evidence::webauthn::{
    Aaguid, AttestationObject, AttestationObjectError, AttestationStatement, AuthenticatorData,
    AuthenticatorDataError, Ceremony, ClientData, ClientDataError, CoseKey, CoseKeyError,
    CredProtect, PackedStatement, U2fStatement,
};

const VECTORS: &str = include_str!("../../fixtures/published/webauthn/webauthn-l3-vectors.json");

fn unhex(text: &str) -> Vec<u8> {
    signet_evidence::thumbprint::unhex(text).unwrap()
}

fn vector(anchor: &str) -> Value {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let all = vectors["vectors"].as_array().unwrap();
    all.iter().find(|vector| vector["anchor"] == anchor).unwrap().clone()
}

fn bytes_of(vector: &Value, ceremony: &str, member: &str) -> Vec<u8> {
    unhex(vector[ceremony][member].as_str().unwrap())
}

const EXPECTED: ClientData<'_> = ClientData {
    ceremony: Ceremony::Authentication,
    challenge: &[0xfb, 0xff, 0x00],
    origin: "https://presence.mesh.example",
};

#[test]
fn client_data_is_the_serialisation_of_level_3() {
    let json = EXPECTED.to_json();
    let text = r#"{"type":"webauthn.get","challenge":"-_8A","origin":"https://presence.mesh.example","crossOrigin":false}"#;
    assert_eq!(json, text.as_bytes());
    assert_eq!(EXPECTED.check(&json), Ok(()));
    let parsed: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(parsed["origin"], "https://presence.mesh.example");
}

#[test]
fn published_client_data_without_extras_is_what_we_build() {
    let vector = vector("sctn-test-vectors-none-es256");
    let challenge = bytes_of(&vector, "authentication", "challenge");
    let expected = ClientData {
        ceremony: Ceremony::Authentication,
        challenge: &challenge,
        origin: "https://example.org",
    };
    assert_eq!(expected.to_json(), bytes_of(&vector, "authentication", "clientDataJSON"));
    let challenge = bytes_of(&vector, "registration", "challenge");
    let expected =
        ClientData { ceremony: Ceremony::Registration, challenge: &challenge, ..expected };
    let json = bytes_of(&vector, "registration", "clientDataJSON");
    assert_eq!(expected.check(&json), Err(ClientDataError::ExtraMembers));
}

#[test]
fn client_data_that_differs_is_refused_by_its_member() {
    use ClientDataError as E;
    let sound = String::from_utf8(EXPECTED.to_json()).unwrap();
    let cases = [
        (sound.replace("webauthn.get", "webauthn.create"), E::Type),
        (sound.replace("-_8A", "-_8B"), E::Challenge),
        (sound.replace("-_8A", "-_8A="), E::Challenge),
        (sound.replace("-_8A", "+/8A"), E::Challenge),
        (sound.replace("https://presence", "http://presence"), E::Origin),
        (sound.replace(".example\"", ".example.org\""), E::Origin),
        (sound.replace("false", "true"), E::CrossOrigin),
        (sound.replace("false}", "false,\"topOrigin\":\"https://a\"}"), E::TopOrigin),
        (sound.replace("false}", "false,\"extra\":1}"), E::ExtraMembers),
        (format!("{sound}\n"), E::ExtraMembers),
        (sound.replace("false}", "false"), E::Malformed { at: sound.len() - 1 }),
        (sound.replace("\"type\":", "\"type\": "), E::Malformed { at: 8 }),
        (sound.replace("{\"type\"", "{ \"type\""), E::Malformed { at: 0 }),
        (sound.replace("\"webauthn.get\"", "null"), E::Malformed { at: 8 }),
        (String::new(), E::Malformed { at: 0 }),
    ];
    for (json, error) in cases {
        assert_eq!(EXPECTED.check(json.as_bytes()), Err(error), "{json}");
    }
}

#[test]
fn strings_are_escaped_as_the_standard_says() {
    let odd = ClientData { origin: "a\"b\\c\u{1}\u{7f}é", ..EXPECTED };
    let json = odd.to_json();
    assert!(String::from_utf8(json.clone()).unwrap().contains("\"a\\\"b\\\\c\\u0001\u{7f}é\""));
    let parsed: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(parsed["origin"], odd.origin);
    assert_eq!(odd.check(&json), Ok(()));
}

fn key() -> CoseKey {
    CoseKey::from_coordinates(&[1; 32], &[2; 32])
}

fn authenticator_data(flags: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut data = [&[0xee; 32][..], &[flags], &7_u32.to_be_bytes()].concat();
    rest.iter().for_each(|part| data.extend_from_slice(part));
    data
}

fn credential(id_length: u16, key: &[u8]) -> Vec<u8> {
    let id = vec![0x1d; usize::from(id_length)];
    [&[0xaa; 16][..], &id_length.to_be_bytes(), &id, key].concat()
}

#[test]
fn authenticator_data_of_an_assertion() {
    let data = AuthenticatorData::parse(&authenticator_data(0x05, &[])).unwrap();
    assert_eq!((data.rp_id_hash, data.sign_count), ([0xee; 32], 7));
    assert!(data.flags.user_present() && data.flags.user_verified());
    assert!(!data.flags.backup_eligible() && !data.flags.backup_state());
    assert_eq!((data.attested_credential, data.extensions), (None, None));
}

#[test]
fn authenticator_data_of_a_registration_with_extensions() {
    let extensions = cbor::encode(&cbor::Value::Map(vec![
        ("credProtect".into(), 3.into()),
        ("hmac-secret".into(), true.into()),
    ]));
    let bytes = authenticator_data(0xc5, &[&credential(4, &key().to_bytes()), &extensions]);
    let data = AuthenticatorData::parse(&bytes).unwrap();
    let credential = data.attested_credential.unwrap();
    assert_eq!((credential.aaguid.0, credential.credential_id), ([0xaa; 16], vec![0x1d; 4]));
    assert_eq!(credential.public_key, key());
    let parsed = data.extensions.unwrap();
    assert_eq!(parsed.cred_protect, Some(CredProtect::UserVerificationRequired));
    assert_eq!(parsed.raw, extensions);
}

#[test]
fn authenticator_data_that_is_none() {
    use AuthenticatorDataError as E;
    let key = key().to_bytes();
    let level = |level: u8| [&[0xa1, 0x6b][..], b"credProtect", &[level]].concat();
    let cases = [
        (authenticator_data(0x05, &[&[0]]), E::Trailing { left: 1 }),
        (authenticator_data(0x45, &[]), E::Truncated),
        (authenticator_data(0x45, &[&credential(0, &key)]), E::CredentialIdLength { length: 0 }),
        (
            authenticator_data(0x45, &[&credential(1024, &key)]),
            E::CredentialIdLength { length: 1024 },
        ),
        (authenticator_data(0x45, &[&credential(9, &[])[..20]]), E::Truncated),
        (authenticator_data(0x45, &[&credential(9, &key), &[0xa0]]), E::Trailing { left: 1 }),
        (
            authenticator_data(0x45, &[&credential(9, &[])]),
            E::PublicKey(CoseKeyError::Cbor(CborError::Syntax)),
        ),
        (authenticator_data(0x85, &[]), E::Extensions(CborError::Syntax)),
        (
            authenticator_data(0x85, &[&[0xa2, 0x61, 0x61, 1, 0x61, 0x61, 2]]),
            E::Extensions(CborError::DuplicateKey),
        ),
        (authenticator_data(0x85, &[&[0x80]]), E::ExtensionsNotAMap),
        (authenticator_data(0x85, &[&[0xa1, 1, 1]]), E::ExtensionsNotAMap),
        (authenticator_data(0x85, &[&level(0)]), E::CredProtect),
        (authenticator_data(0x85, &[&level(4)]), E::CredProtect),
    ];
    for (bytes, error) in cases {
        assert_eq!(AuthenticatorData::parse(&bytes), Err(error));
    }
    for length in 0..37 {
        let bytes = authenticator_data(0x05, &[]);
        assert_eq!(AuthenticatorData::parse(&bytes[..length]), Err(E::Truncated));
    }
}

#[test]
fn keys_other_than_es256_are_unsupported_by_name() {
    use CoseKeyError as E;
    let with = |edits: Vec<(i64, Option<cbor::Value>)>| {
        let mut entries: Vec<(i64, cbor::Value)> = vec![
            (1, 2.into()),
            (3, (-7).into()),
            (-1, 1.into()),
            (-2, cbor::Value::Bytes(vec![1; 32])),
            (-3, cbor::Value::Bytes(vec![2; 32])),
        ];
        for (key, value) in edits {
            entries.retain(|(found, _)| *found != key);
            entries.extend(value.map(|value| (key, value)));
        }
        CoseKey::parse(&cbor::encode(&cbor::map(entries)))
    };
    assert_eq!(with(vec![]), Ok(key()));
    for algorithm in [-8, -9, -35, -36, -53, -257] {
        assert_eq!(
            with(vec![(3, Some(algorithm.into()))]),
            Err(E::UnsupportedAlgorithm(algorithm))
        );
    }
    assert_eq!(with(vec![(1, Some(1.into()))]), Err(E::UnsupportedKeyType(1)));
    assert_eq!(with(vec![(-1, Some(2.into()))]), Err(E::UnsupportedCurve(2)));
    assert_eq!(with(vec![(-3, Some(true.into()))]), Err(E::CompressedPoint));
    assert_eq!(with(vec![(-2, Some(cbor::Value::Bytes(vec![1; 31])))]), Err(E::Malformed));
    assert_eq!(with(vec![(-2, None)]), Err(E::Malformed));
    assert_eq!(with(vec![(4, Some(1.into()))]), Err(E::UnexpectedParameter(4)));
    let trailing = [key().to_bytes(), vec![0]].concat();
    assert_eq!(CoseKey::parse(&trailing), Err(E::Cbor(CborError::NotDeterministic)));
}

#[test]
fn a_model_is_named_by_a_uuid_in_lower_case() {
    let text = "cb69481e-8ff7-4039-93ec-0a2729a154a8";
    assert_eq!(Aaguid::from_text(text).unwrap().to_string(), text);
    for bad in [
        "CB69481E-8FF7-4039-93EC-0A2729A154A8",
        "cb69481e8ff7403993ec0a2729a154a8",
        "cb69481e8-ff7-4039-93ec-0a2729a154a8",
        "cb69481e-8ff7-4039-93ec-0a2729a154ag",
        "+b69481e-8ff7-4039-93ec-0a2729a154a8",
        "cb69481e-8ff7-4039-93ec-0a2729a154a8-",
        "",
    ] {
        assert_eq!(Aaguid::from_text(bad), None, "{bad}");
    }
}

#[test]
fn attestation_objects_read_back() {
    for statement in [
        AttestationStatement::None,
        AttestationStatement::Packed(PackedStatement {
            algorithm: -7,
            signature: vec![1],
            x5c: vec![],
        }),
        AttestationStatement::Packed(PackedStatement {
            algorithm: -7,
            signature: vec![1],
            x5c: vec![vec![2], vec![3]],
        }),
        AttestationStatement::FidoU2f(U2fStatement { signature: vec![1], certificate: vec![2] }),
    ] {
        let object = AttestationObject { statement, authenticator_data: vec![4; 40] };
        assert_eq!(AttestationObject::parse(&object.to_bytes()), Ok(object));
    }
}

#[test]
fn published_attestation_objects_read_back() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        let bytes = bytes_of(vector, "registration", "attestationObject");
        let anchor = vector["anchor"].as_str().unwrap();
        let object = AttestationObject::parse(&bytes).unwrap_or_else(|_| panic!("{anchor}"));
        assert_eq!(object.to_bytes(), bytes, "{anchor}");
    }
}

#[test]
fn attestation_objects_that_are_none() {
    use AttestationObjectError as E;
    use cbor::Value as V;
    fn map(members: Vec<(&str, V)>) -> V {
        V::Map(members.into_iter().map(|(key, value)| (V::Text(key.to_owned()), value)).collect())
    }
    let object = |format: &str, statement: V, more: Option<(&str, V)>| {
        let mut members = vec![
            ("fmt", V::Text(format.to_owned())),
            ("attStmt", statement),
            ("authData", V::Bytes(vec![])),
        ];
        members.extend(more);
        AttestationObject::parse(&cbor::encode(&map(members))).unwrap_err()
    };
    let bytes = || V::Bytes(vec![1]);
    let packed = |x5c| map(vec![("alg", (-7).into()), ("sig", bytes()), ("x5c", x5c)]);
    assert_eq!(object("none", map(vec![]), Some(("epAtt", true.into()))), E::Malformed);
    assert_eq!(object("none", map(vec![("sig", bytes())]), None), E::Statement);
    assert_eq!(object("android-safetynet", map(vec![]), None), E::UnsupportedFormat);
    for format in ["tpm", "android-key", "apple"] {
        assert_eq!(object(format, map(vec![]), None), E::Statement, "{format}");
    }
    let chain = || V::Array(vec![bytes()]);
    let unchained = map(vec![("alg", (-7).into()), ("sig", bytes())]);
    assert_eq!(object("android-key", unchained, None), E::Statement);
    let more = map(vec![("x5c", chain()), ("sig", bytes())]);
    assert_eq!(object("apple", more, None), E::Statement);
    let tpm = |version: &str| {
        map(vec![
            ("ver", version.into()),
            ("alg", (-7).into()),
            ("x5c", chain()),
            ("sig", bytes()),
            ("certInfo", bytes()),
        ])
    };
    assert_eq!(object("tpm", tpm("1.2"), None), E::Statement);
    assert_eq!(object("tpm", tpm("2.0"), None), E::Statement);
    assert_eq!(object("packed", map(vec![("sig", bytes())]), None), E::Statement);
    assert_eq!(object("packed", packed(V::Array(vec![])), None), E::ChainLength { length: 0 });
    assert_eq!(
        object("packed", packed(V::Array(vec![bytes(); 9])), None),
        E::ChainLength { length: 9 }
    );
    let longest = map(vec![
        ("fmt", "packed".into()),
        ("attStmt", packed(V::Array(vec![bytes(); 8]))),
        ("authData", V::Bytes(vec![])),
    ]);
    assert_eq!(AttestationObject::parse(&cbor::encode(&longest)).map(|_| ()), Ok(()));
    assert_eq!(object("packed", packed(bytes()), None), E::Statement);
    let u2f =
        |certificates| map(vec![("sig", bytes()), ("x5c", V::Array(vec![bytes(); certificates]))]);
    assert_eq!(object("fido-u2f", u2f(2), None), E::ChainLength { length: 2 });
    assert_eq!(AttestationObject::parse(&[0xa0]), Err(E::Malformed));
    assert_eq!(AttestationObject::parse(&[]), Err(E::Cbor(CborError::Syntax)));
}

fn mutated(sound: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    edits.prop_map(move |edits| {
        let mut bytes = sound.clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    })
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let packed = vector("sctn-test-vectors-packed-es256");
    let object = bytes_of(&packed, "registration", "attestationObject");
    let data = AttestationObject::parse(&object).unwrap().authenticator_data;
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        mutated(object),
        mutated(data),
        mutated(key().to_bytes()),
        mutated(EXPECTED.to_json()),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in any_bytes()) {
        let _ = AuthenticatorData::parse(&bytes);
        if let Ok(object) = AttestationObject::parse(&bytes) {
            prop_assert_eq!(object.to_bytes(), &bytes[..]);
        }
        if let Ok(key) = CoseKey::parse(&bytes) {
            prop_assert_eq!(key.to_bytes(), &bytes[..]);
        }
        // Only the one serialisation passes.
        prop_assert_eq!(EXPECTED.check(&bytes).is_ok(), bytes == EXPECTED.to_json());
    }
}
