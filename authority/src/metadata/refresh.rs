//! The task that looks for a new BLOB now and then.

use std::sync::Arc;
use std::time::Duration;

use signet_evidence::binding::sha256;
use tokio::sync::watch;

use super::source::{Fetched, Source, SourceError};
use super::{TakeError, Trusted, take};
use crate::state::Authority;

/// Looks at the settings' source at once and then every `refresh`, up to a tenth later so that many
/// nodes do not ask together. Returns when `stop` becomes true.
pub async fn keep_fresh(authority: Arc<Authority>, mut stop: watch::Receiver<bool>) {
    let Some(settings) = &authority.config.settings.metadata else { return };
    let mut refresher = match Refresher::new(&authority) {
        Ok(Some(refresher)) => refresher,
        Ok(None) => return warn_when_stale(&authority).await,
        Err(error) => {
            tracing::error!(error = chain(error.as_ref()), "metadata cannot be refreshed");
            return;
        }
    };
    let every = settings.refresh.get_ref().duration();
    loop {
        refresher.look(&authority).await;
        warn_when_stale(&authority).await;
        tokio::select! {
            () = tokio::time::sleep(every + jitter(every)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

struct Refresher {
    trusted: Trusted,
    source: Source,
}

impl Refresher {
    fn new(
        authority: &Authority,
    ) -> Result<Option<Self>, Box<dyn std::error::Error + Send + Sync>> {
        let Some(source) = Source::of(&authority.config)? else { return Ok(None) };
        Ok(Some(Self { trusted: Trusted::load(&authority.config)?, source }))
    }

    async fn look(&mut self, authority: &Authority) {
        match self.try_look(authority).await {
            Ok(()) => authority.metrics.metadata_looked(true),
            Err(error) => {
                // The server is asked for the whole again, or one bad answer would hide the next.
                self.source.forget();
                authority.metrics.metadata_looked(false);
                let source = self.source.name();
                let error = chain(error.as_ref());
                tracing::warn!(%source, error, "no new metadata; what is known goes on counting");
            }
        }
    }

    async fn try_look(
        &mut self,
        authority: &Authority,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Fetched::Blob(blob) = self.look_at_source().await? else { return Ok(()) };
        // What is known already changes nothing; it is not even on record again.
        if authority.store.metadata_digest().await? == Some(sha256(&blob)) {
            return Ok(());
        }
        let (store, name) = (authority.store.as_ref(), self.source.name());
        let taken = take(store, &self.trusted, &blob, &name, authority.now()).await;
        let (stored, imported) = taken.map_err(Box::<TakeError>::new)?;
        authority.revocations.add(&imported.revocations);
        let (number, marked) = (stored.metadata.number(), imported.marked.len());
        tracing::info!(number, marked, "new metadata");
        Ok(())
    }

    async fn look_at_source(&mut self) -> Result<Fetched, SourceError> {
        self.source.look().await
    }
}

async fn warn_when_stale(authority: &Authority) {
    match authority.judging.policy(authority.store.as_ref()).await {
        Ok(policy) => {
            let metadata = policy.registration.metadata();
            let stale = metadata.is_some_and(|metadata| metadata.is_stale(authority.now()));
            authority.metrics.metadata_is_stale(stale);
            if stale {
                tracing::warn!("the metadata has run out; see `signet-authority metadata status`");
            }
        }
        Err(error) => tracing::warn!(%error, "cannot read the metadata"),
    }
}

/// Up to a tenth of `every`, at random.
fn jitter(every: Duration) -> Duration {
    let [byte] = crate::random::bytes::<1>();
    every.mul_f64(f64::from(byte) / 2560.0)
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
