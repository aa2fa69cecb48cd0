//! A log that is missing, cut, too long, or another's: four facts, at the machine and at the authority.

use crate::desk::{APPROVED, ASSET, CHANGED, Desk, machine};

const POLICY: &str =
    "name = \"logs\"\nmode = \"enforce\"\n\n[log]\nrequired = true\nexplains = [0, 4, 7, 8]\n";

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_have_no_log_is_told_apart() {
    let mut desk = Desk::new().await;
    desk.policy(POLICY);
    let log = machine(APPROVED).log();
    let long = vec![0; (256 << 10) + 1];
    let other = machine(CHANGED).log();
    for (log, status, code, fact) in [
        (None, "missing", "boot-log-missing", "missing"),
        (Some(&log[..log.len() - 1]), "truncated", "boot-log-truncated", "truncated"),
        (Some(&long), "too-long", "boot-log-too-long", "too-long"),
        (Some(&other), "not-matching", "boot-log-mismatch", "not-matching"),
    ] {
        desk.log(log);
        desk.refused(code).await;
        // Whether it matches is known once something was quoted.
        assert_eq!(desk.bench.good(&["status"]).await["boot_log"], status);
        let (_, text, _) = desk.said(&["explain", ASSET]);
        assert!(text.contains(&format!("event log {fact}")), "{text}");
        assert_eq!(desk.machine(&["list"])["boot"]["log"], fact);
        assert_eq!(desk.bench.recorded("token-session", Some(code)), 1);
    }
    desk.log(Some(&log));
    desk.log_in().await;
    assert_eq!(desk.bench.good(&["status"]).await["boot_log"], "ok");
    assert_eq!(desk.machine(&["list"])["boot"]["verdict"], "approved");
}

/// As with a boot loader that keeps no log once Secure Boot is off.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_the_registers_say_what_changed() {
    let mut desk = Desk::new().await;
    desk.policy(POLICY);
    desk.log_in().await;
    desk.boot(&machine(CHANGED));
    desk.log(None);
    desk.refused("boot-log-missing").await;
    let (_, text, _) = desk.said(&["explain", ASSET]);
    let told = "PCR 8 (boot loader commands and kernel command line) was ";
    assert!(text.contains(told) && !text.contains("PCR 7 ("), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_sent_once_per_boot() {
    let mut desk = Desk::new().await;
    desk.policy(POLICY);
    desk.log_in().await;
    let first = desk.bench.good(&["status"]).await;
    assert_eq!(first["boot_log"], "ok");
    // The log is gone from the machine, and the authority has it by its digest only from now on: what
    // is named must be there, so a missing file is still a missing log.
    desk.log(None);
    desk.refused("boot-log-missing").await;
    desk.log(Some(&machine(APPROVED).log()));
    desk.log_in().await;
    // One record for each change, not for each token.
    let states = desk.recorded("machine-boot");
    let of = |word: &str| states.iter().filter(|detail| detail.contains(word)).count();
    assert_eq!((of("event log missing"), of("approved, event log matching")), (1, 2), "{states:?}");
}
