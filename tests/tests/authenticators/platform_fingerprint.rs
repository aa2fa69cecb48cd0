//! The fingerprint reader of the workstation: the real fprintd with libfprint's virtual reader.

use serde_json::Value;
use signet_tests::fprintd::Fprintd;
use signet_tests::house::Ran;
use signet_tests::signetd::SignetdOptions;

use crate::bench::{Bench, refused};
use crate::cells::{approve, done, session_is_as_documented};

const FINGER: &str = "right-index-finger";
const PRINT: &str = "alice-right-index";
const ADD: [&str; 6] = ["key", "add", "--platform", "fingerprint", "--name", "desk"];

/// An enrolled workstation with a reader and without any security key.
struct Desk {
    bench: Bench,
    fprintd: Fprintd,
    me: String,
}

impl Desk {
    async fn new() -> Self {
        let mut bench = Bench::enrolled().await;
        let fprintd = Fprintd::start(&bench.station.bus).unwrap();
        let me = Fprintd::me().unwrap();
        fprintd.enrol(&me, FINGER, PRINT).unwrap();
        let reader = |options: &mut SignetdOptions| {
            options.authenticators = Vec::new();
            options.extra = "danger_accept_virtual_reader = true".to_owned();
        };
        bench.station.reconfigure(reader).unwrap();
        Self { bench, fprintd, me }
    }

    async fn registered() -> Self {
        let desk = Self::new().await;
        done(&desk.scanning(&ADD, &[PRINT]).await);
        desk
    }

    /// Runs `signet --json` while these fingers are put on the reader, one after the other.
    async fn scanning(&self, arguments: &[&str], prints: &[&str]) -> Ran {
        let arguments: Vec<&str> = [&["--json"], arguments].concat();
        let pending = self.bench.station.begin(&arguments, b"").await.unwrap();
        for print in prints {
            self.fprintd.scan(print).unwrap();
        }
        pending.finish().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_and_logs_in() {
    let desk = Desk::new().await;
    let added: Value = done(&desk.scanning(&ADD, &[PRINT]).await);
    assert_eq!(added["name"], "desk");
    done(&desk.scanning(&["login"], &[PRINT]).await);
    session_is_as_documented(&desk.bench, "Platform fingerprint").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approves_nothing_that_wants_a_security_key() {
    let desk = Desk::registered().await;
    done(&desk.scanning(&["login"], &[PRINT]).await);
    refused(&desk.scanning(&approve(), &[PRINT]).await, 1, "presence-required");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_fingers_end_the_login_and_the_right_one_serves() {
    let desk = Desk::registered().await;
    refused(&desk.scanning(&["login"], &["m", "m", "m"]).await, 1, "UvInvalid");
    done(&desk.scanning(&["login"], &["m", PRINT]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_fingers_must_be_enrolled_again() {
    let desk = Desk::registered().await;
    desk.fprintd.enrol(&desk.me, "left-thumb", "mallory-thumb").unwrap();
    // The virtual reader compares with one finger only, the first by name.
    let print = ["mallory-thumb"];
    let refused_login = desk.scanning(&["login"], &print).await;
    refused(&refused_login, 1, "platform-fingers-changed");
    desk.bench.good(&["key", "remove", "desk"]).await;
    let ticket = desk.bench.authority.ticket(&["authenticator", "--operator", "alice"]).unwrap();
    std::fs::write(desk.bench.station.file("ticket"), ticket).unwrap();
    let again = [&ADD[..], &["--ticket-file", "ticket"]].concat();
    done(&desk.scanning(&again, &print).await);
    done(&desk.scanning(&["login"], &print).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_is_told() {
    let mut desk = Desk::registered().await;
    desk.fprintd.kill().unwrap();
    refused(&desk.bench.run(&["login"]).await, 1, "ReaderMissing");
    desk.fprintd.restart().unwrap();
    done(&desk.scanning(&["login"], &[PRINT]).await);
    desk.fprintd.delete(&desk.me).unwrap();
    let none = desk.bench.run(&["login"]).await;
    assert_eq!(none.error().unwrap().0, "NoEnrolledFingers");
}
