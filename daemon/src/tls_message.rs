//! The one thing that callers may have signed with the TLS key: a TLS 1.3 client CertificateVerify.

use signet_evidence::binding::{Sha256, sha256};

use crate::failure::ArgumentError;

const PADDING: [u8; 64] = [0x20; 64];
const CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";

/// SHA-256 of `message`, if it is exactly the content covered by a client's CertificateVerify
/// (RFC 8446 §4.4.3): 64 spaces, the context string, a zero byte, a SHA-256 or SHA-384 transcript
/// hash. Evidence (a COSE `Sig_structure`) and certification requests begin otherwise, so a caller
/// can have neither signed here.
///
/// # Errors
/// [`ArgumentError::NotCertificateVerify`].
pub fn certificate_verify_digest(message: &[u8]) -> Result<Sha256, ArgumentError> {
    let hash = message.strip_prefix(&PADDING).and_then(|rest| rest.strip_prefix(CONTEXT));
    match hash.map(<[u8]>::len) {
        Some(32 | 48) => Ok(sha256(message)),
        _ => Err(ArgumentError::NotCertificateVerify),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(context: &[u8], hash: usize) -> Vec<u8> {
        [&PADDING[..], context, &vec![7; hash]].concat()
    }

    #[test]
    fn only_a_client_certificate_verify_is_signed() {
        let refused = Err(ArgumentError::NotCertificateVerify);
        for hash in [32, 48] {
            let genuine = message(CONTEXT, hash);
            assert_eq!(certificate_verify_digest(&genuine), Ok(sha256(&genuine)));
            assert_eq!(certificate_verify_digest(&genuine[1..]), refused);
        }
        for hash in [0, 31, 33, 47, 49, 64] {
            assert_eq!(certificate_verify_digest(&message(CONTEXT, hash)), refused);
        }
        let server = b"TLS 1.3, server CertificateVerify\0";
        assert_eq!(certificate_verify_digest(&message(server, 32)), refused);
        assert_eq!(certificate_verify_digest(b""), refused);
        let sig_structure = b"\x84\x6aSignature1\x40\x40\x40";
        assert_eq!(certificate_verify_digest(sig_structure), refused);
    }
}
