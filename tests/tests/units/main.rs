//! What is installed for systemd, udev and the bus: it parses, is closed as tightly as promised, and
//! its parts name each other rightly. No system manager runs here.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

mod agent;
mod rules;
mod services;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn text(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The unit files, without those of users' own managers.
fn units() -> Vec<PathBuf> {
    let found = fs::read_dir(root().join("systemd")).unwrap().map(|entry| entry.unwrap().path());
    let mut units: Vec<PathBuf> = found
        .filter(|path| path.extension().is_some_and(|kind| kind == "service" || kind == "socket"))
        .collect();
    units.sort();
    units
}

/// Values of `key` in a unit file, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

/// Runs the program; what it printed to both streams, and whether it was content.
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run `make setup`"));
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}
