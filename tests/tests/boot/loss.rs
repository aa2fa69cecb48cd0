//! What becomes of an enrolled machine whose TPM is cleared, whose board is swapped, or that hibernates
//! (protocol §4.3), with the words that its person reads.

use crate::bench::refused;
use crate::desk::{APPROVED, ASSET, Desk, machine};
use signet_tests::swtpm::Swtpm;

const CLEARED: &str = "the TPM was cleared or replaced: enrol this machine again";

#[tokio::test(flavor = "multi_thread")]
async fn a_tpm_cleared_under_a_running_machine_is_named_by_the_first_answer() {
    let desk = Desk::new().await;
    desk.log_in().await;
    let before = desk.machine(&["list"]);
    desk.bench.station.tpm.run_tool("tpm2_clear", &["-c", "l"]).unwrap();
    // On the daemon that was there before.
    let words = desk.bench.bad(&["login", "--new"], 3, "unavailable").await;
    assert!(words.contains(CLEARED), "{words}");
    let doctor = desk.bench.station.signet(&["doctor"]).await.unwrap();
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(doctor.stdout.contains("cleared"), "{}", doctor.stdout);

    let plain = desk.bench.authority.ticket(&["device", "--operator", "alice"]).unwrap();
    refused(&desk.bench.enrol(&plain).await, 1, "bad_enrolment");
    assert_eq!(desk.bench.recorded("device-enrol", Some("device-enrolled")), 1);
    let arguments = ["device", "--operator", "alice", "--asset", ASSET, "--rebind"];
    let rebind = desk.bench.authority.ticket(&arguments).unwrap();
    let ran = desk.bench.enrol(&rebind).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_ne!(ran.json()["device_id"], before["device"]);
    desk.log_in().await;
    let (_, listed, _) = desk.said(&["list"]);
    let of = |id: &str| listed.lines().find(|line| line.starts_with(id)).unwrap().to_owned();
    assert!(of(before["device"].as_str().unwrap()).ends_with(" revoked"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_board_behind_the_same_disk_is_another_machine_and_replaces_nothing() {
    let mut desk = Desk::new().await;
    desk.log_in().await;
    let before = desk.machine(&["list"])["device"].as_str().unwrap().to_owned();

    let station = &mut desk.bench.station;
    station.signetd.kill();
    station.tpm = Swtpm::manufacture().unwrap();
    desk.boot(&machine(APPROVED));
    let words = desk.bench.bad(&["login", "--new"], 3, "unavailable").await;
    assert!(words.contains(CLEARED), "{words}");

    // A ticket for the machine that was here does not serve for another TPM.
    let rebind = ["device", "--operator", "alice", "--rebind"];
    let rebind = desk.bench.authority.ticket(&rebind).unwrap();
    refused(&desk.bench.enrol(&rebind).await, 1, "denied");
    let plain = desk.bench.authority.ticket(&["device", "--operator", "alice"]).unwrap();
    let ran = desk.bench.enrol(&plain).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let after = ran.json()["device_id"].as_str().unwrap().to_owned();
    desk.log_in().await;
    let (_, listed, _) = desk.said(&["list"]);
    // Two machines, and the old one counts until somebody revokes it.
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains(&after) && listed.contains(&before), "{listed}");
    assert!(!listed.contains("revoked"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hibernation_is_seen_as_such_and_what_boots_after_it_is_judged() {
    let mut desk = Desk::new().await;
    desk.log_in().await;
    let before = desk.machine(&["list"]);
    let counts = desk.counts();

    // TPM Restart: firmware and loader measure anew, and the reset count stays.
    desk.hibernate(&machine(APPROVED));
    assert_eq!(desk.counts(), (counts.0, counts.1 + 1));
    desk.bench.age_cached(250);
    desk.bench.good(&["token"]).await;
    assert_eq!(desk.bench.recorded("token-renew", None), 1);
    let after = desk.machine(&["list"]);
    assert_eq!((&after["reset_count"], &after["boot"]), (&before["reset_count"], &before["boot"]));

    // Another boot loader wakes it: the session gets no further token.
    let mut other = machine(APPROVED);
    let shim = other.number(&[0x7f, 0xff, 4, 0]);
    for (_, digest) in &mut other.event(shim).digests {
        digest[0] ^= 1;
    }
    desk.hibernate(&other);
    desk.bench.age_cached(250);
    let words = desk.bench.bad(&["token"], 1, "boot-policy-refused").await;
    assert!(words.contains("PCR 4 (boot loaders and kernel) holds"), "{words}");

    desk.hibernate(&machine(APPROVED));
    desk.bench.good(&["token"]).await;
    // One session, all the time.
    let recorded = |event| desk.bench.recorded(event, None);
    assert_eq!((recorded("token-session"), recorded("token-renew")), (1, 2));
    assert_eq!(desk.counts(), (counts.0, counts.1 + 3));
}
