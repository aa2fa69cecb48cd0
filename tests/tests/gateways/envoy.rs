//! Real Envoy with the documented configuration, in front of a real authority: what passes, what
//! reaches the upstream, and every way around it that others found.

use crate::cases::Scene;
use crate::stage::{Machine, Minted, Stage, approval, request};
use std::time::{Duration, Instant};

use signet_authority::store::RevocationTarget;
use signet_tests::gateway::profile;
use signet_tests::raw_https::{RawAnswer, RawHttpsError};
use signet_tests::upstream::Received;

const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";
const BODY: &str = "{\"weight\": 10}";

fn bearer(minted: &Minted) -> String {
    format!("authorization: Bearer {}", minted.token)
}

fn put(stage: &Stage, machine: &Machine, target: &str, token: &Minted, more: &[&str]) -> RawAnswer {
    let authorization = bearer(token);
    let headers: Vec<&str> = [&[authorization.as_str()], more].concat();
    stage.send(machine, &format!("PUT {target}"), &headers, BODY)
}

fn passed(stage: &Stage, answer: &RawAnswer) -> Received {
    assert_eq!(answer.status, 200, "{answer:?}\n{}", stage.last_decision().detail);
    stage.upstream.received().pop().unwrap()
}

/// Refused with this status and, on record, this code; nothing reached the upstream.
fn refused(stage: &Stage, answer: &RawAnswer, status: u16, code: &str) {
    let record = stage.last_decision();
    assert_eq!((answer.status, record.code.as_deref()), (status, Some(code)), "{record:?}");
    assert_eq!(stage.upstream.received(), []);
}

#[test]
fn the_right_certificate_passes_and_upstream_learns_who() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.session_token(&bob, 60);
    let answer = put(&stage, &bob, &format!("{STAGING}?dry=0"), &token, &[]);
    let received = passed(&stage, &answer);
    assert_eq!((received.method.as_str(), received.body.as_str()), ("PUT", BODY));
    assert_eq!(received.target, format!("{STAGING}?dry=0"));
    assert_eq!(received.header("x-signet-subject"), ["bob"]);
    let device = format!("spiffe://mesh.example/device/{}", bob.id);
    assert_eq!(received.header("x-signet-device"), [device]);
    assert_eq!(received.header("x-signet-acr"), ["signet.uv"]);
    assert_eq!(received.header("x-signet-action"), ["mesh.route.update"]);
    assert_eq!(
        received.header("x-signet-session"),
        [signet_evidence::thumbprint::hex(&token.session.0)]
    );
    assert_eq!(received.header("authorization"), [] as [&str; 0]);
    assert_eq!(received.header("x-signet-peer-sha256"), [] as [&str; 0]);
    let record = stage.last_decision();
    assert_eq!(
        (record.decision.as_str(), record.rule.as_deref()),
        ("allowed", Some("route-update-staging"))
    );
    let [decision] = received.header("x-signet-decision")[..] else { panic!() };
    assert!(record.detail.starts_with(decision), "{}", record.detail);
}

#[test]
fn another_certificate_does_not_pass_with_the_same_token() {
    let stage = Stage::set();
    let (bob, mallory) = (stage.enrol("bob"), stage.enrol("mallory"));
    let token = stage.session_token(&bob, 60);
    let answer = put(&stage, &mallory, STAGING, &token, &[]);
    refused(&stage, &answer, 401, "token-binding-mismatch");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    // The exact reason stays with the authority.
    assert!(!answer.body.contains("binding"), "{}", answer.body);
}

#[test]
fn no_token_is_told_to_come_with_one() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let answer = stage.send(&bob, &format!("PUT {STAGING}"), &[], BODY);
    refused(&stage, &answer, 401, "token-missing");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"signet\""));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let token = stage.session_token(&bob, 60).token;
    let query = format!("PUT {STAGING}?access_token={token}");
    refused(&stage, &stage.send(&bob, &query, &[], BODY), 401, "token-missing");
    let (first, second) = (format!("authorization: Bearer {token}"), "authorization: Bearer x");
    let answer = stage.send(&bob, &format!("PUT {STAGING}"), &[&first, second], BODY);
    refused(&stage, &answer, 401, "token-malformed");
}

#[test]
fn no_certificate_no_connection() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let authorization = bearer(&stage.session_token(&bob, 60));
    let bytes = request(&format!("PUT {STAGING}"), &[&authorization], BODY);
    let machine = format!("spiffe://mesh.example/device/{}", bob.id);
    for client in [stage.nobody(), stage.forger(&machine), stage.other_gateway()] {
        let answer = client.send(stage.gateway.address(), &bytes);
        assert!(matches!(answer, Err(RawHttpsError::Io(_))), "{answer:?}");
    }
    assert_eq!(stage.upstream.received(), []);
}

#[test]
fn only_a_configured_gateway_is_answered() {
    let stage = Stage::with_gateway("spiffe://mesh.example/gateway/unknown");
    let bob = stage.enrol("bob");
    let token = stage.session_token(&bob, 60);
    let answer = put(&stage, &bob, STAGING, &token, &[]);
    refused(&stage, &answer, 403, "policy-denied");
    let record = stage.last_decision();
    assert_eq!(record.gateway.as_deref(), Some("spiffe://mesh.example/gateway/unknown"));
    // A machine that could ask itself could name any certificate.
    let authorization = bearer(&token);
    let peer = format!("x-signet-peer-sha256: {}", bob.thumbprint.to_hex());
    let line = format!("PUT /v1/authorize{STAGING}");
    let question = request(&line, &[&authorization, &peer], "");
    let answer = stage.ask_authority(&bob, &question);
    assert!(matches!(answer, Err(RawHttpsError::Io(_))), "{answer:?}");
}

#[test]
fn what_a_client_says_of_certificates_has_no_effect() {
    let stage = Stage::set();
    let (bob, mallory) = (stage.enrol("bob"), stage.enrol("mallory"));
    let token = stage.session_token(&bob, 60);
    let hex = bob.thumbprint.to_hex();
    let forgeries = [
        format!("x-signet-peer-sha256: {hex}"),
        format!("X-Signet-Peer-SHA256: {hex}"),
        format!("x-forwarded-client-cert: Hash={hex};URI=spiffe://mesh.example/device/1"),
        format!("client-cert: :{hex}:"),
        "connection: x-signet-peer-sha256".to_owned(),
        "connection: close, x-signet-peer-sha256, x-signet-body".to_owned(),
        format!("x-envoy-auth-partial-body: false\r\nx-signet-peer-sha256: {hex}"),
        format!(
            "x-signet-peer-sha256: {hex}\r\nx-signet-peer-sha256: {}",
            mallory.thumbprint.to_hex()
        ),
    ];
    for forgery in &forgeries {
        let answer = put(&stage, &mallory, STAGING, &token, &[forgery]);
        refused(&stage, &answer, 401, "token-binding-mismatch");
    }
    // Naming a header in `connection` makes Envoy drop it: then it is not there.
    let dropped = put(&stage, &mallory, STAGING, &token, &["connection: close, authorization"]);
    refused(&stage, &dropped, 401, "token-missing");
    // The owner passes all the same, and upstream sees the handshake's certificate only.
    let xfcc = format!("x-forwarded-client-cert: Hash={}", mallory.thumbprint.to_hex());
    let received = passed(&stage, &put(&stage, &bob, STAGING, &token, &[&xfcc]));
    let [header] = received.header("x-forwarded-client-cert")[..] else { panic!() };
    assert!(
        header.contains(&format!("Hash={hex}")) && !header.contains(&mallory.thumbprint.to_hex())
    );
}

#[test]
fn nobody_else_speaks_for_signet_upstream() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.session_token(&bob, 60);
    let forged = [
        "x-signet-subject: root",
        "X-SIGNET-Subject: root",
        "x-signet-action: mesh.mtls.update",
        "x-signet-approved-by: everybody",
        "x-http-method-override: DELETE",
        "x-original-url: /v1/namespaces/payments/mtls",
    ];
    let received = passed(&stage, &put(&stage, &bob, STAGING, &token, &forged));
    assert_eq!(received.header("x-signet-subject"), ["bob"]);
    assert_eq!(received.header("x-signet-action"), ["mesh.route.update"]);
    for gone in ["x-signet-approved-by", "x-http-method-override", "x-original-url"] {
        assert_eq!(received.header(gone), [] as [&str; 0], "{gone}");
    }
    let before = stage.upstream.received().len();
    let answer = put(&stage, &bob, STAGING, &token, &["x_signet_subject: root"]);
    assert_eq!(answer.status, 400);
    assert_eq!(stage.upstream.received().len(), before);
}

#[test]
fn a_path_with_two_meanings_is_refused() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.session_token(&bob, 60);
    let targets = [
        "/dashboards/mesh/%2e%2e/%2e%2e/v1/namespaces/payments/mtls",
        "/dashboards/mesh/../../v1/namespaces/payments/mtls",
        "/v1/namespaces/sandbox/routes/web%2f..%2fapi",
        "/v1/namespaces/sandbox/routes/web%5c..%5capi",
        "//v1/namespaces/sandbox/routes/web",
        "/v1/namespaces/sandbox//routes/web",
        "/v1/namespaces/sandbox/routes/web;x=1",
        "/v1/namespaces/p%61yments/routes/api",
    ];
    for target in targets {
        let answer = put(&stage, &bob, target, &token, &[]);
        refused(&stage, &answer, 403, "target-ambiguous");
    }
}

#[test]
fn without_the_authority_nothing_passes() {
    let mut stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.session_token(&bob, 60);
    stage.stop_authority();
    let answer = put(&stage, &bob, STAGING, &token, &[]);
    assert_eq!(answer.status, 403);
    assert_eq!(stage.upstream.received(), []);
}

#[test]
fn an_approved_request_passes_once_and_only_as_approved() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let details = approval("mesh.route.update", "PUT", PRODUCTION, BODY);
    let token = stage.action_token(&bob, details);
    let authorization = bearer(&token);
    let line = format!("PUT {PRODUCTION}");
    let send = |line: &str, body: &str| stage.send(&bob, line, &[&authorization], body);
    refused(&stage, &send(&line, "{\"weight\": 99}"), 401, "action-mismatch");
    refused(&stage, &send(&line, ""), 401, "action-mismatch");
    refused(&stage, &send(&format!("{line}?force=1"), BODY), 401, "action-mismatch");
    refused(&stage, &send(&format!("DELETE {PRODUCTION}"), BODY), 401, "action-mismatch");
    refused(&stage, &send(&format!("PUT {STAGING}"), BODY), 401, "action-mismatch");
    // None of these used the approval up.
    let received = passed(&stage, &send(&line, BODY));
    assert_eq!((received.target.as_str(), received.body.as_str()), (PRODUCTION, BODY));
    let answer = send(&line, BODY);
    assert_eq!(answer.status, 401);
    assert_eq!(stage.last_decision().code.as_deref(), Some("token-redeemed"));
    assert_eq!(stage.upstream.received().len(), 1);
}

#[test]
fn a_client_cannot_vouch_for_its_body() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.action_token(&bob, approval("mesh.route.update", "PUT", PRODUCTION, BODY));
    let authorization = bearer(&token);
    for claim in ["x-signet-body: whole", "x-envoy-auth-partial-body: false"] {
        let headers = [authorization.as_str(), claim];
        let answer = stage.send(&bob, &format!("PUT {PRODUCTION}"), &headers, "{\"weight\": 99}");
        refused(&stage, &answer, 401, "action-mismatch");
    }
    let partial = [authorization.as_str(), "x-envoy-auth-partial-body: true"];
    passed(&stage, &stage.send(&bob, &format!("PUT {PRODUCTION}"), &partial, BODY));
}

#[test]
fn an_approved_request_without_a_body_passes() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let target = "/v1/namespaces/payments/certificates/01ab";
    let token = stage.action_token(&bob, approval("mesh.cert.revoke", "DELETE", target, ""));
    let answer = stage.send(&bob, &format!("DELETE {target}"), &[&bearer(&token)], "");
    passed(&stage, &answer);
}

#[test]
fn a_chunked_body_is_compared_as_a_whole() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.action_token(&bob, approval("mesh.route.update", "PUT", PRODUCTION, BODY));
    let authorization = bearer(&token);
    let headers = [authorization.as_str(), "transfer-encoding: chunked"];
    let chunked = |body: &str| {
        let (first, second) = body.split_at(5);
        let text = format!("5\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", second.len());
        let mut bytes = request(&format!("PUT {PRODUCTION}"), &headers, "");
        bytes.extend_from_slice(text.as_bytes());
        stage.client(&bob).send(stage.gateway.address(), &bytes).unwrap()
    };
    refused(&stage, &chunked("{\"weight\": 99}"), 401, "action-mismatch");
    assert_eq!(passed(&stage, &chunked(BODY)).body, BODY);
}

#[test]
fn a_body_that_the_authority_cannot_see_whole_is_refused() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let token = stage.session_token(&bob, 60);
    let large = "x".repeat(65_537);
    let answer = stage.send(&bob, &format!("PUT {STAGING}"), &[&bearer(&token)], &large);
    assert_eq!(answer.status, 413);
    assert_eq!(stage.upstream.received(), []);
}

#[test]
fn step_up_reaches_the_client_as_the_authority_said_it() {
    let stage = Stage::set();
    let bob = stage.enrol("bob");
    let stale = stage.session_token(&bob, 901);
    let answer = put(&stage, &bob, STAGING, &stale, &[]);
    refused(&stage, &answer, 401, "presence-required");
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            "Bearer realm=\"signet\", error=\"insufficient_user_authentication\", \
             error_description=\"prove your presence for this request\", \
             acr_values=\"signet.uv signet.uv-hw\", max_age=\"900\", scope=\"mesh.route.update\""
        )
    );
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(answer.body.contains("urn:signet:rejection:presence-required"), "{}", answer.body);
    let fresh = stage.session_token(&bob, 0);
    let answer = put(&stage, &bob, PRODUCTION, &fresh, &[]);
    refused(&stage, &answer, 401, "presence-required");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("max_age=\"0\", scope=\"mesh.route.update\""), "{challenge}");
}

#[test]
fn policy_and_revocation_are_heard_at_once() {
    let stage = Stage::set();
    let (bob, stranger) = (stage.enrol("bob"), stage.enrol("stranger"));
    let token = stage.session_token(&stranger, 1);
    let answer = put(&stage, &stranger, STAGING, &token, &[]);
    refused(&stage, &answer, 403, "policy-denied");
    assert_eq!(answer.header("www-authenticate"), None);

    let token = stage.session_token(&bob, 60);
    passed(&stage, &put(&stage, &bob, STAGING, &token, &[]));
    stage.revoke(&RevocationTarget::Session(token.session));
    let revoked = |token: &Minted| {
        assert_eq!(put(&stage, &bob, STAGING, token, &[]).status, 401);
        assert_eq!(stage.last_decision().code.as_deref(), Some("token-revoked"));
    };
    revoked(&token);
    let token = stage.session_token(&bob, 60);
    stage.revoke(&RevocationTarget::Token(token.id));
    revoked(&token);
    let token = stage.session_token(&bob, 60);
    stage.revoke(&RevocationTarget::Device(bob.id.clone()));
    revoked(&token);
    assert_eq!(stage.upstream.received().len(), 1);
}

#[test]
fn over_grpc_the_access_log_names_the_decision() {
    let scene = Scene::set(Stage::of(profile::named("envoy-grpc").unwrap()));
    let received = scene.stage.upstream.received().pop().unwrap();
    let [decision] = received.header("x-signet-decision")[..] else { panic!() };
    let line = format!(" PUT 200 subject=bob decision={decision}");
    let deadline = Instant::now() + Duration::from_secs(30);
    // Envoy writes its access log a moment later.
    while !scene.stage.gateway.log().lines().any(|found| found.ends_with(&line)) {
        assert!(Instant::now() < deadline, "{}", scene.stage.gateway.log());
        std::thread::yield_now();
    }
}
