//! Every fixture through the verifier library: the exact code, nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use signet_evidence::{CertificateThumbprint, Purpose, RejectionCode, UnixTime};
use signet_tests::fixture::{self, Fixture, Kind};
use signet_tests::world::World;
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{Appraisal, Rejection};

fn judge(world: &World, fixture: &Fixture) -> Result<(), Rejection> {
    let policy = world.policy(&fixture.with).unwrap();
    let challenge_key = world.challenge_key().unwrap();
    // A connection without a certificate is refused before any token is looked at.
    let name = fixture.peer.as_deref().ok_or(RejectionCode::CertificateMissing)?;
    let peer = &world.peers[name].0;
    let now = UnixTime(fixture.now);
    let appraisal = Appraisal { policy: &policy, challenge_key: &challenge_key, now };
    match fixture.kind {
        Kind::Evidence => {
            let purposes = [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];
            let evidence = appraisal.begin(&fixture.bytes, peer, &purposes)?;
            // The store finds a key by the id in the assertion.
            let enrolled = world.enrolled_for(evidence.credential_id(), &fixture.with).unwrap();
            evidence.appraise(&enrolled, UserVerification::Required, &policy, now).map(|_| ())
        }
        Kind::Registration => {
            let evidence = appraisal.begin(&fixture.bytes, peer, &[Purpose::EnrolKey])?;
            let enrolled = world.enrolled_for(evidence.credential_id(), &fixture.with).unwrap();
            evidence.appraise_registration(&enrolled, &policy, now).map(|_| ())
        }
        Kind::Token if fixture.bytes.is_empty() => Err(RejectionCode::TokenMissing.into()),
        Kind::Token => {
            let token = std::str::from_utf8(&fixture.bytes).unwrap();
            let peer = CertificateThumbprint::of_der(peer);
            world.token_checker().unwrap().check_jwt(token, peer, now).map(|_| ())
        }
    }
}

/// What only a store or a policy knows, the library alone cannot refuse, and must not.
fn expected_of_the_library(fixture: &Fixture) -> &str {
    let elsewhere = ["action-mismatch", "presence-required", "policy-denied", "target-ambiguous"];
    let stores = fixture.with.iter().any(|change| change.is_the_stores());
    if stores || elsewhere.contains(&fixture.expect.as_str()) {
        "accepted"
    } else {
        &fixture.expect
    }
}

#[test]
fn every_fixture_gets_its_exact_code_from_the_library() {
    let world = fixture::world().unwrap();
    let fixtures = fixture::all().unwrap();
    assert!(fixtures.len() > 50, "only {} fixtures were found", fixtures.len());
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let found = match judge(&world, fixture) {
            Ok(()) => "accepted".to_owned(),
            Err(rejection) if fixture.expect == rejection.code().as_str() => fixture.expect.clone(),
            Err(rejection) => rejection.chain(),
        };
        if found != expected_of_the_library(fixture) {
            wrong.push(format!("{}: {found}", fixture.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn folders_are_codes() {
    for fixture in fixture::all().unwrap() {
        if fixture.expect != "accepted" {
            let code = RejectionCode::from_name(&fixture.expect);
            assert!(code.is_some(), "{} is in a folder that is no code", fixture.path.display());
        }
    }
}

/// Codes of device enrolment, whose second message answers a secret that was wrapped a moment ago, and
/// of tickets, which several people approve: these cannot be files. `surfaces/enrolment.rs` and
/// `client/people.rs` make each of these refusals on real TPMs and keys, and
/// `authority/tests/conformance/tickets.rs` the last one.
const LIVE: [RejectionCode; 12] = [
    RejectionCode::TicketInvalid,
    RejectionCode::EkUntrusted,
    RejectionCode::EkUnapproved,
    RejectionCode::EkMismatch,
    RejectionCode::AkAttributes,
    RejectionCode::EnrolmentUnknown,
    RejectionCode::ActivationFailed,
    RejectionCode::CsrMismatch,
    RejectionCode::DeviceEnrolled,
    RejectionCode::ApprovalNotAllowed,
    RejectionCode::ApprovalRepeated,
    RejectionCode::RequestsWaiting,
];

#[test]
fn every_code_has_a_fixture() {
    let fixtures = fixture::all().unwrap();
    let has = |code: RejectionCode| fixtures.iter().any(|found| found.expect == code.as_str());
    let without: Vec<_> =
        RejectionCode::ALL.iter().filter(|code| !has(**code) && !LIVE.contains(code)).collect();
    assert!(without.is_empty(), "no fixture for {without:?}");
    let both: Vec<_> = LIVE.iter().filter(|code| has(**code)).collect();
    assert!(both.is_empty(), "{both:?} have fixtures now: take them off the list");
}
