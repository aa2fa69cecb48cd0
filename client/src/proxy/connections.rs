//! Connections to the gateways, apart for each certificate that is shown: the machine's, and those of the
//! operator, which end with their tokens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;

use super::target::Target;
use super::upstream::Upstream;
use crate::tls::{ClientIdentity, TlsConfigError};
use crate::tokens::BoundToken;
use crate::workstation::Workstation;

/// Certificates of the operator with connections at once: the one of now, and the one before, whose requests are
/// still under way.
const MOST: usize = 2;

/// Every way out of the proxy.
pub(super) struct Connections {
    targets: Vec<Target>,
    tls: ClientConfig,
    identity: ClientIdentity,
    machine: Vec<Arc<Upstream>>,
    operator: Mutex<VecDeque<Pool>>,
}

/// Connections under one certificate of the operator.
struct Pool {
    certificate: Vec<Vec<u8>>,
    upstreams: Vec<Arc<Upstream>>,
}

impl Connections {
    /// None yet, to `targets` under `anchors`.
    pub(super) fn new(
        workstation: &Workstation,
        targets: &[Target],
        anchors: Option<&[Vec<u8>]>,
    ) -> Result<Arc<Self>, TlsConfigError> {
        let tls = workstation.tls_towards(anchors)?;
        let machine = targets.iter().map(|target| Upstream::new(target.clone(), &tls)).collect();
        Ok(Arc::new(Self {
            targets: targets.to_vec(),
            tls,
            identity: workstation.identity().clone(),
            machine,
            operator: Mutex::default(),
        }))
    }

    /// The connections to a target that show the certificate of `token`. When that ends they are closed, but for
    /// what is under way.
    pub(super) fn upstream(
        self: &Arc<Self>,
        target: usize,
        token: &BoundToken,
    ) -> Option<Arc<Upstream>> {
        if token.certificate.is_empty() {
            return self.machine.get(target).cloned();
        }
        let mut operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = operator.iter().find(|pool| pool.certificate == token.certificate) {
            return pool.upstreams.get(target).cloned();
        }
        let upstreams = (0..self.targets.len()).filter_map(|target| self.once(target, token));
        let pool = Pool { certificate: token.certificate.clone(), upstreams: upstreams.collect() };
        let upstream = pool.upstreams.get(target).cloned();
        operator.push_front(pool);
        operator.truncate(MOST);
        self.close_after(token.life, token.certificate.clone());
        upstream
    }

    /// The same for one request, whose certificate serves no other.
    pub(super) fn once(&self, target: usize, token: &BoundToken) -> Option<Arc<Upstream>> {
        if token.certificate.is_empty() {
            return self.machine.get(target).cloned();
        }
        let mut tls = self.tls.clone();
        tls.client_auth_cert_resolver = Arc::new(self.identity.under(&token.certificate));
        Some(Upstream::new(self.targets.get(target)?.clone(), &tls))
    }

    fn close_after(self: &Arc<Self>, life: Duration, certificate: Vec<Vec<u8>>) {
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(life).await;
            let Some(connections) = connections.upgrade() else { return };
            let operator = connections.operator.lock();
            let mut operator = operator.unwrap_or_else(PoisonError::into_inner);
            operator.retain(|pool| pool.certificate != certificate);
        });
    }
}
