//! The machine's certificate: renewed without anybody's doing, by hand, and too late.

use std::time::{Duration, Instant};

use serde_json::Value;
use signet_client::inspection::UnverifiedJwt;

use crate::bench::{Bench, refused};

/// Lives so short that two thirds of them, counted from the backdated start, are over at once.
const ALWAYS_DUE: &str = "\"150s\"";

fn claims(token: &Value) -> serde_json::Map<String, Value> {
    UnverifiedJwt::parse(token["access_token"].as_str().unwrap()).unwrap().claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_certificate_is_renewed_by_the_next_command_and_the_session_goes_on() {
    let mut bench = Bench::new().await;
    bench.set("device_certificate", ALWAYS_DUE);
    let ticket = bench.authority.first_ticket().to_owned();
    assert_eq!(bench.enrol(&ticket).await.code, Some(0));
    bench.add_key("blue").await;
    assert_eq!(bench.recorded("device-renew", None), 0);
    bench.station.put_finger().unwrap();
    let session = bench.good(&["login"]).await;
    assert_eq!(bench.recorded("device-renew", None), 1);

    bench.set("device_certificate", "\"7d\"");
    let first = bench.good(&["token"]).await;
    assert_eq!(bench.recorded("device-renew", None), 2);
    // Nothing is due any more, and nobody touched anything.
    let second = bench.good(&["token"]).await;
    assert_eq!(second["access_token"], first["access_token"]);
    assert_eq!(bench.recorded("device-renew", None), 2);
    assert_eq!(claims(&first)["sid"], session["session"]);

    // By hand: the token of the old certificate is exchanged for one of the new.
    let renewed = bench.good(&["enrol", "--renew"]).await;
    assert!(renewed["certificate_expires"].is_string(), "{renewed}");
    assert_eq!(bench.recorded("device-renew", None), 3);
    let third = bench.good(&["token"]).await;
    for kept in ["sid", "auth_time", "sub", "acr", "client_id"] {
        assert_eq!(claims(&third)[kept], claims(&first)[kept], "{kept}");
    }
    assert_ne!(claims(&third)["cnf"], claims(&first)["cnf"]);
    bench.station.put_finger().unwrap();
    assert_eq!(bench.good(&["login"]).await["session"], session["session"]);
}

/// Changes the times of a CA's keys, as if they had come.
fn reschedule(bench: &Bench, ca: &str, change: impl Fn(&mut Vec<Value>)) {
    let path = bench.authority.server_ca().with_file_name(format!("{ca}.json"));
    let mut plan: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(plan["keys"].as_array_mut().unwrap());
    std::fs::write(&path, plan.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_follows_the_authority_from_ca_to_ca() {
    const CAS: [&str; 3] = ["device-ca", "ak-ca", "server-ca"];
    let (mut bench, _) = Bench::logged_in().await;
    for ca in CAS {
        let (code, out, errors) = bench.authority.ran(&["keys", "rotate", ca]).unwrap();
        assert_eq!(code, Some(0), "{out}{errors}");
    }
    bench.authority.serve().unwrap();
    // Issued by the old ones still, it tells of the new ones.
    bench.good(&["enrol", "--renew"]).await;
    for ca in CAS {
        reschedule(&bench, ca, |keys| keys[1]["issues_from"] = 1.into());
    }
    // The authority shows a certificate of another CA than the machine was enrolled with.
    bench.authority.serve().unwrap();
    bench.good(&["token"]).await;
    bench.good(&["enrol", "--renew"]).await;
    for ca in CAS {
        reschedule(&bench, ca, |keys| keys[0]["ends"] = 1.into());
    }
    bench.authority.serve().unwrap();
    bench.good(&["token"]).await;
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
    bench.good(&["enrol", "--renew"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_renewals_at_once_leave_one_good_certificate() {
    let (bench, _) = Bench::logged_in().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(bench.station.begin(&["--json", "enrol", "--renew"], b"").await.unwrap());
    }
    for pending in waiting {
        let ran = pending.finish().await.unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    bench.good(&["token"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_machine_gets_no_new_certificate() {
    let bench = Bench::ready().await;
    let device = bench.good(&["status"]).await["device_id"].as_str().unwrap().to_owned();
    bench.authority.revoke("device", &device).unwrap();
    bench.bad(&["enrol", "--renew"], 1, "device-revoked").await;
    assert_eq!(bench.recorded("challenge", Some("device-revoked")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_run_out_needs_a_ticket_and_says_so() {
    let mut bench = Bench::new().await;
    bench.set("device_certificate", "\"3s\"");
    let ticket = bench.authority.first_ticket().to_owned();
    assert_eq!(bench.enrol(&ticket).await.code, Some(0));
    let patience = Instant::now() + Duration::from_secs(60);
    let ran = loop {
        let ran = bench.run(&["ticket", "list"]).await;
        if ran.code != Some(0) {
            break ran;
        }
        assert!(Instant::now() < patience, "the certificate does not run out");
    };
    let message = refused(&ran, 1, "device-certificate-untrusted");
    assert!(message.contains("ticket device --rebind"), "{message}");
    bench.bad(&["enrol", "--renew"], 1, "device-certificate-untrusted").await;
}
