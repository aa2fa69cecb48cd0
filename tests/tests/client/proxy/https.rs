//! https inside tunnels: tools that speak nothing else to their server, with the user's own CA.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use signet_tests::house::House;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::streams::{Call, Service, echoed, gateway_of_streams};
use super::{PRODUCTION, Proxy, STAGING, counted, curl, curled, watched};
use crate::gateway::logged_in;

/// The CA of the proxy for this target, as `signet proxy ca` makes and tells it.
pub(super) async fn ca(house: &House, to: &str) -> PathBuf {
    let ran = house.alice.signet(&["--json", "proxy", "ca", "--to", to]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let file =
        ran.json()["cas"][0]["file"].as_str().unwrap_or_else(|| panic!("{ran:?}")).to_owned();
    file.into()
}

pub(super) fn as_proxy(proxy: &Proxy) -> String {
    format!("http://signet:{}@{}", proxy.secret(), proxy.address())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_speaks_https_to_the_gateway_it_means() {
    let (house, wire) = watched().await;
    let proxy = Proxy::start(&house, &["--listen", "127.0.0.1:0"]).await;
    let ca = ca(&house, &house.url("")).await.display().to_string();
    let through = as_proxy(&proxy);
    let signatures = counted(&wire);
    let url = house.url(STAGING);
    for version in ["--http1.1", "--http2"] {
        let got = curled(&["--proxy", &through, "--cacert", &ca, version, &url]).await;
        assert_eq!(got.status, 200, "{got:?}");
        let spoken = if version == "--http2" { "HTTP/2 " } else { "HTTP/1.1 " };
        assert!(got.head.starts_with(spoken), "{got:?}");
        assert_eq!(got.json()["target"], STAGING);
        assert!(!got.json().to_string().contains(&proxy.secret()), "{got:?}");
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 1);
    // A critical request is approved for the URL that the tool meant, and goes through once.
    house.alice.put_finger().unwrap();
    let url = house.url(PRODUCTION);
    let put =
        ["--proxy", &through, "--cacert", &ca, "-X", "PUT", "--data", "{\"weight\": 10}", &url];
    let got = curled(&put).await;
    assert_eq!(got.status, 200, "{got:?}");
    let received = house.upstream.received();
    assert_eq!(received.len(), 3);
    assert_eq!(received[2].header("via"), ["2 signet"]);
    // What the proxy refuses inside is told inside.
    let url = house.url(STAGING);
    let sent = ["--proxy", &through, "--cacert", &ca, &url, "-H", "Authorization: Bearer mine"];
    assert_eq!(curled(&sent).await.code(), (400, "authorization-sent".to_owned()));
    let site = ["--proxy", &through, "--cacert", &ca, &url, "-H", "Sec-Fetch-Site: cross-site"];
    assert_eq!(curled(&site).await.code(), (403, "cross-site".to_owned()));
    // For people: files in PEM that every tool reads, with words between.
    let shown = house.alice.signet(&["proxy", "ca", "--to", &house.url("")]).await.unwrap();
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.starts_with("localhost, until 20"), "{shown:?}");
    let bundle = house.alice.file("bundle.pem");
    std::fs::write(&bundle, &shown.stdout).unwrap();
    let bundle = bundle.display().to_string();
    assert_eq!(curled(&["--proxy", &through, "--cacert", &bundle, &url]).await.status, 200);
    // Somebody who was told no CA trusts none.
    let output = curl(&["--proxy", &through, &url]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(60), "{output:?}");
    assert_eq!(house.upstream.received().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tunnel_leads_anywhere_else() {
    let house = logged_in().await;
    let proxy = Proxy::start(&house, &["--listen", "127.0.0.1:0"]).await;
    let (through, nobodys) = (as_proxy(&proxy), format!("http://{}", proxy.address()));
    let port = house.envoy.address().port();
    let authority = house.authority.url();
    for (via, url, expected) in [
        (&through, "https://localhost/".to_owned(), "403"),
        (&through, format!("https://127.0.0.1:{port}/"), "403"),
        (&through, format!("https://sub.localhost:{port}/"), "403"),
        // A server that is there, and that the machine's key would open.
        (&through, authority, "403"),
        (&nobodys, house.url(STAGING), "407"),
    ] {
        let output = curl(&["--proxy", via, "--insecure", &url]).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(&format!("HTTP/1.1 {expected} ")), "{url}: {said}");
        let code = if expected == "403" { "not-a-target" } else { "secret" };
        assert!(said.contains(&format!("details=\"{code}\"")), "{url}: {said}");
        // curl 7.88 reports a refused CONNECT as a failure to receive (56).
        assert_eq!(output.status.code(), Some(56), "{url}: {output:?}");
    }
    assert_eq!(house.upstream.received(), []);
    // Inside, another host is no host.
    let ca = ca(&house, &house.url("")).await.display().to_string();
    let url = house.url(STAGING);
    for host in ["Host: localhost", "Host: evil.example", "Host: localhost:1"] {
        let asked = ["--proxy", &through, "--cacert", &ca, &url, "--header", host];
        assert_eq!(curled(&asked).await.code(), (400, "malformed".to_owned()), "{host}");
    }
    assert_eq!(house.upstream.received(), []);
    // A proxy that has no place for a CA says so, and opens nothing.
    drop(proxy);
    let state = house.alice.file("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "a file").unwrap();
    let proxy = Proxy::start(&house, &["--listen", "127.0.0.1:0"]).await;
    let output = curl(&["--proxy", &as_proxy(&proxy), &url]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("details=\"local-ca\""), "{said}");
    let arguments = ["--json", "proxy", "ca", "--to", &house.url("")];
    let ran = house.alice.signet(&arguments).await.unwrap();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.error().unwrap().1.starts_with("cannot write "), "{ran:?}");
}

/// Runs openssl, and gives what it said.
async fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = tokio::process::Command::new("openssl");
    let output = command.args(arguments).current_dir(folder).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_ca_key_speaks_for_its_host_alone() {
    let house = House::start().await.unwrap();
    let file = ca(&house, "https://ctl.mesh.example:8443").await;
    let folder = file.parent().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file.with_extension("key")), mode(folder)), (0o600, 0o700));
    // As its thief would: with openssl, which knows nothing of us.
    let (done, said) =
        openssl(folder, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "thief"])
            .await;
    assert!(done, "{said}");
    for (name, expected) in [
        ("DNS:ctl.mesh.example", "thief.pem: OK"),
        ("DNS:bank.example", "permitted subtree violation"),
        ("DNS:mesh.example", "permitted subtree violation"),
        ("IP:127.0.0.1", "excluded subtree violation"),
        ("IP:2001:db8::1", "excluded subtree violation"),
    ] {
        std::fs::write(folder.join("names"), format!("subjectAltName={name}\n")).unwrap();
        let request = ["req", "-new", "-key", "thief", "-subj", "/CN=thief", "-out", "thief.csr"];
        let sign = [
            "x509",
            "-req",
            "-in",
            "thief.csr",
            "-CA",
            "ctl.mesh.example.pem",
            "-CAkey",
            "ctl.mesh.example.key",
            "-CAkeyform",
            "DER",
            "-extfile",
            "names",
            "-out",
            "thief.pem",
        ];
        for step in [&request[..], &sign] {
            let (done, said) = openssl(folder, step).await;
            assert!(done, "{said}");
        }
        let verify = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            "ctl.mesh.example.pem",
            "thief.pem",
        ];
        let (_, said) = openssl(folder, &verify).await;
        assert!(said.contains(expected), "{name}: {said}");
    }
    // Not for persons, nor for programs.
    for purpose in ["sslclient", "smimesign"] {
        let verify =
            ["verify", "-purpose", purpose, "-CAfile", "ctl.mesh.example.pem", "thief.pem"];
        let (_, said) = openssl(folder, &verify).await;
        assert!(
            said.contains("invalid CA certificate")
                || said.contains("unsuitable certificate purpose")
                || said.contains("unsupported certificate purpose"),
            "{purpose}: {said}"
        );
    }
}

/// TLS through the proxy, with this protocol inside.
async fn through(proxy: &Proxy, ca: &Path, to: &str, protocol: &[u8]) -> TlsStream<TcpStream> {
    let name = to.strip_prefix("https://").unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let secret = proxy.secret();
    let request = format!(
        "CONNECT {name} HTTP/1.1\r\nhost: {name}\r\nproxy-authorization: Bearer {secret}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    let host = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(host, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_and_websockets_go_on_inside() {
    let (mut house, wire) = watched().await;
    let service = Service::start().await;
    let envoy = gateway_of_streams(&mut house, &service).await;
    let to = format!("https://localhost:{}", envoy.address().port());
    let (trust, ca) = (house.mesh.ca.display().to_string(), ca(&house, &to).await);
    let arguments = ["--to", &to, "--cacert", &trust, "--listen", "127.0.0.1:0"];
    let proxy = Proxy::start_at(&house.alice, &arguments).await;
    let signatures = counted(&wire);
    let stream = through(&proxy, &ca, &to, b"h2").await;
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut first = Call::begin(&client, &to).await;
    let mut second = Call::begin(&client, &to).await;
    for words in ["one", "two"] {
        first.echo(words).await;
        second.echo(words).await;
    }
    for call in [first, second] {
        assert_eq!(call.end().await["grpc-status"], "0");
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 1);
    let host = to.strip_prefix("https://").unwrap();
    echoed(through(&proxy, &ca, &to, b"http/1.1").await, host).await;
    // HTTP/1.1 for the websocket is a connection of its own.
    assert_eq!(signatures.load(Ordering::SeqCst), 2);
}
