//! What must hold for any bytes at the parsers of `signet-verifier`. Included by the fuzz targets and
//! by the test that replays their seeds.

use signet_evidence::UnixTime;
use signet_verifier::bearer;
use signet_verifier::certificate::{
    Certificate, KeyPurpose, TrustAnchors, VerifiedPath, without_padding,
};
use signet_verifier::log::Note;
use signet_verifier::metadata::{Metadata, Signer, fuzzing};
use signet_verifier::status_list::StatusList;
use signet_verifier::token::fuzzing::{danger_unsigned_cwt, danger_unsigned_jwt};
use signet_verifier::webauthn::VerifiedAttestation;

const NOW: UnixTime = UnixTime(1_767_225_600);

/// Nothing is believed without a root; a payload that is read is kept as it was read.
pub(crate) fn mds_blob(input: &[u8]) {
    let roots = TrustAnchors::default();
    let signer = Signer { roots: &roots, name: Some("mds.fidoalliance.org") };
    assert!(Metadata::verify(input, signer, NOW).is_err());
    if let Ok(metadata) = fuzzing::payload(input) {
        let kept = serde_json::to_string(&metadata).expect("metadata is JSON");
        assert_eq!(serde_json::from_str::<Metadata>(&kept).ok(), Some(metadata));
    }
}

/// Statements and certificates of every format: without a root no chain is believed.
pub(crate) fn attestation_statement(input: &[u8]) {
    let verified = VerifiedAttestation::verify(input, &[0; 32], &TrustAnchors::default(), NOW);
    assert!(!verified.is_ok_and(|verified| verified.anchor().is_some()));
}

/// An endorsement certificate as a TPM has it in its memory: padded, with names that no other certificate
/// has and that are critical. Without a root none is believed; an anchor vouches for itself alone.
pub(crate) fn ek_certificate(input: &[u8]) {
    let der = without_padding(input).unwrap_or(input);
    assert!(der.len() <= input.len());
    let purpose = Some(KeyPurpose::EndorsementKey);
    let none = TrustAnchors::default();
    assert!(VerifiedPath::verify(der, &[der.to_vec()], &none, purpose, NOW).is_err());
    if let Ok(certificate) = Certificate::parse(der) {
        assert_eq!(certificate.der(), der);
        if let Ok(itself) = TrustAnchors::from_der([der]) {
            // Whatever follows, no byte makes it panic.
            let _ = VerifiedPath::verify(der, &[], &itself, purpose, NOW);
        }
    }
}

/// Claims behind a signature that nobody checked: what is read says the same when it is written.
pub(crate) fn jwt(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(claims) = danger_unsigned_jwt(text) {
        let kept = serde_json::to_vec(&claims).expect("claims are JSON");
        assert_eq!(serde_json::from_slice(&kept).ok(), Some(claims));
    }
}

/// The same of the CBOR form.
pub(crate) fn cwt(input: &[u8]) {
    if let Some(claims) = danger_unsigned_cwt(input) {
        assert!(serde_json::to_vec(&claims).is_ok());
    }
}

/// The first byte is the width. A list that is read is compressed and read as the same.
pub(crate) fn status_list(input: &[u8]) {
    let Some((bits, compressed)) = input.split_first() else { return };
    if let Ok(list) = StatusList::inflate(u64::from(*bits), compressed) {
        let again = StatusList::inflate(list.width().bits(), &list.deflate());
        assert_eq!(again.map(|again| again.bytes().to_vec()).ok(), Some(list.bytes().to_vec()));
        assert!(list.get(u64::MAX).is_none());
    }
}

/// `Authorization` headers, one a line: a token is one of them, without blanks.
pub(crate) fn authorization(input: &[u8]) {
    let values: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if let Ok(token) = bearer::token(&values) {
        assert!(!token.is_empty() && !token.contains([' ', '\t']));
        assert!(values.iter().any(|value| value.trim_ascii_end().ends_with(token.as_bytes())));
    }
}

/// The text of a signed note stands at its beginning.
pub(crate) fn log_note(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(note) = Note::parse(text) {
        assert!(text.starts_with(note.text()));
        assert!(!note.signatures().is_empty());
    }
}
