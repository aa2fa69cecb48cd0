//! What is limited over all nodes.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::postgres::shared;
use crate::stage::Stage;

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Refused(String),
    Wait(String),
}

async fn told(answer: reqwest::Response) -> Told {
    let (status, retry) = (answer.status(), answer.headers().contains_key("retry-after"));
    let problem: Value = answer.json().await.unwrap();
    let code = problem["code"].as_str().unwrap().to_owned();
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            assert!(retry);
            Told::Wait(code)
        }
        _ => Told::Refused(code),
    }
}

/// Asks all nodes at once, `times` each; how many were refused, and how many had to wait.
async fn ask_all(
    stage: &Stage,
    times: usize,
    ask: impl Fn(&str) -> reqwest::RequestBuilder,
) -> Vec<Told> {
    let mut asking = JoinSet::new();
    for node in &stage.nodes {
        for _ in 0..times {
            let request = ask(&node.clients);
            asking.spawn(async move { told(request.send().await.unwrap()).await });
        }
    }
    asking.join_all().await
}

fn count(told: &[Told], wanted: &Told) -> usize {
    told.iter().filter(|one| *one == wanted).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_tickets_are_counted_over_all_nodes() {
    let url = shared().database().await;
    let stage = Stage::limited(&url, "guesses = \"10/1h\"").await;
    let stranger = stage.house.stranger();
    let told = ask_all(&stage, 20, |node| {
        stranger.post(format!("{node}/v1/enrol/device/begin")).json(&json!({
            "ticket": "wrong", "ek_kind": "ecc-p256", "ek_public": "", "ak_public": "",
            "tls_public": "",
        }))
    });
    let told = told.await;
    assert_eq!(count(&told, &Told::Refused("denied".into())), 10);
    assert_eq!(count(&told, &Told::Wait("limit-guesses".into())), 50);
    let records = stage.records().await;
    let wrong = records.iter().filter(|record| record.code.as_deref() == Some("ticket-invalid"));
    assert_eq!(wrong.count(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_a_machine_and_an_operator_is_counted_over_all_nodes() {
    let url = shared().database().await;
    let limits = "machine_tokens = \"5/1h\"\noperator_tokens = \"8/1h\"";
    let stage = Stage::limited(&url, limits).await;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:signet:token-type:evidence"),
        ("subject_token", "AA"),
    ];
    let other = stage.house.machine("alice").await;
    let bob = stage.house.machine("bob").await;
    let mut all = Vec::new();
    for machine in [&stage.machine, &other, &bob] {
        let client = machine.client(&stage.house);
        let ask = |node: &str| client.post(format!("{node}/v1/token")).form(&form);
        let told = ask_all(&stage, 4, ask).await;
        let wait = |code: &str| count(&told, &Told::Wait(code.into()));
        let waited = (wait("limit-machine-tokens"), wait("limit-operator-tokens"));
        all.push((count(&told, &Told::Refused("evidence-malformed".into())), waited));
    }
    // Alice's first machine has its five, her second what is left of her eight; bob has nothing to do with it.
    assert_eq!(all, [(5, (7, 0)), (3, (0, 9)), (5, (7, 0))]);
}
