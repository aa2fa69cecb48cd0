//! The machine's keys: they sign, and they are those that the certificates are for.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::ground::{Ground, patiently};
use super::{Check, Finding};

pub(super) async fn examine(ground: &Ground) -> Finding {
    let Some(enrolment) = ground.enrolled() else {
        return Finding::unknown(Check::Keys, "there are none before this machine is enrolled");
    };
    let Some(daemon) = &ground.daemon else {
        return Finding::unknown(Check::Keys, "signetd does not answer");
    };
    let message = handshake_of_nobody();
    let signature = match patiently(daemon.sign_tls(&message)).await {
        Ok(signature) => signature,
        Err(error) => {
            return Finding::fail(
                Check::Keys,
                "the TLS key does not sign",
                format!("{}; see the lines tpm and polkit", crate::one_line::words(&error)),
            );
        }
    };
    let ours =
        enrolment.certificates.first().and_then(|leaf| public_key(leaf)).is_some_and(|key| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
                .verify(&message, &signature)
                .is_ok()
        });
    if ours {
        Finding::ok(Check::Keys, "the TLS key signs, and is that of the certificate")
    } else {
        Finding::fail(
            Check::Keys,
            "the TLS key is not that of the certificate",
            "`signetd --forget` with signetd stopped, then enrol again with `signet-authority ticket device --rebind`",
        )
    }
}

/// What a TLS 1.3 client signs (RFC 8446 §4.4.3), over the transcript of a connection that nobody
/// has: the signature opens nothing.
fn handshake_of_nobody() -> Vec<u8> {
    let mut transcript = [0; 32];
    // Zeros are no transcript of anybody's either.
    let _ = rand::fill(&mut transcript);
    [&[0x20; 64][..], b"TLS 1.3, client CertificateVerify\0", &transcript].concat()
}

/// The uncompressed point of a certificate's key.
fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}
