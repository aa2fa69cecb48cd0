//! Whether what a question takes along is what decides it.

use super::super::load::{Kind, action_uid, uid};
use super::super::tests::facts;
use super::super::{ActionPolicySet, Outcome, PolicyFiles};
use super::*;

/// A set in which resources have owners, owners have teams, and teams carry tags.
fn organisation(people: usize) -> ActionPolicySet {
    let files = [
        (
            "organisation.cedarschema",
            "entity Team in [Team] = { lead: Operator } tags String;
             entity Desk = { team: Team, deputies: Set<Operator> };
             entity Folder = { desk: { main: Desk } };
             entity Document in [Folder];
             action \"document.read\" in [read] appliesTo
               { principal: [Operator], resource: [Document], context: RequestContext };",
        ),
        (
            "actions.toml",
            "hosts = [\"localhost\"]
             [[action]]
             name = \"document.read\"
             methods = [\"GET\"]
             path = \"/{folder}/{document}\"
             access = \"read\"
             resource = { kind = \"Document\", id = \"{document}\", in = { kind = \"Folder\", id = \"{folder}\" } }",
        ),
        (
            "rules.cedar",
            "@id(\"group\") permit (principal in Group::\"everyone\", action, resource in Folder::\"open\");
             @id(\"literal\") permit (principal, action, resource in Folder::\"led\")
               when { Folder::\"led\".desk.main.team.lead == principal };
             @id(\"deputy\") permit (principal, action, resource in Folder::\"deputised\")
               when { Desk::\"front\".deputies.contains(principal) && Desk::\"front\".team.hasTag(\"rank\")
                 && Desk::\"front\".team.getTag(\"rank\") == \"first\" };
             @id(\"device\") forbid (principal, action, resource)
               when { context.device in DeviceGroup::\"quarantine\" };",
        ),
    ];
    let mut entities = vec![
        r#"{"uid":{"type":"Group","id":"everyone"},"attrs":{},"parents":[]}"#.to_owned(),
        r#"{"uid":{"type":"Group","id":"staff"},"attrs":{},"parents":[{"type":"Group","id":"everyone"}]}"#.to_owned(),
        r#"{"uid":{"type":"DeviceGroup","id":"lost"},"attrs":{},"parents":[{"type":"DeviceGroup","id":"quarantine"}]}"#.to_owned(),
        r#"{"uid":{"type":"Device","id":"spiffe://mesh.example/device/0b"},"attrs":{},"parents":[{"type":"DeviceGroup","id":"lost"}]}"#.to_owned(),
        r#"{"uid":{"type":"Team","id":"first"},"attrs":{"lead":{"__entity":{"type":"Operator","id":"person-0"}}},"parents":[],"tags":{"rank":"first"}}"#.to_owned(),
        r#"{"uid":{"type":"Desk","id":"front"},"attrs":{"team":{"__entity":{"type":"Team","id":"first"}},"deputies":[{"__entity":{"type":"Operator","id":"person-1"}}]},"parents":[]}"#.to_owned(),
    ];
    entities.extend(["led", "open", "deputised"].map(|folder| {
        format!(r#"{{"uid":{{"type":"Folder","id":"{folder}"}},"attrs":{{"desk":{{"main":{{"__entity":{{"type":"Desk","id":"front"}}}}}}}},"parents":[]}}"#)
    }));
    entities.extend((0..people).map(|person| {
        format!(r#"{{"uid":{{"type":"Operator","id":"person-{person}"}},"attrs":{{}},"parents":[{{"type":"Group","id":"staff"}}]}}"#)
    }));
    let mut files: PolicyFiles =
        files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    files.insert("entities.json".to_owned(), format!("[{}]", entities.join(",")));
    ActionPolicySet::from_files(&files).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn rules_reach_groups_of_groups_attributes_of_attributes_and_tags() {
    let set = organisation(3);
    let permits = |subject, target, device| {
        let mut facts = facts(subject, "GET", target);
        facts.device = device;
        match set.decide(&facts).outcome {
            Outcome::Permit { rules } => rules.join(" "),
            _ => String::new(),
        }
    };
    let (sound, lost) = ("spiffe://mesh.example/device/0a", "spiffe://mesh.example/device/0b");
    let cases = [
        ("person-2", "/open/one", sound, "group"),
        ("person-2", "/open/one", lost, ""),
        ("stranger", "/open/one", sound, ""),
        ("person-0", "/led/one", sound, "literal"),
        ("person-1", "/led/one", sound, ""),
        ("person-1", "/deputised/one", sound, "deputy"),
        ("person-0", "/deputised/one", sound, ""),
        ("person-2", "/elsewhere/one", sound, ""),
    ];
    for (subject, target, device, rules) in cases {
        assert_eq!(permits(subject, target, device), rules, "{subject} {target} {device}");
    }
}

#[test]
fn a_question_takes_along_no_more_of_many_people_than_of_few() {
    let sizes = [2, 2_000].map(|people| {
        let set = organisation(people);
        let facts = facts("person-1", "GET", "/led/one");
        let (entry, resource) = set.actions.find("GET", facts.host, facts.target).unwrap();
        set.evaluator.question(&facts, &entry.name, &resource).unwrap().entities.len()
    });
    assert_eq!(sizes[0], sizes[1]);
}

#[test]
fn so_much_is_remembered_and_no_more() {
    let reach = Reach::new(Entities::empty());
    let entities = |page: &str| {
        let [who, what, book] = ["ann", page, "book"].map(|id| uid(Kind::Operator, id));
        let who_does_what = [who, action_uid("page.read"), what];
        let asked = Asked { who_does_what, parent: Some(book), device: None, gateway: None };
        reach.entities(&asked, &[]).unwrap()
    };
    assert!(Arc::ptr_eq(&entities("one"), &entities("one")));
    assert!(!Arc::ptr_eq(&entities("one"), &entities("two")));
    let long = "x".repeat(MOST_OF_ONE);
    assert!(!Arc::ptr_eq(&entities(&long), &entities(&long)));
    (0..2 * REMEMBERED).for_each(|page| drop(entities(&page.to_string())));
    let remembered = reach.lately.lock().unwrap().len();
    assert!((REMEMBERED / 2..=REMEMBERED).contains(&remembered), "{remembered}");
}
