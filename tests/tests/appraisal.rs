//! What the library makes of genuine evidence when what is enrolled is otherwise, and what it says was
//! proved. Each test holds a line that mutation testing found unheld.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use signet_evidence::action::content_digest;
use signet_evidence::binding::sha256;
use signet_evidence::header::SentLog;
use signet_evidence::{CertificateThumbprint, Purpose, RejectionCode, UnixTime};
use signet_tests::fixture::{self, Fixture, Kind};
use signet_tests::forge::structure::envelope;
use signet_tests::forge::{Base, Edit, Forger};
use signet_tests::world::{Change, World};
use signet_verifier::permit::{
    Grant, MatchedAction, Permit, PermitError, PolicyVersion, Redemption, RequestLine, Standing,
};
use signet_verifier::records::{Enrolled, EnrolledCredential, EnrolledDevice, EnrolledKey};
use signet_verifier::token::CheckedToken;
use signet_verifier::webauthn::UserVerification;
use signet_verifier::{
    Appraisal, AssuranceLevel, AttestationKind, AttestationResult, ModelVerification, Rejection,
};

/// Evidence of the software machine with `edits`.
fn forged(world: &World, base: Base, edits: &[Edit]) -> Fixture {
    let mut fixture = envelope(base, "accepted", "appraisal", "");
    fixture.bytes = Forger::new(world).unwrap().evidence(base, edits, "appraisal").unwrap();
    fixture
}

/// What the library says of it after `change` to the rows.
fn appraised(
    world: &World,
    fixture: &Fixture,
    change: impl FnOnce(&mut Enrolled),
) -> Result<AttestationResult, Rejection> {
    let (policy, key) = (world.policy(&fixture.with).unwrap(), world.challenge_key().unwrap());
    let peer = &world.peers[fixture.peer.as_deref().unwrap()].0;
    let now = UnixTime(fixture.now);
    let appraisal = Appraisal { policy: &policy, challenge_key: &key, now };
    let purposes = [Purpose::Session, Purpose::Renew, Purpose::Action, Purpose::Workload];
    let evidence = appraisal.begin(&fixture.bytes, peer, &purposes)?;
    assert_eq!(evidence.digest(), sha256(&fixture.bytes));
    let mut enrolled = world.enrolled_for(evidence.credential_id(), &fixture.with).unwrap();
    change(&mut enrolled);
    evidence.appraise(&enrolled, UserVerification::Required, &policy, now)
}

fn device(enrolled: &mut Enrolled) -> &mut EnrolledDevice {
    enrolled.device.as_mut().unwrap()
}

fn credential(enrolled: &mut Enrolled) -> &mut EnrolledCredential {
    match enrolled.credential.as_mut().unwrap() {
        EnrolledKey::SecurityKey(credential) => credential,
        EnrolledKey::Platform(_) => unreachable!("a security key signed it"),
    }
}

fn code(result: Result<AttestationResult, Rejection>) -> Result<(), RejectionCode> {
    result.map(|_| ()).map_err(|rejection| rejection.code())
}

/// A store that hands out the row of another machine makes nobody that machine.
#[test]
fn the_row_of_another_machine_is_no_row() {
    let world = fixture::world().unwrap();
    let session = forged(&world, Base::Session, &[]);
    let other = |enrolled: &mut Enrolled| {
        let mut id = device(enrolled).id.as_bytes().to_vec();
        *id.last_mut().unwrap() ^= 1;
        device(enrolled).id = signet_evidence::DeviceId::from_bytes(&id).unwrap();
    };
    assert_eq!(code(appraised(&world, &session, |_| {})), Ok(()));
    assert_eq!(code(appraised(&world, &session, other)), Err(RejectionCode::DeviceUnknown));
}

/// A refusal that has to do with how the machine started carries all that was found, and no other does.
#[test]
fn a_refusal_for_the_boot_carries_the_report() {
    let world = fixture::world().unwrap();
    let mut drifted = forged(&world, Base::Session, &[]);
    drifted.with.push(Change::PcrsDrifted);
    let refused = appraised(&world, &drifted, |_| {}).unwrap_err();
    assert_eq!(refused.code(), RejectionCode::BootPolicyRefused);
    assert!(refused.boot().is_some());
    let session = forged(&world, Base::Session, &[]);
    let revoked = appraised(&world, &session, |enrolled| device(enrolled).revoked = true);
    assert!(revoked.unwrap_err().boot().is_none());
}

/// The caller looks for the log that the evidence names by its digest, and only for such a one.
#[test]
fn evidence_names_the_log_that_it_does_not_bring() {
    let world = fixture::world().unwrap();
    let (policy, key) = (world.policy(&[]).unwrap(), world.challenge_key().unwrap());
    let known = |edits: &[Edit]| {
        let fixture = forged(&world, Base::Session, edits);
        let peer = &world.peers[fixture.peer.as_deref().unwrap()].0;
        let now = UnixTime(fixture.now);
        let appraisal = Appraisal { policy: &policy, challenge_key: &key, now };
        let evidence = appraisal.begin(&fixture.bytes, peer, &[Purpose::Session]).unwrap();
        evidence.known_log().copied()
    };
    assert_eq!(known(&[]), None);
    assert_eq!(known(&[Edit::Log(|| SentLog::Known([7; 32]))]), Some([7; 32]));
    assert_eq!(known(&[Edit::Log(|| SentLog::Whole(vec![1, 2, 3]))]), None);
}

/// Restarts count within one boot only; the clock counts where both readings vouch for it.
#[test]
fn clock_and_counters_are_compared_with_what_they_count_in() {
    let world = fixture::world().unwrap();
    let session = forged(&world, Base::Session, &[]);
    let now = appraised(&world, &session, |_| {}).unwrap().clock();
    let judged = |change: fn(&mut EnrolledDevice)| {
        code(appraised(&world, &session, |enrolled| {
            device(enrolled).clock = now;
            change(device(enrolled));
        }))
    };
    let back = Err(RejectionCode::TpmClockRegressed);
    assert_eq!(judged(|_| {}), Ok(()));
    assert_eq!(judged(|device| device.clock.restart_count += 1), back);
    assert_eq!(judged(|device| device.clock.reset_count += 1), back);
    assert_eq!(judged(|device| device.clock.clock_ms += 1), back);
    // Another boot begins its restarts anew.
    let rebooted = |device: &mut EnrolledDevice| {
        device.clock.reset_count -= 1;
        device.clock.restart_count += 1;
    };
    assert_eq!(judged(rebooted), Ok(()));
    let unclean = |device: &mut EnrolledDevice| {
        device.clock.safe = false;
        device.clock.clock_ms += 1;
    };
    assert_eq!(judged(unclean), Ok(()));
}

/// A touch-only key proves a touch and never more, nor do flags that a host wrote.
#[test]
fn verification_counts_only_where_the_key_can_vouch_for_it() {
    let world = fixture::world().unwrap();
    let verified = |acr: Edit, change: fn(&mut EnrolledCredential)| {
        let session = forged(&world, Base::Session, &[acr]);
        let result = appraised(&world, &session, |enrolled| change(credential(enrolled)));
        result.map(|result| result.user_verified()).map_err(|rejection| rejection.code())
    };
    let nothing = Edit::Statement(|statement| statement.acr = None);
    assert_eq!(verified(nothing, |_| {}), Ok(true));
    assert_eq!(verified(nothing, |key| key.touch_only = true), Ok(false));
    for kind in [AttestationKind::Tpm, AttestationKind::AndroidKey, AttestationKind::Apple] {
        assert!(kind.flags_are_the_hosts());
    }
    assert_eq!(verified(nothing, |key| key.attestation = AttestationKind::Apple), Ok(false));
    // What is asked of a touch-only key may be a touch, and not more.
    let asking = |level: AssuranceLevel| match level {
        AssuranceLevel::Touch => Edit::Statement(|one| one.acr = Some("signet.touch".into())),
        _ => Edit::Statement(|one| one.acr = Some("signet.uv".into())),
    };
    let touch_only = |key: &mut EnrolledCredential| key.touch_only = true;
    assert_eq!(verified(asking(AssuranceLevel::Touch), touch_only), Ok(false));
    let more = verified(asking(AssuranceLevel::Uv), touch_only);
    assert_eq!(more, Err(RejectionCode::UvMissing));
}

/// The result is the evidence's, the rows' and the quote's, and says so.
#[test]
fn a_result_says_what_was_proved() {
    let world = fixture::world().unwrap();
    let scope = Edit::Statement(|statement| statement.scope = Some("a b".into()));
    let session = forged(&world, Base::Session, &[scope]);
    let result = appraised(&world, &session, |_| {}).unwrap();
    assert_eq!(result.evidence_digest(), sha256(&session.bytes));
    assert_eq!(result.subject(), Some(world.operator.as_str()));
    assert_eq!((result.scope(), result.session()), (Some("a b"), None));
    assert!(result.action().is_none() && result.device_proven() && result.tls_key_certified());
    let (id, count) = result.credential().unwrap();
    assert!(id == world.software.credential.0 && count > world.sign_count);
    assert_eq!(result.peer(), CertificateThumbprint::of_der(&world.peers["software"].0));
    let (now, end) = (UnixTime(session.now), UnixTime(session.now + 60));
    let presence = result.presence(now, end).unwrap();
    assert_eq!((presence.proved_at, presence.expires), (now, end));
    assert_eq!((presence.level, &presence.methods), (result.assurance(), &owned(result.methods())));
    assert_eq!(presence.attestation.as_deref(), Some("packed"));
    let unproven = |enrolled: &mut Enrolled| device(enrolled).endorsement_proven = false;
    assert!(!appraised(&world, &session, unproven).unwrap().device_proven());

    let renewal = forged(&world, Base::Renewal, &[]);
    let result = appraised(&world, &renewal, |_| {}).unwrap();
    assert_eq!(result.session(), Some(world.session_id().unwrap()));
    assert!(result.credential().is_none() && !result.tls_key_certified());
    assert!(result.presence(now, end).is_none() && !result.user_verified());

    let action = forged(&world, Base::Action, &[]);
    let result = appraised(&world, &action, |_| {}).unwrap();
    assert_eq!(result.action().unwrap().details().method, "PUT");

    let workload = forged(&world, Base::Workload, &[]);
    assert_eq!(appraised(&world, &workload, |_| {}).unwrap().subject(), None);

    let pin = forged(&world, Base::Pin, &[]);
    let result = appraised(&world, &pin, |_| {}).unwrap();
    assert_eq!(result.credential().map(|(_, count)| count), Some(0));
    assert!(!result.user_verified());
    let presence = result.presence(now, end).unwrap();
    assert_eq!(presence.verification, Some(("pin".into(), "tpm".into())));
}

fn owned(methods: Vec<&str>) -> Vec<String> {
    methods.into_iter().map(str::to_owned).collect()
}

/// How the user was verified is the model's word where it can be only one way, else the host's.
#[test]
fn how_a_user_was_verified_has_a_source() {
    use ModelVerification as M;
    let world = fixture::world().unwrap();
    let session = forged(&world, Base::Session, &[]);
    let said = |change: &dyn Fn(&mut EnrolledCredential)| {
        let result = appraised(&world, &session, |enrolled| change(credential(enrolled))).unwrap();
        result.presence(UnixTime(0), UnixTime(1)).unwrap().verification
    };
    let words = |method: &str, source: &str| Some((method.to_owned(), source.to_owned()));
    let host = said(&|_| {});
    assert!(host.as_ref().is_none_or(|(_, source)| source == "host"), "{host:?}");
    for (model, due) in [
        (M::BuiltInOnly, words("built-in", "model")),
        (M::PinOnly, words("pin", "model")),
        (M::BuiltInOrPin, host.clone()),
    ] {
        assert_eq!(said(&|key| key.model = Some(model)), due);
        // A model that nothing attests is nobody's word.
        let claimed = |key: &mut EnrolledCredential| {
            key.model = Some(model);
            key.attestation = AttestationKind::None;
        };
        assert_eq!(said(&claimed), host);
    }
    assert_eq!(said(&|key| key.touch_only = true), None);
}

/// A token, and the request that its fixture names.
fn request(fixture: &Fixture) -> (String, String, String, Option<String>) {
    let text = fixture.request.as_deref().unwrap();
    let mut words = text.splitn(3, ' ');
    let (method, url, body) = (words.next().unwrap(), words.next().unwrap(), words.next());
    let rest = url.strip_prefix("https://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let digest = content_digest(body.unwrap_or_default().as_bytes());
    (method.into(), host.into(), path.into(), Some(digest))
}

fn checked(world: &World, fixture: &Fixture) -> Result<CheckedToken, Rejection> {
    let token = std::str::from_utf8(&fixture.bytes).unwrap();
    let peer = &world.peers[fixture.peer.as_deref().unwrap()].0;
    let peer = CertificateThumbprint::of_der(peer);
    world.token_checker().unwrap().check_jwt(token, peer, UnixTime(fixture.now))
}

#[test]
fn an_approval_is_for_the_request_that_its_fixture_names() {
    let world = fixture::world().unwrap();
    let mut compared = 0;
    for one in fixture::all().unwrap() {
        let due = ["accepted", "action-mismatch"].contains(&one.expect.as_str());
        if one.kind != Kind::Token || !due {
            continue;
        }
        let token = checked(&world, &one).unwrap();
        let (method, host, target, digest) = request(&one);
        let line = |host, digest| RequestLine {
            method: &method,
            host,
            target: &target,
            content_digest: digest,
        };
        let found = MatchedAction::of(&token, line(&host, digest.as_deref()));
        let single = token.claims().signet.once;
        match one.expect.as_str() {
            "accepted" => assert_eq!(found.unwrap().is_some(), single, "{}", one.path.display()),
            _ => assert_eq!(found.unwrap_err().code(), RejectionCode::ActionMismatch),
        }
        if one.expect == "accepted" && single {
            let with_port = format!("{host}:443");
            assert!(MatchedAction::of(&token, line(&with_port, digest.as_deref())).is_ok());
            for (host, digest) in [("ctl.mesh.example:444", digest.as_deref()), (&*host, None)] {
                let refused = MatchedAction::of(&token, line(host, digest)).unwrap_err();
                assert_eq!(refused.code(), RejectionCode::ActionMismatch);
            }
        }
        compared += 1;
    }
    assert!(compared >= 7, "{compared}");
}

/// A permit is made of proofs of one token, and tells what they say.
#[test]
fn a_permit_is_of_one_token_and_one_action() {
    let world = fixture::world().unwrap();
    let accepted = |name: &str| {
        Fixture::read(&fixture::folder().join(format!("accepted/{name}.fixture"))).unwrap()
    };
    let (fixture, other) = (accepted("action-token"), accepted("session-token"));
    let (token, other) = (checked(&world, &fixture).unwrap(), checked(&world, &other).unwrap());
    let (method, host, target, digest) = request(&fixture);
    let matched = || {
        let (host, target) = (host.as_str(), target.as_str());
        let content_digest = digest.as_deref();
        let line = RequestLine { method: &method, host, target, content_digest };
        MatchedAction::of(&token, line).unwrap().unwrap()
    };
    let name = matched().names().first().unwrap().clone();
    let version = PolicyVersion([7; 32]);
    assert_eq!(version.to_string(), "07".repeat(32));
    assert_eq!(Grant::new(name.clone(), Vec::new(), version), None);
    let grant = |action: &str| Grant::new(action.into(), vec!["rule".into()], version).unwrap();
    assert_eq!((grant("a").action(), grant("a").rules()), ("a", &["rule".to_owned()][..]));
    let standing = Standing::confirmed(&token);
    let once = || Some((matched(), Redemption::recorded(&token)));

    let permit = Permit::new(&token, &standing, grant(&name), once()).unwrap();
    let claims = token.claims();
    assert_eq!((permit.subject(), permit.device()), (&*claims.sub, &*claims.client_id));
    assert_eq!((permit.session(), permit.token_id()), (&*claims.sid, &*claims.jti));
    assert_eq!((permit.action(), permit.rules()), (&*name, &["rule".to_owned()][..]));
    assert_eq!(Some(permit.level()), claims.assurance());
    assert!(permit.single_use() && permit.policy_version() == version);
    let session = Permit::new(&other, &Standing::confirmed(&other), grant("b"), None).unwrap();
    assert!(!session.single_use());

    let foreign = Standing::confirmed(&other);
    let new = |standing, grant, single| Permit::new(&token, standing, grant, single).unwrap_err();
    assert_eq!(new(&foreign, grant(&name), once()), PermitError::OtherToken);
    assert_eq!(new(&standing, grant(&name), None), PermitError::NotRedeemed);
    assert_eq!(new(&standing, grant("other.action"), once()), PermitError::OtherAction);
    let redeemed = Some((matched(), Redemption::recorded(&other)));
    assert_eq!(new(&standing, grant(&name), redeemed), PermitError::OtherToken);
}
