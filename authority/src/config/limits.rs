//! Bounds on what one caller may take, and on what is done at once.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::Deserialize;

use super::values::{Rate, Timeout};

/// Bounds on what one caller may take, and on what is done at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once, on each listener.
    pub connections: NonZeroUsize,
    /// Of those, from one address.
    pub connections_per_address: NonZeroUsize,
    /// Requests under way at once, on each listener.
    pub requests: NonZeroUsize,
    /// Requests that wait for their turn, on each listener.
    pub waiting: usize,
    /// Requests of one address to one node, of callers without a certificate.
    pub address: Rate,
    /// Requests of one machine to one node.
    pub machine: Rate,
    /// Requests of one gateway to one node.
    pub gateway: Rate,
    /// Evidence that one machine hands in for tokens, over all nodes.
    pub machine_tokens: Rate,
    /// The same of all machines of one operator.
    pub operator_tokens: Rate,
    /// Wrong tickets of one address or machine, over all nodes.
    pub guesses: Rate,
    /// Verifiers that may follow the events at once, for each gateway's certificate.
    pub verifiers: usize,
    /// Time for the TLS handshake, and to send the first request's head.
    pub header_timeout: Timeout,
    /// Time to send the request's body.
    pub body_timeout: Timeout,
    /// How long a connection may stay until the next request's head is there.
    pub idle_timeout: Timeout,
    /// Time for a whole request.
    pub request_timeout: Timeout,
    /// Largest database; at the bound nothing new is granted. Without it the disk is the bound.
    pub database_mebibytes: Option<NonZeroU32>,
}

impl Default for Limits {
    fn default() -> Self {
        let many = |count: usize| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            connections: many(1024),
            connections_per_address: many(256),
            requests: many(256),
            waiting: 256,
            address: Rate::new(3000, 60),
            machine: Rate::new(1200, 60),
            gateway: Rate::new(120_000, 60),
            machine_tokens: Rate::new(120, 60),
            operator_tokens: Rate::new(600, 60),
            guesses: Rate::new(10, 900),
            verifiers: 64,
            header_timeout: Timeout::seconds(10),
            body_timeout: Timeout::seconds(10),
            idle_timeout: Timeout::seconds(300),
            request_timeout: Timeout::seconds(30),
            database_mebibytes: None,
        }
    }
}
