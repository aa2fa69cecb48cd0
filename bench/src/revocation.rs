//! From `revoke` in another process to refused at every one of fifty connected verifiers.
//!
//! The authority is the real program; the verifiers are fifty handles of `signet-watch`, each with its own
//! connection over mutual TLS on the loopback. What revokes is a second opening of the same database, as
//! `signet-authority revoke` does it; the start of that program is not in it, everything else is: the
//! transaction with its audit record, the node's hearing of it, the push, and the word of each handle that
//! it is in force there.

use std::io::Write;
use std::time::{Duration, Instant};

use signet_authority::config::Config;
use signet_authority::keys;
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, Decision, Event, RevocationTarget, SqlStore, Store};
use signet_tests::house::{AuthorityService, GatewayFiles, TRUST_DOMAIN};
use signet_watch::{Settings, Watch};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::{Bench, Contest, Failure, Programs, Unit};

/// What is promised.
const PROMISE: Duration = Duration::from_millis(100);
const VERIFIERS: usize = 50;
/// Revocations in a round; the 99th percentile is the second slowest.
const REVOCATIONS: usize = 100;

/// The slowest but one of a hundred revocations, and what is promised for it.
pub const REVOCATION: Bench = Bench {
    name: "revocation",
    about: "revoked by another process until refused at all of 50 verifiers: 99th percentile, and 100 ms",
    bar: 1.0,
    rounds: 3,
    unit: Unit::Time,
    prepare: |programs, _| Ok(Box::new(Push::prepare(programs)?)),
};

struct Push {
    runtime: Runtime,
    watches: Vec<Watch>,
    store: SqlStore,
    _authority: AuthorityService,
    _folder: TempDir,
}

impl Push {
    fn prepare(_: &Programs) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("authority");
        let mut authority = AuthorityService::init(&place, "alice")?;
        let GatewayFiles { certificate, key } =
            authority.admit_gateway("edge", &folder.path().join("gateway"))?;
        authority.serve()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let url = format!("https://localhost:{}", authority.gateway_address().port());
        let issuer = authority.url();
        let settings = || {
            Settings::from_files(&url, &authority.server_ca(), &certificate, &key)
                .map(|settings| settings.tokens_of(&issuer, TRUST_DOMAIN))
        };
        let (watches, store) = runtime.block_on(async {
            let mut watches = Vec::new();
            for _ in 0..VERIFIERS {
                watches.push(Watch::start(settings()?)?);
            }
            for watch in &watches {
                watch.ready().await;
            }
            let config = Config::load(&place.join("authority.toml"))?;
            let integrity = keys::load_integrity(&config.keys())?;
            let store = SqlStore::open(config.database(), integrity).await?;
            Ok::<_, Failure>((watches, store))
        })?;
        Ok(Self { runtime, watches, store, _authority: authority, _folder: folder })
    }

    /// From the call to the last of the verifiers.
    async fn revoke(&self) -> Result<Duration, Failure> {
        let now = system_clock()();
        let entry = AuditEntry::new(now, Event::Revoke, Decision::Allowed);
        let started = Instant::now();
        let revoked = self.store.revoke(&RevocationTarget::Everything, now, &entry).await?;
        let last = revoked.as_ref().and_then(|revoked| revoked.last());
        let position = last.ok_or("nothing was revoked")?.sequence;
        let mut waiting = JoinSet::new();
        for watch in &self.watches {
            let watch = watch.clone();
            waiting.spawn(async move {
                watch.reached(position).await;
                Instant::now()
            });
        }
        let reached = waiting.join_all().await.into_iter().max();
        Ok(reached.ok_or("there are no verifiers")?.saturating_duration_since(started))
    }
}

impl Contest for Push {
    fn base(&mut self) -> Result<Duration, Failure> {
        Ok(PROMISE)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        let mut times = Vec::new();
        for _ in 0..REVOCATIONS {
            times.push(self.runtime.block_on(self.revoke())?);
        }
        times.sort_unstable();
        let at = |place: usize| times.get(place).copied().unwrap_or_default();
        let (median, high) = (at(REVOCATIONS / 2), at(REVOCATIONS * 99 / 100 - 1));
        // Nothing better can be done when stderr is gone.
        let _ = writeln!(
            std::io::stderr(),
            "revocation at {VERIFIERS} verifiers: median {:.1} ms, 99th percentile {:.1} ms",
            median.as_secs_f64() * 1e3,
            high.as_secs_f64() * 1e3
        );
        Ok(high)
    }
}
