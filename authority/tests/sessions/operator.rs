//! Certificates of operators: for the key of the machine, as long as the token that is bound to them.

use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use signet_authority::caller::over_connection;
use signet_authority::router;
use signet_authority::store::{AuditEntry, Decision, Event, RevocationTarget};
use signet_authority::tls::PeerCertificate;
use signet_evidence::{Purpose, RejectionCode, SessionId, UnixTime};
use signet_verifier::certificate::{
    Certificate, KeyPurpose, PathError, TrustAnchors, VerifiedPath,
};

use crate::house::{last_audit, tokens};
use crate::stage::{Asked, Life, Stage, send};

const AS_OPERATOR: &str = "&certificate=operator";
const TOUCH: Asked =
    Asked { purpose: Purpose::Session, session: None, wide: false, further: AS_OPERATOR };
const RENEW: Asked = Asked { purpose: Purpose::Renew, session: Some(0), ..TOUCH };
const ACTION: Asked = Asked { purpose: Purpose::Action, ..TOUCH };
const WORKLOAD: Asked = Asked { purpose: Purpose::Workload, ..TOUCH };

async fn stage() -> (Stage, Life) {
    let mut stage = Stage::set(1, None).await;
    let life = stage.life().await;
    (stage, life)
}

/// The token and the one certificate of an answer.
fn both(answer: &Value) -> (String, CertificateDer<'static>) {
    let [one] = answer["certificate"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    let der = URL_SAFE_NO_PAD.decode(one.as_str().unwrap()).unwrap();
    (answer["access_token"].as_str().unwrap().to_owned(), der.into())
}

fn thumbprint(certificate: &CertificateDer<'static>) -> String {
    PeerCertificate::new(certificate.clone()).thumbprint().to_hex()
}

#[tokio::test]
async fn an_operators_certificate_names_them_for_the_machines_key_as_long_as_its_token() {
    let (stage, mut life) = stage().await;
    let authority = &stage.nodes[0];
    let answer = stage.exchange(&mut life, 0, Some(0), &TOUCH).await.unwrap();
    let (token, certificate) = both(&answer);
    let claims = tokens::claims(&token);
    life.sessions.push(SessionId::from_hex(&claims.sid).unwrap());
    let parsed = Certificate::parse(&certificate).unwrap();
    let id = format!("spiffe://mesh.example/operator/{}", life.operator);
    assert_eq!(parsed.spiffe_id(), Ok(id.as_str()));
    assert_eq!(parsed.purposes(), [KeyPurpose::ClientAuthentication]);
    assert_eq!(parsed.p256_key().unwrap().thumbprint(), life.desks[0].key_thumbprint());
    assert_eq!(parsed.not_after().0, claims.exp);
    let anchors =
        TrustAnchors::from_der([authority.keys.device_ca.issuer(authority.now()).certificate()])
            .unwrap();
    let purpose = Some(KeyPurpose::ClientAuthentication);
    VerifiedPath::verify(&certificate, &[], &anchors, purpose, authority.now()).unwrap();
    // What is on record names it, and the client is still the machine.
    let record = last_audit(authority).await;
    let bound = thumbprint(&certificate);
    assert!(record.detail.ends_with(&format!("certificate {bound} of operator {}", claims.sub)));
    assert_eq!(claims.client_id, format!("spiffe://mesh.example/device/{}", life.desks[0].id));

    // The token is good over that certificate alone.
    let machine = life.desks[0].peer().thumbprint().to_hex();
    assert!(stage.is_good(authority, &token, &bound, false).await);
    assert!(!stage.is_good(authority, &token, &machine, false).await);
    // A renewal brings another certificate with its token, of the same session.
    let answer = stage.exchange(&mut life, 0, None, &RENEW).await.unwrap();
    let (renewed, second) = both(&answer);
    assert_eq!(tokens::claims(&renewed).sid, claims.sid);
    let second = thumbprint(&second);
    assert_ne!(second, bound);
    for (token, peer, good) in [
        (&renewed, &second, true),
        (&renewed, &bound, false),
        (&token, &second, false),
        (&token, &bound, true),
    ] {
        assert_eq!(stage.is_good(authority, token, peer, false).await, good);
    }
    // Whoever does not ask for one is bound to the machine's, also in that session.
    for further in ["", "&certificate=device"] {
        let answer = stage.exchange(&mut life, 0, None, &Asked { further, ..RENEW }).await.unwrap();
        assert_eq!(answer.get("certificate"), None);
        let token = answer["access_token"].as_str().unwrap();
        assert!(stage.is_good(authority, token, &machine, false).await);
        assert!(!stage.is_good(authority, token, &second, false).await);
    }
}

#[tokio::test]
async fn an_actions_certificate_ends_with_the_action() {
    let (stage, mut life) = stage().await;
    let answer = stage.exchange(&mut life, 0, Some(0), &ACTION).await.unwrap();
    let (token, certificate) = both(&answer);
    let claims = tokens::claims(&token);
    assert!(claims.signet.once && claims.exp - claims.iat <= 60);
    assert_eq!(Certificate::parse(&certificate).unwrap().not_after().0, claims.exp);
    let (authority, bound) = (&stage.nodes[0], thumbprint(&certificate));
    assert!(stage.is_good(authority, &token, &bound, true).await);
    assert!(!stage.is_good(authority, &token, &bound, true).await);
}

/// A CWT is bound to the key, which both certificates are of.
#[tokio::test]
async fn a_cwt_names_the_operators_certificate_and_is_bound_to_its_key() {
    let (stage, mut life) = stage().await;
    let further = format!("{AS_OPERATOR}&requested_token_type=urn:signet:token-type:cwt");
    let asked = Asked { further: &further, ..TOUCH };
    let (token, certificate) = both(&stage.exchange(&mut life, 0, Some(0), &asked).await.unwrap());
    let token = URL_SAFE_NO_PAD.decode(token).unwrap();
    let (checker, now) = (stage.nodes[0].checker(), stage.nodes[0].now());
    let key = Certificate::parse(&certificate).unwrap().p256_key().unwrap().thumbprint();
    let checked = checker.check_cwt(&token, key, now).unwrap();
    assert_eq!(checked.claims().signet.x5t_hex, thumbprint(&certificate));
    let other = life.desks[1].key_thumbprint();
    let refused = checker.check_cwt(&token, other, now).unwrap_err();
    assert_eq!(refused.code(), RejectionCode::TokenBindingMismatch);
}

/// It says who somebody is and not which machine: nothing that takes machines takes it.
#[tokio::test]
async fn an_operators_certificate_opens_nothing_of_the_authority() {
    let (stage, mut life) = stage().await;
    let authority = &stage.nodes[0];
    let answer = stage.exchange(&mut life, 0, Some(0), &TOUCH).await.unwrap();
    let (_, certificate) = both(&answer);
    let shown = PeerCertificate::new(certificate.clone());
    let clients = || router::clients(authority.clone());
    let challenge = Request::post("/v1/challenge").header("content-type", "application/json");
    let challenge = challenge.body(Body::from(json!({"purpose": "session"}).to_string())).unwrap();
    let refused = send(clients(), over_connection(challenge, shown.clone())).await;
    assert_eq!(refused.unwrap_err(), RejectionCode::DeviceUnknown);
    let listed = Request::get("/v1/authenticators").body(Body::empty()).unwrap();
    let refused = send(clients(), over_connection(listed, shown.clone())).await;
    assert_eq!(refused.unwrap_err(), RejectionCode::DeviceUnknown);
    // TLS refuses it there; nor is it a gateway's by its name.
    let asked = Request::post("/v1/introspect")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("token=a.b.c"))
        .unwrap();
    let gateways = router::gateways(authority.clone());
    let refused = send(gateways, over_connection(asked, shown)).await;
    assert_eq!(refused.unwrap_err(), RejectionCode::PolicyDenied);
    // Nor is evidence taken that was made with it, whoever asked for the challenge.
    let machine = life.desks[0].peer();
    let asked = stage.challenge(&life, 0, &TOUCH).await.unwrap();
    life.desks[0].show(certificate);
    let refused = stage.answer(&mut life, 0, Some(0), &TOUCH, &asked, &machine).await;
    assert_eq!(refused.unwrap_err(), RejectionCode::CertificateMismatch);
}

/// There is no revocation of the certificate alone: what is revoked ends the token that it is paired with, and no
/// further pair is made; the certificate by itself runs out.
#[tokio::test]
async fn whatever_is_revoked_ends_the_pair_of_token_and_certificate_and_the_next_one() {
    let mut stage = Stage::set(1, None).await;
    for number in 0..6 {
        let mut life = stage.life().await;
        let authority = &stage.nodes[0];
        let answer = stage.exchange(&mut life, 0, Some(0), &TOUCH).await.unwrap();
        let (token, certificate) = both(&answer);
        let claims = tokens::claims(&token);
        life.sessions.push(SessionId::from_hex(&claims.sid).unwrap());
        let (session, id) = (life.sessions[0], SessionId::from_hex(&claims.jti).unwrap().0);
        let (target, next) = match number {
            // The session goes on, with another pair.
            0 => (RevocationTarget::Token(id), Ok(())),
            1 => (RevocationTarget::Session(session), Err(RejectionCode::SessionEnded)),
            2 => {
                let key = RevocationTarget::Credential(life.keys[0].id.clone());
                (key, Err(RejectionCode::SessionEnded))
            }
            3 => {
                let device = RevocationTarget::Device(life.desks[0].id.clone());
                (device, Err(RejectionCode::DeviceRevoked))
            }
            4 => {
                let operator = RevocationTarget::Operator(life.operator.clone());
                (operator, Err(RejectionCode::DeviceRevoked))
            }
            _ => (RevocationTarget::Everything, Err(RejectionCode::SessionEnded)),
        };
        let bound = thumbprint(&certificate);
        assert!(stage.is_good(authority, &token, &bound, false).await);
        let entry = AuditEntry::new(authority.now(), Event::Revoke, Decision::Allowed);
        authority.revoke(&target, entry).await.unwrap();
        assert!(!stage.is_good(authority, &token, &bound, false).await, "{target:?}");
        let renewed = stage.exchange(&mut life, 0, None, &RENEW).await;
        assert_eq!(renewed.map(|_| ()), next, "{target:?}");
        // Who looks at nothing but the certificate goes on believing it, as long as a token lives.
        let anchors = TrustAnchors::from_der(authority.keys.device_ca.trusted(authority.now()));
        let anchors = anchors.unwrap();
        let end = UnixTime(claims.exp);
        assert!(claims.exp - authority.now().0 <= 300);
        let at = |at| VerifiedPath::verify(&certificate, &[], &anchors, None, at);
        assert!(at(authority.now()).is_ok() && at(end).is_ok());
        let expired = at(UnixTime(end.0 + 1));
        assert!(matches!(expired, Err(PathError::Expired)), "{expired:?}");
    }
}

#[tokio::test]
async fn nobodys_certificate_is_issued_for_a_workload_and_none_of_another_kind() {
    let (stage, mut life) = stage().await;
    let refused = stage.exchange(&mut life, 0, None, &WORKLOAD).await;
    assert_eq!(refused.unwrap_err(), RejectionCode::PurposeWrong);
    let record = last_audit(&stage.nodes[0]).await;
    assert!(record.detail.contains("evidence of no operator"), "{}", record.detail);
    stage.exchange(&mut life, 0, None, &Asked { further: "", ..WORKLOAD }).await.unwrap();
    let form = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=AA\
                &subject_token_type=urn:signet:token-type:evidence&certificate=other";
    let request = Request::post("/v1/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    use tower::ServiceExt;
    let request = over_connection(request, life.desks[0].peer());
    let answer = router::clients(stage.nodes[0].clone()).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), axum::http::StatusCode::BAD_REQUEST);
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("certificate is device or operator"));
}
