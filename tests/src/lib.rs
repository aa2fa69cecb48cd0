//! Harness and suites that cross crates.

pub mod swtpm;
