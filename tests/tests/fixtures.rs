//! Every fixture through the verifier library: the exact code, nothing else.

use signet_evidence::{Purpose, RejectionCode, UnixTime};
use signet_tests::fixture::{self, Fixture, Kind};
use signet_tests::world::World;
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{Appraisal, Rejection};

fn judge(world: &World, fixture: &Fixture) -> Result<(), Rejection> {
    let policy = world.policy(&fixture.with).unwrap();
    let mut enrolled = world.enrolled(&fixture.with).unwrap();
    let challenge_key = world.challenge_key().unwrap();
    let peer = &world.peers[fixture.peer.as_deref().expect("evidence needs a connection")].0;
    let now = UnixTime(fixture.now);
    let appraisal = Appraisal { policy: &policy, challenge_key: &challenge_key, now };
    match fixture.kind {
        Kind::Evidence => {
            let purposes = [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];
            let evidence = appraisal.begin(&fixture.bytes, peer, &purposes)?;
            // The store finds a credential by the id in the assertion.
            enrolled.credential = enrolled
                .credential
                .filter(|row| evidence.credential_id().is_none_or(|id| id == row.id));
            evidence.appraise(&enrolled, UserVerification::Required, &policy, now).map(|_| ())
        }
        Kind::Registration => {
            let evidence = appraisal.begin(&fixture.bytes, peer, &[Purpose::EnrolKey])?;
            evidence.appraise_registration(&enrolled, &policy, now).map(|_| ())
        }
        Kind::Token => Ok(()),
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
        if found != fixture.expect {
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
