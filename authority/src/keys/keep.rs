//! Keys and certificates that change while the authority serves.

use std::sync::Arc;
use std::time::Duration;

use signet_evidence::UnixTime;
use tokio::sync::watch;

use super::{SERVER_LIFETIME, Urgency, newest, rotate, server_identity};
use crate::rounds::Rounds;
use crate::server::server_names;
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};
use crate::tls::Identity;

/// How often it is looked whether the keys were changed.
const LOOK: Duration = Duration::from_secs(1);

/// Takes new token keys, makes them when they are due, and renews the authority's own certificate, until
/// `stop` becomes true.
pub async fn keep(authority: Arc<Authority>, identity: Arc<Identity>, stop: watch::Receiver<bool>) {
    let mut rounds = Rounds::every(LOOK, stop);
    let third = i64::try_from(SERVER_LIFETIME.as_secs() / 3).unwrap_or(i64::MAX);
    let mut issued = authority.now();
    let mut warned = false;
    while rounds.next().await {
        let now = authority.now();
        let outcome = look(&authority, now).await;
        match outcome {
            Ok(()) => warned = false,
            Err(error) if !warned => {
                warned = true;
                tracing::error!(error = &*error, "the token keys cannot be changed");
            }
            Err(_) => {}
        }
        if now.0 - issued.0 >= third {
            renew(&authority, &identity, now);
            issued = now;
        }
    }
}

async fn look(
    authority: &Authority,
    now: UnixTime,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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

fn renew(authority: &Authority, identity: &Identity, now: UnixTime) {
    let names = server_names(&authority.config);
    let issued = server_identity(&authority.keys.server_ca, &names, now);
    let replaced = match issued {
        Ok(issued) => identity.replace(issued).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match replaced {
        Ok(()) => tracing::info!("this authority has a new certificate of its own"),
        Err(error) => tracing::error!(error, "cannot renew this authority's own certificate"),
    }
}
