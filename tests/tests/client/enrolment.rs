//! `signet enrol` and `signet key`.

use crate::bench::{Bench, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_enrols_by_its_tpm_and_only_with_a_ticket() {
    let bench = Bench::new().await;
    assert_eq!(bench.good(&["status"]).await["enrolled"], false);
    let message = bench.bad(&["login"], 1, "not-enrolled").await;
    assert!(message.contains("signet enrol"), "{message}");

    // Whoever has no ticket hears the coarse word only, and nothing is kept.
    refused(&bench.enrol("0123456789abcdef0123456789abcdef").await, 1, "denied");
    refused(&bench.enrol("").await, 3, "could-not-ask");
    assert_eq!(bench.good(&["status"]).await["enrolled"], false);

    let ticket = bench.authority.first_ticket().to_owned();
    let ran = bench.enrol(&format!("{ticket}\n")).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.json()["operator"], "alice");
    assert_eq!(ran.json()["ek_certified"], true);
    let device = ran.json()["device_id"].as_str().unwrap().to_owned();
    assert_eq!(
        ran.json()["spiffe_id"].as_str().unwrap(),
        format!("spiffe://mesh.example/device/{device}")
    );
    let status = bench.good(&["status"]).await;
    assert_eq!(status["device_id"], device.as_str());
    assert_eq!(status["authority_ready"], true, "{status}");
    assert!(!ran.stdout.contains(&ticket) && !ran.stderr.contains(&ticket));

    // A ticket serves once, and a machine that is enrolled stays so.
    refused(&bench.enrol(&ticket).await, 1, "denied");
    assert_eq!(bench.good(&["status"]).await["device_id"], device.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_added_listed_and_removed() {
    let bench = Bench::enrolled().await;
    let none = bench.good(&["key", "list"]).await;
    assert_eq!(none["keys"].as_array().unwrap().len(), 1);
    let message = bench.bad(&["login"], 1, "NoCredential").await;
    assert!(!message.is_empty());

    let added = bench.add_key("blue").await;
    assert_eq!(
        (added["attestation"].as_str(), added["name"].as_str()),
        (Some("packed"), Some("blue"))
    );
    let listed = bench.good(&["key", "list"]).await;
    assert_eq!(listed["keys"][0]["credential_id"], added["credential_id"]);
    // The key itself knows that it is registered.
    bench.station.put_finger().unwrap();
    let again = bench.run(&["key", "add"]).await;
    assert_eq!(again.code, Some(1), "{again:?}");

    bench.bad(&["key", "remove", "green"], 2, "failed").await;
    let removed = bench.good(&["key", "remove", "blue"]).await;
    assert_eq!(removed["removed"], added["credential_id"]);
    bench.bad(&["login"], 1, "NoCredential").await;
}
