//! Device enrolment over HTTP with a real TPM: the whole of it, and each way to be refused.

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use signet_authority::router;
use signet_authority::store::{AuditEntry, Decision, Event, NewTicket, TicketKind, TicketMachine};
use signet_evidence::UnixTime;
use signet_tests::attester::{Attester, PCRS};
use signet_tests::fixture;
use signet_tests::world::World;

use crate::seat::{Seat, TICKET};
use crate::{Answer, audited, send};

pub(crate) fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

pub(crate) async fn post(seat: &Seat, path: &str, body: &Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    send(router::clients(seat.authority.clone()), request).await
}

/// A workstation's first message, as it should be.
pub(crate) fn first_message(attester: &Attester) -> Value {
    let ek = attester.endorsement.certified().unwrap();
    json!({
        "ticket": TICKET,
        "ek_kind": "rsa-2048",
        "ek_public": text(&ek.public),
        "ek_certificate": text(ek.certificate.as_ref().unwrap()),
        "ek_chain": [text(attester.swtpm.ca_certificates().intermediate_der().unwrap())],
        "ak_public": text(&attester.ak_public),
        "tls_public": text(&attester.tls_public),
    })
}

pub(crate) async fn seat_for(attester: &Attester) -> (World, Seat) {
    let world = fixture::world().unwrap();
    let root = attester.swtpm.ca_certificates().root_der().unwrap();
    let seat = Seat::empty(&world, &[root]).await;
    (world, seat)
}

/// The second message: secret opened, TLS key certified, PCRs quoted, certificate requested.
pub(crate) async fn second_message(attester: &Attester, begun: &Value) -> Value {
    let kind = attester.endorsement.certified().unwrap().kind;
    let secret = attester
        .tpm
        .activate_credential(
            kind,
            &bytes(&begun["credential_blob"]),
            &bytes(&begun["encrypted_secret"]),
        )
        .await
        .unwrap();
    let (transcript, nonce) = (bytes(&begun["transcript"]), bytes(&begun["nonce"]));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let proof = aws_lc_rs::hmac::sign(&key, &[transcript.as_slice(), &nonce].concat());
    let data = signet_evidence::binding::enrolment_qualifying_data(&transcript, &nonce);
    let certified = attester.tpm.certify_tls_key(data).await.unwrap();
    let quote = attester.tpm.quote(data, &PCRS).await.unwrap();
    let pcrs: serde_json::Map<_, _> =
        quote.pcrs.iter().map(|(index, value)| (index.to_string(), text(value).into())).collect();
    json!({
        "enrolment_id": begun["enrolment_id"],
        "proof": text(proof),
        "certify": { "attest": text(certified.attest), "signature": text(certified.signature) },
        "quote": { "attest": text(quote.attest), "signature": text(quote.signature) },
        "pcrs": pcrs,
        "csr": text(attester.certificate_request().await.unwrap()),
    })
}

pub(crate) async fn begin(seat: &Seat, message: &Value) -> Value {
    let answer = post(seat, "/v1/enrol/device/begin", message).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn a_machine_enrols_and_its_ticket_is_used_up() {
    let attester = Attester::start().await.unwrap();
    let (_, seat) = seat_for(&attester).await;
    let begun = begin(&seat, &first_message(&attester)).await;
    let message = second_message(&attester, &begun).await;
    let answer = post(&seat, "/v1/enrol/device/finish", &message).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let enrolled: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(enrolled["operator"], "alice");

    let answer = post(&seat, "/v1/enrol/device/finish", &message).await;
    assert!(answer.status.is_client_error());
    assert_eq!(audited(&seat).await, "enrolment-unknown");
    let answer = post(&seat, "/v1/enrol/device/begin", &first_message(&attester)).await;
    assert!(answer.status.is_client_error());
    assert_eq!(audited(&seat).await, "ticket-invalid");
}

/// `signet-authority --json …` beside the seat: what it printed.
fn administrator(seat: &Seat, arguments: &[&str]) -> Value {
    let mut command = std::process::Command::new(crate::program("signet-authority"));
    command.arg("--json").arg("--config").arg(seat.settings()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_tpm_without_a_certificate_waits_for_an_administrator_and_says_so_for_good() {
    let attester = Attester::start().await.unwrap();
    let (_, seat) = seat_for(&attester).await;
    let mut message = first_message(&attester);
    message["ek_certificate"] = Value::Null;
    for _ in 0..2 {
        let answer = post(&seat, "/v1/enrol/device/begin", &message).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert_eq!(audited(&seat).await, "ek-unapproved");
    }
    let pin = administrator(&seat, &["tpm", "list"]);
    let digest = signet_evidence::binding::sha256(&bytes(&message["ek_public"]));
    assert_eq!(pin["ek"], signet_evidence::thumbprint::hex(&digest));
    assert_eq!((&pin["approved"], &pin["operator"]), (&json!(false), &json!("alice")));

    let ek = pin["ek"].as_str().unwrap();
    administrator(&seat, &["tpm", "approve", &ek[..8], "--reason", "seen at the desk"]);
    let pin = administrator(&seat, &["tpm", "list"]);
    assert_eq!(pin["reason"], "seen at the desk");
    // The same ticket: nothing was used up.
    let begun = begin(&seat, &message).await;
    let message = second_message(&attester, &begun).await;
    let answer = post(&seat, "/v1/enrol/device/finish", &message).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(administrator(&seat, &["machine", "list"])["ek"], "unproven");
}

/// A ticket for one endorsement key, with a group.
async fn ticket_for(seat: &Seat, text: &str, ek: [u8; 32]) -> Value {
    let now = seat.authority.now();
    let ticket = NewTicket {
        digest: signet_evidence::binding::sha256(text.as_bytes()),
        kind: TicketKind::Device,
        operator: "alice".into(),
        asset: None,
        machine: TicketMachine { group: Some("pilot".into()), ek_digest: Some(ek) },
        created_at: now,
        expires: UnixTime(now.0 + 900),
    };
    let audit = AuditEntry::new(now, Event::Ticket, Decision::Allowed);
    seat.authority.store.add_ticket(&ticket, &audit).await.unwrap();
    text.into()
}

#[tokio::test]
async fn a_ticket_for_one_tpm_opens_no_other() {
    let attester = Attester::start().await.unwrap();
    let (_, seat) = seat_for(&attester).await;
    let mut message = first_message(&attester);
    message["ticket"] = ticket_for(&seat, "another", [0; 32]).await;
    let answer = post(&seat, "/v1/enrol/device/begin", &message).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    assert_eq!(audited(&seat).await, "ek-mismatch");

    // A ticket that names it answers for a TPM without a certificate.
    let digest = signet_evidence::binding::sha256(&bytes(&message["ek_public"]));
    message["ticket"] = ticket_for(&seat, "this one", digest).await;
    message["ek_certificate"] = Value::Null;
    let begun = begin(&seat, &message).await;
    let message = second_message(&attester, &begun).await;
    let answer = post(&seat, "/v1/enrol/device/finish", &message).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let listed = administrator(&seat, &["machine", "list"]);
    assert_eq!((&listed["ek"], &listed["groups"][0]), (&json!("unproven"), &json!("pilot")));
}

#[tokio::test]
async fn first_messages_that_prove_nothing_are_refused() {
    let attester = Attester::start().await.unwrap();
    let (world, seat) = seat_for(&attester).await;
    let genuine = first_message(&attester);
    let other_ek = attester.endorsement.keys.iter().find(|key| key.certificate.is_none());
    let other_ek = text(&other_ek.expect("the emulator has an EK without a certificate").public);
    let cases = [
        ("ticket-invalid", "ticket", json!("guessed")),
        ("ek-unapproved", "ek_certificate", Value::Null),
        ("ek-mismatch", "ek_public", json!(other_ek)),
        // The TLS key is not restricted: it would sign a forged quote.
        ("ak-attributes", "ak_public", json!(text(&attester.tls_public))),
        // The AK is restricted: it could not do TLS, and is no TLS key.
        ("tls-key-attributes", "tls_public", json!(text(&attester.ak_public))),
    ];
    for (code, member, value) in cases {
        let mut message = genuine.clone();
        message[member] = value;
        let answer = post(&seat, "/v1/enrol/device/begin", &message).await;
        assert!(answer.status.is_client_error(), "{code}: {}", answer.body);
        assert_eq!(audited(&seat).await, code);
    }
    let foreign = Seat::empty(&world, std::slice::from_ref(&world.device_ca.0)).await;
    let answer = post(&foreign, "/v1/enrol/device/begin", &genuine).await;
    assert!(answer.status.is_client_error(), "{}", answer.body);
    assert_eq!(audited(&foreign).await, "ek-untrusted");
}

#[tokio::test]
async fn second_messages_that_prove_nothing_are_refused_and_end_the_enrolment() {
    let attester = Attester::start().await.unwrap();
    let (_, seat) = seat_for(&attester).await;
    let stranger = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&stranger).unwrap();
    // Genuine, and for something else.
    let other_quote = attester.tpm.quote([0; 32], &PCRS).await.unwrap();
    let cases = [
        ("activation-failed", "proof", json!(text([0; 32]))),
        ("csr-mismatch", "csr", json!(text(request.der()))),
        (
            "quote-challenge-mismatch",
            "quote",
            json!({ "attest": text(other_quote.attest), "signature": text(other_quote.signature) }),
        ),
        (
            "pcr-digest-mismatch",
            "pcrs",
            json!({ "0": text([1; 32]), "4": text([0; 32]), "7": text([0; 32]) }),
        ),
    ];
    for (code, member, value) in cases {
        let begun = begin(&seat, &first_message(&attester)).await;
        let mut message = second_message(&attester, &begun).await;
        let genuine = message.clone();
        message[member] = value;
        let answer = post(&seat, "/v1/enrol/device/finish", &message).await;
        assert!(answer.status.is_client_error(), "{code}: {}", answer.body);
        assert_eq!(audited(&seat).await, code);
        // One try: the secret is not there to be guessed at.
        let answer = post(&seat, "/v1/enrol/device/finish", &genuine).await;
        assert!(answer.status.is_client_error(), "{code}: {}", answer.body);
        assert_eq!(audited(&seat).await, "enrolment-unknown");
    }
}
