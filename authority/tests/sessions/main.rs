//! The session table (protocol §3.2) by property: whatever happens, in whatever order, to an operator's
//! sessions, the authority gives exactly the tokens that a small reference of the table gives, refuses
//! the others with its code, and calls exactly those tokens good. A failure is shrunk to the shortest
//! sequence of events.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

mod desk;
mod event;
#[path = "../house/mod.rs"]
#[allow(dead_code)] // this suite uses its part of the house
mod house;
mod operator;
#[path = "../postgres/mod.rs"]
mod postgres;
mod reference;
mod stage;

use std::cell::RefCell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use event::{Event, Target, sequence};
use reference::{Reference, Rule};
use stage::Stage;

/// Lets a sequence happen to a new operator; says where reference and authority differ.
async fn live(
    stage: &mut Stage,
    events: &[Event],
    forgotten: Option<Rule>,
) -> Result<(), TestCaseError> {
    let (mut life, mut reference) = (stage.life().await, Reference::new(forgotten));
    for event in events {
        let (sessions, tokens) = reference.made();
        let Some(event) = event.among(sessions, tokens) else { continue };
        let (expected, found) = (reference.apply(&event), stage.apply(&mut life, &event).await);
        if expected != found {
            let what = format!("{event:?}: the table says {expected:?}, the authority {found:?}");
            return Err(TestCaseError::fail(what));
        }
    }
    Ok(())
}

/// Tries so many sequences; the shortest that was found to differ, and how.
fn search(
    nodes: usize,
    database: Option<&dyn Fn() -> String>,
    cases: u32,
    forgotten: Option<Rule>,
) -> Option<(Vec<Event>, String)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = database.map(|database| database());
    let stage = RefCell::new(runtime.block_on(Stage::set(nodes, database.as_deref())));
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    // A canary has to be found each time; the search for faults looks elsewhere each time.
    let mut runner = match forgotten {
        Some(_) => {
            let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, seed)
        }
        None => TestRunner::new(config),
    };
    let tried = runner.run(&sequence(), |events| {
        runtime.block_on(live(&mut stage.borrow_mut(), &events, forgotten))
    });
    match tried {
        Ok(()) => None,
        Err(TestError::Fail(why, events)) => Some((events, why.message().to_owned())),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

fn holds(nodes: usize, database: Option<&dyn Fn() -> String>, cases: u32) {
    if let Some((events, why)) = search(nodes, database, cases, None) {
        let events: Vec<String> = events.iter().map(|event| format!("  {event:?}")).collect();
        panic!("{why}\nafter\n{}", events.join("\n"));
    }
}

#[test]
fn on_one_node_every_sequence_gives_what_the_table_gives() {
    holds(1, None, 96);
}

#[test]
fn on_three_nodes_every_sequence_gives_what_the_table_gives() {
    let database = || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(postgres::shared().database())
    };
    holds(3, Some(&database), 48);
}

/// The first node has places in the status lists left over that were revoked with all others.
#[test]
fn a_session_begins_on_one_node_after_another_revoked_everything() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let database = postgres::shared().database().await;
        let mut stage = Stage::set(2, Some(&database)).await;
        let touch = Event::Touch { desk: 0, key: 0, wide: false };
        let revoke = [Event::Node { node: 1 }, Event::Revoke(Target::Everything)];
        let again = [Event::Node { node: 0 }, touch, Event::Look { token: 1 }];
        live(&mut stage, &[&[touch], &revoke[..], &again].concat(), None).await.unwrap();
    });
}

/// A reference that forgets a rule is found to differ, by a short sequence.
fn canary(forgotten: Rule, longest: usize, expected: impl Fn(&Event) -> bool) {
    let (events, why) = search(1, None, 512, Some(forgotten)).expect("a difference");
    assert!(events.len() <= longest, "{why}: {events:?}");
    assert!(expected(events.last().unwrap()), "{why}: {events:?}");
}

#[test]
fn a_table_in_which_presence_never_ends_is_found_out() {
    let renewed = |event: &Event| matches!(event, Event::Renew { .. });
    canary(Rule::PresenceEnds, 8, renewed);
}

#[test]
fn a_table_in_which_sessions_outlive_a_rest_is_found_out() {
    let continued = |event: &Event| matches!(event, Event::Renew { .. } | Event::TouchAgain { .. });
    canary(Rule::RestEnds, 6, continued);
}

#[test]
fn a_table_in_which_sessions_outlive_a_reboot_is_found_out() {
    let continued = |event: &Event| matches!(event, Event::Renew { .. } | Event::TouchAgain { .. });
    canary(Rule::RebootEnds, 4, continued);
}

#[test]
fn a_table_in_which_revoked_keys_serve_is_found_out() {
    let touched = |event: &Event| {
        matches!(event, Event::Touch { .. } | Event::TouchAgain { .. } | Event::Action { .. })
    };
    canary(Rule::KeyEnds, 4, touched);
}

#[test]
fn a_table_in_which_renewals_widen_the_scope_is_found_out() {
    let renewed = |event: &Event| matches!(event, Event::Renew { wide: true, .. });
    canary(Rule::ScopeStays, 4, renewed);
}

#[test]
fn a_table_in_which_actions_are_spent_twice_is_found_out() {
    let spent = |event: &Event| matches!(event, Event::Spend { .. } | Event::Look { .. });
    canary(Rule::UsedOnce, 5, spent);
}
