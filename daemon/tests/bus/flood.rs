//! A caller that asks ten thousand times and never reads an answer: it hurts itself.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use signet_tests::skip::without_root;

use crate::client::{Caller, refusal};
use crate::world::{PIN, World, ready, renewal, session, untouched_key};

/// Forty connections of user nobody with 250 requests each, and twenty that never finish saying hello.
const FLOOD: &str = r#"
import socket, sys
from gi.repository import Gio, GLib
path = sys.argv[1].removeprefix('unix:path=').split(',')[0]
def message(serial, name, path, interface, member, body=None):
    message = Gio.DBusMessage.new_method_call(name, path, interface, member)
    message.set_serial(serial)
    if body: message.set_body(body)
    return message.to_blob(Gio.DBusCapabilityFlags.NONE)
def options(number):
    options = {'challenge': GLib.Variant('ay', bytes(39)), 'subject': GLib.Variant('s', 'alice')}
    if number % 2:
        options |= {'purpose': GLib.Variant('s', 'renew'), 'session': GLib.Variant('ay', bytes(16))}
    else:
        options |= {'purpose': GLib.Variant('s', 'session'), 'allow_credentials': GLib.Variant('aay', [b'1'])}
    return GLib.Variant('(sa{sv})', (f't{number}', options))
hello = message(1, 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello')
requests = b''.join(message(number + 2, 'org.signet.Presence1', '/org/signet/Presence1', 'org.signet.Presence1',
    'RequestPresence', options(number)) for number in range(250))
def connect():
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(120)
    stream.connect(path)
    return stream
kept = []
for _ in range(40):
    stream = connect()
    stream.sendall(b'\0AUTH EXTERNAL ' + b'65534'.hex().encode() + b'\r\n')
    assert stream.recv(4096).startswith(b'OK')
    stream.sendall(b'BEGIN\r\n' + hello)
    kept.append(stream)
for _ in range(20):
    stream = connect()
    stream.sendall(b'\0AUTH EXTER')
    kept.append(stream)
print('connected', flush=True)
for stream in kept[:40]:
    try: stream.sendall(requests)
    except OSError: pass
print('sent', flush=True)
sys.stdin.read()
"#;

struct Flood(Child);

impl Flood {
    fn begin(world: &World) -> (Self, BufReader<ChildStdout>) {
        world.bus.open_to_all().unwrap();
        let mut process = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .args(["/usr/bin/python3", "-c", FLOOD, world.bus.address()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let flood = Self(process);
        assert_eq!(line(&mut output), "connected\n");
        (flood, output)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

/// Proportional set size, KiB.
fn memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn renew(caller: &Caller, number: usize) {
    let mut pending = caller.presence(&format!("r{number}"), &renewal()).await.unwrap();
    pending.results().await;
}

#[tokio::test]
async fn ten_thousand_unread_requests_hurt_only_their_maker() {
    if without_root("starting programs of another user") {
        return;
    }
    let (world, caller, credential) = ready(untouched_key().await, "[timeouts]\nprompt = 6").await;
    let pid = world.signetd.pid().unwrap();
    renew(&caller, 0).await;
    let before = memory(pid);
    let (flood, mut output) = Flood::begin(&world);
    let (mut peak, mut served) = (before, 0);
    let sent = tokio::task::spawn_blocking(move || line(&mut output));
    while served < 20 || !sent.is_finished() {
        served += 1;
        renew(&caller, served).await;
        peak = peak.max(memory(pid));
    }
    assert_eq!(sent.await.unwrap(), "sent\n");
    // A person of another user is asked after one prompt of theirs at most.
    let mut pending = caller.presence("session", &session(&credential)).await.unwrap();
    pending.served(&[PIN]).await.ok();
    peak = peak.max(memory(pid));
    // The bus lets a connection have 128 unanswered calls; each of them takes some KiB of an
    // unoptimised build while it waits for its refusal, and nothing grows beyond that.
    assert!(peak - before < 128 << 10, "from {before} to {peak} KiB");
    // What is left of them ends with their connections.
    drop(flood);
    let idle: zbus::OwnedVariant = zbus::Variant::from(0u32).try_into().unwrap();
    let emptied = async { while caller.daemon.status().await.unwrap()["queue_length"] != idle {} };
    tokio::time::timeout(Duration::from_secs(60), emptied).await.expect("the queue stays full");
    renew(&caller, 0).await;
}

#[tokio::test]
async fn a_user_with_many_connections_has_no_more_requests_than_one() {
    let limits = "[limits]\nper_user = 3";
    let (world, first, credential) = ready(untouched_key().await, limits).await;
    let second = world.caller().await;
    let mut waiting = Vec::new();
    for (number, caller) in [&first, &second, &first].into_iter().enumerate() {
        let token = format!("t{number}");
        waiting.push(caller.presence(&token, &session(&credential)).await.unwrap());
    }
    let error = second.presence("more", &session(&credential)).await.map(drop).unwrap_err();
    let (name, words) = refusal(error);
    assert_eq!(name, "TooManyRequests");
    assert!(words.contains("3 requests of this user"), "{words}");
    waiting[0].request.cancel().await.unwrap();
    assert_eq!(waiting[0].outcome().await.0, "Cancelled");
    second.presence("more", &session(&credential)).await.unwrap();
}
