//! What the verifier library says of a fixture.

use signet_evidence::{CertificateThumbprint, Purpose, RejectionCode, UnixTime};
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{Appraisal, Rejection};

use crate::attester::Fault;
use crate::fixture::{Fixture, Kind};
use crate::world::World;

/// Judges `fixture`: an inner error is the verifier's answer.
///
/// # Errors
/// [`Fault`] where world or fixture cannot be judged at all.
pub fn judge(world: &World, fixture: &Fixture) -> Result<Result<(), Rejection>, Fault> {
    let policy = world.policy(&fixture.with)?;
    let challenge_key = world.challenge_key()?;
    // A connection without a certificate is refused before any token is looked at.
    let Some(name) = fixture.peer.as_deref() else {
        return Ok(Err(RejectionCode::CertificateMissing.into()));
    };
    let peer = &world.peers.get(name).ok_or("no such peer")?.0;
    let now = UnixTime(fixture.now);
    let appraisal = Appraisal { policy: &policy, challenge_key: &challenge_key, now };
    let begin = |purposes: &[Purpose]| appraisal.begin(&fixture.bytes, peer, purposes);
    Ok(match fixture.kind {
        Kind::Evidence => {
            let tokens = [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];
            match begin(&tokens) {
                Err(rejection) => Err(rejection),
                Ok(evidence) => {
                    // The store finds a key by the id in the assertion.
                    let enrolled = world.enrolled_for(evidence.credential_id(), &fixture.with)?;
                    let required = UserVerification::Required;
                    evidence.appraise(&enrolled, required, &policy, now).map(|_| ())
                }
            }
        }
        Kind::Registration => match begin(&[Purpose::EnrolKey]) {
            Err(rejection) => Err(rejection),
            Ok(evidence) => {
                let enrolled = world.enrolled_for(evidence.credential_id(), &fixture.with)?;
                evidence.appraise_registration(&enrolled, &policy, now).map(|_| ())
            }
        },
        Kind::Token if fixture.bytes.is_empty() => Err(RejectionCode::TokenMissing.into()),
        Kind::Token => {
            let token = std::str::from_utf8(&fixture.bytes)?;
            let peer = CertificateThumbprint::of_der(peer);
            world.token_checker()?.check_jwt(token, peer, now).map(|_| ())
        }
    })
}
