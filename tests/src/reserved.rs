//! Loopback addresses that stay ours while nobody listens on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

/// A loopback address that is ours for as long as this lives, also while nobody listens on it:
/// from below the range that the system gives to outgoing connections, and reserved towards other
/// houses by a name in the system's abstract namespace, which ends with us.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    _claim: UnixListener,
}

impl Reserved {
    /// Takes one.
    ///
    /// # Errors
    /// When none is free.
    pub fn take() -> io::Result<Self> {
        const PORTS: std::ops::Range<u16> = 12_000..20_000;
        for port in PORTS {
            let name = UnixAddress::from_abstract_name(format!("signet-house-port-{port}"))?;
            let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if TcpListener::bind(address).is_ok() {
                return Ok(Self { address, _claim: claim });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
