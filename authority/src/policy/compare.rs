//! What another set would decide otherwise: over tables of tests and over recorded decisions.

use std::collections::BTreeMap;

use serde::Serialize;

use super::load::ActionPolicySet;
use super::recorded::{RecordedRequest, Verdict};

/// How many examples of one kind of flip are kept.
const EXAMPLES: usize = 5;

/// What two sets differ in.
#[derive(Debug, Default, Serialize)]
pub struct Changes {
    /// Names of rules that only the new set has.
    pub rules_added: Vec<String>,
    /// Names of rules that only the old set has.
    pub rules_removed: Vec<String>,
    /// Names of rules whose text changed.
    pub rules_changed: Vec<String>,
    /// Files, other than those of rules, that differ.
    pub files_changed: Vec<String>,
}

/// Decisions put to another set.
#[derive(Debug, Default, Serialize)]
pub struct Replay {
    /// Decisions that were decided again.
    pub decided: u64,
    /// Those that came out otherwise.
    pub flipped: u64,
    /// Those whose query is not kept: a rule about the query may decide them otherwise.
    pub without_query: u64,
    /// Those that cannot be decided again.
    pub undecidable: u64,
    /// The flips by their kind, the most frequent first.
    pub flips: Vec<Flip>,
    #[serde(skip)]
    kinds: BTreeMap<(String, &'static str, &'static str), Flip>,
}

/// Flips of one action from one answer to another.
#[derive(Clone, Debug, Serialize)]
pub struct Flip {
    /// The action by the new set's map; empty where it has none for the request.
    pub action: String,
    /// `permit`, `deny` or `step-up`.
    pub before: &'static str,
    /// `permit`, `deny` or `step-up`.
    pub after: &'static str,
    /// How many.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<FlipExample>,
}

/// One flip.
#[derive(Clone, Debug, Serialize)]
pub struct FlipExample {
    /// Sequence number of the audit record, or name of the row.
    pub of: String,
    /// Who asked.
    pub subject: String,
    /// Method, host and path.
    pub request: String,
    /// The answer before.
    pub before: Verdict,
    /// The answer after.
    pub after: Verdict,
}

impl Replay {
    /// Decides one request again, and notes whether it comes out otherwise than `before`.
    pub fn put(
        &mut self,
        set: &ActionPolicySet,
        of: &str,
        request: &RecordedRequest,
        before: &Verdict,
    ) {
        let Some(facts) = request.facts() else {
            self.undecidable += 1;
            return;
        };
        let decision = set.decide(&facts);
        let after = Verdict::from(&decision.outcome);
        self.decided += 1;
        self.without_query += u64::from(request.query);
        if !before.flips_to(&after) {
            return;
        }
        self.flipped += 1;
        let action = decision.action.map(|action| action.name).unwrap_or_default();
        let (old, new) = (before.kind(), after.kind());
        let flip = self.kinds.entry((action.clone(), old, new)).or_insert_with(|| Flip {
            action,
            before: old,
            after: new,
            count: 0,
            examples: Vec::new(),
        });
        flip.count += 1;
        if flip.examples.len() < EXAMPLES {
            flip.examples.push(FlipExample {
                of: of.to_owned(),
                subject: request.subject.clone(),
                request: format!("{} {}{}", request.method, request.host, request.path),
                before: before.clone(),
                after,
            });
        }
    }

    /// Puts the flips in order.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.flips = std::mem::take(&mut self.kinds).into_values().collect();
        self.flips.sort_by_key(|flip| std::cmp::Reverse(flip.count));
        self
    }
}

impl ActionPolicySet {
    /// What differs between this set and a newer one.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Changes {
        let (before, after) = (self.rule_texts(), new.rule_texts());
        let only = |these: &BTreeMap<String, String>, those: &BTreeMap<String, String>| {
            these.keys().filter(|name| !those.contains_key(*name)).cloned().collect()
        };
        let changed = |(name, text): (&String, &String)| {
            before.get(name).is_some_and(|old| old != text).then(|| name.clone())
        };
        let (old_files, new_files) = (&self.files, &new.files);
        let mut files: Vec<String> = old_files.keys().chain(new_files.keys()).cloned().collect();
        files.sort_unstable();
        files.dedup();
        files.retain(|name| {
            !super::files::is_rules(name) && old_files.get(name) != new_files.get(name)
        });
        Changes {
            rules_added: only(&after, &before),
            rules_removed: only(&before, &after),
            rules_changed: after.iter().filter_map(changed).collect(),
            files_changed: files,
        }
    }

    fn rule_texts(&self) -> BTreeMap<String, String> {
        let policies = self.evaluator.policies().policies();
        policies.map(|policy| (policy.id().to_string(), policy.to_string())).collect()
    }
}
