//! Of all rules those that bear on one action, so that a question costs the same however many rules
//! other actions have.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PolicySet};

use super::context::Looks;
use super::load::action_uid;
use super::reach::has;

/// Most bytes that are spent on holding rules once more, sorted by action; actions beyond that are
/// asked about with all rules.
const MOST_SORTED: usize = 4 * 1024 * 1024;
/// About what is held of a rule beside its text, in bytes.
const BESIDE_TEXT: usize = 1024;
/// About what is held of an entity's name, in bytes.
const OF_NAME: usize = 256;

/// The rules of one action.
#[derive(Clone, Debug)]
pub(super) struct Bearing {
    pub(super) action: EntityUid,
    /// All whose scope names the action, a group of it, or none. Of the others the scope does not hold;
    /// it comes before a condition and cannot fail, so they neither apply nor fail.
    pub(super) rules: Arc<PolicySet>,
    /// What these look at.
    pub(super) looks: Looks,
    /// The entities that they name, but for those of which nothing is known.
    pub(super) named: Arc<[EntityUid]>,
}

/// Sorts rules by the actions that they name.
pub(super) struct Sorter<'a> {
    entities: &'a Entities,
    rules: Vec<Sorted<'a>>,
    /// Those that name no action.
    open: Vec<usize>,
    /// Those that name this very action.
    exactly: HashMap<EntityUid, Vec<usize>>,
    /// Those that name this action or group, with all that it holds.
    within: HashMap<EntityUid, Vec<usize>>,
    all: Together,
    /// Actions that the same rules speak of share them.
    together: HashMap<Vec<usize>, Together>,
    left: usize,
}

struct Sorted<'a> {
    rule: &'a Policy,
    looks: Looks,
    named: Vec<EntityUid>,
}

#[derive(Clone)]
struct Together {
    rules: Arc<PolicySet>,
    looks: Looks,
    named: Arc<[EntityUid]>,
}

impl<'a> Sorter<'a> {
    /// `entities` has the actions with their groups.
    pub(super) fn new(all: &'a Arc<PolicySet>, entities: &'a Entities) -> Self {
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
        let known = |uid: &EntityUid| entities.get(uid).is_some_and(|one| has(entities, one) > 0);
        let rules: Vec<Sorted<'_>> = all
            .policies()
            .map(|rule| {
                let named = rule.entity_literals().into_iter().filter(known).collect();
                Sorted { rule, looks: Looks::of(rule), named }
            })
            .collect();
        let all = together(Arc::clone(all), rules.iter());
        let (together, left) = (HashMap::new(), MOST_SORTED);
        Self { entities, rules, open, exactly, within, all, together, left }
    }

    /// The rules of an action.
    pub(super) fn bearing(&mut self, name: &str) -> Bearing {
        let action = action_uid(name);
        let together = self.sorted(&action).unwrap_or_else(|| self.all.clone());
        let Together { rules, looks, named } = together;
        Bearing { action, rules, looks, named }
    }

    fn sorted(&mut self, action: &EntityUid) -> Option<Together> {
        // Where nothing fits any more, nothing has to be sorted.
        self.left.checked_sub(self.open.len() * BESIDE_TEXT)?;
        let groups = self.entities.ancestors(action).into_iter().flatten();
        let within = groups.chain([action]).filter_map(|one| self.within.get(one)).flatten();
        let exactly = self.exactly.get(action).into_iter().flatten();
        let mut which: Vec<usize> =
            self.open.iter().chain(exactly).chain(within).copied().collect();
        which.sort_unstable();
        which.dedup();
        if let Some(together) = self.together.get(&which) {
            return Some(together.clone());
        }
        let these = || which.iter().map(|at| &self.rules[*at]);
        self.left = self.left.checked_sub(these().map(Sorted::size).sum())?;
        let rules = PolicySet::from_policies(these().map(|sorted| sorted.rule.clone())).ok()?;
        let together = together(Arc::new(rules), these());
        self.together.insert(which, together.clone());
        Some(together)
    }
}

impl Sorted<'_> {
    fn size(&self) -> usize {
        BESIDE_TEXT + self.rule.to_string().len() + OF_NAME * self.named.len()
    }
}

fn together<'a>(
    rules: Arc<PolicySet>,
    sorted: impl Iterator<Item = &'a Sorted<'a>> + Clone,
) -> Together {
    let named: HashSet<&EntityUid> = sorted.clone().flat_map(|sorted| &sorted.named).collect();
    let named = named.into_iter().cloned().collect();
    Together { rules, looks: sorted.map(|sorted| sorted.looks).collect(), named }
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
        let mut sorter = Sorter::new(&rules, &entities);
        let [one, two, three, read] =
            ["one", "two", "three", "read"].map(|name| sorter.bearing(name));
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
        let mut sorter = Sorter { left: 4 * BESIDE_TEXT, ..Sorter::new(&rules, &entities) };
        let [one, three] = ["one", "three"].map(|name| sorter.bearing(name));
        assert!(Arc::ptr_eq(&one.rules, &rules) && one.looks.device());
        assert_eq!(names(&three), ["group", "open"]);
        let mut sorter = Sorter { left: BESIDE_TEXT - 1, ..Sorter::new(&rules, &entities) };
        assert!(Arc::ptr_eq(&sorter.bearing("three").rules, &rules));
    }
}
