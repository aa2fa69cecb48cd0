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

fn facts<'a>(subject: &'a str, method: &'a str, target: &'a str) -> RequestFacts<'a> {
    RequestFacts {
        subject,
        device: "spiffe://mesh.example/device/01aa",
        gateway: "spiffe://mesh.example/gateway/edge",
        method,
        host: "localhost:8443",
        target,
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
        (None, None, false),
        (Some("built-in"), Some("host"), false),
        (Some("pin"), Some("model"), false),
        (Some("built-in"), Some("model"), true),
    ];
    for (uvm, uvm_source, passes) in cases {
        let mut facts = facts("alice", "GET", target);
        facts.presence.level = AssuranceLevel::UvHardware;
        (facts.presence.uvm, facts.presence.uvm_source) = (uvm, uvm_source);
        let outcome = set.decide(&facts).outcome;
        match outcome {
            Outcome::Permit { .. } => assert!(passes, "{uvm:?} {uvm_source:?}"),
            Outcome::Deny(denial) => {
                assert!(!passes, "{uvm:?} {uvm_source:?}: {denial:?}");
                assert_eq!(Denial::as_str(&denial), "forbidden");
            }
            other => panic!("{other:?}"),
        }
    }
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
    let found = edit("signet.cedarschema", "  query: String,\n", "");
    assert!(matches!(found.fault, PolicyFault::RequestDisagrees { .. }), "{found}");
    let found = edit("signet.cedarschema", "entity Gateway;", "entity Gate;");
    assert!(matches!(found.fault, PolicyFault::Schema(_)), "{found}");
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
