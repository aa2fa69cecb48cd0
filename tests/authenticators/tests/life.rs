//! The key processes: what they print, when they end, what they keep.
#![cfg(all(feature = "opensk", feature = "trussed"))]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use signet_test_authenticators::{Firmware, KeyError, KeyOptions, VirtualKey, aaguid_from_hex};

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_opensk-key"), env!("CARGO_BIN_EXE_trussed-key")];

fn spawn(program: &str, folder: &Path, certificate: &str) -> Child {
    Command::new(program)
        .args(["--socket", "key", "--control", "control", "--attestation-cert", certificate])
        .args(["--attestation-key", "opensk.key"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn folder_with_attestation() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made =
        Command::new(env!("CARGO_BIN_EXE_make-attestation")).arg(folder.path()).status().unwrap();
    assert!(made.success());
    folder
}

#[test]
fn a_key_prints_ready_and_ends_with_its_parent() {
    for program in PROGRAMS {
        let folder = folder_with_attestation();
        let mut key = spawn(program, folder.path(), "opensk.der");
        let mut stdout = key.stdout.take().unwrap();
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready\n");
        // What the kernel does when the parent dies.
        drop(key.stdin.take());
        assert!(key.wait().unwrap().success());
        let mut more = String::new();
        stdout.read_to_string(&mut more).unwrap();
        assert_eq!(more, "");
    }
}

#[test]
fn a_key_that_is_not_ready_does_not_say_so() {
    for program in PROGRAMS {
        let folder = folder_with_attestation();
        let mut key = spawn(program, folder.path(), "missing.der");
        let parent_is_here = key.stdin.take();
        let output = key.wait_with_output().unwrap();
        drop(parent_is_here);
        assert!(!output.status.success());
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn commands_are_acknowledged() {
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let mut key = VirtualKey::start(firmware).unwrap();
        key.touch().unwrap();
        key.touch_manual().unwrap();
        key.touch_auto().unwrap();
        key.finger("right").unwrap();
        key.dirty().unwrap();
        assert!(matches!(key.command("dance"), Err(KeyError::UnknownCommand)));
        key.unplug().unwrap();
        assert!(!key.socket().exists());
        key.replug().unwrap();
        assert!(key.socket().exists());
        key.kill();
        assert!(matches!(key.touch(), Err(KeyError::Io(_))));
        key.restart().unwrap();
        key.touch().unwrap();
    }
}

#[test]
fn a_foreign_attestation_key_is_refused() {
    let mut batch =
        signet_test_authenticators::AttestationRoot::generate().unwrap().issue([1; 16]).unwrap();
    batch.key = b"not a key".to_vec();
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let started = KeyOptions::new(firmware).attestation(batch.clone()).start();
        assert!(matches!(started, Err(KeyError::DiedAtStart)), "{started:?}");
    }
}

#[test]
fn reports_of_wrong_size_are_ignored() {
    use rustix::net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket,
    };
    for firmware in [Firmware::OpenSk, Firmware::Trussed] {
        let key = VirtualKey::start(firmware).unwrap();
        let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(key.socket()).unwrap()).unwrap();
        for length in [1, 64, 66, 127] {
            send(&socket, &vec![0; length], SendFlags::empty()).unwrap();
        }
        // INIT on the broadcast channel is still answered.
        let mut init = vec![0, 0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8];
        init.resize(65, 0x5A);
        send(&socket, &init, SendFlags::empty()).unwrap();
        let mut answer = [0; 128];
        let (length, _) =
            rustix::net::recv(&socket, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap();
        assert_eq!((length, answer[4], &answer[7..15]), (64, 0x86, &[0x5A; 8][..]));
    }
}

#[test]
fn aaguids_are_read_from_hex() {
    let text = "8146e1f0-a2b3-4c5d-9e6f-001122334455";
    assert_eq!(aaguid_from_hex(text), Some(Firmware::OpenSk.aaguid()));
    for bad in ["", "8146", &"g".repeat(32), &"é".repeat(16)] {
        assert_eq!(aaguid_from_hex(bad), None);
    }
}
