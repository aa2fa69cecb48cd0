//! Policies from the draft to the roll back: the commands of docs/policy.md, files that are not taken, and
//! swaps while requests are decided.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

#[allow(dead_code)] // Each test program uses its part of the house.
mod house;

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use signet_authority::in_force::{self, InForce, Order, Slot};
use signet_authority::policy::{ActionPolicySet, EXAMPLE, PolicyFiles, RecordedRequest, Verdict};
use signet_authority::store::{
    AuditEntry, Decision, Event, NewActivation, RevocationTarget, SessionKind, SqlStore, Store,
};
use signet_evidence::UnixTime;

use house::House;

const PROGRAM: &str = env!("CARGO_BIN_EXE_signet-authority");
const ROUTE: &str = "/v1/namespaces/sandbox/routes/web";

struct Made {
    folder: tempfile::TempDir,
}

/// A serving process and its log; it dies with the test.
struct Serving {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    fn hang_up(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// Returns the first line of the log with these words.
    fn says(&mut self, words: &str) -> String {
        let mut lines = self.log.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(words)).unwrap()
    }
}

impl Made {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let mut command = Command::new(PROGRAM);
        command.args(["--json", "init", "--operator", "alice", "--listen", "127.0.0.1:0"]);
        command.args(["--gateway-listen", "127.0.0.1:0", "--issuer", "https://localhost", "--dir"]);
        let output = command.arg(made.dir()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        made
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("authority")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.dir()).env_remove("SIGNET_LOG");
        command.env_remove("SIGNET_AUTHORITY_CONFIG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.command(arguments).arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn serve(&self) -> Serving {
        let mut command = self.command(&["serve"]);
        command.env("SIGNET_LOG", "info").env("NO_COLOR", "1").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut serving = Serving { child, log };
        serving.says("ready clients=");
        serving
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.dir().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    fn live(&self) -> String {
        let history = self.json(&["policy", "history"]);
        let live = history.iter().find(|one| one["slot"] == "live").unwrap();
        live["version"].as_str().unwrap().to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A recorded decision, as a gateway's question leaves it. Returns its sequence number.
async fn recorded(made: &Made) -> i64 {
    use signet_authority::config::Config;
    use signet_authority::keys;
    let config = Config::load(&made.dir().join("authority.toml")).unwrap();
    let integrity = keys::load_integrity(&config.keys()).unwrap();
    let store = SqlStore::open(config.database(), integrity).await.unwrap();
    let now = signet_authority::state::system_clock()();
    let mut entry = AuditEntry::new(now, Event::Authorize, Decision::Allowed);
    entry.policy = Some(made.live());
    entry.request = Some(serde_json::to_string(&staging_route(now)).unwrap());
    store.append_audit(&entry).await.unwrap();
    store.audit_after(0, 1000).await.unwrap().pop().unwrap().sequence
}

fn staging_route(now: UnixTime) -> RecordedRequest {
    RecordedRequest {
        acr: "signet.uv".into(),
        age: Some(600),
        boot: "approved".into(),
        device: "spiffe://mesh.example/device/01aa".into(),
        device_identity: "proven".into(),
        gateway: "spiffe://mesh.example/gateway/edge".into(),
        host: "ctl.mesh.example".into(),
        method: "PUT".into(),
        now: now.0,
        path: ROUTE.into(),
        subject: "bob".into(),
        verdict: Some(Verdict::Permit(vec!["route-update-staging".into()])),
        ..RecordedRequest::default()
    }
}

/// The lines that begin with `$ ` in the document's console blocks.
fn commands(document: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in document.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            line if inside => found.extend(line.strip_prefix("$ ").map(str::to_owned)),
            _ => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_document_works() {
    let made = Made::new();
    let _serving = made.serve();
    let (version, record) = (made.live(), recorded(&made).await.to_string());
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md");
    let commands = commands(&std::fs::read_to_string(document).unwrap());
    assert!(commands.len() > 15);
    let programs = Path::new(PROGRAM).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    for command in commands {
        let line = command.replace("VERSION", &version).replace("RECORD", &record);
        let mut shell = Command::new("sh");
        shell.args(["-ec", &line]).current_dir(made.dir()).env("PATH", &path);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    }
    let said = |arguments: &[&str]| text(&made.run(arguments).stdout);
    let asked = [
        "policy",
        "explain",
        "--subject",
        "mallory",
        "--request",
        "PUT ctl.mesh.example/v1/namespaces/payments/routes/api",
    ];
    let closest = "Operator::\"mallory\" is not in Group::\"mesh-operators\"";
    assert!(said(&asked).contains(closest), "{}", said(&asked));
    let explained = made.json(&["policy", "explain", "--record", &record]);
    assert_eq!(explained[0]["rules"][0]["rule"], "route-update-staging");
    assert_eq!(explained[0]["rules"][0]["file"], "routes.cedar");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_is_replayed_shipped_and_taken_back() {
    let made = Made::new();
    let mut serving = made.serve();
    let first = made.live();
    recorded(&made).await;
    let copied =
        Command::new("cp").args(["-r", "policies", "next"]).current_dir(made.dir()).status();
    assert!(copied.unwrap().success());
    made.edit("next/routes.cedar", "<= 900", "<= 300");
    // Its tests say otherwise: it is not taken.
    let refused = made.run(&["policy", "activate", "next"]);
    assert!(!refused.status.success());
    assert!(text(&refused.stderr).contains("tests fail"), "{}", text(&refused.stderr));
    assert_eq!(made.live(), first);
    let failed = made.command(&["--json", "policy", "test", "next"]).output().unwrap();
    let failed: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!((&failed["ok"], &failed["failed"]), (&Value::Bool(false), &3.into()));
    std::fs::remove_file(made.dir().join("next/tests.toml")).unwrap();

    let replay = &made.json(&["policy", "replay", "next"])[0]["replay"];
    assert_eq!((&replay["decided"], &replay["flipped"]), (&1.into(), &1.into()));
    let flip = &replay["flips"][0];
    assert_eq!(
        (&flip["action"], &flip["before"], &flip["after"]),
        (&"mesh.route.update".into(), &"permit".into(), &"step-up".into())
    );
    assert!(!made.run(&["policy", "replay", "next", "--strict"]).status.success());
    let diff = &made.json(&["policy", "diff", "live", "next"])[0];
    assert_eq!(diff["changes"]["rules_changed"], serde_json::json!(["route-update-staging"]));
    assert_eq!(diff["recorded"]["flipped"], 1);
    assert_eq!(diff["tests"]["flipped"], 3);

    made.json(&["policy", "activate", "next", "--shadow"]);
    let said = serving.says("policy in force");
    assert!(said.contains(&format!("live={first}")) && said.contains("shadow="), "{said}");
    let second = made.json(&["policy", "activate", "next", "--reason", "shorter"])[0].clone();
    let second = second["version"].as_str().unwrap();
    assert!(serving.says("policy in force").contains(&format!("live={second}")));
    made.json(&["policy", "rollback", &first[..8]]);
    assert!(serving.says("policy in force").contains(&format!("live={first}")));
    let history = made.json(&["policy", "history"]);
    let slots: Vec<_> = history
        .iter()
        .map(|one| (one["slot"].as_str().unwrap(), one["version"].as_str().unwrap()))
        .collect();
    assert_eq!(
        slots,
        [("live", first.as_str()), ("live", second), ("shadow", second), ("live", first.as_str())]
    );
    let in_force: Vec<bool> =
        history.iter().map(|one| one["in_force"].as_bool().unwrap()).collect();
    assert_eq!(in_force, [true, false, true, false]);
    let events: Vec<String> = made
        .json(&["audit", "list"])
        .iter()
        .filter(|record| record["event"].as_str().unwrap().starts_with("policy-"))
        .map(|record| format!("{} {}", record["event"], record["policy"]))
        .collect();
    let event = |name: &str, version: &str| format!("\"{name}\" \"{version}\"");
    assert_eq!(
        events,
        [
            event("policy-activate", &first),
            event("policy-activate", second),
            event("policy-activate", second),
            event("policy-rollback", &first),
        ]
    );
}

#[test]
fn nothing_is_in_force_before_the_first_start() {
    let made = Made::new();
    made.json(&["config", "check"]);
    assert_eq!(made.json(&["policy", "history"]), Vec::<Value>::new());
    let none = made.run(&["policy", "replay", "live"]);
    assert!(text(&none.stderr).contains("no live set is in force"), "{}", text(&none.stderr));
    // What was edited until then counts.
    made.edit("policies/routes.cedar", "<= 900", "<= 901");
    let _serving = made.serve();
    assert_eq!(made.live(), made.json(&["policy", "check"])[0]["version"]);
}

#[test]
fn sighup_ships_the_folder_and_a_bad_one_changes_nothing() {
    let made = Made::new();
    let mut serving = made.serve();
    let first = made.live();
    serving.hang_up();
    serving.says("in force already");
    let good = std::fs::read(made.dir().join("policies/routes.cedar")).unwrap();
    for bad in [
        &b"permit("[..],
        b"\xff",
        b"@id(\"x\") permit(principal, action == Action::\"x.y\", resource);",
    ] {
        std::fs::write(made.dir().join("policies/routes.cedar"), bad).unwrap();
        serving.hang_up();
        let said = serving.says("were not loaded");
        assert!(said.contains("ERROR"), "{said}");
        assert_eq!(made.live(), first);
        assert!(!made.run(&["policy", "check"]).status.success());
        assert!(!made.run(&["policy", "activate"]).status.success());
    }
    std::fs::write(made.dir().join("policies/routes.cedar"), [&good[..], b"// new\n"].concat())
        .unwrap();
    serving.hang_up();
    serving.says("policy in force");
    assert_ne!(made.live(), first);
    // A restart takes what is in force, whatever the folder holds.
    drop(serving);
    std::fs::write(made.dir().join("policies/routes.cedar"), "permit(").unwrap();
    let _serving = made.serve();
}

#[test]
fn check_says_every_fault_with_its_place() {
    let made = Made::new();
    made.edit("policies/routes.cedar", "context.assurance >= 40", "context.asurance >= 40");
    made.edit("policies/actions.toml", "name = \"registry.read\"", "name = \"registry.see\"");
    let output = made.command(&["--json", "policy", "check"]).output().unwrap();
    assert!(!output.status.success());
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let places: Vec<(String, u64)> = value["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let file = Path::new(one["file"].as_str().unwrap());
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, one["line"].as_u64().unwrap())
        })
        .collect();
    let line_of = |file: &str, words: &str| {
        let text = std::fs::read_to_string(made.dir().join("policies").join(file)).unwrap();
        let lines: Vec<u64> = (1..)
            .zip(text.lines())
            .filter(|(_, line)| line.contains(words))
            .map(|(at, _)| at)
            .collect();
        lines
    };
    let mut expected: Vec<(String, u64)> = line_of("routes.cedar", "asurance")
        .into_iter()
        .map(|at| ("routes.cedar".into(), at))
        .collect();
    let entry = line_of("actions.toml", "registry.see")[0] - 1;
    expected.push(("actions.toml".into(), entry));
    let mut found = places.clone();
    found.sort();
    found.dedup();
    expected.sort();
    assert_eq!(found, expected);
}

fn variant(lifetime: u32) -> ActionPolicySet {
    let mut files: PolicyFiles =
        EXAMPLE.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let rules = files.get_mut("routes.cedar").unwrap();
    *rules = rules.replace("<= 900", &format!("<= {lifetime}"));
    files.remove("tests.toml");
    ActionPolicySet::from_files(&files).unwrap()
}

fn order() -> Order {
    let (slot, event) = (Slot::Live, Event::PolicyActivate);
    Order { slot, event, by: "a test".into(), reason: String::new() }
}

/// While sets are swapped as fast as the store takes them, each request is decided by one of them, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn swaps_under_load_mix_no_two_sets() {
    let house = House::start().await;
    let machine = house.machine("bob").await;
    let token = house.token(&machine, SessionKind::Person).await;
    let sets = [variant(800), variant(0)];
    let gateway = house.gateway("edge");
    let url = house.gateways(&format!("/v1/authorize{ROUTE}"));
    let done = Arc::new(AtomicBool::new(false));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (gateway, url, done) = (gateway.clone(), url.clone(), done.clone());
        let (token, peer) = (token.clone(), machine.thumbprint().to_hex());
        asking.spawn(async move {
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                let request = gateway.put(&url).bearer_auth(&token);
                let request = request.header("host", "ctl.mesh.example");
                let answer = request.header("x-signet-peer-sha256", &peer).send().await.unwrap();
                assert!([200, 401].contains(&answer.status().as_u16()), "{}", answer.status());
                answers += 1;
            }
            answers
        });
    }
    let store = house.authority.store.as_ref();
    for turn in 0..20 {
        in_force::put(store, Some(&sets[turn % 2]), order(), house.authority.now()).await.unwrap();
        house.authority.in_force.refresh(store).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    let answers: usize = asking.join_all().await.into_iter().sum();
    let first = variant(900);
    let mut decided = 0;
    for record in store.audit_after(0, 100_000).await.unwrap() {
        let Some(text) = &record.request else { continue };
        let request: RecordedRequest = serde_json::from_str(text).unwrap();
        let by = record.policy.unwrap();
        let set = sets.iter().chain([&first]).find(|set| set.version().to_string() == by).unwrap();
        assert_eq!(set.decide_again(&request), request.verdict);
        assert_eq!(record.code.is_none(), request.verdict.unwrap().kind() == "permit");
        decided += 1;
    }
    assert_eq!(decided, answers);
}

/// What another process puts into force counts on every node within a second, and of two at once one wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_store_and_one_of_two_activations_counts() {
    let house = House::start().await;
    let store = house.authority.store.clone();
    let now = house.authority.now();
    let other = InForce::read(store.as_ref()).await.unwrap();
    let set = variant(300);
    let (one, two) =
        tokio::join!(activate(store.as_ref(), &set, now), activate(store.as_ref(), &set, now),);
    assert_eq!([one, two].iter().filter(|done| done.is_some()).count(), 1);
    let began = std::time::Instant::now();
    while house.authority.in_force.sets().live.version() != set.version() {
        assert!(began.elapsed().as_secs() < 60, "the node never took it over");
        tokio::task::yield_now().await;
    }
    assert_ne!(other.sets().live.version(), set.version());
    assert!(other.refresh(store.as_ref()).await.unwrap());
    assert_eq!(other.sets().live.version(), set.version());
    assert!(!other.refresh(store.as_ref()).await.unwrap());
    // Revocations and the like are no news of policy.
    house.revoke(RevocationTarget::Operator("nobody".into())).await;
    assert!(!other.refresh(store.as_ref()).await.unwrap());
}

async fn activate(store: &dyn Store, set: &ActionPolicySet, now: UnixTime) -> Option<i64> {
    let text = serde_json::to_string(set.files()).unwrap();
    let new = NewActivation {
        after: 1,
        slot: Slot::Live,
        set: Some((set.version().0, &text)),
        at: now,
        by: "a test",
        reason: "",
    };
    let entry = AuditEntry::new(now, Event::PolicyActivate, Decision::Allowed);
    store.activate_policy(&new, &entry).await.unwrap()
}

/// A set that this node cannot use leaves it with what it had.
#[tokio::test]
async fn a_set_of_another_program_is_not_taken_over() {
    let house = House::start().await;
    let before = house.authority.in_force.sets().live.version();
    let store = house.authority.store.as_ref();
    let text = "{\"actions.toml\": \"from = 'the future'\"}";
    let new = NewActivation {
        after: 1,
        slot: Slot::Live,
        set: Some(([7; 32], text)),
        at: house.authority.now(),
        by: "a test",
        reason: "",
    };
    let entry = AuditEntry::new(house.authority.now(), Event::PolicyActivate, Decision::Allowed);
    assert_eq!(store.activate_policy(&new, &entry).await.unwrap(), Some(2));
    let error = house.authority.in_force.refresh(store).await.unwrap_err();
    assert!(matches!(error, in_force::FollowError::Load { .. }), "{error}");
    assert_eq!(house.authority.in_force.sets().live.version(), before);
}
