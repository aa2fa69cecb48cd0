//! The whole appraisal of any bytes. The fuzz target makes every signature verify first, so that what lies
//! behind the signatures is reached. Included by the fuzz target and by the test that replays its seeds.

use std::sync::LazyLock;

use signet_evidence::Evidence;
use signet_evidence::tpm::TpmsAttest;
use signet_tests::fixture::{self, Fixture, Kind};
use signet_tests::judge::judge;
use signet_tests::world::World;

struct Court {
    world: World,
    /// Genuine evidence, each with what the verifier knows.
    genuine: Vec<Fixture>,
}

static COURT: LazyLock<Court> = LazyLock::new(|| {
    let all = fixture::all().expect("the fixtures are read");
    let genuine = |one: &Fixture| one.expect == "accepted" && one.kind != Kind::Token;
    let genuine = all.into_iter().filter(genuine).collect();
    Court { world: fixture::world().expect("the world is read"), genuine }
});

/// The first byte names genuine evidence whose place the rest takes. Whoever signed it: what is accepted is for
/// this audience, answers a challenge of ours, and is what the quote is over.
pub(crate) fn appraisal(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else { return };
    let Court { world, genuine } = &*COURT;
    let mut fixture = genuine[usize::from(*first) % genuine.len()].clone();
    let ours = Evidence::parse(&fixture.bytes).expect("it is genuine").statement;
    fixture.bytes = bytes.to_vec();
    if judge(world, &fixture).expect("the world can judge").is_err() {
        return;
    }
    let evidence = Evidence::parse(bytes).expect("it was accepted");
    let statement = &evidence.statement;
    assert_eq!((&statement.audience, &statement.device), (&ours.audience, &ours.device));
    assert_eq!((statement.challenge.len(), statement.session), (39, ours.session));
    let quote = TpmsAttest::parse(&evidence.tpm.quote.attest).expect("it was accepted");
    assert_eq!(quote.extra_data, evidence.qualifying_data());
}
