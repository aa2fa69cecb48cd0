//! Who may ask: real polkitd decides on a bus with the shipped policies, signetd is not root, and the
//! callers are programs of other users. Only root can start all this.

use std::path::Path;
use std::process::Command;

use signet_tests::bus::PrivateBus;
use signet_tests::polkitd::Polkitd;
use signet_tests::signetd::{Signetd, SignetdOptions};
use signet_tests::skip::without_root;
use signet_tests::swtpm::Swtpm;

use crate::client::refusal;
use crate::world::{SIGNETD, World};

/// Runs signetd in the place of `signet`, whom this machine may not have.
const DAEMON: (&str, u32) = ("games", 5);
/// Whoever asks: a user without a session, like a service.
const NOBODY: u32 = 65534;
const POLICY: &str = include_str!("../../../polkit/org.signet.presence.policy");
const BUS_POLICY: &str = include_str!("../../dbus/org.signet.Presence1.conf");
const POLKIT_BUS_POLICY: &str = "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf";

const RENEWAL: &str = "{'purpose': <'renew'>, 'challenge': <@ay [1, 2, 3]>, 'subject': <'alice'>, \
                       'session': <@ay [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]>}";
const WORKLOAD: &str = "{'purpose': <'workload'>, 'challenge': <@ay [1, 2, 3]>}";
const KEY: &str = "{'challenge': <@ay [1, 2, 3]>, 'subject': <'alice'>}";

/// A call that needs each right, and what a machine that is not enrolled says to who has it.
const CALLS: [(&str, &[&str], &str); 5] = [
    ("org.signet.presence.request", &["RequestPresence", "t", RENEWAL], "NotEnrolled"),
    ("org.signet.presence.machine", &["RequestPresence", "t", WORKLOAD], "NotEnrolled"),
    ("org.signet.presence.enrol", &["RegisterAuthenticator", "t", KEY], "NotEnrolled"),
    ("org.signet.presence.manage-authenticators", &["ListCredentials", "t", "{}"], "ok"),
    ("org.signet.presence.manage-device", &["BeginEnrolment"], "ok"),
];

struct Desk {
    signetd: Signetd,
    polkitd: Polkitd,
    _tpm: Swtpm,
    bus: PrivateBus,
}

impl Desk {
    /// `None` where the test does not run as root.
    fn new(rules: &str) -> Option<Self> {
        Self::with_policy(rules, &POLICY.replace("unix-user:signet", "unix-user:games"))
    }

    fn with_policy(rules: &str, policy: &str) -> Option<Self> {
        if without_root("starting polkitd and programs of other users") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("org.signet.Presence1.conf");
        let user = BUS_POLICY.replace("user=\"signet\"", &format!("user=\"{}\"", DAEMON.0));
        std::fs::write(&own, user).unwrap();
        let bus = PrivateBus::start_as_system(&[own, POLKIT_BUS_POLICY.into()]).unwrap();
        let polkitd = Polkitd::start(&bus, rules, Some(policy)).unwrap();
        let tpm = Swtpm::copy().unwrap();
        let options = SignetdOptions {
            bus: bus.address().to_owned(),
            tcti: tpm.tcti(),
            authenticators: Vec::new(),
            extra: "danger_skip_polkit = false".to_owned(),
        };
        let signetd = Signetd::start_as(DAEMON.1, Path::new(SIGNETD), &options).unwrap();
        Some(Self { signetd, polkitd, _tpm: tpm, bus })
    }

    /// A call by a program of this user: `ok`, or error and words.
    fn call(&self, uid: u32, call: &[&str]) -> (String, String) {
        self.call_with(uid, call, &[])
    }

    fn call_with(&self, uid: u32, call: &[&str], more: &[&str]) -> (String, String) {
        let uid = uid.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "gdbus", "call", "--system"])
            .args(["-d", "org.signet.Presence1", "-o", "/org/signet/Presence1"])
            .args(more)
            .args(["-m", &format!("org.signet.Presence1.{}", call[0])])
            .args(&call[1..])
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address());
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        if output.status.success() {
            return ("ok".to_owned(), text);
        }
        let (_, error) = text.split_once("org.signet.Presence1.Error.").expect(&text);
        let (name, words) = error.split_once(": ").unwrap();
        (name.to_owned(), words.trim().to_owned())
    }
}

#[test]
fn each_right_is_for_whom_the_rules_say_and_nobody_else() {
    let users = [("daemon", 1), ("bin", 2), ("sys", 3), ("man", 6), ("nobody", NOBODY)];
    let mut rules = String::new();
    for ((user, _), (action, ..)) in users.iter().zip(CALLS) {
        rules += &format!(
            "polkit.addRule(function(action, subject) {{ \
               if (action.id == {action:?} && subject.user == {user:?}) return polkit.Result.YES; \
             }});\n"
        );
    }
    let Some(desk) = Desk::new(&rules) else { return };
    for (right, (user, uid)) in users.iter().enumerate() {
        for (number, (action, call, served)) in CALLS.iter().enumerate() {
            let (outcome, words) = desk.call(*uid, call);
            if number == right {
                assert_eq!(outcome, *served, "{user} {action}: {words}");
                continue;
            }
            assert_eq!(outcome, "NotAuthorized", "{user} {action}: {words}");
            assert!(words.contains(action), "{words}");
            // Nobody sits here for the others; for this one an administrator would do.
            let advice = match *action {
                "org.signet.presence.manage-device" => "needs authentication",
                _ => "active session",
            };
            assert!(words.contains(advice), "{words}");
        }
    }
    // root may everything, everybody may look, and a person is asked only where the caller waits.
    for (action, call, served) in CALLS {
        assert_eq!(desk.call(0, call).0, served, "{action}");
    }
    assert_eq!(desk.call(NOBODY, &["Status"]).0, "ok");
    let (outcome, words) = desk.call_with(1, &["BeginEnrolment"], &["--interactive"]);
    assert_eq!(outcome, "NotAuthorized");
    assert!(words.contains("needs authentication"), "{words}");
}

/// A process of root's, whose connection a user without rights made: whoever looks at the process
/// sees root, whoever asks the bus does not. Polkit believes the uid in a unix-process subject.
const TURNCOAT: &str = r#"
import os, socket, sys
from gi.repository import Gio, GLib
path = sys.argv[1].removeprefix('unix:path=').split(',')[0]
stream = socket.socket(socket.AF_UNIX)
os.setegid(65534); os.seteuid(65534)
stream.connect(path)
os.seteuid(0); os.setegid(0)
stream.sendall(b'\0AUTH EXTERNAL ' + b'65534'.hex().encode() + b'\r\n')
assert stream.recv(4096).startswith(b'OK')
stream.sendall(b'BEGIN\r\n')
def call(serial, name, path, interface, member, body):
    message = Gio.DBusMessage.new_method_call(name, path, interface, member)
    message.set_serial(serial)
    if body: message.set_body(body)
    stream.sendall(message.to_blob(Gio.DBusCapabilityFlags.NONE))
    buffer = b''
    while True:
        while len(buffer) < 16 or len(buffer) < Gio.DBusMessage.bytes_needed(buffer):
            buffer += stream.recv(4096)
        size = Gio.DBusMessage.bytes_needed(buffer)
        answer = Gio.DBusMessage.new_from_blob(buffer[:size], Gio.DBusCapabilityFlags.NONE)
        buffer = buffer[size:]
        if answer.get_reply_serial() == serial: return answer
bus = ('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus')
call(1, *bus, 'Hello', None)
assert os.geteuid() == 0
for serial, claim in ((2, 0), (3, 65534)):
    subject = ('unix-process', {'pid': GLib.Variant('u', os.getpid()), 'start-time': GLib.Variant('t', 0),
        'uid': GLib.Variant('i', claim)})
    body = GLib.Variant('((sa{sv})sa{ss}us)', (subject, 'org.signet.presence.manage-device', {}, 0, ''))
    answer = call(serial, 'org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority',
        'org.freedesktop.PolicyKit1.Authority', 'CheckAuthorization', body)
    print('polkit', answer.get_error_name() or answer.get_body().unpack()[0][0])
answer = call(4, 'org.signet.Presence1', '/org/signet/Presence1', 'org.signet.Presence1', 'BeginEnrolment', None)
print('signetd', answer.get_error_name())
"#;

#[test]
fn a_process_that_looks_like_roots_gains_nothing() {
    let Some(desk) = Desk::new("") else { return };
    let output = Command::new("/usr/bin/python3")
        .args(["-c", TURNCOAT, desk.bus.address()])
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(last, "signetd org.signet.Presence1.Error.NotAuthorized", "{text}");
}

/// The rules of docs/operating.md.
fn documented_rules() -> String {
    let document = include_str!("../../../docs/operating.md");
    let (_, rest) = document.split_once("## Who may ask").unwrap();
    let blocks = rest.split("```javascript\n").skip(1);
    let rules: Vec<&str> = blocks.map(|block| block.split_once("```").unwrap().0).collect();
    assert_eq!(rules.len(), 2);
    rules.concat()
}

#[test]
fn rules_see_purpose_action_and_host_and_the_documented_ones_work() {
    let rules = documented_rules().replace("\"meshd\"", "\"nobody\"").replace("\"ops\"", "\"man\"");
    let Some(desk) = Desk::new(&rules) else { return };
    let action = |name: &str, host: &str| {
        let text = format!(
            r#"[{{"type":"signet_action","actions":["{name}"],"locations":["https://{host}"],"method":"PUT","path":"/v1/x","content_digest":"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"}}]"#
        );
        format!(
            "{{'purpose': <'action'>, 'challenge': <@ay [1]>, 'subject': <'alice'>, \
               'allow_credentials': <@aay [[1]]>, 'action': <@ay {:?}>}}",
            text.as_bytes()
        )
    };
    let ask = |uid, options: &str| desk.call(uid, &["RequestPresence", "t", options]).0;
    // A service that renews by itself, and nothing else.
    assert_eq!(ask(NOBODY, RENEWAL), "NotEnrolled");
    assert_eq!(ask(NOBODY, &action("mesh.route.update", "ctl.mesh.example")), "NotAuthorized");
    assert_eq!(ask(NOBODY, WORKLOAD), "NotAuthorized");
    // The group's members, from anywhere, for routes of one host.
    assert_eq!(ask(6, &action("mesh.route.update", "ctl.mesh.example")), "NotEnrolled");
    assert_eq!(ask(6, &action("mesh.cert.revoke", "ctl.mesh.example")), "NotAuthorized");
    assert_eq!(ask(6, &action("mesh.route.update", "ctl.evil.example")), "NotAuthorized");
    assert_eq!(ask(6, RENEWAL), "NotAuthorized");
    assert_eq!(ask(1, RENEWAL), "NotAuthorized");
}

#[test]
fn without_an_answer_of_polkit_the_answer_is_no() {
    let Some(mut desk) = Desk::new("") else { return };
    desk.polkitd.hang().unwrap();
    let (outcome, words) = desk.call(0, &["RequestPresence", "t", RENEWAL]);
    assert_eq!(outcome, "NotAuthorized");
    assert!(words.contains("did not answer in time"), "{words}");
    desk.polkitd.go_on().unwrap();
    assert_eq!(desk.call(0, &["RequestPresence", "t", RENEWAL]).0, "NotEnrolled");
    desk.polkitd.kill();
    for call in CALLS {
        let (outcome, words) = desk.call(0, call.1);
        assert_eq!(outcome, "NotAuthorized");
        assert!(words.contains("install and start polkit"), "{words}");
    }
    assert_eq!(desk.call(NOBODY, &["Status"]).0, "ok");
    assert!(desk.signetd.log().contains("not let in"));
}

#[test]
fn a_policy_that_names_another_owner_is_of_no_use() {
    let other = POLICY.replace("unix-user:signet", "unix-user:man");
    let yes = "polkit.addRule(function(action, subject) { return polkit.Result.YES; });";
    let Some(desk) = Desk::with_policy(yes, &other) else { return };
    let (outcome, words) = desk.call(NOBODY, &["RequestPresence", "t", RENEWAL]);
    assert_eq!(outcome, "NotAuthorized");
    assert!(words.contains("install signetd's org.signet.presence.policy"), "{words}");
}

/// A polkit that notes what it is asked and answers never.
struct Undecided {
    asked: tokio::sync::mpsc::UnboundedSender<(String, String, u32)>,
    cancelled: tokio::sync::mpsc::UnboundedSender<String>,
}

type Subject = (String, std::collections::HashMap<String, zbus::OwnedVariant>);

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Undecided {
    async fn check_authorization(
        &self,
        subject: Subject,
        action_id: String,
        _details: std::collections::HashMap<String, String>,
        flags: u32,
        _cancellation_id: String,
    ) -> ((bool, bool, std::collections::HashMap<String, String>),) {
        let name = String::try_from(subject.1["name"].clone()).unwrap();
        self.asked.send((format!("{} {name}", subject.0), action_id, flags)).unwrap();
        std::future::pending().await
    }

    fn cancel_check_authorization(&self, cancellation_id: String) {
        self.cancelled.send(cancellation_id).unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_leaves_while_polkit_thinks_leaves_nothing_behind() {
    let world = World::with(vec![], "danger_skip_polkit = false");
    let (asked, mut questions) = tokio::sync::mpsc::unbounded_channel();
    let (cancelled, mut cancels) = tokio::sync::mpsc::unbounded_channel();
    let _polkit = zbus::connection::Builder::address(world.bus.address())
        .name("org.freedesktop.PolicyKit1")
        .serve_at("/org/freedesktop/PolicyKit1/Authority", Undecided { asked, cancelled })
        .build()
        .await
        .unwrap();
    let leaver = world.caller().await;
    let name = leaver.connection.unique_name().unwrap().to_string();
    let proxy = leaver.daemon.inner().clone();
    let flags = zbus::proxy::MethodFlags::ALLOW_INTERACTIVE_AUTH;
    let call = tokio::spawn(async move {
        proxy.call_with_flags::<_, _, ()>("BeginEnrolment", flags, &()).await
    });
    let asked = questions.recv().await.unwrap();
    let action = "org.signet.presence.manage-device".to_owned();
    assert_eq!(asked, (format!("system-bus-name {name}"), action, 1));
    call.abort();
    leaver.connection.close().await.unwrap();
    cancels.recv().await.unwrap();
    // Whoever does not wait for a person is told soon.
    let caller = world.caller().await;
    let (outcome, words) = refusal(caller.daemon.begin_enrolment().await.unwrap_err());
    assert_eq!(outcome, "NotAuthorized");
    assert!(words.contains("did not answer in time"), "{words}");
    assert_eq!(questions.recv().await.unwrap().2, 0);
}
