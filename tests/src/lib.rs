//! Harness and suites that cross crates.

pub mod bus;
pub mod signetd;
pub mod swtpm;
