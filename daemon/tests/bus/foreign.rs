//! The interface called by a program in another language.

use std::process::Command;

use crate::world::World;

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
