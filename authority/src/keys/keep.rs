//! Keys and certificates that change while the authority serves.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use signet_evidence::UnixTime;
use tokio::sync::watch;

use super::{CERTIFICATE_AUTHORITIES, OwnCertificate, Urgency, newest, rotate};
use crate::rounds::Rounds;
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};
use crate::tls::{ClientCas, Identity};
use crate::trust::anchors;

/// How often it is looked whether the keys were changed.
const LOOK: Duration = Duration::from_secs(1);

/// Why keys or certificates cannot be changed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the listeners show, and whose certificates they take.
pub struct Shown {
    /// What the certificate came of.
    pub own: OwnCertificate,
    /// The authority's own certificate.
    pub identity: Arc<Identity>,
    /// The CAs of machines.
    pub machines: Arc<ClientCas>,
    /// The CAs of gateways.
    pub gateways: Arc<ClientCas>,
    /// The CAs of machines and attestation keys that evidence is judged by.
    pub judged_by: [Vec<CertificateDer<'static>>; 2],
}

/// Takes new keys and certificates, makes them when they are due, and renews the authority's own
/// certificate, until `stop` becomes true.
pub async fn keep(authority: Arc<Authority>, mut shown: Shown, stop: watch::Receiver<bool>) {
    let mut rounds = Rounds::every(LOOK, stop);
    let mut warned = [false; 4];
    while rounds.next().await {
        let now = authority.now();
        let token = token_keys(&authority, now).await;
        let log = log_keys(&authority, now).await;
        let cas = certificate_authorities(&authority, &mut shown, now);
        let certificate = own_certificate(&authority, &mut shown, now);
        let what = ["the token keys", "the audit log's keys", "the CAs", "the own certificate"];
        for ((outcome, warned), what) in
            [token, log, cas, certificate].into_iter().zip(&mut warned).zip(what)
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

fn certificate_authorities(
    authority: &Authority,
    shown: &mut Shown,
    now: UnixTime,
) -> Result<(), Failure> {
    let (keys, directory) = (&authority.keys, authority.config.keys());
    for (ca, (_, name)) in keys.authorities().into_iter().zip(CERTIFICATE_AUTHORITIES) {
        if ca.reload(&directory, now)? {
            tracing::info!(trusted = ca.trusted(now).len(), "the keys of the {name} changed");
        }
    }
    let judged_by = [keys.device_ca.trusted(now), keys.ak_ca.trusted(now)];
    if shown.judged_by != judged_by {
        let (device, ak) = anchors(keys, now)?;
        authority.judging.trust(device, ak);
        shown.judged_by = judged_by;
    }
    for (listener, ca) in [(&shown.machines, &keys.device_ca), (&shown.gateways, &keys.gateway_ca)]
    {
        if listener.replace(ca.trusted(now))? {
            tracing::info!("other client certificates count from now on");
        }
    }
    Ok(())
}

fn own_certificate(authority: &Authority, shown: &mut Shown, now: UnixTime) -> Result<(), Failure> {
    if shown.own.renew(&authority.config, &shown.identity, now)? {
        tracing::info!("this authority has a new certificate of its own");
    }
    Ok(())
}
