//! Metadata BLOBs: the specification's own example, and BLOBs signed here, of which each bad one is
//! refused by its fault.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use signet_evidence::UnixTime;
use signet_evidence::webauthn::Aaguid;
use signet_verifier::ModelVerification;
use signet_verifier::certificate::{PathError, TrustAnchors};
use signet_verifier::metadata::{
    AttestationKeyId, BlobError, JwsError, Metadata, ModelCondition, ModelStatus, Rollback, Signer,
};

const EXAMPLE: &[u8] = include_bytes!("../../fixtures/published/metadata/example.blob");
const EXAMPLE_CA: &str = include_str!("../../fixtures/published/metadata/example-ca.pem");
/// 2026-01-01.
const NOW: UnixTime = UnixTime(1_767_225_600);
const DAY: i64 = 86_400;
const SIGNER: &str = "mds.mesh.example";
const MODEL: Aaguid = Aaguid([0x5a; 16]);

fn example_roots() -> TrustAnchors {
    let body: String = EXAMPLE_CA.lines().filter(|line| !line.starts_with('-')).collect();
    TrustAnchors::from_der([STANDARD.decode(body).unwrap()]).unwrap()
}

#[test]
fn the_example_of_the_specification_is_believed() {
    let roots = example_roots();
    let signer = Signer { roots: &roots, name: None };
    let metadata = Metadata::verify(EXAMPLE, signer, NOW).unwrap();
    assert_eq!(metadata.number(), 15);
    // 2020-03-30.
    assert_eq!(metadata.next_update(), UnixTime(1_585_526_400));
    assert!(metadata.is_stale(NOW));
    assert!(!metadata.is_stale(UnixTime(1_585_526_400 + DAY - 1)));
    // The other entry is UAF.
    let [model] = metadata.models() else { panic!("{:?}", metadata.models()) };
    let aaguid = Aaguid::from_text("0132d110-bf4e-4208-a403-ab4f5f12efe5").unwrap();
    assert!(model.describes(aaguid, None));
    assert_eq!(model.description, "FIDO Alliance Sample FIDO2 Authenticator");
    assert_eq!(model.verification, Some(ModelVerification::PinOnly));
    assert_eq!(model.firmware, Some(5));
    assert_eq!((model.roots.len(), model.reports.len()), (1, 2));
    assert_eq!(model.condition(NOW), ModelCondition::Good);
}

#[test]
fn the_example_is_not_believed_by_other_roots_names_or_at_other_times() {
    let roots = example_roots();
    let other = House::new();
    let judge = |roots: &TrustAnchors, name, now| {
        Metadata::verify(EXAMPLE, Signer { roots, name }, now).unwrap_err()
    };
    let unknown = BlobError::Untrusted(PathError::UnknownIssuer);
    assert_eq!(judge(&other.roots, None, NOW), unknown);
    // Its certificate has no DNS name at all.
    assert_eq!(judge(&roots, Some("mds.fidoalliance.org"), NOW), BlobError::SignerName);
    let expired = BlobError::Untrusted(PathError::Expired);
    assert_eq!(judge(&roots, None, UnixTime(NOW.0 + 6 * 365 * DAY)), expired);
    let early = BlobError::Untrusted(PathError::NotYetValid);
    assert_eq!(judge(&roots, None, UnixTime(NOW.0 - 6 * 365 * DAY)), early);
}

/// Somebody who publishes metadata.
struct House {
    roots: TrustAnchors,
    issuer: Issuer<'static, KeyPair>,
}

enum Key {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

struct Publisher {
    certificate: Vec<u8>,
    key: Key,
}

impl House {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Metadata root");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        let roots = TrustAnchors::from_der([root]).unwrap();
        Self { roots, issuer: Issuer::new(params, key) }
    }

    fn certify(&self, key: &KeyPair, name: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    fn publisher(&self, name: &str) -> Publisher {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let certified = KeyPair::try_from(pkcs8.as_ref()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
        Publisher { certificate: self.certify(&certified, name), key: Key::Es256(key) }
    }

    fn rsa_publisher(&self) -> Publisher {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key);
        let certified = KeyPair::try_from(pkcs8.unwrap().as_ref()).unwrap();
        Publisher { certificate: self.certify(&certified, SIGNER), key: Key::Rs256(key) }
    }

    fn verify(&self, blob: &[u8]) -> Result<Metadata, BlobError> {
        Metadata::verify(blob, Signer { roots: &self.roots, name: Some(SIGNER) }, NOW)
    }
}

impl Publisher {
    fn header(&self) -> Value {
        let algorithm = match self.key {
            Key::Es256(_) => "ES256",
            Key::Rs256(_) => "RS256",
        };
        json!({ "alg": algorithm, "typ": "JWT", "x5c": [STANDARD.encode(&self.certificate)] })
    }

    fn sign(&self, header: &Value, payload: &[u8]) -> Vec<u8> {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Es256(key) => key.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()
    }

    fn publish(&self, payload: &Value) -> Vec<u8> {
        self.sign(&self.header(), payload.to_string().as_bytes())
    }
}

fn entry(reports: Value) -> Value {
    json!({
        "aaguid": MODEL.to_string(),
        "statusReports": reports,
        "timeOfLastStatusChange": "2025-01-01",
        "metadataStatement": {
            "description": "A key\nwith a reader",
            "authenticatorVersion": 3,
            "userVerificationDetails": [
                [{ "userVerificationMethod": "fingerprint_internal" }],
                [{ "userVerificationMethod": "presence_internal" }],
            ],
            "keyProtection": ["hardware", "secure_element"],
            "matcherProtection": ["on_chip"],
            "attestationTypes": ["basic_full"],
            "attestationRootCertificates": [],
            "authenticatorGetInfo": { "versions": ["FIDO_2_1"], "extensions": ["credProtect"] },
            "a member of tomorrow": [1, 2, 3],
        },
    })
}

fn payload(number: u64, entries: Value) -> Value {
    json!({ "no": number, "nextUpdate": "2026-02-01", "legalHeader": "-", "entries": entries })
}

#[test]
fn blobs_of_both_pinned_algorithms_are_read() {
    let house = House::new();
    for publisher in [house.publisher(SIGNER), house.rsa_publisher()] {
        let mut blob = publisher.publish(&payload(9, json!([entry(json!([]))])));
        blob.extend_from_slice(b"\n");
        let metadata = house.verify(&blob).unwrap();
        assert_eq!((metadata.number(), metadata.is_stale(NOW)), (9, false));
        let model = metadata.describing(MODEL, None).next().unwrap();
        assert_eq!(model.description, "A keywith a reader");
        assert_eq!(model.verification, Some(ModelVerification::BuiltInOnly));
        assert_eq!(model.key_protection, ["hardware", "secure_element"]);
        assert!(model.cred_protect);
        // As a store keeps it.
        let text = serde_json::to_string(&metadata).unwrap();
        assert_eq!(serde_json::from_str::<Metadata>(&text).unwrap(), metadata);
    }
}

#[test]
fn a_blob_that_nobody_trusted_signed_is_refused_by_its_fault() {
    use BlobError as E;
    let house = House::new();
    let publisher = house.publisher(SIGNER);
    let content = payload(9, json!([])).to_string();
    let sound = publisher.publish(&payload(9, json!([])));
    house.verify(&sound).unwrap();
    let stranger = House::new();
    // Its root has the same name, and another key.
    let untrusted = E::Untrusted(PathError::SignatureInvalid);
    let of_stranger = stranger.publisher(SIGNER).publish(&payload(9, json!([])));
    assert_eq!(house.verify(&of_stranger).unwrap_err(), untrusted);
    // Any other customer of the same CA.
    let of_neighbour = house.publisher("www.mesh.example").publish(&payload(9, json!([])));
    assert_eq!(house.verify(&of_neighbour).unwrap_err(), E::SignerName);

    let with = |edit: &dyn Fn(&mut Value)| {
        let mut header = publisher.header();
        edit(&mut header);
        house.verify(&publisher.sign(&header, content.as_bytes())).unwrap_err()
    };
    for name in ["none", "HS256", "ES384", "RS384", "PS256", "EdDSA", "es256", ""] {
        let error = with(&|header| header["alg"] = name.into());
        assert_eq!(error, E::Jws(JwsError::Algorithm(name.to_owned())));
    }
    assert_eq!(with(&|header| header["alg"] = "RS256".into()), E::Jws(JwsError::Key));
    assert_eq!(with(&|header| header["x5c"] = json!([])), E::Jws(JwsError::ChainLength(0)));
    let many = vec!["AA=="; 7];
    assert_eq!(with(&|header| header["x5c"] = json!(many)), E::Jws(JwsError::ChainLength(7)));
    assert_eq!(with(&|header| header["x5c"] = json!(["?"])), E::Jws(JwsError::Certificate));
    for member in ["x5u", "jwk", "crit", "b64", "kid"] {
        assert_eq!(with(&|header| header[member] = json!([])), E::Jws(JwsError::Header));
    }
    // An unsigned JWS whose header says so, and one "signed" with what everybody knows.
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(&content)
    );
    let error = house.verify(unsigned.as_bytes()).unwrap_err();
    assert_eq!(error, E::Jws(JwsError::Algorithm("none".into())));
}

#[test]
fn the_longest_that_is_read_is_read_and_no_longer_one() {
    use BlobError as E;
    let house = House::new();
    let publisher = house.publisher(SIGNER);
    let content = payload(9, json!([])).to_string();
    let judge = |header: &Value| {
        house.verify(&publisher.sign(header, content.as_bytes())).map(|metadata| metadata.number())
    };
    let chain = |length| {
        let mut header = publisher.header();
        header["x5c"] = json!(vec![STANDARD.encode(&publisher.certificate); length]);
        judge(&header)
    };
    assert_eq!((chain(6), chain(7)), (Ok(9), Err(E::Jws(JwsError::ChainLength(7)))));
    // 64 KiB of base64url.
    let mut header = publisher.header();
    header["typ"] = "".into();
    let rest = 48 * 1024 - header.to_string().len();
    header["typ"] = "J".repeat(rest).into();
    assert_eq!(judge(&header), Ok(9));
    header["typ"] = "J".repeat(rest + 1).into();
    assert_eq!(judge(&header), Err(E::Jws(JwsError::Shape)));
    let mut blob = vec![b'a'; 64 << 20];
    assert_eq!(house.verify(&blob).unwrap_err(), E::Jws(JwsError::Shape));
    blob.push(b'a');
    assert_eq!(house.verify(&blob).unwrap_err(), E::NotText);
}

#[test]
fn a_blob_that_was_changed_is_refused() {
    use BlobError as E;
    let house = House::new();
    let publisher = house.publisher(SIGNER);
    let sound = String::from_utf8(publisher.publish(&payload(9, json!([])))).unwrap();
    let parts: Vec<&str> = sound.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(payload(10, json!([])).to_string());
    let changed = [parts[0], &other, parts[2]].join(".");
    let error = house.verify(changed.as_bytes()).unwrap_err();
    assert_eq!(error, E::Jws(JwsError::SignatureInvalid));
    for cut in [parts[..2].join("."), String::new(), format!("{sound}."), format!("{sound}.AA")] {
        assert_eq!(house.verify(cut.as_bytes()).unwrap_err(), E::Jws(JwsError::Shape), "{cut}");
    }
    assert_eq!(house.verify(&[0xff, 0xfe]).unwrap_err(), E::NotText);
    let padded = [parts[0], parts[1], &format!("{}==", parts[2])].join(".");
    assert_eq!(house.verify(padded.as_bytes()).unwrap_err(), E::Jws(JwsError::Shape));
}

#[test]
fn a_payload_with_two_meanings_or_none_is_refused() {
    use BlobError as E;
    let house = House::new();
    let publisher = house.publisher(SIGNER);
    let judge = |payload: &Value| house.verify(&publisher.publish(payload)).unwrap_err();
    let good = || entry(json!([]));
    assert_eq!(judge(&payload(1, json!([good(), good()]))), E::Duplicate(MODEL));
    let mut dateless = payload(1, json!([]));
    dateless["nextUpdate"] = "soon".into();
    assert_eq!(judge(&dateless), E::Payload);
    let mut negative = payload(1, json!([]));
    negative["no"] = json!(-1);
    assert_eq!(judge(&negative), E::Payload);
    let raw = publisher
        .sign(&publisher.header(), br#"{"no":1,"no":2,"nextUpdate":"2026-02-01","entries":[]}"#);
    assert_eq!(house.verify(&raw).unwrap_err(), E::Payload);
    let edits: [fn(&mut Value); 5] = [
        |entry| entry["aaguid"] = "not an aaguid".into(),
        |entry| entry["attestationCertificateKeyIdentifiers"] = json!([]),
        |entry| entry["statusReports"] = json!([{ "status": "REVOKED", "effectiveDate": "now" }]),
        |entry| entry["metadataStatement"]["attestationRootCertificates"] = json!(["?"]),
        |entry| {
            entry["attestationCertificateKeyIdentifiers"] = json!(["00"]);
            entry.as_object_mut().unwrap().remove("aaguid");
        },
    ];
    for edit in edits {
        let mut changed = good();
        edit(&mut changed);
        assert_eq!(
            judge(&payload(1, json!([{ "aaid": "1#1", "statusReports": [] }, changed]))),
            E::Entry(1)
        );
    }
}

#[test]
fn reports_count_for_the_model_they_are_about() {
    let house = House::new();
    let publisher = house.publisher(SIGNER);
    let key = AttestationKeyId([0x11; 20]);
    let u2f = |status: &str| {
        json!({
            "attestationCertificateKeyIdentifiers": ["11".repeat(20)],
            "statusReports": [{ "status": status, "effectiveDate": "2025-06-01" }],
        })
    };
    let revoked = json!([
        { "status": "FIDO_CERTIFIED", "effectiveDate": "2024-01-01" },
        { "status": "USER_VERIFICATION_BYPASS", "effectiveDate": "2025-06-01" },
    ]);
    // Makers do list one attestation key twice: the worst counts.
    let entries = json!([entry(revoked), u2f("FIDO_CERTIFIED"), u2f("ATTESTATION_KEY_COMPROMISE")]);
    let metadata = house.verify(&publisher.publish(&payload(9, entries))).unwrap();
    let bypass = Some(&ModelStatus::UserVerificationBypass);
    assert_eq!(metadata.reported(MODEL, None, NOW), bypass);
    // A key that has a model is judged by it, whoever certified its batch.
    assert_eq!(metadata.reported(Aaguid([1; 16]), Some(key), NOW), None);
    let compromised = Some(&ModelStatus::AttestationKeyCompromise);
    assert_eq!(metadata.reported(Aaguid::ZERO, Some(key), NOW), compromised);
    assert_eq!(metadata.reported(Aaguid::ZERO, None, NOW), None);
}

#[test]
fn an_older_blob_does_not_follow_a_newer_one() {
    let house = House::new();
    let metadata = house.verify(&house.publisher(SIGNER).publish(&payload(9, json!([])))).unwrap();
    assert_eq!(metadata.may_follow(8), Ok(()));
    assert_eq!(metadata.may_follow(9), Ok(()));
    assert_eq!(metadata.may_follow(10), Err(Rollback { current: 10, offered: 9 }));
}
