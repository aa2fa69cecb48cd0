//! Ends that come early: the proxy's own, in order, and those of connections that were kept.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use signet_tests::house::House;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Proxy, STAGING, by_socket, curl, gateway_tls, got, socket};
use crate::gateway::logged_in;

/// What a connection does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Answers it.
    Answer,
    /// Answers it when it is told to.
    AnswerLate,
    /// Answers it, and ends the connection; the next thing heard is that the proxy ended it too.
    AnswerAndEnd,
    /// Reads it, and ends the connection without a word.
    End,
}

/// A gateway that keeps connections, and ends each as it was told to.
struct Gateway {
    address: SocketAddr,
    /// `METHOD connection`, and `gone connection` where both sides ended it.
    heard: mpsc::UnboundedReceiver<String>,
    late: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Gateway {
    async fn start(house: &House, connections: &[&[Act]]) -> Self {
        let acceptor = TlsAcceptor::from(gateway_tls(house));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let late = Arc::new(Notify::new());
        let acts: VecDeque<Vec<Act>> = connections.iter().map(|acts| acts.to_vec()).collect();
        let acts = Arc::new(Mutex::new(acts));
        let mut task = JoinSet::new();
        let release = Arc::clone(&late);
        task.spawn(async move {
            let mut serving = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let acts = acts.lock().unwrap().pop_front().expect("one connection too many");
                let stream = acceptor.accept(stream).await.unwrap();
                serving.spawn(serve(stream, number, acts, tell.clone(), Arc::clone(&release)));
            }
        });
        Self { address, heard, late, _task: task }
    }

    async fn proxy(&self, house: &House) -> Proxy {
        Proxy::to(house, self.address).await
    }

    async fn next(&mut self) -> String {
        self.heard.recv().await.unwrap()
    }
}

async fn serve(
    mut stream: TlsStream<TcpStream>,
    number: u32,
    acts: Vec<Act>,
    tell: mpsc::UnboundedSender<String>,
    late: Arc<Notify>,
) {
    for act in acts {
        let Some(method) = request(&mut stream).await else { return };
        tell.send(format!("{method} {number}")).unwrap();
        match act {
            Act::End => return,
            Act::AnswerLate => late.notified().await,
            Act::Answer | Act::AnswerAndEnd => {}
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if matches!(act, Act::AnswerAndEnd) {
            stream.shutdown().await.unwrap();
            // The other side ends it when it has noticed.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            tell.send(format!("gone {number}")).unwrap();
            return;
        }
    }
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Reads a request with a body of at most one byte, and gives its method.
async fn request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    if head.to_ascii_lowercase().contains("content-length: 1\r\n") {
        stream.read_u8().await.ok()?;
    }
    head.split(' ').next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_died_is_replaced_and_nothing_is_done_twice() {
    let house = logged_in().await;
    let acts: [&[Act]; 5] = [
        &[Act::Answer, Act::End],
        &[Act::Answer, Act::End],
        &[Act::AnswerAndEnd],
        &[Act::Answer, Act::End],
        &[Act::End],
    ];
    let mut gateway = Gateway::start(&house, &acts).await;
    let _proxy = gateway.proxy(&house).await;
    let put = ["-X", "PUT", "--data", "x"];
    let served = |got: super::Got| (got.status, got.body);
    assert_eq!(served(by_socket(&house, STAGING, &[]).await), (200, "0".into()));
    // A kept connection that ends with the request: what does no harm twice is sent on a new one.
    assert_eq!(served(by_socket(&house, STAGING, &[]).await), (200, "1".into()));
    // What may have been done is not.
    let (status, code) = by_socket(&house, STAGING, &put).await.code();
    assert_eq!((status, code.as_str()), (502, "gateway-failed"));
    assert_eq!(served(by_socket(&house, STAGING, &[]).await), (200, "2".into()));
    for expected in ["GET 0", "GET 0", "GET 1", "PUT 1", "GET 2", "gone 2"] {
        assert_eq!(gateway.next().await, expected);
    }
    // One that died while nobody used it is replaced before anything is sent.
    assert_eq!(served(by_socket(&house, STAGING, &put).await), (200, "3".into()));
    // Twice in a row is no accident.
    let (status, code) = by_socket(&house, STAGING, &[]).await.code();
    assert_eq!((status, code.as_str()), (502, "gateway-failed"));
    for expected in ["PUT 3", "GET 3", "GET 4"] {
        assert_eq!(gateway.next().await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_told_to_end_finishes_what_is_under_way() {
    let house = logged_in().await;
    let mut gateway =
        Gateway::start(&house, &[&[Act::Answer, Act::AnswerLate], &[Act::AnswerLate]]).await;
    let proxy = gateway.proxy(&house).await;
    // A connection that a tool keeps.
    let mut kept = UnixStream::connect(socket(&house)).await.unwrap();
    let head = format!("GET {STAGING} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    kept.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    assert_eq!(gateway.next().await, "GET 0");
    let (path, url) = (socket(&house), format!("http://localhost{STAGING}"));
    let path = path.to_str().unwrap();
    let mut under_way = curl(&["--unix-socket", path, &url]);
    let under_way = under_way.stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert!(gateway.next().await.starts_with("GET "));
    proxy.terminate();
    // The kept connection ends first; nobody gets a new one.
    kept.read_to_end(&mut answer).await.unwrap();
    assert!(!socket(&house).exists());
    gateway.late.notify_one();
    let answered = got(&under_way.wait_with_output().await.unwrap());
    assert_eq!((answered.status, answered.body.len()), (200, 1), "{answered:?}");
    let (code, said) = proxy.ended().await;
    assert_eq!(code, Some(0), "{said}");
    let refused = curl(&["--unix-socket", path, &url]).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
}
