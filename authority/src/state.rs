//! Everything that the endpoints share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use signet_evidence::UnixTime;
use signet_verifier::certificate::AnchorError;
use signet_verifier::enrolment::EnrolmentPolicy;
use signet_verifier::log::NoteKeyError;
use signet_verifier::policy::AppraisalPolicy;
use signet_verifier::token::{SeenTokens, TokenChecker};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::config::Config;
use crate::enrol::PendingEnrolments;
use crate::events::Hub;
use crate::gateway::Standings;
use crate::in_force::{FollowError, InForce, Sets};
use crate::journal::Journal;
use crate::keys::{self, KeyError, Keys, LogRing};
use crate::limits::{Callers, Limited};
use crate::log::AuditLog;
use crate::metadata::Judging;
use crate::metrics::Metrics;
use crate::policy::{ActionPolicySet, PolicyLoadError};
use crate::problem::Problem;
use crate::revocation::RevocationView;
use crate::store::{OpenError, SqlStore, Store, StoreError};
use crate::trust;

/// How many status indices are taken from the store at once.
const INDEX_BLOCK: u32 = 64;

/// For how many tokens the signature is remembered: some 16 MiB at most.
const SEEN_TOKENS: usize = 8192;

/// The time, as a function so that tests and dry runs say what it is.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// The running authority.
pub struct Authority {
    /// Settings.
    pub config: Config,
    /// Memory.
    pub store: Arc<dyn Store>,
    /// Secrets.
    pub keys: Keys,
    /// What evidence must show, by the settings alone, with the CAs as they were at the start: evidence is
    /// judged by [`Self::judging`].
    pub appraisal: AppraisalPolicy,
    /// The same with the metadata and the CAs that count.
    pub judging: Judging,
    /// Which machines may enrol.
    pub enrolment: EnrolmentPolicy,
    /// Who may do what.
    pub in_force: InForce,
    /// What was revoked.
    pub revocations: RevocationView,
    /// What connected verifiers are told.
    pub events: Hub,
    /// The audit log's signature.
    pub log: AuditLog,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who asked how much of this node.
    pub callers: Callers,
    /// Machines between the halves of their enrolment.
    pub enrolments: PendingEnrolments,
    /// Tokens whose signature was found good.
    pub seen: SeenTokens,
    /// What the store said of tokens.
    pub standings: Standings,
    /// Yeses to reads that the store does not have yet.
    pub journal: Journal,
    clock: Clock,
    status_indices: Mutex<VecDeque<u64>>,
}

/// The authority cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Keys.
    #[error("the keys cannot be used")]
    Keys(#[from] KeyError),
    /// Database.
    #[error("the database cannot be used")]
    Open(#[from] OpenError),
    /// Revocations.
    #[error("the revocations cannot be read")]
    Store(#[from] StoreError),
    /// A CA certificate.
    #[error("a CA certificate cannot be used")]
    Anchor(#[from] AnchorError),
    /// The log's name.
    #[error("the audit log cannot be named after the issuer")]
    Log(#[from] NoteKeyError),
    /// The first action policy.
    #[error("the action policy cannot be used")]
    Policy(#[from] PolicyLoadError),
    /// The action policy that is in force.
    #[error(
        "the action policy in force cannot be used; put another into force with `signet-authority policy activate`"
    )]
    InForce(#[from] FollowError),
    /// Roots of TPM makers or security keys.
    #[error("a trust anchor cannot be used")]
    Trust(#[from] crate::trust::TrustError),
}

/// The system's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
    })
}

/// What is in force; where nothing ever was, the folder of the settings, which [`Server`] puts into
/// force when it begins to serve.
///
/// [`Server`]: crate::server::Server
async fn in_force(config: &Config, store: &dyn Store) -> Result<InForce, StartError> {
    let folder = config.resolve(config.settings.policy.directory.get_ref());
    if store.policy_position().await? == 0 {
        return Ok(InForce::new(Sets::only(ActionPolicySet::load(&folder)?)));
    }
    let in_force = InForce::read(store).await?;
    let live = in_force.sets().live.version();
    if ActionPolicySet::load(&folder).is_ok_and(|set| set.version() != live) {
        tracing::warn!(
            folder = %folder.display(),
            %live,
            "the folder holds another policy than the one in force; `signet-authority policy activate` ships it"
        );
    }
    Ok(in_force)
}

impl Authority {
    /// Loads keys, policy and database as `config` says.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config, clock: Clock) -> Result<Arc<Self>, StartError> {
        let directory = config.keys();
        let integrity = keys::load_integrity(&directory)?;
        let store = SqlStore::open(config.database(), integrity).await?;
        if let Some(mebibytes) = config.settings.limits.database_mebibytes {
            store.limit_size(u64::from(mebibytes.get()) * 1024 * 1024).await?;
        }
        Self::with_store(config, clock, Arc::new(store)).await
    }

    /// The same over a store that is open already.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_store(
        config: Config,
        clock: Clock,
        store: Arc<dyn Store>,
    ) -> Result<Arc<Self>, StartError> {
        let keys = keys::load(&config.keys())?;
        keys::ensure_log(&config.keys())?;
        let log = AuditLog::new(
            config.settings.issuer.as_str(),
            LogRing::load(&config.keys(), clock())?,
        )?;
        let events = Hub::default();
        let revocations = RevocationView::pushing(events.clone());
        revocations.refresh(store.as_ref()).await?;
        let in_force = in_force(&config, store.as_ref()).await?;
        let appraisal = trust::appraisal(&config, &keys, clock())?;
        // Checked now, so that the first refresh does not find what the start should have.
        trust::metadata_roots(&config)?;
        Ok(Arc::new(Self {
            callers: Callers::new(&config.settings.limits),
            judging: Judging::new(appraisal.clone()),
            appraisal,
            enrolment: trust::enrolment(&config)?,
            in_force,
            revocations,
            log,
            metrics: Arc::new(Metrics::of(&store.times())),
            events,
            enrolments: PendingEnrolments::default(),
            status_indices: Mutex::default(),
            seen: SeenTokens::at_most(SEEN_TOKENS),
            standings: Standings::at_most(SEEN_TOKENS),
            journal: Journal::default(),
            config,
            store,
            keys,
            clock,
        }))
    }

    /// Judges this authority's tokens, by the keys that count now.
    #[must_use]
    pub fn checker(&self) -> TokenChecker {
        TokenChecker {
            issuer: self.config.settings.issuer.to_string(),
            audience: self.config.settings.audience.clone(),
            keys: self.keys.token.verifying(self.now()),
        }
    }

    /// What a caller hears who has to wait: counted.
    pub(crate) fn limited(&self, limited: Limited) -> Problem {
        self.metrics.pressure.limited(limited.limit);
        Problem::limited(limited)
    }

    /// The authority's time.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        (self.clock)()
    }

    /// A place in the status lists for a new session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn status_index(&self) -> Result<u64, StoreError> {
        let mut indices = self.status_indices.lock().await;
        // Places that were reserved when everything was revoked are revoked with those in use.
        let (below, _) = self.revocations.lists();
        indices.retain(|index| *index >= below);
        if indices.is_empty() {
            indices.extend(self.store.reserve_status_indices(INDEX_BLOCK).await?);
        }
        indices.pop_front().ok_or(StoreError::Corrupt { table: "status_indices" })
    }
}
