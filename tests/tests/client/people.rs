//! What happens to people: lost keys, new and cleared machines, and the administrators who help.

use serde_json::Value;
use signet_client::authority::RequestedTickets;
use signet_client::workstation::Ask;
use signet_client::{Bus, Workstation};
use signet_evidence::{Purpose, RejectionCode};
use signet_tests::house::{PIN, Station};

use crate::bench::{Bench, refused};

/// Carol and Dave, administrators, each at a machine of their own with a key.
struct Office {
    bench: Bench,
    carol: Station,
    dave: Station,
}

impl Office {
    async fn open() -> Self {
        let mut bench = Bench::ready().await;
        let (carol, dave) = (bench.colleague("carol").await, bench.colleague("dave").await);
        bench.authority.set("administrators", "[\"carol\", \"dave\", \"erin\"]").unwrap();
        bench.set("two_administrators", "true");
        Self { bench, carol, dave }
    }

    /// Asks at alice's machine; gives the id.
    async fn request(&self, kind: &str, file: &str) -> String {
        let arguments = ["ticket", "request", "--kind", kind, "--reason", "lost", "-o", file];
        let asked = self.bench.good(&arguments).await;
        assert_eq!(asked["state"], "waiting");
        assert!(asked.get("ticket").is_none(), "a ticket that goes to a file is not printed");
        asked["id"].as_str().unwrap().to_owned()
    }

    async fn approve(&self, station: &Station, id: &str) -> Value {
        station.put_finger().unwrap();
        self.bench.good_at(station, &["ticket", "approve", &id[..12]]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_administrators_bring_back_somebody_who_lost_all_keys() {
    let mut office = Office::open().await;
    office.bench.station.put_finger().unwrap();
    office.bench.good(&["login"]).await;
    // Nobody makes such a ticket alone, not even on the authority's host.
    for arguments in [
        &["authenticator", "--operator", "alice"][..],
        &["authenticator", "--operator", "alice", "--lost"],
        &["device", "--operator", "alice"],
        &["device", "--operator", "alice", "--rebind"],
    ] {
        let alone = office.bench.authority.ticket(arguments).unwrap_err().to_string();
        assert!(alone.contains("two administrators approve"), "{arguments:?}: {alone}");
    }
    office.bench.authority.ticket(&["device", "--operator", "newcomer"]).unwrap();

    let id = office.request("recovery", "ticket").await;
    // Not for herself, and one approval is none.
    office.bench.station.put_finger().unwrap();
    office.bench.bad(&["ticket", "approve", &id], 1, "approval-not-allowed").await;
    let first = office.approve(&office.carol, &id).await;
    assert_eq!(
        (&first["state"], &first["approvals"][0]["administrator"]),
        (&"waiting".into(), &"carol".into())
    );
    office.carol.put_finger().unwrap();
    let ran = office.bench.run_at(&office.carol, &["ticket", "approve", &id]).await;
    refused(&ran, 1, "approval-repeated");

    let spare = office.bench.plug_pin_key().await;
    let add = ["key", "add", "--name", "spare", "--ticket-file", "ticket"];
    refused(&office.bench.run_with_pin(PIN, &add).await, 1, "ticket-invalid");
    let second = office.approve(&office.dave, &id).await;
    assert_eq!(second["state"], "open");
    // Whoever it is for hears of it, and by whom.
    let status = office.bench.good(&["status"]).await;
    let notices = status["notices"].to_string();
    assert!(
        notices.contains("recovery ticket for you") && notices.contains("carol, dave"),
        "{notices}"
    );
    assert!(notices.contains("fewer than two keys"), "{notices}");

    // A ticket of alice's is of no use to others.
    let bob = office.bench.desk("bob").await;
    std::fs::copy(office.bench.station.file("ticket"), bob.file("ticket")).unwrap();
    bob.put_finger().unwrap();
    let stolen = office.bench.run_at(&bob, &["key", "add", "--ticket-file", "ticket"]).await;
    refused(&stolen, 1, "ticket-invalid");

    let added = office.bench.run_with_pin(PIN, &add).await;
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    // The new key is the only one that is left.
    assert_eq!(office.bench.good(&["status"]).await["keys_enrolled"], 1);
    office.bench.set_cached("expires", 0);
    office.bench.bad(&["token"], 1, "session-ended").await;
    // The ticket is used up.
    drop(spare);
    let third = office.bench.plug_pin_key().await;
    refused(&office.bench.run_with_pin(PIN, &add).await, 1, "ticket-invalid");
    for (event, count) in [("ticket-request", 1), ("ticket-approve", 2)] {
        assert_eq!(office.bench.recorded(event, None), count, "{event}");
    }
    drop(third);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_for_one_ticket_and_by_an_administrator_of_today() {
    let office = Office::open().await;
    let first = office.request("authenticator", "first").await;
    let second = office.request("authenticator", "second").await;

    // Carol's touch was for the first.
    let bus = office.carol.environment().into_iter().find(|(name, _)| *name == "SIGNET_BUS");
    let carol = Workstation::open(&Bus::Address(bus.unwrap().1)).await.unwrap();
    let RequestedTickets { administrator, tickets } =
        carol.authority().requested_tickets().await.unwrap();
    assert!(administrator);
    let ticket = tickets.iter().find(|ticket| ticket.id == first).unwrap();
    let action = ticket.action(&carol.enrolment().audience).unwrap();
    std::fs::write(office.carol.file("action"), action.as_bytes()).unwrap();
    office.carol.put_finger().unwrap();
    let present = ["present", "--purpose", "action", "--action-file", "action", "-o", "evidence"];
    office.bench.good_at(&office.carol, &present).await;
    let evidence = std::fs::read(office.carol.file("evidence")).unwrap();
    let refusal = carol.authority().approve_ticket(&second, &evidence).await.unwrap_err();
    assert_eq!(refusal.rejection(), Some(RejectionCode::ActionMismatch));
    carol.authority().approve_ticket(&first, &evidence).await.unwrap();
    let refusal = carol.authority().approve_ticket(&first, &evidence).await.unwrap_err();
    assert_eq!(refusal.rejection(), Some(RejectionCode::ChallengeReplayed));
    // It opens no gateway either.
    let exchanged = carol.authority().exchange(&evidence).await.unwrap_err();
    assert_eq!(exchanged.rejection(), Some(RejectionCode::ChallengeReplayed));
    // Evidence without a person approves nothing.
    let ask = Ask {
        purpose: Purpose::Workload,
        scope: None,
        acr: None,
        action: None,
        session: None,
        means: signet_client::daemon::Means::default(),
    };
    let nobody = carol.prove(&ask, &signet_client::workstation::Unattended).await.unwrap();
    let refusal = carol.authority().approve_ticket(&second, &nobody.evidence).await.unwrap_err();
    assert_eq!(refusal.rejection(), Some(RejectionCode::PurposeWrong));

    // Carol is revoked: what she approved counts no more, and she approves nothing.
    office.bench.authority.revoke("operator", "carol").unwrap();
    let ran = office.bench.run_at(&office.carol, &["ticket", "approve", &second]).await;
    refused(&ran, 1, "device-revoked");
    assert_eq!(office.approve(&office.dave, &first).await["state"], "waiting");
    let erin = office.bench.colleague("erin").await;
    assert_eq!(office.approve(&erin, &first).await["state"], "open");
    // Frank is no administrator.
    let frank = office.bench.colleague("frank").await;
    let hidden = office.bench.good_at(&frank, &["ticket", "list"]).await;
    assert_eq!(hidden["tickets"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_ticket_waits_for_its_delay() {
    let mut office = Office::open().await;
    office.bench.set("delay", "\"1h\"");
    let id = office.request("device", "ticket").await;
    office.approve(&office.carol, &id).await;
    assert_eq!(office.approve(&office.dave, &id).await["state"], "delayed");
    let notices = office.bench.good(&["status"]).await["notices"].to_string();
    assert!(notices.contains("opens at"), "{notices}");
    let desk = office.bench.new_desk().await;
    let ticket = std::fs::read_to_string(office.bench.station.file("ticket")).unwrap();
    refused(&office.bench.enrol_at(&desk, &ticket).await, 1, "denied");
    assert_eq!(office.bench.recorded("device-enrol-begin", Some("ticket-invalid")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_machine_of_ones_own_takes_a_touch_of_ones_own_key_where_policy_says_so() {
    let mut bench = Bench::ready().await;
    let arguments =
        ["ticket", "request", "--kind", "device", "--reason", "new laptop", "-o", "ticket"];
    let id = bench.good(&arguments).await["id"].as_str().unwrap().to_owned();
    bench.station.put_finger().unwrap();
    bench.bad(&["ticket", "approve", &id], 1, "approval-not-allowed").await;
    bench.set("own_device", "true");
    bench.station.put_finger().unwrap();
    assert_eq!(bench.good(&["ticket", "approve", &id]).await["state"], "open");
    let desk = bench.new_desk().await;
    let ticket = std::fs::read_to_string(bench.station.file("ticket")).unwrap();
    let ran = bench.enrol_at(&desk, &ticket).await;
    assert_eq!((ran.code, &ran.json()["operator"]), (Some(0), &"alice".into()), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_tpm_is_bound_again_only_by_a_ticket_that_says_so() {
    let mut bench = Bench::ready().await;
    let before = bench.good(&["status"]).await["device_id"].as_str().unwrap().to_owned();
    bench.station.signetd.kill();
    bench.station.tpm.run_tool("tpm2_clear", &["-c", "p"]).unwrap();
    bench.station.signetd.restart().unwrap();
    assert_ne!(bench.run(&["login"]).await.code, Some(0));

    let plain = bench.authority.ticket(&["device", "--operator", "alice"]).unwrap();
    refused(&bench.enrol(&plain).await, 1, "bad_enrolment");
    assert_eq!(bench.recorded("device-enrol", Some("device-enrolled")), 1);
    let bobs = bench.authority.ticket(&["device", "--operator", "bob", "--rebind"]).unwrap();
    refused(&bench.enrol(&bobs).await, 1, "bad_enrolment");
    let rebind = bench.authority.ticket(&["device", "--operator", "alice", "--rebind"]).unwrap();
    // Another TPM is another machine, whatever the ticket says.
    let desk = bench.new_desk().await;
    refused(&bench.enrol_at(&desk, &rebind).await, 1, "denied");

    let ran = bench.enrol(&rebind).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_ne!(ran.json()["device_id"], before.as_str());
    // Keys stay enrolled.
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_at_another_desk_at_once_and_after_the_laptop_is_lost() {
    let mut bench = Bench::ready().await;
    let lost = bench.good(&["status"]).await["device_id"].as_str().unwrap().to_owned();
    let mut desk = bench.desk("alice").await;
    bench.station.plug(Vec::new()).unwrap();
    desk.plug(vec![bench.station.key.socket()]).unwrap();
    bench.station.put_finger().unwrap();
    let session = bench.good_at(&desk, &["login"]).await;
    assert_eq!(session["subject"], "alice");
    bench.authority.revoke("device", &lost).unwrap();
    bench.bad(&["login"], 1, "device-revoked").await;
    bench.station.put_finger().unwrap();
    bench.good_at(&desk, &["login", "--new"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_key_is_authorised_by_the_first_and_removes_it_when_it_is_lost() {
    let mut bench = Bench::ready().await;
    let status = bench.good(&["status"]).await;
    assert_eq!(status["keys_enrolled"], 1);
    assert!(status["notices"].to_string().contains("fewer than two keys"), "{status}");
    bench.station.put_finger().unwrap();
    bench.good(&["login"]).await;
    let spare = bench.plug_pin_key().await;
    // Without the first key nobody agrees.
    let add = ["key", "add", "--name", "spare"];
    let alone = bench.run_with_pin(PIN, &add).await;
    assert_eq!(alone.code, Some(1), "{alone:?}");
    bench.add_second_key(&spare, "spare").await;
    let status = bench.good(&["status"]).await;
    assert_eq!(status["keys_enrolled"], 2);
    assert!(!status["notices"].to_string().contains("fewer than two keys"), "{status}");
    // The first is lost: its session ends with it.
    bench.good(&["key", "remove", "blue"]).await;
    bench.set_cached("expires", 0);
    bench.bad(&["token"], 1, "session-ended").await;
    bench.station.plug(vec![spare.socket()]).unwrap();
    let again = bench.run_with_pin(PIN, &["login"]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}
