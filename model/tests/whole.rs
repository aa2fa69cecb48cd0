//! Nothing is broken within small bounds, and honest people get what they should.

use signet_model::property::POSSIBLE;
use signet_model::search::explore;
use signet_model::spend::Nodes;
use signet_model::world::{Bounds, Protocol, Start};

/// Nothing is broken, and only `unreached` is out of reach of these bounds.
fn holds(start: Start, bounds: Bounds, unreached: &str) {
    let found = explore(Protocol::whole(start, bounds), 2);
    assert_eq!(found.broken, Vec::<&str>::new());
    assert_eq!(found.impossible, [unreached]);
    assert!(POSSIBLE.contains(&unreached));
}

const NO_GATEWAY: &str = "Alice's action is done";
const ONE_TOKEN: &str = "Alice renews it";

#[test]
fn evidence_holds_against_the_network() {
    holds(Start::Network, Bounds::EVIDENCE, NO_GATEWAY);
}

#[test]
fn evidence_holds_against_a_host_that_was_taken_over() {
    holds(Start::Host, Bounds::EVIDENCE, NO_GATEWAY);
}

#[test]
fn evidence_holds_against_a_host_that_booted_something_else() {
    holds(Start::Boot, Bounds::EVIDENCE, NO_GATEWAY);
}

#[test]
fn tokens_hold_at_gateways() {
    for start in Start::ALL {
        holds(start, Bounds::GATEWAY, ONE_TOKEN);
    }
}

#[test]
fn an_action_is_spent_once_over_nodes_that_crash() {
    let found = explore(Nodes::small(), 2);
    assert_eq!(found.broken, Vec::<&str>::new());
    assert_eq!(found.impossible, Vec::<&str>::new());
}
