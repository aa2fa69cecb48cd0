//! FIDO metadata in the authority: from a signed BLOB to keys that are refused, by the store, the
//! command line, and the task that looks for new ones.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the rows.
mod rows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use signet_authority::config::Config;
use signet_authority::metadata::{Fetched, Judging, Source, SourceError, TakeError, Trusted, take};
use signet_authority::state::{Authority, system_clock};
use signet_authority::store::{
    Authorisation, CommitError, Event, ImportError, IntegrityKey, SessionKind, SqlStore, Store,
    StoreError, StoredMetadata,
};
use signet_evidence::RejectionCode;
use signet_evidence::webauthn::Aaguid;
use signet_verifier::metadata::{BlobError, JwsError, Metadata, Rollback};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use zeroize::Zeroizing;

use rows::{NOW, allowed, enrol_device, enrol_key, session_record};

const PROGRAM: &str = env!("CARGO_BIN_EXE_signet-authority");
/// The model of the keys in `rows`.
const MODEL: Aaguid = Aaguid([3; 16]);

/// Somebody who publishes metadata under the service's own name.
struct Publisher {
    root: String,
    certificate: CertificateDer<'static>,
    pkcs8: Vec<u8>,
}

impl Publisher {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let certified = KeyPair::try_from(pkcs8.as_ref()).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        let certificate = params.signed_by(&certified, &issuer).unwrap().der().clone();
        Self { root, certificate, pkcs8: pkcs8.as_ref().to_vec() }
    }

    fn blob(&self, number: u64, reports: Value) -> Vec<u8> {
        let header = json!({ "alg": "ES256", "x5c": [STANDARD.encode(&self.certificate)] });
        let payload = json!({
            "no": number,
            "nextUpdate": "2099-01-01",
            "entries": [{
                "aaguid": MODEL.to_string(),
                "statusReports": reports,
                "metadataStatement": {
                    "description": "Blue key",
                    "userVerificationDetails":
                        [[{ "userVerificationMethod": "passcode_external" }]],
                },
            }],
        });
        let parts = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = parts.join(".");
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).unwrap();
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()
    }
}

fn revoked() -> Value {
    json!([{ "status": "REVOKED", "effectiveDate": "2025-01-01" }])
}

fn certified_again() -> Value {
    json!([
        { "status": "REVOKED", "effectiveDate": "2025-01-01" },
        { "status": "FIDO_CERTIFIED_L1", "effectiveDate": "2025-06-01" },
    ])
}

/// What a believed BLOB says, without one.
fn stored(number: u64, reports: Value) -> StoredMetadata {
    let metadata: Metadata = serde_json::from_value(json!({
        "number": number,
        "next_update": 0,
        "models": [{
            "identity": { "aaguid": MODEL.0 },
            "description": "Blue key",
            "firmware": null,
            "verification": "pin-only",
            "key_protection": [],
            "matcher_protection": [],
            "attestation_types": [],
            "cred_protect": false,
            "roots": [],
            "reports": reports,
        }],
    }))
    .unwrap();
    StoredMetadata { digest: [number as u8; 32], metadata, imported_at: NOW }
}

async fn new_store(folder: &Path) -> SqlStore {
    let integrity = IntegrityKey::new(&Zeroizing::new([7; 32]));
    SqlStore::create(&folder.join("authority.db"), integrity).await.unwrap()
}

#[tokio::test]
async fn an_import_refuses_enrolled_keys_and_a_later_one_lifts_that() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path()).await;
    let device = enrol_device(&store, 1).await;
    let key = enrol_key(&store, &device, b"key", Authorisation::Grant).await.unwrap();
    let mut record = session_record(&store, &device, SessionKind::Person).await;
    let signet_authority::store::SessionChange::Start(row) = &mut record.session else { panic!() };
    row.credential = Some(key.id.clone());
    let session = row.id;
    store.mint(&record, &allowed(Event::TokenSession)).await.unwrap();

    let bad = stored(5, json!([{ "status": "REVOKED", "effective": 0 }]));
    let imported = store.import_metadata(&bad, &allowed(Event::Metadata)).await.unwrap();
    let [mark] = &imported.marked[..] else { panic!("{imported:?}") };
    assert_eq!((&mark.credential, mark.reported.as_deref()), (&key.id, Some("REVOKED")));
    assert_eq!(imported.revocations.len(), 1, "the session that the key proved");
    assert!(store.session(session).await.unwrap().unwrap().ended);
    let row = store.credential(b"key").await.unwrap().unwrap();
    assert_eq!((row.reported.as_deref(), row.revoked), (Some("REVOKED"), false));
    // What was judged before the import came.
    let mut late = session_record(&store, &device, SessionKind::Person).await;
    late.credential = Some((key.id.clone(), 9));
    let outcome = store.mint(&late, &allowed(Event::TokenSession)).await;
    let Err(CommitError::Rejected(code)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(code, RejectionCode::AuthenticatorStatus);
    let second = enrol_key(
        &store,
        &device,
        b"second",
        Authorisation::Credential { id: key.id.clone(), sign_count: 9 },
    );
    let Err(CommitError::Rejected(code)) = second.await else { panic!() };
    assert_eq!(code, RejectionCode::AuthenticatorStatus);

    // The same again changes nothing; a certification of a later day lifts the mark.
    let again = store.import_metadata(&bad, &allowed(Event::Metadata)).await.unwrap();
    assert!(again.marked.is_empty() && again.revocations.is_empty());
    let good = stored(
        6,
        json!([
            { "status": "REVOKED", "effective": 0 },
            { "status": { "CERTIFIED": "FIDO_CERTIFIED_L1" }, "effective": 86400 },
        ]),
    );
    let lifted = store.import_metadata(&good, &allowed(Event::Metadata)).await.unwrap();
    assert_eq!(lifted.marked[0].reported, None);
    assert_eq!(store.credential(b"key").await.unwrap().unwrap().reported, None);
    let records = store.audit_after(0, 100).await.unwrap();
    let marks: Vec<_> = records
        .iter()
        .filter(|record| record.event == "key-status")
        .map(|record| (record.decision.as_str(), record.code.as_deref(), record.detail.as_str()))
        .collect();
    assert_eq!(
        marks,
        [
            ("refused", Some("authenticator-status"), "metadata reports REVOKED of its model"),
            ("allowed", None, "metadata no longer holds REVOKED against its model"),
        ]
    );
}

#[tokio::test]
async fn older_or_changed_metadata_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path()).await;
    assert_eq!(store.metadata().await.unwrap(), None);
    let newest = stored(5, json!([]));
    store.import_metadata(&newest, &allowed(Event::Metadata)).await.unwrap();
    let older = store.import_metadata(&stored(4, json!([])), &allowed(Event::Metadata)).await;
    let Err(ImportError::Rollback(rollback)) = older else { panic!("{older:?}") };
    assert_eq!(rollback, Rollback { current: 5, offered: 4 });
    assert_eq!(store.metadata().await.unwrap(), Some(newest));
    assert_eq!(store.metadata_digest().await.unwrap(), Some([5; 32]));
    store.close().await;
    let path = folder.path().join("authority.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    let query = "UPDATE metadata SET content = replace(content, 'Blue', 'Good')";
    sqlx::query(query).execute(&mut connection).await.unwrap();
    let integrity = IntegrityKey::new(&Zeroizing::new([7; 32]));
    let store = SqlStore::open(&path, integrity).await.unwrap();
    let read = store.metadata().await;
    assert!(matches!(read, Err(StoreError::Corrupt { table: "metadata" })), "{read:?}");
}

/// A directory that `init` made, with `[metadata]` in its settings.
struct House {
    folder: tempfile::TempDir,
    publisher: Publisher,
}

impl House {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let publisher = Publisher::new("mds.fidoalliance.org");
        let house = Self { folder, publisher };
        let output = Command::new(PROGRAM)
            .args(["init", "--operator", "alice", "--listen", "127.0.0.1:0"])
            .args(["--gateway-listen", "127.0.0.1:0", "--issuer", "https://localhost", "--dir"])
            .arg(house.dir())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(house.dir().join("metadata-roots.pem"), &house.publisher.root).unwrap();
        let settings = house.dir().join("authority.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let more = format!("\n[metadata]\nroots = \"metadata-roots.pem\"\n{more}");
        std::fs::write(&settings, text + &more).unwrap();
        house
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    fn config(&self) -> Config {
        Config::load(&self.dir().join("authority.toml")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.dir().join("authority.toml");
        Command::new(PROGRAM).args(arguments).arg("--config").arg(config).output().unwrap()
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn write(&self, name: &str, blob: &[u8]) -> String {
        let path = self.dir().join(name);
        std::fs::write(&path, blob).unwrap();
        path.display().to_string()
    }
}

#[test]
fn the_command_line_imports_shows_and_refuses() {
    let house = House::new("");
    let empty = house.run(&["metadata", "status"]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("metadata import FILE"));
    let first = house.write("first.jwt", &house.publisher.blob(5, revoked()));
    let imported = &house.lines(&["metadata", "import", &first])[0];
    assert_eq!((&imported["number"], &imported["models"]), (&json!(5), &json!(1)));
    let status = &house.lines(&["metadata", "status"])[0];
    assert_eq!((&status["number"], &status["stale"]), (&json!(5), &json!(false)));
    assert_eq!(status["refused"][0]["aaguid"], MODEL.to_string());
    let shown = &house.lines(&["metadata", "show", &MODEL.to_string()])[0];
    assert_eq!(shown["description"], "Blue key");
    assert_eq!((&shown["status"], &shown["user_verification"]), (&json!("REVOKED"), &json!("pin")));
    assert_eq!(house.lines(&["metadata", "show"]).len(), 1);
    let text = String::from_utf8(house.run(&["metadata", "show", &MODEL.to_string()]).stdout);
    assert!(text.unwrap().contains("2025-01-01 REVOKED"));
    let second = house.write("second.jwt", &house.publisher.blob(6, certified_again()));
    house.lines(&["metadata", "import", &second]);
    assert_eq!(house.lines(&["metadata", "show"])[0]["status"], "ok");

    let stranger = Publisher::new("mds.fidoalliance.org").blob(7, json!([]));
    let neighbour = Publisher::new("www.mesh.example").blob(7, json!([]));
    for (blob, expected) in [
        (house.publisher.blob(4, json!([])), "number 4 is older than number 6"),
        (stranger, "does not lead to a configured root"),
        (neighbour, "does not lead to a configured root"),
        (b"not a blob".to_vec(), "not a compact JWS"),
    ] {
        let file = house.write("bad.jwt", &blob);
        let output = house.run(&["metadata", "import", &file]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(expected), "{errors}");
    }
    assert_eq!(house.lines(&["metadata", "status"])[0]["number"], 6);
    let records = house.lines(&["audit", "list"]);
    let imports = records.iter().filter(|record| record["event"] == "metadata").count();
    assert_eq!(imports, 2);
}

#[tokio::test]
async fn every_node_goes_by_what_another_imported() {
    let house = House::new("");
    let authority = Authority::start(house.config(), system_clock()).await.unwrap();
    let policy = || authority.judging.policy(authority.store.as_ref());
    assert!(policy().await.unwrap().registration.metadata().is_none());
    let file = house.write("blob.jwt", &house.publisher.blob(5, revoked()));
    house.lines(&["metadata", "import", &file]);
    let known = policy().await.unwrap();
    assert_eq!(known.registration.metadata().map(Metadata::number), Some(5));
    // Nothing new, nothing read again.
    assert!(Arc::ptr_eq(&known, &policy().await.unwrap()));
    // What only the store knows is not lost with a node's memory.
    let other = Judging::new(authority.appraisal.clone());
    let other = other.policy(authority.store.as_ref()).await.unwrap();
    assert_eq!(other.registration.metadata().map(Metadata::number), Some(5));
}

#[tokio::test]
async fn a_blob_is_taken_only_from_who_may_sign() {
    let house = House::new("");
    let authority = Authority::start(house.config(), system_clock()).await.unwrap();
    let trusted = Trusted::load(&house.config()).unwrap();
    let store = authority.store.as_ref();
    let now = authority.now();
    let mut tampered = house.publisher.blob(5, json!([]));
    let last = tampered.len() - 10;
    tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
    let refused = take(store, &trusted, &tampered, "test", now).await;
    let Err(TakeError::Blob(BlobError::Jws(JwsError::SignatureInvalid))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(store.metadata_digest().await.unwrap(), None);
    let unconfigured = House::new("");
    let settings = unconfigured.dir().join("authority.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.split("\n[metadata]").next().unwrap()).unwrap();
    let refused = Trusted::load(&unconfigured.config());
    assert!(matches!(refused, Err(TakeError::NotConfigured)), "{refused:?}");
}

/// Serves one BLOB over HTTPS, with an entity tag; counts what it sent whole.
async fn serve(publisher: &Publisher, blob: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let key = PrivateKeyDer::Pkcs8(publisher.pkcs8.clone().into());
    let tls = rustls::ServerConfig::builder_with_provider(signet_authority::tls::provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![publisher.certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            let mut buffer = [0; 1024];
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let answer = if request.starts_with("get /moved") {
                b"HTTP/1.1 302 Found\r\nlocation: http://localhost/\r\ncontent-length: 0\r\n\r\n"
                    .to_vec()
            } else if request.starts_with("get /missing") {
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()
            } else if request.contains("if-none-match: \"one\"") {
                b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_vec()
            } else {
                count.fetch_add(1, Ordering::SeqCst);
                let head = format!(
                    "HTTP/1.1 200 OK\r\netag: \"one\"\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    blob.len()
                );
                [head.as_bytes(), &blob].concat()
            };
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, sent)
}

#[tokio::test]
async fn a_url_is_fetched_whole_once_and_only_over_trusted_https() {
    let server = Publisher::new("localhost");
    let (port, sent) = serve(&server, b"a blob".to_vec()).await;
    let source = |path: &str| {
        let more = format!("url = \"https://localhost:{port}{path}\"\nurl_roots = \"web.pem\"\n");
        let house = House::new(&more);
        std::fs::write(house.dir().join("web.pem"), &server.root).unwrap();
        Source::of(&house.config()).unwrap().unwrap()
    };
    let mut good = source("/blob");
    assert_eq!(good.look().await.unwrap(), Fetched::Blob(b"a blob".to_vec()));
    assert_eq!(good.look().await.unwrap(), Fetched::Unchanged);
    good.forget();
    assert_eq!(good.look().await.unwrap(), Fetched::Blob(b"a blob".to_vec()));
    assert_eq!(sent.load(Ordering::SeqCst), 2);
    let missing = source("/missing").look().await;
    assert!(matches!(missing, Err(SourceError::Status(status)) if status.as_u16() == 404));
    // Not even a redirection leads out of https.
    let moved = source("/moved").look().await;
    assert!(matches!(moved, Err(SourceError::Fetch(_))), "{moved:?}");
    let more = format!("url = \"https://localhost:{port}/\"\nurl_roots = \"metadata-roots.pem\"\n");
    let untrusted = Source::of(&House::new(&more).config()).unwrap().unwrap().look().await;
    assert!(matches!(untrusted, Err(SourceError::Fetch(_))), "{untrusted:?}");
}

#[tokio::test]
async fn a_serving_authority_takes_what_the_file_holds() {
    let house = House::new("file = \"blob.jwt\"\n");
    house.write("blob.jwt", &house.publisher.blob(5, revoked()));
    let authority = Authority::start(house.config(), system_clock()).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let looking = tokio::spawn(signet_authority::metadata::keep_fresh(authority.clone(), stopped));
    let rendered = || authority.metrics.render(0, 0);
    while !rendered().contains("signet_metadata_looks_total{outcome=\"ok\"} 1") {
        assert!(rendered().contains("outcome=\"failed\"} 0"), "{}", rendered());
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    looking.await.unwrap();
    let stored = authority.store.metadata().await.unwrap().unwrap();
    assert_eq!(stored.metadata.number(), 5);
    assert!(rendered().contains("signet_metadata_stale 0"));
    // A bad file changes nothing, and is counted.
    house.write("blob.jwt", b"nothing of use");
    let (stop, stopped) = watch::channel(false);
    let looking = tokio::spawn(signet_authority::metadata::keep_fresh(authority.clone(), stopped));
    while !rendered().contains("signet_metadata_looks_total{outcome=\"failed\"} 1") {
        tokio::task::yield_now().await;
    }
    stop.send(true).unwrap();
    looking.await.unwrap();
    assert_eq!(authority.store.metadata().await.unwrap().unwrap(), stored);
}
