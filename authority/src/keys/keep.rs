//! Keys and certificates that change while the authority serves.

use std::sync::Arc;
use std::time::Duration;

use signet_evidence::UnixTime;
use tokio::sync::watch;

use super::{OwnCertificate, Urgency, newest, rotate};
use crate::rounds::Rounds;
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};
use crate::tls::Identity;

/// How often it is looked whether the keys were changed.
const LOOK: Duration = Duration::from_secs(1);

/// Why keys or certificates cannot be changed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Takes new keys and certificates, makes them when they are due, and renews the authority's own
/// certificate, until `stop` becomes true.
pub async fn keep(
    authority: Arc<Authority>,
    mut own: OwnCertificate,
    identity: Arc<Identity>,
    stop: watch::Receiver<bool>,
) {
    let mut rounds = Rounds::every(LOOK, stop);
    let mut warned = [false; 3];
    while rounds.next().await {
        let now = authority.now();
        let token = token_keys(&authority, now).await;
        let log = log_keys(&authority, now).await;
        let certificate = own_certificate(&authority, &mut own, &identity, now);
        let what = ["the token keys", "the audit log's keys", "this authority's own certificate"];
        for ((outcome, warned), what) in
            [token, log, certificate].into_iter().zip(&mut warned).zip(what)
        {
            // Once until it goes well again.
            if let Err(error) = &outcome
                && !*warned
            {
                tracing::error!(error = &**error, "{what} cannot be changed");
            }
            *warned = outcome.is_err();
        }
    }
}

async fn token_keys(authority: &Authority, now: UnixTime) -> Result<(), Failure> {
    let directory = authority.config.keys();
    if let Some(often) = &authority.config.settings.rotate_token_key {
        let often = i64::try_from(often.get_ref().duration().as_secs()).unwrap_or(i64::MAX);
        let begun = newest(&directory)?.0;
        if now.0.saturating_sub(begun) >= often
            && let Some(file) = rotate(&directory, now, Urgency::Scheduled)?
        {
            let mut entry = AuditEntry::new(now, Event::Keys, Decision::Allowed);
            entry.detail = format!("{file} will sign tokens, as scheduled");
            authority.store.append_audit(&entry).await?;
            authority.metrics.decided(entry.event, entry.decision);
        }
    }
    if authority.keys.token.reload(&directory)? {
        tracing::info!(
            kid = authority.keys.token.signer(now).key_id(),
            published = authority.keys.token.published(now).len(),
            "the token keys changed"
        );
    }
    Ok(())
}

async fn log_keys(authority: &Authority, now: UnixTime) -> Result<(), Failure> {
    if authority.log.reload(&authority.config.keys(), now)? {
        let key = authority.log.key();
        tracing::info!(%key, "the audit log's keys changed");
        // The log grows, so that there is a checkpoint by the new key also where nothing else happens.
        let mut entry = AuditEntry::new(now, Event::Keys, Decision::Allowed);
        entry.detail = format!("{key} signs the log here from now on");
        authority.store.append_audit(&entry).await?;
        authority.metrics.decided(entry.event, entry.decision);
    }
    Ok(())
}

fn own_certificate(
    authority: &Authority,
    own: &mut OwnCertificate,
    identity: &Identity,
    now: UnixTime,
) -> Result<(), Failure> {
    if own.renew(&authority.config, identity, now)? {
        tracing::info!("this authority has a new certificate of its own");
    }
    Ok(())
}
