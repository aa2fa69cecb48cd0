//! Others judge the software keys and our client: Yubico's own device tests on the keys that all our
//! tests run on, and python-fido2 as relying party of our client and as client of our verifier.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking that it failed")]

mod device_suite;
mod peer;

use std::path::{Path, PathBuf};

use signet_test_authenticators::Firmware;

const BOTH: [(Firmware, &str); 2] = [(Firmware::OpenSk, "opensk"), (Firmware::Trussed, "trussed")];

/// A file of the tree, or one that `make setup` puts there.
fn file(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

fn python() -> PathBuf {
    file(".venv/bin/python")
}
