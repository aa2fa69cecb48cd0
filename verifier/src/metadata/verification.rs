//! From `userVerificationDetails` (FIDO Metadata Statement v3 §4) to what the UV flag can mean.

use crate::assurance::ModelVerification;

/// What one way of verifying a user rests on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing that sets UV: a touch at most.
    Touch,
    /// A finger, whatever else is asked for besides.
    Finger,
    /// Another biometric.
    Biometric,
    /// A PIN or a pattern.
    Secret,
    /// A method that proves nothing we know of.
    Unknown,
}

/// What alternatives (any of which sets UV) of combinations (all of whose methods are asked for)
/// come to; `None` when that is not known.
///
/// The benefit of the doubt goes to nobody: an unknown way beside a finger may stand in for it.
pub(super) fn of_details(alternatives: &[Vec<String>]) -> Option<ModelVerification> {
    let ways: Vec<Way> = alternatives.iter().map(|methods| way(methods)).collect();
    let has = |way| ways.contains(&way);
    let biometric = has(Way::Finger) || has(Way::Biometric);
    match (biometric, has(Way::Secret), has(Way::Unknown)) {
        (true, true, _) | (true, _, true) => Some(ModelVerification::BuiltInOrPin),
        (true, false, false) if has(Way::Biometric) => Some(ModelVerification::OtherBuiltInOnly),
        (true, false, false) => Some(ModelVerification::BuiltInOnly),
        (false, _, true) => None,
        (false, true, false) => Some(ModelVerification::PinOnly),
        (false, false, false) if has(Way::Touch) => Some(ModelVerification::TouchOnly),
        (false, false, false) => None,
    }
}

fn way(methods: &[String]) -> Way {
    let has = |names: &[&str]| methods.iter().any(|method| names.contains(&method.as_str()));
    // Methods of one combination are all due, so its strongest decides; `all` turns the meaning of
    // the others around and is not trusted.
    if methods.is_empty() || has(&["all"]) {
        Way::Unknown
    } else if has(&["fingerprint_internal"]) {
        Way::Finger
    } else if has(&[
        "faceprint_internal",
        "voiceprint_internal",
        "eyeprint_internal",
        "handprint_internal",
    ]) {
        Way::Biometric
    } else if has(&[
        "passcode_internal",
        "passcode_external",
        "pattern_internal",
        "pattern_external",
    ]) {
        Way::Secret
    } else if methods.iter().all(|method| ["presence_internal", "none"].contains(&method.as_str()))
    {
        Way::Touch
    } else {
        Way::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ModelVerification::{BuiltInOnly, BuiltInOrPin, OtherBuiltInOnly, PinOnly, TouchOnly};

    #[test]
    fn a_pin_stands_in_unless_every_way_needs_the_body() {
        let cases: [(&[&[&str]], Option<ModelVerification>); 13] = [
            (&[&["fingerprint_internal"]], Some(BuiltInOnly)),
            // A touch sets no UV, so it stands in for nothing.
            (&[&["fingerprint_internal"], &["presence_internal"], &["none"]], Some(BuiltInOnly)),
            (&[&["fingerprint_internal", "passcode_external"]], Some(BuiltInOnly)),
            (&[&["fingerprint_internal"], &["passcode_external"]], Some(BuiltInOrPin)),
            (&[&["fingerprint_internal"], &["pattern_internal"]], Some(BuiltInOrPin)),
            (&[&["fingerprint_internal"], &["location_internal"]], Some(BuiltInOrPin)),
            (&[&["fingerprint_internal"], &["faceprint_internal"]], Some(OtherBuiltInOnly)),
            (&[&["faceprint_internal"]], Some(OtherBuiltInOnly)),
            (&[&["passcode_external"], &["presence_internal"]], Some(PinOnly)),
            (&[&["presence_internal"]], Some(TouchOnly)),
            (&[&["location_internal"]], None),
            (&[&["fingerprint_internal", "all"]], None),
            (&[], None),
        ];
        for (details, expected) in cases {
            let owned: Vec<Vec<String>> = details
                .iter()
                .map(|methods| methods.iter().map(|method| (*method).to_owned()).collect())
                .collect();
            assert_eq!(of_details(&owned), expected, "{details:?}");
        }
    }
}
