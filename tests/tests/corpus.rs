//! The negative corpus: what is committed is what is forged, every code and every part is covered, and
//! no mutation of any item is accepted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking that it failed")]

use std::collections::{BTreeMap, BTreeSet};

use signet_evidence::RejectionCode;
use signet_tests::fixture::{self, Fixture};
use signet_tests::forge::structure::{BASES, Item, envelope, pair};
use signet_tests::forge::{self, Forger};
use signet_tests::judge::judge;

#[test]
fn what_is_committed_is_what_is_forged() {
    let world = fixture::world().unwrap();
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for forged in forge::all(&world).unwrap() {
        let name = forged.path.display().to_string();
        let committed = std::fs::read_to_string(&forged.path).unwrap_or_default();
        if committed != forged.text() {
            wrong.push(name.clone());
        }
        assert!(names.insert(name.clone()), "{name} is forged twice");
    }
    let advice = "run `cargo run -p signet-tests --bin forge-fixtures`";
    assert!(wrong.is_empty(), "{advice}: {} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_corpus_is_large_and_has_three_of_every_code() {
    let mut counts = BTreeMap::new();
    for fixture in fixture::all().unwrap() {
        *counts.entry(fixture.expect).or_insert(0) += 1;
    }
    counts.remove("accepted");
    let files: u32 = counts.values().sum();
    assert!(files >= 400, "only {files} files are refused");
    // Those without any are the live ones: `fixtures.rs` lists them.
    let few: Vec<_> = counts.iter().filter(|(_, count)| **count < 3).collect();
    assert!(few.is_empty(), "fewer than three fixtures: {few:?}");
    assert!(counts.keys().all(|code| RejectionCode::from_name(code).is_some()));
}

/// The files say only once what is in them.
#[test]
fn no_two_files_hold_the_same_question() {
    let (mut seen, mut twice) = (BTreeMap::new(), Vec::new());
    for fixture in fixture::all().unwrap() {
        let Fixture { path, kind, now, peer, with, request, bytes, .. } = fixture;
        let question = format!("{kind:?} {now} {peer:?} {with:?} {request:?} {bytes:02x?}");
        if let Some(other) = seen.insert(question, path.clone()) {
            twice.push(format!("{} asks what {} asks", path.display(), other.display()));
        }
    }
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}

/// Every byte of every string turned, cut, lengthened and exchanged, every head and every map encoded in
/// another way: in messages that keep their signature and in messages that the machine signs again.
#[test]
fn no_mutation_of_any_item_is_accepted() {
    let world = fixture::world().unwrap();
    let forger = Forger::new(&world).unwrap();
    let (mut judged, mut wrong) = (BTreeMap::new(), Vec::new());
    for (base, name) in BASES {
        let (one, other) = pair(&forger, base).unwrap();
        let mut fixture = envelope(base, "accepted", name, "");
        fixture.bytes = one.encode();
        judge(&world, &fixture).unwrap().unwrap_or_else(|why| panic!("{name}: {}", why.chain()));
        for mutation in one.mutate(&other) {
            let again = mutation.signed_again(&forger).unwrap();
            let sent = [(false, Some(mutation.as_sent())), (true, again)];
            for (again, bytes) in sent {
                let Some(bytes) = bytes else { continue };
                fixture.bytes = bytes;
                *judged.entry(again).or_insert(0) += 1;
                let answer = judge(&world, &fixture).unwrap();
                let code = answer.err().map_or("accepted", |rejection| rejection.code().as_str());
                if !mutation.codes(again).contains(&code) {
                    let (path, what) = (&mutation.path, mutation.what);
                    wrong.push(format!("{name} {path} {what:?}, signed again: {again}: {code}"));
                }
            }
        }
    }
    wrong.truncate(40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    assert!(judged[&false] > 17_000 && judged[&true] > 17_000, "{judged:?}");
}

/// The same of what real parts made: a TPM, a security key and a platform key signed these.
#[test]
fn no_mutation_of_recorded_evidence_is_accepted() {
    let world = fixture::world().unwrap();
    let recorded = |name: &str| {
        Fixture::read(&fixture::folder().join(format!("accepted/{name}.fixture"))).unwrap()
    };
    let (mut judged, mut wrong) = (0, Vec::new());
    for (name, other) in [
        ("session", "session-fingerprint"),
        ("session-tpm-pin", "session-fingerprint"),
        ("registration", "registration"),
    ] {
        let mut fixture = recorded(name);
        let one = Item::parse(&fixture.bytes).unwrap();
        assert_eq!(one.encode(), fixture.bytes);
        let other = Item::parse(&recorded(other).bytes).unwrap();
        for mutation in one.mutate(&other) {
            fixture.bytes = mutation.as_sent();
            judged += 1;
            let answer = judge(&world, &fixture).unwrap();
            let code = answer.err().map_or("accepted", |rejection| rejection.code().as_str());
            if !mutation.codes(false).contains(&code) {
                wrong.push(format!("{name} {} {:?}: {code}", mutation.path, mutation.what));
            }
        }
    }
    wrong.truncate(40);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(judged > 7_500, "{judged}");
}
