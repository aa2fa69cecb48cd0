//! A Unix socket that is one gateway's own: who connects is known by the kernel, and TLS is not needed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use signet_tests::gateway::profile;

use crate::stage::{Machine, Stage, request};

const STAGING: &str = "/v1/namespaces/sandbox/routes/web";

fn stage(uids: &str) -> Stage {
    let lines = format!(
        "peer_certificate = \"sha256-header\"\nsocket = \"edge.sock\"\nsocket_uids = [{uids}]\n"
    );
    Stage::configured(profile::ENVOY_FINGERPRINT_HEADER, &lines)
}

fn ask(stage: &Stage, machine: &Machine, more: &[&str]) -> String {
    let token = format!("authorization: Bearer {}", stage.session_token(machine, 60).token);
    let headers = [&[token.as_str()], more].concat();
    let mut stream = UnixStream::connect(stage.folder().join("edge.sock")).unwrap();
    let mut answer = String::new();
    let asked = stream.write_all(&request(&format!("PUT /v1/authorize{STAGING}"), &headers, ""));
    // A connection that is closed at once may break the writing, or the reading.
    let _ = asked.and_then(|()| stream.read_to_string(&mut answer));
    answer
}

#[test]
fn its_own_gateway_asks_there_without_tls() {
    let uid = rustix::process::getuid().as_raw();
    let stage = stage(&uid.to_string());
    let bob = stage.enrol("bob");
    let hex = format!("x-signet-peer-sha256: {}", bob.thumbprint.to_hex());
    let answer = ask(&stage, &bob, &[&hex]);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("x-signet-subject: bob\r\n"), "{answer}");
    let record = stage.last_decision();
    assert_eq!(record.gateway.as_deref(), Some("spiffe://mesh.example/gateway/edge"));
    // The one source counts here as everywhere.
    let xfcc = format!("x-forwarded-client-cert: [{{\"hash\":\"{}\"}}]", bob.thumbprint.to_hex());
    let answer = ask(&stage, &bob, &[&xfcc]);
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert_eq!(stage.last_decision().code.as_deref(), Some("certificate-missing"));
}

#[test]
fn processes_of_other_users_hear_nothing() {
    let other = rustix::process::getuid().as_raw() + 1;
    let stage = stage(&other.to_string());
    let bob = stage.enrol("bob");
    let hex = format!("x-signet-peer-sha256: {}", bob.thumbprint.to_hex());
    let before = stage.decisions().len();
    assert_eq!(ask(&stage, &bob, &[&hex]), "");
    assert_eq!(stage.decisions().len(), before);
}

#[test]
fn the_socket_ends_with_the_authority_and_one_left_behind_is_replaced() {
    let uid = rustix::process::getuid().as_raw();
    let mut stage = stage(&uid.to_string());
    let socket = stage.folder().join("edge.sock");
    stage.stop_authority();
    assert!(!socket.exists());
    // A crash leaves a socket on which nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    stage.start_authority();
    let bob = stage.enrol("bob");
    let hex = format!("x-signet-peer-sha256: {}", bob.thumbprint.to_hex());
    assert!(ask(&stage, &bob, &[&hex]).starts_with("HTTP/1.1 200 "));
}
