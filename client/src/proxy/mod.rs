//! `signet proxy`: tools of this user speak plain HTTP to it, or https inside a tunnel that ends here; it
//! speaks TLS with the TPM's key to the gateways that it was told of, and adds the session's token.
//!
//! What comes in is checked in `caller`: only the user, only the targets. `exchange` sends it on,
//! and once more where the gateway demands the person; `upstream` keeps the connections.

mod body;
mod caller;
mod connections;
mod exchange;
mod headers;
mod listen;
mod local_ca;
mod machine;
mod pac;
mod refusal;
mod replay;
mod secret;
mod serve;
mod target;
mod tunnel;
mod upstream;

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::{Mutex, watch};

pub use listen::{Listen, ListenParseError, Opened, ProxyListenError, open, secret_file};
pub use local_ca::{CaFolder, HostCa, LocalCaError};
pub use secret::SecretError;
pub use target::{Target, TargetError};

use crate::ceremony::Attendant;
use crate::daemon::{Bus, Means};
use crate::tls::TlsConfigError;
use crate::tokens::TokenCache;
use crate::workstation::OpenError;
use machine::Machine;
use target::Targets;
use tunnel::TunnelTls;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `signetd` is.
    pub bus: Bus,
    /// The gateways.
    pub targets: Vec<Target>,
    /// Their CAs, DER; the authority's where there are none.
    pub anchors: Option<Vec<Vec<u8>>>,
    /// Show certificates of the operator to the gateways, and not the machine's.
    pub as_operator: bool,
    /// Ask the person where a gateway demands it.
    pub step_up: bool,
    /// What to prove presence with.
    pub means: Means,
    /// Where the CAs of tunnels for https are; without it there are none.
    pub ca_folder: Option<CaFolder>,
    /// Words for the person, which prompts show as the requester's.
    pub reason: Option<String>,
}

/// Why the proxy cannot work.
#[derive(Debug, Error)]
pub enum OpenProxyError {
    /// The workstation cannot be used.
    #[error(transparent)]
    Workstation(#[from] OpenError),
    /// The CAs cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

/// The proxy.
pub struct Proxy<A> {
    options: Settings,
    targets: Targets,
    tunnel_tls: TunnelTls,
    cache: TokenCache,
    attendant: Arc<A>,
    machine: Mutex<Arc<Machine>>,
    /// Whose turn it is to ask the person, and when they said no last.
    asking: Arc<Mutex<Option<Instant>>>,
    end: watch::Receiver<bool>,
    ender: watch::Sender<bool>,
}

impl<A: Attendant + Send + 'static> Proxy<A> {
    /// Opens the workstation. Tokens come from `cache`; `attendant` asks the person.
    ///
    /// # Errors
    /// See [`OpenProxyError`].
    pub async fn new(
        options: Settings,
        cache: TokenCache,
        attendant: A,
    ) -> Result<Arc<Self>, OpenProxyError> {
        let machine = Machine::open(&options, &cache).await?;
        let (ender, end) = watch::channel(false);
        Ok(Arc::new(Self {
            targets: Targets(options.targets.clone()),
            tunnel_tls: TunnelTls::new(options.ca_folder.clone()),
            options,
            cache,
            attendant: Arc::new(attendant),
            machine: Mutex::new(Arc::new(machine)),
            asking: Arc::default(),
            end,
            ender,
        }))
    }
}

/// Resolves when the proxy ends.
async fn ending(mut end: watch::Receiver<bool>) {
    let _ = end.wait_for(|ends| *ends).await;
}
