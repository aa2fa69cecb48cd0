//! What ties the pieces of evidence together: the digests that each signer signs over.
//!
//! Every digest has its own domain-separation string, so that a signature made for one purpose
//! can never be read as one made for another.

use aws_lc_rs::digest::{SHA256, digest};

/// A SHA-256 digest.
pub type Sha256 = [u8; 32];

/// SHA-256 of `bytes` (FIPS 180-4).
#[must_use]
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// WebAuthn challenge of an assertion: `SHA-256("signet-fido-v1\0" ‖ S)`, where `S` is the
/// statement as it travels.
#[must_use]
pub fn assertion_challenge(statement: &[u8]) -> Sha256 {
    sha256_of(&[b"signet-fido-v1\0", statement])
}

/// WebAuthn challenge of a registration: `SHA-256("signet-fidoreg-v1\0" ‖ S)`.
#[must_use]
pub fn registration_challenge(statement: &[u8]) -> Sha256 {
    sha256_of(&[b"signet-fidoreg-v1\0", statement])
}

/// What a platform key signs: `SHA-256("signet-platform-v1\0" ‖ S)`.
#[must_use]
pub fn platform_digest(statement: &[u8]) -> Sha256 {
    sha256(&platform_message(statement))
}

/// The message whose digest a platform key signs, for those who verify by message.
#[must_use]
pub fn platform_message(statement: &[u8]) -> Vec<u8> {
    [b"signet-platform-v1\0", statement].concat()
}

/// `extraData` of the certification of a new platform key: `SHA-256("signet-platformreg-v1\0" ‖ S)`.
#[must_use]
pub fn platform_registration_challenge(statement: &[u8]) -> Sha256 {
    sha256_of(&[b"signet-platformreg-v1\0", statement])
}

/// `extraData` of the quote and of the certification:
/// `SHA-256("signet-tpm-v1\0" ‖ SHA-256(S) ‖ SHA-256(F) [‖ SHA-256(R)])`.
///
/// `F` is the content of header −70101 or −70103 (empty when absent) and `R` that of −70104 or −70105,
/// hashed only when a registration is carried. Only purpose 5 may carry one, and the purpose is
/// inside `S`, so the two lengths cannot be confused. No bytes are the content of two of these
/// headers: their members are of other types.
#[must_use]
pub fn qualifying_data(statement: &[u8], assertion: &[u8], registration: Option<&[u8]>) -> Sha256 {
    let (statement, assertion) = (sha256(statement), sha256(assertion));
    let registration = registration.map(sha256);
    let mut parts: Vec<&[u8]> = vec![b"signet-tpm-v1\0", &statement, &assertion];
    if let Some(registration) = &registration {
        parts.push(registration);
    }
    sha256_of(&parts)
}

/// `extraData` of the quote and certification at device enrolment:
/// `SHA-256("signet-enrol-v1\0" ‖ SHA-256(transcript) ‖ nonce)`.
#[must_use]
pub fn enrolment_qualifying_data(transcript: &[u8], nonce: &[u8]) -> Sha256 {
    sha256_of(&[b"signet-enrol-v1\0", &sha256(transcript), nonce])
}

pub(crate) fn sha256_of(parts: &[&[u8]]) -> Sha256 {
    sha256(&parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others must hash, byte for byte.
    #[test]
    fn digests_are_over_their_domain_and_their_parts() {
        assert_eq!(platform_digest(b"s"), sha256(b"signet-platform-v1\0s"));
        let transcript = sha256(b"transcript");
        let enrolment = [b"signet-enrol-v1\0", &transcript[..], b"nonce"].concat();
        assert_eq!(enrolment_qualifying_data(b"transcript", b"nonce"), sha256(&enrolment));
    }

    #[test]
    fn domains_do_not_meet() {
        let digests = [
            assertion_challenge(b"s"),
            registration_challenge(b"s"),
            platform_digest(b"s"),
            platform_registration_challenge(b"s"),
            qualifying_data(b"s", b"", None),
            qualifying_data(b"s", b"", Some(b"")),
            enrolment_qualifying_data(b"s", b""),
        ];
        for (index, left) in digests.iter().enumerate() {
            for right in &digests[index + 1..] {
                assert_ne!(left, right);
            }
        }
    }

    #[test]
    fn an_assertion_moved_to_another_statement_changes_the_qualifying_data() {
        assert_ne!(qualifying_data(b"s1", b"f", None), qualifying_data(b"s2", b"f", None));
        assert_ne!(qualifying_data(b"s", b"f1", None), qualifying_data(b"s", b"f2", None));
    }
}
