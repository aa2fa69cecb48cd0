//! The words that stand in tokens, settings, stores and streams: each name is its own, and is read as it is written.

use signet_evidence::RejectionCode;
use signet_verifier::events::Topic;
use signet_verifier::tpm::UserKeyMethod;
use signet_verifier::{AssuranceLevel, AttestationKind, ModelVerification, Rejection};

#[test]
fn levels_have_their_names_and_their_order() {
    use AssuranceLevel as L;
    let names = [
        (L::Device, "signet.device"),
        (L::Host, "signet.host"),
        (L::TpmPin, "signet.tpm-pin"),
        (L::Touch, "signet.touch"),
        (L::Uv, "signet.uv"),
        (L::UvHardware, "signet.uv-hw"),
    ];
    assert_eq!(names.map(|(level, _)| level), L::ALL);
    for ((level, name), rank) in names.into_iter().zip(0..) {
        assert_eq!((level.as_str(), level.to_string().as_str()), (name, name));
        assert_eq!((L::from_name(name), level.rank()), (Some(level), rank));
    }
    assert_eq!(L::from_name("signet"), None);
}

#[test]
fn kinds_of_attestation_have_their_names() {
    use AttestationKind as K;
    let names = [
        (K::TpmCertify, "tpm2-certify"),
        (K::Packed, "packed"),
        (K::PackedSelf, "packed-self"),
        (K::FidoU2f, "fido-u2f"),
        (K::Tpm, "tpm"),
        (K::AndroidKey, "android-key"),
        (K::Apple, "apple"),
        (K::None, "none"),
    ];
    for (kind, name) in names {
        assert_eq!((kind.as_str(), K::from_name(name)), (name, Some(kind)));
    }
    assert_eq!(K::from_name("android-safetynet"), None);
}

#[test]
fn what_a_model_can_do_has_its_names() {
    use ModelVerification as M;
    let names = [
        (M::TouchOnly, "none"),
        (M::PinOnly, "pin"),
        (M::BuiltInOrPin, "built-in-or-pin"),
        (M::BuiltInOnly, "built-in"),
        (M::OtherBuiltInOnly, "other-built-in"),
    ];
    for (model, name) in names {
        assert_eq!(model.as_str(), name);
    }
}

#[test]
fn methods_of_platform_keys_have_their_names() {
    use UserKeyMethod as U;
    for (method, name) in [(U::Pin, "tpm-pin"), (U::Fingerprint, "fingerprint")] {
        assert_eq!((method.as_str(), U::from_name(name)), (name, Some(method)));
    }
    assert_eq!(U::from_name("face"), None);
}

#[test]
fn topics_have_their_names() {
    use Topic as T;
    let names = [(T::Policy, "policy"), (T::Checkpoint, "checkpoint"), (T::Keys, "keys")];
    assert_eq!(names.map(|(topic, _)| topic), T::ALL);
    for (topic, name) in names {
        assert_eq!((topic.as_str(), T::from_name(name)), (name, Some(topic)));
    }
    assert_eq!(T::from_name("hello"), None);
}

/// A person sees the code, to look it up, and what to do.
#[test]
fn a_rejection_says_its_code_and_what_to_do() {
    for &code in RejectionCode::ALL {
        let text = Rejection::new(code).to_string();
        assert_eq!(text.split_once(": "), Some((code.as_str(), code.advice())));
    }
}
