//! Services without a gateway: the example of `signet-watch` as it is, and what its layer can demand.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;
#[path = "../../watch/examples/service.rs"]
#[allow(dead_code)] // Its `main` reads the command line.
mod service;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use reqwest::{Method, RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use signet_authority::keys;
use signet_authority::store::{RevocationTarget, SessionKind};
use signet_evidence::SessionId;
use signet_verifier::AssuranceLevel;
use signet_watch::{Access, Bounds, Peer, Settings, Watch, server_config};
use signet_witness::{Witness, WitnessState};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use house::{House, Machine, trusting};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_secs(2);
const INVALID: &str =
    "Bearer realm=\"signet\", error=\"invalid_token\", error_description=\"log in\"";

/// The files that the example reads.
fn files(house: &House) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let keys = &house.authority.keys;
    let now = house.authority.now();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("authority-ca.pem", &keys::pem(keys.server_ca.issuer(now).certificate()));
    write("device-ca.pem", &keys::pem(keys.device_ca.issuer(now).certificate()));
    let id = "spiffe://mesh.example/gateway/edge";
    let edge = keys.gateway_ca.issuer(now).issue_gateway(id, now, LONG).unwrap();
    write("edge.pem", &keys::pem(&edge.certificate));
    write("edge.key", &edge.key_pem);
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    write("service.pem", &own.cert.pem());
    write("service.key", &own.signing_key.serialize_pem());
    folder
}

fn settings(house: &House, folder: &Path) -> Settings {
    let audience = house.authority.checker().audience;
    let settings = service::settings(&house.gateways(""), folder).unwrap();
    settings.tokens_of("https://localhost", &audience)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A client with this machine's certificate, or with none.
fn client(folder: &Path, machine: Option<&Machine>) -> reqwest::Client {
    let own = CertificateDer::from_pem_file(folder.join("service.pem")).unwrap();
    let tls = trusting(&own, machine.map(Machine::identity), &rustls::version::TLS13);
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

/// What was answered: status, challenge, code of the problem or else the body.
async fn said(request: RequestBuilder) -> (u16, String, String) {
    let response: Response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    if status == 200 {
        return (status, challenge, response.text().await.unwrap());
    }
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers().contains_key("retry-after"), status == 503);
    let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["status"], status);
    (status, challenge, problem["code"].as_str().unwrap().to_owned())
}

/// Asks again until this status is the answer; only `meanwhile` may come before.
async fn until(request: impl Fn() -> RequestBuilder, meanwhile: u16, status: u16) {
    loop {
        match said(request()).await {
            (found, ..) if found == status => return,
            answer => assert_eq!(answer.0, meanwhile, "{answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn answer(status: u16, challenge: &str, text: &str) -> (u16, String, String) {
    (status, challenge.to_owned(), text.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_admits_only_good_tokens_of_their_own_machine_while_it_knows_enough() {
    let mut house = House::start().await;
    let folder = files(&house);
    let (listener, address) = listen().await;
    let bounds = Bounds { writes: SHORT, reads: LONG };
    let (settings, place) = (settings(&house, folder.path()), folder.path().to_owned());
    let serving =
        tokio::spawn(
            async move { service::serve(listener, settings.bounds(bounds), &place).await },
        );
    let url = format!("https://localhost:{}/", address.port());
    let (alice, bob) = (house.machine("alice").await, house.machine("bob").await);
    let token = house.token(&alice, SessionKind::Person).await;
    let other = house.token(&alice, SessionKind::Person).await;
    let at_alice = client(folder.path(), Some(&alice));
    let with = |client: &reqwest::Client, method: &Method, token: &str| {
        client.request(method.clone(), &url).header("authorization", format!("Bearer {token}"))
    };
    // Before it knows anything, it says so.
    until(|| with(&at_alice, &Method::POST, &token), 503, 200).await;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let said = said(with(&at_alice, &method, &token)).await;
        assert_eq!(said, answer(200, "", "hello alice"), "{method}");
    }
    let bare = || at_alice.get(&url);
    let required = answer(401, "Bearer realm=\"signet\"", "token_required");
    assert_eq!(said(bare()).await, required);
    assert_eq!(said(bare().header("authorization", "Basic eDp5")).await, required);
    let in_query = format!("{url}?access_token={token}");
    assert_eq!(said(at_alice.get(in_query)).await, required);
    let invalid = answer(401, INVALID, "invalid_token");
    let twice = with(&at_alice, &Method::GET, &token).header("authorization", "Bearer x");
    assert_eq!(said(twice).await, invalid);
    assert_eq!(said(with(&at_alice, &Method::GET, "a.b.c")).await, invalid);
    // Another machine, whatever it says of its certificate.
    let at_bob = client(folder.path(), Some(&bob));
    assert_eq!(said(with(&at_bob, &Method::GET, &token)).await, invalid);
    let hex = alice.thumbprint().to_hex();
    let forged = with(&at_bob, &Method::GET, &token)
        .header("x-signet-peer-sha256", &hex)
        .header("x-forwarded-client-cert", format!("Hash={hex}"));
    assert_eq!(said(forged).await, invalid);
    let nobody = client(folder.path(), None).get(&url).send().await;
    assert!(nobody.is_err_and(|error| error.is_connect() || error.is_request()));
    // Revoked while it runs, on a connection that stays.
    let session = SessionId::from_hex(&house::tokens::claims(&other).sid).unwrap();
    assert_eq!(said(with(&at_alice, &Method::GET, &other)).await.0, 200);
    house.revoke(RevocationTarget::Session(session)).await;
    until(|| with(&at_alice, &Method::GET, &other), 200, 401).await;
    assert_eq!(said(with(&at_alice, &Method::GET, &other)).await, invalid);
    assert_eq!(said(with(&at_alice, &Method::POST, &token)).await.0, 200);
    // Without the authority writes end before reads, and come back by themselves.
    house.stop().await;
    until(|| with(&at_alice, &Method::POST, &token), 200, 503).await;
    let undecided = answer(503, "", "unavailable");
    assert_eq!(said(with(&at_alice, &Method::POST, &token)).await, undecided);
    assert_eq!(said(with(&at_alice, &Method::GET, &token)).await.0, 200);
    house.restart().await;
    until(|| with(&at_alice, &Method::POST, &token), 503, 200).await;
    assert!(!serving.is_finished());
    serving.abort();
}

/// Serves `app` as the example does.
async fn serve(listener: TcpListener, app: Router, folder: &Path) {
    let file = |name: &str| folder.join(name);
    let tls = server_config(&file("device-ca.pem"), &file("service.pem"), &file("service.key"));
    let acceptor = TlsAcceptor::from(Arc::new(tls.unwrap()));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, app) = (acceptor.clone(), app.clone());
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.unwrap();
            let app = TowerToHyperService::new(Peer::of(stream.get_ref().1).mark(app));
            let connection = Builder::new(TokioExecutor::new());
            let _ = connection.serve_connection(TokioIo::new(stream), app).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_can_demand_presence_and_scope() {
    let house = House::start().await;
    let folder = files(&house);
    let watch = Watch::start(settings(&house, folder.path())).unwrap();
    watch.ready().await;
    let layer = watch.layer().access(Access::Read);
    // What a handler sees: the token stays with the layer.
    let handler = any(|headers: axum::http::HeaderMap| async move {
        format!("{} tokens", headers.get_all("authorization").iter().count())
    });
    let within = |age| layer.clone().presence(AssuranceLevel::Uv, age);
    let app = Router::new()
        .route("/recent", handler.clone().layer(within(LONG)))
        .route("/now", handler.clone().layer(within(Duration::ZERO)))
        .route("/scope", handler.clone().layer(layer.clone().scope("mesh.write")))
        .route("/open", handler);
    let (listener, address) = listen().await;
    let place = folder.path().to_owned();
    tokio::spawn(async move { serve(listener, app, &place).await });
    let machine = house.machine("alice").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let client = client(folder.path(), Some(&machine));
    let get = |path: &str| {
        let url = format!("https://localhost:{}{path}", address.port());
        client.get(url).header("authorization", format!("Bearer {token}"))
    };
    assert_eq!(said(get("/recent")).await, answer(200, "", "0 tokens"));
    assert_eq!(said(get("/open")).await, answer(200, "", "1 tokens"));
    // The touch was some moments ago.
    until(|| get("/now"), 200, 401).await;
    let challenge = "Bearer realm=\"signet\", error=\"insufficient_user_authentication\", \
        error_description=\"prove your presence for this request\", \
        acr_values=\"signet.uv signet.uv-hw\", max_age=\"0\"";
    assert_eq!(said(get("/now")).await, answer(401, challenge, "presence-required"));
    let challenge = "Bearer realm=\"signet\", error=\"insufficient_scope\", \
        error_description=\"ask for a token with this scope\", scope=\"mesh.write\"";
    assert_eq!(said(get("/scope")).await, answer(403, challenge, "policy-denied"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_without_the_hook_refuses_everything() {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;
    let house = House::start().await;
    let folder = files(&house);
    let watch = Watch::start(settings(&house, folder.path())).unwrap();
    watch.ready().await;
    let machine = house.machine("alice").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let app = Router::new().route("/", any(|| async {})).layer(watch.layer());
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    let refused = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_a_witness_with_one_call() {
    let house = House::start().await;
    let folder = files(&house);
    let watch = Watch::start(settings(&house, folder.path())).unwrap();
    let (id, key) = ("spiffe://mesh.example/gateway/edge", house.authority.log.key().clone());
    let witness = Witness::open(&folder.path().join("witness"), id, key).unwrap();
    let mut state = watch.witness(witness);
    let sound = |at_least: u64| move |state: &WitnessState| matches!(state, WitnessState::Sound(size) if *size >= at_least);
    state.wait_for(sound(1)).await.unwrap();
    house.machine("alice").await;
    let size = house.authority.store.log_size().await.unwrap();
    state.wait_for(sound(size)).await.unwrap();
    // It ends with the handle.
    drop(watch);
    while state.changed().await.is_ok() {}
}
