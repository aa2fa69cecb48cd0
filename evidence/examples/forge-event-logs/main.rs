//! Writes the forged event logs of `fixtures/eventlogs`. Run it after a change here:
//! `cargo run -p signet-evidence --example forge-event-logs`; a test compares.
#![allow(clippy::unwrap_used, reason = "a tool of the tests")]
#![allow(clippy::disallowed_methods, reason = "it writes files")]

mod forgery;
mod machine;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_evidence::thumbprint::hex;

use forgery::Forgery;

/// The text of one fixture: header lines, an empty line, the log in base64.
fn text(forgery: &Forgery) -> String {
    let mut out = String::new();
    let bank = format!("{:?}", forgery.bank).to_lowercase();
    let pcrs = forgery.quoted.pcrs(forgery.bank);
    let pcrs: Vec<String> =
        pcrs.iter().map(|(pcr, value)| format!("{pcr}={}", hex(value))).collect();
    for (name, value) in [
        ("expect", forgery.code),
        ("reason", &forgery.reason),
        ("limits", forgery.limits),
        ("bank", &bank),
        ("quoted", &pcrs.join(",")),
        ("spec", "TCG PC Client Platform Firmware Profile 1.06 section 10"),
        ("comment", forgery.comment),
    ] {
        writeln!(out, "{name}: {value}").unwrap();
    }
    out.push('\n');
    for line in STANDARD.encode(&forgery.log).as_bytes().chunks(76) {
        writeln!(out, "{}", str::from_utf8(line).unwrap()).unwrap();
    }
    out
}

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/eventlogs");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    for forgery in forgery::all() {
        let folder = folder.join(forgery.code);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{}.fixture", forgery.name));
        assert!(!path.exists(), "{} twice", path.display());
        fs::write(path, text(&forgery)).unwrap();
    }
}
