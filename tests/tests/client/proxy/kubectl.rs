//! Real kubectl by a kubeconfig with `proxy-url`, through real Envoy with the example policy for Kubernetes,
//! to a server that answers the few paths that these commands need.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use signet_tests::gateway::Gateway;
use signet_tests::house::House;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::https::{as_proxy, ca};
use super::{Proxy, envoy};
use crate::gateway::logged_in;
use crate::step_up::with_policy;

type Events = mpsc::Receiver<Result<Bytes, std::io::Error>>;

/// The few paths of the Kubernetes API.
struct Cluster {
    address: SocketAddr,
    /// What whoever watches is told.
    tell: mpsc::Sender<Result<Bytes, std::io::Error>>,
    task: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    async fn start() -> Self {
        let (tell, events) = mpsc::channel(4);
        let router = Router::new()
            .route(
                "/version",
                get(async || Json(json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.4" }))),
            )
            .route("/api", get(async || Json(json!({ "kind": "APIVersions", "versions": ["v1"] }))))
            .route(
                "/apis",
                get(async || {
                    Json(json!({
                        "kind": "APIGroupList", "apiVersion": "v1", "groups": [],
                    }))
                }),
            )
            .route("/api/v1", get(resources))
            .route("/api/v1/namespaces", get(namespaces))
            .route(
                "/api/v1/namespaces/sandbox/secrets/db",
                get(async || {
                    Json(json!({
                        "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "db" },
                    }))
                }),
            )
            .with_state(Arc::new(Mutex::new(Some(events))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, tell, task }
    }

    async fn tell(&self, name: &str) {
        let event = json!({ "type": "ADDED", "object": namespace(name) });
        self.tell.send(Ok(format!("{event}\n").into())).await.unwrap();
    }
}

fn namespace(name: &str) -> Value {
    json!({
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": { "name": name, "creationTimestamp": "2026-11-01T00:00:00Z" },
        "status": { "phase": "Active" },
    })
}

async fn resources() -> Json<Value> {
    Json(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "v1",
        "resources": [{
            "name": "namespaces", "singularName": "namespace", "namespaced": false,
            "kind": "Namespace", "verbs": ["get", "list", "watch"], "shortNames": ["ns"],
        }],
    }))
}

async fn namespaces(
    State(events): State<Arc<Mutex<Option<Events>>>>,
    RawQuery(query): RawQuery,
) -> Response {
    if query.unwrap_or_default().contains("watch=true") {
        let events = events.lock().await.take().expect("somebody watches already");
        let events = futures_util::stream::unfold(events, |mut events| async {
            events.recv().await.map(|event| (event, events))
        });
        return ([(CONTENT_TYPE, "application/json")], Body::from_stream(events)).into_response();
    }
    let items = [namespace("payments"), namespace("sandbox")];
    let list =
        json!({ "kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": items });
    Json(list).into_response()
}

/// The example set for Kubernetes, in the place of the one for routes.
async fn kubernetes_policy(house: &House) {
    let folder = house.authority.config().parent().unwrap().join("policies");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "cedar" || kind == "cedarschema") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = example.join("../authority/policies/examples/kubernetes");
    for name in ["kubernetes.cedar", "kubernetes.cedarschema"] {
        std::fs::copy(example.join(name), folder.join(name)).unwrap();
    }
    let actions = std::fs::read_to_string(example.join("actions.toml")).unwrap();
    with_policy(house, "actions.toml", |_| actions.replace("kube.mesh.example", "localhost")).await;
}

struct Kube {
    house: House,
    envoy: Gateway,
    proxy: Proxy,
    cluster: Cluster,
}

impl Kube {
    async fn start() -> Self {
        let mut house = logged_in().await;
        let cluster = Cluster::start().await;
        kubernetes_policy(&house).await;
        let changes =
            [("request_timeout: 60s", "request_timeout: 0s"), ("timeout: 60s }", "timeout: 0s }")];
        let envoy = envoy(&mut house, "cluster", cluster.address, &changes);
        let to = origin(&envoy);
        let trust = house.mesh.ca.display().to_string();
        let arguments = ["--to", &to, "--cacert", &trust, "--listen", "127.0.0.1:0"];
        let proxy = Proxy::start_at(&house.alice, &arguments).await;
        Self { house, envoy, proxy, cluster }
    }

    /// kubectl by this server, with what it needs to know in a kubeconfig.
    async fn kubectl(&self, server: &str, arguments: &[&str]) -> Command {
        let home = self.house.alice.file("kube");
        std::fs::create_dir_all(&home).unwrap();
        let ca = ca(&self.house, &origin(&self.envoy)).await;
        let config = home.join("config");
        std::fs::write(
            &config,
            kubeconfig(server, &ca, &self.proxy.secret(), Some(&as_proxy(&self.proxy))),
        )
        .unwrap();
        kubectl(&home, &config, arguments)
    }
}

fn origin(envoy: &Gateway) -> String {
    format!("https://localhost:{}", envoy.address().port())
}

fn kubeconfig(server: &str, ca: &Path, token: &str, proxy: Option<&str>) -> String {
    let mut cluster = json!({ "server": server, "certificate-authority": ca });
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = json!(proxy);
    }
    // JSON is YAML.
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "mesh",
        "contexts": [{ "name": "mesh", "context": { "cluster": "mesh", "user": "signet" } }],
        "users": [{ "name": "signet", "user": { "token": token } }],
        "clusters": [{ "name": "mesh", "cluster": cluster }],
    })
    .to_string()
}

fn kubectl(home: &Path, config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(config).arg("--request-timeout=120s").args(arguments);
    command.env("HOME", home).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command.env_remove("https_proxy").env_remove("HTTPS_PROXY").kill_on_drop(true);
    command
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_over_https_and_over_plain_http() {
    let kube = Kube::start().await;
    for server in [origin(&kube.envoy), "http://localhost".to_owned()] {
        let names = ["get", "namespaces", "--output=name"];
        let output = kube.kubectl(&server, &names).await.output().await.unwrap();
        assert_eq!(said(&output), "namespace/payments\nnamespace/sandbox\n", "{server}");
        let output = kube.kubectl(&server, &["get", "ns"]).await.output().await.unwrap();
        let table = said(&output);
        assert!(table.starts_with("NAME ") && table.contains("\nsandbox "), "{server}: {table}");
        let output =
            kube.kubectl(&server, &["get", "--raw", "/version"]).await.output().await.unwrap();
        assert!(said(&output).contains("v1.32.4"), "{server}: {output:?}");
        // A secret takes a touch for the very request.
        kube.house.alice.put_finger().unwrap();
        let secret = ["get", "--raw", "/api/v1/namespaces/sandbox/secrets/db"];
        let output = kube.kubectl(&server, &secret).await.output().await.unwrap();
        assert!(said(&output).contains("\"Secret\""), "{server}: {output:?}");
        // What policy does not know is refused by the gateway, and kubectl says so.
        let nodes = ["get", "--raw", "/api/v1/nodes"];
        let output = kube.kubectl(&server, &nodes).await.output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains("orbidden"), "{server}: {error}");
    }
    // A server that is no target: no tunnel, and the words say what is wrong.
    let other = kube.house.url("");
    let output = kube.kubectl(&other, &["get", "--raw", "/version"]).await.output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("Forbidden"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_watches_for_as_long_as_it_likes() {
    let kube = Kube::start().await;
    let watch = ["get", "--raw", "/api/v1/namespaces?watch=true"];
    let mut command = kube.kubectl(&origin(&kube.envoy), &watch).await;
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for name in ["first", "second"] {
        kube.cluster.tell(name).await;
        let line = lines.next_line().await.unwrap().expect("the watch ended");
        assert!(line.contains(&format!("\"{name}\"")), "{line}");
    }
}

/// A server with a certificate for `localhost` by the CA in this file, whose key was stolen.
async fn thief(ca: &Path) -> (SocketAddr, JoinHandle<()>) {
    let key = std::fs::read(ca.with_extension("key")).unwrap();
    let key = KeyPair::try_from(key.as_slice()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&std::fs::read_to_string(ca).unwrap(), key).unwrap();
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(params.signed_by(&own, &issuer).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(own.serialize_der()).into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_believes_a_stolen_ca_key_for_its_host_alone() {
    let house = House::start().await.unwrap();
    let ca: PathBuf = ca(&house, "https://kube.mesh.example:6443").await;
    let (address, task) = thief(&ca).await;
    let home = house.alice.file("kube");
    std::fs::create_dir_all(&home).unwrap();
    let config = home.join("config");
    let server = format!("https://localhost:{}", address.port());
    std::fs::write(&config, kubeconfig(&server, &ca, "none", None)).unwrap();
    let output = kubectl(&home, &config, &["get", "--raw", "/version"]).output().await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    // Go's words for a name constraint that is violated.
    assert!(error.contains("not permitted by any constraint"), "{error}");
    task.abort();
}
