//! What machines boot, from the TPM's registers to the administrator's words: the real programs, and a
//! software TPM whose registers are extended from the log of an invented machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail the test")]

#[path = "../client/bench.rs"]
#[allow(dead_code, reason = "the suite of the client uses the rest")]
mod bench;
mod counters;
mod desk;
mod logs;
mod loss;
#[path = "../../../evidence/examples/forge-event-logs/machine.rs"]
#[allow(dead_code, reason = "the generator of forged logs uses the rest")]
mod machine;
mod policies;
