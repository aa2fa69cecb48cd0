//! The `signet` program as it is run: exit codes, streams, and what it says when something is not
//! there.
#![allow(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `signet` in `directory` with nothing of the tester's environment.
fn signet(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().unwrap()
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signet"));
    command.args(arguments).env_clear().current_dir(directory).stdin(Stdio::null());
    command.env("HOME", directory).env("XDG_RUNTIME_DIR", directory);
    command.env("SIGNET_BUS", "unix:path=/nonexistent/bus");
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn usage_is_two_and_help_is_zero() {
    let directory = tempfile::tempdir().unwrap();
    for wrong in [
        &["dance"][..],
        &["approve", "PUT", "https://a.example/"],
        &["approve", "PUT", "http://a.example/", "--action", "a.b"],
        &["present"],
        &["request", "GET", "https://a.example/", "-H", "authorization: Bearer x"],
        &["login", "--pin", "1234"],
    ] {
        assert_eq!(code(&signet(directory.path(), wrong)), 2, "{wrong:?}");
    }
    for help in [&["--help"][..], &["enrol", "--help"], &["key", "add", "--help"], &["--version"]] {
        assert_eq!(code(&signet(directory.path(), help)), 0, "{help:?}");
    }
    assert!(stdout(&signet(directory.path(), &["--help"])).contains("Exit codes:"));
}

#[test]
fn what_cannot_be_reached_is_three_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["status"][..], &["login"], &["token"], &["key", "list"]] {
        let output = signet(directory.path(), arguments);
        assert_eq!(code(&output), 3, "{arguments:?}");
        assert!(stderr(&output).contains("cannot reach the message bus"), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn errors_are_json_when_results_are() {
    let directory = tempfile::tempdir().unwrap();
    let output = signet(directory.path(), &["--json", "status"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "unavailable");
    assert!(error["error"]["message"].as_str().unwrap().starts_with("cannot reach"));
}

#[test]
fn no_runtime_directory_is_said_before_anything_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        command(directory.path(), &["login"]).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("XDG_RUNTIME_DIR is not set"));
}

#[test]
fn a_cache_that_others_can_reach_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("signet");
    std::fs::create_dir(&cache).unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = signet(directory.path(), &["token"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("is not safe to use: its mode is 755"));
}

#[test]
fn settings_with_a_mistake_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join(".config/signet");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("client.toml"), "buss = 1\n").unwrap();
    let output = signet(directory.path(), &["status"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("client.toml is not a valid settings file"));
    assert!(stderr(&output).contains("buss"));
}

#[test]
fn a_descriptor_is_a_number() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        command(directory.path(), &["login"]).env("SIGNET_PIN_FD", "1234x").output().unwrap();
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("SIGNET_PIN_FD"));
    assert!(!stderr(&output).contains("1234x"), "it may be a PIN in the wrong place");
}

#[test]
fn enrolment_needs_an_authority_and_its_ca() {
    let directory = tempfile::tempdir().unwrap();
    let output = signet(directory.path(), &["enrol"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--authority"));
    std::fs::write(directory.path().join("ca.pem"), "not a certificate").unwrap();
    let url = "https://authority.example";
    let output = signet(directory.path(), &["enrol", "--authority", url, "--ca", "ca.pem"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("the CA file holds no certificate"));
}

#[test]
fn inspect_reads_files_and_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZVx1MDAxYlsySiIsImV4cCI6MTcwMDAwMDAwMH0.YQ";
    std::fs::write(directory.path().join("token"), token).unwrap();
    let output = signet(directory.path(), &["inspect", "token"]);
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).starts_with("NOT VERIFIED"));
    assert!(stdout(&output).contains("verified: no"));
    assert!(stdout(&output).contains("expires: 2023-11-14T22:13:20Z"));
    assert!(!stdout(&output).contains('\u{1b}'), "what is inspected must not steer the terminal");

    let mut child = command(directory.path(), &["inspect", "--json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["content"]["verified"], false);
    assert_eq!(shown["content"]["claims"]["sub"], "alice\u{1b}[2J");
    assert!(shown["notice"].as_str().unwrap().starts_with("NOT VERIFIED"));
}

#[test]
fn a_workstations_socket_is_for_single_requests() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = command(directory.path(), arguments);
        let output = command.env("SIGNET_SOCKET", "/nonexistent/socket").output().unwrap();
        (code(&output), stderr(&output))
    };
    let request = ["request", "GET", "https://a.example/"];
    let named = [&request[..], &["--action", "a.b"]].concat();
    for (arguments, exit, words) in [
        (&["login"][..], 2, "only `signet request` goes through"),
        (&["key", "list"], 2, "only `signet request` goes through"),
        (&request, 2, "--action"),
        (&[&named[..], &["--no-token"]].concat(), 2, "--no-token is not for requests"),
        (&[&named[..], &["--cacert", "ca"]].concat(), 2, "--cacert is not for requests"),
        (&named, 3, "cannot reach the workstation through /nonexistent/socket"),
    ] {
        let (found, said) = run(arguments);
        assert_eq!(found, exit, "{arguments:?}: {said}");
        assert!(said.contains(words), "{words:?} in {said}");
    }
    // Who names a bus means that.
    let (found, said) = run(&["--bus", "unix:path=/nonexistent/bus", "status"]);
    assert_eq!(found, 3, "{said}");
    assert!(said.contains("cannot reach the message bus"), "{said}");
}

#[test]
fn inspect_refuses_malformed_files() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&[u8], i32, &str); 5] = [
        (b"", 1, "there is nothing to inspect"),
        (b"\xd2\x84", 1, "this is not valid evidence"),
        (b"hello world", 1, "this is neither evidence"),
        (b"a.b.c", 1, "this is not a valid JWT"),
        (&[b'A'; 600_000], 2, "is larger than"),
    ];
    for (bytes, expected, text) in cases {
        std::fs::write(directory.path().join("f"), bytes).unwrap();
        let output = signet(directory.path(), &["inspect", "f"]);
        assert_eq!((code(&output), stdout(&output).as_str()), (expected, ""));
        assert!(stderr(&output).contains(text), "{text:?} in {:?}", stderr(&output));
    }
    let output = signet(directory.path(), &["inspect", "none"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("cannot read none: No such file"));
}

#[test]
fn completion_is_a_script() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = signet(directory.path(), &["completion", shell]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("signet"));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let mut child =
        command(directory.path(), &["completion", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
