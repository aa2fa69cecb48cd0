//! Keys that speak U2F only, or nothing we know.

use std::collections::VecDeque;

use signet_ctap::operation::{AssertRequest, OperationError, Prompt, UserVerification};
use signet_ctap::{CommandError, Key, OpenError, StatusWord};

use crate::pipe::Scripted;
use crate::*;

/// A key with these capability flags that answers U2F requests in turn.
fn key(flags: u8, answers: &[&[u8]]) -> Scripted {
    let mut answers: VecDeque<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
    let mut rest_of_request = 0usize;
    Scripted::new(move |report| match report[4] {
        INIT => {
            let mut answer = init_answer(report);
            answer[7 + 16] = flags;
            vec![answer]
        }
        MESSAGE => {
            let length = usize::from(u16::from_be_bytes([report[5], report[6]]));
            rest_of_request = length.saturating_sub(57);
            match rest_of_request {
                0 => answers.pop_front().map(|a| whole(OURS, MESSAGE, &a)).into_iter().collect(),
                _ => vec![],
            }
        }
        sequence if sequence < 0x80 => {
            rest_of_request = rest_of_request.saturating_sub(59);
            match rest_of_request {
                0 => answers.pop_front().map(|a| whole(OURS, MESSAGE, &a)).into_iter().collect(),
                _ => vec![],
            }
        }
        _ => vec![],
    })
}

const U2F: u8 = 0x01;
const VERSION: &[u8] = b"U2F_V2\x90\x00";
const NOT_TOUCHED: &[u8] = &[0x69, 0x85];
const UNKNOWN: &[u8] = &[0x6A, 0x80];

fn request() -> AssertRequest {
    AssertRequest {
        rp_id: "presence.mesh.example".into(),
        client_data_hash: [1; 32],
        allow_list: vec![vec![2; 64]],
        user_verification: UserVerification::Discouraged,
    }
}

async fn assert_with(answers: &[&[u8]]) -> Result<Vec<u8>, OperationError> {
    let all: Vec<&[u8]> = [VERSION].iter().chain(answers).copied().collect();
    let mut key = Key::open(key(U2F, &all), timing()).await.unwrap();
    key.assert(&request(), &Prompt::nobody()).await.map(|assertion| assertion.auth_data)
}

#[tokio::test(start_paused = true)]
async fn a_key_of_neither_generation_is_not_opened() {
    let result = Key::open(key(0x08, &[]), timing()).await;
    assert!(matches!(result, Err(OpenError::NotFido)), "{result:?}");
    let opened = Key::open(key(U2F, &[VERSION]), timing()).await.unwrap();
    assert!(opened.info().u2f_only);
    assert_eq!(opened.info().versions, ["U2F_V2"]);
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_judged() {
    let signed = |presence: u8| [&[presence, 0, 0, 0, 9, 0x30, 1, 7][..], &[0x90, 0]].concat();
    let data = assert_with(&[NOT_TOUCHED, NOT_TOUCHED, &signed(1)]).await.unwrap();
    assert_eq!(data[32..], [1, 0, 0, 0, 9]);
    let result = assert_with(&[NOT_TOUCHED, &signed(0)]).await;
    assert!(matches!(result, Err(OperationError::UpFlagMissing)), "{result:?}");
    // A user verified bit would lift a touch to more than it is.
    let result = assert_with(&[NOT_TOUCHED, &signed(5)]).await;
    assert!(matches!(result, Err(OperationError::AnswerMismatch)), "{result:?}");
    let result = assert_with(&[UNKNOWN]).await;
    assert!(matches!(result, Err(OperationError::NoCredentials)), "{result:?}");
    // Signed although it was only asked whether it knows.
    let result = assert_with(&[&signed(1)]).await;
    assert!(matches!(result, Err(OperationError::Protocol(CommandError::Answer(_)))), "{result:?}");
    let result = assert_with(&[&[0x69, 0x86]]).await;
    assert!(matches!(result, Err(OperationError::UvRequiredByKey)), "{result:?}");
    let result = assert_with(&[&[0x6D, 0x00]]).await;
    assert!(
        matches!(
            result,
            Err(OperationError::Protocol(CommandError::StatusWord(StatusWord::INS_NOT_SUPPORTED)))
        ),
        "{result:?}"
    );
    for cut in [&[][..], &[0x90], &[1, 0, 0, 0x90, 0]] {
        let result = assert_with(&[NOT_TOUCHED, cut]).await;
        assert!(
            matches!(result, Err(OperationError::Protocol(CommandError::Answer(_)))),
            "{result:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_touches_forever() {
    let answers: Vec<&[u8]> = [VERSION].into_iter().chain([NOT_TOUCHED; 1000]).collect();
    let mut key = Key::open(key(U2F, &answers), timing()).await.unwrap();
    let start = tokio::time::Instant::now();
    let result = key.assert(&request(), &Prompt::nobody()).await;
    assert!(matches!(result, Err(OperationError::Timeout)), "{result:?}");
    assert_eq!(start.elapsed(), timing().answer);
}
