//! What the manifests say of dependencies, and what is known of those that judge evidence.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The record of what is linked into the verifier.
const RECORD: &str = "docs/trusted-path.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).args(["--locked", "--offline"]).current_dir(root());
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn metadata() -> Value {
    serde_json::from_slice(&cargo(&["metadata", "--format-version", "1"])).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The lowest version that a manifest lets a user of the libraries have is the one that is built and
/// tested here, so nothing works here alone because a later version happened to be taken.
#[test]
fn the_lowest_version_that_is_admitted_is_the_one_that_is_tested() {
    let metadata = metadata();
    let mut built: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        built.entry(word(&package["name"])).or_default().push(word(&package["version"]));
    }
    let mut lower = BTreeSet::new();
    let ours: Vec<_> =
        list(&metadata["packages"]).iter().filter(|package| package["source"].is_null()).collect();
    for package in &ours {
        let foreign = list(&package["dependencies"]).iter().filter(|one| one["path"].is_null());
        for dependency in foreign {
            let name = word(&dependency["name"]);
            let wanted = word(&dependency["req"]).trim_start_matches(['^', '=']);
            let versions = built.get(name).map_or(&[][..], Vec::as_slice);
            if !versions.iter().any(|version| version.split('+').next() == Some(wanted)) {
                lower.insert(format!("{name} = \"{wanted}\", but {versions:?} is built"));
            }
        }
    }
    assert!(ours.len() > 10);
    assert!(lower.is_empty(), "{lower:#?}");
}

/// A new version that brings unsafe code or a program that runs at build time does not come in unseen.
#[test]
fn what_judges_evidence_is_on_record() {
    let metadata = metadata();
    let linked = linked_into("signet-verifier");
    let of_others = list(&metadata["packages"]).iter().filter(|package| {
        let version = (word(&package["name"]).to_owned(), word(&package["version"]).to_owned());
        !package["source"].is_null() && linked.contains(&version)
    });
    let rows: BTreeSet<String> = of_others.map(row).collect();
    let record = fs::read_to_string(root().join(RECORD)).unwrap();
    let table = record.lines().filter(|line| line.starts_with("| `"));
    let recorded: BTreeSet<String> = table
        .map(|line| {
            // The last column is a person's.
            let (measured, _) = line.trim_end_matches('|').rsplit_once('|').unwrap();
            format!("{measured}|")
        })
        .collect();
    let new: Vec<_> = rows.difference(&recorded).collect();
    let gone: Vec<_> = recorded.difference(&rows).collect();
    let advice = format!("look at what changed, then write it into {RECORD}");
    assert!(
        rows.len() > 50 && new.is_empty() && gone.is_empty(),
        "{advice}: {new:#?}, not {gone:#?}"
    );
}

/// Name and version of the package and of all that it links. Not from `cargo metadata`, which names
/// optional ones too.
fn linked_into(package: &str) -> BTreeSet<(String, String)> {
    let target = "x86_64-unknown-linux-gnu";
    let what = ["tree", "-p", package, "-e", "no-dev,no-build", "--prefix", "none"];
    let printed = cargo(&[&what[..], &["--target", target]].concat());
    let lines = String::from_utf8(printed).unwrap();
    let parts = lines.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned()))
    });
    parts.collect()
}

/// Name and version, how often the sources say `unsafe`, and what of it runs when Signet is built.
fn row(package: &Value) -> String {
    let manifest = Path::new(word(&package["manifest_path"]));
    let uses = unsafe_words(&manifest.parent().unwrap().join("src"));
    let has = |kind: &str| {
        list(&package["targets"]).iter().any(|target| list(&target["kind"]).contains(&kind.into()))
    };
    let at_build = match (has("custom-build"), has("proc-macro")) {
        (true, _) => "build script",
        (_, true) => "macro",
        _ => "",
    };
    let (name, version) = (word(&package["name"]), word(&package["version"]));
    let version = version.split('+').next().unwrap();
    format!("| `{name}` | {version} | {uses} | {at_build} |")
}

fn unsafe_words(folder: &Path) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found += unsafe_words(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            let words = code.flat_map(|line| {
                line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            });
            found += words.filter(|word| *word == "unsafe").count();
        }
    }
    found
}
