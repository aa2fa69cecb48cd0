//! The sets of policies that are in force: kept in the store, followed there by every node, swapped
//! whole. What decides a request is one [`Sets`], from its first look to its last.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use signet_evidence::UnixTime;
use signet_evidence::binding::Sha256;
use thiserror::Error;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::policy::{
    ActionPolicySet, Decision, PolicyFiles, PolicyLoadError, PolicyProblem, RequestFacts, TESTS,
    Verdict,
};
use crate::rounds::Rounds;
pub use crate::store::PolicySlot as Slot;
use crate::store::{self, AuditEntry, Event, NewActivation, PolicyActivation, Store, StoreError};

/// How often the store is asked when it tells nothing.
const POLL: Duration = Duration::from_millis(500);

/// What decides: the live set, and the one that is asked beside it without effect.
#[derive(Debug)]
pub struct Sets {
    /// Decides.
    pub live: Arc<ActionPolicySet>,
    /// Is asked too; its answer is compared and counted.
    pub shadow: Option<Arc<ActionPolicySet>>,
    /// The activation that this is.
    pub position: i64,
}

/// A set cannot be put into force; what was in force stays so.
#[derive(Debug, Error)]
pub enum ActivateError {
    /// It does not decide what its own tests say.
    #[error("{failed} of the set's tests fail, {first} first; run `signet-authority policy test`")]
    Tests {
        /// How many.
        failed: usize,
        /// Name of the first.
        first: String,
    },
    /// Its table of tests.
    #[error("the set's table of tests cannot be read")]
    Table(#[from] PolicyProblem),
    /// Somebody else was quicker.
    #[error("another set was put into force meanwhile; look at `signet-authority policy history`")]
    Overtaken,
    /// The store.
    #[error("the store could not put the set into force")]
    Store(#[from] StoreError),
}

/// A set that is in force cannot be used by this node.
#[derive(Debug, Error)]
pub enum FollowError {
    /// The store.
    #[error("the store cannot say what is in force")]
    Store(#[from] StoreError),
    /// The set, which another version of this program may have put there.
    #[error("policy version {version} cannot be used by this node")]
    Load {
        /// The version.
        version: String,
        /// Why.
        source: PolicyLoadError,
    },
    /// Nothing is in force.
    #[error("no policy is in force; put one into force with `signet-authority policy activate`")]
    Nothing,
}

/// Who puts what into force, and why.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where.
    pub slot: Slot,
    /// `policy-activate` or `policy-rollback`.
    pub event: Event,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Puts a set into force, or takes the shadow set away, once the set's own tests pass. Returns the
/// number of the activation.
///
/// # Errors
/// See [`ActivateError`]; nothing was changed then.
pub async fn put(
    store: &dyn Store,
    set: Option<&ActionPolicySet>,
    order: Order,
    now: UnixTime,
) -> Result<i64, ActivateError> {
    if let Some(set) = set {
        check_tests(set)?;
    }
    let after = store.policy_position().await?;
    write(store, set, order, after, now).await
}

async fn write(
    store: &dyn Store,
    set: Option<&ActionPolicySet>,
    order: Order,
    after: i64,
    now: UnixTime,
) -> Result<i64, ActivateError> {
    let text = set.map(|set| serde_json::to_string(set.files()).unwrap_or_default());
    let version = set.map(|set| set.version().0);
    let mut entry = AuditEntry::new(now, order.event, store::Decision::Allowed);
    let shown = set.map_or_else(|| "no set".to_owned(), |set| set.version().to_string());
    entry.policy = set.map(|set| set.version().to_string());
    entry.detail = format!("{shown} is {} by {}: {}", order.slot.as_str(), order.by, order.reason);
    let new = NewActivation {
        after,
        slot: order.slot,
        set: version.zip(text.as_deref()),
        at: now,
        by: &order.by,
        reason: &order.reason,
    };
    store.activate_policy(&new, &entry).await?.ok_or(ActivateError::Overtaken)
}

fn check_tests(set: &ActionPolicySet) -> Result<(), ActivateError> {
    let Some(table) = set.files().get(TESTS) else { return Ok(()) };
    let outcomes = set.run_table(table)?;
    let mut failed = outcomes.into_iter().filter(|outcome| outcome.difference.is_some());
    match failed.next() {
        None => Ok(()),
        Some(first) => Err(ActivateError::Tests { failed: failed.count() + 1, first: first.name }),
    }
}

/// Loads a version that the store keeps.
///
/// # Errors
/// See [`FollowError`].
pub async fn load_version(
    store: &dyn Store,
    version: &Sha256,
) -> Result<ActionPolicySet, FollowError> {
    let corrupt = || StoreError::Corrupt { table: "policy_sets" };
    let text = store.policy_set(version).await?.ok_or_else(corrupt)?;
    let files: PolicyFiles = serde_json::from_str(&text).map_err(|_| corrupt())?;
    let set = ActionPolicySet::from_files(&files).map_err(|source| FollowError::Load {
        version: signet_evidence::thumbprint::hex(version),
        source,
    })?;
    if set.version().0 != *version {
        return Err(corrupt().into());
    }
    Ok(set)
}

/// What this node decides by. Clones share it.
#[derive(Clone, Debug)]
pub struct InForce(Arc<RwLock<Arc<Sets>>>);

impl InForce {
    /// Reads what is in force.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn read(store: &dyn Store) -> Result<Self, FollowError> {
        Ok(Self::new(read_sets(store, None).await?))
    }

    /// Begins with these sets.
    #[must_use]
    pub fn new(sets: Sets) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(sets))))
    }

    /// Puts what this holds into force where nothing ever was. Of nodes that start at once one does.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn begin(&self, store: &dyn Store, now: UnixTime) -> Result<(), FollowError> {
        let first = self.sets();
        if first.position != 0 {
            return Ok(());
        }
        let (slot, event) = (Slot::Live, Event::PolicyActivate);
        let (by, reason) = ("the first start".to_owned(), String::new());
        let order = Order { slot, event, by, reason };
        // Any other error says that it was overtaken: another node did it.
        if let Err(ActivateError::Store(error)) =
            write(store, Some(&first.live), order, 0, now).await
        {
            return Err(error.into());
        }
        self.refresh(store).await.map(|_| ())
    }

    /// What decides now. Whoever decides takes it once.
    #[must_use]
    pub fn sets(&self) -> Arc<Sets> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the store says, if that is something new. Until all of it is loaded the sets
    /// before go on deciding, and so they do when it cannot be used.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn refresh(&self, store: &dyn Store) -> Result<bool, FollowError> {
        let now = self.sets();
        if store.policy_position().await? == now.position {
            return Ok(false);
        }
        let sets = Arc::new(read_sets(store, Some(&now)).await?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = sets;
        Ok(true)
    }

    /// Follows the store until `stop` becomes true.
    pub async fn follow(
        self,
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
    ) {
        let mut rounds = Rounds::every(POLL, stop).and_at_news_of(store.as_ref());
        let mut failing = false;
        while rounds.next().await {
            match self.refresh(store.as_ref()).await {
                Ok(false) => failing = false,
                Ok(true) => {
                    failing = false;
                    let sets = self.sets();
                    let shadow = sets.shadow.as_ref().map(|set| set.version().to_string());
                    metrics.policy_activated(true);
                    tracing::info!(live = %sets.live.version(), shadow, "policy in force");
                }
                // Said once, counted each time: the sets before go on deciding.
                Err(error) => {
                    metrics.policy_activated(false);
                    if !std::mem::replace(&mut failing, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the policy in force cannot be taken over");
                    }
                }
            }
        }
    }
}

/// Reads both slots; a set that `known` holds already is not loaded again.
async fn read_sets(store: &dyn Store, known: Option<&Sets>) -> Result<Sets, FollowError> {
    // The position first: what comes between is found by the next look.
    let position = store.policy_position().await?;
    let history = store.policy_history().await?;
    let live = newest(&history, Slot::Live).ok_or(FollowError::Nothing)?;
    let live = load(store, &live, known).await?;
    let shadow = match newest(&history, Slot::Shadow) {
        Some(version) => Some(load(store, &version, known).await?),
        None => None,
    };
    Ok(Sets { live, shadow, position })
}

/// What is in force in a slot, of a history that begins with the newest.
#[must_use]
pub fn newest(history: &[PolicyActivation], slot: Slot) -> Option<Sha256> {
    history.iter().find(|one| one.slot == slot).and_then(|one| one.version)
}

async fn load(
    store: &dyn Store,
    version: &Sha256,
    known: Option<&Sets>,
) -> Result<Arc<ActionPolicySet>, FollowError> {
    match known.and_then(|known| known.of_version(version)) {
        Some(set) => Ok(set),
        None => Ok(Arc::new(load_version(store, version).await?)),
    }
}

impl Sets {
    /// A live set alone, in force nowhere.
    #[must_use]
    pub fn only(live: ActionPolicySet) -> Self {
        Self { live: Arc::new(live), shadow: None, position: 0 }
    }

    fn of_version(&self, version: &Sha256) -> Option<Arc<ActionPolicySet>> {
        let sets = [Some(&self.live), self.shadow.as_ref()];
        sets.into_iter().flatten().find(|set| set.version().0 == *version).cloned()
    }

    /// What the live set says. The shadow set is asked the same; where it would say otherwise, that is
    /// counted and logged.
    #[must_use]
    pub fn decide(&self, facts: &RequestFacts<'_>, metrics: &Metrics) -> Decision {
        let decision = metrics.timed(Slot::Live, || self.live.decide(facts));
        if let Some(shadow) = &self.shadow {
            let other = metrics.timed(Slot::Shadow, || shadow.decide(facts));
            let (live, would) = (Verdict::from(&decision.outcome), Verdict::from(&other.outcome));
            let differs = live.flips_to(&would);
            metrics.shadowed(live.kind(), would.kind(), differs);
            if differs {
                tracing::info!(
                    action = decision.action.as_ref().map(|action| action.name.as_str()),
                    subject = facts.subject,
                    live = live.kind(),
                    shadow = would.kind(),
                    version = %shadow.version(),
                    "the shadow policy would decide otherwise"
                );
            }
        }
        decision
    }
}
