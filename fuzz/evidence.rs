//! What must hold for any bytes at the parsers of `signet-evidence`. Included by the fuzz targets and
//! by the test that replays their seeds.

use std::collections::BTreeSet;

use signet_evidence::eventlog::{BootFacts, EventLog, Limits};
use signet_evidence::tpm::{TpmsAttest, TpmtPublic};
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

/// A log within its limits is led through every bank that it declares, and put into words.
pub(crate) fn event_log(input: &[u8]) {
    let limits = Limits::default();
    let Ok(log) = EventLog::parse(input, &limits) else { return };
    assert!(input.len() <= limits.bytes && log.events().len() <= limits.events);
    let pcrs: BTreeSet<u8> = (0..24).collect();
    for bank in log.banks() {
        assert!(log.replay(bank).is_ok(), "a declared bank is there");
        let facts = BootFacts::of(&log, bank, &pcrs);
        assert!(facts.measured.len() <= log.events().len());
    }
}

/// One structure has one form: what is read marshals to the very bytes.
pub(crate) fn tpms_attest(input: &[u8]) {
    if let Ok(attest) = TpmsAttest::parse(input) {
        assert_eq!(attest.to_bytes(), input);
    }
}

/// The same; a Name is over these bytes.
pub(crate) fn tpmt_public(input: &[u8]) {
    if let Ok(public) = TpmtPublic::parse(input) {
        assert_eq!(public.to_bytes(), input);
    }
}
