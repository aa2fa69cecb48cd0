//! Cedar: puts one question to the rules.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, Entity, EntityUid, PolicyId, PolicySet,
    Request, RestrictedExpression, Schema,
};
use signet_evidence::UnixTime;
use signet_verifier::AssuranceLevel;

use super::actions::{MappedAction, Resource};
use super::facts::{PresenceFacts, RequestFacts};
use super::load::{Kind, action_uid, uid};
use super::reach::Reach;

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
    policies: PolicySet,
    reach: Reach,
    authorizer: Authorizer,
    /// The last second that was asked about, as Cedar's `datetime`, which it reads by its grammar.
    second: Mutex<Option<(UnixTime, RestrictedExpression)>>,
}

/// One request as the rules see it, but for presence.
pub(super) struct Question<'a> {
    pub(super) facts: &'a RequestFacts<'a>,
    pub(super) action: &'a str,
    pub(super) resource: &'a Resource,
    /// Those that rules can reach from it, the resource among them.
    pub(super) entities: Entities,
}

impl Question<'_> {
    /// Who asks.
    pub(super) fn principal(&self) -> EntityUid {
        principal(self.facts)
    }

    /// Whether `inner` is `outer`, or lies in it.
    pub(super) fn lies_in(&self, inner: &EntityUid, outer: &EntityUid) -> bool {
        inner == outer || self.entities.is_ancestor_of(outer, inner)
    }
}

impl Evaluator {
    pub(super) fn new(schema: Schema, policies: PolicySet, entities: Entities) -> Self {
        let (authorizer, second) = (Authorizer::new(), Mutex::default());
        let reach = Reach::new(entities, &policies);
        Self { schema, policies, reach, authorizer, second }
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
        action: &'a str,
        resource: &'a Resource,
    ) -> Option<Question<'a>> {
        let entities = self.entities_of(facts, action, resource, None).ok()?;
        Some(Question { facts, action, resource, entities })
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
        let Ok(request) = self.request(question, presence, single_use) else {
            return Answer::Failed { rules: Vec::new() };
        };
        let response = self.authorizer.is_authorized(&request, &self.policies, &question.entities);
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

    /// Whether a request of this entry fits the schema, whoever sends it.
    pub(super) fn try_sample(
        &self,
        entry: &MappedAction,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (method, host, target) = entry.sample();
        let resource = entry.sample_resource();
        let presence = PresenceFacts {
            level: AssuranceLevel::Device,
            human: false,
            age: None,
            uvm: None,
            uvm_source: None,
            key_attestation: None,
            boot: "unjudged",
            device_identity: "unproven",
        };
        let fits = ["operator", "spiffe://sample.example/workload"].map(|subject| {
            let facts = RequestFacts {
                subject,
                device: "spiffe://sample.example/device",
                gateway: "spiffe://sample.example/gateway",
                method: &method,
                host: &host,
                target: &target,
                source: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                presence,
                scope: None,
                approved: None,
                now: UnixTime(0),
            };
            let (facts, action, resource) = (&facts, entry.name.as_str(), &resource);
            let entities = self.entities_of(facts, action, resource, Some(&self.schema))?;
            let question = Question { facts, action, resource, entities };
            self.request(&question, presence, false).map(|_| ())
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
    ) -> Result<Request, Box<dyn Error + Send + Sync>> {
        let facts = question.facts;
        Ok(Request::new(
            question.principal(),
            action_uid(question.action),
            question.resource.uid.clone(),
            context(facts, presence, single_use, self.datetime(facts.now))?,
            Some(&self.schema),
        )?)
    }

    fn datetime(&self, now: UnixTime) -> RestrictedExpression {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        match &*second {
            Some((time, expression)) if *time == now => expression.clone(),
            _ => {
                let expression = RestrictedExpression::new_datetime(iso_8601(now));
                *second = Some((now, expression.clone()));
                expression
            }
        }
    }

    /// What rules can reach, with the request's resource among it, unless the file lists that itself.
    fn entities_of(
        &self,
        facts: &RequestFacts<'_>,
        action: &str,
        resource: &Resource,
        schema: Option<&Schema>,
    ) -> Result<Entities, Box<dyn Error + Send + Sync>> {
        let whole = self.reach.whole();
        let roots = vec![
            principal(facts),
            action_uid(action),
            resource.uid.clone(),
            uid(Kind::Device, facts.device),
            uid(Kind::Gateway, facts.gateway),
        ];
        let parent = resource.parent.as_ref().filter(|_| whole.get(&resource.uid).is_none());
        let resource = parent.map(|parent| {
            let above = whole.ancestors(parent).into_iter().flatten().cloned();
            Entity::new_no_attrs(resource.uid.clone(), above.chain([parent.clone()]).collect())
        });
        self.reach.from(roots, resource, schema)
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

fn context(
    facts: &RequestFacts<'_>,
    presence: PresenceFacts<'_>,
    single_use: bool,
    now: RestrictedExpression,
) -> Result<Context, Box<dyn Error + Send + Sync>> {
    use RestrictedExpression as Value;
    let text = |text: &str| Value::new_string(text.to_owned());
    let optional = |value: Option<&str>| text(value.unwrap_or_default());
    let (path, query) = facts.target.split_once('?').unwrap_or((facts.target, ""));
    let pairs = [
        ("acr", text(presence.level.as_str())),
        ("assurance", Value::new_long(presence.assurance())),
        ("human", Value::new_bool(presence.human)),
        ("presence_age_seconds", Value::new_long(presence.age_seconds())),
        ("uvm", optional(presence.uvm)),
        ("uvm_source", optional(presence.uvm_source)),
        ("pin_can_stand_in", Value::new_bool(presence.pin_can_stand_in())),
        ("key_attestation", optional(presence.key_attestation)),
        ("boot", text(presence.boot)),
        ("device_identity", text(presence.device_identity)),
        ("device", Value::new_entity_uid(uid(Kind::Device, facts.device))),
        ("gateway", Value::new_entity_uid(uid(Kind::Gateway, facts.gateway))),
        ("method", text(facts.method)),
        ("host", text(facts.host)),
        ("path", text(path)),
        ("query", text(query)),
        ("single_use", Value::new_bool(single_use)),
        ("now", now),
    ];
    let source = facts.source.map(|address| ("source", Value::new_ip(address.to_string())));
    let pairs = pairs.into_iter().chain(source);
    Ok(Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)))?)
}

/// `YYYY-MM-DDThh:mm:ssZ`, the form that Cedar's `datetime` takes; within the years 0 to 9999.
#[must_use]
pub fn iso_8601(time: UnixTime) -> String {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_9999_END: i64 = 253_402_300_799;
    let seconds = time.0.clamp(YEAR_0, YEAR_9999_END);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date of the proleptic Gregorian calendar, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // As `date -u -d @N +%FT%TZ` prints them.
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_317_301, "2026-11-22T03:15:01Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9999-12-31T23:59:59Z"),
            (i64::MIN, "0000-01-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(iso_8601(UnixTime(seconds)), text);
        }
    }

    #[test]
    fn constant_entity_types_are_names() {
        let kinds = [Kind::Action, Kind::Operator, Kind::Workload, Kind::Device, Kind::Gateway];
        for kind in kinds {
            assert_eq!(uid(kind, "x").type_name().to_string(), format!("{kind:?}"));
        }
    }
}
