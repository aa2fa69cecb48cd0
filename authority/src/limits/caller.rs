//! Who asks, as far as limits are concerned.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;

use super::Listener;
use crate::gateway::SocketGateway;
use crate::tls::PeerCertificate;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Whom a request counts for. Whoever has a certificate of ours counts as its owner, wherever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody without a certificate.
    Address(IpAddr),
    /// A machine, by the name in its certificate.
    Machine(Arc<str>),
    /// A gateway, by the name in its certificate or of its socket.
    Gateway(Arc<str>),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{}", network(*address)),
            Self::Machine(name) | Self::Gateway(name) => f.write_str(name),
        }
    }
}

impl Caller {
    pub(super) fn of(known: &Extensions, listener: Listener) -> Self {
        if let Some(gateway) = known.get::<SocketGateway>() {
            return Self::Gateway(gateway.name());
        }
        match (known.get::<PeerCertificate>(), listener) {
            (Some(certificate), Listener::Clients) => Self::Machine(certificate.owner()),
            (Some(certificate), Listener::Gateways) => Self::Gateway(certificate.owner()),
            // Without a connection there is no address: whoever calls so shares one.
            (None, _) => {
                let address = known.get::<ClientAddress>();
                Self::Address(address.map_or(Ipv4Addr::UNSPECIFIED.into(), |known| known.0))
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Self::of(&parts.extensions, Listener::Clients)))
    }
}

/// What counts as one address: of IPv6 the network of 64 bits, of which every host has all addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hosts_addresses_are_one_caller() {
        for (address, counts_as) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ] {
            assert_eq!(network(address.parse().unwrap()).to_string(), counts_as);
        }
    }
}
