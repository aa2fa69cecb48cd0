//! Ten thousand tries over three stores of their own, as three nodes have them.

use std::sync::Arc;

use signet_authority::random;
use signet_authority::store::{
    CommitError, Event, IntegrityKey, MintRecord, SessionChange, SessionKind, SqlStore, Store,
};
use signet_evidence::{RejectionCode, SessionId};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::house::rows::{NOW, allowed, challenge, enrol_device, session_record, token};
use crate::postgres::{server, shared};
use crate::stage::records;

const ROUNDS: usize = 100;
const TRIES: usize = 100;

async fn three_stores() -> Vec<Arc<SqlStore>> {
    let server = server(&shared().database().await);
    let integrity = || IntegrityKey::new(&Zeroizing::new([7; 32]));
    let mut stores = vec![Arc::new(SqlStore::create(server.clone(), integrity()).await.unwrap())];
    for _ in 1..3 {
        stores.push(Arc::new(SqlStore::open(server.clone(), integrity()).await.unwrap()));
    }
    stores
}

fn one_wins(outcomes: Vec<Result<(), CommitError>>, code: RejectionCode) {
    assert_eq!(outcomes.len(), TRIES);
    let (yes, no): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(yes.len(), 1);
    for outcome in no {
        match outcome {
            Err(CommitError::Rejected(refused)) => assert_eq!(refused, code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_redemptions_one_of_each_token_wins() {
    let stores = three_stores().await;
    let device = enrol_device(stores[0].as_ref(), 1).await;
    for _ in 0..ROUNDS {
        let action = session_record(stores[0].as_ref(), &device, SessionKind::Action).await;
        stores[0].mint(&action, &allowed(Event::TokenAction)).await.unwrap();
        let mut racing = JoinSet::new();
        for number in 0..TRIES {
            let (store, id) = (stores[number % 3].clone(), action.token.id);
            racing.spawn(async move { store.redeem(&id, NOW, &allowed(Event::Redeem)).await });
        }
        one_wins(racing.join_all().await, RejectionCode::TokenRedeemed);
    }
    let redeemed = records(stores[0].as_ref()).await;
    assert_eq!(redeemed.iter().filter(|record| record.event == "redeem").count(), ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_answers_to_challenges_one_of_each_wins() {
    let stores = three_stores().await;
    let device = enrol_device(stores[0].as_ref(), 1).await;
    let first = session_record(stores[0].as_ref(), &device, SessionKind::Person).await;
    for _ in 0..ROUNDS {
        let challenge = challenge();
        let index = stores[0].reserve_status_indices(TRIES as u32).await.unwrap().start;
        let mut racing = JoinSet::new();
        for number in 0..TRIES {
            let SessionChange::Start(mut session) = first.session.clone() else { panic!() };
            session.id = SessionId(random::bytes());
            session.status_index = index + number as u64;
            let token = token(session.id, SessionKind::Person);
            let session = SessionChange::Start(session);
            let record = MintRecord { challenge, session, token, ..first.clone() };
            let store = stores[number % 3].clone();
            racing.spawn(async move { store.mint(&record, &allowed(Event::TokenSession)).await });
        }
        one_wins(racing.join_all().await, RejectionCode::ChallengeReplayed);
    }
    let minted = records(stores[0].as_ref()).await;
    assert_eq!(minted.iter().filter(|record| record.event == "token-session").count(), ROUNDS);
    assert_eq!(stores[1].live_sessions(NOW).await.unwrap(), ROUNDS as u64);
}
