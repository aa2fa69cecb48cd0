//! Whether what is left out of a question, and what is remembered of one, makes no difference.

use std::time::Duration;

use cedar_policy::{Entity, Policy};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::tests::facts;
use super::super::{ActionPolicySet, PolicyFiles, SCHEMA};
use super::*;

#[test]
fn constant_entity_types_are_names() {
    let kinds = [Kind::Action, Kind::Operator, Kind::Workload, Kind::Device, Kind::Gateway];
    for kind in kinds {
        assert_eq!(uid(kind, "x").type_name().to_string(), format!("{kind:?}"));
    }
}

/// Rules that look at all that there is to look at, in every way.
const RULES: &[&str] = &[
    "permit (principal, action, resource) when { context.assurance >= 40 };",
    "permit (principal in Group::\"staff\", action == Action::\"page.read\", resource);",
    "permit (principal, action == Action::\"page.write\", resource in Book::\"open\")
       when { context.human && context.presence_age_seconds <= 60 };",
    "permit (principal, action in Action::\"read\", resource in Shelf::\"public\");",
    "permit (principal is Workload, action in [Action::\"page.read\", Action::\"page.write\"], resource);",
    "permit (principal, action, resource == Page::\"open/listed\") unless { context.query like \"*x*\" };",
    "permit (principal, action in Action::\"write\", resource)
       when { {all: context}.all.single_use || [context.path].contains(\"/b/open/two\") };",
    "permit (principal, action == Action::\"stamp.see\", resource) when { context.host == \"localhost\" };",
    "permit (principal, action == Action::\"inside.see\", resource) when { context.method == \"GET\" };",
    "permit (principal, action, resource) when { principal in Group::\"staff\" || resource in Shelf::\"public\" };",
    "permit (principal, action, resource) when { action in Action::\"write\" && context.boot == \"approved\" };",
    "permit (principal, action, resource)
       when { Book::\"open\" has keeper && Book::\"open\".keeper == principal && !context.pin_can_stand_in };",
    "forbid (principal, action in Action::\"write\", resource) when { context.device in DeviceGroup::\"lost\" };",
    "forbid (principal, action == Action::\"page.read\", resource) when { context.gateway in GatewayGroup::\"old\" };",
    "forbid (principal, action, resource)
       when { context has source && context.source.isInRange(ip(\"10.0.0.0/8\")) };",
    "forbid (principal, action == Action::\"page.write\", resource)
       unless { context.now.toTime() >= duration(\"3h\") };",
    "forbid (principal, action in Action::\"read\", resource)
       when { context.presence_age_seconds + 9223372036854775000 > 0 };",
    "forbid (principal, action, resource) when { context.acr == \"signet.touch\" && context.uvm == \"pin\"
       && context.uvm_source != \"tpm\" && context.key_attestation == \"\" && context.device_identity == \"proven\" };",
    "forbid (principal, action, resource in Shelf::\"public\") when { [context].contains(context) };",
];

fn files(rules: &[&str]) -> PolicyFiles {
    let (_, context) = SCHEMA.split_once("type RequestContext").unwrap();
    let (context, _) = context.split_once("};").unwrap();
    let schema = format!(
        "type Inside {}}};
         entity Shelf;
         entity Book in [Shelf, Page] = {{ keeper?: Operator }};
         entity Page in [Book];
         entity Stamp enum [\"red\", \"sample\"];
         action \"page.read\" in [read] appliesTo
           {{ principal: [Operator, Workload], resource: [Page], context: RequestContext }};
         action \"page.write\" in [write] appliesTo
           {{ principal: [Operator], resource: [Page], context: RequestContext }};
         action \"stamp.see\" in [read] appliesTo
           {{ principal: [Operator], resource: [Stamp], context: RequestContext }};
         action \"inside.see\" in [read] appliesTo
           {{ principal: [Operator], resource: [Page], context: Inside }};",
        context.replace("source?:", "source:")
    );
    let entry = |name: &str, method: &str, path: &str, access: &str, resource: &str| {
        format!(
            "[[action]]\nname = \"{name}\"\nmethods = [\"{method}\"]\npath = \"{path}\"\n\
             access = \"{access}\"\nresource = {{ {resource} }}\n"
        )
    };
    let page = "kind = \"Page\", id = \"{book}/{page}\", in = { kind = \"Book\", id = \"{book}\" }";
    let stamp = "kind = \"Stamp\", id = \"{stamp}\"";
    let actions = [
        "hosts = [\"localhost\"]\n".to_owned(),
        entry("page.read", "GET", "/b/{book}/{page}", "read", page),
        entry("page.write", "PUT", "/b/{book}/{page}", "write", page),
        entry("stamp.see", "GET", "/s/{stamp}", "read", stamp),
        entry("inside.see", "GET", "/i/{book}/{page}", "read", page),
    ];
    let entities = [
        r#"{"uid":{"type":"Group","id":"crew"},"attrs":{},"parents":[{"type":"Group","id":"staff"}]}"#,
        r#"{"uid":{"type":"Operator","id":"ann"},"attrs":{},"parents":[{"type":"Group","id":"crew"}]}"#,
        r#"{"uid":{"type":"Book","id":"open"},"attrs":{"keeper":{"__entity":{"type":"Operator","id":"ann"}}},"parents":[{"type":"Shelf","id":"public"}]}"#,
        r#"{"uid":{"type":"Page","id":"open/listed"},"attrs":{},"parents":[]}"#,
        // Whose page is not listed: what it says of itself cannot be.
        r#"{"uid":{"type":"Book","id":"round"},"attrs":{},"parents":[{"type":"Page","id":"round/one"}]}"#,
        r#"{"uid":{"type":"Device","id":"spiffe://d/lost"},"attrs":{},"parents":[{"type":"DeviceGroup","id":"lost"}]}"#,
        r#"{"uid":{"type":"Gateway","id":"spiffe://g/old"},"attrs":{},"parents":[{"type":"GatewayGroup","id":"old"}]}"#,
    ];
    let rules = rules.iter().enumerate().map(|(at, rule)| format!("@id(\"rule-{at}\")\n{rule}"));
    PolicyFiles::from([
        ("rules.cedar".to_owned(), rules.collect::<Vec<_>>().join("\n")),
        ("books.cedarschema".to_owned(), schema),
        ("actions.toml".to_owned(), actions.concat()),
        ("entities.json".to_owned(), format!("[{}]", entities.join(","))),
    ])
}

/// What Cedar says to the whole question: of all rules, with all entities and the whole context, held
/// against the schema.
fn plainly(
    evaluator: &Evaluator,
    facts: &RequestFacts<'_>,
    single_use: bool,
    (entry, resource): (&MappedAction, &Resource),
) -> Answer {
    let asked = asked(facts, action_uid(&entry.name), resource, Looks::ALL);
    let whole = evaluator.reach.whole().clone();
    let parent = resource.parent.clone().filter(|_| whole.get(&resource.uid).is_none());
    let added = parent.map(|parent| Entity::new_no_attrs(resource.uid.clone(), [parent].into()));
    let clock = &Clock::default();
    let context = Circumstances { facts, presence: facts.presence, single_use, clock };
    let [principal, action, resource] = asked.who_does_what;
    let request = context.context(Looks::ALL).ok().and_then(|context| {
        Request::new(principal, action, resource, context, Some(&evaluator.schema)).ok()
    });
    match (request, whole.add_entities(added, None)) {
        (Some(request), Ok(entities)) => {
            answer(&Authorizer::new().is_authorized(&request, &evaluator.policies, &entities))
        }
        _ => Answer::Failed { rules: Vec::new() },
    }
}

#[derive(Clone, Debug)]
struct Asking {
    subject: &'static str,
    device: &'static str,
    gateway: &'static str,
    request: (&'static str, &'static str),
    source: Option<&'static str>,
    level: AssuranceLevel,
    age: Option<u64>,
    uvm: Option<&'static str>,
    key_attestation: Option<&'static str>,
    boot: &'static str,
    single_use: bool,
    now: i64,
}

prop_compose! {
    fn asking()(
        subject in select(vec!["ann", "bob", "spiffe://w/one"]),
        device in select(vec!["spiffe://d/sound", "spiffe://d/lost"]),
        gateway in select(vec!["spiffe://g/new", "spiffe://g/old"]),
        request in select(vec![
            ("GET", "/b/open/one"), ("PUT", "/b/open/one"), ("PUT", "/b/open/two"),
            ("GET", "/b/open/listed"), ("PUT", "/b/open/listed?x"), ("GET", "/b/shut/one?y"),
            ("GET", "/b/round/one"), ("GET", "/b/round/two"),
            ("GET", "/s/red"), ("GET", "/s/green"), ("GET", "/i/open/one"),
        ]),
        source in select(vec![None, Some("10.1.2.3"), Some("192.0.2.1"), Some("2001:db8::1"), Some("::ffff:10.1.2.3")]),
        level in select(AssuranceLevel::ALL.to_vec()),
        age in select(vec![None, Some(0), Some(60), Some(61), Some(100_000)]),
        uvm in select(vec![None, Some("pin"), Some("built-in")]),
        key_attestation in select(vec![None, Some("packed")]),
        boot in select(vec!["approved", "unjudged"]),
        single_use: bool,
        now in select(vec![i64::MIN, 0, 1_795_317_301, 1_795_320_901, i64::MAX]),
    ) -> Asking {
        Asking { subject, device, gateway, request, source, level, age, uvm, key_attestation, boot, single_use, now }
    }
}

impl Asking {
    fn facts(&self) -> RequestFacts<'_> {
        let (method, target) = self.request;
        let presence = PresenceFacts {
            level: self.level,
            human: self.age.is_some(),
            age: self.age.map(Duration::from_secs),
            uvm: self.uvm,
            uvm_source: self.uvm.map(|_| "model"),
            key_attestation: self.key_attestation,
            boot: self.boot,
            device_identity: "proven",
        };
        RequestFacts {
            device: self.device,
            gateway: self.gateway,
            source: self.source.map(|source| source.parse().unwrap()),
            host: "localhost",
            presence,
            now: UnixTime(self.now),
            ..facts(self.subject, method, target)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Asked one after another, so that what is remembered of one question could mislead another.
    #[test]
    fn an_answer_is_cedars_to_the_whole_question(
        rules in subsequence(RULES, 1..8),
        askings in proptest::collection::vec(asking(), 48),
    ) {
        let set = ActionPolicySet::from_files(&files(&rules)).unwrap_or_else(|error| panic!("{error}"));
        for asking in &askings {
            let facts = asking.facts();
            let (path, _) = facts.path_and_query();
            let (entry, resource) = set.actions.find(facts.method, facts.host, path).unwrap();
            let whole = plainly(&set.evaluator, &facts, asking.single_use, (entry, &resource));
            let found = set.evaluator.question(&facts, &entry.name, &resource).map_or(
                Answer::Failed { rules: Vec::new() },
                |question| set.evaluator.ask(&question, facts.presence, asking.single_use),
            );
            prop_assert_eq!(found, whole, "{:?}", asking);
        }
    }

    #[test]
    fn cedar_reads_the_addresses_that_are_readable(bytes: [u8; 16], mapped: bool) {
        let v6 = std::net::Ipv6Addr::from(bytes);
        let v4 = Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let v6 = if mapped { v4.to_ipv6_mapped() } else { v6 };
        for source in [IpAddr::V4(v4), IpAddr::V6(v6)] {
            let facts = RequestFacts { source: Some(source), ..sample_facts("GET", "h", "/") };
            let context = sample(&facts, &Clock::default()).context(Looks::ALL);
            prop_assert_eq!(context.is_ok(), is_readable(source), "{}", source);
        }
    }
}

#[test]
fn rules_look_at_what_they_name_and_at_all_where_they_take_it_whole() {
    let looks = |condition: &str| {
        let rule = format!("permit (principal, action, resource) {condition};");
        Looks::of(&Policy::parse(None, rule).unwrap())
    };
    let named = |names: &[&str]| {
        let conditions: Vec<_> = names.iter().map(|name| format!("context.{name}")).collect();
        looks(&format!("when {{ {} }}", conditions.join(" && ")))
    };
    assert_eq!(looks(""), Looks::NONE);
    assert_eq!(looks("when { principal.contextual == resource.my_context }"), Looks::NONE);
    assert_eq!(looks("when { context.humane }"), Looks::NONE);
    let several =
        "when { context .\n human } unless { context has device || !context.now.toTime() }";
    assert_eq!(looks(several), named(&["human", "device", "now"]));
    assert_eq!(looks("when { context\thas source.x }"), named(&["source"]));
    assert!(named(&["device"]).device() && !named(&["device"]).gateway());
    assert!(named(&["gateway"]).gateway() && !named(&["gateway"]).device());
    for whole in [
        "when { context == principal.profile }",
        "when { [context.human, {a: context}] == [] }",
        "when { (if context.human then context else context).human }",
        "when { (context).human }",
        "when { context[\"human\"] && context has \"device\" }",
        "when { context // the\n .human }",
        "when { context. // the\n human }",
        "unless { principal.tags.contains(context) }",
    ] {
        assert_eq!(looks(whole), Looks::ALL, "{whole}");
    }
}
