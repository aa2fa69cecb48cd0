//! What one caller may take, what is done at once, and slow clients: over real connections.
#![allow(clippy::unwrap_used)] // a test ends where its stage cannot be set

#[allow(dead_code)] // this suite uses its part of the house
mod house;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use signet_authority::store::SessionKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use house::raw::{Answered, Raw};
use house::{House, Machine};

/// A house with these lines under `[limits]`.
async fn house(limits: &str) -> House {
    House::with_limits(limits).await
}

async fn told(answer: reqwest::Response) -> (u16, Option<u64>, Value) {
    let status = answer.status().as_u16();
    let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse());
    (status, retry.map(Result::unwrap), answer.json().await.unwrap_or_default())
}

async fn get(client: &reqwest::Client, url: String) -> (u16, Option<u64>, Value) {
    told(client.get(url).send().await.unwrap()).await
}

/// The answer to a limited caller.
fn is_limited((status, retry, problem): &(u16, Option<u64>, Value), code: &str) {
    assert_eq!((*status, &problem["code"]), (429, &json!(code)), "{problem}");
    assert_eq!(problem["type"], format!("urn:signet:problem:{code}"));
    assert!(retry.is_some_and(|seconds| (1..=3600).contains(&seconds)), "{retry:?}");
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
}

async fn challenge(house: &House, machine: &Machine) -> (u16, Option<u64>, Value) {
    let body = json!({"purpose": "session"});
    let request = machine.client(house).post(house.clients("/v1/challenge")).json(&body);
    told(request.send().await.unwrap()).await
}

#[tokio::test]
async fn an_address_a_machine_and_a_gateway_are_limited_each_for_itself() {
    let house = house("address = \"3/1h\"\nmachine = \"4/1h\"\ngateway = \"5/1h\"").await;
    let (alice, bob) = (house.machine("alice").await, house.machine("bob").await);
    let stranger = house.stranger();
    for _ in 0..3 {
        assert_eq!(get(&stranger, house.clients("/jwks.json")).await.0, 200);
    }
    is_limited(&get(&stranger, house.clients("/jwks.json")).await, "limit-address");
    // The same address with a certificate is somebody else.
    for _ in 0..4 {
        assert_eq!(challenge(&house, &alice).await.0, 200);
    }
    is_limited(&challenge(&house, &alice).await, "limit-machine");
    assert_eq!(challenge(&house, &bob).await.0, 200);
    let (edge, other) = (house.gateway("edge"), house.gateway("other"));
    for _ in 0..5 {
        assert_eq!(get(&edge, house.gateways("/jwks.json")).await.0, 200);
    }
    is_limited(&get(&edge, house.gateways("/jwks.json")).await, "limit-gateway");
    let metrics = other.get(house.gateways("/metrics")).send().await.unwrap();
    assert_eq!(metrics.status(), StatusCode::OK);
    let metrics = metrics.text().await.unwrap();
    for limit in ["address", "machine", "gateway"] {
        let line = format!("signet_limited_total{{limit=\"{limit}\"}} 1\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
}

/// Whatever form a gateway asks in, a limited one hears no yes; and others hear theirs.
#[tokio::test]
async fn a_limited_gateway_is_told_no_over_http_and_grpc() {
    let house = house("gateway = \"2/1h\"").await;
    let machine = house.machine("alice").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let form = [("token", token.as_str())];
    let gateway = house.gateway("edge");
    let ask = async |client: &reqwest::Client| {
        let request = client.post(house.gateways("/v1/introspect")).form(&form);
        told(request.send().await.unwrap()).await
    };
    for _ in 0..2 {
        assert_eq!(ask(&gateway).await.2["active"], true);
    }
    let refused = ask(&gateway).await;
    is_limited(&refused, "limit-gateway");
    assert_eq!(refused.2["error"], "temporarily_unavailable");
    let authorize = gateway.get(house.gateways("/v1/authorize/x")).bearer_auth(&token);
    is_limited(&told(authorize.send().await.unwrap()).await, "limit-gateway");
    let check = house.gateways("/envoy.service.auth.v3.Authorization/Check");
    let call = gateway.post(check).header("content-type", "application/grpc");
    let answer = call.header("te", "trailers").body(vec![0; 5]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let message = answer.bytes().await.unwrap();
    // A CheckResponse whose denied_response (2) has status (1) with code (1) 429: no ok_response (3).
    let status = [0x08, 0xad, 0x03];
    assert!(message.windows(3).any(|three| three == status), "{message:02x?}");
    assert!(message.windows(13).any(|text| text == b"limit-gateway"), "{message:02x?}");
}

#[tokio::test]
async fn whoever_guesses_tickets_has_to_wait_and_hears_nothing_of_a_right_one() {
    let house = house("guesses = \"3/1h\"").await;
    let right = house.ticket("alice").await;
    let guess = async |ticket: &str| {
        let body = json!({
            "ticket": ticket, "ek_kind": "ecc-p256", "ek_public": "", "ak_public": "",
            "tls_public": "",
        });
        let url = house.clients("/v1/enrol/device/begin");
        told(house.stranger().post(url).json(&body).send().await.unwrap()).await
    };
    // The right one opens its door: what is wrong then is the rest.
    assert_eq!(guess(&right).await.2["code"], "bad_enrolment");
    for _ in 0..3 {
        assert_eq!(guess("wrong").await.2["code"], "denied");
    }
    is_limited(&guess("wrong").await, "limit-guesses");
    is_limited(&guess(&right).await, "limit-guesses");
    let records = house.authority.store.audit_after(0, 1000).await.unwrap();
    let refused = records.iter().filter(|record| record.code.as_deref() == Some("ticket-invalid"));
    assert_eq!(refused.count(), 3, "whoever is limited fills no log");
    // Machines guess for themselves.
    let machine = house.machine("bob").await;
    assert_eq!(challenge(&house, &machine).await.0, 200);
}

#[tokio::test]
async fn evidence_for_tokens_is_limited_by_machine_and_by_operator() {
    let house = house("machine_tokens = \"2/1h\"\noperator_tokens = \"3/1h\"").await;
    let (first, second) = (house.machine("alice").await, house.machine("alice").await);
    let bob = house.machine("bob").await;
    let exchange = async |machine: &Machine| {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:signet:token-type:evidence"),
            ("subject_token", "AA"),
        ];
        let request = machine.client(&house).post(house.clients("/v1/token")).form(&form);
        told(request.send().await.unwrap()).await
    };
    for _ in 0..2 {
        assert_eq!(exchange(&first).await.2["code"], "evidence-malformed");
    }
    let refused = exchange(&first).await;
    is_limited(&refused, "limit-machine-tokens");
    assert_eq!(refused.2["error"], "temporarily_unavailable");
    assert_eq!(exchange(&second).await.2["code"], "evidence-malformed");
    is_limited(&exchange(&second).await, "limit-operator-tokens");
    assert_eq!(exchange(&bob).await.2["code"], "evidence-malformed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_is_done_at_once_is_refused_early_and_health_is_told_all_the_same() {
    let house = house("requests = 1\nwaiting = 1").await;
    let machine = house.machine("alice").await;
    // Whoever writes waits for the database, which somebody else holds.
    let held = house.hold_database().await;
    let client = machine.client(&house);
    let mut asked = JoinSet::new();
    for _ in 0..6 {
        let revoke = client.post(house.clients("/v1/revoke")).form(&[("token", "x")]);
        asked.spawn(async move { told(revoke.send().await.unwrap()).await });
    }
    let early = asked.join_next().await.unwrap().unwrap();
    assert_eq!((early.0, early.1, &early.2["code"]), (503, Some(2), &json!("overloaded")));
    let health = get(&house.stranger(), house.clients("/healthz")).await;
    assert_eq!(health.0, 200);
    // Gateways have their own door.
    let keys = get(&house.gateway("edge"), house.gateways("/jwks.json")).await;
    assert_eq!(keys.0, 200);
    held.let_go().await;
    let told: Vec<_> = asked.join_all().await.into_iter().map(|told| told.0).collect();
    assert!(told.contains(&200), "{told:?}");
    assert_eq!(get(&client, house.clients("/jwks.json")).await.0, 200);
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_others_do_not_notice() {
    let house = house(
        "header_timeout = \"1s\"\nbody_timeout = \"1s\"\nidle_timeout = \"1s\"\nrequests = 1\nwaiting = 0",
    )
    .await;
    let mut tcp = house.tcp().await;
    let mut idle = Raw::connect(&house).await;
    let mut head = Raw::connect(&house).await;
    head.send(b"GET /jwks.json HTTP/1.1\r\nhost: loc").await;
    let mut body = Raw::connect(&house).await;
    body.send(b"POST /v1/enrol/device/begin HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{").await;
    let mut kept = Raw::connect(&house).await;
    kept.send(b"GET /jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    // None of them holds the one place.
    assert_eq!(get(&house.stranger(), house.clients("/jwks.json")).await.0, 200);
    // No handshake: closed. No head, and half a head: closed, or told so.
    assert_eq!(tcp.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(matches!(idle.answer().await, Answered::Closed));
    assert!(!matches!(head.answer().await, Answered::Status(200)));
    let answered = body.answer().await;
    assert!(matches!(answered, Answered::Status(408)), "{answered:?}");
    assert!(matches!(kept.answer().await, Answered::Status(200)));
    assert!(matches!(kept.answer().await, Answered::Closed), "nobody asked for a second");
    let metrics = house.gateway("edge").get(house.gateways("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for at in ["handshake", "body"] {
        let line = format!("signet_slow_clients_total{{listener=\"clients\",at=\"{at}\"}} 1\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
}

/// What closes a gateway's connection just when it asks makes it refuse whom it asked for.
#[tokio::test]
async fn a_connection_that_rests_stays_longer_than_a_head_may_take() {
    let house = house("header_timeout = \"1s\"\nidle_timeout = \"1h\"").await;
    let mut resting = Raw::connect(&house).await;
    for _ in 0..2 {
        resting.send(b"GET /jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(matches!(resting.answer().await, Answered::Status(200)));
        // One that was opened later and asks nothing is cut, so the other has rested for as long.
        let mut silent = Raw::connect(&house).await;
        assert!(matches!(silent.answer().await, Answered::Closed));
    }
    resting.send(b"GET /jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(matches!(resting.answer().await, Answered::Status(200)));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let house = house("").await;
    let mut raw = Raw::connect(&house).await;
    raw.send(b"POST /v1/enrol/device/begin HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{").await;
    let answered = raw.answer().await;
    assert!(matches!(answered, Answered::Status(413)), "{answered:?}");
    // And one that does not say how large it is, when it is.
    let mut raw = Raw::connect(&house).await;
    raw.send(b"POST /v1/enrol/device/begin HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = [&b"2000\r\n"[..], &[b'x'; 0x2000], b"\r\n"].concat();
    for _ in 0..16 {
        raw.send(&chunk).await;
    }
    let answered = raw.answer().await;
    assert!(matches!(answered, Answered::Status(413)), "{answered:?}");
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_gets_them_back() {
    let house = house("connections_per_address = 2").await;
    let (first, second) = (Raw::connect(&house).await, Raw::connect(&house).await);
    let mut third = house.tcp().await;
    third.write_all(b"\x16").await.unwrap();
    assert_eq!(third.read(&mut [0; 8]).await.unwrap_or(0), 0);
    drop((first, second));
    // As soon as they are gone there is room.
    let answered = async || {
        let mut again = Raw::try_connect(&house).await?;
        again.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        Some(again.answer().await)
    };
    let reached = tokio::time::timeout(Duration::from_secs(30), async {
        while !matches!(answered().await, Some(Answered::Status(200))) {
            tokio::task::yield_now().await;
        }
    });
    reached.await.unwrap();
}
