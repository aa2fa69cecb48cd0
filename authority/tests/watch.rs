//! Services that follow the authority: what is revoked, by whomever, is refused by each of them; each says
//! so; and none admits anything on what it knew long ago.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use signet_authority::store::{RevocationTarget, SessionKind};
use signet_evidence::{RejectionCode, SessionId, UnixTime};
use signet_verifier::events::{Acknowledged, Hello, Revocations};
use signet_verifier::status_list::{CWT_MEDIA_TYPE, JWT_MEDIA_TYPE, Scope, StatusListToken};
use signet_watch::{Access, Bounds, Refused, Settings, Watch};

use house::{House, Machine};

const LONG: Duration = Duration::from_secs(3600);
const PATIENT: Bounds = Bounds { writes: LONG, reads: LONG };

fn settings(house: &House, bounds: Bounds) -> Settings {
    let (certificate, key) = house.gateway_identity("edge");
    Settings {
        authority: house.gateways(""),
        authority_ca: vec![
            house.authority.keys.server_ca.issuer(house.authority.now()).certificate().clone(),
        ],
        certificate: vec![certificate],
        key,
        issuer: "https://localhost".into(),
        audience: house.authority.checker().audience.clone(),
        bounds,
    }
}

fn said(watch: &Watch, machine: &Machine, token: &str, access: Access) -> &'static str {
    match watch.check(token, machine.thumbprint(), access) {
        Ok(_) => "admitted",
        Err(Refused::Revoked) => "revoked",
        Err(Refused::Stale) => "stale",
        Err(Refused::SingleUse) => "single use",
        Err(Refused::Token(rejection)) => rejection.code().as_str(),
    }
}

/// Returns once the watch says this of a write with the token.
async fn until(watch: &Watch, machine: &Machine, token: &str, access: Access, expected: &str) {
    while said(watch, machine, token, access) != expected {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The program, as an administrator runs it beside the one that serves.
async fn revoke(house: &House, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signet-authority"));
    command.arg("revoke").args(arguments).arg("--json").arg("--config").arg(house.settings_file());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The same, with every verifier's word that it has it in force.
async fn revoke_everywhere(house: &House, arguments: &[&str], verifiers: usize) -> Value {
    let output = revoke(house, &[arguments, &["--wait=60"]].concat()).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error} {answer}");
    let told = answer["verifiers"].as_array().unwrap();
    assert_eq!((told.len(), &answer["unanswered"]), (verifiers, &json!(0)), "{answer}");
    for one in told {
        assert_eq!(one["gateway"], "spiffe://mesh.example/gateway/edge");
        assert!(one["applied"] == true && one["after_ms"].is_u64(), "{one}");
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_revoked_is_refused_by_every_verifier_once_each_said_so() {
    let house = House::start().await;
    let watches: Vec<Watch> =
        (0..3).map(|_| Watch::start(settings(&house, PATIENT)).unwrap()).collect();
    for watch in &watches {
        watch.ready().await;
    }
    let all = |machine: &Machine, token: &str| -> Vec<&'static str> {
        watches.iter().map(|watch| said(watch, machine, token, Access::Write)).collect()
    };
    let bystander = house.machine("alice").await;
    let unharmed = house.token(&bystander, SessionKind::Person).await;
    for kind in ["token", "session", "key", "device"] {
        let machine = house.machine("alice").await;
        let token = match kind {
            "key" => {
                house.key(&machine, kind.as_bytes()).await;
                house.token_of_key(&machine, kind.as_bytes()).await
            }
            _ => house.token(&machine, SessionKind::Person).await,
        };
        assert_eq!(all(&machine, &token), ["admitted"; 3], "{kind}");
        let claims = house::tokens::claims(&token);
        let id = match kind {
            "token" => claims.jti.clone(),
            "session" => claims.sid.clone(),
            "key" => house::tokens::base64url(kind.as_bytes()),
            _ => machine.id.to_string(),
        };
        let answer = revoke_everywhere(&house, &[kind, &id], 3).await;
        // No waiting: each had it in force before it said so.
        assert_eq!(all(&machine, &token), ["revoked"; 3], "{kind}");
        assert_eq!(all(&bystander, &unharmed), ["admitted"; 3], "{kind}");
        assert_eq!(answer["sessions"], u64::from(kind != "token"), "{kind}");
        // Who knows the signed lists only refuses it, too.
        let place = claims.status.status_list.idx;
        assert_eq!(status(&house, place).await, [1, 1], "{kind}");
    }
    for arguments in [&["operator", "alice"][..], &["all"]] {
        let machine = house.machine("bob").await;
        let other = house.token(&machine, SessionKind::Person).await;
        revoke_everywhere(&house, arguments, 3).await;
        assert_eq!(all(&bystander, &unharmed), ["revoked"; 3]);
        let place = house::tokens::claims(&other).status.status_list.idx;
        let everything = u8::from(arguments == ["all"]);
        assert_eq!(status(&house, place).await, [everything; 2], "{arguments:?}");
    }
    // What begins after everything was revoked is good.
    let machine = house.machine("bob").await;
    let token = house.token(&machine, SessionKind::Person).await;
    assert_eq!(all(&machine, &token), ["admitted"; 3]);
    let metrics = house.gateway("edge").get(house.gateways("/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("signet_revocation_latency_seconds_count 18"), "{metrics}");
    // One that comes later learns all of it from the lists.
    let late = Watch::start(settings(&house, PATIENT)).unwrap();
    late.ready().await;
    assert_eq!(said(&late, &bystander, &unharmed, Access::Read), "revoked");
    assert_eq!(said(&late, &machine, &token, Access::Write), "admitted");
}

/// The status at this place of list 0: by its JWT and by its CWT.
async fn status(house: &House, place: u64) -> [u8; 2] {
    let get = async |media_type: &str| {
        let request = house.stranger().get(house.clients("/status/0"));
        let answer = request.header("accept", media_type).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], media_type);
        answer.bytes().await.unwrap()
    };
    let checker = house.authority.checker();
    let (keys, now) = (&checker.keys, house.authority.now());
    let scope = Scope { keys, uri: "https://localhost/status/0", now };
    let jwt = get(JWT_MEDIA_TYPE).await;
    let jwt = StatusListToken::from_jwt(std::str::from_utf8(&jwt).unwrap(), scope).unwrap();
    let cwt = StatusListToken::from_cwt(&get(CWT_MEDIA_TYPE).await, scope).unwrap();
    [jwt, cwt].map(|token| token.list.get(place).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_not_answer_is_named() {
    let house = House::start().await;
    let watch = Watch::start(settings(&house, PATIENT)).unwrap();
    watch.ready().await;
    // Listens, and never acknowledges.
    let instance = "5e".repeat(16);
    let url = house.gateways(&format!("/v1/events?instance={instance}"));
    let mut silent = house.gateway("edge").get(url).send().await.unwrap();
    let hello: Hello = next(&mut silent, &mut String::new()).await.1;
    assert_eq!(hello.instance, instance);
    while house.authority.store.verifiers(UnixTime(0)).await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let machine = house.machine("alice").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let id = house::tokens::claims(&token).sid;
    let output = revoke(&house, &["session", &id, "--wait=2"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("1 verifier(s) did not answer within 2 s"), "{error}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["revoked"], &answer["unanswered"]), (&json!(true), &json!(1)));
    for one in answer["verifiers"].as_array().unwrap() {
        assert_eq!(one["applied"], one["instance"] != instance, "{one}");
    }
    assert_eq!(said(&watch, &machine, &token, Access::Read), "revoked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_authority_writes_end_before_reads_and_come_back_by_themselves() {
    let mut house = House::start().await;
    let (short, shorter) = (Duration::from_secs(3), Duration::from_secs(2));
    let bounds = Bounds { writes: shorter, reads: LONG };
    let writer = Watch::start(settings(&house, bounds)).unwrap();
    let bounds = Bounds { writes: shorter, reads: short };
    let reader = Watch::start(settings(&house, bounds)).unwrap();
    let machine = house.machine("alice").await;
    let tokens = [
        house.token(&machine, SessionKind::Person).await,
        house.token(&machine, SessionKind::Person).await,
    ];
    let [good, ended] = &tokens;
    for watch in [&writer, &reader] {
        until(watch, &machine, good, Access::Write, "admitted").await;
        until(watch, &machine, ended, Access::Write, "admitted").await;
    }
    house.stop().await;
    until(&writer, &machine, good, Access::Write, "stale").await;
    assert_eq!(said(&writer, &machine, good, Access::Read), "admitted");
    until(&reader, &machine, good, Access::Read, "stale").await;
    assert!(reader.health().trouble.is_some());
    // Revoked while nobody heard of it.
    let id = SessionId::from_hex(&house::tokens::claims(ended).sid).unwrap();
    house.revoke_beside(RevocationTarget::Session(id)).await;
    house.restart().await;
    for watch in [&writer, &reader] {
        until(watch, &machine, good, Access::Write, "admitted").await;
        assert_eq!(said(watch, &machine, ended, Access::Write), "revoked");
        assert_eq!(watch.health().trouble, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_judges_tokens_as_the_authority_does() {
    let house = House::start().await;
    let watch = Watch::start(settings(&house, PATIENT)).unwrap();
    let (machine, other) = (house.machine("alice").await, house.machine("alice").await);
    let token = house.token(&machine, SessionKind::Person).await;
    // Nothing is known yet, or everything is: never something between.
    assert!(["stale", "admitted"].contains(&said(&watch, &machine, &token, Access::Read)));
    watch.ready().await;
    assert_eq!(said(&watch, &machine, &token, Access::Write), "admitted");
    assert_eq!(said(&watch, &other, &token, Access::Write), "token-binding-mismatch");
    assert_eq!(said(&watch, &machine, "a.b.c", Access::Write), "token-malformed");
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(said(&watch, &machine, &forged, Access::Write), "token-signature-invalid");
    let action = house.token(&machine, SessionKind::Action).await;
    assert_eq!(said(&watch, &machine, &action, Access::Write), "single use");
    let refused = watch.check(&action, machine.thumbprint(), Access::Write).unwrap_err();
    assert_eq!(refused.code(), Some(RejectionCode::TokenRedeemed));
}

/// Whoever is not the authority is not listened to, and whoever is no gateway hears nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_from_the_authority_alone_and_go_to_gateways_alone() {
    let house = House::start().await;
    let impostor = House::start().await;
    let machine = house.machine("alice").await;
    let token = house.token(&machine, SessionKind::Person).await;
    // Led to another authority, which has another certificate.
    let mut misled = settings(&house, PATIENT);
    misled.authority = impostor.gateways("");
    let misled = Watch::start(misled).unwrap();
    while misled.health().trouble.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(said(&misled, &machine, &token, Access::Read), "stale");
    for client in [house.stranger(), machine.client(&house)] {
        let refused = client.get(house.gateways("/v1/events")).send().await;
        assert!(refused.is_err_and(|error| error.is_connect() || error.is_request()));
    }
    let unknown = house.gateway("other");
    let refused = unknown.get(house.gateways("/v1/events")).send().await.unwrap();
    assert_eq!(refused.status(), reqwest::StatusCode::FORBIDDEN);
    for path in ["/v1/events", "/v1/events/ack"] {
        let refused = house.stranger().get(house.clients(path)).send().await.unwrap();
        assert_eq!(refused.status(), reqwest::StatusCode::NOT_FOUND, "{path}");
    }
    // Nobody acknowledges for another, nor without a stream.
    let body = json!({"instance": "00".repeat(16), "position": 0});
    let gateway = house.gateway("edge");
    let refused = gateway.post(house.gateways("/v1/events/ack")).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), reqwest::StatusCode::NOT_FOUND);
}

/// The next `hello` or `revocation`: its id and its data.
async fn next<T: serde::de::DeserializeOwned>(
    stream: &mut reqwest::Response,
    text: &mut String,
) -> (String, T) {
    loop {
        while let Some((event, rest)) = text.clone().split_once("\n\n") {
            rest.clone_into(text);
            let field = |name: &str| {
                let line = event.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.to_owned()
            };
            if ["hello", "revocation"].contains(&field("event: ").as_str()) {
                return (field("id: "), serde_json::from_str(&field("data: ")).unwrap());
            }
        }
        let chunk = stream.chunk().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_where_it_was_over_http_1_and_2() {
    let house = House::start().await;
    let machine = house.machine("alice").await;
    for client in [house.gateway("edge"), house.gateway_over_http_1("edge")] {
        let open = async |after: Option<&str>| {
            let mut request = client.get(house.gateways("/v1/events"));
            if let Some(after) = after {
                request = request.header("last-event-id", after);
            }
            let stream = request.send().await.unwrap();
            assert_eq!(stream.headers()["content-type"], "text/event-stream");
            stream
        };
        let end = async || {
            let token = house.token(&machine, SessionKind::Person).await;
            let id = house::tokens::claims(&token).sid;
            house.revoke(RevocationTarget::Session(SessionId::from_hex(&id).unwrap())).await;
            id
        };
        let (mut stream, mut text) = (open(None).await, String::new());
        let (_, hello): (_, Hello) = next(&mut stream, &mut text).await;
        assert!(hello.reset);
        let first = end().await;
        let (id, event): (_, Revocations) = next(&mut stream, &mut text).await;
        assert_eq!((event.after, &event.revoked[0].id), (hello.position, &first));
        drop(stream);
        let missed = end().await;
        let (mut stream, mut text) = (open(Some(&id)).await, String::new());
        let (_, hello): (_, Hello) = next(&mut stream, &mut text).await;
        assert!(!hello.reset);
        let (_, event): (_, Revocations) = next(&mut stream, &mut text).await;
        let revoked: Vec<&String> = event.revoked.iter().map(|one| &one.id).collect();
        assert_eq!(revoked, [&missed]);
        // An acknowledgement's answer says what there is.
        let body = json!({"instance": hello.instance, "position": event.position});
        let answer = client.post(house.gateways("/v1/events/ack")).json(&body).send().await;
        let answer: Acknowledged = answer.unwrap().json().await.unwrap();
        assert_eq!(answer.position, event.position);
        // Positions of another run, of the future or of nothing do not count.
        let ahead = format!("{}-{}", hello.run, event.position + 100);
        for other in ["0123456789abcdef-1", &ahead, "x", ""] {
            let mut stream = open(Some(other)).await;
            let (_, hello): (_, Hello) = next(&mut stream, &mut String::new()).await;
            assert!(hello.reset, "{other}");
        }
    }
}
