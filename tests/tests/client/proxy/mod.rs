//! `signet proxy` between real curl and real Envoy: the person's key in the TPM, a token in each request,
//! and nobody else's requests.

mod answers;
mod broken;
mod document;
mod ending;
mod hostile;
mod https;
mod kubectl;
mod operator;
mod port;
mod streams;
mod touch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use signet_tests::faulty_tpm::{Fate, FaultyTpm};
use signet_tests::gateway::{Gateway, GatewaySettings, Profile, profile};
use signet_tests::house::{House, Station, TRUST_DOMAIN};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::agent::Session;
use crate::gateway::logged_in;

pub(super) const STAGING: &str = "/v1/namespaces/sandbox/routes/web";
pub(super) const PRODUCTION: &str = "/v1/namespaces/payments/routes/api";
/// `TPM2_Sign` (TPM 2.0 part 2 §6.5.2).
const SIGN: u32 = 0x0000_015D;

/// A desktop whose notifications have buttons, and the agent that shows prompts there.
async fn desktop(house: &House) -> (Session, (Child, Lines<BufReader<ChildStderr>>)) {
    let session = Session::start(Some("body actions")).await;
    let mut agent = house.alice.command(&["agent"]);
    agent.env("DBUS_SESSION_BUS_ADDRESS", session.address()).kill_on_drop(true);
    let mut agent = agent.spawn().unwrap();
    let mut lines = BufReader::new(agent.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("the agent ended").contains("registered") {}
    (session, (agent, lines))
}

/// TLS 1.3 and HTTP/1.1 with the certificate of `house`'s gateway.
pub(super) fn gateway_tls(house: &House) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(&house.mesh.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&house.mesh.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(tls)
}

/// A running `signet proxy`; killed when dropped.
pub(super) struct Proxy {
    child: Child,
    _more: Lines<BufReader<ChildStdout>>,
    pub(super) ready: Value,
}

impl Proxy {
    /// Starts it before the gateway of `house`, and returns when it is ready.
    pub(super) async fn start(house: &House, more: &[&str]) -> Self {
        let ca = house.mesh.ca.display().to_string();
        let to = house.url("");
        let arguments = [&["--to", &to, "--cacert", &ca], more].concat();
        Self::start_at(&house.alice, &arguments).await
    }

    /// The same before a gateway of the test's own that shows `house`'s certificate ([`gateway_tls`]).
    pub(super) async fn to(house: &House, gateway: SocketAddr) -> Self {
        let to = format!("https://localhost:{}", gateway.port());
        let ca = house.mesh.ca.display().to_string();
        Self::start_at(&house.alice, &["--to", &to, "--cacert", &ca]).await
    }

    pub(super) async fn start_at(station: &Station, arguments: &[&str]) -> Self {
        let arguments = [&["--json", "proxy"], arguments].concat();
        let mut child = station.command(&arguments).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(line) = lines.next_line().await.unwrap() else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
            panic!("not ready: {said}");
        };
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true, "{line}");
        Self { child, _more: lines, ready }
    }

    /// The port, where it is the only place.
    pub(super) fn address(&self) -> String {
        self.ready["listen"][0].as_str().unwrap().to_owned()
    }

    pub(super) fn secret(&self) -> String {
        std::fs::read_to_string(self.ready["secret_file"].as_str().unwrap()).unwrap()
    }

    pub(super) fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Its exit code, and what it said.
    pub(super) async fn ended(self) -> (Option<i32>, String) {
        let output = self.child.wait_with_output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

pub(super) fn socket(house: &House) -> PathBuf {
    house.alice.file("run/signet/proxy.sock")
}

/// What curl got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The proxy's own code, where it is its answer.
    pub(super) fn code(&self) -> (u16, String) {
        assert!(self.head.contains("proxy-status: signet; "), "{self:?}");
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

fn got(output: &Output) -> Got {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rest = text.as_str();
    // Interim answers, and those of the proxy to CONNECT, come before.
    loop {
        let (head, body) =
            rest.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{rest:?}: {output:?}"));
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status >= 200 && !body.starts_with("HTTP/") {
            return Got { status, head: head.to_owned(), body: body.to_owned() };
        }
        rest = body;
    }
}

/// Real curl with nothing of the tester's settings.
pub(super) fn curl(arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--include", "--max-time", "120"]);
    command.args(arguments).env_remove("http_proxy").kill_on_drop(true);
    command
}

/// curl to its end.
pub(super) async fn curled(arguments: &[&str]) -> Got {
    got(&curl(arguments).output().await.unwrap())
}

/// curl through the proxy's socket.
pub(super) async fn by_socket(house: &House, path: &str, more: &[&str]) -> Got {
    let (socket, url) = (socket(house).display().to_string(), format!("http://localhost{path}"));
    curled(&[&["--unix-socket", &socket, &url], more].concat()).await
}

/// A house whose operator is logged in, and whose workstation's TPM can be listened to.
async fn watched() -> (House, FaultyTpm) {
    let mut house = House::start().await.unwrap();
    let wire = FaultyTpm::before(&house.alice.tpm).unwrap();
    house.alice.reconfigure(|options| options.tcti = wire.tcti()).unwrap();
    crate::gateway::log_in(&house).await;
    (house, wire)
}

/// Another gateway of the house before `upstream`: Envoy as documented, with these changes.
fn envoy(house: &mut House, name: &str, upstream: SocketAddr, changes: &[(&str, &str)]) -> Gateway {
    let folder = house.alice.file(name);
    let gateway = house.authority.admit_gateway(name, &folder).unwrap();
    house.authority.serve().unwrap();
    let (file, text) = profile::ENVOY_FINGERPRINT_HEADER.files[0];
    let text = changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let files: &'static [(&str, &str)] = Box::leak(Box::new([(file, &*text.leak())]));
    let settings = GatewaySettings {
        listen_certificate: house.mesh.certificate.clone(),
        listen_key: house.mesh.key.clone(),
        device_ca: house.authority.device_ca(),
        trust_domain: TRUST_DOMAIN.into(),
        authority: house.authority.gateway_address(),
        authority_name: "localhost".into(),
        authority_ca: house.authority.server_ca(),
        gateway_certificate: gateway.certificate,
        gateway_key: gateway.key,
        upstream,
        issuer: house.authority.url(),
        audience: TRUST_DOMAIN.into(),
        token_key: PathBuf::new(),
    };
    Gateway::start(&Profile { files, ..profile::ENVOY_FINGERPRINT_HEADER }, &settings).unwrap()
}

/// Counts the TPM's signatures from now on.
fn counted(tpm: &FaultyTpm) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tpm.set_rule(move |command| {
        if command.code() == SIGN {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        Fate::Pass
    });
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_of_many_tools_cost_one_signature() {
    let (house, wire) = watched().await;
    let proxy = Proxy::start(&house, &[]).await;
    let signatures = counted(&wire);
    // The first ones come at once: they share the connection that one of them opens.
    let many = (0..6).map(|_| by_socket(&house, STAGING, &[]));
    for got in futures_util::future::join_all(many).await {
        assert_eq!(got.status, 200, "{got:?}");
    }
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let got = by_socket(&house, STAGING, &[version]).await;
        assert_eq!(got.status, 200, "{got:?}");
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 1);
    assert_eq!(house.upstream.received().len(), 8);
    // A connection that ended is replaced, at the price of one more.
    drop(proxy);
    let _proxy = Proxy::start(&house, &[]).await;
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    assert_eq!(signatures.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_request_of_curl_asks_for_its_touch_and_goes_through_once() {
    let house = logged_in().await;
    let proxy = Proxy::start(&house, &[]).await;
    house.alice.put_finger().unwrap();
    let put = ["-X", "PUT", "--data", "{\"weight\": 10}", "-H", "content-type: application/json"];
    let got = by_socket(&house, PRODUCTION, &put).await;
    assert_eq!(got.status, 200, "{got:?}");
    let received = house.upstream.received();
    let [received] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!((received.method.as_str(), received.body.as_str()), ("PUT", "{\"weight\": 10}"));
    assert_eq!(received.header("content-type"), ["application/json"]);
    assert_eq!(received.header("via"), ["1.1 signet"]);
    assert_eq!(received.header("authorization"), Vec::<&str>::new());
    proxy.terminate();
    let (code, said) = proxy.ended().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("You approve mesh.route.update"), "{said}");
    assert!(!socket(&house).exists());

    // Without leave to ask, the gateway's own demand reaches the tool.
    let _proxy = Proxy::start(&house, &["--no-step-up"]).await;
    let got = by_socket(&house, PRODUCTION, &put).await;
    assert_eq!(got.status, 401, "{got:?}");
    assert!(got.head.contains("insufficient_user_authentication"), "{got:?}");
    assert_eq!(house.upstream.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_manager_hands_the_socket_in() {
    let house = logged_in().await;
    let folder = house.alice.file("config/signet");
    std::fs::create_dir_all(&folder).unwrap();
    let (ca, to) = (&house.mesh.ca, house.url(""));
    let settings = format!("gateway_ca = {ca:?}\nproxy_to = [{to:?}]\n");
    std::fs::write(folder.join("client.toml"), settings).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(socket(&house)).unwrap();
    let mut command = house.alice.command(&["proxy", "--listen", "-"]);
    command.stdin(std::os::fd::OwnedFd::from(listener)).stdout(Stdio::null());
    // Connections wait in the socket until the proxy is there.
    let _child = command.spawn().unwrap();
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    // Something else on standard input is none.
    let ran = house.alice.signet(&["--json", "proxy", "--listen", "-"]).await.unwrap();
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.error().unwrap().1.contains("no listening socket"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_http_1_is_signed_to_once_for_each_request_at_once() {
    let (mut house, wire) = watched().await;
    let upstream = house.upstream.address();
    let only_http1 = [("alpn_protocols: [h2, http/1.1]", "alpn_protocols: [http/1.1]")];
    let envoy = envoy(&mut house, "http1", upstream, &only_http1);
    let to = format!("https://localhost:{}", envoy.address().port());
    let ca = house.mesh.ca.display().to_string();
    let _proxy = Proxy::start_at(&house.alice, &["--to", &to, "--cacert", &ca]).await;
    let signatures = counted(&wire);
    for version in ["--http1.1", "--http2-prior-knowledge", "--http1.1"] {
        assert_eq!(by_socket(&house, STAGING, &[version]).await.status, 200);
    }
    assert_eq!(signatures.load(Ordering::SeqCst), 1);
    for _ in 0..3 {
        let many = (0..4).map(|_| by_socket(&house, STAGING, &[]));
        for got in futures_util::future::join_all(many).await {
            assert_eq!(got.status, 200, "{got:?}");
        }
    }
    // Four at once have four connections at most, and the next four have the same.
    assert!((1..=4).contains(&signatures.load(Ordering::SeqCst)), "{signatures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_of_the_machine_is_taken_up() {
    let house = logged_in().await;
    let _proxy = Proxy::start(&house, &[]).await;
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    for arguments in [&["enrol", "--renew"][..], &["token"]] {
        let ran = house.alice.signet(arguments).await.unwrap();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    }
}
