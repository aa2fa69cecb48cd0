//! Asking the checker.

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// What a whole search came to.
pub struct Explored {
    /// How many different states there are within the bounds.
    pub states: usize,
    /// The longest way to one of them.
    pub depth: usize,
    /// Properties that do not hold.
    pub broken: Vec<&'static str>,
    /// What ought to be possible and is not.
    pub impossible: Vec<&'static str>,
}

/// Looks at every state.
pub fn explore<M>(model: M, threads: usize) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + PartialEq + std::hash::Hash + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Send + Sync,
{
    let checker = model.checker().threads(threads).spawn_bfs().join();
    let found = checker.discoveries();
    let properties = checker.model().properties().into_iter();
    let (always, sometimes): (Vec<_>, Vec<_>) =
        properties.partition(|property| property.expectation == Expectation::Always);
    let names = |properties: Vec<stateright::Property<M>>, seen: bool| {
        let names = properties.iter().map(|property| property.name);
        names.filter(|name| found.contains_key(name) == seen).collect()
    };
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken: names(always, true),
        impossible: names(sometimes, false),
    }
}

/// The steps of a shortest way, of at most `longest`, to a state in which the property of this name
/// does not hold.
pub fn attack<M>(model: &M, broken: &'static str, longest: usize) -> Option<Vec<M::Action>>
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + PartialEq + std::fmt::Debug + std::hash::Hash + Send + Sync + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug + Send + Sync,
{
    // A depth counts states, so it is one more than the steps. Without deepening, the checker reports
    // the last of the ways in a block, not a shortest.
    (2..=longest + 2).find_map(|depth| {
        let checker = model
            .clone()
            .checker()
            .target_max_depth(depth)
            .finish_when(HasDiscoveries::AnyOf([broken].into()))
            .spawn_bfs()
            .join();
        checker.discovery(broken).map(stateright::Path::into_actions)
    })
}
