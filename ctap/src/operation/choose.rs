//! Several keys plugged in: all blink, the one that is touched is meant.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use super::assert::{AssertRequest, Assertion, Holds};
use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use crate::key::Key;

/// Gets an assertion from whichever of `keys` the person touches.
///
/// Keys that hold none of the acceptable credentials are left out first, without a touch. Returns the
/// key's place in `keys`. Cancel by dropping the future.
pub async fn assert_any(
    keys: &mut [Key],
    request: &AssertRequest,
    prompt: &Prompt,
) -> Result<(usize, Assertion), OperationError> {
    let keys = keys.iter_mut().enumerate();
    assert_each(keys.map(|(place, key)| (place, key, request)).collect(), prompt).await
}

/// As [`assert_any`], with a request of its own for each key, for keys that cannot do the same. The
/// numbers are the caller's; that of the touched key is returned.
pub async fn assert_each(
    keys: Vec<(usize, &mut Key, &AssertRequest)>,
    prompt: &Prompt,
) -> Result<(usize, Assertion), OperationError> {
    if keys.is_empty() {
        return Err(OperationError::NoKey);
    }
    let asked = keys.into_iter().map(|(place, key, request)| async move {
        let holds = key.holds(request).await;
        (place, key, request, holds)
    });
    let mut candidates = Vec::new();
    let mut requests = Vec::new();
    let mut failure = None;
    for (place, key, request, holds) in join_all(asked).await {
        match holds {
            Ok(Holds::No) => {}
            // A touch of it would be for nothing.
            Ok(_) if key.info().u2f_only && request.user_verification.is_required() => {
                failure = Some(OperationError::Unsupported(Feature::UserVerification));
            }
            Ok(Holds::Yes | Holds::Unsaid) => {
                candidates.push((requests.len(), key));
                requests.push((place, request));
            }
            // One broken key must not keep the others from working.
            Err(error) => failure = Some(error),
        }
    }
    if candidates.is_empty() {
        return Err(failure.unwrap_or(OperationError::NoCredentials));
    }
    let several = candidates.len() > 1;
    let (chosen, key) = choose(candidates, prompt).await?;
    let (place, request) = requests[chosen];
    match key.assert(request, prompt).await {
        Err(OperationError::NoCredentials) if several => Err(OperationError::WrongKey),
        assertion => Ok((place, assertion?)),
    }
}

/// Lets all `candidates` blink and returns the one that is touched; a single one needs no touch.
///
/// Works for registration too. Keys that fail (pulled out, timed out) drop out of the race; when the
/// last one fails, its error is returned.
pub async fn choose<'k>(
    mut candidates: Vec<(usize, &'k mut Key)>,
    prompt: &Prompt,
) -> Result<(usize, &'k mut Key), OperationError> {
    if candidates.len() > 1 {
        prompt.send(Event::ChoiceNeeded { keys: candidates.len() });
        let winner = touched(&mut candidates).await?;
        return Ok(candidates.swap_remove(winner));
    }
    candidates.pop().ok_or(OperationError::NoKey)
}

impl Key {
    async fn blink(&mut self) -> Result<(), OperationError> {
        match self.info().u2f_only {
            true => self.blink_by_u2f().await,
            false => Ok(self.selection(&mut |_| {}).await?),
        }
    }
}

/// Position of the first touched key. The others' commands are dropped, which cancels them.
async fn touched(candidates: &mut [(usize, &mut Key)]) -> Result<usize, OperationError> {
    let mut race: FuturesUnordered<_> = candidates
        .iter_mut()
        .enumerate()
        .map(|(position, (_, key))| async move { (position, key.blink().await) })
        .collect();
    let mut last = OperationError::NoKey;
    while let Some((position, outcome)) = race.next().await {
        match outcome {
            Ok(()) => return Ok(position),
            Err(error) => last = error,
        }
    }
    Err(last)
}
