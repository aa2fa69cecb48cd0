//! Which gateway asks: known by the certificate of its own connection, or by the Unix socket that is
//! its own, and by the settings.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use signet_evidence::RejectionCode;

use crate::caller::{Peer, require_certificate};
use crate::config::GatewaySettings;
use crate::decision;
use crate::problem::{Audience, Problem};
use crate::state::Authority;
use crate::store::{AuditEntry, Decision, Event};

/// The SPIFFE ID of the gateway whose socket a request came over; the socket has checked its user.
#[derive(Clone, Debug)]
pub struct SocketGateway(pub(super) Arc<str>);

impl SocketGateway {
    /// That SPIFFE ID.
    pub(crate) fn name(&self) -> Arc<str> {
        self.0.clone()
    }
}

/// Whoever asks.
#[derive(Clone, Debug)]
pub struct Asker {
    peer: Peer,
    socket: Option<SocketGateway>,
}

impl From<Peer> for Asker {
    fn from(peer: Peer) -> Self {
        Self { peer, socket: None }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let socket = parts.extensions.get::<SocketGateway>().cloned();
        Ok(Self { peer: Peer::from_request_parts(parts, state).await?, socket })
    }
}

/// The settings of the gateway that this connection belongs to.
///
/// # Errors
/// `policy-denied`, written to the audit table, when the settings do not name it.
pub async fn require_gateway(
    authority: &Authority,
    asker: impl Into<Asker>,
    event: Event,
) -> Result<&GatewaySettings, Problem> {
    let Asker { peer, socket } = asker.into();
    let name = match socket {
        Some(SocketGateway(name)) => Some(name.to_string()),
        None => {
            let certificate = require_certificate(authority, peer, event).await?;
            certificate.spiffe_id().map(str::to_owned)
        }
    };
    let known = |gateway: &&GatewaySettings| {
        name.as_deref().is_some_and(|name| gateway.spiffe_id.get_ref().as_str() == name)
    };
    if let Some(gateway) = authority.config.settings.gateways.iter().find(known) {
        return Ok(gateway);
    }
    let code = RejectionCode::PolicyDenied;
    let mut entry = AuditEntry::new(authority.now(), event, Decision::Refused(code));
    entry.gateway = name;
    Err(decision::refuse(authority, entry, &code.into(), Audience::Enrolled).await)
}
