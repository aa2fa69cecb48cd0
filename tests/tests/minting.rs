//! Tokens as the library mints and reads them: both forms say the same, for as long as they may and no longer.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_evidence::{
    CertificateThumbprint, KeyThumbprint, Purpose, RejectionCode, SessionId, UnixTime,
};
use signet_tests::forge::structure::envelope;
use signet_tests::forge::{Base, Forger};
use signet_tests::world::World;
use signet_tests::{fixture, minted};
use signet_verifier::AttestationResult;
use signet_verifier::token::{
    KeyCertificate, MintError, SessionTerms, StatusReference, TokenFormat, TokenTerms, mint,
};

fn judged(world: &World, base: Base) -> AttestationResult {
    let mut fixture = envelope(base, "accepted", "minting", "");
    fixture.bytes = Forger::new(world).unwrap().evidence(base, &[], "minting").unwrap();
    minted::judged(&fixture).unwrap()
}

/// Terms of a session and a presence that last an hour, and of a token that lasts as long as it may.
fn terms(world: &World, result: &AttestationResult) -> TokenTerms {
    let now = UnixTime(world.now);
    let expires = UnixTime(world.now + 3600);
    TokenTerms {
        issuer: world.audience.clone(),
        audience: world.trust_domain.clone(),
        client_id: "spiffe://mesh.example/device/01".into(),
        token_id: [1; 16],
        issued_at: now,
        lifetime: Duration::from_secs(3600),
        session: SessionTerms {
            id: SessionId([2; 16]),
            expires,
            presence: result.presence(now, expires),
        },
        status: StatusReference { index: 3, uri: "https://a.example/status/0".into() },
        scope: Some("mesh.route.view".into()),
        certificate: None,
    }
}

#[test]
fn both_forms_say_the_same_and_are_read_by_their_holder_only() {
    let world = fixture::world().unwrap();
    let (signer, checker) = (world.token_signer().unwrap(), world.token_checker().unwrap());
    for base in [Base::Session, Base::Finger, Base::Action, Base::Workload] {
        let result = judged(&world, base);
        let terms = terms(&world, &result);
        let now = terms.issued_at;
        let minted = |format| mint(&result, result.peer(), &terms, format, &signer).unwrap();
        let (jwt, cwt) = (minted(TokenFormat::Jwt), minted(TokenFormat::Cwt));
        let bytes = URL_SAFE_NO_PAD.decode(cwt.encoded.as_bytes()).unwrap();
        let from_jwt = checker.check_jwt(&jwt.encoded, result.peer(), now).unwrap();
        let from_cwt = checker.check_cwt(&bytes, result.key(), now).unwrap();
        assert_eq!(*from_jwt.claims(), jwt.claims, "{base:?}");
        assert_eq!(*from_cwt.claims(), cwt.claims, "{base:?}");
        let mut same = cwt.claims.clone();
        same.cnf = jwt.claims.cnf.clone();
        same.signet.x5t_hex.clone_from(&jwt.claims.signet.x5t_hex);
        assert_eq!(same, jwt.claims, "{base:?}");
        assert_eq!(jwt.claims.session(), Some(terms.session.id));
        let person = base != Base::Workload;
        assert_eq!(jwt.claims.presence_age(now), person.then_some(Duration::ZERO));
        assert_eq!(jwt.claims.assurance(), Some(result.assurance()));

        let mismatch = Some(RejectionCode::TokenBindingMismatch);
        let other = checker.check_jwt(&jwt.encoded, CertificateThumbprint([0; 32]), now);
        assert_eq!(other.err().map(|refused| refused.code()), mismatch);
        let other = checker.check_cwt(&bytes, KeyThumbprint([0; 32]), now);
        assert_eq!(other.err().map(|refused| refused.code()), mismatch);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let code = checker.check_cwt(&wrong, result.key(), now).unwrap_err().code();
            let due = [RejectionCode::TokenMalformed, RejectionCode::TokenSignatureInvalid];
            assert!(due.contains(&code), "{base:?} at {at}: {code}");
        }
    }
}

/// The limits of protocol 3.1, each to the second.
#[test]
fn a_token_lasts_as_long_as_it_may_and_no_longer() {
    let world = fixture::world().unwrap();
    let (signer, checker) = (world.token_signer().unwrap(), world.token_checker().unwrap());
    for (base, cap) in [(Base::Session, 900), (Base::Action, 60)] {
        let result = judged(&world, base);
        let terms = terms(&world, &result);
        let lasts = |terms: &TokenTerms| terms.expires(result.purpose()).0 - world.now;
        assert_eq!(lasts(&terms), cap);
        let mut short = terms.clone();
        short.lifetime = Duration::from_secs(30);
        assert_eq!(lasts(&short), 30);
        let mut ending = terms.clone();
        ending.session.expires = UnixTime(world.now + 20);
        assert_eq!(lasts(&ending), 20);
        ending.session.presence = result.presence(terms.issued_at, UnixTime(world.now + 10));
        assert_eq!(lasts(&ending), 10);

        let token = mint(&result, result.peer(), &terms, TokenFormat::Jwt, &signer).unwrap();
        let at = |seconds: i64| {
            let now = UnixTime(world.now + seconds);
            checker
                .check_jwt(&token.encoded, result.peer(), now)
                .map(|_| ())
                .map_err(|no| no.code())
        };
        // Clocks may differ by five seconds.
        assert_eq!((at(-5), at(cap + 4)), (Ok(()), Ok(())));
        let expired = Err(RejectionCode::TokenExpired);
        assert_eq!((at(-6), at(cap + 5)), (expired, expired));
    }
}

#[test]
fn nothing_is_minted_without_session_presence_or_connection() {
    let world = fixture::world().unwrap();
    let signer = world.token_signer().unwrap();
    let minted = |result: &AttestationResult, peer, terms: &TokenTerms| {
        mint(result, peer, terms, TokenFormat::Jwt, &signer).map(|_| ()).unwrap_err()
    };
    let result = judged(&world, Base::Session);
    let (good, now) = (terms(&world, &result), UnixTime(world.now));
    let elsewhere = CertificateThumbprint([0; 32]);
    assert_eq!(minted(&result, elsewhere, &good), MintError::PeerChanged);
    let mut over = good.clone();
    over.session.expires = now;
    assert_eq!(minted(&result, result.peer(), &over), MintError::SessionExpired);
    let mut absent = good.clone();
    absent.session.presence = None;
    assert_eq!(minted(&result, result.peer(), &absent), MintError::PresenceExpired);
    let mut ended = good.clone();
    ended.session.presence = result.presence(now, now);
    assert_eq!(minted(&result, result.peer(), &ended), MintError::PresenceExpired);
    let machine = judged(&world, Base::Machine);
    let refused = minted(&machine, machine.peer(), &terms(&world, &machine));
    assert_eq!(refused, MintError::Purpose(Purpose::EnrolDevice));
}

/// The bound is on the bytes that came, and the longest that is read is read.
#[test]
fn a_token_of_eight_kilobytes_is_read_and_no_longer_one() {
    const MOST: usize = 8192;
    let world = fixture::world().unwrap();
    let (signer, checker) = (world.token_signer().unwrap(), world.token_checker().unwrap());
    let result = judged(&world, Base::Session);
    let mut terms = terms(&world, &result);
    let now = terms.issued_at;
    let mut read = |format, scope: usize| {
        terms.scope = Some("s".repeat(scope));
        let token = mint(&result, result.peer(), &terms, format, &signer).unwrap().encoded;
        if format == TokenFormat::Jwt {
            let judged = checker.check_jwt(&token, result.peer(), now);
            return (token.len(), judged.err().map(|no| no.code()));
        }
        let bytes = URL_SAFE_NO_PAD.decode(token.as_bytes()).unwrap();
        let judged = checker.check_cwt(&bytes, result.key(), now);
        (bytes.len(), judged.err().map(|no| no.code()))
    };
    for (format, per_letter) in [(TokenFormat::Cwt, (1, 1)), (TokenFormat::Jwt, (3, 4))] {
        let (length, _) = read(format, 4096);
        let about = 4096 + (MOST - length) * per_letter.0 / per_letter.1;
        // Base64 grows by one letter or by two.
        let longest = (about..about + 3).find(|scope| read(format, *scope).0 == MOST).unwrap();
        assert_eq!(read(format, longest), (MOST, None), "{format:?}");
        let (length, judged) = read(format, longest + 1);
        assert!(length > MOST);
        assert_eq!(judged, Some(RejectionCode::TokenMalformed), "{format:?}");
    }
}

/// The proxy's own certificate, say: another one of the same key, and of no other.
#[test]
fn a_token_is_bound_to_a_certificate_of_the_evidences_key_only() {
    let world = fixture::world().unwrap();
    let result = judged(&world, Base::Session);
    let of = |name: &str| KeyCertificate::of(&result, &world.peers[name].0);
    assert_eq!(of("workstation"), Err(MintError::OtherKey));
    let own = of("software").unwrap();
    let terms = TokenTerms { certificate: Some(own), ..terms(&world, &result) };
    let signer = world.token_signer().unwrap();
    let token = mint(&result, result.peer(), &terms, TokenFormat::Jwt, &signer).unwrap();
    let bound = CertificateThumbprint::of_der(&world.peers["software"].0);
    assert_eq!(token.claims.signet.x5t_hex, bound.to_hex());
    assert_eq!(KeyCertificate::of(&result, b"no certificate"), Err(MintError::OtherKey));
}
