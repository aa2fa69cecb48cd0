//! python-fido2 judges what our client brings from a key; our verifier judges what python-fido2 brings.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_ctap::commands::{CredentialProtection, RelyingParty, UserEntity};
use signet_ctap::operation::{
    AssertRequest, Assertion, Event, Events, OperationError, Prompt, RegisterRequest, Registration,
    UserVerification,
};
use signet_ctap::{Key, Timing, Zeroizing};
use signet_evidence::binding::sha256;
use signet_evidence::webauthn::{Ceremony, ClientData};
use signet_evidence::{FidoAssertion, FidoRegistration, UnixTime};
use signet_test_authenticators::{AttestationRoot, Firmware, KeyOptions, VirtualKey};
use signet_verifier::certificate::TrustAnchors;
use signet_verifier::webauthn::{
    AssertionError, ExpectedAssertion, ExpectedRegistration, UserVerification as Verification,
    VerifiedAssertion, VerifiedRegistration,
};

use crate::{BOTH, file, python};

const RP_ID: &str = "presence.mesh.example";
const ORIGIN: &str = "https://presence.mesh.example";
const PIN: &str = "294817";

fn challenge() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).unwrap();
    bytes
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Runs the referee with this on its standard input; gives what it printed.
fn peer(arguments: &[&str], input: &Value) -> String {
    let mut child = Command::new(python())
        .arg(file("tests/referees/peer.py"))
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child.stdin.take().unwrap().write_all(input.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && written.is_ok(), "{errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A key of a maker, with a PIN.
async fn key(firmware: Firmware, maker: &AttestationRoot) -> (VirtualKey, Key) {
    let batch = maker.issue(firmware.aaguid()).unwrap();
    let rig = KeyOptions::new(firmware).attestation(batch).start().unwrap();
    let mut key = Key::open_path(&rig.socket(), Timing::default()).await.unwrap();
    key.set_pin(&Zeroizing::new(PIN.to_owned())).await.unwrap();
    (rig, key)
}

/// Types the PIN whenever the key asks.
async fn type_pin(mut events: Events) {
    while let Some(event) = events.next().await {
        if let Event::PinNeeded(question) = event {
            question.answer(Zeroizing::new(PIN.to_owned()));
        }
    }
}

async fn register(key: &mut Key, hash: [u8; 32]) -> Result<Registration, OperationError> {
    let (prompt, events) = Prompt::new();
    let request = RegisterRequest {
        rp: RelyingParty { id: RP_ID.into(), name: "Signet".into() },
        user: UserEntity {
            id: b"operator-1".to_vec(),
            name: "op".into(),
            display_name: "Op".into(),
        },
        client_data_hash: hash,
        algorithms: vec![-7],
        exclude_list: Vec::new(),
        resident_key: false,
        protection: Some(CredentialProtection::UserVerificationRequired),
        min_pin_length: false,
        enterprise_attestation: None,
        user_verification: UserVerification::Required { pin_fallback: true },
    };
    let typist = tokio::spawn(type_pin(events));
    let made = key.register(&request, &prompt).await;
    typist.abort();
    made
}

async fn assert(key: &mut Key, id: &[u8], hash: [u8; 32]) -> Result<Assertion, OperationError> {
    let (prompt, events) = Prompt::new();
    let request = AssertRequest {
        rp_id: RP_ID.into(),
        client_data_hash: hash,
        allow_list: vec![id.to_vec()],
        user_verification: UserVerification::Required { pin_fallback: true },
    };
    let typist = tokio::spawn(type_pin(events));
    let made = key.assert(&request, &prompt).await;
    typist.abort();
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn python_fido2_accepts_what_our_client_brings_and_no_edit_of_it() {
    for (firmware, name) in BOTH {
        let maker = AttestationRoot::generate().unwrap();
        let (_rig, mut key) = key(firmware, &maker).await;
        let challenges = [challenge(), challenge()];
        let data =
            |ceremony, challenge| ClientData { ceremony, challenge, origin: ORIGIN }.to_json();
        let created = data(Ceremony::Registration, &challenges[0]);
        let got = data(Ceremony::Authentication, &challenges[1]);
        let made = register(&mut key, sha256(&created)).await.unwrap();
        let used = assert(&mut key, &made.credential_id, sha256(&got)).await.unwrap();
        let case = json!({
            "rp_id": RP_ID,
            "root": text(maker.certificate()),
            "credential_id": text(&made.credential_id),
            "registration": {
                "challenge": text(&challenges[0]),
                "client_data": text(&created),
                "attestation_object": text(&made.attestation_object),
            },
            "assertion": {
                "challenge": text(&challenges[1]),
                "client_data": text(&got),
                "authenticator_data": text(&used.auth_data),
                "signature": text(&used.signature),
            },
        });
        assert_eq!(peer(&["judge"], &case), "accepted", "{name}");

        let mut flags = used.auth_data.clone();
        flags[32] &= !0x04;
        let mut object = made.attestation_object.clone();
        *object.last_mut().unwrap() ^= 1;
        let stranger = AttestationRoot::generate().unwrap();
        for (pointer, edited, why) in [
            ("/assertion/authenticator_data", text(&flags), "User verification"),
            ("/assertion/challenge", text(&challenge()), "Wrong challenge"),
            ("/assertion/client_data", text(&created), "Incorrect type"),
            ("/registration/attestation_object", text(&object), "InvalidSignature"),
            ("/root", text(stranger.certificate()), "UntrustedAttestation"),
        ] {
            let mut case = case.clone();
            *case.pointer_mut(pointer).unwrap() = edited.into();
            let verdict = peer(&["judge"], &case);
            assert!(verdict.starts_with("refused") && verdict.contains(why), "{name}: {verdict}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_verifier_accepts_what_python_fido2_brings_and_no_edit_of_it() {
    for (firmware, name) in BOTH {
        let maker = AttestationRoot::generate().unwrap();
        let (rig, open) = key(firmware, &maker).await;
        drop(open);
        let [to_register, to_assert] = [challenge(), challenge()];
        let wish = json!({
            "rp_id": RP_ID,
            "pin": PIN,
            "registration_challenge": text(&to_register),
            "assertion_challenge": text(&to_assert),
        });
        let socket = rig.socket().display().to_string();
        let brought: Value = serde_json::from_str(&peer(&["use", &socket], &wish)).unwrap();
        let bytes = |pointer: &str| {
            URL_SAFE_NO_PAD.decode(brought.pointer(pointer).unwrap().as_str().unwrap()).unwrap()
        };
        let registration = FidoRegistration {
            attestation_object: bytes("/registration/attestation_object"),
            client_data: bytes("/registration/client_data"),
        };
        let expected = ExpectedRegistration {
            challenge: &to_register,
            rp_id: RP_ID,
            origin: ORIGIN,
            user_verification: Verification::Required,
        };
        let roots = TrustAnchors::from_der([maker.certificate()]).unwrap();
        let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64);
        let enrolled = VerifiedRegistration::verify(&registration, &expected, &roots, now).unwrap();
        assert!(enrolled.anchor().is_some() && enrolled.user_verified(), "{name}");

        let assertion = FidoAssertion {
            credential_id: bytes("/credential_id"),
            authenticator_data: bytes("/assertion/authenticator_data"),
            client_data: bytes("/assertion/client_data"),
            signature: bytes("/assertion/signature"),
            observed: None,
        };
        let expected = ExpectedAssertion {
            credential_id: enrolled.credential_id(),
            public_key: enrolled.public_key(),
            sign_count: enrolled.sign_count(),
            challenge: &to_assert,
            rp_id: RP_ID,
            origin: ORIGIN,
            user_verification: Verification::Required,
        };
        let verified = VerifiedAssertion::verify(&assertion, &expected).unwrap();
        assert!(verified.user_verified(), "{name}");

        let other = ExpectedAssertion { challenge: &to_register, ..expected };
        let refused = VerifiedAssertion::verify(&assertion, &other).unwrap_err();
        assert_eq!(refused, AssertionError::Challenge, "{name}");
        let mut edited = assertion.clone();
        edited.authenticator_data[36] ^= 1;
        let refused = VerifiedAssertion::verify(&edited, &expected).unwrap_err();
        assert_eq!(refused, AssertionError::SignatureInvalid, "{name}");
    }
}
