//! One name for a request: in the problem, the audit record, the log and the collector's spans.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // this suite uses its part of it
mod made;

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use made::{Made, text};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Takes OTLP over HTTP as a collector does.
#[derive(Clone, Default)]
struct Collector {
    exports: Arc<Mutex<Vec<Value>>>,
    more: Arc<Notify>,
}

impl Collector {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(export)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Value> {
        let exports = self.exports.lock().unwrap();
        let resources = exports.iter().flat_map(|one| one["resourceSpans"].as_array().unwrap());
        let scopes = resources.flat_map(|one| one["scopeSpans"].as_array().unwrap());
        scopes.flat_map(|one| one["spans"].as_array().unwrap().clone()).collect()
    }

    /// Waits for the span of this route.
    async fn request(&self, route: &str) -> Value {
        loop {
            let more = self.more.notified();
            let found = self.spans().into_iter().find(|span| told(span, "http.route") == route);
            match found {
                Some(span) => return span,
                None => more.await,
            }
        }
    }
}

async fn export(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/json");
    collector.exports.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    collector.more.notify_one();
    StatusCode::OK
}

/// An attribute's value as text.
fn told(span: &Value, name: &str) -> String {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|one| one["key"] == name).map(|one| one["value"].clone());
    let value = found.unwrap_or_default();
    let text = value.as_object().and_then(|value| value.values().next()).cloned();
    text.and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The programm, serving with these lines at the end of its settings.
fn serve(made: &Made, more: &str) -> (made::Serving, std::thread::JoinHandle<String>) {
    let file = made.dir().join("authority.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("json = false", "json = true") + more).unwrap();
    let mut command = made.command(&["serve"]);
    command.env("SIGNET_LOG", "debug").stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0);
        let said: Value = serde_json::from_str(&line).unwrap();
        if said["fields"]["message"] == "ready" {
            break said["fields"]["clients"].as_str().unwrap().to_owned();
        }
    };
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        rest
    });
    (made::Serving { child, address }, rest)
}

fn stop(mut serving: made::Serving) {
    let pid = serving.child.id().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(serving.child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_name_wherever_it_is_told_of() {
    let made = Made::new();
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let (serving, log) = serve(&made, &format!("\n[telemetry]\notlp_endpoint = \"{endpoint}\"\n"));
    let secret = "ticket-that-nobody-may-see";
    let body = json!({
        "ticket": secret, "ek_kind": "ecc-p256", "ek_public": "", "ak_public": "", "tls_public": "",
    });
    let url = format!("https://{}/v1/enrol/device/begin", serving.address);
    let ask = async |traceparent: &str| -> Value {
        let request = made.client().post(&url).json(&body).header("traceparent", traceparent);
        request.send().await.unwrap().json().await.unwrap()
    };
    let refused = ask(&format!("00-{TRACE}-{PARENT}-01")).await;
    assert_eq!(refused["instance"], format!("urn:signet:trace:{TRACE}"));
    let whole = collector.request("/v1/enrol/device/begin").await;
    let other = ask("not a trace").await;
    let made_for_it = other["instance"].as_str().unwrap().strip_prefix("urn:signet:trace:");
    let made_for_it = made_for_it.unwrap().to_owned();
    assert!(made_for_it.len() == 32 && made_for_it != TRACE, "{made_for_it}");

    assert_eq!((&whole["traceId"], &whole["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!((&whole["name"], &whole["kind"]), (&json!("request"), &json!(2)));
    assert_eq!(told(&whole, "http.response.status_code"), "403");
    let time = |name: &str| whole[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    let below: Vec<_> = collector
        .spans()
        .into_iter()
        .filter(|one| one["parentSpanId"] == whole["spanId"])
        .collect();
    for name in ["store read", "store write"] {
        assert!(below.iter().any(|one| one["name"] == name), "{below:#?}");
    }
    assert!(below.iter().all(|one| one["traceId"] == TRACE && one["kind"] == 1));

    stop(serving);
    // What the exporter had at the stop was sent, too.
    let second = collector.spans().into_iter().find(|one| one["traceId"] == made_for_it.as_str());
    assert!(second.is_some_and(|one| one.get("parentSpanId").is_none() || one["kind"] == 1));
    let exports = collector.exports.lock().unwrap().clone();
    let resource = exports[0]["resourceSpans"][0]["resource"].to_string();
    assert!(resource.contains("service.name") && resource.contains("signet-authority"));
    assert!(!serde_json::to_string(&exports).unwrap().contains(secret));

    let records = made.json(&["audit", "list"]);
    let of = |trace: &str| records.iter().filter(|one| one["trace"] == trace).count();
    assert_eq!((of(TRACE), of(&made_for_it)), (1, 1));
    let verified = made.run(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    let log = log.join().unwrap();
    assert!(!log.contains(secret), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_holds_up_nobody_and_is_told_once() {
    let made = Made::new();
    // A port that nobody listens on: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (serving, log) =
        serve(&made, &format!("\n[telemetry]\notlp_endpoint = \"http://127.0.0.1:{port}\"\n"));
    let client = made.client();
    for _ in 0..5 {
        let answer = client.get(format!("https://{}/jwks.json", serving.address)).send().await;
        assert_eq!(answer.unwrap().status(), reqwest::StatusCode::OK);
    }
    stop(serving);
    let log = log.join().unwrap();
    let failures = log.lines().filter(|line| line.contains("spans cannot be exported")).count();
    assert_eq!(failures, 1, "{log}");
    // Every line says which request it belongs to.
    let in_requests = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let answered: Vec<_> = in_requests.filter(|one| one["span"]["name"] == "request").collect();
    assert_eq!(answered.len(), 5, "{log}");
    assert!(answered.iter().all(|one| one["span"]["trace"].as_str().unwrap().len() == 32));
}
