//! The decision: the rules' answer, and when it is no, the presence that would make it a yes.

use std::time::Duration;

use signet_verifier::AssuranceLevel;

use super::actions::MappedAction;
use super::decision::{Decision, Denial, NamedAction, Outcome, StepUp};
use super::evaluate::{Answer, Question, is_workload};
use super::facts::RequestFacts;
use super::load::ActionPolicySet;

/// Presence older than this never helps, in seconds; where the search for `max_age` begins.
const LONGEST_PRESENCE: u64 = 24 * 60 * 60;

impl ActionPolicySet {
    /// What policy says of this request. Anything that no rule allows is denied.
    #[must_use]
    pub fn decide(&self, facts: &RequestFacts<'_>) -> Decision {
        let (path, _) = facts.path_and_query();
        let Some((entry, resource)) = self.actions.find(facts.method, facts.host, path) else {
            let outcome = Outcome::Deny(Denial::Unmapped);
            return Decision { action: None, version: self.version(), outcome };
        };
        let action = NamedAction {
            name: entry.name.clone(),
            access: entry.access,
            resource: resource.uid.to_string(),
        };
        let outcome = match self.evaluator.question(facts, &entry.name, &resource) {
            Some(question) => self.outcome(entry, &question),
            None => Outcome::Deny(Denial::Failed { rules: Vec::new() }),
        };
        Decision { action: Some(action), version: self.version(), outcome }
    }

    fn outcome(&self, entry: &MappedAction, question: &Question<'_>) -> Outcome {
        let facts = question.facts;
        let single_use = match facts.approved {
            // The prompt showed these names: they must be what the request is.
            Some([shown]) if *shown == entry.name => true,
            Some(_) => return Outcome::Deny(Denial::ApprovedOther),
            None => false,
        };
        let answer = self.evaluator.ask(question, facts.presence, single_use);
        let answer = match answer {
            Answer::Permit { .. } if entry.single_use && !single_use => Answer::NoRule,
            other => other,
        };
        let denial = match answer {
            Answer::Permit { .. } if !covers(facts.scope, entry) => {
                return Outcome::Deny(Denial::Scope);
            }
            Answer::Permit { rules } => return Outcome::Permit { rules },
            Answer::NoRule => Denial::NoRule,
            Answer::Forbidden { rules } => Denial::Forbidden { rules },
            Answer::Failed { rules } => return Outcome::Deny(Denial::Failed { rules }),
        };
        match self.step_up(entry, question) {
            Some(step_up) => Outcome::StepUp(step_up),
            None => Outcome::Deny(denial),
        }
    }

    /// The least that the same person would have to prove: the lowest level that would do now, for
    /// exactly this request only where nothing less will, and with another model of key only where
    /// none of these helps.
    fn step_up(&self, entry: &MappedAction, question: &Question<'_>) -> Option<StepUp> {
        if is_workload(question.facts.subject) {
            return None;
        }
        [false, true].into_iter().find_map(|no_pin| {
            let mut uses = [false, true].into_iter().skip(usize::from(entry.single_use));
            uses.find_map(|single_use| self.step_up_by(question, single_use, no_pin))
        })
    }

    fn step_up_by(
        &self,
        question: &Question<'_>,
        single_use: bool,
        no_pin: bool,
    ) -> Option<StepUp> {
        let would = |level, age| {
            let presence = question.facts.presence.renewed(level, age);
            let presence = if no_pin { presence.without_pin() } else { presence };
            match self.evaluator.ask(question, presence, single_use) {
                Answer::Permit { rules } => Some(rules),
                Answer::NoRule | Answer::Forbidden { .. } | Answer::Failed { .. } => None,
            }
        };
        let levels: Vec<_> = AssuranceLevel::ALL
            .into_iter()
            // Below it nobody was asked; and only of an attested model it is known that it has no PIN.
            .filter(|level| *level > AssuranceLevel::Device)
            .filter(|level| !no_pin || *level == AssuranceLevel::UvHardware)
            .filter(|level| would(*level, Duration::ZERO).is_some())
            .collect();
        let least = *levels.first()?;
        let max_age = match single_use {
            true => Duration::ZERO,
            false => longest(|age| would(least, age).is_some()),
        };
        let rules = would(least, Duration::ZERO)?;
        Some(StepUp { levels, max_age, single_use, no_pin, rules })
    }
}

/// The longest age, in whole seconds, that still suffices; at least one, since zero is how a
/// challenge says "for this request" (protocol §1).
fn longest(suffices: impl Fn(Duration) -> bool) -> Duration {
    let (mut good, mut bad) = (0, LONGEST_PRESENCE);
    if suffices(Duration::from_secs(bad)) {
        return Duration::from_secs(bad);
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if suffices(Duration::from_secs(middle)) { good = middle } else { bad = middle }
    }
    Duration::from_secs(good.max(1))
}

/// Whether a token's scope includes an action: by its name, or as `read` or `write`.
fn covers(scope: Option<&str>, entry: &MappedAction) -> bool {
    scope.is_none_or(|scope| {
        scope.split(' ').any(|item| item == entry.name || item == entry.access.as_str())
    })
}
