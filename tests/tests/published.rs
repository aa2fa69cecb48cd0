//! The table of published vectors in `fixtures/README.md` says what is there: sets, numbers, tests.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn published(name: &str) -> PathBuf {
    root().join("fixtures/published").join(name)
}

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(published(path)).unwrap()).unwrap()
}

/// Files below a folder with this extension, but for a README.
fn files(folder: &Path, extension: &str) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.is_dir() {
            true => files(&path, extension),
            false => {
                let found = path.extension().is_some_and(|found| found == extension);
                usize::from(found && path.file_stem().unwrap() != "README")
            }
        })
        .sum()
}

/// How many vectors a set holds.
fn vectors(set: &str) -> usize {
    let wycheproof = format!("wycheproof/{set}.json");
    if published(&wycheproof).exists() {
        let number = json(&wycheproof)["numberOfTests"].as_u64().unwrap();
        return usize::try_from(number).unwrap();
    }
    let extension = match set {
        "rfc" => return json("rfc/thumbprints.json").as_object().unwrap().len(),
        "webauthn" => {
            let pairs = json("webauthn/webauthn-l3-vectors.json");
            return pairs["vectors"].as_array().unwrap().len();
        }
        "eat" => return files(&published(set), "diag") + files(&published(set), "json"),
        "tpm-ek" => "der",
        "eventlogs" => "bin",
        "status-list" => "md",
        "metadata" => "blob",
        _ => "json",
    };
    files(&published(set), extension)
}

/// How many vectors of each set stand in the list of exceptions.
fn exceptions() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let text = fs::read_to_string(published("exceptions.txt")).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (set, _) = line.split_once(" | ").unwrap();
        *found.entry(set.to_owned()).or_default() += 1;
    }
    found
}

#[test]
fn the_table_of_published_vectors_is_what_is_there() {
    let text = fs::read_to_string(root().join("fixtures/README.md")).unwrap();
    let (_, table) = text.split_once("## Published vectors").unwrap();
    let mut exceptions = exceptions();
    let mut folders = BTreeSet::from(["schemas".to_owned()]);
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [set, _, held, passed, excepted, test, source] = cells[..] else {
            panic!("{row} has another number of cells");
        };
        let (set, test) = (set.trim_matches('`'), test.trim_matches('`'));
        let listed = exceptions.remove(set).unwrap_or(0);
        let numbers = [held, passed, excepted].map(|cell| cell.parse::<usize>().unwrap());
        let all = vectors(set);
        assert_eq!(numbers, [all, all - listed, listed], "{set}");
        assert!(all > 0 && !source.is_empty(), "{set}");

        let folder = if published(set).is_dir() { set } else { "wycheproof" };
        let program = fs::read_to_string(root().join(test)).unwrap();
        assert!(program.contains(set), "{test} does not name {set}");
        assert!(
            ["SOURCES.txt", "README.md"].iter().any(|name| published(folder).join(name).exists()),
            "{folder} does not say where it is from"
        );
        folders.insert(folder.to_owned());
    }
    assert_eq!(exceptions, BTreeMap::new(), "exceptions of sets that the table does not have");
    let entries = fs::read_dir(published("")).unwrap().map(|entry| entry.unwrap());
    let there: BTreeSet<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, there, "left: folders of the table; right: folders");
}
