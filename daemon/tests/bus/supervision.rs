//! What the service manager hears, and what it can ask for.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use signet_tests::bus::PrivateBus;
use signet_tests::signetd::SignetdOptions;

use crate::authority::PATIENCE;
use crate::client::refusal;
use crate::world::{SIGNETD, ready, session, untouched_key};

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_tells_that_it_is_ready_alive_reloading_and_stopping() {
    let bus = PrivateBus::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [config, notices, state, log] =
        ["signetd.toml", "notify", "state", "log"].map(|name| folder.path().join(name));
    let text = format!(
        "bus = {:?}\ntcti = \"device:/dev/tpmrm-none\"\nstate_dir = {state:?}\nauthenticators = []\n",
        bus.address()
    );
    fs::write(&config, &text).unwrap();
    let socket = UnixDatagram::bind(&notices).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let child = Command::new(SIGNETD)
        .arg("--config")
        .arg(&config)
        .env("NOTIFY_SOCKET", &notices)
        .env("WATCHDOG_USEC", "1000000")
        .stdin(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let heard = |awaited: &str| {
        let mut message = [0; 256];
        loop {
            let length = socket.recv(&mut message).unwrap();
            let words = String::from_utf8(message[..length].to_vec()).unwrap();
            if words.lines().any(|line| line == awaited) {
                return words;
            }
            // Only what comes again and again may come between.
            assert_eq!(words, "WATCHDOG=1\n", "before {awaited}");
        }
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    for (content, words) in [
        (format!("{text}[limits]\ntotal = 3\n"), "limits and timeouts were read again"),
        (format!("{text}prompts = \"none\"\n"), "restart signetd for them to count"),
        ("nonsense".to_owned(), "nothing changed"),
    ] {
        fs::write(&config, content).unwrap();
        signal(running.0.id(), Signal::HUP);
        assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
        heard("READY=1");
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
    signal(running.0.id(), Signal::TERM);
    heard("STOPPING=1");
    assert!(running.0.wait().unwrap().success());
}

#[tokio::test]
async fn limits_count_from_the_reload_on() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    let options = SignetdOptions {
        bus: world.bus.address().to_owned(),
        tcti: world.tpm.tcti(),
        authenticators: vec![world.keys[0].socket()],
        extra: "[limits]\nper_caller = 1".to_owned(),
    };
    let mut first = caller.presence("first", &session(&credential)).await.unwrap();
    first.stage("pin-needed").await;
    let second = caller.presence("second", &session(&credential)).await.unwrap();
    world.signetd.configure(&options).unwrap();
    signal(world.signetd.pid().unwrap(), Signal::HUP);
    let reloaded = async {
        while !world.signetd.log().contains("were read again") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reloaded).await.unwrap();
    // What was accepted before stays.
    second.request.cancel().await.unwrap();
    let third = caller.presence("third", &session(&credential)).await;
    assert_eq!(refusal(third.err().unwrap()).0, "TooManyRequests");
    first.request.cancel().await.unwrap();
    assert_eq!(first.outcome().await.0, "Cancelled");
    caller.presence("fourth", &session(&credential)).await.unwrap();
}

#[test]
fn a_broker_that_is_asked_for_and_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("signetd.toml");
    let state = folder.path().join("state");
    let text = format!("state_dir = {state:?}\nauthenticators = \"broker\"\n");
    fs::write(&config, text).unwrap();
    let ended =
        Command::new(SIGNETD).arg("--config").arg(&config).stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && words.contains("start signetd by its unit"), "{words}");
}
