//! Records `fixtures/` anew on real parts: `cargo run -p signet-tests --bin record-fixtures`.
//!
//! Needed after a change of the formats only: fixtures are files that stay.

use signet_tests::attester::Fault;
use signet_tests::fixture;
use signet_tests::recorder::Recorder;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let folder = fixture::folder();
    Recorder::start(folder).await?.record().await
}
