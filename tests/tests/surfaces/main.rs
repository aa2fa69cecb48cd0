//! Every fixture through the HTTP endpoints and the command line, and one vocabulary on all surfaces:
//! answer, audit record and metric say the same word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod enrolment;
mod models;
mod renewal;
mod seat;

use std::path::PathBuf;
use std::process::Command;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_authority::caller::over_connection;
use signet_authority::router;
use signet_authority::tls::PeerCertificate;
use signet_evidence::{CertificateThumbprint, RejectionCode};
use signet_tests::attester::TestCa;
use signet_tests::fixture::{self, Fixture, Kind};
use signet_tests::world::{Change, World};
use tower::ServiceExt;

use seat::{GATEWAY, Seat, TICKET};

/// What the endpoint answered.
struct Answer {
    status: StatusCode,
    body: String,
}

async fn send(router: axum::Router, request: Request) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer { status, body: String::from_utf8_lossy(&body).into_owned() }
}

async fn ask(seat: &Seat, world: &World, fixture: &Fixture) -> Answer {
    let clients = router::clients(seat.authority.clone());
    let evidence = URL_SAFE_NO_PAD.encode(&fixture.bytes);
    match fixture.kind {
        Kind::Evidence => {
            let form = format!(
                "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
                 &subject_token_type=urn:signet:token-type:evidence&subject_token={evidence}"
            );
            let request = Request::post("/v1/token")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Body::from(form))
                .unwrap();
            send(clients, over_connection(request, peer(world, fixture))).await
        }
        Kind::Registration => {
            let ticket = (!fixture.with.contains(&Change::NoGrant)).then_some(TICKET);
            let json = serde_json::json!({ "evidence": evidence, "ticket": ticket });
            let request = Request::post("/v1/enrol/authenticator")
                .header("content-type", "application/json")
                .body(Body::from(json.to_string()))
                .unwrap();
            send(clients, over_connection(request, peer(world, fixture))).await
        }
        Kind::Token => {
            send(router::gateways(seat.authority.clone()), at_gateway(world, fixture)).await
        }
    }
}

/// The request as a gateway asks about it.
fn at_gateway(world: &World, fixture: &Fixture) -> Request {
    let used_for = fixture.request.as_deref().expect("a token is used for something");
    let mut words = used_for.splitn(3, ' ');
    let (method, url, body) =
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
    let rest = url.strip_prefix("https://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/v1/authorize{path}"))
        .header("host", host)
        .header("x-signet-body", "whole");
    if let Some(name) = &fixture.peer {
        let thumbprint = CertificateThumbprint::of_der(&world.peers[name].0);
        request = request.header("x-signet-peer-sha256", thumbprint.to_hex());
    }
    if !fixture.bytes.is_empty() {
        let token = std::str::from_utf8(&fixture.bytes).unwrap();
        request = request.header("authorization", format!("Bearer {token}"));
    }
    over_connection(request.body(Body::from(body.to_owned())).unwrap(), gateway_certificate())
}

fn gateway_certificate() -> PeerCertificate {
    let ca = TestCa::generate("gateways").unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let der = ca.spiffe(GATEWAY, rcgen::PublicKeyData::der_bytes(&key)).unwrap();
    PeerCertificate::new(der.into())
}

fn peer(world: &World, fixture: &Fixture) -> PeerCertificate {
    let name = fixture.peer.as_deref().expect("evidence comes over a connection");
    PeerCertificate::new(world.peers[name].0.clone().into())
}

/// The exact code in the newest audit record, or `accepted`.
async fn audited(seat: &Seat) -> String {
    let records = seat.authority.store.audit_after(0, 1000).await.unwrap();
    let newest = records.last().unwrap();
    newest.code.clone().unwrap_or_else(|| "accepted".to_owned())
}

#[tokio::test]
async fn every_fixture_gets_its_exact_code_over_http_in_the_audit_record_and_in_the_metrics() {
    let world = fixture::world().unwrap();
    let mut wrong = Vec::new();
    for fixture in fixture::all().unwrap() {
        let name = fixture.path.display();
        let seat = Seat::for_fixture(&world, &fixture).await;
        if fixture.with.contains(&Change::ChallengeConsumed) {
            let first = ask(&seat, &world, &fixture).await;
            assert_eq!(first.status, StatusCode::OK, "{name}: {}", first.body);
        }
        let answer = ask(&seat, &world, &fixture).await;
        let found = audited(&seat).await;
        if found != fixture.expect {
            wrong
                .push(format!("{name}: the audit record says {found}, the answer {}", answer.body));
            continue;
        }
        if fixture.expect == "accepted" {
            if !answer.status.is_success() {
                wrong.push(format!("{name}: {} {}", answer.status, answer.body));
            }
            continue;
        }
        let code = RejectionCode::from_name(&fixture.expect).unwrap();
        let told = [code.as_str(), code.coarse().as_str()];
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status.is_success()
            || !told.contains(&problem["code"].as_str().unwrap_or_default())
        {
            wrong.push(format!("{name}: {} {}", answer.status, answer.body));
        }
        if !seat.authority.metrics.render(0, 0).contains(&format!("\"{code}\"")) {
            wrong.push(format!("{name}: no metric is labelled {code}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// `signet-authority appraise`: a dry run, so that what only the transaction knows is accepted.
#[tokio::test]
async fn every_piece_of_evidence_gets_its_exact_code_from_the_command_line() {
    let world = fixture::world().unwrap();
    let program = program("signet-authority");
    let mut wrong = Vec::new();
    for fixture in fixture::all().unwrap() {
        let stores = fixture.with.iter().any(|change| change.is_the_stores());
        if fixture.kind == Kind::Token || stores {
            continue;
        }
        let seat = Seat::for_fixture(&world, &fixture).await;
        let (evidence, peer) = (seat.scratch("evidence.cbor"), seat.scratch("peer.der"));
        std::fs::write(&evidence, &fixture.bytes).unwrap();
        std::fs::write(&peer, &world.peers[fixture.peer.as_deref().unwrap()].0).unwrap();
        let mut command = Command::new(&program);
        command.arg("--config").arg(seat.settings()).args(["--json", "appraise"]).arg(&evidence);
        command.arg("--peer-certificate").arg(&peer).args(["--at", &fixture.now.to_string()]);
        // The endpoint decides the purpose; the dry run is told it.
        if fixture.expect == "purpose-wrong" {
            command.args(["--purpose", "session"]);
        }
        let output = command.output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let found = match said["accepted"].as_bool() {
            Some(true) => "accepted",
            Some(false) => said["code"].as_str().unwrap_or("no code"),
            None => "no answer",
        };
        if found != fixture.expect || output.status.success() != (found == "accepted") {
            let errors = String::from_utf8_lossy(&output.stderr);
            wrong.push(format!("{}: {found} ({}) {errors}", fixture.path.display(), output.status));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A program next to this test.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join(name);
    assert!(program.exists(), "{} is missing: cargo build --workspace --bins", program.display());
    program
}
