//! The interface as it is written down and as it is served; who may call what; no network socket.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use signet_tests::bus::PrivateBus;
use signet_tests::signetd::{Signetd, SignetdOptions};
use signet_tests::swtpm::Swtpm;
use zbus::fdo::{DBusProxy, IntrospectableProxy};

use crate::authority::PATIENCE;
use crate::client::{Answer, Caller, Options, refusal, text};
use crate::world::{SIGNETD, World, ready, renewal, session, untouched_key};

fn dbus_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dbus").join(name)
}

/// One interface of an introspection document, without comments and indentation.
fn interface(document: &str, name: &str) -> Vec<String> {
    let mut plain = String::new();
    for part in document.split("<!--") {
        plain.push_str(part.split_once("-->").map_or(part, |(_, rest)| rest));
    }
    let start = plain.find(&format!("<interface name=\"{name}\">")).unwrap();
    let end = start + plain[start..].find("</interface>").unwrap();
    plain[start..end]
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

async fn introspect(caller: &Caller, path: &str) -> String {
    let proxy = IntrospectableProxy::builder(&caller.connection)
        .destination("org.signet.Presence1")
        .path(path.to_owned())
        .build()
        .await
        .unwrap();
    proxy.introspect().await.unwrap()
}

#[tokio::test]
async fn the_daemon_serves_what_the_xml_says() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let written = fs::read_to_string(dbus_file("org.signet.Presence1.xml")).unwrap();
    let served = introspect(&caller, "/org/signet/Presence1").await;
    let name = "org.signet.Presence1";
    assert_eq!(interface(&served, name), interface(&written, name));

    let pending = caller.presence("shown", &session(&credential)).await.unwrap();
    let served = introspect(&caller, pending.path.as_str()).await;
    let name = "org.signet.Presence1.Request";
    assert_eq!(interface(&served, name), interface(&written, name));
    drop(world);
}

#[tokio::test]
async fn a_prompt_at_an_agent_is_what_the_xml_says() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let mut agent = crate::agents::Agent::new(&world).await;
    let _pending = caller.presence("shown", &session(&credential)).await.unwrap();
    let (prompt, _) = agent.asked().await;
    let written = fs::read_to_string(dbus_file("org.signet.Presence1.xml")).unwrap();
    let served = introspect(&caller, prompt.inner().path().as_str()).await;
    let name = "org.signet.Presence1.Prompt";
    assert_eq!(interface(&served, name), interface(&written, name));
    // And what a test's agent serves is what the agents' file says.
    let written = fs::read_to_string(dbus_file("org.signet.Presence1.Agent.xml")).unwrap();
    let proxy = IntrospectableProxy::builder(&caller.connection)
        .destination(agent.connection.unique_name().unwrap().to_owned())
        .path("/org/signet/Agent");
    let served = proxy.build().await.unwrap().introspect().await.unwrap();
    let name = "org.signet.Presence1.Agent";
    assert_eq!(interface(&served, name), interface(&written, name));
}

#[tokio::test]
async fn an_enrolment_changes_properties_with_a_signal_for_each() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let mut signals = caller.overhear("/org/signet/Presence1").await;
    world.enrol(&caller).await;
    let mut expected: BTreeSet<&str> = [
        "Audience",
        "Authority",
        "AuthorityCertificates",
        "DeviceCertificates",
        "DeviceId",
        "Enrolled",
        "Operator",
        "RpId",
    ]
    .into();
    while !expected.is_empty() {
        let message = tokio::time::timeout(PATIENCE, signals.next()).await;
        let message = message.expect("a signal was due").unwrap().unwrap();
        if message.header().member().unwrap().as_str() != "PropertiesChanged" {
            continue;
        }
        let (interface, changed, _): (String, Answer, Vec<String>) =
            message.body().deserialize().unwrap();
        assert_eq!(interface, "org.signet.Presence1");
        for (name, value) in changed {
            assert!(expected.remove(name.as_str()), "{name}");
            if name == "Enrolled" {
                assert_eq!(bool::try_from(value), Ok(true));
            }
        }
    }
}

#[tokio::test]
async fn bad_calls_are_refused_by_name_and_say_what_to_do() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let (name, words) = refusal(caller.daemon.request_presence("t", &renewal()).await.unwrap_err());
    assert_eq!(name, "NotEnrolled");
    assert!(words.contains("signet enrol"), "{words}");
    let (name, words) =
        refusal(caller.daemon.request_presence("t", &Options::new()).await.unwrap_err());
    assert_eq!(name, "InvalidArgument");
    assert!(words.contains("member purpose is missing"), "{words}");
    world.enrol(&caller).await;
    for token in ["", "a/b", "ä", &"x".repeat(65)] {
        let error = caller.daemon.request_presence(token, &renewal()).await.unwrap_err();
        assert_eq!(refusal(error).0, "InvalidArgument", "{token:?}");
    }
    let action = crate::world::with(
        crate::world::with(session(&[1]), "purpose", "action".into()),
        "action",
        b"[{\"type\":\"signet_action\"}]".to_vec().into(),
    );
    let (name, words) = refusal(caller.daemon.request_presence("t", &action).await.unwrap_err());
    assert_eq!(name, "InvalidArgument");
    assert!(words.contains("signet_action"), "{words}");
}

#[tokio::test]
async fn only_a_certificate_verify_is_signed_for_callers() {
    let world = World::enrolled(vec![], "").await;
    let caller = world.caller().await;
    let context = b"TLS 1.3, client CertificateVerify\0";
    for hash in [32, 48] {
        let message = [&[0x20; 64][..], context, &vec![7; hash]].concat();
        let signature = caller.daemon.sign_tls(&message).await.unwrap();
        let chain = caller.daemon.device_certificates().await.unwrap();
        crate::evidence::verify_by_certificate(&chain[0], &message, &signature);
        for changed in
            [&message[1..], &message[..message.len() - 1], &[&message[..], b"x"].concat()]
        {
            let error = caller.daemon.sign_tls(changed).await.unwrap_err();
            assert_eq!(refusal(error).0, "InvalidArgument");
        }
    }
    let server = [&[0x20; 64][..], b"TLS 1.3, server CertificateVerify\0", &[7; 32]].concat();
    let sig_structure = b"\x84\x6aSignature1\x40\x40\x40".to_vec();
    for message in [server, sig_structure, vec![]] {
        let error = caller.daemon.sign_tls(&message).await.unwrap_err();
        assert_eq!(refusal(error).0, "InvalidArgument");
    }
}

#[tokio::test]
async fn no_network_socket_is_open() {
    let world = World::with_keys(vec![]);
    let caller = world.caller().await;
    let pid = world.signetd.pid().unwrap();
    // The emulator is reached over TCP on loopback, a real TPM by its device node: all but that is unix.
    let tcti = world.tpm.tcti();
    let port: u16 = tcti.rsplit('=').next().unwrap().parse().unwrap();
    let allowed = [port, port + 1].map(|port| format!("0100007F:{port:04X}"));
    let before = inet_sockets(pid);
    assert_eq!(text(&caller.daemon.status().await.unwrap(), "tpm"), "ok");
    for remote in before.into_iter().chain(inet_sockets(pid)) {
        assert!(allowed.contains(&remote), "socket to {remote}");
    }
}

/// Remote addresses of the TCP and UDP sockets of a process, IPv4 and IPv6.
fn inet_sockets(pid: u32) -> Vec<String> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        if let Some(inode) = target.strip_prefix("socket:[") {
            inodes.push(inode.trim_end_matches(']').to_owned());
        }
    }
    assert!(!inodes.is_empty(), "the bus connection is a socket");
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(9).is_some_and(|inode| inodes.iter().any(|own| own == inode)) {
                found.push(fields[2].to_owned());
            }
        }
    }
    found
}

#[tokio::test]
async fn the_bus_policy_lets_callers_ask_and_root_enrol() {
    let policy = dbus_file("org.signet.Presence1.conf");
    let bus = PrivateBus::start_as_system(&[policy]).unwrap();
    let tpm = Swtpm::copy().unwrap();
    let options = SignetdOptions {
        bus: bus.address().to_owned(),
        tcti: tpm.tcti(),
        authenticators: vec![],
        extra: String::new(),
    };
    // Only root and the daemon's own user own the name; whoever else runs this test sees that.
    let started = Signetd::start(Path::new(SIGNETD), &options);
    let caller = Caller::new(&bus).await;
    let dbus = DBusProxy::new(&caller.connection).await.unwrap();
    let own = caller.connection.unique_name().unwrap().to_owned();
    let user = dbus.get_connection_unix_user(own.into()).await.unwrap();
    if user == 0 {
        let _signetd = started.unwrap();
        assert_eq!(text(&caller.daemon.status().await.unwrap(), "tpm"), "ok");
        assert!(caller.daemon.begin_enrolment().await.unwrap().contains_key("ak_public"));
    } else {
        let log = started.unwrap_err().to_string();
        assert!(log.contains("cannot own"), "{log}");
    }
}

#[tokio::test]
async fn the_name_is_owned_once() {
    let world = World::with_keys(vec![]);
    let options = SignetdOptions {
        bus: world.bus.address().to_owned(),
        tcti: world.tpm.tcti(),
        authenticators: vec![],
        extra: String::new(),
    };
    let second = Signetd::start(Path::new(SIGNETD), &options).unwrap_err().to_string();
    assert!(second.contains("stop the other signetd"), "{second}");
}

#[test]
fn the_program_checks_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signetd.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let output = std::process::Command::new(SIGNETD)
            .args(["--check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("[timeouts]\nprompt = 5\n"), (Some(0), String::new()));
    let (code, words) = check("pcrs = [0]\nstat_dir = \"/x\"\n");
    assert_eq!(code, Some(1));
    assert!(words.contains("line 2") && words.contains("stat_dir"), "{words}");
    let help = std::process::Command::new(SIGNETD).arg("--help").output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("Examples:"));
}
