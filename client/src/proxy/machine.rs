//! This machine's identity as the proxy shows it, and the connections that were made with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::refusal::Refusal;
use super::{OpenProxyError, Settings};
use crate::ceremony::Attendant;
use crate::renewal::unix_now;
use crate::tokens::{BoundToken, TokenCache, Tokens};
use crate::workstation::Workstation;

/// How often it is looked whether the certificate is still the one that the machine has.
const LOOK: Duration = Duration::from_secs(60);

/// An enrolled workstation with its certificate of now; replaced when there is another certificate.
pub(super) struct Machine {
    tokens: Tokens,
    connections: Arc<Connections>,
    looked: Instant,
}

impl Machine {
    /// Opens the workstation and renews its certificate when it is time.
    pub(super) async fn open(
        settings: &Settings,
        cache: &TokenCache,
    ) -> Result<Self, OpenProxyError> {
        let (workstation, _) = Workstation::open_renewed(&settings.bus).await?;
        let workstation = workstation.saying(settings.reason.clone());
        let anchors = settings.anchors.as_deref();
        let connections = Connections::new(&workstation, &settings.targets, anchors)?;
        let tokens = Tokens::new(workstation, cache.clone());
        let tokens = if settings.as_operator { tokens.as_operator() } else { tokens };
        Ok(Self { tokens, connections, looked: Instant::now() })
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(super) fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Whether it is time to look whether the machine has another certificate: a token that another
    /// program keeps for one says so at once.
    fn is_due(&self) -> bool {
        let bound = self.tokens.load().map_or(true, |record| self.tokens.fits(&record));
        !bound || self.looked.elapsed() > LOOK
    }

    /// Whether the machine has another certificate, or should get one.
    async fn is_outdated(&self) -> bool {
        let workstation = self.tokens.workstation();
        if workstation.certificate_life().is_some_and(|life| life.is_due(unix_now())) {
            return true;
        }
        match workstation.daemon().enrolment().await {
            Ok(Some(now)) => now.certificates != workstation.enrolment().certificates,
            // It was enrolled anew, or signetd is another one, or the bus is.
            Ok(None) | Err(_) => true,
        }
    }
}

impl<A: Attendant + Send + 'static> super::Proxy<A> {
    /// The machine as it is now, and its token. Renewal with a certificate that is the machine's no more
    /// is refused: then the new one is taken up.
    pub(super) async fn session(&self) -> Result<(Arc<Machine>, BoundToken), Refusal> {
        let machine = self.machine(false).await;
        let error = match machine.tokens().current().await {
            Ok(record) => return Ok((machine, record.bound_token())),
            Err(error) => error,
        };
        let anew = self.machine(true).await;
        if anew.tokens.workstation().enrolment() == machine.tokens.workstation().enrolment() {
            return Err(error.into());
        }
        let token = anew.tokens().current().await?.bound_token();
        Ok((anew, token))
    }

    /// What is there serves where nothing better is to be had.
    async fn machine(&self, look: bool) -> Arc<Machine> {
        let mut slot = self.machine.lock().await;
        if !look && !slot.is_due() {
            return Arc::clone(&slot);
        }
        if slot.is_outdated().await
            && let Ok(anew) = Machine::open(&self.options, &self.cache).await
            && anew.tokens.workstation().enrolment() != slot.tokens.workstation().enrolment()
        {
            *slot = Arc::new(anew);
        } else {
            *slot = Arc::new(Machine {
                tokens: slot.tokens.clone(),
                connections: Arc::clone(&slot.connections),
                looked: Instant::now(),
            });
        }
        Arc::clone(&slot)
    }
}
