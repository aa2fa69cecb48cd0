//! Many requests of one user hurt nobody else.

use crate::client::refusal;
use crate::world::{ready, session, untouched_key};

#[tokio::test]
async fn a_user_with_many_connections_has_no_more_requests_than_one() {
    let limits = "[limits]\nper_user = 3";
    let (world, first, credential) = ready(untouched_key().await, limits).await;
    let second = world.caller().await;
    let mut waiting = Vec::new();
    for (number, caller) in [&first, &second, &first].into_iter().enumerate() {
        let token = format!("t{number}");
        waiting.push(caller.presence(&token, &session(&credential)).await.unwrap());
    }
    let error = second.presence("more", &session(&credential)).await.map(drop).unwrap_err();
    let (name, words) = refusal(error);
    assert_eq!(name, "TooManyRequests");
    assert!(words.contains("3 requests of this user"), "{words}");
    waiting[0].request.cancel().await.unwrap();
    assert_eq!(waiting[0].outcome().await.0, "Cancelled");
    second.presence("more", &session(&credential)).await.unwrap();
}
