//! Forges the fixtures that need no TPM and no security key, from the world and the recorded evidence:
//! `cargo run -p signet-tests --bin forge-fixtures`. The same files each time.

use signet_tests::attester::Fault;
use signet_tests::{fixture, forge};

fn main() -> Result<(), Fault> {
    let forged = forge::all(&fixture::world()?)?;
    for fixture in &forged {
        fixture.write()?;
    }
    Ok(())
}
