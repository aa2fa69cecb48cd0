//! Of all entities those that the rules can reach from one question, so that a question costs the same
//! whether ten people are listed or ten thousand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::entities_errors::EntitiesError;
use cedar_policy::{Entities, Entity, EntityUid, EvalResult, Schema};
use signet_verifier::recent::Recent;

/// Of how many questions asked lately the entities are remembered.
const REMEMBERED: usize = 512;
/// Bytes of one question's entities; of those with more they are not remembered.
const MOST_OF_ONE: usize = 16 * 1024;
/// About what Cedar holds of an entity, in bytes.
const OF_ONE: usize = 1024;
/// About what it holds of each ancestor, attribute and tag of one, in bytes.
const OF_ITS: usize = 256;

/// All entities, and those among them that questions asked lately took along.
#[derive(Debug)]
pub(super) struct Reach {
    whole: Arc<Entities>,
    /// Nothing of a set ever changes.
    lately: Mutex<Recent<Asked, Arc<Entities>>>,
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

    fn size(&self) -> usize {
        self.roots().chain(&self.parent).map(|uid| uid.id().unescaped().len()).sum()
    }
}

impl Reach {
    /// `whole` has every entity's ancestors, as Cedar's own constructors leave it.
    pub(super) fn new(whole: Entities) -> Self {
        Self { whole: Arc::new(whole), lately: Mutex::new(Recent::at_most(REMEMBERED)) }
    }

    /// All of them.
    pub(super) fn whole(&self) -> &Entities {
        &self.whole
    }

    /// All of them; or where the resource is to be added, those that rules which name `named` can reach.
    pub(super) fn entities(
        &self,
        asked: &Asked,
        named: &[EntityUid],
    ) -> Result<Arc<Entities>, Box<EntitiesError>> {
        let Some(parent) = self.parent_to_add(asked) else { return Ok(Arc::clone(&self.whole)) };
        let lately = || self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entities) = lately().get(asked) {
            return Ok(Arc::clone(entities));
        }
        let entities = Arc::new(self.from(asked, named, Some(parent), None)?);
        let sizes = entities.iter().map(|entity| OF_ONE + OF_ITS * has(&entities, entity));
        if sizes.sum::<usize>() + asked.size() <= MOST_OF_ONE {
            lately().insert(asked.clone(), Arc::clone(&entities));
        }
        Ok(entities)
    }

    /// Whether what can be reached from a question itself fits the schema.
    pub(super) fn check(&self, asked: &Asked, schema: &Schema) -> Result<(), Box<EntitiesError>> {
        self.from(asked, &[], self.parent_to_add(asked), Some(schema)).map(drop)
    }

    /// What the resource lies in, where the file does not list the resource itself.
    fn parent_to_add<'a>(&self, asked: &'a Asked) -> Option<&'a EntityUid> {
        let [_, _, resource] = &asked.who_does_what;
        asked.parent.as_ref().filter(|_| self.whole.get(resource).is_none())
    }

    fn from(
        &self,
        asked: &Asked,
        named: &[EntityUid],
        parent: Option<&EntityUid>,
        schema: Option<&Schema>,
    ) -> Result<Entities, Box<EntitiesError>> {
        let [_, _, resource] = &asked.who_does_what;
        let added = parent.map(|parent| {
            let above = self.whole.ancestors(parent).into_iter().flatten().cloned();
            Entity::new_no_attrs(resource.clone(), above.chain([parent.clone()]).collect())
        });
        let roots = asked.roots().chain(named).cloned().collect();
        let reached = reached(&self.whole, roots).into_values();
        // Their ancestors are in the entities themselves: those need not be there to be told apart.
        let reached = reached.filter(|entity| has(&self.whole, entity) > 0).cloned();
        Ok(Entities::from_entities(reached.chain(added), schema)?)
    }
}

/// How many ancestors, attributes and tags an entity has. Without any it is to Cedar as one that is not
/// there.
pub(super) fn has(entities: &Entities, entity: &Entity) -> usize {
    let ancestors = entities.ancestors(&entity.uid()).map_or(0, Iterator::count);
    ancestors + entity.attrs().count() + entity.tags().count()
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
