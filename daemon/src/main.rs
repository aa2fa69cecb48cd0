//! `signetd`: reads its configuration, serves D-Bus, and ends when it is told to.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use signet_daemon::authenticator::{KeyRing, Source, handed_socket};
use signet_daemon::boot_log::BootLog;
use signet_daemon::bus::{self, Agents, Parts, Service};
use signet_daemon::config::Config;
use signet_daemon::desk::{Desk, Services};
use signet_daemon::enrol::Enroller;
use signet_daemon::platform::Platform;
use signet_daemon::platform::fprintd::Reader;
use signet_daemon::polkit::Polkit;
use signet_daemon::sessions::Sessions;
use signet_daemon::state::StateDir;
use signet_daemon::tpm::{Tpm, TpmConfig};
use signet_manual::Section;
use signet_process::memory::{forbid_dumps, lock_memory};
use signet_process::supervision;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "Examples:
  signetd --config /etc/signet/signetd.toml
  signetd --config /etc/signet/signetd.toml --check
  signetd --config /etc/signet/signetd.toml --forget

The configuration may set bus, tcti, state_dir, pcrs, authenticators, prompts, number_matching, [timeouts],
[limits] and [sessions]; everything has a default, so an empty file is one. SIGHUP makes it read limits
and timeouts again. RUST_LOG=signet_daemon=debug tells more.";

/// Proves over D-Bus that a person was present at this machine
#[derive(Debug, Parser)]
#[command(name = "signetd", version, after_help = EXAMPLES)]
struct Arguments {
    /// Configuration file (TOML); without it, all values are the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long, conflicts_with = "forget")]
    check: bool,
    /// Forget the enrolment of this machine and end; signetd must not run
    #[arg(long)]
    forget: bool,
}

fn main() -> ExitCode {
    if let Some(written) = signet_manual::answer(Arguments::command, Section::Administration) {
        return written;
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing better can be done when stderr is gone.
            let _ = writeln!(std::io::stderr(), "signetd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    forbid_dumps()?;
    let config = arguments.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    if arguments.check {
        writeln!(std::io::stdout(), "the configuration is valid")?;
        return Ok(());
    }
    if arguments.forget {
        StateDir::forget(&config.state_dir)?;
        writeln!(std::io::stdout(), "this machine is not enrolled any more")?;
        return Ok(());
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // The journal has the time already.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .without_time()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    if let Err(error) = lock_memory() {
        tracing::warn!("{error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .context("cannot start: the system gives no event queue or thread")?;
    let served = runtime.block_on(serve(config, arguments.config.as_deref()));
    // A TPM that hangs must not keep us from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(mut config: Config, file: Option<&Path>) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let state = StateDir::open(&config.state_dir)?;
    let stored = state.stored();
    let mut tpm_config = TpmConfig::new(config.tcti.as_str(), stored.ak_salt);
    tpm_config.tls_key = stored.key().cloned();
    tpm_config.pcr_bank = config.pcr_bank;
    tpm_config.handles = config.tpm_handles;
    tpm_config.tls_pcrs.clone_from(&config.tls_key_pcrs);
    let tpm = Tpm::start(tpm_config)?;
    tokio::spawn(warm_up(tpm.in_background(), config.pcrs.clone()));
    let keys = KeyRing::new(Source::choose(&config.authenticators, handed_socket())?);
    let reader = Reader::new(config.fprintd_bus().clone(), config.danger_accept_virtual_reader);
    let platform = Platform::new(tpm.clone(), state.clone(), reader, config.tpm_pin_min_length);
    let agents = Agents::default();
    let services = Services {
        tpm: tpm.clone(),
        pcrs: config.pcrs.clone(),
        keys: keys.clone(),
        platform: platform.clone(),
        boot_log: BootLog::new(&config.boot_log),
        prompts: config.prompts,
        number_matching: config.number_matching.clone(),
        agents: agents.clone(),
    };
    let desk = Desk::new(services, config.limits());
    let enroller = Enroller::new(tpm.clone(), state.clone(), config.pcrs.clone());
    if config.danger_skip_polkit {
        tracing::warn!("danger_skip_polkit is set: every caller may do everything");
    }
    let polkit = Polkit::new(config.danger_skip_polkit);
    let sessions = Sessions::open(config.sessions, &config.state_dir);
    let parts = Parts { enroller, state, tpm, keys, platform, polkit, sessions };
    let service = Service::new(desk.clone(), parts, config.timeouts);
    let ready = || {
        tracing::info!("ready");
        supervision::ready();
    };
    let bus = config.bus.clone();
    let reloading = async {
        while hangup.recv().await.is_some() {
            supervision::reloading();
            reload(&mut config, file, &desk);
            supervision::ready();
        }
        std::future::pending().await
    };
    let served = tokio::select! {
        served = bus::serve(&bus, service, desk.clone(), ready) => Ok(served?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = supervision::stay_alive() => Ok(()),
        () = reloading => Ok(()),
    };
    supervision::stopping();
    served
}

/// Reads the configuration again. What is wrong in it changes nothing.
fn reload(config: &mut Config, file: Option<&Path>, desk: &Desk) {
    let loaded = match file.map(Config::load).transpose() {
        Ok(loaded) => loaded.unwrap_or_default(),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("{error:#}; nothing changed");
            return;
        }
    };
    config.timeouts = loaded.timeouts;
    config.limits = loaded.limits;
    desk.set_limits(config.limits());
    tracing::info!("limits and timeouts were read again");
    if *config != loaded {
        tracing::warn!("other values changed as well: restart signetd for them to count");
    }
}

/// The self-test, and the keys loaded before anybody waits for them.
async fn warm_up(tpm: Tpm, pcrs: Vec<u8>) {
    let ready = async {
        tpm.self_test().await?;
        tpm.prepare(&pcrs).await
    };
    if let Err(error) = ready.await {
        tracing::warn!("the TPM is not ready: {error}");
    }
}
