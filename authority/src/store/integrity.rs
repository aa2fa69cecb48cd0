//! The key that tells the authority's own rows from another writer's (threat model, "authority DB
//! write").

use aws_lc_rs::{constant_time, hmac};
use signet_evidence::binding::Sha256;
use zeroize::Zeroizing;

/// HMAC key over enrolment rows and audit digests; kept outside the database.
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// A key from 32 secret random bytes.
    #[must_use]
    pub fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_slice()))
    }

    /// MAC over a row of `table`: each part is preceded by its length.
    pub(crate) fn mac(&self, table: &'static str, parts: &[&[u8]]) -> Sha256 {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [table.as_bytes()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    /// Whether the row is this authority's.
    pub(crate) fn check(
        &self,
        table: &'static str,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<(), super::StoreError> {
        constant_time::verify_slices_are_equal(&self.mac(table, parts), mac)
            .map_err(|_| super::StoreError::Corrupt { table })
    }
}
