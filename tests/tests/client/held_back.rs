//! What `signet` says while `signetd` holds renewals back: logind is a mock here, and real in the
//! virtual machine.

use std::process::Stdio;
use std::time::{Duration, Instant};

use signet_tests::house::Ran;
use tokio::process::{Child, Command};

use crate::bench::Bench;

const PATIENCE: Duration = Duration::from_secs(60);
const LOGIND: &str = "org.freedesktop.login1";
const SESSION: &str = "/org/freedesktop/login1/session/c1";

/// A logind on the station's bus in which we have one session.
struct Logind {
    bus: String,
    _process: Child,
}

impl Logind {
    async fn start(bench: &Bench) -> Self {
        let bus = bench.station.bus.address().to_owned();
        let mut mock = Command::new("/usr/bin/python3");
        mock.args(["-m", "dbusmock", "--system", "--template", "logind"]);
        mock.env("DBUS_SYSTEM_BUS_ADDRESS", &bus).stdin(Stdio::null()).stdout(Stdio::null());
        let logind = Self { bus, _process: mock.kill_on_drop(true).spawn().unwrap() };
        logind.gdbus("wait", &[LOGIND]).await;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let session = ["c1", "seat0", &uid, "operator", "true"];
        logind
            .call("/org/freedesktop/login1", "org.freedesktop.DBus.Mock.AddSession", &session)
            .await;
        let signal = ["org.freedesktop.login1.Manager", "SessionNew", "so"];
        let values = format!("[<'c1'>, <objectpath '{SESSION}'>]");
        let signal = [&signal[..], &[values.as_str()]].concat();
        logind
            .call("/org/freedesktop/login1", "org.freedesktop.DBus.Mock.EmitSignal", &signal)
            .await;
        logind
    }

    async fn lock(&self, locked: bool) {
        let method = "org.freedesktop.login1.Session.SetLockedHint";
        self.call(SESSION, method, &[&locked.to_string()]).await;
    }

    async fn call(&self, path: &str, method: &str, arguments: &[&str]) {
        let call = [&["-d", LOGIND, "-o", path, "-m", method], arguments].concat();
        self.gdbus("call", &call).await;
    }

    async fn gdbus(&self, what: &str, arguments: &[&str]) {
        let mut gdbus = Command::new("gdbus");
        gdbus.args([what, "--system", "--timeout", "60"]).args(arguments);
        let output = gdbus.env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Renews until it is answered so.
async fn renewed(bench: &Bench, code: i32) -> Ran {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ran = bench.run(&["token", "--renew"]).await;
        if ran.code == Some(code) {
            return ran;
        }
        assert!(Instant::now() < deadline, "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_screen_pauses_renewals_and_signet_says_until_when() {
    let (bench, _) = Bench::logged_in().await;
    let logind = Logind::start(&bench).await;
    logind.lock(true).await;
    let (code, message) = renewed(&bench, 3).await.error().unwrap();
    assert_eq!(code, "SessionPaused");
    assert_eq!(message, "your screen is locked: unlock it, and renewals go on");
    // On a terminal the same words.
    let ran = bench.station.signet(&["token", "--renew"]).await.unwrap();
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("your screen is locked: unlock it, and renewals go on"), "{ran:?}");
    assert_eq!(ran.stdout, "");
    // What is good still is used.
    bench.set_cached("renew_at", 0);
    bench.good(&["token"]).await;
    logind.lock(false).await;
    renewed(&bench, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_were_ended_here_want_their_user_again() {
    let (bench, session) = Bench::logged_in().await;
    let ended = Command::new("busctl")
        .arg(format!("--address={}", bench.station.bus.address()))
        .args(["call", "org.signet.Presence1", "/org/signet/Presence1", "org.signet.Presence1"])
        .args(["EndSessions", "a{sv}", "0"])
        .output()
        .await
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let message = bench.bad(&["token", "--renew"], 1, "PresenceNeeded").await;
    let words = "your sessions were ended at this machine: sign in again with `signet login`";
    assert_eq!(message, words);
    let ran = bench.station.signet(&["token", "--renew"]).await.unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    assert!(ran.stderr.contains(words), "{ran:?}");
    bench.station.put_finger().unwrap();
    assert_eq!(bench.good(&["login"]).await["session"], session["session"]);
    bench.good(&["token", "--renew"]).await;
}
