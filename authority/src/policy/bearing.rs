//! Of all rules those that bear on one action, so that a question costs the same however many rules
//! other actions have.

use std::collections::HashMap;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet};

use super::context::Looks;
use super::load::action_uid;

/// Most bytes that are spent on holding rules once more, sorted by action; actions beyond that are
/// asked about with all rules.
const MOST_SORTED: usize = 4 * 1024 * 1024;
/// About what Cedar holds of a rule beside its text, in bytes.
const BESIDE_TEXT: usize = 1024;

/// The rules of one action.
#[derive(Clone, Debug)]
pub(super) struct Bearing {
    pub(super) action: EntityUid,
    /// All whose scope names the action, a group of it, or none. Of the others the scope does not hold;
    /// it comes before a condition and cannot fail, so they neither apply nor fail.
    pub(super) rules: Arc<PolicySet>,
    /// What these look at.
    pub(super) looks: Looks,
}

/// Sorts rules by the actions that they name.
pub(super) struct Sorter<'a> {
    all: &'a Arc<PolicySet>,
    rules: Vec<Sorted<'a>>,
    /// Those that name no action.
    open: Vec<usize>,
    /// Those that name this very action.
    exactly: HashMap<EntityUid, Vec<usize>>,
    /// Those that name this action or group, with all that it holds.
    within: HashMap<EntityUid, Vec<usize>>,
    /// Actions that the same rules speak of share them.
    sets: HashMap<Vec<usize>, Arc<PolicySet>>,
    left: usize,
}

struct Sorted<'a> {
    rule: &'a Policy,
    looks: Looks,
    size: usize,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(all: &'a Arc<PolicySet>) -> Self {
        let mut open = Vec::new();
        let mut exactly: HashMap<_, Vec<usize>> = HashMap::new();
        let mut within: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, rule) in all.policies().enumerate() {
            match rule.action_constraint() {
                ActionConstraint::Any => open.push(at),
                ActionConstraint::Eq(action) => exactly.entry(action).or_default().push(at),
                ActionConstraint::In(wanted) => {
                    wanted.into_iter().for_each(|one| within.entry(one).or_default().push(at));
                }
            }
        }
        let rules = all.policies().map(|rule| {
            let size = BESIDE_TEXT + rule.to_string().len();
            Sorted { rule, looks: Looks::of(rule), size }
        });
        let rules = rules.collect();
        Self { all, rules, open, exactly, within, sets: HashMap::new(), left: MOST_SORTED }
    }

    /// The rules of an action; `entities` has its groups.
    pub(super) fn bearing(&mut self, name: &str, entities: &Entities) -> Bearing {
        let action = action_uid(name);
        let (rules, looks) = match self.own(&action, entities) {
            Some((rules, which)) => (rules, which.iter().map(|at| self.rules[*at].looks).collect()),
            None => (Arc::clone(self.all), self.rules.iter().map(|sorted| sorted.looks).collect()),
        };
        Bearing { action, rules, looks }
    }

    fn own(
        &mut self,
        action: &EntityUid,
        entities: &Entities,
    ) -> Option<(Arc<PolicySet>, Vec<usize>)> {
        // Where nothing fits any more, nothing has to be sorted.
        self.left.checked_sub(self.open.len() * BESIDE_TEXT)?;
        let groups = entities.ancestors(action).into_iter().flatten();
        let within = groups.chain([action]).filter_map(|one| self.within.get(one)).flatten();
        let exactly = self.exactly.get(action).into_iter().flatten();
        let mut which: Vec<usize> =
            self.open.iter().chain(exactly).chain(within).copied().collect();
        which.sort_unstable();
        which.dedup();
        if let Some(rules) = self.sets.get(&which) {
            return Some((Arc::clone(rules), which));
        }
        self.left = self.left.checked_sub(which.iter().map(|at| self.rules[*at].size).sum())?;
        let rules = which.iter().map(|at| self.rules[*at].rule.clone());
        let rules = Arc::new(PolicySet::from_policies(rules).ok()?);
        self.sets.insert(which.clone(), Arc::clone(&rules));
        Some((rules, which))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use cedar_policy::Schema;

    use super::*;

    const RULES: &str = "@id(\"open\") permit (principal, action, resource);
        @id(\"exact\") permit (principal, action == Action::\"one\", resource) when { context.human };
        @id(\"listed\") permit (principal, action in [Action::\"one\", Action::\"two\"], resource);
        @id(\"group\") permit (principal, action in Action::\"read\", resource) when { context.now };
        @id(\"other\") forbid (principal, action in Action::\"write\", resource) when { context.device };";

    fn rules() -> (Arc<PolicySet>, Entities) {
        let rules = PolicySet::from_str(RULES).unwrap();
        let named = rules
            .policies()
            .map(|rule| rule.new_id(rule.annotation("id").unwrap().parse().unwrap()));
        let schema = "action read, write; action one, two, three in [read];";
        let (schema, _) = Schema::from_cedarschema_str(schema).unwrap();
        (Arc::new(PolicySet::from_policies(named).unwrap()), schema.action_entities().unwrap())
    }

    fn names(bearing: &Bearing) -> Vec<String> {
        let mut names: Vec<_> =
            bearing.rules.policies().map(|rule| rule.id().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn rules_bear_on_the_actions_that_they_name_and_on_those_of_their_groups() {
        let (rules, entities) = rules();
        let mut sorter = Sorter::new(&rules);
        let [one, two, three, read] =
            ["one", "two", "three", "read"].map(|name| sorter.bearing(name, &entities));
        assert_eq!(names(&one), ["exact", "group", "listed", "open"]);
        assert_eq!(names(&two), ["group", "listed", "open"]);
        assert_eq!(names(&three), ["group", "open"]);
        // The same rules are held once.
        assert!(Arc::ptr_eq(&three.rules, &read.rules));
        assert_eq!(three.looks, read.looks);
        assert!(one.looks != two.looks && !one.looks.device());
    }

    #[test]
    fn what_would_take_too_much_memory_is_not_sorted() {
        let (rules, entities) = rules();
        let mut sorter = Sorter { left: 4 * BESIDE_TEXT, ..Sorter::new(&rules) };
        let [one, three] = ["one", "three"].map(|name| sorter.bearing(name, &entities));
        assert!(Arc::ptr_eq(&one.rules, &rules) && one.looks.device());
        assert_eq!(names(&three), ["group", "open"]);
        let mut sorter = Sorter { left: BESIDE_TEXT - 1, ..Sorter::new(&rules) };
        assert!(Arc::ptr_eq(&sorter.bearing("three", &entities).rules, &rules));
    }
}
