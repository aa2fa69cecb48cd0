//! Both listeners, the revocation feed and the clean-up, until the stop.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use signet_evidence::UnixTime;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::events;
use crate::gateway::{GatewaySocket, SocketError};
use crate::in_force::FollowError;
use crate::journal::OpenJournalError;
use crate::keys::{self, KeyError, OwnCertificate, OwnCertificateError, Shown};
use crate::limits::Listener;
use crate::log;
use crate::metadata;
use crate::rounds::Rounds;
use crate::router;
use crate::state::Authority;
use crate::tls::{self, ClientCas, ClientCertificate, Serving, TlsError};

/// How often what has run out is forgotten.
const CLEAN_UP: Duration = Duration::from_secs(60);

/// The authority cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}; is another program using it?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A CA's certificate.
    #[error("a CA of the authority cannot issue")]
    Keys(#[from] KeyError),
    /// The authority's own certificate.
    #[error("the authority has no certificate of its own")]
    Own(#[from] OwnCertificateError),
    /// The journal of decisions.
    #[error("the journal of decisions cannot be used")]
    Journal(#[from] OpenJournalError),
    /// A gateway's own socket.
    #[error("a gateway's socket cannot be used")]
    Socket(#[from] SocketError),
    /// The first action policy.
    #[error("cannot put the action policy into force")]
    Policy(#[from] FollowError),
    /// TLS.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
}

/// Both listeners, bound: callers can connect from now on.
pub struct Server {
    authority: Arc<Authority>,
    shown: Shown,
    clients: Serving,
    gateways: Serving,
    sockets: Vec<GatewaySocket>,
}

impl Server {
    /// Binds both listeners.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn bind(authority: Arc<Authority>) -> Result<Self, ServeError> {
        authority.keys.check(&authority.config.keys())?;
        authority.in_force.begin(authority.store.as_ref(), authority.now()).await?;
        if let Some(path) = authority.config.journal() {
            let integrity = keys::load_integrity(&authority.config.keys())?;
            let (journal, store) = (&authority.journal, authority.store.as_ref());
            journal.open(&path, integrity, store, authority.now()).await?;
        }
        let settings = &authority.config.settings;
        let (keys, now) = (&authority.keys, authority.now());
        let (own, identity) = OwnCertificate::begin(&authority.config, now)?;
        let shown = Shown {
            own,
            identity: Arc::new(identity),
            machines: ClientCas::new(keys.device_ca.trusted(now), ClientCertificate::Optional)?,
            gateways: ClientCas::new(keys.gateway_ca.trusted(now), ClientCertificate::Required)?,
            judged_by: [keys.device_ca.trusted(now), keys.ak_ca.trusted(now)],
        };
        let (machines, identity) = (shown.machines.clone(), shown.identity.clone());
        let tls = (tls::server_config(identity, machines.clone())?, machines);
        let router = router::clients(authority.clone());
        let clients = (Listener::Clients, settings.listen);
        let clients = listener(&authority, clients, tls, router).await?;
        let (gateways, identity) = (shown.gateways.clone(), shown.identity.clone());
        let tls = (tls::server_config(identity, gateways.clone())?, gateways);
        let router = router::gateways(authority.clone());
        let gateways = (Listener::Gateways, *settings.gateway_listen.get_ref());
        let gateways = listener(&authority, gateways, tls, router).await?;
        let sockets = sockets(&authority.config)?;
        Ok(Self { authority, shown, clients, gateways, sockets })
    }

    /// Where clients and gateways can connect.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.clients.listener.local_addr()?, self.gateways.listener.local_addr()?))
    }

    /// Serves until `stop` becomes true, then lets requests under way finish.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Self { authority, shown, clients, gateways, sockets } = self;
        let mut tasks = JoinSet::new();
        let limits = authority.config.settings.limits;
        for socket in sockets {
            let router = gateways.router.clone();
            let connections = limits.connections.get();
            let timeouts = tls::Timeouts::from(&limits);
            tasks.spawn(socket.serve(router, connections, timeouts, stop.clone()));
        }
        tasks.spawn(tls::serve(clients, stop.clone()));
        tasks.spawn(tls::serve(gateways, stop.clone()));
        tasks.spawn(authority.revocations.clone().follow(authority.store.clone(), stop.clone()));
        let in_force = authority.in_force.clone();
        let (store, metrics) = (authority.store.clone(), authority.metrics.clone());
        tasks.spawn(in_force.follow(store, metrics, stop.clone()));
        tasks.spawn(events::beat(authority.clone(), stop.clone()));
        tasks.spawn(events::record(authority.clone(), stop.clone()));
        tasks.spawn(keys::keep(authority.clone(), shown, stop.clone()));
        tasks.spawn(log::keep_signed(authority.clone(), stop.clone()));
        tasks.spawn(metadata::keep_fresh(authority.clone(), stop.clone()));
        tasks.spawn(hand_over(authority.clone(), stop.clone()));
        tasks.spawn(clean_up(authority.clone(), stop));
        while tasks.join_next().await.is_some() {}
        // Requests under way may have noted more; what the store does not take now, it gets at the next start.
        if let Err(error) = authority.journal.hand_over(authority.store.as_ref()).await {
            tracing::warn!(%error, "decisions stay in the journal until the next start");
        }
    }
}

/// The sockets of those gateways that have one.
fn sockets(config: &Config) -> Result<Vec<GatewaySocket>, SocketError> {
    let gateways = config.settings.gateways.iter();
    let own = gateways.filter_map(|gateway| gateway.socket.as_ref().map(|path| (gateway, path)));
    own.map(|(gateway, path)| {
        let uids = gateway.socket_uids.clone().unwrap_or_default();
        let name = gateway.spiffe_id.get_ref().as_str();
        GatewaySocket::bind(config.resolve(path.get_ref()), uids, name)
    })
    .collect()
}

async fn listener(
    authority: &Authority,
    (which, address): (Listener, SocketAddr),
    (tls, client_cas): (ServerConfig, Arc<ClientCas>),
    router: axum::Router,
) -> Result<Serving, ServeError> {
    let config = &authority.config;
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })?;
    Ok(Serving {
        listener,
        tls: Arc::new(tls),
        client_cas,
        router,
        which,
        limits: config.settings.limits,
        metrics: authority.metrics.clone(),
    })
}

/// The names under which callers reach this authority: the issuer's host and the listeners' addresses.
pub(crate) fn server_names(config: &Config) -> Vec<String> {
    let settings = &config.settings;
    let authority = settings.issuer.as_str().trim_start_matches("https://");
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    let mut names = vec![host.to_owned()];
    for address in [settings.listen, *settings.gateway_listen.get_ref()] {
        let ip: IpAddr = address.ip();
        if !ip.is_unspecified() {
            names.push(ip.to_string());
        }
        if ip.is_loopback() {
            names.push("localhost".to_owned());
        }
    }
    names.sort();
    names.dedup();
    names
}

async fn hand_over(authority: Arc<Authority>, stop: watch::Receiver<bool>) {
    authority.journal.keep_handing_over(authority.store.clone(), stop).await;
}

async fn clean_up(authority: Arc<Authority>, stop: watch::Receiver<bool>) {
    let mut rounds = Rounds::every(CLEAN_UP, stop);
    while rounds.next().await {
        let now = authority.now();
        match authority.store.forget_expired(now).await {
            Ok(tokens) => authority.metrics.expired(tokens),
            Err(error) => tracing::warn!(%error, "cannot forget what has run out"),
        }
        let kept = &authority.config.settings.audit;
        let age = i64::try_from(kept.evidence_for.duration().as_secs()).unwrap_or(i64::MAX);
        let (before, bytes) = match kept.keep_evidence {
            true => (now.0.saturating_sub(age), u64::from(kept.evidence_mebibytes) << 20),
            false => (i64::MAX, 0),
        };
        if let Err(error) = authority.store.forget_evidence(UnixTime(before), bytes).await {
            tracing::warn!(%error, "cannot forget old evidence");
        }
        authority.enrolments.forget_expired(now);
    }
}
