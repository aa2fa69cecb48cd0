//! Keys whose framing is right and whose answers are not.

use ciborium::Value;
use signet_ctap::commands::{GetAssertion, MakeCredential, RelyingParty, UserEntity};
use signet_ctap::operation::{AssertRequest, Config, OperationError, Prompt, UserVerification};
use signet_ctap::{CommandError, Key, Status, cbor};

use crate::pipe::Scripted;
use crate::*;

/// getInfo of a plain CTAP 2.1 key.
fn info() -> Vec<u8> {
    let map = |entries: Vec<(Value, Value)>| Value::Map(entries);
    let options = ["rk", "up", "clientPin", "pinUvAuthToken", "credMgmt", "bioEnroll"];
    let info = map(vec![
        (1.into(), Value::Array(vec!["FIDO_2_1".into()])),
        (2.into(), Value::Array(vec!["credProtect".into()])),
        (3.into(), Value::Bytes(vec![7; 16])),
        (4.into(), map(options.map(|name| (name.into(), true.into())).to_vec())),
        (5.into(), 7609.into()),
        (6.into(), Value::Array(vec![2.into()])),
    ]);
    [vec![0x00], cbor::encode(&info)].concat()
}

/// A message from the key as reports.
fn reports(message: &[u8]) -> Vec<Report> {
    let (head, rest) = message.split_at(message.len().min(57));
    let mut reports = vec![first(OURS, CBOR, message.len() as u16, head)];
    for (chunk, sequence) in rest.chunks(59).zip(0u8..) {
        let mut report = next(OURS, sequence, 0);
        report[5..5 + chunk.len()].copy_from_slice(chunk);
        reports.push(report);
    }
    reports
}

/// A key that answers getInfo properly and everything else with `answer`.
fn key_that_answers(answer: Vec<u8>) -> Scripted {
    Scripted::after_init(move |report| match (report[4], report[7]) {
        (CBOR, 0x04) => reports(&info()),
        (CBOR, _) => reports(&answer),
        _ => vec![],
    })
}

fn request() -> AssertRequest {
    AssertRequest {
        rp_id: "presence.mesh.example".into(),
        client_data_hash: [1; 32],
        allow_list: vec![vec![2; 16]],
        user_verification: UserVerification::Discouraged,
    }
}

/// An answer to getAssertion.
fn assertion(rp_id_hash: [u8; 32], flags: u8, id: &[u8]) -> Vec<u8> {
    let auth_data = [&rp_id_hash[..], &[flags, 0, 0, 0, 1]].concat();
    let credential = Value::Map(vec![
        ("id".into(), Value::Bytes(id.to_vec())),
        ("type".into(), "public-key".into()),
    ]);
    let answer = Value::Map(vec![
        (1.into(), credential),
        (2.into(), Value::Bytes(auth_data)),
        (3.into(), Value::Bytes(vec![3; 70])),
    ]);
    [vec![0x00], cbor::encode(&answer)].concat()
}

fn our_rp_id_hash() -> [u8; 32] {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"presence.mesh.example");
    hash.as_ref().try_into().unwrap()
}

async fn assert(answer: Vec<u8>) -> Result<signet_ctap::operation::Assertion, OperationError> {
    let mut key = Key::open(key_that_answers(answer), timing()).await.unwrap();
    key.assert(&request(), &Prompt::nobody()).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_something_else_is_refused() {
    assert(assertion(our_rp_id_hash(), 0x01, &[2; 16])).await.unwrap();
    let result = assert(assertion([9; 32], 0x01, &[2; 16])).await;
    assert!(matches!(result, Err(OperationError::AnswerMismatch)), "{result:?}");
    let result = assert(assertion(our_rp_id_hash(), 0x01, &[8; 16])).await;
    assert!(matches!(result, Err(OperationError::AnswerMismatch)), "{result:?}");
    let result = assert(assertion(our_rp_id_hash(), 0x00, &[2; 16])).await;
    assert!(matches!(result, Err(OperationError::UpFlagMissing)), "{result:?}");
}

/// A key with built-in verification of CTAP 2.0 that signs without verifying.
#[tokio::test(start_paused = true)]
async fn an_answer_without_the_uv_flag_is_refused_where_it_was_required() {
    let mut old = cbor::decode(&info()[1..]).unwrap();
    let Value::Map(members) = &mut old else { panic!("getInfo is a map") };
    members[3].1 = Value::Map(vec![("uv".into(), true.into()), ("up".into(), true.into())]);
    let old = [vec![0x00], cbor::encode(&old)].concat();
    for (flags, fits) in [(0x01, false), (0x05, true)] {
        let (old, answer) = (old.clone(), assertion(our_rp_id_hash(), flags, &[2; 16]));
        let pipe = Scripted::after_init(move |report| match (report[4], report[7]) {
            (CBOR, 0x04) => reports(&old),
            (CBOR, _) => reports(&answer),
            _ => vec![],
        });
        let mut key = Key::open(pipe, timing()).await.unwrap();
        let mut request = request();
        request.user_verification = UserVerification::Required { pin_fallback: false };
        match key.assert(&request, &Prompt::nobody()).await {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert!(!fits && matches!(error, OperationError::UvFlagMissing), "{error:?}")
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn statuses_become_what_a_person_can_do() {
    type Check = fn(&OperationError) -> bool;
    let expected: [(u8, Check); 9] = [
        (0x2E, |e| matches!(e, OperationError::NoCredentials)),
        (0x2F, |e| matches!(e, OperationError::Timeout)),
        (0x3A, |e| matches!(e, OperationError::Timeout)),
        (0x27, |e| matches!(e, OperationError::Refused)),
        (0x2D, |e| matches!(e, OperationError::Cancelled)),
        (0x36, |e| matches!(e, OperationError::UvRequiredByKey)),
        (0x34, |e| matches!(e, OperationError::PinAuthBlocked)),
        (0x32, |e| matches!(e, OperationError::PinBlocked)),
        (0xF3, |e| matches!(e, OperationError::Status(Status(0xF3)))),
    ];
    for (status, check) in expected {
        let error = assert(vec![status]).await.unwrap_err();
        assert!(check(&error), "{status:#04x}: {error:?}");
    }
    let result = assert(vec![]).await;
    assert!(matches!(result, Err(OperationError::Protocol(CommandError::Answer(_)))), "{result:?}");
}

/// A key with a sensor that does not tell how many tries are left until there are none.
#[tokio::test(start_paused = true)]
async fn a_sensor_that_does_not_count_is_asked_all_the_same() {
    let mut sensor = cbor::decode(&info()[1..]).unwrap();
    let Value::Map(members) = &mut sensor else { panic!("getInfo is a map") };
    let options = ["uv", "pinUvAuthToken"];
    members[3].1 = Value::Map(options.map(|name| (name.into(), true.into())).to_vec());
    let sensor = [vec![0x00], cbor::encode(&sensor)].concat();
    let pipe = Scripted::after_init(move |report| match (report[4], report[7], report[12]) {
        (CBOR, 0x04, _) => reports(&sensor),
        // The sub-command follows protocol and key in the request's map: a2 01 02 02 xx.
        (CBOR, 0x06, 0x07) => reports(&[Status::INVALID_SUBCOMMAND.0]),
        (CBOR, 0x06, 0x02) => reports(&[Status::UV_BLOCKED.0]),
        _ => vec![],
    });
    let mut key = Key::open(pipe, timing()).await.unwrap();
    let mut request = request();
    request.user_verification = UserVerification::Required { pin_fallback: true };
    let (prompt, mut events) = Prompt::new();
    let result = key.assert(&request, &prompt).await;
    assert!(matches!(result, Err(OperationError::UvBlocked)), "{result:?}");
    let first = events.next().await;
    assert!(matches!(first, Some(signet_ctap::operation::Event::FingerNeeded)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_reset_says_why() {
    type Check = fn(&OperationError) -> bool;
    let expected: [(u8, Check); 4] = [
        (0x30, |e| matches!(e, OperationError::NotJustPlugged)),
        (0x27, |e| matches!(e, OperationError::Refused)),
        (0x2F, |e| matches!(e, OperationError::Timeout)),
        (0x01, |e| matches!(e, OperationError::Status(Status::INVALID_COMMAND))),
    ];
    for (status, check) in expected {
        let mut key = Key::open(key_that_answers(vec![status]), timing()).await.unwrap();
        let error = key.reset_to_factory(&Prompt::nobody()).await.unwrap_err();
        assert!(check(&error), "{status:#04x}: {error:?}");
    }
}

/// A key that takes a setting and goes on as before, and one that refuses it.
#[tokio::test(start_paused = true)]
async fn a_setting_that_is_not_there_afterwards_is_told() {
    let mut loose = cbor::decode(&info()[1..]).unwrap();
    let Value::Map(members) = &mut loose else { panic!("getInfo is a map") };
    let options = [("authnrCfg", true), ("alwaysUv", false), ("clientPin", false)];
    members[3].1 = Value::Map(options.map(|(name, value)| (name.into(), value.into())).to_vec());
    let loose = [vec![0x00], cbor::encode(&loose)].concat();
    for status in [0x00, 0x27] {
        let loose = loose.clone();
        let pipe = Scripted::after_init(move |report| match (report[4], report[7]) {
            (CBOR, 0x04) => reports(&loose),
            (CBOR, 0x0D) => reports(&[status]),
            _ => vec![],
        });
        let mut key = Key::open(pipe, timing()).await.unwrap();
        let result = key.configure(&Config::AlwaysUv(true), &Prompt::nobody()).await;
        match status {
            0x00 => assert!(matches!(result, Err(OperationError::NotApplied)), "{result:?}"),
            _ => assert!(matches!(result, Err(OperationError::Refused)), "{result:?}"),
        }
    }
}

/// CBOR that looks like an answer.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<u32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..90).prop_map(Value::Bytes),
        "[a-z]{0,12}".prop_map(Value::from),
        Just(Value::from("id")),
    ];
    let value = leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..5).prop_map(Value::Map),
        ]
    });
    let members = prop::collection::vec((1i64..12, value), 0..8);
    let map = members.prop_map(|members| {
        let members = members.into_iter().map(|(key, value)| (key.into(), value)).collect();
        [vec![0x00], cbor::encode(&Value::Map(members))].concat()
    });
    prop_oneof![4 => map, 1 => prop::collection::vec(any::<u8>(), 0..120)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_answer_is_an_error_or_well_typed(answer in answer()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async move {
            let mut key = Key::open(key_that_answers(answer), timing()).await.unwrap();
            let nothing = &mut |_| {};
            let _ = key.get_assertion(
                &GetAssertion {
                    rp_id: "a",
                    client_data_hash: &[0; 32],
                    allow_list: &[],
                    user_presence: true,
                    built_in_uv: false,
                },
                None,
                nothing,
            ).await;
            let _ = key.make_credential(
                &MakeCredential {
                    client_data_hash: &[0; 32],
                    rp: &RelyingParty { id: "a".into(), name: "a".into() },
                    user: &UserEntity { id: vec![1], name: "a".into(), display_name: "a".into() },
                    algorithms: &[-7],
                    exclude_list: &[],
                    resident_key: false,
                    protection: None,
                    min_pin_length: false,
                    enterprise_attestation: None,
                    built_in_uv: false,
                },
                None,
                nothing,
            ).await;
            let _ = key.pin_retries().await;
            let _ = key.uv_retries().await;
            let _ = key.fingerprint_sensor().await;
            let _ = key.set_pin(&signet_ctap::Zeroizing::new("1234".into())).await;
            let _ = key.client_pin_set("1234").await;
            let _ = key.selection(nothing).await;
        });
    }
}
