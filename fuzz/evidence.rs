//! What must hold for any bytes at the parsers of `signet-evidence`. Included by the fuzz targets and
//! by the test that replays their seeds.

use std::collections::BTreeSet;

use signet_evidence::action::is_unambiguous_path;
use signet_evidence::eventlog::{BootFacts, EventLog, Limits};
use signet_evidence::tpm::{TpmsAttest, TpmtPublic, TpmtSignature};
use signet_evidence::webauthn::{AttestationObject, AuthenticatorData, Ceremony, ClientData};
use signet_evidence::{Action, Evidence, Statement, cbor};

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

/// One evidence has one encoding, and all that is signed can be said of it.
pub(crate) fn evidence(input: &[u8]) {
    if let Ok(evidence) = Evidence::parse(input) {
        let value = cbor::decode(input).expect("evidence is CBOR");
        assert_eq!(cbor::encode(&value), input);
        assert!(evidence.to_be_signed().len() > evidence.statement_bytes().len());
        assert_eq!(evidence.signature().len(), 64);
        assert_eq!(evidence.qualifying_data().len(), 32);
    }
}

/// What is understood of a statement is written and understood again.
pub(crate) fn statement(input: &[u8]) {
    if let Ok(statement) = Statement::decode(input) {
        let written = statement.encode().expect("what was read can be written");
        assert_eq!(Statement::decode(&written).as_ref(), Ok(&statement));
    }
}

/// A signature that is read is written and read as the same.
pub(crate) fn tpmt_signature(input: &[u8]) {
    if let Ok(signature) = TpmtSignature::parse(input) {
        assert_eq!(TpmtSignature::parse(&signature.to_bytes()).as_ref(), Ok(&signature));
    }
}

/// One challenge, origin and ceremony have one client data.
pub(crate) fn client_data(input: &[u8]) {
    let origin = "https://presence.mesh.example";
    for ceremony in [Ceremony::Authentication, Ceremony::Registration] {
        let expected = ClientData { ceremony, challenge: &[0; 32], origin };
        if expected.check(input).is_ok() {
            assert_eq!(input, expected.to_json());
        }
    }
}

/// An action is kept as it came, and its path means one thing.
pub(crate) fn action(input: &[u8]) {
    if let Ok(action) = Action::parse(input) {
        assert_eq!(action.as_bytes(), input);
        assert!(is_unambiguous_path(&action.details().path));
        assert_eq!(action.details().locations.len(), 1);
    }
}
