use super::*;
use crate::header::{SignedAttest, TpmEvidence, WithheldLog};
use crate::platform::PlatformKeyId;
use crate::statement::tests::session_statement;
use proptest::prelude::*;

fn tpm() -> TpmEvidence {
    TpmEvidence {
        ak_chain: CertificateChain::new(vec![vec![1]]).unwrap(),
        quote: SignedAttest { attest: vec![2], signature: vec![3] },
        certification: None,
        pcrs: Some([(7, vec![0; 32])].into()),
        event_log: None,
    }
}

fn assertion() -> FidoAssertion {
    FidoAssertion {
        credential_id: vec![4],
        authenticator_data: vec![5],
        client_data: vec![6],
        signature: vec![7],
        observed: None,
    }
}

fn evidence(
    statement: &Statement,
    assertion: Option<&FidoAssertion>,
) -> Result<Vec<u8>, EvidenceError> {
    let statement = statement.encode()?;
    let assertion = assertion.map(FidoAssertion::encode);
    let chain = CertificateChain::new(vec![vec![8], vec![9]]).unwrap();
    let assertion = assertion.as_deref().map(KeyPart::SecurityKey);
    UnsignedEvidence::new(&statement, &chain, assertion, None, &tpm()).finish([0; 64])
}

fn platform_assertion() -> PlatformAssertion {
    let name = [&[0, 0x0b][..], &[7; 32]].concat();
    PlatformAssertion { key: PlatformKeyId::from_bytes(&name).unwrap(), signature: vec![1] }
}

fn platform_registration() -> PlatformRegistration {
    let certification = SignedAttest { attest: vec![2], signature: vec![3] };
    PlatformRegistration { public: vec![1], certification, authorisation_key: None }
}

fn with_parts(
    statement: &Statement,
    assertion: Option<KeyPart<'_>>,
    registration: Option<KeyPart<'_>>,
) -> Result<Evidence, EvidenceError> {
    let chain = CertificateChain::new(vec![vec![8]]).unwrap();
    let evidence =
        UnsignedEvidence::new(&statement.encode()?, &chain, assertion, registration, &tpm());
    Evidence::parse(&evidence.finish([0; 64])?)
}

#[test]
fn what_is_built_is_what_is_parsed() {
    let bytes = evidence(&session_statement(), Some(&assertion())).unwrap();
    let parsed = Evidence::parse(&bytes).unwrap();
    assert_eq!(parsed.statement, session_statement());
    let assertion_bytes = assertion().encode();
    let chain = CertificateChain::new(vec![vec![8], vec![9]]).unwrap();
    let key = Some(KeyPart::SecurityKey(&assertion_bytes));
    let statement = session_statement().encode().unwrap();
    let unsigned = UnsignedEvidence::new(&statement, &chain, key, None, &tpm());
    assert_eq!(unsigned.to_be_signed(), parsed.to_be_signed());
    assert_eq!(
        parsed.assertion.as_ref().map(|part| part.value.clone()),
        Some(Assertion::SecurityKey(assertion()))
    );
    assert_eq!(parsed.tpm, tpm());
    let expected = binding::qualifying_data(
        &session_statement().encode().unwrap(),
        &assertion().encode(),
        None,
    );
    assert_eq!(parsed.qualifying_data(), expected);
}

#[test]
fn a_platform_key_stands_in_for_a_security_key() {
    let encoded = platform_assertion().encode();
    for purpose in [Purpose::Session, Purpose::Action] {
        let action = (purpose == Purpose::Action).then(crate::action::tests::action);
        let statement = Statement { purpose, action, ..session_statement() };
        let parsed = with_parts(&statement, Some(KeyPart::Platform(&encoded)), None).unwrap();
        let part = parsed.assertion.as_ref().unwrap();
        assert_eq!(part.value, Assertion::Platform(platform_assertion()));
        let expected = binding::qualifying_data(&statement.encode().unwrap(), &encoded, None);
        assert_eq!(parsed.qualifying_data(), expected);
    }
    let (purpose, new) = (Purpose::EnrolKey, platform_registration().encode());
    let statement = Statement { purpose, ..session_statement() };
    let touch = assertion().encode();
    for assertion in [None, Some(KeyPart::SecurityKey(&touch))] {
        let parsed = with_parts(&statement, assertion, Some(KeyPart::Platform(&new))).unwrap();
        let part = parsed.registration.as_ref().unwrap();
        assert_eq!(part.value, Registration::Platform(platform_registration()));
        let expected = binding::qualifying_data(
            &statement.encode().unwrap(),
            assertion.map_or(&[], KeyPart::bytes),
            Some(&new),
        );
        assert_eq!(parsed.qualifying_data(), expected);
    }
}

/// Both sides read these numbers from the same constants: protocol.md 2.1 has them too.
#[test]
fn labels_and_claims_have_the_numbers_of_the_protocol() {
    fn keys(map: &[u8]) -> Vec<i64> {
        let Value::Map(entries) = cbor::decode(map).unwrap() else { panic!() };
        let number = |(key, _): &(Value, Value)| i64::try_from(key.as_integer().unwrap()).unwrap();
        entries.iter().map(number).collect()
    }
    let (touch, own) = (assertion().encode(), platform_assertion().encode());
    let (touch, own) = (Some(KeyPart::SecurityKey(&touch)), Some(KeyPart::Platform(&own)));
    let new = FidoRegistration { attestation_object: vec![1], client_data: vec![2] }.encode();
    let new_own = platform_registration().encode();
    let (new, new_own) = (Some(KeyPart::SecurityKey(&new)), Some(KeyPart::Platform(&new_own)));
    for (purpose, assertion, registration, labels) in [
        (Purpose::Session, None, None, vec![-70102]),
        (Purpose::Session, touch, None, vec![-70101, -70102]),
        (Purpose::Session, own, None, vec![-70102, -70103]),
        (Purpose::EnrolKey, touch, new, vec![-70101, -70102, -70104]),
        (Purpose::EnrolKey, None, new_own, vec![-70102, -70105]),
    ] {
        let statement = Statement { purpose, ..session_statement() };
        let evidence = with_parts(&statement, assertion, registration).unwrap();
        assert_eq!(keys(&evidence.protected), [&[1, 16, 33][..], &labels].concat());
    }
    let action = Statement {
        purpose: Purpose::Action,
        action: Some(crate::action::tests::action()),
        scope: Some("a".into()),
        acr: Some("b".into()),
        ..session_statement()
    };
    let claims = [2, 3, 6, 8, 9, 10, 256, 265, -70001, -70002, -70003, -70005];
    assert_eq!(keys(&action.encode().unwrap()), claims);
    let session = Some(crate::SessionId([1; 16]));
    let renewal = Statement { purpose: Purpose::Renew, session, ..session_statement() };
    let claims = [2, 3, 6, 8, 10, 256, 265, -70001, -70004, -70005];
    assert_eq!(keys(&renewal.encode().unwrap()), claims);
}

#[test]
fn a_platform_key_has_its_places() {
    let (old, new) = (platform_assertion().encode(), platform_registration().encode());
    let (old, new) = (KeyPart::Platform(&old), KeyPart::Platform(&new));
    let refused = |statement: &Statement, assertion, registration| {
        with_parts(statement, assertion, registration).map(|_| ()).unwrap_err()
    };
    let session = Some(crate::SessionId([1; 16]));
    let renewal = Statement { purpose: Purpose::Renew, session, ..session_statement() };
    let (purpose, label) = (Purpose::Renew, PLATFORM_ASSERTION);
    assert_eq!(refused(&renewal, Some(old), None), EvidenceError::Forbidden { purpose, label });
    // It brings no further key, of neither kind.
    let purpose = Purpose::EnrolKey;
    let statement = Statement { purpose, ..session_statement() };
    assert_eq!(
        refused(&statement, Some(old), Some(new)),
        EvidenceError::Forbidden { purpose, label }
    );
    let label = REGISTRATION;
    assert_eq!(refused(&statement, None, None), EvidenceError::Demanded { purpose, label });
    let (purpose, label) = (Purpose::Session, PLATFORM_REGISTRATION);
    assert_eq!(
        refused(&session_statement(), None, Some(new)),
        EvidenceError::Forbidden { purpose, label }
    );
}

#[test]
fn two_kinds_of_key_exclude_each_other() {
    let edit = |bytes: &[u8], label: i64, content: Vec<u8>| {
        let Value::Tag(18, inner) = cbor::decode(bytes).unwrap() else { panic!() };
        let Value::Array(mut items) = *inner else { panic!() };
        let Value::Map(mut map) = cbor::decode(items[0].as_bytes().unwrap()).unwrap() else {
            panic!()
        };
        map.push((label.into(), Value::Bytes(content)));
        items[0] = Value::Bytes(cbor::encode(&Value::Map(map)));
        let bytes = cbor::encode(&Value::Tag(18, Box::new(Value::Array(items))));
        Evidence::parse(&bytes).map(|_| ())
    };
    let bytes = evidence(&session_statement(), Some(&assertion())).unwrap();
    assert_eq!(
        edit(&bytes, PLATFORM_ASSERTION, platform_assertion().encode()),
        Err(EvidenceError::Both(ASSERTION, PLATFORM_ASSERTION))
    );
    let statement = Statement { purpose: Purpose::EnrolKey, ..session_statement() };
    let chain = CertificateChain::new(vec![vec![8]]).unwrap();
    let new = FidoRegistration { attestation_object: vec![1], client_data: vec![2] }.encode();
    let new = Some(KeyPart::SecurityKey(&new));
    let bytes = UnsignedEvidence::new(&statement.encode().unwrap(), &chain, None, new, &tpm())
        .finish([0; 64])
        .unwrap();
    assert_eq!(
        edit(&bytes, PLATFORM_REGISTRATION, platform_registration().encode()),
        Err(EvidenceError::Both(REGISTRATION, PLATFORM_REGISTRATION))
    );
    let (label, source) = (PLATFORM_ASSERTION, HeaderError::Missing);
    let bytes = evidence(&session_statement(), None).unwrap();
    assert_eq!(
        edit(&bytes, label, cbor::encode(&cbor::map(vec![]))),
        Err(EvidenceError::Header { label, source })
    );
}

#[test]
fn a_touch_has_no_place_in_a_renewal() {
    let session = Some(crate::SessionId([1; 16]));
    let renewal = Statement { purpose: Purpose::Renew, session, ..session_statement() };
    let forbidden = EvidenceError::Forbidden { purpose: Purpose::Renew, label: ASSERTION };
    assert_eq!(evidence(&renewal, Some(&assertion())), Err(forbidden));
}

#[test]
fn unsigned_and_unknown_parts_are_refused() {
    let bytes = evidence(&session_statement(), None).unwrap();
    let edit = |change: &dyn Fn(&mut Vec<Value>)| {
        let Value::Tag(18, inner) = cbor::decode(&bytes).unwrap() else { panic!() };
        let Value::Array(mut items) = *inner else { panic!() };
        change(&mut items);
        let bytes = cbor::encode(&Value::Tag(18, Box::new(Value::Array(items))));
        Evidence::parse(&bytes).map(|_| ())
    };
    let protected = |label: i64, value: Value| {
        edit(&|items| {
            let Value::Map(mut map) = cbor::decode(items[0].as_bytes().unwrap()).unwrap() else {
                panic!()
            };
            map.retain(|(found, _)| *found != Value::from(label));
            map.push((label.into(), value.clone()));
            items[0] = Value::Bytes(cbor::encode(&Value::Map(map)));
        })
    };
    assert_eq!(
        edit(&|items| items[1] = cbor::map(vec![(4, Value::Bytes(vec![1]))])),
        Err(EvidenceError::UnprotectedHeader)
    );
    assert_eq!(edit(&|items| items[2] = Value::Null), Err(EvidenceError::NotCoseSign1));
    assert_eq!([-9, -7].map(|alg| protected(1, alg.into())), [Ok(()), Ok(())]);
    for foreign in [-8, -35, 7, 9] {
        assert_eq!(protected(1, foreign.into()), Err(EvidenceError::Algorithm), "{foreign}");
    }
    assert_eq!(protected(TYP, "application/cwt".into()), Err(EvidenceError::Type));
    assert_eq!(protected(4, Value::Bytes(vec![1])), Err(EvidenceError::UnknownLabel(4)));
    assert_eq!(protected(-70199, 1.into()), Err(EvidenceError::UnknownLabel(-70199)));
    let label = TPM;
    let source = HeaderError::Shape;
    assert_eq!(protected(TPM, 1.into()), Err(EvidenceError::Header { label, source }));
}

#[test]
fn size_limits() {
    // protocol.md 2.1.
    assert_eq!((MAX_EVIDENCE_WITHOUT_LOG, MAX_EVIDENCE), (8_192, 8_192 + 262_144));
    let limit = MAX_EVIDENCE;
    let found = limit + 1;
    let parsed = Evidence::parse(&vec![0; found]).map(|_| ());
    assert_eq!(parsed, Err(EvidenceError::TooLarge { limit, found }));
    let long = FidoAssertion { authenticator_data: vec![0; 2048], ..assertion() };
    assert!(evidence(&session_statement(), Some(&long)).is_ok());
    let statement = session_statement().encode().unwrap();
    let quote = SignedAttest { attest: vec![0; MAX_EVIDENCE_WITHOUT_LOG], signature: vec![3] };
    let chain = CertificateChain::new(vec![vec![8]]).unwrap();
    let tpm = TpmEvidence { quote, ..tpm() };
    let limit = MAX_EVIDENCE_WITHOUT_LOG;
    let of_quote = |length| {
        let mut tpm = tpm.clone();
        tpm.quote.attest = vec![0; length];
        UnsignedEvidence::new(&statement, &chain, None, None, &tpm).finish([0; 64])
    };
    let around = of_quote(1000).unwrap().len() - 1000;
    assert_eq!(of_quote(limit - around).map(|bytes| bytes.len()), Ok(limit));
    let above = Err(EvidenceError::TooLarge { limit, found: limit + 1 });
    assert_eq!(of_quote(limit - around + 1), above);
    assert!(matches!(
        UnsignedEvidence::new(&statement, &chain, None, None, &tpm).finish([0; 64]),
        Err(EvidenceError::TooLarge { limit: found_limit, .. }) if found_limit == limit
    ));
    // A log does not make room for anything else.
    let log = SentLog::Whole(vec![0; 500]);
    let stuffed = TpmEvidence { event_log: Some(log), ..tpm };
    assert!(matches!(
        UnsignedEvidence::new(&statement, &chain, None, None, &stuffed).finish([0; 64]),
        Err(EvidenceError::TooLarge { limit: found_limit, .. }) if found_limit == limit + 500
    ));
}

#[test]
fn an_event_log_comes_whole_or_by_its_digest_or_not() {
    let statement = session_statement().encode().unwrap();
    let chain = CertificateChain::new(vec![vec![8]]).unwrap();
    let with = |log: Option<SentLog>| {
        let tpm = TpmEvidence { event_log: log, ..tpm() };
        let evidence = UnsignedEvidence::new(&statement, &chain, None, None, &tpm);
        evidence.finish([0; 64]).map(|bytes| Evidence::parse(&bytes).unwrap().tpm.event_log)
    };
    for log in [
        None,
        Some(SentLog::Whole(vec![1; MAX_EVENT_LOG])),
        Some(SentLog::Known([7; 32])),
        Some(SentLog::Withheld(WithheldLog::Missing)),
        Some(SentLog::Withheld(WithheldLog::TooLong)),
        Some(SentLog::Withheld(WithheldLog::Unreadable)),
    ] {
        assert_eq!(with(log.clone()), Ok(log));
    }
    let (label, source) = (TPM, HeaderError::Shape);
    for log in [vec![], vec![1; MAX_EVENT_LOG + 1]] {
        let refused = with(Some(SentLog::Whole(log)));
        assert_eq!(refused, Err(EvidenceError::Header { label, source: source.clone() }));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(flip in any::<(usize, u8)>(), cut in any::<usize>()) {
        let mut bytes = evidence(&session_statement(), Some(&assertion())).unwrap();
        let at = flip.0 % bytes.len();
        bytes[at] ^= flip.1;
        bytes.truncate(bytes.len() - cut % 4);
        let _ = Evidence::parse(&bytes);
    }
}
