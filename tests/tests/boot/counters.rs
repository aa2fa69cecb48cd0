//! Sleep, restart and firmware, as the TPM's counters tell them.

use crate::desk::{APPROVED, ASSET, Desk, machine};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_sleep_and_ends_with_a_restart() {
    let mut desk = Desk::new().await;
    let session = desk.log_in().await;
    let before = desk.machine(&["list"]);

    // TPM Resume: registers and reset count are what they were.
    desk.bench.station.tpm.sleep_and_resume().unwrap();
    desk.bench.station.signetd.restart().unwrap();
    desk.bench.age_cached(250);
    desk.bench.good(&["token"]).await;
    assert_eq!(desk.bench.recorded("token-renew", None), 1);
    let after = desk.machine(&["list"]);
    assert_eq!(after["reset_count"], before["reset_count"]);
    assert_eq!(after["boot"], before["boot"]);

    // TPM Reset, the same system: another boot, another session.
    desk.boot(&machine(APPROVED));
    desk.bench.age_cached(250);
    desk.bench.bad(&["token"], 1, "tpm-rebooted").await;
    desk.bench.station.put_finger().unwrap();
    // On a real restart the runtime directory, and the old session in it, is gone.
    let again = desk.bench.good(&["login", "--new"]).await;
    assert_ne!(again["session"], session["session"]);
    assert!(desk.machine(&["list"])["reset_count"].as_u64() > before["reset_count"].as_u64());
    // What was booted is the same, and so nothing new is on record of it.
    assert_eq!(desk.machine(&["list"])["boot"], before["boot"]);
    let (_, text, _) = desk.said(&["explain", ASSET]);
    assert!(text.contains("firmware "), "{text}");
}
