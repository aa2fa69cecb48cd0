//! Keys that `signet-broker` hands in to a daemon that opens no node itself.

use std::fs::{self, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::StreamExt as _;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    socketpair,
};
use signet_ctap::Found;
use signet_ctap::handover::Handover;
use signet_test_authenticators::VirtualKey;
use signet_tests::bus::PrivateBus;
use signet_tests::signetd::{Signetd, SignetdOptions};
use signet_tests::swtpm::Swtpm;
use tempfile::TempDir;

use crate::authority::{Authority, PATIENCE};
use crate::client::{Caller, Options, bytes, text};
use crate::world::{PIN, SIGNETD, World, key_with_pin, register, session, untouched_key};

const BROKER: &str = env!("CARGO_BIN_EXE_signet-broker");

/// What `signetd.socket` is on a workstation.
pub struct KeySocket {
    folder: TempDir,
    listener: OwnedFd,
}

fn packets() -> OwnedFd {
    let (family, shape) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socket_with(family, shape, SocketFlags::CLOEXEC, None).unwrap()
}

impl KeySocket {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = packets();
        bind(&listener, &SocketAddrUnix::new(folder.path().join("keys")).unwrap()).unwrap();
        listen(&listener, 16).unwrap();
        Self { folder, listener }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// Runs the broker to its end for a key that was plugged in; returns what it complains of.
    fn plug(&self, node: &Path) -> String {
        let broker = Command::new(BROKER).arg("--socket").arg(self.path()).arg(node).output();
        let broker = broker.unwrap();
        let complaint = String::from_utf8(broker.stderr).unwrap();
        assert_eq!(broker.status.success(), complaint.is_empty(), "{complaint}");
        complaint
    }

    /// A connection of this process to the socket.
    fn visit(&self) -> OwnedFd {
        let visit = packets();
        connect(&visit, &SocketAddrUnix::new(self.path()).unwrap()).unwrap();
        visit
    }

    fn world(&self, keys: Vec<VirtualKey>) -> World {
        let bus = PrivateBus::start().unwrap();
        let tpm = Swtpm::copy().unwrap();
        let options = SignetdOptions {
            bus: bus.address().to_owned(),
            tcti: tpm.tcti(),
            authenticators: Vec::new(),
            extra: String::new(),
        };
        let socket = self.listener.try_clone().unwrap();
        let program = Path::new(SIGNETD);
        let signetd = Signetd::start_with_key_socket(program, &options, socket).unwrap();
        World { signetd, keys, tpm, bus, authority: Authority::new() }
    }

    /// A workstation to which this key was handed in.
    pub async fn world_with(&self, key: VirtualKey) -> (World, Caller) {
        let world = self.world(vec![key]);
        let caller = world.caller().await;
        let mut changes = Changes::of(&caller).await;
        self.plug(&world.keys[0].socket());
        changes.added(&world.keys[0]).await;
        (world, caller)
    }
}

/// Signals of keys that come and go.
struct Changes(zbus::MessageStream);

impl Changes {
    async fn of(caller: &Caller) -> Self {
        Self(caller.overhear("/org/signet/Presence1").await)
    }

    async fn next(&mut self) -> (String, String) {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let message = message.expect("a signal was due").unwrap().unwrap();
            let member = message.header().member().unwrap().to_string();
            if member.starts_with("Authenticator") {
                return (member, message.body().deserialize().unwrap());
            }
        }
    }

    async fn added(&mut self, key: &VirtualKey) {
        let path = key.socket().display().to_string();
        assert_eq!(self.next().await, ("AuthenticatorAdded".to_owned(), path));
    }

    async fn removed(&mut self, key: &VirtualKey) {
        let path = key.socket().display().to_string();
        assert_eq!(self.next().await, ("AuthenticatorRemoved".to_owned(), path));
    }
}

async fn plugged_in(caller: &Caller) -> usize {
    caller.daemon.list_authenticators().await.unwrap().len()
}

#[tokio::test]
async fn a_key_that_was_handed_in_serves_until_it_is_pulled_out_and_again_afterwards() {
    let socket = KeySocket::new();
    let mut world = socket.world(vec![untouched_key().await]);
    let caller = world.caller().await;
    world.enrol(&caller).await;
    let mut changes = Changes::of(&caller).await;
    assert_eq!(plugged_in(&caller).await, 0);
    assert_eq!(socket.plug(&world.keys[0].socket()), "");
    changes.added(&world.keys[0]).await;
    let listed = caller.daemon.list_authenticators().await.unwrap();
    assert_eq!(text(&listed[0], "path"), world.keys[0].socket().display().to_string());

    world.keys[0].touch_auto().unwrap();
    let made = register(&caller, "register", Options::new()).await;
    let credential = bytes(&made, "credential_id");
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.served(&[PIN]).await.ok();

    // While a ceremony runs.
    let mut pending = caller.presence("two", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    world.keys[0].unplug().unwrap();
    assert_eq!(pending.outcome().await.0, "AuthenticatorRemoved");
    changes.removed(&world.keys[0]).await;
    let mut pending = caller.presence("three", &session(&credential)).await.unwrap();
    assert_eq!(pending.outcome().await.0, "NoAuthenticator");

    // While nothing runs.
    world.keys[0].restart().unwrap();
    socket.plug(&world.keys[0].socket());
    changes.added(&world.keys[0]).await;
    world.keys[0].unplug().unwrap();
    changes.removed(&world.keys[0]).await;

    world.keys[0].restart().unwrap();
    world.keys[0].touch_auto().unwrap();
    let waits = crate::world::with(session(&credential), "wait", true.into());
    let mut pending = caller.presence("four", &waits).await.unwrap();
    pending.stage("key-needed").await;
    socket.plug(&world.keys[0].socket());
    pending.served(&[PIN]).await.ok();
}

#[tokio::test]
async fn a_daemon_that_starts_anew_gets_its_keys_again_and_each_once() {
    let socket = KeySocket::new();
    let (mut world, caller) = socket.world_with(key_with_pin().await).await;
    // Between the two, udev and the daemon's start both send it.
    world.signetd.kill();
    socket.plug(&world.keys[0].socket());
    world.signetd.restart().unwrap();
    let there = async { while plugged_in(&caller).await == 0 {} };
    tokio::time::timeout(PATIENCE, there).await.unwrap();
    let mut changes = Changes::of(&caller).await;
    socket.plug(&world.keys[0].socket());
    assert_eq!(plugged_in(&caller).await, 1);
    world.keys[0].unplug().unwrap();
    changes.removed(&world.keys[0]).await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_said() {
    let socket = KeySocket::new();
    let world = socket.world(vec![key_with_pin().await]);
    let caller = world.caller().await;
    let mut changes = Changes::of(&caller).await;
    for (node, complaint) in [("/dev/null", "no fido device"), ("/dev/hidraw-none", "is gone")] {
        let said = Command::new(BROKER).args(["--socket", "/none", node]).output().unwrap().stderr;
        assert!(String::from_utf8(said).unwrap().contains(complaint), "{node}");
    }
    // The daemon does not believe the broker either.
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    let found = Found { path: "/dev/hidraw0".into(), name: None };
    let false_key = Handover { found, just_plugged: true, key: null() };
    false_key.send(socket.visit()).unwrap();
    rustix::io::write(socket.visit(), b"plugged\n/dev/hidraw0\n").unwrap();
    rustix::io::write(socket.visit(), &[0x20; 4096]).unwrap();
    socket.plug(&world.keys[0].socket());
    changes.added(&world.keys[0]).await;
    assert_eq!(plugged_in(&caller).await, 1);
    let log = world.signetd.log();
    for reason in ["no fido device", "does not bring one open file", "longer than 1024 bytes"] {
        assert!(log.contains(reason), "{reason} is not in\n{log}");
    }
}

#[tokio::test]
async fn only_root_and_the_daemons_own_user_hand_in_keys() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can become somebody else.
        return;
    }
    let socket = KeySocket::new();
    let world = socket.world(vec![key_with_pin().await]);
    let caller = world.caller().await;
    let mut changes = Changes::of(&caller).await;
    // The worst case: the rights of the socket do not keep strangers away.
    let key = world.keys[0].socket();
    fs::set_permissions(socket.folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(socket.path(), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(key.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o666)).unwrap();
    let program = socket.folder.path().join("broker");
    fs::copy(BROKER, &program).unwrap();
    // Whether it wrote before the daemon closed is its own affair.
    Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .arg("--socket")
        .arg(socket.path())
        .arg(&key)
        .output()
        .unwrap();
    // Whoever comes after is attended to after.
    let (other, _end) = pair();
    let found = Found { path: "/dev/hidraw7".into(), name: None };
    Handover { found, just_plugged: true, key: other }.send(socket.visit()).unwrap();
    assert_eq!(changes.next().await, ("AuthenticatorAdded".into(), "/dev/hidraw7".into()));
    assert!(world.signetd.log().contains("uid=65534"), "{}", world.signetd.log());
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (family, shape) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socketpair(family, shape, SocketFlags::CLOEXEC, None).unwrap()
}

#[tokio::test]
async fn a_flood_is_bounded_and_ends() {
    let socket = KeySocket::new();
    let world = socket.world(vec![key_with_pin().await]);
    let caller = world.caller().await;
    let mut changes = Changes::of(&caller).await;
    let open =
        || fs::read_dir(format!("/proc/{}/fd", world.signetd.pid().unwrap())).unwrap().count();
    let before = open();
    let (false_keys, ends): (Vec<OwnedFd>, Vec<OwnedFd>) = (0..100).map(|_| pair()).unzip();
    let visit = socket.visit();
    for (number, key) in false_keys.into_iter().enumerate() {
        let found = Found { path: format!("/dev/hidraw{number}").into(), name: None };
        // The daemon turns us away in the middle.
        let _ = Handover { found, just_plugged: true, key }.send(&visit);
    }
    for _ in 0..32 {
        assert_eq!(changes.next().await.0, "AuthenticatorAdded");
    }
    // Turned away: the connection ends.
    let mut nothing = [0; 1];
    let ended = rustix::io::read(&visit, &mut nothing);
    assert!(matches!(ended, Ok(0) | Err(rustix::io::Errno::CONNRESET)), "{ended:?}");
    // Two for each key.
    assert!(open() <= before + 72, "{} descriptors, {before} before", open());
    drop(ends);
    for _ in 0..32 {
        assert_eq!(changes.next().await.0, "AuthenticatorRemoved");
    }
    socket.plug(&world.keys[0].socket());
    changes.added(&world.keys[0]).await;
    assert_eq!(plugged_in(&caller).await, 1);
    assert!(world.signetd.log().contains("too many security keys"), "{}", world.signetd.log());
}
