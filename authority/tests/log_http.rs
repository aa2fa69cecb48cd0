//! The log as gateways see it: checkpoint, tiles, updates, receipts and cosignatures.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use reqwest::{Client, StatusCode};
use serde_json::json;
use signet_authority::store::SignedCheckpoint;
use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;
use signet_verifier::log::{
    Checkpoint, FileLogSigner, Frontier, LogSigner, Note, NoteKey, Receipt, SignatureKind, Update,
};

use house::{House, last_audit};

const WITNESS: &str = "mesh.example/gateway/edge";

async fn signed(house: &House, records: u64) -> SignedCheckpoint {
    use signet_authority::store::{AuditEntry, Decision, Event};
    let store = house.authority.store.as_ref();
    for number in 0..records {
        let mut entry = AuditEntry::new(house.authority.now(), Event::Authorize, Decision::Allowed);
        entry.detail = format!("decision {number}");
        store.append_audit(&entry).await.unwrap();
    }
    let size = store.log_size().await.unwrap();
    let mut newest = house.authority.log.newest();
    let covered = |one: &Option<std::sync::Arc<SignedCheckpoint>>| {
        one.as_ref().is_some_and(|one| one.size >= size)
    };
    let newest = newest.wait_for(covered).await.unwrap().clone().unwrap();
    SignedCheckpoint::clone(&newest)
}

async fn get(client: &Client, url: String) -> reqwest::Response {
    client.get(url).send().await.unwrap()
}

async fn text(client: &Client, url: String) -> String {
    get(client, url).await.error_for_status().unwrap().text().await.unwrap()
}

fn hashes(bytes: &[u8]) -> Vec<Sha256> {
    bytes.chunks(32).map(|hash| hash.try_into().unwrap()).collect()
}

#[tokio::test]
async fn a_gateway_checks_the_log_by_itself() {
    let house = House::start().await;
    let gateway = house.gateway("edge");
    let first = signed(&house, 10).await;
    let newest = signed(&house, 260).await;
    let key = &house.authority.log.key();
    assert_eq!(key.name(), "localhost/log");
    let known = Checkpoint::verify(&Note::parse(&first.note).unwrap(), key).unwrap().head;
    let response = get(&gateway, house.gateways("/log/checkpoint")).await;
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), newest.note);
    let head = Checkpoint::verify(&Note::parse(&newest.note).unwrap(), key).unwrap().head;

    let update = text(&gateway, house.gateways(&format!("/log/update?old={}", first.size))).await;
    let update = Update::parse(&update).unwrap();
    assert_eq!(update.accept(Some(&known), key).unwrap().head, head);
    // Everything that a client needs is in the tiles.
    let full = get(&gateway, house.gateways("/log/tile/0/000")).await;
    assert_eq!(full.headers()["content-type"], "application/octet-stream");
    let mut leaves = hashes(&full.bytes().await.unwrap());
    let above = get(&gateway, house.gateways("/log/tile/1/000.p/1")).await.bytes().await.unwrap();
    assert_eq!(hashes(&above), [Frontier::of(&leaves).root()]);
    let rest = head.size - 256;
    let partial = get(&gateway, house.gateways(&format!("/log/tile/0/001.p/{rest}"))).await;
    leaves.extend(hashes(&partial.bytes().await.unwrap()));
    assert_eq!(Frontier::of(&leaves).root(), head.root);
    for path in ["0/001", "0/002.p/1", "0/1", "9/000", "00/000", "x/000"] {
        let missing = get(&gateway, house.gateways(&format!("/log/tile/{path}"))).await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND, "{path}");
    }

    let receipt = text(&gateway, house.gateways("/log/proof?sequence=7")).await;
    let record = house.authority.store.audit_after(6, 1).await.unwrap().remove(0);
    Receipt::parse(&receipt).unwrap().verify(&record.entry(), key).unwrap();
    for sequence in [0, head.size + 1] {
        let url = house.gateways(&format!("/log/proof?sequence={sequence}"));
        assert_eq!(get(&gateway, url).await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_witness_s_line_is_kept_under_its_checkpoint() {
    let house = House::start().await;
    let gateway = house.gateway("edge");
    let newest = signed(&house, 3).await;
    let signer = FileLogSigner::from_pkcs8(&FileLogSigner::generate().unwrap()).unwrap();
    let key = NoteKey::new(WITNESS, SignatureKind::Witness, signer.public_key()).unwrap();
    let cosigned = |name: &str| {
        let mut note = Note::parse(&newest.note).unwrap();
        note.add(note.cosign(name, &signer, UnixTime(1_790_000_000)).unwrap());
        note
    };
    let post = async |key: String, note: String| {
        let url = house.gateways("/log/cosignatures");
        let body = json!({"key": key, "note": note});
        gateway.post(url).json(&body).send().await.unwrap().status()
    };
    let note = cosigned(WITNESS).to_string();
    assert_eq!(post(key.to_string(), note.clone()).await, StatusCode::NO_CONTENT);
    let pinned = last_audit(&house.authority).await;
    assert_eq!((pinned.event.as_str(), pinned.decision.as_str()), ("witness", "allowed"));
    assert!(pinned.detail.contains(&key.to_string()), "{}", pinned.detail);
    // It is shown with the checkpoint while that is the newest.
    let shown = house.authority.store.cosignatures(newest.size).await.unwrap();
    assert_eq!((shown.len(), shown[0].at), (1, UnixTime(1_790_000_000)));
    assert!(note.ends_with(&format!("{}\n", shown[0].line)));

    let other = NoteKey::new("mesh.example/gateway/b", SignatureKind::Witness, signer.public_key());
    let stranger = NoteKey::new(WITNESS, SignatureKind::Witness, [9; 32]).unwrap();
    let forged = note.replacen("localhost/log", "localhost/lag", 1);
    for (key, note) in [
        (other.unwrap().to_string(), cosigned("mesh.example/gateway/b").to_string()),
        (stranger.to_string(), note.clone()),
        (key.to_string(), forged),
        (key.to_string(), newest.note.clone()),
        ("no key".into(), note.clone()),
        (key.to_string(), "no note".into()),
    ] {
        assert_eq!(post(key, note).await, StatusCode::BAD_REQUEST);
    }
    assert_eq!(house.authority.store.witnesses().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_log_is_the_gateways_alone() {
    let house = House::start().await;
    signed(&house, 1).await;
    for path in
        ["/log/checkpoint", "/log/update?old=0", "/log/proof?sequence=1", "/log/tile/0/000.p/1"]
    {
        let response = get(&house.stranger(), house.clients(path)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let unknown = get(&house.gateway("other"), house.gateways(path)).await;
        assert_eq!(unknown.status(), StatusCode::FORBIDDEN, "{path}");
    }
}
