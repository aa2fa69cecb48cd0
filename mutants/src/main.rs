//! Mutation testing of `evidence` and `verifier` in an hour instead of a night.
//!
//! cargo-mutants compiles once a mutant. Here all that it lists are compiled at once, each behind a choice that
//! is made when a test program starts, and a test program runs only on mutants that it comes past. What
//! cannot be chosen at that time, such as a constant, is told, for cargo-mutants itself.
//!
//! `signet-mutants LIST FOLDER [FILE-PREFIX...]`: LIST is what `cargo mutants --list --json` wrote; FOLDER is for
//! the tree, what is built, and `fates`, a line a mutant. Runs in the root of the workspace, `JOBS` (2) at once.

#![allow(clippy::print_stdout, reason = "it is a program for people")]

mod build;
mod list;
mod trial;
mod weave;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::{env, fs, io};

use build::Left;
use list::Mutant;
use trial::Fate;

/// Suites that cross packages and judge what the two do.
const CROSSING: [&str; 4] = ["fixtures", "appraisal", "minting", "registration"];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [list, folder, files @ ..] = &arguments[..] else {
        eprintln!("signet-mutants LIST FOLDER [FILE-PREFIX...]");
        return ExitCode::from(2);
    };
    match run(Path::new(list), Path::new(folder), files) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

/// Copies what git knows and what is new here, but for the files that will be `woven`.
fn copy(root: &Path, tree: &Path, woven: &BTreeSet<&str>) -> io::Result<()> {
    let known = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()?;
    let names = String::from_utf8(known.stdout).map_err(io::Error::other)?;
    for name in names.split_terminator('\0').filter(|name| !woven.contains(name)) {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        if fs::read(&to).is_ok_and(|now| now == bytes) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&from, &to)?;
    }
    Ok(())
}

/// Gives how many were not noticed.
fn run(list: &Path, folder: &Path, files: &[String]) -> io::Result<usize> {
    let root = env::current_dir()?;
    let mutants: Vec<Mutant> =
        serde_json::from_slice(&fs::read(list)?).map_err(io::Error::other)?;
    let tree = folder.join("tree");
    let mut woven: BTreeSet<_> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
    woven.extend(["evidence/src/lib.rs", "verifier/src/lib.rs"]);
    copy(&root, &tree, &woven)?;
    let left = build::settle(&root, &tree, &mutants, &folder.join("settled"))?;
    let judges = trial::judges(build::suites(&tree, &CROSSING, &folder.join("programs"))?, folder)?;
    let wanted = |number: usize| {
        let file = &mutants[number - 1].file;
        !left.unviable.contains(&number)
            && !left.alone.contains(&number)
            && (files.is_empty() || files.iter().any(|prefix| file.starts_with(prefix)))
    };
    let numbers: Vec<_> = (1..=mutants.len()).filter(|number| wanted(*number)).collect();
    let fates = Mutex::new((fs::File::create(folder.join("fates"))?, BTreeMap::new()));
    let jobs = env::var("JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(2);
    trial::all(&numbers, &judges, jobs, |number, fate| {
        let name = &mutants[number - 1].name;
        if matches!(fate, Fate::Survived | Fate::Unreached) {
            println!("{fate:?}: {name}");
        }
        if let Ok(mut fates) = fates.lock() {
            let _ = writeln!(fates.0, "{fate:?} {name}");
            fates.1.insert(number, fate);
        }
    })?;
    let (mut file, fates) =
        fates.into_inner().map_err(|_| io::Error::other("a worker came to grief"))?;
    for (number, what) in left
        .unviable
        .iter()
        .map(|at| (at, "Unviable"))
        .chain(left.alone.iter().map(|at| (at, "Alone")))
    {
        writeln!(file, "{what} {}", mutants[number - 1].name)?;
    }
    Ok(sum(&mutants, &left, &fates))
}

/// Tells the figures, and gives how many were not noticed.
fn sum(mutants: &[Mutant], left: &Left, fates: &BTreeMap<usize, Fate>) -> usize {
    let count = |of: fn(&Fate) -> bool| fates.values().filter(|fate| of(fate)).count();
    let caught = count(|fate| matches!(fate, Fate::Caught(_)));
    let hung = count(|fate| matches!(fate, Fate::Hung(_)));
    let (survived, unreached) =
        (count(|fate| *fate == Fate::Survived), count(|fate| *fate == Fate::Unreached));
    println!(
        "{} mutants: {} do not compile, {} are for cargo-mutants alone, {} ran: {caught} caught, {hung} did not end, \
         {survived} survived, {unreached} that no test comes past",
        mutants.len(),
        left.unviable.len(),
        left.alone.len(),
        fates.len(),
    );
    survived + unreached
}
