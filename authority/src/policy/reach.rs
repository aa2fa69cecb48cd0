//! Of all entities those that the rules can reach from one question, so that a question costs the same
//! whether ten people are listed or ten thousand.

use std::collections::HashMap;
use std::error::Error;

use cedar_policy::{Entities, Entity, EntityUid, EvalResult, Policy, PolicySet, Schema};

/// All entities, and those among them that every question takes along.
#[derive(Debug)]
pub(super) struct Reach {
    whole: Entities,
    /// Reached from what the rules name.
    named: Vec<Entity>,
}

impl Reach {
    /// `whole` has every entity's ancestors, as Cedar's own constructors leave it.
    pub(super) fn new(whole: Entities, policies: &PolicySet) -> Self {
        let literals = policies.policies().flat_map(Policy::entity_literals).collect();
        let named = reached(&whole, literals).into_values();
        // Without ancestors, attributes and tags an entity is to Cedar as one that is not there.
        let says_something = |entity: &&Entity| {
            entity.attrs().next().is_some()
                || entity.tags().next().is_some()
                || whole.ancestors(&entity.uid()).is_some_and(|mut all| all.next().is_some())
        };
        let named = named.filter(says_something).cloned().collect();
        Self { whole, named }
    }

    /// All of them.
    pub(super) fn whole(&self) -> &Entities {
        &self.whole
    }

    /// Those that can be reached from `roots`, with `added` among them; checked against `schema` where
    /// one is given.
    pub(super) fn from(
        &self,
        roots: Vec<EntityUid>,
        added: Option<Entity>,
        schema: Option<&Schema>,
    ) -> Result<Entities, Box<dyn Error + Send + Sync>> {
        let mut reached = reached(&self.whole, roots);
        reached.extend(self.named.iter().map(|entity| (entity.uid(), entity)));
        // Their ancestors are in the entities themselves: those need not be there to be told apart.
        Ok(Entities::from_entities(reached.into_values().cloned().chain(added), schema)?)
    }
}

/// `roots`, and whatever their attributes and tags name, and so on.
fn reached(whole: &Entities, mut roots: Vec<EntityUid>) -> HashMap<EntityUid, &Entity> {
    let mut reached = HashMap::new();
    while let Some(uid) = roots.pop() {
        let Some(entity) = whole.get(&uid) else { continue };
        if reached.insert(uid, entity).is_none() {
            let values = entity.attrs().chain(entity.tags());
            values.filter_map(|(_, value)| value.ok()).for_each(|value| name(&value, &mut roots));
        }
    }
    reached
}

/// The entities that a value holds.
fn name(value: &EvalResult, names: &mut Vec<EntityUid>) {
    match value {
        EvalResult::EntityUid(uid) => names.push(uid.clone()),
        EvalResult::Set(set) => set.iter().for_each(|value| name(value, names)),
        EvalResult::Record(record) => record.iter().for_each(|(_, value)| name(value, names)),
        EvalResult::Bool(_)
        | EvalResult::Long(_)
        | EvalResult::String(_)
        | EvalResult::ExtensionValue(_) => {}
    }
}

#[cfg(test)]
mod tests;
