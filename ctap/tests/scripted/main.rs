//! The client against pipes that follow a script: broken, hostile, slow and shared keys.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code outside of test functions")]

mod answers;
mod pipe;
mod u2f;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use signet_ctap::channel::Keepalive;
use signet_ctap::reports::Report;
use signet_ctap::{Channel, ChannelError, Timing};

use crate::pipe::{Scripted, first, init_answer, next, whole};

const OURS: u32 = 0x0102_0304;
const OTHER: u32 = 0x0A0B_0C0D;
const BROADCAST: u32 = 0xFFFF_FFFF;
const INIT: u8 = 0x86;
const MESSAGE: u8 = 0x83;
const CBOR: u8 = 0x90;
const CANCEL: u8 = 0x91;
const KEEPALIVE: u8 = 0xBB;
const ERROR: u8 = 0xBF;

fn timing() -> Timing {
    Timing {
        silence: Duration::from_secs(2),
        answer: Duration::from_secs(30),
        busy_retries: 3,
        busy_pause: Duration::from_millis(10),
        opening: Duration::from_secs(5),
        recovery: Duration::from_secs(5),
        resend: Duration::from_millis(500),
        touch_poll: Duration::from_millis(200),
    }
}

async fn open(pipe: &Scripted) -> Channel {
    Channel::open(Box::new(pipe.clone()), timing()).await.unwrap()
}

async fn ask(channel: &mut Channel) -> Result<Vec<u8>, ChannelError> {
    channel.cbor(&[0x04], &mut |_| {}).await
}

/// The outcome of one request when the key answers with these reports.
async fn answered_with(reports: Vec<Report>) -> Result<Vec<u8>, ChannelError> {
    let pipe = Scripted::after_init(move |r| if r[4] == CBOR { reports.clone() } else { vec![] });
    ask(&mut open(&pipe).await).await
}

#[tokio::test(start_paused = true)]
async fn only_the_answer_with_our_nonce_opens_the_channel() {
    let pipe = Scripted::new(|report| {
        if report[4] != INIT {
            return vec![whole(OURS, CBOR, &[0x00])];
        }
        let mut foreign = init_answer(report);
        foreign[7] ^= 1;
        foreign[15..19].copy_from_slice(&OTHER.to_be_bytes());
        vec![foreign, whole(OTHER, CBOR, &[0]), first(BROADCAST, INIT, 3, &[]), init_answer(report)]
    });
    assert_eq!(ask(&mut open(&pipe).await).await.unwrap(), [0x00]);
    let sent = pipe.0.lock().unwrap().from_host.last().copied().unwrap();
    assert_eq!(sent[..4], OURS.to_be_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_is_silent() {
    let pipe = Scripted::new(|_| vec![]);
    let result = Channel::open(Box::new(pipe.clone()), timing()).await;
    assert!(matches!(result, Err(ChannelError::Silent)), "{result:?}");
    assert!(pipe.heard().len() > 5, "INIT is sent again");
}

#[tokio::test(start_paused = true)]
async fn packets_of_others_are_passed_over() {
    let answer = vec![
        whole(OTHER, CBOR, b"theirs"),
        first(OURS, CBOR, 100, &[1; 57]),
        next(OTHER, 0, 9),
        whole(OTHER, ERROR, &[0x06]),
        next(OURS, 0, 2),
    ];
    assert_eq!(answered_with(answer).await.unwrap(), [vec![1; 57], vec![2; 43]].concat());
}

#[tokio::test(start_paused = true)]
async fn broken_framing_is_told() {
    let broken = [
        ("sequence starts at 1", vec![first(OURS, CBOR, 100, &[1; 57]), next(OURS, 1, 2)]),
        (
            "packet repeated",
            vec![first(OURS, CBOR, 200, &[1; 57]), next(OURS, 0, 2), next(OURS, 0, 2)],
        ),
        ("message in a message", vec![first(OURS, CBOR, 100, &[1; 57]), whole(OURS, CBOR, &[0])]),
        ("longer than a message can be", vec![first(OURS, CBOR, 7610, &[1; 57])]),
        ("answer to another command", vec![whole(OURS, 0x83, &[0])]),
        ("error without a code", vec![whole(OURS, ERROR, &[])]),
    ];
    for (what, reports) in broken {
        let result = answered_with(reports).await;
        assert!(matches!(result, Err(ChannelError::Framing)), "{what}: {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_is_silence() {
    let result = answered_with(vec![first(OURS, CBOR, 100, &[1; 57])]).await;
    assert!(matches!(result, Err(ChannelError::Silent)), "{result:?}");
    let result = answered_with(vec![next(OURS, 0, 1)]).await;
    assert!(matches!(result, Err(ChannelError::Silent)), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn keepalives_are_surfaced_and_do_not_last_forever() {
    let answer = vec![
        whole(OURS, KEEPALIVE, &[1]),
        whole(OURS, KEEPALIVE, &[2]),
        whole(OURS, KEEPALIVE, &[9]),
        whole(OURS, KEEPALIVE, &[]),
        whole(OURS, CBOR, &[0]),
    ];
    let pipe = Scripted::after_init(move |r| if r[4] == CBOR { answer.clone() } else { vec![] });
    let mut channel = open(&pipe).await;
    let mut seen = Vec::new();
    channel.cbor(&[0x04], &mut |keepalive| seen.push(keepalive)).await.unwrap();
    assert_eq!(seen, [Keepalive::Processing, Keepalive::UserNeeded]);

    let pipe = Scripted::after_init(|_| vec![]);
    let mut channel = open(&pipe).await;
    let feed = pipe.clone();
    let feeder = tokio::spawn(async move {
        loop {
            feed.say([whole(OURS, KEEPALIVE, &[2])]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let start = tokio::time::Instant::now();
    let result = ask(&mut channel).await;
    assert!(matches!(result, Err(ChannelError::Silent)), "{result:?}");
    assert_eq!(start.elapsed(), timing().answer);
    assert_eq!(pipe.heard().last(), Some(&CANCEL));
    feeder.abort();
}

#[tokio::test(start_paused = true)]
async fn chatter_of_others_is_no_sign_of_life() {
    let pipe = Scripted::after_init(|_| vec![]);
    let mut channel = open(&pipe).await;
    let feed = pipe.clone();
    let feeder = tokio::spawn(async move {
        loop {
            feed.say([whole(OTHER, KEEPALIVE, &[2])]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let start = tokio::time::Instant::now();
    let result = ask(&mut channel).await;
    assert!(matches!(result, Err(ChannelError::Silent)), "{result:?}");
    assert_eq!(start.elapsed(), timing().silence);
    feeder.abort();
}

#[tokio::test(start_paused = true)]
async fn a_busy_key_is_asked_again_but_not_forever() {
    for code in [0x06, 0x00] {
        let mut refusals = 3;
        let pipe = Scripted::after_init(move |r| match r[4] {
            CBOR if refusals > 0 => {
                refusals -= 1;
                vec![whole(OURS, ERROR, &[code])]
            }
            CBOR => vec![whole(OURS, CBOR, &[0])],
            _ => vec![],
        });
        assert_eq!(ask(&mut open(&pipe).await).await.unwrap(), [0]);
        let result = answered_with(vec![whole(OURS, ERROR, &[code])]).await;
        assert!(matches!(result, Err(ChannelError::Busy)), "{result:?}");
    }
    for code in [0x01, 0x04, 0x0B, 0x7F] {
        let result = answered_with(vec![whole(OURS, ERROR, &[code])]).await;
        assert!(
            matches!(result, Err(ChannelError::Refused(found)) if found.0 == code),
            "{result:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_fit_is_not_sent() {
    let pipe = Scripted::after_init(|_| vec![whole(OURS, CBOR, &[0])]);
    let mut channel = open(&pipe).await;
    let result = channel.cbor(&[0; 7610], &mut |_| {}).await;
    assert!(matches!(result, Err(ChannelError::RequestTooLong { found: 7610 })), "{result:?}");
    assert_eq!(pipe.heard(), [INIT]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_is_told() {
    let pipe = Scripted::after_init(|_| vec![]);
    let mut channel = open(&pipe).await;
    let (result, ()) = tokio::join!(ask(&mut channel), async { pipe.unplug() });
    assert!(matches!(result, Err(ChannelError::Removed(_))), "{result:?}");
    let result = ask(&mut channel).await;
    assert!(matches!(result, Err(ChannelError::Removed(_))), "{result:?}");
}

/// A key that does not hear CANCEL until its person came, like OpenSK in its finger loop.
#[tokio::test(start_paused = true)]
async fn a_dropped_request_cancels_and_its_late_answer_is_drained() {
    let deaf = Arc::new(Mutex::new((true, Vec::new())));
    let ears = Arc::clone(&deaf);
    let pipe = Scripted::new(move |report| {
        let mut state = ears.lock().unwrap();
        match (report[4], state.0 && report[0] != 0xFF) {
            (INIT, true) => {
                state.1.push(init_answer(report));
                vec![]
            }
            (INIT, false) => vec![init_answer(report)],
            (CBOR, false) => vec![whole(OURS, CBOR, b"fresh")],
            _ => vec![],
        }
    });
    let mut channel = open(&pipe).await;
    let dropped = tokio::time::timeout(Duration::from_secs(1), ask(&mut channel)).await;
    let _: tokio::time::error::Elapsed = dropped.expect_err("the key answered");
    assert_eq!(pipe.heard(), [INIT, CBOR, CANCEL]);

    let (result, ()) = tokio::join!(ask(&mut channel), async {
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let mut state = deaf.lock().unwrap();
        state.0 = false;
        let late = std::mem::take(&mut state.1);
        drop(state);
        pipe.say([whole(OURS, CBOR, b"stale")]);
        pipe.say(late);
    });
    assert_eq!(result.unwrap(), b"fresh");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_never_comes_back_is_silent_and_tried_again() {
    let pipe = Scripted::new(|r| if r[0] == 0xFF { vec![init_answer(r)] } else { vec![] });
    let mut channel = open(&pipe).await;
    for _ in 0..2 {
        let result = ask(&mut channel).await;
        assert!(matches!(result, Err(ChannelError::Silent)), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ping_and_wink() {
    let pipe = Scripted::after_init(|report| vec![*report]);
    let mut channel = open(&pipe).await;
    channel.ping(&[7; 57]).await.unwrap();
    channel.wink().await.unwrap();
    let pipe = Scripted::after_init(|_| vec![whole(OURS, 0x81, b"no")]);
    let result = open(&pipe).await.ping(b"yes").await;
    assert!(matches!(result, Err(ChannelError::Framing)), "{result:?}");
}

/// A report that is often nearly right.
fn report() -> impl Strategy<Value = Report> {
    let id =
        prop_oneof![6 => Just(OURS), 1 => Just(OTHER), 1 => Just(BROADCAST), 1 => any::<u32>()];
    let kind = prop_oneof![
        3 => Just(CBOR), 2 => 0u8..3, 1 => Just(KEEPALIVE), 1 => Just(ERROR), 1 => Just(INIT), 1 => any::<u8>(),
    ];
    let length = prop_oneof![3 => 0u16..130, 1 => 7600u16..7620, 1 => any::<u16>()];
    (id, kind, length, any::<[u8; 32]>())
        .prop_map(|(id, kind, length, data)| first(id, kind, length, &data))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a key says, a request ends in bounded time, and a key that behaves again is usable.
    #[test]
    fn any_reports_leave_the_channel_usable(chatter in prop::collection::vec(report(), 0..40), cut: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async move {
            let mut chatter = Some(chatter);
            let pipe = Scripted::after_init(move |report| match report[4] {
                CBOR => chatter.take().unwrap_or_else(|| vec![whole(OURS, CBOR, b"good")]),
                _ => vec![],
            });
            let mut channel = open(&pipe).await;
            if cut {
                let _ = tokio::time::timeout(Duration::from_millis(1), ask(&mut channel)).await;
            } else {
                let _ = tokio::time::timeout(Duration::from_secs(120), ask(&mut channel))
                    .await
                    .expect("bounded");
            }
            assert_eq!(ask(&mut channel).await.unwrap(), b"good");
        });
    }
}
