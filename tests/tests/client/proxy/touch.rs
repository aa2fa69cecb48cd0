//! The person's part: who waits for a touch, who gave up, what can be sent again and what cannot.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::{PRODUCTION, Proxy, STAGING, by_socket, curl, desktop, socket};
use crate::gateway::logged_in;
use crate::step_up::with_policy;

/// Waits until a line of the proxy holds these words.
async fn until(proxy: &mut Proxy, words: &str) {
    let stderr = proxy.child.stderr.as_mut().unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(words) {
                return;
            }
        }
        panic!("the proxy ended before {words:?}");
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_gives_up_takes_its_question_with_it() {
    let house = logged_in().await;
    let mut proxy = Proxy::start(&house, &[]).await;
    let put = ["-X", "PUT", "--data", "{\"weight\": 10}"];
    let (path, url) = (socket(&house), format!("http://localhost{PRODUCTION}"));
    let first = [&["--unix-socket", path.to_str().unwrap(), url.as_str()], &put[..]].concat();
    let mut first = curl(&first).stdout(std::process::Stdio::null()).spawn().unwrap();
    until(&mut proxy, "inger needed").await;
    first.kill().await.unwrap();
    // This firmware hears no cancel while it waits for a finger.
    house.alice.put_finger().unwrap();
    house.alice.put_finger().unwrap();
    let got = by_socket(&house, PRODUCTION, &put).await;
    assert_eq!(got.status, 200, "{got:?}");
    let records = house.authority.audit().unwrap();
    let given = records.iter().filter(|r| r.event == "token-action" && r.decision == "allowed");
    assert_eq!((given.count(), house.upstream.received().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_for_the_same_presence_cost_one_touch() {
    let house = logged_in().await;
    with_policy(&house, "routes.cedar", |rules| rules.replace("<= 14400", "<= 20")).await;
    let proxy = Proxy::start(&house, &["--no-step-up"]).await;
    // Until the login is too long ago.
    while by_socket(&house, STAGING, &[]).await.status == 200 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    proxy.terminate();
    assert_eq!(proxy.ended().await.0, Some(0));
    let _proxy = Proxy::start(&house, &[]).await;
    let before = house.authority.audit().unwrap().len();
    house.alice.put_finger().unwrap();
    let many = (0..4).map(|_| by_socket(&house, STAGING, &[]));
    for got in futures_util::future::join_all(many).await {
        assert_eq!(got.status, 200, "{got:?}");
    }
    let records = house.authority.audit().unwrap().split_off(before);
    let touches = records.iter().filter(|r| r.event == "token-session" && r.decision == "allowed");
    assert_eq!(touches.count(), 1, "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_said_no_is_left_in_peace() {
    let house = logged_in().await;
    let (mut session, _agent) = desktop(&house).await;
    let _proxy = Proxy::start(&house, &[]).await;
    let put = |body| ["-X", "PUT", "--data", body];
    let asked = put("{\"weight\": 10}");
    let person = async {
        let shown = session.until("inger needed").await;
        session.press(shown.replaces.max(1), "refuse").await;
        session.until("refused at the prompt").await;
    };
    let (got, ()) = tokio::join!(by_socket(&house, PRODUCTION, &asked), person);
    assert_eq!(got.code(), (403, "presence-not-proved".to_owned()));
    let before = house.authority.audit().unwrap().len();
    // Whatever else wants a touch now is refused at once; what wants none passes.
    let got = by_socket(&house, PRODUCTION, &put("{\"weight\": 20}")).await;
    assert_eq!(got.code(), (403, "resting".to_owned()));
    assert!(got.head.contains("retry-after: 30"), "{got:?}");
    assert_eq!(by_socket(&house, STAGING, &[]).await.status, 200);
    let records = house.authority.audit().unwrap().split_off(before);
    assert!(records.iter().all(|record| record.event != "token-action"), "{records:?}");
    assert_eq!(house.upstream.received().len(), 1);
}
