//! Policy digests of user keys (TCG Part 3 §23): one calculation for the workstation that makes a
//! key and the verifier that derives from its `authPolicy` what a signature by it shows.

use super::name::Name;
use crate::binding::{Sha256, sha256_of};

/// `policyRef` of the policy behind which a fingerprint key stands.
pub const FINGERPRINT_POLICY_REF: &[u8] = b"signet-fprint-v1";

const TPM_CC_POLICY_SIGNED: [u8; 4] = 0x0000_0160_u32.to_be_bytes();
const TPM_CC_POLICY_AUTH_VALUE: [u8; 4] = 0x0000_016b_u32.to_be_bytes();
/// A policy session's digest before its first command.
const EMPTY: Sha256 = [0; 32];

/// `authPolicy` of a key that asks for its authorisation value: `TPM2_PolicyAuthValue` (Part 3 §23.17)
/// and nothing else, with SHA-256.
#[must_use]
pub fn policy_auth_value() -> Sha256 {
    sha256_of(&[&EMPTY, &TPM_CC_POLICY_AUTH_VALUE])
}

/// `authPolicy` of a key that asks for a signature of `authorisation_key` over the session's nonce:
/// `TPM2_PolicySigned` (Part 3 §23.3) and nothing else, with SHA-256.
#[must_use]
pub fn policy_signed(authorisation_key: &Name, policy_ref: &[u8]) -> Sha256 {
    let with_key = sha256_of(&[&EMPTY, &TPM_CC_POLICY_SIGNED, authorisation_key.as_bytes()]);
    sha256_of(&[&with_key, policy_ref])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thumbprint::hex;

    /// As `tpm2_policyauthvalue` prints it for a trial session.
    #[test]
    fn the_policy_of_an_authorisation_value_is_the_published_constant() {
        assert_eq!(
            hex(&policy_auth_value()),
            "8fcd2169ab92694e0c633f1ab772842b8241bbc20288981fc7ac1eddc1fddb0e"
        );
    }

    #[test]
    fn a_signed_policy_depends_on_key_and_reference() {
        let name = |byte| Name::from_bytes(&[&[0x00, 0x0b][..], &[byte; 32]].concat()).unwrap();
        let one = policy_signed(&name(1), FINGERPRINT_POLICY_REF);
        assert_ne!(one, policy_signed(&name(2), FINGERPRINT_POLICY_REF));
        assert_ne!(one, policy_signed(&name(1), b"signet-fprint-v2"));
        assert_ne!(one, policy_signed(&name(1), b""));
    }
}
