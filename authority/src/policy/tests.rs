//! The set as a whole: the example's table, faults at load, and decisions that a table cannot show.

use std::time::Duration;

use signet_evidence::UnixTime;
use signet_verifier::AssuranceLevel;

use super::*;

fn example() -> PolicyFiles {
    EXAMPLE.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn load(change: impl FnOnce(&mut PolicyFiles)) -> Result<ActionPolicySet, PolicyLoadError> {
    let mut files = example();
    change(&mut files);
    ActionPolicySet::from_files(&files)
}

pub(super) fn facts<'a>(subject: &'a str, method: &'a str, target: &'a str) -> RequestFacts<'a> {
    RequestFacts {
        subject,
        device: "spiffe://mesh.example/device/01aa",
        gateway: "spiffe://mesh.example/gateway/edge",
        method,
        host: "localhost:8443",
        target,
        source: None,
        presence: PresenceFacts {
            level: AssuranceLevel::Uv,
            human: true,
            age: Some(Duration::from_secs(10)),
            uvm: None,
            uvm_source: None,
            key_attestation: Some("packed-self"),
            boot: "approved",
            device_identity: "proven",
        },
        scope: None,
        approved: None,
        now: UnixTime(1_795_317_301),
    }
}

#[test]
fn example_set_decides_as_its_table_says() {
    let set = load(|_| {}).unwrap_or_else(|error| panic!("{error}"));
    let outcomes = set.run_table(include_str!("../../policies/tests.toml")).unwrap();
    assert!(outcomes.len() > 20);
    let wrong: Vec<_> = outcomes.iter().filter(|outcome| outcome.difference.is_some()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_rule_can_demand_a_key_on_which_a_pin_cannot_stand_in() {
    let rule = "@id(\"a-finger\") forbid (principal, action in Action::\"read\", resource)
        when { context.pin_can_stand_in };";
    let set = load(|files| drop(files.insert("finger.cedar".into(), rule.into()))).unwrap();
    let target = "/v1/namespaces/payments/routes/ledger";
    let cases = [
        // What the workstation saw is its word; a model that also takes a PIN proves no finger.
        (None, None),
        (Some("built-in"), Some("host")),
        (Some("pin"), Some("model")),
        (Some("built-in"), Some("model")),
    ];
    for (uvm, uvm_source) in cases {
        let mut facts = facts("alice", "GET", target);
        facts.presence.level = AssuranceLevel::UvHardware;
        (facts.presence.uvm, facts.presence.uvm_source) = (uvm, uvm_source);
        let passes = (uvm, uvm_source) == (Some("built-in"), Some("model"));
        match set.decide(&facts).outcome {
            Outcome::Permit { .. } => assert!(passes, "{uvm:?} {uvm_source:?}"),
            // The same person may have another key.
            Outcome::StepUp(step_up) => {
                assert!(!passes, "{uvm:?} {uvm_source:?}");
                assert_eq!(step_up.levels, [AssuranceLevel::UvHardware]);
                assert_eq!(step_up.max_age, Duration::from_secs(14_400));
                assert!(step_up.no_pin && !step_up.single_use);
            }
            Outcome::Deny(denial) => panic!("{uvm:?} {uvm_source:?}: {denial:?}"),
        }
    }
    // To others no key helps.
    let outcome = set.decide(&facts("mallory", "GET", target)).outcome;
    let rules = vec!["a-finger".to_owned()];
    assert_eq!(outcome, Outcome::Deny(Denial::Forbidden { rules }));
}

#[test]
fn version_names_the_texts_that_decide() {
    let version = load(|_| {}).unwrap().version();
    assert_eq!(load(|_| {}).unwrap().version(), version);
    let tests = load(|files| drop(files.insert("tests.toml".into(), String::new())));
    assert_eq!(tests.unwrap().version(), version);
    let touched = load(|files| files.get_mut("routes.cedar").unwrap().push('\n'));
    assert_ne!(touched.unwrap().version(), version);
    let renamed = load(|files| {
        let text = files.remove("routes.cedar").unwrap();
        files.insert("roads.cedar".into(), text);
    });
    assert_ne!(renamed.unwrap().version(), version);
}

#[test]
fn quarantine_forbids_what_other_rules_allow() {
    let quarantined = r#"{ "uid": { "type": "Device", "id": "spiffe://mesh.example/device/01aa" },
        "attrs": {}, "parents": [{ "type": "DeviceGroup", "id": "quarantine" }] },"#;
    let set = load(|files| {
        let entities = files.get_mut("entities.json").unwrap();
        *entities = entities.replacen('[', &format!("[{quarantined}"), 1);
    })
    .unwrap();
    let decision = set.decide(&facts("bob", "PUT", "/v1/namespaces/sandbox/routes/web"));
    let rules = vec!["quarantine".to_owned()];
    assert_eq!(decision.outcome, Outcome::Deny(Denial::Forbidden { rules }));
    assert_eq!(decision.version, set.version());
}

#[test]
fn a_rule_that_fails_allows_nothing() {
    // A forbid that cannot be evaluated is skipped by Cedar: alone that would open the door.
    let set = load(|files| {
        let rule = "@id(\"odd\") forbid(principal, action, resource)\
                    when { context.presence_age_seconds + 9223372036854775807 > 0 };";
        files.insert("odd.cedar".into(), rule.into());
    })
    .unwrap();
    let decision = set.decide(&facts("bob", "PUT", "/v1/namespaces/sandbox/routes/web"));
    assert_eq!(decision.outcome, Outcome::Deny(Denial::Failed { rules: vec!["odd".into()] }));
}

#[test]
fn the_map_demands_single_use_even_where_a_rule_forgets() {
    let set = load(|files| {
        let rules = files.get_mut("trust.cedar").unwrap();
        *rules = rules.replace("context.single_use &&", "");
    })
    .unwrap();
    let mut request = facts("alice", "POST", "/v1/namespaces/sandbox/certificates");
    let Outcome::StepUp(step_up) = set.decide(&request).outcome else { panic!() };
    assert_eq!((step_up.single_use, step_up.max_age), (true, Duration::ZERO));
    assert_eq!(step_up.rules, ["certificate-issue"]);
    let shown = ["mesh.cert.issue".to_owned()];
    request.approved = Some(&shown);
    let rules = vec!["certificate-issue".to_owned()];
    assert_eq!(set.decide(&request).outcome, Outcome::Permit { rules });
}

#[test]
fn no_step_up_is_offered_to_a_workload() {
    let set = load(|files| {
        let rules = files.get_mut("views.cedar").unwrap();
        *rules = rules.replace("context.assurance >= 10", "context.assurance >= 40");
    })
    .unwrap();
    let mut request =
        facts("spiffe://mesh.example/workload/billing", "GET", "/v1/registry/services");
    request.presence.level = AssuranceLevel::Device;
    assert_eq!(set.decide(&request).outcome, Outcome::Deny(Denial::NoRule));
}

#[test]
fn time_of_day_can_decide() {
    let set = load(|files| {
        let rule = "@id(\"freeze\") forbid(principal, action in Action::\"write\", resource)\
                    unless { context.now.toTime() >= duration(\"3h\") && context.now.toTime() < duration(\"4h\") };";
        files.insert("freeze.cedar".into(), rule.into());
    })
    .unwrap();
    let mut request = facts("bob", "PUT", "/v1/namespaces/sandbox/routes/web");
    let rules = vec!["route-update-staging".to_owned()];
    assert_eq!(set.decide(&request).outcome, Outcome::Permit { rules });
    request.now = UnixTime(request.now.0 + 3_600);
    let rules = vec!["freeze".to_owned()];
    assert_eq!(set.decide(&request).outcome, Outcome::Deny(Denial::Forbidden { rules }));
}

#[test]
fn explanations_name_file_and_line() {
    let set = load(|_| {}).unwrap();
    let request = facts("bob", "PUT", "/v1/namespaces/payments/routes/api");
    let explanation = set.explain(&request);
    let [(name, rule)] = explanation.rules.as_slice() else { panic!() };
    assert_eq!((name.as_str(), rule.file.as_str()), ("route-update-production", "routes.cedar"));
    let text = include_str!("../../policies/routes.cedar");
    assert!(text.lines().nth(rule.line - 1).unwrap().contains("route-update-production"));
    assert!(rule.description.as_deref().unwrap().contains("production"));
    assert!(explanation.action_line.is_some());
}

#[test]
fn faults_are_found_at_load_with_their_place() {
    let report = |change: fn(&mut PolicyFiles)| {
        let problems = load(change).unwrap_err().problems;
        problems.into_iter().map(|p| (p.file.clone(), p.line, p.fault)).collect::<Vec<_>>()
    };
    let put =
        |files: &mut PolicyFiles, text: &str| drop(files.insert("z.cedar".into(), text.into()));

    let found = report(|files| drop(files.remove("actions.toml")));
    assert!(
        matches!(&found[..], [(file, None, PolicyFault::Unreadable(_))] if file == "actions.toml")
    );
    let found = report(|files| files.retain(|name, _| !name.ends_with(".cedar")));
    assert!(matches!(&found[..], [(_, None, PolicyFault::NoRules)]));
    let found = load(|files| put(files, "\n\npermit(principal, action resource);")).unwrap_err();
    assert!(matches!(found.problems[0].fault, PolicyFault::Syntax(_)));
    assert_eq!(found.problems[0].line, Some(3));
    let found = load(|files| put(files, "permit(principal, action, resource);")).unwrap_err();
    assert!(matches!(found.problems[0].fault, PolicyFault::Unnamed));
    let twice = "\n@id(\"route-view\") forbid(principal, action, resource);";
    let found = load(|files| put(files, twice)).unwrap_err();
    assert!(
        matches!(&found.problems[0].fault, PolicyFault::DuplicateName(name) if name == "route-view")
    );
    assert_eq!(found.problems[0].line, Some(2));
    let typo = "@id(\"x\") permit(principal, action, resource) when { context.asurance >= 40 };";
    let found = load(|files| put(files, typo)).unwrap_err();
    assert!(matches!(&found.problems[0].fault, PolicyFault::Invalid { rule, .. } if rule == "x"));
    assert!(found.to_string().contains("asurance"), "{found}");
    let never = "@id(\"x\") permit(principal == Device::\"d\", action, resource);";
    let found = load(|files| put(files, never)).unwrap_err();
    assert!(
        matches!(&found.problems[0].fault, PolicyFault::Suspicious { rule, .. } if rule == "x")
    );
    let template = "@id(\"x\") permit(principal == ?principal, action, resource);";
    let found = load(|files| put(files, template)).unwrap_err();
    assert!(matches!(found.problems[0].fault, PolicyFault::Template));
}

#[test]
fn schema_map_and_entities_must_agree() {
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        let error = load(|files| {
            let text = files.get_mut(file).unwrap();
            assert!(text.contains(from));
            *text = text.replacen(from, to, 1);
        })
        .unwrap_err();
        error.problems.into_iter().next().unwrap()
    };
    let found = edit("actions.toml", "dashboard.view", "dashboard.see");
    assert!(matches!(found.fault, PolicyFault::UnknownAction(name) if name == "dashboard.see"));
    assert!(found.line.is_some());
    let found = edit("actions.toml", "access = \"read\"", "access = \"write\"");
    assert!(matches!(found.fault, PolicyFault::AccessDisagrees { access: Access::Write, .. }));
    let found = edit("actions.toml", "kind = \"Dashboard\"", "kind = \"Registry\"");
    assert!(matches!(found.fault, PolicyFault::RequestDisagrees { .. }), "{found}");
    let found = edit("mesh.cedarschema", "entity Registry;", "entity Register;");
    assert!(matches!(found.fault, PolicyFault::Schema(_)), "{found}");
    assert_eq!(found.file, "mesh.cedarschema");
    let found = edit("mesh.cedarschema", "entity Registry;", "entity Registry;\nentity Operator;");
    assert!(matches!(found.fault, PolicyFault::Schema(_)), "{found}");
    let found = edit("mesh.cedarschema", "entity Registry;", "entity Registry; }");
    assert!(matches!(found.fault, PolicyFault::Schema(_)), "{found}");
    let text = include_str!("../../policies/mesh.cedarschema");
    let line = text.lines().position(|line| line.contains("entity Registry;")).unwrap() + 1;
    assert_eq!(found.line, Some(line));
    let found = edit(
        "entities.json",
        "mesh-operators\" }, \"attrs\": {}",
        "mesh-operators\" }, \"attrs\": {\"x\": 1}",
    );
    assert!(matches!(found.fault, PolicyFault::Entities(_)), "{found}");
}

#[test]
fn a_folder_without_a_set_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = ActionPolicySet::load(&folder.path().join("nowhere")).unwrap_err();
    assert!(matches!(
        error.problems[..],
        [PolicyProblem { fault: PolicyFault::Unreadable(_), .. }]
    ));
    for (name, text) in EXAMPLE {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let set = ActionPolicySet::load(folder.path()).unwrap();
    assert_eq!(set.version(), load(|_| {}).unwrap().version());
}

#[test]
fn the_address_of_the_client_can_decide() {
    let set = load(|files| {
        let rule = "@id(\"inside\") forbid(principal, action in Action::\"write\", resource)
            unless { context has source && context.source.isInRange(ip(\"10.0.0.0/8\")) };";
        files.insert("inside.cedar".into(), rule.into());
    })
    .unwrap();
    let mut request = facts("bob", "PUT", "/v1/namespaces/sandbox/routes/web");
    let outcome = |request: &RequestFacts<'_>| Verdict::from(&set.decide(request).outcome).kind();
    assert_eq!(outcome(&request), "deny");
    request.source = Some([10, 1, 2, 3].into());
    assert_eq!(outcome(&request), "permit");
    request.source = Some([192, 0, 2, 1].into());
    assert_eq!(outcome(&request), "deny");
    request.source = Some("2001:db8::1".parse().unwrap());
    assert_eq!(outcome(&request), "deny");
}

#[test]
fn labels_hold_for_everything_under_what_carries_them() {
    let set = load(|files| {
        let rule = "@id(\"pci\") forbid(principal, action in Action::\"write\", resource in Label::\"pci\");";
        files.insert("labels.cedar".into(), rule.into());
        let entities = files.get_mut("entities.json").unwrap();
        let before = "\"id\": \"staging\" }, \"attrs\": {}, \"parents\": [";
        assert!(entities.contains(before));
        let label = "{ \"type\": \"Label\", \"id\": \"pci\" }";
        *entities = entities.replace(before, &format!("{before}{label}"));
    })
    .unwrap();
    let decision = set.decide(&facts("bob", "PUT", "/v1/namespaces/sandbox/routes/web"));
    let rules = vec!["pci".to_owned()];
    assert_eq!(decision.outcome, Outcome::Deny(Denial::Forbidden { rules }));
}

#[test]
fn a_denial_names_the_rules_that_come_closest() {
    let set = load(|_| {}).unwrap();
    let near = |facts: &RequestFacts<'_>| -> Vec<(String, Vec<String>)> {
        let explained = set.explain(facts).near.into_iter();
        explained
            .map(|near| (near.name, near.lacks.iter().map(ToString::to_string).collect()))
            .collect()
    };
    let mallory = near(&facts("mallory", "PUT", "/v1/namespaces/sandbox/routes/web"));
    let stranger = "Operator::\"mallory\" is not in Group::\"mesh-operators\"".to_owned();
    assert_eq!(mallory[0], ("route-update-staging".to_owned(), vec![stranger.clone()]));
    let elsewhere = "Route::\"sandbox/web\" is not in Environment::\"production\"".to_owned();
    assert_eq!(mallory[1], ("route-update-production".to_owned(), vec![stranger, elsewhere]));
    let workload = "spiffe://mesh.example/workload/phantom";
    let phantom = near(&facts(workload, "GET", "/v1/registry/services"));
    assert_eq!(phantom.len(), 2);
    // A step-up or a yes has nothing near.
    assert_eq!(near(&facts("bob", "PUT", "/v1/namespaces/payments/routes/api")), []);
}

#[test]
fn a_recorded_request_is_decided_as_before() {
    let set = load(|_| {}).unwrap();
    let shown = ["mesh.route.update".to_owned()];
    for (subject, target, approved) in [
        ("bob", "/v1/namespaces/sandbox/routes/web", None),
        ("bob", "/v1/namespaces/payments/routes/api", None),
        ("bob", "/v1/namespaces/payments/routes/api", Some(&shown[..])),
        ("mallory", "/v1/namespaces/payments/routes/api?secret=1", None),
    ] {
        let mut facts = facts(subject, "PUT", target);
        facts.approved = approved;
        facts.source = Some([10, 0, 0, 1].into());
        let decision = set.decide(&facts);
        let recorded = RecordedRequest::of(&facts, &decision).unwrap();
        let text = serde_json::to_string(&recorded).unwrap();
        assert!(!text.contains("secret"));
        let read: RecordedRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, recorded);
        assert_eq!(set.decide_again(&read), read.verdict);
        assert_eq!(read.query, target.contains('?'));
    }
    let long = format!("/{}", "a".repeat(5000));
    let facts = facts("bob", "PUT", &long);
    assert_eq!(RecordedRequest::of(&facts, &set.decide(&facts)), None);
}

#[test]
fn another_set_flips_what_it_decides_otherwise() {
    let old = load(|_| {}).unwrap();
    let new = load(|files| {
        let rules = files.get_mut("routes.cedar").unwrap();
        *rules = rules.replace("<= 900", "<= 300");
        files.insert(
            "z.cedar".into(),
            "@id(\"z\") forbid(principal == Operator::\"eve\", action, resource);".into(),
        );
    })
    .unwrap();
    let changes = old.changes(&new);
    assert_eq!(changes.rules_added, ["z"]);
    assert_eq!(changes.rules_changed, ["route-update-staging"]);
    assert!(changes.rules_removed.is_empty() && changes.files_changed.is_empty());
    let mut replay = Replay::default();
    for row in parse_table(include_str!("../../policies/tests.toml")).unwrap() {
        let before = old.decide_again(&row.request).unwrap();
        replay.put(&new, &row.name, &row.request, &before);
    }
    let replay = replay.finish();
    let flips: Vec<_> =
        replay.flips.iter().map(|f| (f.action.as_str(), f.before, f.after, f.count)).collect();
    // Those who have to touch have to do so for a shorter time, and one passes no more.
    assert_eq!(
        flips,
        [
            ("mesh.route.update", "step-up", "step-up", 2),
            ("mesh.route.update", "permit", "step-up", 1),
        ]
    );
    assert_eq!((replay.flipped, replay.undecidable), (3, 0));
}

/// What hostile or broken files do: nothing, with the exact fault.
#[test]
fn hostile_files_are_refused_and_nothing_breaks() {
    let fault = |name: &str, text: String| {
        let error = load(|files| drop(files.insert(name.into(), text))).unwrap_err();
        error.problems.into_iter().next().unwrap().fault
    };
    let rule = |condition: &str| {
        format!("@id(\"x\") permit(principal, action, resource) when {{ {condition} }};")
    };
    let large = " ".repeat(1024 * 1024 + 1);
    for name in ["x.cedar", "x.cedarschema", "entities.json", "actions.toml"] {
        assert!(matches!(fault(name, large.clone()), PolicyFault::TooLarge { limit: 1_048_576 }));
    }
    let deep = format!("{}true{}", "(".repeat(70), ")".repeat(70));
    assert!(matches!(fault("x.cedar", rule(&deep)), PolicyFault::TooDeep { limit: 64 }));
    let record = format!("type T = {}Long{};", "{ a: ".repeat(70), " }".repeat(70));
    assert!(matches!(fault("x.cedarschema", record), PolicyFault::TooDeep { limit: 64 }));
    let long = rule(&vec!["true"; 10_000].join(" && "));
    assert!(matches!(fault("x.cedar", long), PolicyFault::StatementTooLong { limit: 16_384 }));
    let json = format!("[{}{}]", "[".repeat(200_000), "]".repeat(200_000));
    assert!(matches!(fault("entities.json", json), PolicyFault::Entities(_)));
    let toml = format!("hosts = {}{}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(matches!(fault("actions.toml", toml), PolicyFault::Action(ActionMapError::Toml(_))));
    let many = load(|files| {
        for number in 0..300 {
            files.insert(format!("{number}.cedar"), String::new());
        }
    });
    let many = many.unwrap_err().problems.remove(0).fault;
    assert!(matches!(many, PolicyFault::TooManyFiles { limit: 256 }));
}

/// As deep as the bounds let anything be, on a thread as small as those that serve.
#[test]
fn what_the_bounds_let_through_fits_the_stack() {
    let chains = [
        vec!["true"; 2_000].join(" && "),
        vec!["true"; 2_000].join(" || "),
        format!("{} > 0", vec!["1"; 5_000].join(" + ")),
        format!("{}true{}", "(".repeat(60), ")".repeat(60)),
        format!("{}true", "if true then true else ".repeat(650)),
        format!("{}[]{}.isEmpty()", "[".repeat(55), "]".repeat(55)),
        format!("context{}", ".device".repeat(2_200)),
    ];
    for chain in chains {
        let set = load(|files| {
            let rule =
                format!("@id(\"deep\") forbid(principal, action, resource) when {{ !({chain}) }};");
            files.insert("deep.cedar".into(), rule);
        });
        // Sound or not: it is an answer. A set that loads decides.
        if let Ok(set) = set {
            let _ = set.decide(&facts("bob", "PUT", "/v1/namespaces/sandbox/routes/web"));
        }
    }
}

#[test]
fn folders_hold_plain_files_of_text() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in EXAMPLE {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    // Neither the program's own schema beside the set nor other files count.
    std::fs::write(folder.path().join("signet.cedarschema"), "entity ;").unwrap();
    std::fs::write(folder.path().join("README.md"), [0xff]).unwrap();
    std::fs::create_dir(folder.path().join("examples")).unwrap();
    let set = ActionPolicySet::load(folder.path()).unwrap();
    assert_eq!(set.version(), load(|_| {}).unwrap().version());
    let fault = |name: &str| {
        let problem = ActionPolicySet::load(folder.path()).unwrap_err().problems.remove(0);
        assert_eq!(problem.file, name);
        std::fs::remove_file(folder.path().join(name))
            .or_else(|_| std::fs::remove_dir(folder.path().join(name)))
            .unwrap();
        (problem.line, problem.fault)
    };
    std::fs::write(folder.path().join("x.cedar"), b"\n\n// \xff").unwrap();
    let (line, found) = fault("x.cedar");
    assert_eq!(line, Some(3));
    assert!(
        matches!(found, PolicyFault::Unreadable(error) if error.kind() == std::io::ErrorKind::InvalidData)
    );
    std::fs::create_dir(folder.path().join("x.cedar")).unwrap();
    assert!(matches!(fault("x.cedar"), (None, PolicyFault::NotAFile)));
    let pipe = folder.path().join("x.cedar");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(fault("x.cedar"), (None, PolicyFault::NotAFile)));
    std::os::unix::fs::symlink("/dev/zero", &pipe).unwrap();
    assert!(matches!(fault("x.cedar"), (None, PolicyFault::NotAFile)));
    std::fs::write(&pipe, " ".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(fault("x.cedar"), (None, PolicyFault::TooLarge { .. })));
    std::fs::write(folder.path().join("actions.toml"), [0xff]).unwrap();
    assert!(matches!(fault("actions.toml"), (Some(1), PolicyFault::Unreadable(_))));
}

/// Every folder of maps for other control planes is a sound set whose tests pass.
#[test]
fn maps_for_other_control_planes_are_sound_and_their_tests_pass() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(examples).unwrap() {
        let folder = entry.unwrap().path();
        let set = ActionPolicySet::load(&folder).unwrap_or_else(|error| panic!("{error}"));
        let outcomes = set.run_table(&set.files()[TESTS]).unwrap();
        let wrong: Vec<_> = outcomes.iter().filter(|one| one.difference.is_some()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", folder.display());
        assert!(outcomes.len() >= 8, "{}", folder.display());
        names.push(folder.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["consul", "envoy", "istio", "kubernetes", "linkerd"]);
}
