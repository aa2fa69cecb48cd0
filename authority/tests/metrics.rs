//! What `/metrics` says: as documented, and everything that dashboard and rules ask for.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // this suite uses its part of the house
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use signet_authority::store::SessionKind;
use signet_evidence::RejectionCode;

use house::House;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// A house where something happened, and what its endpoint says then.
async fn told() -> String {
    let house = House::start().await;
    let machine = house.machine("alice").await;
    let gateway = house.gateway("edge");
    let token = house.token(&machine, SessionKind::Person).await;
    let form = [("token", token.as_str())];
    gateway.post(house.gateways("/v1/introspect")).form(&form).send().await.unwrap();
    let challenge = json!({"purpose": "session"});
    let client = machine.client(&house);
    client.post(house.clients("/v1/challenge")).json(&challenge).send().await.unwrap();
    gateway.get(house.gateways("/v1/authorize/x")).bearer_auth(&token).send().await.unwrap();
    let answer = gateway.get(house.gateways("/metrics")).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().contains("openmetrics-text"));
    answer.text().await.unwrap()
}

/// Told of as soon as a machine shows a new state: their labels are the machine policies' own.
const LATER: [&str; 2] = ["signet_machine_boots_total", "signet_machine_findings_total"];

/// Name, kind, meaning and labels, as they are told. Labels only of what has happened.
struct Metric {
    kind: String,
    meaning: String,
    labels: BTreeSet<String>,
}

fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(meaning)) => {
                let meaning = meaning.trim_end_matches('.').to_owned();
                let metric = Metric { kind: String::new(), meaning, labels: BTreeSet::new() };
                all.insert(name.to_owned(), metric);
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                all.get_mut(name).unwrap().kind = kind.to_owned();
            }
            _ if line.starts_with('#') => {}
            _ => {
                let name = line.split(['{', ' ']).next().unwrap();
                let known = all.iter_mut().rfind(|(known, _)| name.starts_with(known.as_str()));
                let Some((_, metric)) = known else { panic!("{line}") };
                let Some((labels, _)) =
                    line.split_once('{').and_then(|(_, rest)| rest.split_once('}'))
                else {
                    continue;
                };
                let names =
                    labels.split("\",").filter_map(|one| one.split_once('=')).map(|one| one.0);
                metric.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
            }
        }
    }
    all
}

/// As a series is called: counters end in `_total`.
fn series(name: &str, metric: &Metric) -> String {
    match metric.kind.as_str() {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_says_every_metric_and_no_other() {
    let text = told().await;
    let document = read("docs/metrics.md");
    let mut wrong = Vec::new();
    let all = metrics(&text);
    for (name, metric) in &all {
        let series = series(name, metric);
        let begins = format!("| `{series}` | {} | ", metric.kind);
        let Some(row) = document.lines().find(|line| line.starts_with(&begins)) else {
            wrong.push(format!("{begins}… | {} |", metric.meaning));
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        let documented: BTreeSet<String> =
            cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        if !metric.labels.is_subset(&documented) {
            wrong.push(format!("{series} has the labels {:?}, not {documented:?}", metric.labels));
        }
        if cells[3].trim_end_matches(" |") != metric.meaning {
            wrong.push(format!("{series} means: {}", metric.meaning));
        }
    }
    let rows = document.lines().filter(|line| line.starts_with("| `signet_"));
    for row in rows {
        let name = row.split('`').nth(1).unwrap();
        if !all.iter().any(|(known, metric)| series(known, metric) == name)
            && !LATER.contains(&name)
        {
            wrong.push(format!("{name} is not told"));
        }
    }
    assert!(wrong.is_empty(), "docs/metrics.md:\n{}", wrong.join("\n"));
}

/// Names of ours in a text, without what Prometheus adds to histograms and without recorded ones.
fn asked_for(text: &str) -> BTreeSet<String> {
    let pieces = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let ours = pieces.filter(|piece| piece.starts_with("signet_"));
    let bare = ours.map(|name| {
        let suffixes = ["_bucket", "_count", "_sum"];
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
    });
    bare.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_and_rules_ask_for_nothing_that_is_not_told() {
    let text = told().await;
    let names: BTreeSet<String> =
        metrics(&text).iter().map(|(name, metric)| series(name, metric)).collect();
    let names = names.into_iter().chain(LATER.map(str::to_owned)).collect::<BTreeSet<_>>();
    let dashboard = read("operations/signet-dashboard.json");
    let panels: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(panels["panels"].as_array().unwrap().len() > 20);
    let rules = read("operations/signet.rules.yml");
    for (file, text) in [("dashboard", &dashboard), ("rules", &rules)] {
        let unknown: Vec<_> = asked_for(text).difference(&names).cloned().collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    // And leaves nothing out.
    let both = asked_for(&dashboard).union(&asked_for(&rules)).cloned().collect();
    let unseen: Vec<_> =
        names.difference(&both).filter(|name| *name != "signet_build_info").collect();
    assert!(unseen.is_empty(), "neither shows {unseen:?}");
    // What dashboard and rules call the same by a recorded rule is recorded.
    let recorded = |text: &str| -> BTreeSet<String> {
        let pieces = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        pieces.filter(|piece| piece.starts_with("signet:")).map(str::to_owned).collect()
    };
    for name in recorded(&dashboard).union(&recorded(&rules)) {
        assert!(rules.contains(&format!("record: {name}")), "{name} is not recorded");
    }
    for code in RejectionCode::ALL {
        let line = format!("signet_rejections_total{{code=\"{code}\"}} ");
        assert!(text.contains(&line), "{line}");
    }
}

/// Debian's, from the package `prometheus`; `make setup` puts it beside the other tools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_to_say() {
    let folder = root().join("operations");
    let promtool = |arguments: &[&str]| {
        let mut command = Command::new("promtool");
        command.args(arguments).current_dir(&folder).stdin(Stdio::null());
        command.output()
    };
    if promtool(&["--version"]).is_err() {
        eprintln!("NOT CHECKED: promtool is not there; `make setup` gets it");
        return;
    }
    for arguments in
        [&["check", "rules", "signet.rules.yml"][..], &["test", "rules", "signet.rules.test.yml"]]
    {
        let said = promtool(arguments).unwrap();
        assert!(
            said.status.success(),
            "{arguments:?}: {}{}",
            text(&said.stdout),
            text(&said.stderr)
        );
    }
    // Every alert has a test.
    let (rules, tests) =
        (read("operations/signet.rules.yml"), read("operations/signet.rules.test.yml"));
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {line}\n")), "{line} has no test");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
