//! Gateways that no product is: that break off, contradict themselves, or read all before they ask.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use signet_tests::house::House;

use super::{Proxy, STAGING, by_socket, curl, gateway_tls, socket};
use crate::gateway::logged_in;

/// This very request is to be approved. Without `close` the proxy could send the next request over the
/// connection that is being hung up, and would not know what became of it.
pub(super) const APPROVE: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\nwww-authenticate: Bearer error=\"insufficient_user_authentication\", max_age=0, scope=\"mesh.route.update\"\r\n\r\n";
/// Presence is to be proved.
pub(super) const PRESENCE: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\nwww-authenticate: Bearer error=\"insufficient_user_authentication\", max_age=60\r\n\r\n";

/// Answers each request, once it has been read to its end, with the same bytes, and hangs up.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) requests: Arc<AtomicUsize>,
}

impl Gateway {
    pub(super) fn start(house: &House, answer: &'static [u8]) -> Self {
        let tls = gateway_tls(house);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        // It ends with the test's process; each connection has its own thread.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, counter) = (Arc::clone(&tls), Arc::clone(&counter));
                std::thread::spawn(move || serve(tls, stream, answer, &counter));
            }
        });
        Self { address, requests }
    }

    pub(super) async fn proxy(&self, house: &House) -> Proxy {
        Proxy::to(house, self.address).await
    }
}

fn serve(tls: Arc<ServerConfig>, stream: TcpStream, answer: &[u8], requests: &AtomicUsize) {
    let mut stream = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
    let mut request = Vec::new();
    let mut piece = [0; 65536];
    while !is_whole(&request) {
        match stream.read(&mut piece) {
            Ok(length @ 1..) => request.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let _ = stream.write_all(answer).and_then(|()| stream.flush());
    stream.conn.send_close_notify();
    let _ = stream.flush();
    // What is still coming would make the kernel take the answer back (RFC 9112 §9.6).
    let _ = stream.sock.shutdown(Shutdown::Write);
    while matches!(stream.sock.read(&mut piece), Ok(1..)) {}
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    request.len() - end - 4 >= length.map_or(0, |length| length.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_breaks_off_is_told_from_one_that_answers() {
    let house = logged_in().await;
    for (answer, expected) in [
        (&b""[..], (502, "gateway-failed")),
        (b"NOT HTTP\r\n\r\n", (502, "gateway-failed")),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            (502, "gateway-failed"),
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            (502, "gateway-failed"),
        ),
    ] {
        let gateway = Gateway::start(&house, answer);
        let _proxy = gateway.proxy(&house).await;
        let got = by_socket(&house, STAGING, &["-X", "PUT", "--data", "x"]).await;
        let (status, code) = got.code();
        assert_eq!((status, code.as_str()), expected, "{answer:?}");
        // What may have been done is not done again.
        assert_eq!(gateway.requests.load(Ordering::SeqCst), 1, "{answer:?}");
    }
    // Half an answer is none: the tool hears that it is half.
    let gateway = Gateway::start(&house, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    let proxy = gateway.proxy(&house).await;
    let (path, url) = (socket(&house), format!("http://localhost{STAGING}"));
    let arguments = ["--unix-socket", path.to_str().unwrap(), &url];
    let output = curl(&arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(18), "{output:?}");
    drop(proxy);
    // Answers without a body, that tell the length which it would have.
    for (answer, more, status) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"[..], &["--head"][..], 200),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n", &[], 304),
    ] {
        let gateway = Gateway::start(&house, answer);
        let _proxy = gateway.proxy(&house).await;
        let got = by_socket(&house, STAGING, more).await;
        assert_eq!((got.status, got.body.as_str()), (status, ""), "{got:?}");
        assert!(status == 304 || got.head.contains("content-length: 10"), "{got:?}");
    }
    // Two lengths that contradict each other: the chunks count, as for the request.
    let both = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let gateway = Gateway::start(&house, both);
    let _proxy = gateway.proxy(&house).await;
    let got = by_socket(&house, STAGING, &[]).await;
    assert!(!got.head.contains("content-length"), "{got:?}");
    assert!(got.head.contains("transfer-encoding: chunked"), "{got:?}");
    assert_eq!((got.status, got.body.as_str()), (200, "hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_bound_is_not_sent_again_by_itself() {
    let house = logged_in().await;
    let body = house.alice.file("large");
    std::fs::write(&body, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    let body = format!("@{}", body.display());
    let put = ["-X", "PUT", "--data-binary", body.as_str(), "-H", "expect:"];
    // This very request: it cannot be approved, and nobody is asked.
    let gateway = Gateway::start(&house, APPROVE);
    let proxy = gateway.proxy(&house).await;
    let got = by_socket(&house, STAGING, &put).await;
    assert_eq!(got.code(), (413, "too-large".to_owned()));
    assert_eq!(gateway.requests.load(Ordering::SeqCst), 1);
    drop(proxy);
    // Presence: it is proved, and the tool is told to send the request again.
    let gateway = Gateway::start(&house, PRESENCE);
    let _proxy = gateway.proxy(&house).await;
    house.alice.put_finger().unwrap();
    let got = by_socket(&house, STAGING, &put).await;
    assert_eq!(got.code(), (503, "send-again".to_owned()));
    assert!(got.head.contains("retry-after: 0"), "{got:?}");
    assert_eq!(gateway.requests.load(Ordering::SeqCst), 1);
    // A small one is, once; what comes then is the tool's.
    house.alice.put_finger().unwrap();
    let got = by_socket(&house, STAGING, &["-X", "PUT", "--data", "x"]).await;
    assert_eq!(got.status, 401, "{got:?}");
    assert!(!got.head.contains("proxy-status"), "{got:?}");
    assert_eq!(gateway.requests.load(Ordering::SeqCst), 3);
}
