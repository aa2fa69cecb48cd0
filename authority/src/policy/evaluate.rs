//! Cedar: puts one question to the rules.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Entities, EntityUid, PolicyId, PolicySet, Request, Response,
    Schema, validate_scope_variables,
};
use signet_evidence::UnixTime;
use signet_verifier::AssuranceLevel;

use super::actions::{ActionMap, MappedAction, Resource};
use super::bearing::{Bearing, Sorter};
use super::clock::Clock;
use super::context::{Circumstances, Looks, is_readable};
use super::facts::{PresenceFacts, RequestFacts};
use super::load::{Kind, action_uid, uid};
use super::reach::{Asked, Reach};

/// What the rules say to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Permit { rules: Vec<String> },
    NoRule,
    Forbidden { rules: Vec<String> },
    Failed { rules: Vec<String> },
}

/// Rules, entities and schema, ready to answer.
#[derive(Debug)]
pub(super) struct Evaluator {
    schema: Schema,
    policies: Arc<PolicySet>,
    /// By the action's name.
    known: BTreeMap<String, Known>,
    reach: Reach,
    authorizer: Authorizer,
    clock: Clock,
}

/// What is known of an action before anybody asks.
#[derive(Debug)]
struct Known {
    bearing: Bearing,
    /// Whether a context fits the schema's, without and with the client's address: that depends on
    /// nothing else of a request, since each attribute has one type.
    fits: [bool; 2],
}

/// One request as the rules see it, but for presence.
pub(super) struct Question<'a> {
    pub(super) facts: &'a RequestFacts<'a>,
    pub(super) bearing: &'a Bearing,
    pub(super) principal: EntityUid,
    pub(super) resource: &'a Resource,
    /// Those that rules can reach from it, the resource among them.
    pub(super) entities: Arc<Entities>,
    /// Whether it is a request by the schema.
    fits: bool,
}

impl Question<'_> {
    /// Whether `inner` is `outer`, or lies in it.
    pub(super) fn lies_in(&self, inner: &EntityUid, outer: &EntityUid) -> bool {
        inner == outer || self.entities.is_ancestor_of(outer, inner)
    }
}

impl Evaluator {
    pub(super) fn new(
        schema: Schema,
        policies: PolicySet,
        entities: Entities,
        actions: &ActionMap,
    ) -> Self {
        let (policies, clock) = (Arc::new(policies), Clock::default());
        let mut sorter = Sorter::new(&policies, &entities);
        let mut known = BTreeMap::new();
        for entry in actions.entries() {
            known.entry(entry.name.clone()).or_insert_with(|| {
                let bearing = sorter.bearing(&entry.name);
                let fits = [None, Some(IpAddr::V4(Ipv4Addr::LOCALHOST))]
                    .map(|source| context_fits(&schema, &bearing.action, source, &clock));
                Known { bearing, fits }
            });
        }
        let reach = Reach::new(entities);
        Self { schema, policies, known, reach, authorizer: Authorizer::new(), clock }
    }

    /// Names of the groups that the schema puts an action in; `None` when there is no such action.
    pub(super) fn groups_of(&self, action: &EntityUid) -> Option<Vec<&str>> {
        self.schema.actions().find(|known| *known == action)?;
        let groups = self.reach.whole().ancestors(action)?;
        Some(groups.map(|group| AsRef::<str>::as_ref(group.id())).collect())
    }

    /// The request as a question; `None` when its resource does not fit the entities.
    pub(super) fn question<'a>(
        &'a self,
        facts: &'a RequestFacts<'a>,
        action: &str,
        resource: &'a Resource,
    ) -> Option<Question<'a>> {
        let Known { bearing, fits } = self.known.get(action)?;
        let asked = asked(facts, bearing.action.clone(), resource, bearing.looks);
        let entities = self.reach.entities(&asked, &bearing.named).ok()?;
        let [principal, action, _] = &asked.who_does_what;
        let fits = fits[usize::from(facts.source.is_some())]
            && facts.source.is_none_or(is_readable)
            && validate_scope_variables(principal, action, &resource.uid, &self.schema).is_ok();
        let principal = principal.clone();
        Some(Question { facts, bearing, principal, resource, entities, fits })
    }

    /// The rules.
    pub(super) fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// What the rules would say if `presence` were so.
    pub(super) fn ask(
        &self,
        question: &Question<'_>,
        presence: PresenceFacts<'_>,
        single_use: bool,
    ) -> Answer {
        let Some(request) = self.request(question, presence, single_use) else {
            return Answer::Failed { rules: Vec::new() };
        };
        let rules = &question.bearing.rules;
        let response = self.authorizer.is_authorized(&request, rules, &question.entities);
        answer(&response)
    }

    /// Whether a request of this entry fits the schema, whoever sends it.
    pub(super) fn try_sample(
        &self,
        entry: &MappedAction,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (method, host, target) = entry.sample();
        let (action, resource) = (action_uid(&entry.name), entry.sample_resource());
        let fits = ["operator", "spiffe://sample.example/workload"].map(|subject| {
            let facts = RequestFacts { subject, ..sample_facts(&method, &host, &target) };
            let asked = asked(&facts, action.clone(), &resource, Looks::ALL);
            self.reach.check(&asked, &self.schema)?;
            let context = sample(&facts, &self.clock).context(Looks::ALL)?;
            let [principal, action, resource] = asked.who_does_what;
            Request::new(principal, action, resource, context, Some(&self.schema))?;
            Ok(())
        });
        // An action may be for people only, or for workloads only.
        match fits {
            [Err(operator), Err(_)] => Err(operator),
            _ => Ok(()),
        }
    }

    fn request(
        &self,
        question: &Question<'_>,
        presence: PresenceFacts<'_>,
        single_use: bool,
    ) -> Option<Request> {
        let Question { facts, bearing, principal, resource, fits, .. } = question;
        let circumstances = Circumstances { facts, presence, single_use, clock: &self.clock };
        // What the rules do not look at is left out, so the whole was held against the schema before.
        let context = fits.then(|| circumstances.context(bearing.looks))?.ok()?;
        let (principal, action) = (principal.clone(), bearing.action.clone());
        Request::new(principal, action, resource.uid.clone(), context, None).ok()
    }
}

/// Whether the schema takes the context of such a request for this action.
fn context_fits(
    schema: &Schema,
    action: &EntityUid,
    source: Option<IpAddr>,
    clock: &Clock,
) -> bool {
    let facts = RequestFacts { source, ..sample_facts("GET", "sample.example", "/") };
    let context = sample(&facts, clock).context(Looks::ALL);
    context.is_ok_and(|context| context.validate(schema, action).is_ok())
}

fn sample<'a>(facts: &'a RequestFacts<'a>, clock: &'a Clock) -> Circumstances<'a> {
    Circumstances { facts, presence: facts.presence, single_use: false, clock }
}

fn sample_facts<'a>(method: &'a str, host: &'a str, target: &'a str) -> RequestFacts<'a> {
    RequestFacts {
        subject: "operator",
        device: "spiffe://sample.example/device",
        gateway: "spiffe://sample.example/gateway",
        method,
        host,
        target,
        source: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        presence: PresenceFacts {
            level: AssuranceLevel::Device,
            human: false,
            age: None,
            uvm: None,
            uvm_source: None,
            key_attestation: None,
            boot: "unjudged",
            device_identity: "unproven",
        },
        scope: None,
        approved: None,
        now: UnixTime(0),
    }
}

fn asked(facts: &RequestFacts<'_>, action: EntityUid, resource: &Resource, looks: Looks) -> Asked {
    Asked {
        who_does_what: [principal(facts), action, resource.uid.clone()],
        parent: resource.parent.clone(),
        device: looks.device().then(|| uid(Kind::Device, facts.device)),
        gateway: looks.gateway().then(|| uid(Kind::Gateway, facts.gateway)),
    }
}

fn principal(facts: &RequestFacts<'_>) -> EntityUid {
    let kind = if is_workload(facts.subject) { Kind::Workload } else { Kind::Operator };
    uid(kind, facts.subject)
}

/// Whether a subject is a workload: those are named by SPIFFE IDs, people never are.
pub(super) fn is_workload(subject: &str) -> bool {
    subject.starts_with("spiffe://")
}

fn answer(response: &Response) -> Answer {
    let failed: Vec<&PolicyId> = response.diagnostics().errors().map(failed_rule).collect();
    if !failed.is_empty() {
        return Answer::Failed { rules: names(failed.into_iter()) };
    }
    let rules = names(response.diagnostics().reason());
    match response.decision() {
        // Default deny: nothing is allowed that no rule names.
        cedar_policy::Decision::Allow if !rules.is_empty() => Answer::Permit { rules },
        cedar_policy::Decision::Deny if !rules.is_empty() => Answer::Forbidden { rules },
        cedar_policy::Decision::Allow | cedar_policy::Decision::Deny => Answer::NoRule,
    }
}

fn failed_rule(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}

fn names<'a>(ids: impl Iterator<Item = &'a PolicyId>) -> Vec<String> {
    let mut names: Vec<String> = ids.map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
