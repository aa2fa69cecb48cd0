//! Names and forms that other programs read: each is what the protocol's page says, and leads back.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::time::Duration;

use signet_evidence::rejection::CoarseCode;
use signet_evidence::{CertificateChain, DeviceId, Purpose, RejectionCode, SessionId, UnixTime};

#[test]
fn purposes_have_their_names() {
    let names = Purpose::ALL.map(Purpose::as_str);
    assert_eq!(names, ["session", "renew", "action", "enrol-device", "enrol-key", "workload"]);
    for purpose in Purpose::ALL {
        assert_eq!(Purpose::from_name(purpose.as_str()), Some(purpose));
        assert_eq!(purpose.to_string(), purpose.as_str());
    }
    assert_eq!(Purpose::from_name("Session"), None);
}

#[test]
fn ids_are_written_as_hex_and_read_again() {
    let session = SessionId([0xa5; 16]);
    assert_eq!(session.to_string(), "a5".repeat(16));
    assert_eq!(SessionId::from_hex(&session.to_string()), Some(session));
    assert_eq!(SessionId::from_hex(&"a5".repeat(15)), None);
    let device = DeviceId::from_bytes(&[&[1][..], &[0xa5; 16]].concat()).unwrap();
    assert_eq!(device.to_string(), format!("01{}", "a5".repeat(16)));
    assert_eq!(DeviceId::from_hex(&device.to_string()), Some(device));
    assert_eq!(DeviceId::from_hex(&"a5".repeat(17)), None);
}

#[test]
fn times_are_seconds_and_never_negative_apart() {
    assert_eq!(UnixTime(60).since(UnixTime(45)), Duration::from_secs(15));
    assert_eq!(UnixTime(45).since(UnixTime(60)), Duration::ZERO);
    assert_eq!(UnixTime(45).to_string(), "45");
}

/// The leaf is the first, and what leads on from it is the rest: a path is built of these.
#[test]
fn a_chain_is_a_leaf_and_what_is_above_it() {
    let chain = CertificateChain::new(vec![vec![1], vec![2], vec![3]]).unwrap();
    assert_eq!((chain.leaf(), chain.intermediates()), (&[1][..], &[vec![2], vec![3]][..]));
    assert_eq!(chain.certificates(), [vec![1], vec![2], vec![3]]);
    assert_eq!(CertificateChain::new(vec![vec![1]]).unwrap().intermediates(), [[0u8; 0]; 0]);
    assert_eq!(CertificateChain::new(vec![vec![1]; 5]), None);
}

/// The steps of protocol 2.4, by their first and their last codes.
#[test]
fn codes_stand_at_their_steps() {
    use RejectionCode as C;
    let steps = [
        (1, [C::EvidenceTooLarge, C::EvidenceMalformed]),
        (2, [C::ProfileWrong, C::PurposeWrong]),
        (3, [C::ChallengeInvalid, C::ChallengeExpired]),
        (4, [C::CertificateMismatch, C::KeyThumbprintMismatch]),
        (5, [C::EvidenceSignatureInvalid; 2]),
        (6, [C::DeviceUnknown, C::DeviceRevoked]),
        (7, [C::AkCertificateUntrusted, C::QuoteSignatureInvalid]),
        (8, [C::PcrDigestMismatch, C::BootPolicyRefused]),
        (9, [C::TpmClockRegressed, C::SessionEnded]),
        (10, [C::CertificationMissing, C::CertificationKeyMismatch]),
        (11, [C::AssertionMissing, C::CounterRegressed]),
        (12, [C::PolicyDenied; 2]),
        (13, [C::ChallengeReplayed; 2]),
    ];
    for (step, codes) in steps {
        for code in codes {
            assert_eq!(code.step(), Some(step), "{code}");
        }
    }
    assert_eq!([C::TokenExpired, C::EkUntrusted].map(C::step), [None, None]);
    assert_eq!(C::TokenExpired.problem_type(), "urn:signet:rejection:token-expired");
    let name = "org.signet.Presence1.Error.Rejected.TokenExpired";
    assert_eq!(C::TokenExpired.dbus_name(), name);
    // RFC 6750 and RFC 9470 fix these two.
    assert_eq!(CoarseCode::TokenInvalid.as_str(), "invalid_token");
    assert_eq!(CoarseCode::StepUp.as_str(), "insufficient_user_authentication");
}
