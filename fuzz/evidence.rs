//! What must hold for any bytes at the parsers of `signet-evidence`. Included by the fuzz targets and
//! by the test that replays their seeds.

use signet_evidence::webauthn::{AttestationObject, AuthenticatorData};

/// What is read is written as it was.
pub(crate) fn attestation_object(input: &[u8]) {
    if let Ok(object) = AttestationObject::parse(input) {
        let again = AttestationObject::parse(&object.to_bytes());
        assert_eq!(again.as_ref(), Ok(&object));
    }
}

/// The fixed part stands where WebAuthn L3 §6.1 puts it.
pub(crate) fn authenticator_data(input: &[u8]) {
    if let Ok(data) = AuthenticatorData::parse(input) {
        assert_eq!((data.flags.bits(), data.rp_id_hash.as_slice()), (input[32], &input[..32]));
        assert_eq!(data.sign_count.to_be_bytes(), input[33..37]);
    }
}
