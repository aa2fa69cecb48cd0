//! Many callers: turns, cancels, callers that leave, limits.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::client::{Caller, Pending, Signal, refusal};
use crate::world::{PIN, another, ready, renewal, session, untouched_key};

/// Serves one request to its end: PIN when asked. Returns the outcome.
async fn serve(pending: &mut Pending) -> String {
    loop {
        match pending.next().await {
            Signal::Progress(stage, _) if stage == "pin-needed" => {
                pending.give_pin(PIN).await.unwrap();
            }
            Signal::Progress(..) => {}
            Signal::Completed(outcome, _, _) => return outcome,
        }
    }
}

#[tokio::test]
async fn fifty_requests_of_ten_callers_are_all_answered_once_and_in_turns() {
    let limits = "[limits]\nper_user = 64";
    let (world, _first, credential) = ready(untouched_key().await, limits).await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        callers.push(world.caller().await);
    }
    let mut waiting = Vec::new();
    for (number, caller) in callers.iter().enumerate() {
        for round in 0..5 {
            // Every fifth needs nobody.
            let different = u8::try_from(number * 5 + round).unwrap();
            let options = if round == 4 { renewal() } else { another(&credential, different) };
            let token = format!("r{round}");
            waiting.push((number, round, caller.presence(&token, &options).await.unwrap()));
        }
    }
    let (order, mut turns) = tokio::sync::mpsc::unbounded_channel();
    let served = waiting.into_iter().map(|(number, round, mut pending)| {
        let order = order.clone();
        async move {
            let outcome = serve(&mut pending).await;
            order.send((number, round)).unwrap();
            assert_eq!(outcome, "ok", "caller {number} request {round}");
            pending
        }
    });
    let mut done = join_all(served).await;
    drop(order);
    let mut finished = Vec::new();
    while let Some(turn) = turns.recv().await {
        finished.push(turn);
    }
    assert_eq!(finished.len(), 50);
    // Ten callers take turns. The first was served before the others came, so it may be two ahead.
    let mut prompts: BTreeMap<usize, usize> = (0..10).map(|caller| (caller, 0)).collect();
    for (caller, _) in finished.iter().filter(|(_, round)| *round != 4) {
        *prompts.get_mut(caller).unwrap() += 1;
        let (least, most) = (prompts.values().min().unwrap(), prompts.values().max().unwrap());
        assert!(most - least <= 2, "{finished:?}");
    }
    let status = callers[0].daemon.status().await.unwrap();
    assert_eq!(status["queue_length"], zbus::Variant::from(0u32).try_into().unwrap());
    // A round trip on each connection, so that a second answer would have come.
    for caller in &callers {
        caller.daemon.enrolled().await.unwrap();
    }
    assert!(done.iter_mut().all(|pending| !pending.has_more()), "answered twice");
}

#[tokio::test]
async fn a_cancelled_prompt_makes_room_for_the_next() {
    let (world, first, credential) = ready(untouched_key().await, "").await;
    let second = world.caller().await;
    let mut one = first.presence("one", &session(&credential)).await.unwrap();
    one.stage("pin-needed").await;
    let mut two = second.presence("two", &another(&credential, 2)).await.unwrap();
    let details = two.stage("queued").await;
    assert_eq!(details["position"], zbus::Variant::from(1u32).try_into().unwrap());
    one.request.cancel().await.unwrap();
    let (outcome, _) = one.outcome().await;
    assert_eq!(outcome, "Cancelled");
    assert_eq!(serve(&mut two).await, "ok");
    // The token is free again.
    let mut again = first.presence("one", &session(&credential)).await.unwrap();
    assert_eq!(serve(&mut again).await, "ok");
}

#[tokio::test]
async fn a_touch_after_the_cancel_is_nobodys() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    world.keys[0].touch_manual().unwrap();
    let mut one = caller.presence("one", &session(&credential)).await.unwrap();
    one.stage("pin-needed").await;
    one.give_pin(PIN).await.unwrap();
    one.stage("touch-needed").await;
    one.request.cancel().await.unwrap();
    assert_eq!(one.outcome().await.0, "Cancelled");
    let mut two = caller.presence("two", &session(&credential)).await.unwrap();
    two.stage("pin-needed").await;
    world.keys[0].touch_auto().unwrap();
    two.give_pin(PIN).await.unwrap();
    assert_eq!(serve(&mut two).await, "ok");
    assert!(!one.has_more());
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_requests_along() {
    let (world, first, credential) = ready(untouched_key().await, "").await;
    let mut one = first.presence("one", &session(&credential)).await.unwrap();
    one.stage("pin-needed").await;
    let second = world.caller().await;
    let mut two = second.presence("two", &another(&credential, 2)).await.unwrap();
    two.stage("queued").await;
    drop(one);
    first.connection.close().await.unwrap();
    assert_eq!(serve(&mut two).await, "ok");
    let status = second.daemon.status().await.unwrap();
    assert_eq!(status["queue_length"], zbus::Variant::from(0u32).try_into().unwrap());
}

#[tokio::test]
async fn nobody_else_can_cancel_or_answer_a_request() {
    let (world, owner, credential) = ready(untouched_key().await, "").await;
    let mut pending = owner.presence("mine", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    let stranger = world.caller().await;
    let mut overheard = stranger.overhear(pending.path.as_str()).await;
    let foreign = stranger.request_at(pending.path.as_str()).await;
    let (name, words) = refusal(foreign.cancel().await.unwrap_err());
    assert_eq!(name, "NotAllowed");
    assert!(words.contains("only its maker"), "{words}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    let pin = foreign.provide_pin(std::os::fd::OwnedFd::from(reader).into()).await;
    assert_eq!(refusal(pin.unwrap_err()).0, "NotAllowed");
    pending.give_pin(PIN).await.unwrap();
    assert_eq!(serve(&mut pending).await, "ok");
    stranger.daemon.enrolled().await.unwrap();
    assert!(!crate::client::is_ready(&mut overheard), "a stranger heard a signal");
}

#[tokio::test]
async fn a_token_is_used_by_one_request_at_a_time() {
    let (_world, caller, credential) = ready(untouched_key().await, "").await;
    let mut pending = caller.presence("same", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    let error = caller.daemon.request_presence("same", &session(&credential)).await.unwrap_err();
    let (name, words) = refusal(error);
    assert_eq!(name, "InvalidArgument");
    assert!(words.contains("in use"), "{words}");
    pending.give_pin(PIN).await.unwrap();
    assert_eq!(serve(&mut pending).await, "ok");
}

#[tokio::test]
async fn too_many_requests_are_refused_and_the_others_served() {
    let limits = "[limits]\nper_caller = 2\ntotal = 3";
    let (world, first, credential) = ready(untouched_key().await, limits).await;
    let ask = |caller: Caller, count: usize| {
        let credential = credential.clone();
        async move {
            let who = u8::try_from(count).unwrap();
            let mut accepted = Vec::new();
            let mut refused = Vec::new();
            for number in 0..count {
                let different = who * 10 + u8::try_from(number).unwrap();
                let asked =
                    caller.presence(&format!("t{number}"), &another(&credential, different)).await;
                match asked {
                    Ok(pending) => accepted.push(pending),
                    Err(error) => refused.push(refusal(error)),
                }
            }
            (caller, accepted, refused)
        }
    };
    let (_first, mut accepted, refused) = ask(first, 3).await;
    assert_eq!((accepted.len(), refused.len()), (2, 1));
    assert_eq!(refused[0].0, "TooManyRequests");
    assert!(refused[0].1.contains("2 requests of this caller"), "{}", refused[0].1);
    let (_second, more, refused) = ask(world.caller().await, 2).await;
    assert_eq!((more.len(), refused.len()), (1, 1));
    assert!(refused[0].1.contains("3 requests are unfinished"), "{}", refused[0].1);
    accepted.extend(more);
    for outcome in join_all(accepted.iter_mut().map(serve)).await {
        assert_eq!(outcome, "ok");
    }
}

#[tokio::test]
async fn a_renewal_overtakes_an_open_prompt() {
    let (world, first, credential) = ready(untouched_key().await, "").await;
    let mut prompt = first.presence("prompt", &session(&credential)).await.unwrap();
    prompt.stage("pin-needed").await;
    let second = world.caller().await;
    let mut renew = second.presence("renew", &renewal()).await.unwrap();
    renew.results().await;
    prompt.give_pin(PIN).await.unwrap();
    assert_eq!(serve(&mut prompt).await, "ok");
}

#[tokio::test]
async fn a_prompt_that_nobody_answers_times_out() {
    let (_world, caller, credential) = ready(untouched_key().await, "[timeouts]\nprompt = 6").await;
    let mut pending = caller.presence("late", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    let (outcome, words) = pending.outcome().await;
    assert_eq!(outcome, "TimedOut");
    assert!(words.contains("touch it when it blinks"), "{words}");
    let mut again = caller.presence("again", &session(&credential)).await.unwrap();
    assert_eq!(serve(&mut again).await, "ok");
}

#[tokio::test]
async fn listing_the_keys_does_not_disturb_a_prompt() {
    let (world, caller, credential) = ready(untouched_key().await, "").await;
    world.keys[0].touch_manual().unwrap();
    let mut pending = caller.presence("one", &session(&credential)).await.unwrap();
    pending.stage("pin-needed").await;
    assert_eq!(caller.daemon.list_authenticators().await.unwrap().len(), 1);
    pending.give_pin(PIN).await.unwrap();
    pending.stage("touch-needed").await;
    // Now the key is in the middle of a command, which another channel would end.
    let listed = caller.daemon.list_authenticators().await.unwrap();
    assert_eq!(listed.len(), 1);
    world.keys[0].touch().unwrap();
    pending.results().await;
}
