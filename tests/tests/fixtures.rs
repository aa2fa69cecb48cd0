//! Every fixture through the verifier library: the exact code, nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use signet_evidence::RejectionCode;
use signet_tests::fixture::{self, Fixture};
use signet_tests::judge::judge;

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
        let found = match judge(&world, fixture).unwrap() {
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
