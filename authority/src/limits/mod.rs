//! How much one caller may ask, and how much is done at once.
//!
//! What protects this node (requests of an address, a machine or a gateway, requests under way,
//! connections) is counted here, in memory of bounded size. What must hold over all nodes (evidence
//! handed in for tokens, guesses at tickets) is counted by the store, in the transaction that writes the
//! decision ([`crate::store::Tally`]).

mod bucket;
mod caller;
mod door;
mod gate;
mod over_nodes;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use caller::{Caller, ClientAddress};
pub use door::{Door, Listener};
pub use gate::Load;

pub(crate) use over_nodes::{guesses, refuse_if_reached, tokens};

use bucket::Buckets;
use caller::network;

use crate::config::Limits;

/// What ran into its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Requests of one address, without a certificate.
    Address,
    /// Requests of one machine.
    Machine,
    /// Requests of one gateway.
    Gateway,
    /// Evidence that one machine hands in for tokens, over all nodes.
    MachineTokens,
    /// The same of all machines of an operator.
    OperatorTokens,
    /// Tickets that somebody guesses, over all nodes.
    Guesses,
    /// Event streams of one gateway.
    Verifiers,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Address,
        Self::Machine,
        Self::Gateway,
        Self::MachineTokens,
        Self::OperatorTokens,
        Self::Guesses,
        Self::Verifiers,
    ];

    /// Its name in settings, metrics and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Machine => "machine",
            Self::Gateway => "gateway",
            Self::MachineTokens => "machine_tokens",
            Self::OperatorTokens => "operator_tokens",
            Self::Guesses => "guesses",
            Self::Verifiers => "verifiers",
        }
    }
}

/// A caller who has to wait.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("limits.{} is reached; try again in {} s", .limit.as_str(), .retry_after.as_secs())]
pub struct Limited {
    /// What is reached.
    pub limit: Limit,
    /// When to try again.
    pub retry_after: Duration,
}

/// Requests of callers at this node.
#[derive(Debug)]
pub struct Callers {
    addresses: Buckets<IpAddr>,
    machines: Buckets<std::sync::Arc<str>>,
    gateways: Buckets<std::sync::Arc<str>>,
}

impl Callers {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            addresses: Buckets::new(limits.address),
            machines: Buckets::new(limits.machine),
            gateways: Buckets::new(limits.gateway),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Limited`].
    pub fn count(&self, caller: &Caller, now: Instant) -> Result<(), Limited> {
        let (limit, taken) = match caller {
            Caller::Address(address) => {
                (Limit::Address, self.addresses.take(&network(*address), now))
            }
            Caller::Machine(name) => (Limit::Machine, self.machines.take(name, now)),
            Caller::Gateway(name) => (Limit::Gateway, self.gateways.take(name, now)),
        };
        taken.map_err(|full| {
            if full.first {
                tracing::warn!(%caller, limit = limit.as_str(), "a caller asks too much; it has to wait");
            }
            Limited { limit, retry_after: full.wait }
        })
    }
}
