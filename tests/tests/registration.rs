//! Which new keys the rules let in, and what is then known of them (protocol 4.2): each rule alone.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeSet;
use std::sync::Arc;

use signet_evidence::binding::sha256;
use signet_evidence::cbor::Value;
use signet_evidence::webauthn::Aaguid;
use signet_evidence::{Purpose, RejectionCode, UnixTime};
use signet_tests::fixture;
use signet_tests::forge::structure::envelope;
use signet_tests::forge::{Base, Edit, Forger, Map};
use signet_tests::world::World;
use signet_verifier::metadata::Metadata;
use signet_verifier::policy::{AttestationRoot, RegistrationPolicy, RegistrationRules};
use signet_verifier::{
    Appraisal, AttestationKind, ModelVerification, NewKey, RegistrationResult, Rejection,
};

/// UP without UV, and the AT that says that a credential follows.
const TOUCHED: Edit = Edit::AuthenticatorData(|data| data[32] = 0x41);
/// Attestation `none`.
const UNATTESTED: Edit = Edit::Object(|object| {
    set(object, "fmt", "none".into());
    set(object, "attStmt", Value::Map(Vec::new()));
});

fn set(map: &mut Map, name: &str, value: Value) {
    let (_, member) = map.iter_mut().find(|(key, _)| key.as_text() == Some(name)).unwrap();
    *member = value;
}

/// What the library says of evidence with a new key, with these edits and under this policy.
fn registered(
    world: &World,
    base: Base,
    edits: &[Edit],
    registration: RegistrationPolicy,
) -> Result<RegistrationResult, Rejection> {
    let envelope = envelope(base, "accepted", "registration", "");
    let bytes = Forger::new(world).unwrap().evidence(base, edits, "registration").unwrap();
    let mut policy = world.policy(&envelope.with).unwrap();
    policy.registration = registration;
    let key = world.challenge_key().unwrap();
    let now = UnixTime(envelope.now);
    let appraisal = Appraisal { policy: &policy, challenge_key: &key, now };
    let peer = &world.peers[envelope.peer.as_deref().unwrap()].0;
    let evidence = appraisal.begin(&bytes, peer, &[Purpose::EnrolKey])?;
    let enrolled = world.enrolled_for(evidence.credential_id(), &envelope.with).unwrap();
    evidence.appraise_registration(&enrolled, &policy, now)
}

fn code(result: Result<RegistrationResult, Rejection>) -> Option<RejectionCode> {
    result.err().map(|rejection| rejection.code())
}

fn model(world: &World) -> Aaguid {
    Aaguid(world.aaguid.0.as_slice().try_into().unwrap())
}

/// The maker's root, configured for its model, and these rules.
fn configured(world: &World, rules: RegistrationRules) -> RegistrationPolicy {
    let verification = ModelVerification::BuiltInOrPin;
    let aaguid = model(world);
    let models = vec![signet_verifier::assurance::AuthenticatorModel { aaguid, verification }];
    let certificate = world.attestation_root.0.clone();
    RegistrationPolicy::new(vec![AttestationRoot { certificate, models }], rules).unwrap()
}

/// Metadata of the world's model with the maker's root, good until the end of the day `next_update`.
fn metadata(world: &World, next_update: i64) -> Option<Arc<Metadata>> {
    let roots = serde_json::json!([world.attestation_root.0]);
    Some(Arc::new(world.model_metadata(next_update, [("roots", roots)]).unwrap()))
}

#[test]
fn a_new_key_says_what_it_is_and_who_let_it_in() {
    let world = fixture::world().unwrap();
    let register = |base, edits: &[Edit]| {
        registered(&world, base, edits, configured(&world, RegistrationRules::default())).unwrap()
    };
    let result = register(Base::NewKey, &[]);
    assert_eq!(result.key().id(), sha256(b"signet fixtures: a new credential"));
    assert_eq!(result.key().attestation(), AttestationKind::Packed);
    assert!(!result.touch_only() && !result.authorised_by_key());
    assert_eq!(result.machine().purpose(), Purpose::EnrolKey);
    // Beside a touch of a key that is enrolled already.
    assert!(register(Base::NewKey, &[Edit::AlsoTouched]).authorised_by_key());
    for (base, fingers) in [(Base::NewPin, false), (Base::NewFinger, true)] {
        let result = register(base, &[]);
        let NewKey::Platform(key) = result.key() else { panic!("a platform key") };
        assert_eq!(result.key().id(), key.id().as_bytes());
        assert_eq!(result.key().attestation(), AttestationKind::TpmCertify);
        assert!(!result.touch_only());
        assert_eq!(key.fingers().map(|facts| &facts.driver), fingers.then_some(&world.driver));
    }
}

#[test]
fn a_list_of_models_lets_in_those_that_it_names() {
    let world = fixture::world().unwrap();
    let judge = |allowed| {
        let rules = RegistrationRules { allowed, ..RegistrationRules::default() };
        code(registered(&world, Base::NewKey, &[], configured(&world, rules)))
    };
    let refused = Some(RejectionCode::AaguidRefused);
    assert_eq!(judge(None), None);
    assert_eq!(judge(Some(BTreeSet::from([model(&world)]))), None);
    assert_eq!(judge(Some(BTreeSet::from([Aaguid([9; 16])]))), refused);
    assert_eq!(judge(Some(BTreeSet::new())), refused);
}

/// A key that proves nothing of itself, and one that only proves a touch: each needs its own rule.
#[test]
fn what_is_not_proved_needs_a_rule_that_says_so() {
    let world = fixture::world().unwrap();
    let judge = |edits: &[Edit], danger_accept_unattested, accept_touch_only| {
        let rules = RegistrationRules {
            danger_accept_unattested,
            accept_touch_only,
            ..RegistrationRules::default()
        };
        let result = registered(&world, Base::NewKey, edits, configured(&world, rules));
        result.map(|result| result.touch_only()).map_err(|rejection| rejection.code())
    };
    let unattested = Err(RejectionCode::AttestationFormatRefused);
    let verified = &[UNATTESTED][..];
    assert_eq!(judge(verified, false, true), unattested);
    assert_eq!(judge(verified, true, false), Ok(false));
    let touched = &[UNATTESTED, TOUCHED][..];
    assert_eq!(judge(touched, false, true), unattested);
    assert_eq!(judge(touched, true, false), Err(RejectionCode::TouchOnlyRefused));
    assert_eq!(judge(touched, true, true), Ok(true));
    // Of an attested model it is known that it could have verified its user.
    assert_eq!(judge(&[TOUCHED], true, true), Err(RejectionCode::UvMissing));
}

/// The root of the very model that the key claims vouches for it, without any that is configured.
#[test]
fn metadata_vouches_for_a_model_while_it_counts() {
    let world = fixture::world().unwrap();
    let day = 86_400;
    let judge = |accept_all_models, refuse_stale_metadata, next_update| {
        let rules = RegistrationRules {
            accept_all_models,
            refuse_stale_metadata,
            ..RegistrationRules::default()
        };
        let policy = RegistrationPolicy::new(Vec::new(), rules).unwrap();
        let policy = policy.with_metadata(metadata(&world, next_update));
        code(registered(&world, Base::NewKey, &[], policy))
    };
    assert_eq!(judge(true, true, world.now), None);
    assert_eq!(judge(false, true, world.now), Some(RejectionCode::AttestationUntrusted));
    assert_eq!(judge(true, true, world.now - day + 1), None);
    assert_eq!(judge(true, true, world.now - day), Some(RejectionCode::MetadataStale));
    assert_eq!(judge(true, false, world.now - day), None);
}
