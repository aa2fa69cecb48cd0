//! Tunnels (CONNECT): what is inside is answered here, plain HTTP as it is, and https with a certificate
//! of the user's own CA.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::body::{Body, full};
use super::caller::{Door, Inside, Tunnel};
use super::local_ca::{CaFolder, LEAF_LIFETIME, LocalCaError};
use super::refusal::Refusal;
use super::serve::{HEAD, Seat};
use super::target::Target;
use super::{Proxy, ending};
use crate::ceremony::Attendant;
use crate::renewal::unix_now;
use crate::tls;

/// TLS inside tunnels: a certificate for each host, made when it is needed first.
pub(super) struct TunnelTls {
    folder: Option<CaFolder>,
    made: Mutex<HashMap<String, Made>>,
}

struct Made {
    /// In Unix seconds.
    at: i64,
    config: Arc<ServerConfig>,
}

impl Made {
    /// Whether half its life is still to come. A clock that went back makes it none.
    fn is_fresh(&self, now: i64) -> bool {
        let half = i64::try_from(LEAF_LIFETIME.as_secs() / 2).unwrap_or(0);
        (0..half).contains(&now.saturating_sub(self.at))
    }
}

impl TunnelTls {
    /// With the CAs of `folder`.
    pub(super) fn new(folder: Option<CaFolder>) -> Self {
        Self { folder, made: Mutex::default() }
    }

    /// TLS as `target`.
    fn of(&self, target: &Target, now: i64) -> Result<Arc<ServerConfig>, LocalCaError> {
        let host = target.bare_host();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(host).filter(|made| made.is_fresh(now)) {
            return Ok(Arc::clone(&made.config));
        }
        let folder = self.folder.as_ref().ok_or(LocalCaError::NoFolder)?;
        let (certificate, key) = folder.open(host, now)?.leaf(now)?;
        let config = Arc::new(tls::server_config(certificate, key)?);
        made.insert(host.to_owned(), Made { at: now, config: Arc::clone(&config) });
        Ok(config)
    }
}

impl<A: Attendant + Send + 'static> Proxy<A> {
    /// Opens a tunnel, and answers what comes through it.
    pub(super) fn tunnel(
        self: &Arc<Self>,
        request: &mut Request<Incoming>,
        tunnel: Tunnel,
        door: &Door,
        seat: &Seat,
    ) -> Result<Response<Body>, Refusal> {
        let target = self.targets.get(tunnel.target).ok_or(Refusal::WhichTarget)?;
        let tls = match tunnel.inside {
            Inside::Plain => None,
            Inside::Tls => Some(TlsAcceptor::from(self.tunnel_tls.of(target, unix_now())?)),
        };
        let door = Door::Tunnel { tunnel, secret: door.secret().cloned() };
        let (proxy, seat) = (Arc::clone(self), Arc::clone(seat));
        let opened = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let Ok(stream) = opened.await.map(TokioIo::new) else { return };
            let Some(tls) = tls else {
                return Box::pin(proxy.converse(stream, door, seat)).await;
            };
            let shaken = tokio::select! {
                shaken = timeout(HEAD, tls.accept(stream)) => shaken,
                () = ending(proxy.end.clone()) => return,
            };
            match shaken {
                Ok(Ok(stream)) => Box::pin(proxy.converse(stream, door, seat)).await,
                // The tool says it best: for want of trust in the CA, as a rule.
                Ok(Err(error)) => tracing::debug!(%error, "a tool ended its TLS handshake"),
                Err(_) => {}
            }
        });
        Ok(Response::new(full("")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_serves_for_half_its_life() {
        let home = tempfile::tempdir().unwrap();
        let tls = TunnelTls::new(CaFolder::find(Some(home.path().into()), None));
        let target = Target::parse("https://[::1]:8443").unwrap();
        let first = tls.of(&target, 1_000_000).unwrap();
        let same = |now| Arc::ptr_eq(&first, &tls.of(&target, now).unwrap());
        assert!(same(1_000_000) && same(1_000_000 + 43_199));
        assert!(!same(1_000_000 + 43_200));
        let nowhere = TunnelTls::new(CaFolder::find(Some("relative".into()), None));
        assert!(matches!(nowhere.of(&target, 0), Err(LocalCaError::NoFolder)));
    }
}
