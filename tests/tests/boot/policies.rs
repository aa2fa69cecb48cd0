//! A policy is learned, goes from monitor over warn to enforce, and lets people live with it.

use crate::desk::{APPROVED, ASSET, CHANGED, Desk, machine};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_command_line_is_recorded_warned_of_refused_explained_and_accepted() {
    let mut desk = Desk::new().await;
    desk.log_in().await;
    // Without a policy the values of the enrolment count.
    assert_eq!(desk.boot_claim().await, "approved");
    assert_eq!(desk.machine(&["list"])["boot"]["log"], "matching");

    let learned = desk.machine(&["baseline", ASSET, "--name", "laptops"]);
    let learned = learned["policy"].as_str().unwrap().to_owned();
    assert!(learned.contains(&format!("\"{APPROVED}\"")), "{learned}");
    let grouped = learned.replace("mode = \"monitor\"", "[groups]\npilot = \"MODE\"");
    assert_eq!(desk.machine(&["group", ASSET, "pilot"])["groups"][0], "pilot");
    let approved = desk.machine(&["list"])["boot"]["state"].clone();

    desk.policy(&grouped.replace("MODE", "monitor"));
    desk.log_in().await;
    assert_eq!(desk.boot_claim().await, "approved");

    desk.boot(&machine(CHANGED));
    desk.log_in().await;
    // Recording answers for nothing.
    assert_eq!(desk.boot_claim().await, "unjudged");
    let listed = desk.machine(&["list"]);
    assert_eq!(listed["boot"]["verdict"], "recorded");
    assert_eq!(listed["policies"][0]["mode"], "monitor");
    let minded = format!("the boot loader measured \"{CHANGED}\"");
    assert!(desk.recorded("machine-boot").last().unwrap().contains(&minded));

    desk.policy(&grouped.replace("MODE", "warn"));
    desk.bench.station.put_finger().unwrap();
    let ran = desk.bench.station.signet(&["login", "--new"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains(&minded), "{}", ran.stderr);
    assert_eq!(desk.boot_claim().await, "warned");

    desk.policy(&grouped.replace("MODE", "enforce"));
    let words = desk.refused("boot-policy-refused").await;
    assert!(words.contains(&minded), "{words}");
    assert!(words.contains("restart with the approved boot entry"), "{words}");

    let (code, text, _) = desk.said(&["explain", ASSET]);
    assert_eq!(code, Some(1), "{text}");
    let state = desk.machine(&["list"])["boot"]["state"].as_str().unwrap().to_owned();
    for expected in [
        format!("state {state}: refused"),
        "policy laptops, mode enforce, minds:".to_owned(),
        minded.clone(),
        "rule: rules.boot_texts; what to do: restart with the approved boot entry".to_owned(),
        format!("what changed since state {}", approved.as_str().unwrap()),
        format!("was text \"{APPROVED}\""),
        format!("is text \"{CHANGED}\""),
        format!("machine accept {}", desk.machine(&["list"])["device"].as_str().unwrap()),
    ] {
        assert!(text.contains(&expected), "{expected}\nin\n{text}");
    }

    // Not another state than the one that was looked at.
    let (code, _, words) = desk.said(&["accept", ASSET, "--state", "0123", "--reason", "x"]);
    assert_eq!(code, Some(1));
    assert!(words.contains(&format!("shows state {state} by now, not 0123")), "{words}");
    let said = desk.machine(&["accept", ASSET, "--state", &state, "--reason", "change 4711"]);
    let decision = said["decision"].as_str().unwrap();
    let claims = desk.signed_by_authority(decision, "signet-machine-accept+jwt");
    assert_eq!((&claims["state"], &claims["reason"]), (&said["state"], &"change 4711".into()));
    assert_eq!((&claims["device"], &claims["by"]), (&said["device"], &said["by"]));
    assert_eq!(
        (&claims["replaces"], claims["pcrs"]["8"].as_str().unwrap().len()),
        (&true.into(), 64)
    );
    assert!(desk.recorded("boot-accept")[0].ends_with(&format!("; signed: {decision}")));
    desk.log_in().await;
    assert_eq!(desk.boot_claim().await, "approved");
    assert_eq!(desk.machine(&["list"])["boot"]["verdict"], "accepted");
    let accepted = desk.recorded("boot-accept");
    assert!(accepted[0].contains("change 4711") && accepted[0].contains("(uid "), "{accepted:?}");
    let (code, text, _) = desk.said(&["explain", ASSET]);
    assert_eq!(code, Some(0));
    assert!(text.contains("change 4711"), "{text}");

    // What was accepted is this very state and no other.
    desk.boot(&machine(&format!("{CHANGED} quiet")));
    desk.refused("boot-policy-refused").await;
    desk.boot(&machine(APPROVED));
    desk.log_in().await;
    assert_eq!(desk.machine(&["list"])["boot"]["verdict"], "approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_policy_the_enrolment_counts_until_another_state_is_accepted() {
    let mut desk = Desk::new().await;
    desk.log_in().await;
    let mut other = machine(APPROVED);
    // Another boot loader: PCR 4, which every quote must hold.
    let shim = other.number(&[0x7f, 0xff, 4, 0]);
    for (_, digest) in &mut other.event(shim).digests {
        digest[0] ^= 1;
    }
    desk.boot(&other);
    let words = desk.refused("boot-policy-refused").await;
    assert!(words.contains("PCR 4 (boot loaders and kernel) holds"), "{words}");
    let (_, text, _) = desk.said(&["explain", ASSET]);
    assert!(text.contains("policy enrolment, mode enforce, minds:"), "{text}");
    assert!(text.contains("boot image"), "{text}");

    desk.machine(&["accept", ASSET, "--reason", "new shim", "--also"]);
    desk.log_in().await;
    desk.boot(&machine(APPROVED));
    desk.log_in().await;
    // Without --also only the new state counts.
    desk.boot(&other);
    desk.log_in().await;
    desk.machine(&["accept", ASSET, "--reason", "the old shim is revoked"]);
    desk.boot(&machine(APPROVED));
    desk.refused("boot-policy-refused").await;
}
