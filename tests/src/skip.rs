//! Tests that cannot run where they are: said loudly, and counted.

use std::fs::OpenOptions;
use std::io::Write;

/// Names a file that gets a line for each test that was skipped; `make unit` counts them.
pub const FILE: &str = "SIGNET_SKIPPED";

/// Whether this test has to be left out because it does not run as root; then that is said and counted.
pub fn without_root(why: &str) -> bool {
    let skipped = !rustix::process::geteuid().is_root();
    if skipped {
        skip(&format!("{why}: only root can"));
    }
    skipped
}

fn skip(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("a test"));
    // Not by the macro: the harness keeps to itself what a test that passes prints with it.
    let _ = std::io::stderr().write_all(line.as_bytes());
    let file = std::env::var_os(FILE);
    let file = file.and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok());
    if let Some(mut file) = file {
        let _ = file.write_all(line.as_bytes());
    }
}
