//! Every answer of the proxy's own, as curl gets it, as a browser shows it, and what it says to do next.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use signet_tests::faulty_tpm::Fate;
use signet_tests::house::House;
use signet_tests::reserved::Reserved;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::broken::{APPROVE, Gateway, PRESENCE};
use super::{
    Got, PRODUCTION, Proxy, SIGN, STAGING, by_socket, curled, desktop, gateway_tls, socket, watched,
};
use crate::gateway::logged_in;

/// A browser's, for a page.
const BROWSER: [&str; 2] = ["--header", "accept: text/html,application/xhtml+xml,*/*;q=0.8"];

/// An answer that is expected: status, code, error type (RFC 9209 §2.3), and words of what is wrong or to do.
type Expected<'a> = (u16, &'a str, &'a str, &'a str);

const DENIED: &str = "http_request_denied";

fn header<'a>(got: &'a Got, name: &str) -> Option<&'a str> {
    let mut lines = got.head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn is_the_proxys(got: &Got, (status, code, kind, _): Expected) {
    assert_eq!(got.status, status, "{got:?}");
    let told = format!("signet; error={kind}; details=\"{code}\"");
    assert_eq!(header(got, "proxy-status"), Some(told.as_str()), "{got:?}");
    assert_eq!(header(got, "cache-control"), Some("no-store"), "{got:?}");
}

/// What a user of curl reads.
fn problem(got: &Got, expected: Expected) {
    let (status, code, _, says) = expected;
    is_the_proxys(got, expected);
    assert_eq!(header(got, "content-type"), Some("application/problem+json"), "{got:?}");
    let problem = got.json();
    let members: BTreeSet<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["code", "detail", "status", "title", "type"]), "{got:?}");
    assert_eq!(problem["type"], format!("urn:signet:proxy:{code}"));
    assert_eq!(problem["title"], "signet proxy did not pass the request on");
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(says), "{code}: {detail}");
    assert!(!detail.contains('\n') && detail.len() < 600, "{code}: {detail}");
    eprintln!("{status} {code}: {detail}");
}

/// What a person in front of a browser reads.
fn page(got: &Got, expected: Expected) {
    let (_, code, _, says) = expected;
    is_the_proxys(got, expected);
    assert_eq!(header(got, "content-type"), Some("text/html; charset=utf-8"), "{got:?}");
    let policy = header(got, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{got:?}");
    assert!(got.body.contains("<h1>signet proxy did not pass the request on</h1>"), "{got:?}");
    assert!(got.body.contains(&format!("<code>{code}</code>")), "{got:?}");
    let shown = got.body.replace("<code>", "`").replace("</code>", "`").replace("&quot;", "\"");
    assert!(shown.replace("&#39;", "'").contains(says), "{code}: {}", got.body);
}

/// Both, of the same request.
async fn told(arguments: &[&str], expected: Expected<'_>) {
    problem(&curled(arguments).await, expected);
    page(&curled(&[arguments, &BROWSER].concat()).await, expected);
}

/// The same of a request for a route, through the socket.
async fn told_by_socket(house: &House, more: &[&str], expected: Expected<'_>) {
    let (socket, url) = (socket(house).display().to_string(), format!("http://localhost{STAGING}"));
    told(&[&["--unix-socket", &socket, &url], more].concat(), expected).await;
}

/// Sends these bytes, and reads the one answer.
async fn raw(house: &House, pieces: &[&str]) -> Got {
    let mut stream = UnixStream::connect(socket(house)).await.unwrap();
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.ends_with("}\n")
        {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return Got { status, head: head.to_owned(), body: body.to_owned() };
        }
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "{text}");
        answer.extend_from_slice(&piece[..length]);
    }
}

/// Sets members of the session on disk: a test does not wait for time to pass.
fn set_session(house: &House, members: &[&str]) {
    let file = house.alice.file("run/signet/session.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for member in members {
        assert!(record[*member].is_u64(), "{record}");
        record[*member] = 0.into();
    }
    std::fs::write(&file, record.to_string()).unwrap();
}

#[test]
fn each_answer_of_the_document_is_shown_here() {
    let text = include_str!("../../../../docs/proxy.md");
    let (_, table) = text.split_once("| status | `code` | what happened |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let codes = rows.flat_map(|row| {
        let cell = row.split('|').nth(2).unwrap();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    });
    let codes: Vec<String> = codes.collect();
    assert!(codes.len() > 25, "{codes:?}");
    // Nothing that a tool sends brings this one about: `refusal.rs` has its test.
    for code in codes.iter().filter(|code| *code != "ending") {
        let literals = [format!("\"{code}\""), format!("\"{code}\\\"")];
        let shown = literals.iter().any(|text| include_str!("answers.rs").contains(text));
        assert!(shown, "{code} is in the document and in no test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_did_wrong() {
    let house = logged_in().await;
    let places = ["--listen", "127.0.0.1:0", "--listen", "unix"];
    let proxy = Proxy::start(&house, &places).await;
    let (address, secret) = (proxy.address(), proxy.secret());
    let here = format!("http://{address}{STAGING}");
    let there = format!("http://localhost{STAGING}");
    let nobodys = format!("http://{address}");
    let as_proxy = format!("http://signet:{secret}@{address}");
    let in_path = format!("http://{address}/~{secret}{STAGING}");
    let nothing = format!("http://{address}/~{secret}/.signet/else");
    let cases: [(&[&str], Expected); 9] = [
        (
            &[&here],
            (
                401,
                "secret",
                DENIED,
                "the secret of its user, from the file that `signet proxy` named",
            ),
        ),
        (&["--proxy", &nobodys, &there], (407, "secret", DENIED, "as the proxy's password")),
        (
            &["--proxy", &as_proxy, "http://evil.example/"],
            (403, "not-a-target", "destination_not_found", "start `signet proxy` with --to for it"),
        ),
        (
            &["--proxy", &as_proxy, &there, "--header", "origin: http://evil.example"],
            (403, "cross-site", DENIED, "type the address, or open it from a bookmark"),
        ),
        (
            &[&in_path, "--header", "sec-fetch-site: none"],
            (403, "browser-path", DENIED, "use the PAC file"),
        ),
        (
            &["--proxy", &as_proxy, &there, "--header", "authorization: Bearer mine"],
            (400, "authorization-sent", DENIED, "send none"),
        ),
        (&[&nothing], (404, "nothing-here", DENIED, "the PAC file is /.signet/proxy.pac")),
        (
            &["--proxy", &as_proxy, &there, "--request", "TRACE"],
            (405, "trace", DENIED, "it does not pass"),
        ),
        (
            &["--proxy", &as_proxy, &there, "--header", "host: elsewhere"],
            (400, "malformed", "http_request_error", "name different hosts"),
        ),
    ];
    for (arguments, expected) in cases {
        told(arguments, expected).await;
    }
    // Who is asked for a password is told how.
    let basic = Some("Basic realm=\"signet proxy: any name, the secret as password\"");
    assert_eq!(header(&curled(&[&here]).await, "www-authenticate"), basic);
    let got = curled(&["--proxy", &nobodys, &there]).await;
    assert_eq!(header(&got, "proxy-authenticate"), basic);
    assert_eq!(house.upstream.received(), []);
    // Inside https too, once the tool trusts the CA; where none can be made, the file is named.
    let state = house.alice.file("state");
    let _ = std::fs::remove_dir_all(&state);
    std::fs::write(&state, "a file").unwrap();
    let url = house.url(STAGING);
    let output = super::curl(&["--proxy", &as_proxy, &url]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    assert!(said.contains("error=proxy_internal_error; details=\"local-ca\""), "{said}");
    // Two gateways, and a name for neither.
    let two = house.alice.file("two.sock").display().to_string();
    let (listen, url) = (format!("unix:{two}"), house.url(""));
    let arguments = ["--to", &url, "--to", "https://other.example", "--listen", &listen];
    let _two = Proxy::start_at(&house.alice, &arguments).await;
    let expected = (421, "which-target", "destination_not_found", "name one by its host");
    told(&["--unix-socket", &two, "http://localhost/"], expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_session_lacks() {
    let mut house = logged_in().await;
    let _proxy = Proxy::start(&house, &[]).await;
    // A token that has run out, and nobody who could renew it.
    set_session(&house, &["expires", "renew_at"]);
    house.authority.kill();
    told_by_socket(&house, &[], (503, "unavailable", DENIED, "cannot reach")).await;
    house.authority.serve().unwrap();
    // A session that somebody ended.
    let file = house.alice.file("run/signet/session.json");
    let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    house.authority.revoke("session", record["session"].as_str().unwrap()).unwrap();
    let got = by_socket(&house, STAGING, &[]).await;
    problem(&got, (403, "session-ended", DENIED, "log in again"));
    // Then there is none.
    let expected = (401, "not-logged-in", DENIED, "run `signet login`");
    told_by_socket(&house, &[], expected).await;
    let challenge = "Bearer realm=\"signet\", error=\"invalid_token\"";
    let got = by_socket(&house, STAGING, &[]).await;
    assert_eq!(header(&got, "www-authenticate"), Some(challenge));
    house.alice.put_finger().unwrap();
    assert_eq!(house.alice.signet(&["login"]).await.unwrap().code, Some(0));
    set_session(&house, &["expires", "presence_expires"]);
    let expected = (401, "presence-over", DENIED, "run `signet login` and touch your key");
    told_by_socket(&house, &[], expected).await;
    assert_eq!(house.upstream.received(), []);
}

/// TLS as a gateway that trusts machines of another CA.
fn strict(house: &House) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&house.mesh.ca).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let certificate = CertificateDer::from_pem_file(&house.mesh.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&house.mesh.key).unwrap();
    let tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate], key);
    Arc::new(tls.unwrap())
}

/// Shakes hands, and says nothing.
struct Mute {
    address: SocketAddr,
    held: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

async fn mute(tls: Arc<ServerConfig>) -> Mute {
    let held = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&held);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let (acceptor, mut held) = (TlsAcceptor::from(tls), Vec::new());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                held.push(stream);
                counter.store(held.len(), Ordering::SeqCst);
            }
        }
    });
    Mute { address, held, _task: task }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_did() {
    let house = logged_in().await;
    // A CA that nobody told of.
    let proxy = Proxy::start_at(&house.alice, &["--to", &house.url("")]).await;
    let expected = (502, "gateway-untrusted", "tls_certificate_error", "with its CA in --cacert");
    told_by_socket(&house, &[], expected).await;
    drop(proxy);
    // Nobody there.
    let nowhere = Reserved::take().unwrap();
    let proxy = Proxy::to(&house, nowhere.address()).await;
    let unreachable = "destination_unavailable";
    let expected = (502, "gateway-unreachable", unreachable, "check the URL and the network");
    told_by_socket(&house, &[], expected).await;
    drop(proxy);
    // Somebody who breaks off in the middle.
    let gateway = Gateway::start(&house, b"");
    let proxy = gateway.proxy(&house).await;
    let put = ["-X", "PUT", "--data", "x"];
    let failed =
        (502, "gateway-failed", "connection_terminated", "look whether it was done before");
    told_by_socket(&house, &put, failed).await;
    drop(proxy);
    // Who takes machines of another CA only.
    let other_ca = mute(strict(&house)).await;
    let proxy = Proxy::to(&house, other_ca.address).await;
    let expected = (502, "gateway-broke-off", "tls_alert_received", "see `signet status`");
    told_by_socket(&house, &[], expected).await;
    drop(proxy);
    // Who speaks HTTP/2 and nothing else, to a websocket.
    let mut only_h2 = ServerConfig::clone(&gateway_tls(&house));
    only_h2.alpn_protocols = vec![b"h2".to_vec()];
    let only_h2 = mute(only_h2.into()).await;
    let _proxy = Proxy::to(&house, only_h2.address).await;
    let websocket = ["--header", "connection: upgrade", "--header", "upgrade: websocket"];
    let expected = (502, "gateway-http2-only", "tls_protocol_error", "no websockets");
    told_by_socket(&house, &websocket, expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_waited_for_in_vain() {
    let house = logged_in().await;
    // A queue that is full: the kernel answers nobody any more.
    let listener = TcpSocket::new_v4().unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    let proxy = Proxy::to(&house, address).await;
    let got = by_socket(&house, STAGING, &[]).await;
    problem(
        &got,
        (504, "gateway-silent", "connection_timeout", "check the network, or ask who runs it"),
    );
    drop(proxy);
    // As many connections as there may be, in use.
    let gateway = mute(gateway_tls(&house)).await;
    let _proxy = Proxy::to(&house, gateway.address).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = UnixStream::connect(socket(&house)).await.unwrap();
        let head = format!("GET {STAGING} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        held.push(stream);
    }
    while gateway.held.load(Ordering::SeqCst) < 32 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let limit = "connection_limit_reached";
    let got = by_socket(&house, STAGING, &[]).await;
    problem(&got, (503, "busy", limit, "try again when a long request has ended"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tpm_that_does_not_sign() {
    let (house, wire) = watched().await;
    let _proxy = Proxy::start(&house, &[]).await;
    // TPM_RC_FAILURE.
    wire.set_rule(|command| if command.code() == SIGN { Fate::Answer(0x101) } else { Fate::Pass });
    let words = "see `signet doctor`";
    told_by_socket(&house, &[], (503, "key", "proxy_internal_error", words)).await;
    wire.set_rule(|_| Fate::Pass);
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_bodies() {
    let house = logged_in().await;
    let body = house.alice.file("large");
    std::fs::write(&body, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    let body = format!("@{}", body.display());
    let put = ["-X", "PUT", "--data-binary", body.as_str(), "-H", "expect:"];
    let gateway = Gateway::start(&house, APPROVE);
    let proxy = gateway.proxy(&house).await;
    let expected = (413, "too-large", DENIED, "send it with `signet request`");
    told_by_socket(&house, &put, expected).await;
    // A body whose end does not come, and one that ends in the middle of a chunk.
    let head = format!(
        "PUT {STAGING} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"
    );
    let kind = "http_request_error";
    let begun = [head.as_str()];
    let late = raw(&house, &begun);
    let requests = gateway.requests.load(Ordering::SeqCst);
    let broken = async {
        let mut stream = UnixStream::connect(socket(&house)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // The approval of both is due, and the rest of them is read.
        while gateway.requests.load(Ordering::SeqCst) < requests + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stream.write_all(b"lo\r\nno length\r\n").await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    let (late, broken) = tokio::join!(late, broken);
    problem(&late, (408, "body", kind, "send it again"));
    assert!(
        broken.starts_with("HTTP/1.1 400 ") && broken.contains("\"code\":\"body\""),
        "{broken}"
    );
    assert!(broken.contains("broke off: send it again"), "{broken}");
    drop(proxy);
    // One that ends so before the gateway has said anything: nothing is wrong with the gateway.
    for protocol in ["http/1.1", "h2"] {
        let mut tls = ServerConfig::clone(&gateway_tls(&house));
        tls.alpn_protocols = vec![protocol.into()];
        let gateway = mute(tls.into()).await;
        let _proxy = Proxy::to(&house, gateway.address).await;
        let got = raw(&house, &[&head, "lo\r\nno length\r\n"]).await;
        problem(&got, (400, "body", kind, "broke off: send it again"));
    }
    // Presence is proved; only the tool has the request's bytes.
    let gateway = Gateway::start(&house, PRESENCE);
    let _proxy = gateway.proxy(&house).await;
    house.alice.put_finger().unwrap();
    let got = by_socket(&house, STAGING, &put).await;
    problem(&got, (503, "send-again", DENIED, "send it once more"));
    assert_eq!(header(&got, "retry-after"), Some("0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_refuses() {
    let house = logged_in().await;
    let (mut session, _agent) = desktop(&house).await;
    let _proxy = Proxy::start(&house, &[]).await;
    let put = ["-X", "PUT", "--data", "{\"weight\": 10}"];
    let person = async {
        let shown = session.until("inger needed").await;
        session.press(shown.replaces.max(1), "refuse").await;
    };
    let (got, ()) = tokio::join!(by_socket(&house, PRODUCTION, &put), person);
    problem(&got, (403, "presence-not-proved", DENIED, "refused"));
    let got = by_socket(&house, PRODUCTION, &put).await;
    problem(&got, (403, "resting", DENIED, "nothing is asked for 30 s; send it again then"));
    assert_eq!(header(&got, "retry-after"), Some("30"));
}
