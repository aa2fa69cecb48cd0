//! `serve`: both listeners until a signal.

use std::error::Error;
use std::path::Path;

use anyhow::Context;
use signet_authority::config::Config;
use signet_authority::in_force::{self, Order, Slot};
use signet_authority::policy::ActionPolicySet;
use signet_authority::server::Server;
use signet_authority::state::{Authority, system_clock};
use signet_authority::store::Event;
use signet_authority::trace::{self, Exporter};
use signet_process::memory::lock_memory;
use signet_process::supervision;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub(super) async fn run(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let exporter = start_log(&config)?;
    if let Err(error) = lock_memory() {
        tracing::warn!("{error}");
    }
    let authority = Authority::start(config, system_clock()).await?;
    if authority.enrolment.makers.is_empty() {
        tracing::warn!("ek_roots holds no certificate: no machine can enrol");
    }
    let server = Server::bind(authority.clone()).await?;
    let (clients, gateways) = server.addresses()?;
    let (stop, stopped) = watch::channel(false);
    let metrics = authority.metrics.clone();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; requests under way may finish");
        supervision::stopping();
        let _ = stop.send(true);
    });
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            ship_policy(&authority).await;
        }
    });
    let exporting = exporter.map(|exporter| tokio::spawn(exporter.run(metrics, stopped.clone())));
    // A supervisor or test waits for this line: from here on callers can connect.
    tracing::info!(%clients, %gateways, "ready");
    supervision::ready();
    tokio::select! {
        () = server.run(stopped) => {}
        () = supervision::stay_alive() => {}
    }
    tracing::info!("stopped");
    if let Some(exporting) = exporting {
        // The spans of the last requests.
        let _ = exporting.await;
    }
    Ok(())
}

/// What `policy activate` does, for SIGHUP: puts the folder of the settings into force, for all nodes.
/// A folder that is not sound changes nothing.
async fn ship_policy(authority: &Authority) {
    let config = &authority.config;
    let folder = config.resolve(config.settings.policy.directory.get_ref());
    let set = match ActionPolicySet::load(&folder) {
        Ok(set) => set,
        Err(error) => return tracing::error!(folder = %folder.display(), "{error}"),
    };
    if set.version() == authority.in_force.sets().live.version() {
        return tracing::info!("the folder's policy is in force already");
    }
    let order = Order {
        slot: Slot::Live,
        event: Event::PolicyActivate,
        by: "SIGHUP".to_owned(),
        reason: String::new(),
    };
    let put = in_force::put(authority.store.as_ref(), Some(&set), order, authority.now()).await;
    let taken = match put {
        Ok(_) => authority.in_force.refresh(authority.store.as_ref()).await.map(|_| ()),
        Err(error) => {
            return tracing::error!(error = &error as &dyn Error, "the policy stays as it was");
        }
    };
    match taken {
        Ok(()) => tracing::info!(version = %set.version(), "policy in force"),
        Err(error) => tracing::error!(
            error = &error as &dyn Error,
            "the policy in force cannot be taken over"
        ),
    }
}

/// Standard error, and the collector where there is one.
fn start_log(config: &Config) -> anyhow::Result<Option<Exporter>> {
    let filter = EnvFilter::try_from_env("SIGNET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that nobody reads any more must not stop the authority.
    let log =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let log = match config.settings.log.json {
        true => log.json().with_filter(filter).boxed(),
        false => log.with_filter(filter).boxed(),
    };
    let (spans, exporter) = match &config.settings.telemetry {
        Some(settings) => {
            let (layer, exporter) = trace::layer(settings)?;
            let ours = Targets::new().with_target("signet_authority", LevelFilter::DEBUG);
            // Events are for the log.
            let ours = ours.with_default(LevelFilter::OFF);
            (Some(layer.with_filter(ours)), Some(exporter))
        }
        None => (None, None),
    };
    tracing_subscriber::registry().with(log).with(spans).init();
    Ok(exporter)
}
