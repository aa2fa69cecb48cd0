//! Renewal of a machine's certificates over HTTP with a real TPM, and each way to be refused.

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use serde_json::{Value, json};
use signet_authority::caller::over_connection;
use signet_authority::router;
use signet_authority::store::{AuditEntry, Decision, Event, RevocationTarget};
use signet_authority::tls::PeerCertificate;
use signet_evidence::{CertificateChain, DeviceId, Purpose, UnsignedEvidence};
use signet_tests::attester::{Attester, PCRS};
use signet_verifier::certificate::Certificate;

use crate::enrolment::{begin, bytes, first_message, post, seat_for, second_message, text};
use crate::seat::Seat;
use crate::{Answer, audited, send};

const PATH: &str = "/v1/enrol/device/renew";

/// An enrolled machine and its authority.
struct Machine {
    attester: Attester,
    seat: Seat,
    audience: String,
    id: DeviceId,
    device: Vec<u8>,
    ak: Vec<u8>,
}

impl Machine {
    async fn enrolled() -> Self {
        let attester = Attester::start().await.unwrap();
        let (world, seat) = seat_for(&attester).await;
        let begun = begin(&seat, &first_message(&attester)).await;
        let message = second_message(&attester, &begun).await;
        let answer = post(&seat, "/v1/enrol/device/finish", &message).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let enrolled: Value = serde_json::from_str(&answer.body).unwrap();
        Self {
            attester,
            seat,
            audience: world.audience,
            id: DeviceId::from_bytes(&bytes(&enrolled["device_id"])).unwrap(),
            device: bytes(&enrolled["device_chain"][0]),
            ak: bytes(&enrolled["ak_chain"][0]),
        }
    }

    /// Over a connection with this certificate.
    async fn post_as(&self, certificate: &[u8], path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let peer = PeerCertificate::new(certificate.to_vec().into());
        send(router::clients(self.seat.authority.clone()), over_connection(request, peer)).await
    }

    async fn challenge(&self, purpose: &str) -> Vec<u8> {
        let ask = json!({ "purpose": purpose });
        let answer = self.post_as(&self.device, "/v1/challenge", &ask).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        bytes(&serde_json::from_str::<Value>(&answer.body).unwrap()["challenge"])
    }

    /// Fresh evidence of this machine.
    async fn evidence(&self, purpose: Purpose, certify: bool) -> Vec<u8> {
        let mut statement = self.attester.statement(purpose, &self.audience, &self.id).unwrap();
        statement.challenge = self.challenge(purpose.as_str()).await;
        statement.subject = None;
        let statement = statement.encode().unwrap();
        let tpm = self
            .attester
            .tpm_evidence(&self.ak, &statement, None, None, certify, &PCRS)
            .await
            .unwrap();
        let chain = CertificateChain::new(vec![self.device.clone()]).unwrap();
        let unsigned = UnsignedEvidence::new(&statement, &chain, None, None, &tpm);
        self.attester.seal(unsigned).await.unwrap()
    }

    async fn renew(&self, evidence: &[u8]) -> Answer {
        self.post_as(&self.device, PATH, &json!({ "evidence": text(evidence) })).await
    }
}

#[tokio::test]
async fn the_same_tpm_gets_new_certificates_for_the_same_keys_once() {
    let machine = Machine::enrolled().await;
    let evidence = machine.evidence(Purpose::EnrolDevice, true).await;
    let answer = machine.renew(&evidence).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let renewed: Value = serde_json::from_str(&answer.body).unwrap();
    for (chain, old) in [("device_chain", &machine.device), ("ak_chain", &machine.ak)] {
        let new = bytes(&renewed[chain][0]);
        assert_ne!(new, *old, "{chain}");
        let (new, old) = (Certificate::parse(&new).unwrap(), Certificate::parse(old).unwrap());
        assert_eq!(new.p256_key(), old.p256_key(), "{chain}");
        assert_eq!(new.spiffe_id(), old.spiffe_id(), "{chain}");
        assert_eq!(renewed["certificate_expires"], new.not_after().0, "{chain}");
    }
    assert_eq!(audited(&machine.seat).await, "accepted");

    let answer = machine.renew(&evidence).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    assert_eq!(audited(&machine.seat).await, "challenge-replayed");
    // The old certificate still counts until it has run out: connections that are open go on.
    let again = machine.evidence(Purpose::EnrolDevice, true).await;
    let (one, other) = tokio::join!(machine.renew(&again), machine.renew(&again));
    let mut answers = [one.status, other.status];
    answers.sort();
    assert_eq!(answers, [StatusCode::OK, StatusCode::BAD_REQUEST]);
}

#[tokio::test]
async fn renewals_that_prove_nothing_are_refused() {
    let machine = Machine::enrolled().await;
    let uncertified = machine.evidence(Purpose::EnrolDevice, false).await;
    assert!(machine.renew(&uncertified).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "certification-missing");
    // What was made for a token is not good for a certificate.
    let workload = machine.evidence(Purpose::Workload, true).await;
    assert!(machine.renew(&workload).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "purpose-wrong");

    let good = machine.evidence(Purpose::EnrolDevice, true).await;
    let body = json!({ "evidence": text(&good) });
    let keys = &machine.seat.authority.keys;
    let authority = &machine.seat.authority;
    let stranger = rcgen::KeyPair::generate().unwrap();
    let point: &[u8; 65] = rcgen::PublicKeyData::der_bytes(&stranger).try_into().unwrap();
    let life = std::time::Duration::from_secs(3600);
    let name = authority.config.device_spiffe_id(&machine.id);
    // A certificate of this device for another key, and one of a device that nobody enrolled.
    let other = keys
        .device_ca
        .issuer(authority.now())
        .issue_device(point, &name, authority.now(), life)
        .unwrap();
    assert!(machine.post_as(&other, PATH, &body).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "device-certificate-untrusted");
    let unknown = DeviceId::from_random(&[9; 16]).unwrap();
    let name = authority.config.device_spiffe_id(&unknown);
    let other = keys
        .device_ca
        .issuer(authority.now())
        .issue_device(point, &name, authority.now(), life)
        .unwrap();
    assert!(machine.post_as(&other, PATH, &body).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "device-unknown");
    assert!(post(&machine.seat, PATH, &body).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "certificate-missing");

    // Nothing of this used up the challenge, and the machine is still refused once it is revoked.
    let entry = AuditEntry::new(authority.now(), Event::Revoke, Decision::Allowed);
    authority.revoke(&RevocationTarget::Device(machine.id.clone()), entry).await.unwrap();
    assert!(machine.renew(&good).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "device-revoked");
}

#[tokio::test]
async fn a_machine_in_another_state_gets_no_new_certificate() {
    let machine = Machine::enrolled().await;
    machine
        .attester
        .swtpm
        .run_tool("tpm2_pcrextend", &[&format!("4:sha256={}", "07".repeat(32))])
        .unwrap();
    let evidence = machine.evidence(Purpose::EnrolDevice, true).await;
    assert!(machine.renew(&evidence).await.status.is_client_error());
    assert_eq!(audited(&machine.seat).await, "boot-policy-refused");
}
