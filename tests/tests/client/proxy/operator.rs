//! `--as-operator`: gateways see the operator's certificate, each request has the token that it came with, and
//! the TPM still signs for connections and not for requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use signet_tests::house::House;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{PRODUCTION, Proxy, STAGING, by_socket, counted, curled, watched};
use crate::gateway::logged_in;

/// A gateway of TLS with client certificates, which tells whom it saw: `METHOD connection name`, and
/// `gone connection` where the proxy ended one. On its first connection it wants each PUT approved, and fresh
/// presence for each POST.
struct Mesh {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<String>,
    _task: JoinSet<()>,
}

impl Mesh {
    async fn start(house: &House) -> Self {
        let acceptor = TlsAcceptor::from(mutual_tls(house));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut serving = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let stream = acceptor.accept(stream).await.unwrap();
                serving.spawn(serve(stream, number, tell.clone()));
            }
        });
        Self { address, heard, _task: task }
    }

    async fn next(&mut self) -> String {
        self.heard.recv().await.unwrap()
    }
}

fn mutual_tls(house: &House) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(house.authority.device_ca()).unwrap()).unwrap();
    let roots = Arc::new(roots);
    let clients =
        WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    let certificate = CertificateDer::from_pem_file(&house.mesh.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&house.mesh.key).unwrap();
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(tls)
}

async fn serve(mut stream: TlsStream<TcpStream>, number: u32, tell: mpsc::UnboundedSender<String>) {
    let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let name = spiffe_path(&leaf);
    while let Some(head) = head(&mut stream).await {
        let method = head.split(' ').next().unwrap();
        tell.send(format!("{method} {number} {name}")).unwrap();
        let answer = match (method, number) {
            ("PUT", 0) => demand("max_age=0, scope=\"mesh.route.update\""),
            ("POST", 0) => demand("max_age=60"),
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    let _ = tell.send(format!("gone {number}"));
}

fn demand(what: &str) -> String {
    format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nwww-authenticate: Bearer \
         error=\"insufficient_user_authentication\", {what}\r\n\r\n"
    )
}

/// The head of a request without a body; `None` at the connection's end.
async fn head(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// What stands after the trust domain in a certificate's SPIFFE ID.
fn spiffe_path(der: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { panic!("{names:?}") };
    let (_, path) = uri.strip_prefix("spiffe://").unwrap().split_once('/').unwrap();
    path.to_owned()
}

/// Writes settings by which the proxy goes to `gateway`, as the operator.
fn configure(house: &House, gateway: SocketAddr) {
    let folder = house.alice.file("config/signet");
    std::fs::create_dir_all(&folder).unwrap();
    let to = format!("https://localhost:{}", gateway.port());
    let ca = &house.mesh.ca;
    let settings = format!("gateway_ca = {ca:?}\nproxy_to = [{to:?}]\nproxy_as_operator = true\n");
    std::fs::write(folder.join("client.toml"), settings).unwrap();
}

/// Makes the renewal of the token that was got last due.
fn make_due(house: &House) {
    let file = house.alice.file("run/signet/session.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(record["renew_at"].is_u64(), "{record}");
    record["renew_at"] = 0.into();
    std::fs::write(&file, record.to_string()).unwrap();
}

/// The tokens given after a record: what for, and whether for a certificate of the operator.
fn given(house: &House, after: i64) -> Vec<(String, bool)> {
    let records = house.authority.audit_after(after).unwrap();
    let tokens = records.into_iter().filter(|record| record.event.starts_with("token-"));
    tokens.map(|record| (record.event, record.detail.ends_with(" of operator alice"))).collect()
}

fn tokens(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    expected.iter().map(|(event, operator)| ((*event).to_owned(), *operator)).collect()
}

fn last(house: &House) -> i64 {
    house.authority.audit().unwrap().last().unwrap().sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_takes_the_operators_certificate_and_the_tpm_signs_once_for_each() {
    let (house, wire) = watched().await;
    let begin = last(&house);
    let proxy = Proxy::start(&house, &["--as-operator"]).await;
    assert_eq!(proxy.ready["as_operator"], true);
    let many = (0..6).map(|_| by_socket(&house, STAGING, &[]));
    for got in futures_util::future::join_all(many).await {
        assert_eq!(got.status, 200, "{got:?}");
    }
    assert_eq!(given(&house, begin), tokens(&[("token-renew", true)]));
    let signatures = counted(&wire);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(by_socket(&house, STAGING, &[version]).await.status, 200);
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 0);

    // A proxy of the machine beside it: each keeps its token, whoever asks in between.
    let other = house.alice.file("machine.sock").display().to_string();
    let (ca, to, listen) =
        (house.mesh.ca.display().to_string(), house.url(""), format!("unix:{other}"));
    let arguments = ["--to", &to, "--cacert", &ca, "--listen", &listen];
    let machine = Proxy::start_at(&house.alice, &arguments).await;
    assert_eq!(machine.ready["as_operator"], false);
    let url = format!("http://localhost{STAGING}");
    for _ in 0..3 {
        let got = curled(&["--unix-socket", &other, &url]).await;
        assert_eq!(got.status, 200, "{got:?}");
        let got = by_socket(&house, STAGING, &[]).await;
        assert_eq!(got.status, 200, "{got:?}");
    }
    assert_eq!(given(&house, begin), tokens(&[("token-renew", true)]));
    // One for the machine's connection, and none for the operator's.
    assert_eq!(signatures.load(Ordering::SeqCst), 1);

    // A touch for a request: its token has a certificate of its own, and so has the next renewal's.
    house.alice.put_finger().unwrap();
    let put = ["-X", "PUT", "--data", "{\"weight\": 10}"];
    let got = by_socket(&house, PRODUCTION, &put).await;
    assert_eq!(got.status, 200, "{got:?}");
    make_due(&house);
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    let expected = [("token-renew", true), ("token-action", true), ("token-renew", true)];
    assert_eq!(given(&house, begin), tokens(&expected));
    let after = signatures.load(Ordering::SeqCst);
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    assert_eq!(signatures.load(Ordering::SeqCst), after);

    // Logging out ends both tokens.
    let out = house.alice.signet(&["logout"]).await.unwrap();
    assert_eq!(out.code, Some(0), "{out:?}");
    let records = house.authority.audit_after(begin).unwrap();
    let revoked = records.iter().filter(|record| record.event.contains("revoke"));
    assert_eq!(revoked.count(), 2, "{records:?}");
    assert_eq!(by_socket(&house, STAGING, &[]).await.code(), (401, "not-logged-in".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_certificate_has_connections_of_its_own() {
    let house = logged_in().await;
    let mut mesh = Mesh::start(&house).await;
    configure(&house, mesh.address);
    let _proxy = Proxy::start_at(&house.alice, &[]).await;
    for _ in 0..2 {
        assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
        assert_eq!(mesh.next().await, "GET 0 operator/alice");
    }
    // An approval's token serves one request, and its connection too.
    house.alice.put_finger().unwrap();
    assert_eq!(by_socket(&house, STAGING, &["-X", "PUT"]).await.status, 200);
    for expected in ["PUT 0 operator/alice", "PUT 1 operator/alice", "gone 1"] {
        assert_eq!(mesh.next().await, expected);
    }
    // Presence in the session brings its token a certificate, which later requests show too.
    house.alice.put_finger().unwrap();
    assert_eq!(by_socket(&house, STAGING, &["-X", "POST"]).await.status, 200);
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    for expected in ["POST 0 operator/alice", "POST 2 operator/alice", "GET 2 operator/alice"] {
        assert_eq!(mesh.next().await, expected);
    }
    // So does each renewal; for connections of the certificate before the last nobody asks any more.
    for (number, gone) in [(3, 0), (4, 2)] {
        make_due(&house);
        assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
        let mut heard = [mesh.next().await, mesh.next().await];
        heard.sort();
        assert_eq!(heard, [format!("GET {number} operator/alice"), format!("gone {gone}")]);
        assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
        assert_eq!(mesh.next().await, format!("GET {number} operator/alice"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_with_its_certificate() {
    let mut house = logged_in().await;
    house.authority.set("session_token", "\"25s\"").unwrap();
    house.authority.serve().unwrap();
    let mut mesh = Mesh::start(&house).await;
    configure(&house, mesh.address);
    let _proxy = Proxy::start_at(&house.alice, &[]).await;
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    assert_eq!(mesh.next().await, "GET 0 operator/alice");
    // Nobody asks for anything: it is over by itself.
    assert_eq!(mesh.next().await, "gone 0");
}
