//! Websockets and gRPC through the proxy and real Envoy: streams that go on in both directions, with
//! trailers, and over a renewal of the token.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use signet_tests::gateway::Gateway;
use signet_tests::house::House;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Proxy, STAGING, counted, envoy, socket, watched};
use crate::step_up::with_policy;

const WATCH: &str = "/mesh.v1.Routes/Watch";
const GRPC: &str = r#"
[[action]]
name = "mesh.route.view"
grpc = "mesh.v1.Routes/Watch"
access = "read"
resource = { kind = "Route", id = "sandbox/watched", in = { kind = "Namespace", id = "sandbox" } }
"#;

/// A service that sends back what it gets: in a websocket's words, or in gRPC's.
pub(super) struct Service {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(echo);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }
}

async fn echo(mut request: Request) -> Response {
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await?);
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            tokio::io::copy(&mut reader, &mut writer).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        });
        return Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(Body::empty())
            .unwrap();
    }
    // All that comes goes back at once; then trailers.
    let te = request.headers().get("te").is_some_and(|te| te == "trailers");
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, io::Error>>(4);
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            if sender.send(Ok(Frame::data(data))).await.is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", if te { "0" } else { "13" }.parse().unwrap());
        let _ = sender.send(Ok(Frame::trailers(trailers))).await;
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    let body = Body::new(StreamBody::new(frames));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// It, before a service, with a policy that knows the call.
pub(super) async fn gateway_of_streams(house: &mut House, service: &Service) -> Gateway {
    let envoy = streaming(house, service);
    with_policy(house, "actions.toml", |text| format!("{text}{GRPC}")).await;
    envoy
}

/// Envoy that decides by the head of a request and not by its body: so it can carry streams.
fn streaming(house: &mut House, service: &Service) -> Gateway {
    let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let both = format!(
        "timeout: 1s\n    typed_extension_protocol_options:\n      {kind}:\n        \
         \"@type\": type.googleapis.com/{kind}\n        \
         use_downstream_protocol_config: {{ http_protocol_options: {{}}, http2_protocol_options: {{}} }}\n    \
         load_assignment:\n      cluster_name: control_plane"
    );
    let changes = [
        ("with_request_body: { max_request_bytes: 65536, allow_partial_message: false }", ""),
        ("- { key: x-signet-body, value: whole }", "[]"),
        ("request_timeout: 60s", "request_timeout: 0s"),
        ("timeout: 60s }", "timeout: 0s }"),
        (
            "use_remote_address: true",
            "use_remote_address: true\n          upgrade_configs: [{ upgrade_type: websocket }]",
        ),
        ("timeout: 1s\n    load_assignment:\n      cluster_name: control_plane", &both),
    ];
    envoy(house, "streaming", service.address, &changes)
}

/// A gRPC call whose request goes on for as long as the sender lives.
pub(super) struct Call {
    sender: mpsc::Sender<Result<Frame<Bytes>, io::Error>>,
    answer: hyper::body::Incoming,
}

pub(super) type Frames = StreamBody<
    std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, io::Error>> + Send>>,
>;

impl Call {
    pub(super) async fn begin(
        client: &hyper::client::conn::http2::SendRequest<Frames>,
        origin: &str,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(4);
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|frame| (frame, receiver))
        });
        let request = hyper::Request::post(format!("{origin}{WATCH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(frames.boxed()))
            .unwrap();
        let response = client.clone().send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{response:?}");
        Self { sender, answer: response.into_body() }
    }

    /// Says something and hears it.
    pub(super) async fn echo(&mut self, text: &'static str) {
        self.sender.send(Ok(Frame::data(Bytes::from_static(text.as_bytes())))).await.unwrap();
        let frame = self.answer.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }

    pub(super) async fn end(mut self) -> HeaderMap {
        drop(self.sender);
        loop {
            let frame = self.answer.frame().await.expect("no trailers").unwrap();
            if let Ok(trailers) = frame.into_trailers() {
                assert!(self.answer.is_end_stream());
                return trailers;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_on_over_a_renewal_and_share_a_connection() {
    let (mut house, wire) = watched().await;
    let service = Service::start().await;
    let envoy = gateway_of_streams(&mut house, &service).await;
    let to = format!("https://localhost:{}", envoy.address().port());
    let ca = house.mesh.ca.display().to_string();
    let _proxy = Proxy::start_at(&house.alice, &["--to", &to, "--cacert", &ca]).await;
    let signatures = counted(&wire);

    let stream = UnixStream::connect(socket(&house)).await.unwrap();
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut first = Call::begin(&client, "http://localhost").await;
    first.echo("one").await;
    assert_eq!(signatures.load(Ordering::SeqCst), 1);

    // Another process renews; the stream does not notice, the next call has the new token.
    let before = token(&house).await;
    let renewed = house.alice.signet(&["token", "--renew"]).await.unwrap();
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert_ne!(token(&house).await, before);
    let by_renewal = signatures.load(Ordering::SeqCst);
    first.echo("two").await;
    let mut second = Call::begin(&client, "http://localhost").await;
    second.echo("three").await;
    first.echo("four").await;
    // Both streams are on one connection.
    assert_eq!(signatures.load(Ordering::SeqCst), by_renewal);
    for call in [first, second] {
        assert_eq!(call.end().await.get("grpc-status").unwrap(), "0");
    }

    // A websocket has a connection of its own, and the next one has another.
    for _ in 0..2 {
        let before = signatures.load(Ordering::SeqCst);
        echoed(UnixStream::connect(socket(&house)).await.unwrap(), "localhost").await;
        assert_eq!(signatures.load(Ordering::SeqCst), before + 1);
    }
    // gRPC clients hear of refusals in their own terms.
    let out = house.alice.signet(&["logout"]).await.unwrap();
    assert_eq!(out.code, Some(0), "{out:?}");
    let frames = futures_util::stream::empty().boxed();
    let request = hyper::Request::post(format!("http://localhost{WATCH}"))
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames))
        .unwrap();
    let response = client.clone().send_request(request).await.unwrap();
    assert_eq!(response.headers().get("grpc-status").unwrap(), "16");
    let message = response.headers().get("grpc-message").unwrap().to_str().unwrap();
    assert!(message.contains("run `signet login`"), "{message}");
}

async fn token(house: &House) -> String {
    let ran = house.alice.signet(&["token"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout
}

/// A handshake (RFC 6455 §4), and what follows it back and forth.
pub(super) async fn echoed(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) {
    let request = format!(
        "GET {STAGING} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for text in [&b"\x81\x85abcd\x09\x07\x0f\x08\x0e"[..], b"\x82\x80wxyz"] {
        stream.write_all(text).await.unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text);
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}
