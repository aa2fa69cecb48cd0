//! Of all entities those that the rules can reach from one question, so that a question costs the same
//! whether ten people are listed or ten thousand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::entities_errors::EntitiesError;
use cedar_policy::{Entities, Entity, EntityUid, EvalResult, Policy, PolicySet, Schema};
use signet_verifier::recent::Recent;

/// Most entities that are remembered of questions asked lately, those above them and their attributes
/// counted too: some 200 bytes each.
const MOST_REMEMBERED: usize = 16 * 1024;
/// As many of one question, beside those that every question takes along.
const MOST_OF_ONE: usize = 16;
/// Bytes of names that count as one entity more.
const NAME: usize = 256;

/// All entities, and those among them that every question takes along.
#[derive(Debug)]
pub(super) struct Reach {
    whole: Arc<Entities>,
    /// Reached from what the rules name.
    named: Vec<Entity>,
    /// Those of questions asked lately. Nothing of a set ever changes.
    lately: Mutex<Recent<Asked, Arc<Entities>>>,
    /// Those of larger ones are not remembered.
    most_of_one: usize,
}

/// All that decides which entities a question takes along.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// Principal, action and resource.
    pub(super) who_does_what: [EntityUid; 3],
    /// What the resource lies in.
    pub(super) parent: Option<EntityUid>,
    /// The machine, where the rules look at it.
    pub(super) device: Option<EntityUid>,
    /// The gateway, where the rules look at it.
    pub(super) gateway: Option<EntityUid>,
}

impl Asked {
    fn roots(&self) -> impl Iterator<Item = &EntityUid> {
        self.who_does_what.iter().chain(&self.device).chain(&self.gateway)
    }

    fn weight(&self) -> usize {
        let names = self.roots().chain(&self.parent);
        names.map(|uid| uid.id().unescaped().len()).sum::<usize>() / NAME
    }
}

impl Reach {
    /// `whole` has every entity's ancestors, as Cedar's own constructors leave it.
    pub(super) fn new(whole: Entities, policies: &PolicySet) -> Self {
        let literals = policies.policies().flat_map(Policy::entity_literals).collect();
        let named = reached(&whole, literals).into_values();
        // Without ancestors, attributes and tags an entity is to Cedar as one that is not there.
        let named = named.filter(|entity| weight(&whole, entity) > 1).cloned();
        let named: Vec<Entity> = named.collect();
        let of_named: usize = named.iter().map(|entity| weight(&whole, entity)).sum();
        let most_of_one = of_named + MOST_OF_ONE;
        let lately = Mutex::new(Recent::at_most(MOST_REMEMBERED / most_of_one));
        Self { whole: Arc::new(whole), named, lately, most_of_one }
    }

    /// All of them.
    pub(super) fn whole(&self) -> &Entities {
        &self.whole
    }

    /// All of them, or where the resource is to be added those that the rules can reach.
    pub(super) fn entities(&self, asked: &Asked) -> Result<Arc<Entities>, Box<EntitiesError>> {
        let Some(parent) = self.parent_to_add(asked) else { return Ok(Arc::clone(&self.whole)) };
        let lately = || self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entities) = lately().get(asked) {
            return Ok(Arc::clone(entities));
        }
        let entities = Arc::new(self.from(asked, Some(parent), None)?);
        let weights = entities.iter().map(|entity| weight(&entities, entity));
        if weights.sum::<usize>() + asked.weight() <= self.most_of_one {
            lately().insert(asked.clone(), Arc::clone(&entities));
        }
        Ok(entities)
    }

    /// Whether what the rules can reach fits the schema.
    pub(super) fn checked(&self, asked: &Asked, schema: &Schema) -> Result<(), Box<EntitiesError>> {
        self.from(asked, self.parent_to_add(asked), Some(schema)).map(drop)
    }

    /// What the resource lies in, where the file does not list the resource itself.
    fn parent_to_add<'a>(&self, asked: &'a Asked) -> Option<&'a EntityUid> {
        let [_, _, resource] = &asked.who_does_what;
        asked.parent.as_ref().filter(|_| self.whole.get(resource).is_none())
    }

    fn from(
        &self,
        asked: &Asked,
        parent: Option<&EntityUid>,
        schema: Option<&Schema>,
    ) -> Result<Entities, Box<EntitiesError>> {
        let [_, _, resource] = &asked.who_does_what;
        let added = parent.map(|parent| {
            let above = self.whole.ancestors(parent).into_iter().flatten().cloned();
            Entity::new_no_attrs(resource.clone(), above.chain([parent.clone()]).collect())
        });
        let mut reached = reached(&self.whole, asked.roots().cloned().collect());
        reached.extend(self.named.iter().map(|entity| (entity.uid(), entity)));
        // Their ancestors are in the entities themselves: those need not be there to be told apart.
        Ok(Entities::from_entities(reached.into_values().cloned().chain(added), schema)?)
    }
}

/// An entity, those above it and what it holds; one, where it is to Cedar as one that is not there.
fn weight(entities: &Entities, entity: &Entity) -> usize {
    let above = entities.ancestors(&entity.uid()).map_or(0, Iterator::count);
    1 + above + entity.attrs().count() + entity.tags().count()
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
