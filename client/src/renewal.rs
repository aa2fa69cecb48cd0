//! New certificates for this machine's keys while the present ones still count (protocol §4.1).
//!
//! Nobody is asked: the TPM proves that it is the one that was enrolled, in the state that counts.
//! Once a certificate has run out only a ticket helps.

use signet_evidence::Purpose;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::daemon::{Bus, Means};
use crate::workstation::{Ask, OpenError, PresenceError, Unattended, Workstation};

/// This machine's clock, in Unix seconds: good enough to say when something is due.
#[must_use]
pub fn unix_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// From when to when a certificate counts, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateLife {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl CertificateLife {
    /// The life of a DER certificate; `None` when it cannot be read.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// When to renew it: after two thirds of its life.
    #[must_use]
    pub fn renewal_at(&self) -> i64 {
        let life = self.not_after.saturating_sub(self.not_before);
        self.not_before.saturating_add(life / 3 * 2)
    }

    /// Whether it is time to renew it, by this machine's clock.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        now >= self.renewal_at()
    }
}

impl Workstation {
    /// Opens the workstation, its certificate renewed first when it is time. What is still good serves
    /// when that fails: beside it stands why.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_renewed(bus: &Bus) -> Result<(Self, Option<PresenceError>), OpenError> {
        let workstation = Self::open(bus).await?;
        if !workstation.certificate_life().is_some_and(|life| life.is_due(unix_now())) {
            return Ok((workstation, None));
        }
        match workstation.renew_certificates().await {
            Ok(_) => Ok((Self::open(bus).await?, None)),
            Err(error) => Ok((workstation, Some(error))),
        }
    }

    /// The life of this machine's certificate; `None` when it cannot be read.
    #[must_use]
    pub fn certificate_life(&self) -> Option<CertificateLife> {
        CertificateLife::of_der(self.enrolment().certificates.first()?)
    }

    /// Has the authority issue new certificates for this machine's keys, and `signetd` keep them;
    /// gives their last second. This value keeps the old ones: open the workstation anew.
    ///
    /// Of several that renew at the same time one wins, and the others hear its result.
    ///
    /// # Errors
    /// See [`PresenceError`]; the old certificates stay.
    pub async fn renew_certificates(&self) -> Result<i64, PresenceError> {
        let error = match self.renew_by_myself().await {
            Ok(expires) => return Ok(expires),
            Err(error) => error,
        };
        let now = self.daemon().enrolment().await.ok().flatten();
        let before = self.certificate_life().map_or(0, |life| life.not_after);
        let leaf = now.and_then(|enrolment| enrolment.certificates.into_iter().next());
        // Two that were issued within a second end at the same time.
        let another = leaf.filter(|leaf| self.enrolment().certificates.first() != Some(leaf));
        match another.and_then(|der| CertificateLife::of_der(&der)) {
            Some(life) if life.not_after >= before => Ok(life.not_after),
            _ => Err(error),
        }
    }

    async fn renew_by_myself(&self) -> Result<i64, PresenceError> {
        let purpose = Purpose::EnrolDevice;
        let ask = Ask {
            purpose,
            scope: None,
            acr: None,
            action: None,
            session: None,
            means: Means::default(),
        };
        let proof = self.prove(&ask, &Unattended).await?;
        let renewed = self.authority().renew_device(&proof.evidence).await?;
        let (device, ak) = (renewed.device_chain, renewed.ak_chain);
        self.daemon().renew_certificates(device, ak, renewed.successors).await?;
        Ok(renewed.certificate_expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_after_two_thirds() {
        let life = CertificateLife { not_before: 1000, not_after: 1000 + 7 * 86400 };
        assert!(!life.is_due(1000 + 403_199));
        assert!(life.is_due(1000 + 403_200));
        assert_eq!(CertificateLife::of_der(b"none"), None);
    }
}
