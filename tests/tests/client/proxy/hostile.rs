//! Requests that two readers could read in two ways, gateways that fail, and a machine without a session.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use signet_tests::house::House;

use super::{Proxy, STAGING, by_socket, socket};
use crate::gateway::logged_in;

/// Sends these very bytes and reads to the end.
async fn raw(house: &House, bytes: &[u8]) -> String {
    raw_at(socket(house), bytes).await
}

async fn raw_at(socket: PathBuf, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is cut in the middle of what it sends says no more.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| line.starts_with("HTTP/1.1 ")).map(|line| &line[9..12]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_readers_read_in_two_ways_is_one_request_or_none() {
    let house = logged_in().await;
    let _proxy = Proxy::start(&house, &[]).await;
    // Who says nothing, or not all, is not waited for; this goes on beside the rest.
    let slow = [&b""[..], b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nhost: loc"];
    let slow = slow.map(|bytes| tokio::spawn(raw_at(socket(&house), bytes)));
    let hidden = "GET /v1/hidden HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let head = format!("PUT {STAGING} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    let both =
        |first: &str, second: &str| format!("{head}{first}\r\n{second}\r\n\r\n0\r\n\r\n{hidden}");
    // Length and chunks: the chunks count, what follows is never read, and the connection ends.
    for (first, second) in [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 60"),
    ] {
        let answer = raw(&house, both(first, second).as_bytes()).await;
        assert_eq!(statuses(&answer).len(), 1, "{answer}");
    }
    for framing in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: xchunked",
        "transfer-encoding : chunked",
        "x: a\r\n folded: b",
        "x: a\0b",
        "host: localhost",
        "host: elsewhere",
        "authorization: Bearer mine",
    ] {
        let request = format!("{head}{framing}\r\n\r\nhello{hidden}");
        let answer = raw(&house, request.as_bytes()).await;
        assert_eq!(statuses(&answer).first(), Some(&"400"), "{framing:?}: {answer}");
    }
    let bytes = format!(
        "GET {STAGING} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: {}\r\n\r\n",
        "a".repeat(70_000)
    );
    assert_eq!(statuses(&raw(&house, bytes.as_bytes()).await), ["431"]);
    assert_eq!(
        statuses(&raw(&house, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await),
        ["400"]
    );
    for answer in slow {
        let answer = answer.await.unwrap();
        assert!(matches!(statuses(&answer)[..], [] | ["408"]), "{answer}");
    }
    let received = house.upstream.received();
    assert!(received.iter().all(|received| received.target != "/v1/hidden"), "{received:?}");
    assert!(received.iter().all(|received| received.body.is_empty()), "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_named() {
    let mut house = logged_in().await;
    // A gateway of a CA that is not known.
    let proxy = Proxy::start_at(&house.alice, &["--to", &house.url("")]).await;
    let (status, code) = by_socket(&house, STAGING, &[]).await.code();
    assert_eq!((status, code.as_str()), (502, "gateway-untrusted"));
    assert_eq!(house.upstream.received(), []);
    proxy.terminate();
    assert_eq!(proxy.ended().await.0, Some(0));
    // Nobody listens there.
    let nowhere = signet_tests::reserved::Reserved::take().unwrap();
    let to = format!("https://localhost:{}", nowhere.address().port());
    let proxy = Proxy::start_at(&house.alice, &["--to", &to]).await;
    let (status, code) = by_socket(&house, STAGING, &[]).await.code();
    assert_eq!((status, code.as_str()), (502, "gateway-unreachable"));
    drop(proxy);
    // The authority is away: the gateway's own answer reaches the tool.
    let _proxy = Proxy::start(&house, &[]).await;
    house.authority.kill();
    let got = by_socket(&house, STAGING, &[]).await;
    assert!(got.status >= 400 && !got.head.contains("proxy-status"), "{got:?}");
    house.authority.serve().unwrap();
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    // A second proxy at the same place says so.
    let again = house.alice.signet(&["--json", "proxy", "--to", &house.url("")]).await.unwrap();
    let (_, message) = again.error().unwrap();
    assert!(again.code == Some(3) && message.contains("running already"), "{again:?}");
    // No session: the tool hears what to do, in a status that it knows.
    let out = house.alice.signet(&["logout"]).await.unwrap();
    assert_eq!(out.code, Some(0), "{out:?}");
    let got = by_socket(&house, STAGING, &[]).await;
    assert_eq!(got.code(), (401, "not-logged-in".to_owned()));
    assert!(got.body.contains("run `signet login`"), "{got:?}");
    house.alice.put_finger().unwrap();
    assert_eq!(house.alice.signet(&["login"]).await.unwrap().code, Some(0));
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
}
