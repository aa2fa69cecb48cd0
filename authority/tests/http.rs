//! The endpoints over real TLS, on free ports of the loopback.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use serde_json::{Value, json};
use signet_authority::store::{RevocationTarget, SessionKind};
use signet_evidence::{Action, ActionDetails, ActionKind, action::content_digest};

use house::{House, last_audit};

const TOKEN_FORM: [(&str, &str); 3] = [
    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
    ("subject_token_type", "urn:signet:token-type:evidence"),
    ("subject_token", "AAAA"),
];

async fn problem(response: reqwest::Response) -> (StatusCode, Value) {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn strangers_get_documents_and_nothing_else() {
    let house = House::start().await;
    let stranger = house.stranger();
    for path in ["/healthz", "/readyz", "/jwks.json", "/.well-known/oauth-authorization-server"] {
        let response = stranger.get(house.clients(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    let body = json!({"purpose": "session"});
    let refused = stranger.post(house.clients("/v1/challenge")).json(&body).send().await.unwrap();
    let (status, problem) = problem(refused).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // The coarse code only; the exact one is in the audit table.
    assert_eq!(problem["code"], "invalid_token");
    let record = last_audit(&house.authority).await;
    assert_eq!(
        (record.event.as_str(), record.code.as_deref()),
        ("challenge", Some("certificate-missing"))
    );
    for path in ["/metrics", "/v1/introspect", "/v1/authorize/x"] {
        let response = stranger.get(house.clients(path)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path} is the gateways' alone");
    }
}

#[tokio::test]
async fn gateways_need_a_certificate_of_their_own_ca() {
    let house = House::start().await;
    let machine = house.machine("alice").await;
    for client in [house.stranger(), machine.client(&house)] {
        let refused = client.get(house.gateways("/metrics")).send().await;
        assert!(refused.is_err_and(|error| error.is_connect() || error.is_request()));
    }
    let gateway = house.gateway("edge");
    let metrics = gateway.get(house.gateways("/metrics")).send().await.unwrap();
    let text = metrics.text().await.unwrap();
    assert!(text.contains("signet_live_sessions 0"), "{text}");
    // A certificate of the right CA whose name the settings do not hold.
    let unknown = house.gateway("other");
    let form = [("token", "x")];
    let refused = unknown.post(house.gateways("/v1/introspect")).form(&form).send().await.unwrap();
    assert_eq!(problem(refused).await.1["code"], "policy-denied");
}

#[tokio::test]
async fn tls_1_2_and_plain_http_are_refused() {
    let house = House::start().await;
    let old = house.client_of_version(&rustls::version::TLS12);
    assert!(old.get(house.clients("/healthz")).send().await.is_err_and(|error| error.is_connect()));
    let plain = house.clients("/healthz").replace("https://", "http://");
    let refused = house.stranger().get(plain).send().await;
    assert!(refused.is_err_and(|error| error.is_request()));
}

#[tokio::test]
async fn a_machine_gets_a_challenge_for_what_it_asks() {
    let house = House::start().await;
    let machine = house.machine("alice").await;
    let client = machine.client(&house);
    let ask = async |body: Value| {
        client.post(house.clients("/v1/challenge")).json(&body).send().await.unwrap()
    };
    let answer: Value = ask(json!({"purpose": "session"})).await.json().await.unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(answer["challenge"].as_str().unwrap()).unwrap().len(), 39);
    assert_eq!(
        (&answer["subject"], &answer["user_verification"]),
        (&json!("alice"), &json!("required"))
    );
    assert_eq!((&answer["expires_in"], &answer["pcrs"]), (&json!(120), &json!([0, 2, 4, 7])));
    let workload: Value = ask(json!({"purpose": "workload"})).await.json().await.unwrap();
    assert_eq!(
        (&workload["expires_in"], &workload["user_verification"]),
        (&json!(30), &json!("discouraged"))
    );
    // Nobody is asked for a touch in a session that cannot go on.
    let session = "00".repeat(16);
    for purpose in ["renew", "session"] {
        let body = json!({"purpose": purpose, "session": session});
        let (status, problem) = problem(ask(body).await).await;
        assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("session-ended")));
    }
    let action = Action::new(ActionDetails {
        kind: ActionKind::SignetAction,
        actions: vec!["mesh.route.update".into()],
        locations: vec!["https://ctl.mesh.example".into()],
        method: "PUT".into(),
        path: "/v1/routes/payments".into(),
        content_digest: content_digest(b"{}"),
    })
    .unwrap();
    let action = URL_SAFE_NO_PAD.encode(action.as_bytes());
    assert_eq!(ask(json!({"purpose": "action", "action": action})).await.status(), StatusCode::OK);
    for wrong in [
        json!({"purpose": "enrol-device", "session": "00".repeat(16)}),
        json!({"purpose": "action"}),
        json!({"purpose": "action", "action": "W10"}),
        json!({"purpose": "session", "action": action}),
        json!({"purpose": "renew"}),
        json!({"purpose": "action", "action": action, "session": session}),
        json!({"purpose": "session", "unknown": 1}),
        json!({"purpose": "action", "action": "not base64url!"}),
    ] {
        let (status, problem) = problem(ask(wrong.clone()).await).await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (400, &json!("request-malformed")),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn machines_that_are_not_enrolled_or_revoked_are_told_so() {
    let house = House::start().await;
    let unknown = house.unknown_machine();
    let revoked = house.machine("alice").await;
    let target = RevocationTarget::Device(revoked.id.clone());
    house.revoke(target).await;
    for (machine, code) in [(unknown, "device-unknown"), (revoked, "device-revoked")] {
        let client = machine.client(&house);
        let body = json!({"purpose": "session"});
        let refused = client.post(house.clients("/v1/challenge")).json(&body).send().await.unwrap();
        let (status, problem) = problem(refused).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!(code)));
        let kind = format!("urn:signet:rejection:{code}");
        assert_eq!(problem["type"], kind.as_str());
        let record = last_audit(&house.authority).await;
        assert_eq!(record.code.as_deref(), Some(code));
        assert_eq!(record.device, Some(machine.id.to_string()));
    }
}

#[tokio::test]
async fn bad_evidence_is_an_oauth_error_with_the_exact_code() {
    let house = House::start().await;
    let client = house.machine("alice").await.client(&house);
    let post = async |form: &[(&str, &str)]| {
        client.post(house.clients("/v1/token")).form(form).send().await.unwrap()
    };
    let (status, answer) = problem(post(&TOKEN_FORM).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        (&answer["error"], &answer["code"]),
        (&json!("invalid_request"), &json!("evidence-malformed"))
    );
    assert_eq!(answer["error_description"], answer["detail"]);
    let record = last_audit(&house.authority).await;
    assert_eq!(
        (record.event.as_str(), record.code.as_deref()),
        ("token", Some("evidence-malformed"))
    );
    assert!(record.detail.starts_with("evidence-malformed: "), "{}", record.detail);
    let mut wrong = TOKEN_FORM;
    wrong[0].1 = "password";
    assert_eq!(problem(post(&wrong).await).await.1["error"], "unsupported_grant_type");
    let anonymous = house.stranger().post(house.clients("/v1/token")).form(&TOKEN_FORM);
    let (_, answer) = problem(anonymous.send().await.unwrap()).await;
    assert_eq!(
        (&answer["error"], &answer["code"]),
        (&json!("invalid_client"), &json!("invalid_token"))
    );
    let large = "A".repeat(500_000);
    let (status, answer) = problem(post(&[("subject_token", &large)]).await).await;
    assert_eq!((status.as_u16(), &answer["code"]), (413, &json!("request-too-large")));
}

#[tokio::test]
async fn a_stranger_without_a_ticket_hears_the_coarse_code() {
    let house = House::start().await;
    let body = json!({
        "ticket": "no such ticket", "ek_kind": "ecc-p256", "ek_public": "", "ak_public": "", "tls_public": "",
    });
    let url = house.clients("/v1/enrol/device/begin");
    let refused = house.stranger().post(url).json(&body).send().await.unwrap();
    let (status, answer) = problem(refused).await;
    assert_eq!((status, &answer["code"]), (StatusCode::FORBIDDEN, &json!("denied")));
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("ticket-invalid"));
    let finish = json!({
        "enrolment_id": "00", "proof": "", "certify": {"attest": "", "signature": ""},
        "quote": {"attest": "", "signature": ""}, "pcrs": {"0": ""}, "csr": "",
    });
    let url = house.clients("/v1/enrol/device/finish");
    let refused = house.stranger().post(url).json(&finish).send().await.unwrap();
    assert_eq!(problem(refused).await.1["code"], "bad_enrolment");
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("enrolment-unknown"));
}

#[tokio::test]
async fn introspection_says_active_until_revoked_and_redeems_once() {
    let house = House::start().await;
    let machine = house.machine("alice").await;
    let gateway = house.gateway("edge");
    let session = house.token(&machine, SessionKind::Person).await;
    let ask = async |form: &[(&str, &str)]| -> Value {
        let request = gateway.post(house.gateways("/v1/introspect")).form(form);
        request.send().await.unwrap().json().await.unwrap()
    };
    let active = ask(&[("token", &session)]).await;
    assert_eq!((&active["active"], &active["sub"]), (&json!(true), &json!("alice")));
    assert!(active["cnf"]["x5t#S256"].is_string());
    assert_eq!(ask(&[("token", "x")]).await, json!({"active": false}));
    let elsewhere = "00".repeat(32);
    let other = ask(&[("token", &session), ("peer_sha256", &elsewhere)]).await;
    assert_eq!(other, json!({"active": false}));
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("token-binding-mismatch"));

    let action = house.token(&machine, SessionKind::Action).await;
    let peer = machine.thumbprint().to_hex();
    let redeem: [(&str, &str); 3] =
        [("token", &action), ("redeem", "true"), ("peer_sha256", &peer)];
    assert_eq!(ask(&redeem[..2]).await, json!({"active": false}));
    assert_eq!(ask(&redeem).await["active"], json!(true));
    assert_eq!(ask(&redeem).await, json!({"active": false}));
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("token-redeemed"));

    // Its owner revokes it, over the connection that it is bound to.
    let revoke = machine.client(&house).post(house.clients("/v1/revoke"));
    let revoked = revoke.form(&[("token", &session)]).send().await.unwrap();
    assert_eq!(revoked.status(), StatusCode::OK);
    assert_eq!(ask(&[("token", &session)]).await, json!({"active": false}));
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("token-revoked"));
}

/// Whatever this node remembers of the token, and before it hears of the revocation.
#[tokio::test]
async fn the_first_question_after_another_process_revoked_is_refused() {
    let house = House::start().await;
    let machine = house.machine("bob").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let gateway = house.gateway("edge");
    let url = house.gateways("/v1/authorize/v1/namespaces/sandbox/routes/web");
    let peer = machine.thumbprint().to_hex();
    let ask = async || {
        let request = gateway.get(&url).bearer_auth(&token).header("host", "ctl.mesh.example");
        request.header("x-signet-peer-sha256", &peer).send().await.unwrap().status()
    };
    for _ in 0..3 {
        assert_eq!(ask().await, StatusCode::OK);
    }
    // Another's revocation is no reason to refuse this one.
    let other = house.machine("alice").await;
    house.revoke_beside(RevocationTarget::Device(other.id.clone())).await;
    assert_eq!(ask().await, StatusCode::OK);
    house.revoke_beside(RevocationTarget::Device(machine.id.clone())).await;
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED);
    assert_eq!(last_audit(&house.authority).await.code.as_deref(), Some("token-revoked"));
}

#[tokio::test]
async fn revocation_by_another_process_counts_without_a_restart() {
    let house = House::start().await;
    let machine = house.machine("alice").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let gateway = house.gateway("edge");
    let ask = async || -> Value {
        let request = gateway.post(house.gateways("/v1/introspect")).form(&[("token", &token)]);
        request.send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(ask().await["active"], json!(true));
    let status = async || {
        let client = house.stranger();
        client.get(house.clients("/status/0")).send().await.unwrap()
    };
    let tag = status().await.headers()["etag"].clone();
    house.revoke_beside(RevocationTarget::Device(machine.id.clone())).await;
    house.until_revoked(&machine).await;
    assert_eq!(ask().await, json!({"active": false}));
    let list = status().await;
    assert_eq!(list.headers()["content-type"], "application/statuslist+jwt");
    assert_ne!(list.headers()["etag"], tag);
}

#[tokio::test]
async fn keys_are_listed_and_removed_by_their_owner_only() {
    let house = House::start().await;
    let (alice, bob) = (house.machine("alice").await, house.machine("bob").await);
    house.key(&alice, b"key of alice").await;
    let path = format!("/v1/authenticators/{}", URL_SAFE_NO_PAD.encode(b"key of alice"));
    let list = async |machine: &house::Machine| -> Value {
        let request = machine.client(&house).get(house.clients("/v1/authenticators"));
        request.send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(list(&alice).await["authenticators"][0]["name"], "blue key");
    assert_eq!(list(&bob).await["authenticators"], json!([]));
    let remove = async |machine: &house::Machine| {
        machine.client(&house).delete(house.clients(&path)).send().await.unwrap().status()
    };
    assert_eq!(remove(&bob).await, StatusCode::NOT_FOUND);
    assert_eq!(remove(&alice).await, StatusCode::NO_CONTENT);
    assert_eq!(remove(&alice).await, StatusCode::NOT_FOUND);
    assert_eq!(list(&alice).await["authenticators"][0]["revoked"], json!(true));
}

#[tokio::test]
async fn a_store_that_cannot_write_answers_unavailable_and_grants_nothing() {
    let house = House::with_full_disk().await;
    let client = house.machine_before_full();
    let response = client.post(house.clients("/v1/token")).form(&TOKEN_FORM).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "5");
    let (status, answer) = problem(response).await;
    assert_eq!((status, &answer["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable")));
    assert_eq!(answer["error"], "temporarily_unavailable");
    assert_eq!(house.authority.store.live_sessions(house.authority.now()).await.unwrap(), 0);
}
