//! Chains of certificates that were found good, so that their signatures are looked at once and not with
//! every evidence of the same machine.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use signet_evidence::UnixTime;
use signet_evidence::binding::{Sha256, sha256};

use crate::certificate::{KeyPurpose, PathError, TrustAnchors, VerifiedPath};
use crate::recent::Recent;

/// Remembered where nobody says otherwise: two chains of a thousand machines.
const USUAL: usize = 2048;

/// Remembers of a chain, by the SHA-256 of its certificates, of the anchors and of the purpose, where it
/// led and for how long. Other anchors, or the same without one, make it another chain. Time is looked at
/// with each use; revocation is no matter of certificates here, but of the machine's row. Only chains
/// that an anchor issued get in, so a stranger cannot fill it.
pub struct SeenChains(Mutex<Recent<Sha256, VerifiedPath>>);

impl SeenChains {
    /// Remembers at most so many chains; about 2 KiB each.
    #[must_use]
    pub fn at_most(chains: usize) -> Self {
        Self(Mutex::new(Recent::at_most(chains)))
    }

    /// [`VerifiedPath::verify`], without the signatures' cost for a chain that was seen before.
    ///
    /// # Errors
    /// As there.
    pub fn verify(
        &self,
        leaf: &[u8],
        intermediates: &[Vec<u8>],
        anchors: &TrustAnchors,
        purpose: KeyPurpose,
        now: UnixTime,
    ) -> Result<VerifiedPath, PathError> {
        let name = name(leaf, intermediates, anchors, purpose);
        // One that does not hold now is verified anew: another path may, and if none does, that says why.
        let seen = self.recent().get(&name).cloned();
        if let Some(path) = seen.filter(|path| path.holds_at(now)) {
            return Ok(path);
        }
        let path = VerifiedPath::verify(leaf, intermediates, anchors, Some(purpose), now)?;
        self.recent().insert(name, path.clone());
        Ok(path)
    }

    fn recent(&self) -> MutexGuard<'_, Recent<Sha256, VerifiedPath>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every part with its length before it, so that no two chains have one name.
fn name(
    leaf: &[u8],
    intermediates: &[Vec<u8>],
    anchors: &TrustAnchors,
    purpose: KeyPurpose,
) -> Sha256 {
    let certificates = std::iter::once(leaf).chain(intermediates.iter().map(Vec::as_slice));
    let parts = [anchors.digest().as_slice(), purpose.oid()].into_iter().chain(certificates);
    let mut bytes = Vec::with_capacity(leaf.len() + 128);
    for part in parts {
        bytes.extend_from_slice(&part.len().to_be_bytes());
        bytes.extend_from_slice(part);
    }
    sha256(&bytes)
}

impl Default for SeenChains {
    fn default() -> Self {
        Self::at_most(USUAL)
    }
}

impl fmt::Debug for SeenChains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenChains").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        date_time_ymd,
    };

    use super::*;

    /// Seen in a memory that holds another path under the chain's name, as no real one does.
    #[test]
    fn a_remembered_path_stands_for_the_chain_from_its_first_second_to_its_last() {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let anchors = TrustAnchors::from_der([root.der()]).unwrap();
        let issuer = Issuer::new(params.clone(), key);
        params.is_ca = IsCa::NoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = || {
            let key = KeyPair::generate().unwrap();
            params.signed_by(&key, &issuer).unwrap().der().to_vec()
        };
        let (ours, other) = (leaf(), leaf());
        let (first, last) = (1_735_689_600, 1_798_761_600);
        let purpose = KeyPurpose::ClientAuthentication;
        let path = VerifiedPath::verify(&other, &[], &anchors, Some(purpose), UnixTime(first));
        let path = path.unwrap();
        for (now, due) in [
            (first, Ok(&other)),
            (last, Ok(&other)),
            (first - 1, Err(PathError::NotYetValid)),
            (last + 1, Err(PathError::Expired)),
        ] {
            let seen = SeenChains::default();
            seen.recent().insert(name(&ours, &[], &anchors, purpose), path.clone());
            let found = seen.verify(&ours, &[], &anchors, purpose, UnixTime(now));
            let found = found.map(|path| path.leaf().der().to_vec());
            assert_eq!(found.as_ref(), due.as_ref().copied(), "{now}");
        }
    }
}
