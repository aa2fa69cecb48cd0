//! Evidence that was accepted, judged again by who looks into an incident.

use std::process::Command;

use serde_json::Value;
use signet_tests::house::House;

use crate::gateway::{logged_in, status};

/// What `audit reappraise` says: in JSON, and for a person.
fn reappraised(house: &House, number: i64) -> (Value, String) {
    let number = number.to_string();
    let json = house.authority.ran(&["--json", "audit", "reappraise", &number]).unwrap();
    assert_eq!(json.0, Some(0), "{}", json.2);
    let text = house.authority.ran(&["audit", "reappraise", &number]).unwrap();
    (serde_json::from_str(&json.1).unwrap(), text.1)
}

/// The records that were made on evidence: number and event.
fn on_evidence(house: &House) -> Vec<(i64, String)> {
    let listed = house.authority.ran(&["--json", "audit", "list"]).unwrap().1;
    let records = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let made = records.filter(|record| record["evidence"].is_string());
    made.map(|record| {
        (record["sequence"].as_i64().unwrap(), record["event"].as_str().unwrap().to_owned())
    })
    .collect()
}

/// Has SQLite do this to the authority's database.
fn sql(house: &House, statement: &str) {
    let database = house.authority.config().with_file_name("authority.db");
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1], timeout=60); c.execute(sys.argv[2]); c.commit()";
    let done = Command::new("python3").args(["-c", script]).arg(database).arg(statement).status();
    assert!(done.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_evidence_is_judged_again_by_what_counts_now() {
    let house = logged_in().await;
    std::fs::write(house.alice.file("body"), "{}").unwrap();
    house.alice.put_finger().unwrap();
    let path = "/v1/namespaces/payments/routes/api";
    let ran = house.request(&house.alice, "PUT", path, &["--body", "body"]).await.unwrap();
    assert_eq!((status(&ran), ran.code), (200, Some(0)), "{ran:?}");
    let ran = house.alice.signet(&["token", "--renew"]).await.unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");

    // Each challenge was used up and each clock moved on since; the verdict is that of then.
    let records = on_evidence(&house);
    let events: Vec<&str> = records.iter().map(|(_, event)| event.as_str()).collect();
    assert_eq!(events, ["key-enrol", "token-session", "token-action", "token-renew"]);
    for (number, event) in &records {
        let (said, text) = reappraised(&house, *number);
        assert_eq!((&said["then"], &said["now"]), (&"accepted".into(), &"accepted".into()));
        assert_eq!((&said["same"], &said["reason"]), (&true.into(), &Value::Null), "{event}");
        assert_eq!(text.trim(), format!("record {number}: accepted then, accepted now"));
    }

    // By stricter settings each says what it lacks; by those of before it is good again.
    let config = house.authority.config();
    let settings = std::fs::read_to_string(&config).unwrap();
    house.authority.set("required_pcrs", "[0, 2, 4, 7, 23]").unwrap();
    for (number, event) in &records {
        let (said, text) = reappraised(&house, *number);
        let now = "pcr-selection-insufficient";
        assert_eq!((&said["then"], &said["now"]), (&"accepted".into(), &now.into()), "{event}");
        assert_eq!(said["same"], false);
        let reason = said["reason"].as_str().unwrap();
        assert!(reason.starts_with(now), "{reason}");
        let first = format!("record {number}: accepted then, {now} now");
        assert_eq!(text.lines().next(), Some(first.as_str()));
        assert!(text.contains(reason), "{text}");
    }
    std::fs::write(&config, settings).unwrap();
    let session = records[1].0;
    assert_eq!(reappraised(&house, session).0["same"], true);

    // A machine that is revoked by now.
    let device = house.authority.audit().unwrap().into_iter().find_map(|one| one.device).unwrap();
    house.authority.revoke("device", &device).unwrap();
    assert_eq!(reappraised(&house, session).0["now"], "device-revoked");

    // Other bytes in its place are not judged, nor are none.
    let failed = |number: i64| {
        let ran = house.authority.ran(&["audit", "reappraise", &number.to_string()]).unwrap();
        assert_eq!((ran.0, ran.1.as_str()), (Some(1), ""));
        ran.2
    };
    sql(&house, "UPDATE evidence SET bytes = zeroblob(8)");
    let said = failed(session);
    assert!(said.contains("a row of table evidence was not written by this authority"), "{said}");
    sql(&house, "DELETE FROM evidence");
    let said = failed(session);
    assert!(said.contains("that evidence is not kept"), "{said}");
    let ticket = 1;
    let said = failed(ticket);
    assert!(said.contains("record 1 was not made on evidence"), "{said}");
    let said = failed(1_000_000);
    assert!(said.contains("there is no record 1000000"), "{said}");
}
