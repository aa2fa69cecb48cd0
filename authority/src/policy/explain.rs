//! Why a request was decided as it was: the rules that decided with their places, and when nobody's
//! rule allows it, the rules that come closest and what they ask for.

use std::fmt;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PrincipalConstraint, ResourceConstraint,
};

use super::decision::{Decision, Outcome};
use super::evaluate::{Question, is_workload};
use super::facts::RequestFacts;
use super::load::{ActionPolicySet, Rule, action_uid};

/// Which rule decided, for a person who asks why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// Line of `actions.toml` that named the action.
    pub action_line: Option<usize>,
    /// Rules that decided, or that would allow it after the step-up, with their places.
    pub rules: Vec<(String, Rule)>,
    /// Where it is denied: rules that allow this action under other circumstances, the closest first.
    pub near: Vec<NearRule>,
}

/// A rule that allows the action, but not this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearRule {
    /// Its name.
    pub name: String,
    /// Its place.
    pub rule: Rule,
    /// What stands between it and the request; at least one.
    pub lacks: Vec<Lack>,
}

/// What stands between a rule and a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The rule is for others: the entity that the principal should be, or be in.
    Principal {
        /// Who asks.
        is: String,
        /// Whom the rule is for.
        wanted: String,
    },
    /// The rule is for another resource.
    Resource {
        /// What is asked for.
        is: String,
        /// What the rule is for.
        wanted: String,
    },
    /// Who and what are right; the rule's `when` or `unless` does not hold, whatever presence is proved.
    Condition,
    /// The rule wants presence, and a workload has none to prove.
    Presence,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal { is, wanted } => write!(f, "{is} is not {wanted}"),
            Self::Resource { is, wanted } => write!(f, "{is} is not {wanted}"),
            Self::Condition => {
                f.write_str("its condition does not hold, whatever presence is proved")
            }
            Self::Presence => {
                f.write_str("its condition does not hold, and a workload cannot prove presence")
            }
        }
    }
}

impl ActionPolicySet {
    /// The same decision as [`Self::decide`], with the places of the rules that made it, and those
    /// that would have to be otherwise.
    #[must_use]
    pub fn explain(&self, facts: &RequestFacts<'_>) -> Explanation {
        let decision = self.decide(facts);
        let (path, _) = facts.path_and_query();
        let found = self.actions.find(facts.method, facts.host, path);
        let (names, denied): (&[String], _) = match &decision.outcome {
            Outcome::Permit { rules } => (rules, false),
            Outcome::Deny(denial) => (denial.rules(), true),
            Outcome::StepUp(step_up) => (&step_up.rules, false),
        };
        let place = |name: &String| Some((name.clone(), self.rules.get(name)?.clone()));
        let rules = names.iter().filter_map(place).collect();
        let near = match &found {
            Some((entry, resource)) if denied => self
                .evaluator
                .question(facts, &entry.name, resource)
                .map(|question| self.near(&question))
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        Explanation { rules, action_line: found.map(|(entry, _)| entry.line), decision, near }
    }

    fn near(&self, question: &Question<'_>) -> Vec<NearRule> {
        let permits = self.evaluator.policies().policies();
        let mut near: Vec<NearRule> = permits
            .filter(|policy| policy.effect() == Effect::Permit)
            .filter(|policy| self.is_for_action(policy, question))
            .filter_map(|policy| {
                let name = policy.id().to_string();
                let rule = self.rules.get(&name)?.clone();
                Some(NearRule { name, rule, lacks: lacks(policy, question) })
            })
            .collect();
        near.sort_by(|a, b| (a.lacks.len(), &a.name).cmp(&(b.lacks.len(), &b.name)));
        near
    }

    fn is_for_action(&self, policy: &Policy, question: &Question<'_>) -> bool {
        let action = &question.bearing.action;
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(wanted) => wanted == *action,
            ActionConstraint::In(wanted) => {
                let groups = self.evaluator.groups_of(action).unwrap_or_default();
                wanted.iter().any(|one| {
                    one == action || groups.iter().any(|group| action_uid(group) == *one)
                })
            }
        }
    }
}

fn lacks(policy: &Policy, question: &Question<'_>) -> Vec<Lack> {
    let principal = &question.principal;
    let resource = &question.resource.uid;
    let mut lacks = Vec::new();
    let wanted = match policy.principal_constraint() {
        PrincipalConstraint::Any => None,
        PrincipalConstraint::Eq(one) => (one != *principal).then(|| one.to_string()),
        PrincipalConstraint::In(one) => outside(question, principal, &one),
        PrincipalConstraint::Is(kind) => {
            (kind != *principal.type_name()).then(|| format!("a {kind}"))
        }
        PrincipalConstraint::IsIn(kind, one) => match kind == *principal.type_name() {
            true => outside(question, principal, &one),
            false => Some(format!("a {kind} in {one}")),
        },
    };
    lacks.extend(wanted.map(|wanted| Lack::Principal { is: principal.to_string(), wanted }));
    let wanted = match policy.resource_constraint() {
        ResourceConstraint::Any => None,
        ResourceConstraint::Eq(one) => (one != *resource).then(|| one.to_string()),
        ResourceConstraint::In(one) => outside(question, resource, &one),
        ResourceConstraint::Is(kind) => {
            (kind != *resource.type_name()).then(|| format!("a {kind}"))
        }
        ResourceConstraint::IsIn(kind, one) => match kind == *resource.type_name() {
            true => outside(question, resource, &one),
            false => Some(format!("a {kind} in {one}")),
        },
    };
    lacks.extend(wanted.map(|wanted| Lack::Resource { is: resource.to_string(), wanted }));
    if lacks.is_empty() {
        let workload = is_workload(question.facts.subject);
        lacks.push(if workload { Lack::Presence } else { Lack::Condition });
    }
    lacks
}

fn outside(question: &Question<'_>, inner: &EntityUid, outer: &EntityUid) -> Option<String> {
    (!question.lies_in(inner, outer)).then(|| format!("in {outer}"))
}
