//! The interface called by a program in another language.

use std::io::Write;
use std::process::{Command, Stdio};

use signet_client::daemon::{Bus, DaemonRefusal};
use signet_test_authenticators::{Firmware, VirtualKey};

use crate::client::bytes;
use crate::desktop_tool::prove;
use crate::world::{CHALLENGE, PIN, World, key_with_finger, registration, with_pin};

#[tokio::test]
async fn busctl_reads_the_state_and_is_refused_by_name() {
    let world = World::enrolled(vec![], "").await;
    let busctl = |arguments: &[&str]| {
        let output = Command::new("busctl")
            .arg(format!("--address={}", world.bus.address()))
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let target = ["org.signet.Presence1", "/org/signet/Presence1", "org.signet.Presence1"];
    let (worked, status) = busctl(&[&["call"], &target[..], &["Status"]].concat());
    assert!(worked, "{status}");
    assert!(
        status.contains("\"tpm\" s \"ok\"") && status.contains("\"enrolled\" b true"),
        "{status}"
    );
    let (worked, operator) = busctl(&[&["get-property"], &target[..], &["Operator"]].concat());
    assert_eq!((worked, operator.as_str()), (true, "s \"alice\"\n"));
    let (worked, sessions) =
        busctl(&[&["call"], &target[..], &["ListSessions", "a{sv}", "0"]].concat());
    assert_eq!((worked, sessions.as_str()), (true, "aa{sv} 0\n"));
    let (worked, words) =
        busctl(&[&["call"], &target[..], &["EndSessions", "a{sv}", "0"]].concat());
    assert!(worked, "{words}");
    let (worked, sessions) =
        busctl(&[&["call"], &target[..], &["ListSessions", "a{sv}", "0"]].concat());
    assert!(worked && sessions.contains("\"state\" s \"ended\""), "{sessions}");
    let call = ["SignTls", "ay", "3", "1", "2", "3"];
    let (worked, words) = busctl(&[&["call"], &target[..], &call].concat());
    assert!(!worked && words.contains("not a TLS 1.3 client CertificateVerify"), "{words}");
}

/// Asks for a renewal and waits for `Completed`, as a desktop tool in another language would.
const SCRIPT: &str = r#"
import sys
from gi.repository import Gio, GLib
bus = Gio.DBusConnection.new_for_address_sync(sys.argv[1],
    Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
sender = bus.get_unique_name()[1:].replace('.', '_')
path = f'/org/signet/Presence1/request/{sender}/py'
loop = GLib.MainLoop()
def signal(_bus, _sender, _path, _interface, name, arguments):
    if name == 'Completed':
        outcome, message, results = arguments.unpack()
        print(outcome, len(results['evidence']) > 1000)
        loop.quit()
bus.signal_subscribe('org.signet.Presence1', 'org.signet.Presence1.Request', None, path, None, 0, signal)
options = {'purpose': GLib.Variant('s', 'renew'), 'challenge': GLib.Variant('ay', bytes(39)),
           'subject': GLib.Variant('s', 'alice'), 'session': GLib.Variant('ay', bytes(16))}
got = bus.call_sync('org.signet.Presence1', '/org/signet/Presence1', 'org.signet.Presence1', 'RequestPresence',
    GLib.Variant('(sa{sv})', ('py', options)), None, 0, -1, None).unpack()[0]
assert got == path, got
loop.run()
"#;

#[tokio::test]
async fn python_asks_for_evidence() {
    let world = World::enrolled(vec![], "").await;
    // Debian's own Python has GLib's bindings (package python3-gi), others seldom do.
    let python = "/usr/bin/python3";
    let output = Command::new(python).args(["-c", SCRIPT, world.bus.address()]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(text, "ok True\n");
}

/// An example of docs/desktop.md, exactly as it stands below this heading.
fn example(heading: &str, language: &str) -> String {
    let document = include_str!("../../../docs/desktop.md");
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, code) = section.split_once(&format!("```{language}\n")).unwrap();
    code.split_once("```").unwrap().0.to_owned()
}

const PRESENCE: &str = "Asking for presence";

/// A workstation with a finger on its registered key.
async fn somebody_there() -> (World, crate::client::Caller, Vec<u8>) {
    let key = key_with_finger("right").await;
    key.finger("right").unwrap();
    let world = World::enrolled(vec![key], "").await;
    let caller = world.caller().await;
    let mut pending = caller.register("register", &registration()).await.unwrap();
    let made = pending.results().await;
    world.keys[0].finger("right").unwrap();
    (world, caller, bytes(&made, "credential_id"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_documented_python_asks_for_presence() {
    let (world, _caller, credential) = somebody_there().await;
    let output = Command::new("/usr/bin/python3")
        .args(["-c", &example(PRESENCE, "python"), "alice", &hex(&CHALLENGE), &hex(&credential)])
        .env("DBUS_SYSTEM_BUS_ADDRESS", world.bus.address())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("finger-needed: ") && said.contains("new session"), "{said}");
    let evidence = String::from_utf8(output.stdout).unwrap();
    assert!(evidence.len() > 2000, "{evidence}");
}

#[tokio::test]
async fn the_documented_rust_asks_for_presence() {
    assert_eq!(example(PRESENCE, "rust"), include_str!("desktop_tool.rs"));
    let (world, _caller, credential) = somebody_there().await;
    let bus = Bus::Address(world.bus.address().to_owned());
    let evidence = prove(&bus, "alice", &CHALLENGE, &[credential]).await.unwrap();
    assert!(evidence.len() > 1000);
    world.keys[0].finger("right").unwrap();
    let other = prove(&bus, "alice", &CHALLENGE, &[vec![7; 32]]).await.unwrap_err();
    assert_eq!(other.refusal(), Some(DaemonRefusal::NoCredential), "{other}");
}

#[test]
fn the_documented_tools_have_twenty_lines() {
    for language in ["python", "rust"] {
        let lines = example(PRESENCE, language).lines().count();
        assert!(lines <= 20, "{language}: {lines}");
    }
}

#[tokio::test]
async fn the_documented_settings_panel_adds_a_finger() {
    let key = with_pin(VirtualKey::start(Firmware::OpenSk).unwrap()).await;
    let world = World::with_keys(vec![key]);
    let touches = ["right", "dirty", "right", "right", "right"];
    for touch in touches {
        let key = &world.keys[0];
        if touch == "dirty" { key.dirty() } else { key.finger(touch) }.unwrap();
    }
    let mut panel = Command::new("/usr/bin/python3")
        .args(["-c", &example("A settings panel", "python"), "right index"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", world.bus.address())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A wrong PIN first: it is asked again.
    let pins = format!("0000\n{PIN}\n{PIN}\n");
    panel.stdin.take().unwrap().write_all(pins.as_bytes()).unwrap();
    let output = panel.wait_with_output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let template = text.lines().find_map(|line| line.strip_prefix("added ")).unwrap_or(&text);
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "3 versions, fingers none, PIN set",
            "PIN (8 tries left):",
            "PIN (7 tries left):",
            "Add a finger to the security key: lay the new finger on the key and lift it again, as \
             often as the key wants",
            "good, 3 more",
            "poor-quality, 3 more",
            "good, 2 more",
            "good, 1 more",
            "good, 0 more",
            &format!("added {template}"),
            "PIN (8 tries left):",
            "fingers: right index",
        ]
    );
    let listed = Command::new("busctl")
        .arg(format!("--address={}", world.bus.address()))
        .args(["call", "org.signet.Presence1", "/org/signet/Presence1", "org.signet.Presence1"])
        .arg("ListAuthenticators")
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for member in ["\"fingers\" s \"enrolled\"", "\"pin_set\" b true", "\"u2f_only\" b false"] {
        assert!(listed.contains(member), "{listed}");
    }
}
