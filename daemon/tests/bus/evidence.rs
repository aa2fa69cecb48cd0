//! Evidence as it comes out: every signature checked, every binding followed.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use signet_evidence::action::content_digest;
use signet_evidence::binding::{assertion_challenge, registration_challenge, sha256};
use signet_evidence::tpm::{TpmsAttest, TpmtPublic, TpmtSignature};
use signet_evidence::webauthn::{AttestationObject, AuthenticatorData, Ceremony, ClientData};
use signet_evidence::{
    Action, ActionDetails, ActionKind, Evidence, ObservedVerification, Purpose, Registration,
};

use crate::authority::RP_ID;
use crate::client::{Answer, Options, bytes, options, text};
use crate::world::{
    CHALLENGE, PIN, World, key_with_finger, key_with_pin, ready, register, registration, renewal,
    session, with,
};

/// The point of a certificate's P-256 key.
fn certified(certificate: &[u8]) -> Vec<u8> {
    let prefix = [0x03, 0x42, 0x00, 0x04];
    let at = certificate.windows(4).position(|window| window == prefix).unwrap() + 3;
    certificate[at..at + 65].to_vec()
}

pub fn verify_by_certificate(certificate: &[u8], message: &[u8], der_signature: &[u8]) {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, certified(certificate));
    key.verify(message, der_signature).unwrap();
}

/// Checks the outer signature, the quote and the certification, as far as one can without the
/// authority's records.
pub fn checked(evidence: &[u8]) -> Evidence {
    let evidence = Evidence::parse(evidence).unwrap();
    let tls = certified(evidence.certificate_chain.leaf());
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &tls)
        .verify(&evidence.to_be_signed(), evidence.signature())
        .unwrap();
    let ak = certified(evidence.tpm.ak_chain.leaf());
    let mut attests = vec![evidence.tpm.quote.clone()];
    attests.extend(evidence.tpm.certification.iter().map(|made| made.signed.clone()));
    for signed in attests {
        let attest = TpmsAttest::parse(&signed.attest).unwrap();
        assert_eq!(attest.extra_data, evidence.qualifying_data());
        let TpmtSignature::Ecdsa { r_s, .. } = TpmtSignature::parse(&signed.signature).unwrap()
        else {
            panic!("not an ECDSA signature")
        };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &ak).verify(&signed.attest, &r_s).unwrap();
    }
    if let Some(certification) = &evidence.tpm.certification {
        let public = TpmtPublic::parse(&certification.public).unwrap();
        assert_eq!(public.ecc().unwrap().uncompressed_point(), tls);
    }
    evidence
}

/// The new credential's public key, and that it answers this statement.
fn credential_key(made: &Answer) -> Vec<u8> {
    let evidence = checked(&bytes(made, "evidence"));
    assert_eq!(evidence.statement.purpose, Purpose::EnrolKey);
    let part = &evidence.registration.as_ref().unwrap().value;
    let Registration::SecurityKey(registration) = part else { panic!("a platform key") };
    let origin = format!("https://{RP_ID}");
    let challenge = registration_challenge(evidence.statement_bytes());
    let expected =
        ClientData { ceremony: Ceremony::Registration, challenge: &challenge, origin: &origin };
    expected.check(&registration.client_data).unwrap();
    let object = AttestationObject::parse(&registration.attestation_object).unwrap();
    let data = AuthenticatorData::parse(&object.authenticator_data).unwrap();
    assert_eq!(data.rp_id_hash, sha256(RP_ID.as_bytes()));
    assert!(data.flags.user_present() && data.flags.user_verified());
    let credential = data.attested_credential.unwrap();
    assert_eq!(credential.credential_id, bytes(made, "credential_id"));
    assert_eq!(credential.aaguid.0.to_vec(), bytes(made, "aaguid"));
    credential.public_key.uncompressed_point().to_vec()
}

/// The assertion is by this key over this very statement.
fn check_assertion(evidence: &Evidence, key: &[u8]) -> AuthenticatorData {
    let assertion = evidence.assertion.as_ref().unwrap().value.security_key().unwrap();
    let origin = format!("https://{RP_ID}");
    let challenge = assertion_challenge(evidence.statement_bytes());
    let expected =
        ClientData { ceremony: Ceremony::Authentication, challenge: &challenge, origin: &origin };
    expected.check(&assertion.client_data).unwrap();
    let signed =
        [assertion.authenticator_data.as_slice(), &sha256(&assertion.client_data)].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(&signed, &assertion.signature)
        .unwrap();
    AuthenticatorData::parse(&assertion.authenticator_data).unwrap()
}

#[tokio::test]
async fn a_session_by_pin_is_signed_by_key_and_tpm() {
    let world = World::enrolled(vec![key_with_pin().await], "").await;
    let caller = world.caller().await;
    let made = register(&caller, "register", Options::new()).await;
    let key = credential_key(&made);
    let credential = bytes(&made, "credential_id");

    let mut pending = caller.presence("session", &session(&credential)).await.unwrap();
    let details = pending.stage("pin-needed").await;
    assert_eq!(text(&details, "title"), "Sign in");
    assert_eq!(text(&details, "action"), "new session at authority.example:8443");
    assert_eq!(details["min_length"], zbus::Variant::from(4u32).try_into().unwrap());
    pending.give_pin(PIN).await.unwrap();
    let results = pending.results().await;
    assert_eq!(bytes(&results, "credential_id"), credential);
    assert_eq!(text(&results, "observed"), "pin");
    let evidence = checked(&bytes(&results, "evidence"));
    assert_eq!(evidence.statement.challenge, CHALLENGE);
    assert_eq!(evidence.statement.subject.as_deref(), Some("alice"));
    assert!(evidence.tpm.certification.is_some());
    let data = check_assertion(&evidence, &key);
    assert!(data.flags.user_present() && data.flags.user_verified());
    let observed = evidence.assertion.unwrap().value.security_key().unwrap().observed;
    assert_eq!(observed, Some(ObservedVerification::Pin));
}

#[tokio::test]
async fn an_action_by_finger_shows_the_words_of_the_action() {
    let key = key_with_finger("right-index").await;
    let world = World::enrolled(vec![key], "").await;
    let caller = world.caller().await;
    let mut pending = caller.register("register", &registration()).await.unwrap();
    pending.stage("finger-needed").await;
    world.keys[0].finger("right-index").unwrap();
    let made = pending.results().await;
    let public = credential_key(&made);

    let action = Action::new(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec!["mesh.route.update".into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: "/v1/routes/payments".into(),
        content_digest: content_digest(b"{}"),
    })
    .unwrap();
    let request = session(&bytes(&made, "credential_id"));
    let request = with(request, "purpose", "action".into());
    let request = with(request, "action", action.as_bytes().to_vec().into());
    let mut pending = caller.presence("action", &request).await.unwrap();
    let details = pending.stage("finger-needed").await;
    assert_eq!(text(&details, "title"), "Approve one request");
    let words = "mesh.route.update: PUT ctl.mesh.example/v1/routes/payments";
    assert_eq!(text(&details, "action"), words);
    world.keys[0].finger("left-thumb").unwrap();
    pending.stage("wrong-finger").await;
    world.keys[0].finger("right-index").unwrap();
    let results = pending.results().await;
    assert_eq!(text(&results, "observed"), "built-in");
    let evidence = checked(&bytes(&results, "evidence"));
    assert_eq!(evidence.statement.action, Some(action));
    assert!(evidence.tpm.certification.is_none());
    assert!(check_assertion(&evidence, &public).flags.user_verified());
}

#[tokio::test]
async fn renewal_and_workload_need_nobody() {
    let world = World::enrolled(vec![], "prompts = \"none\"").await;
    let caller = world.caller().await;
    let mut pending = caller.presence("renew", &renewal()).await.unwrap();
    let evidence = checked(&bytes(&pending.results().await, "evidence"));
    assert_eq!(evidence.statement.purpose, Purpose::Renew);
    assert!(evidence.assertion.is_none() && evidence.tpm.certification.is_none());
    let workload =
        options([("purpose", "workload".into()), ("challenge", CHALLENGE.to_vec().into())]);
    let mut pending = caller.presence("workload", &workload).await.unwrap();
    let evidence = checked(&bytes(&pending.results().await, "evidence"));
    assert!(evidence.assertion.is_none() && evidence.tpm.certification.is_some());
}

#[tokio::test]
async fn a_second_key_is_authorised_by_the_first_over_the_same_statement() {
    let mut world =
        World::enrolled(vec![key_with_pin().await, key_with_finger("thumb").await], "").await;
    let caller = world.caller().await;
    world.keys[1].unplug().unwrap();
    let mut pending = caller.register("first", &registration()).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    let first = pending.results().await;
    let public = credential_key(&first);
    let credential = bytes(&first, "credential_id");

    let request = with(registration(), "authorise_with", vec![credential.clone()].into());
    let request = with(request, "exclude_credentials", vec![credential.clone()].into());
    // Both are plugged in and blink; only the first is touched.
    world.keys[1].restart().unwrap();
    world.keys[1].touch_manual().unwrap();
    let mut pending = caller.register("second", &request).await.unwrap();
    let details = pending.stage("pin-needed").await;
    assert_eq!(text(&details, "title"), "Allow another security key");
    pending.give_pin(PIN).await.unwrap();
    let details = pending.stage("finger-needed").await;
    assert_eq!(text(&details, "title"), "Enrol this security key");
    world.keys[1].touch_auto().unwrap();
    world.keys[1].finger("thumb").unwrap();
    let second = pending.results().await;
    assert_ne!(bytes(&second, "credential_id"), credential);
    let evidence = checked(&bytes(&second, "evidence"));
    assert!(check_assertion(&evidence, &public).flags.user_verified());
    credential_key(&second);
}

#[tokio::test]
async fn a_key_that_is_enrolled_already_is_not_enrolled_twice() {
    let (_world, caller, credential) = ready(key_with_pin().await, "").await;
    let request = with(registration(), "exclude_credentials", vec![credential].into());
    let mut pending = caller.register("again", &request).await.unwrap();
    pending.stage("pin-needed").await;
    pending.give_pin(PIN).await.unwrap();
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "NoCredential");
    assert!(words.contains("enrolled already"), "{words}");
}

#[tokio::test]
async fn keys_are_listed_with_what_they_can() {
    let world = World::with_keys(vec![key_with_pin().await, key_with_finger("thumb").await]);
    let caller = world.caller().await;
    let listed = caller.daemon.list_authenticators().await.unwrap();
    let facts: Vec<(String, String, bool)> = listed
        .iter()
        .map(|key| {
            let pin_set: bool = key["pin_set"].try_clone().unwrap().try_into().unwrap();
            (text(key, "path"), text(key, "built_in_uv"), pin_set)
        })
        .collect();
    let path = |at: usize| world.keys[at].socket().display().to_string();
    assert_eq!(facts[0], (path(0), "none".to_owned(), true));
    assert_eq!((&facts[1].0, facts[1].1.as_str()), (&path(1), "enrolled"));
}
