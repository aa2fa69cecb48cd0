//! Builds the woven tree, leaving out mutants until it compiles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::list::Mutant;
use crate::weave::{Woven, weave};

/// What is tested.
pub(crate) const PACKAGES: [&str; 2] = ["evidence", "verifier"];

/// What the compiler sees in mutants, and may: whoever comes past them panics.
const ALLOW: &str = "#![allow(warnings, arithmetic_overflow, unconditional_panic)]";

/// What became of mutants before any test ran.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Left {
    /// They do not compile.
    pub(crate) unviable: BTreeSet<usize>,
    /// They stand where no choice can be made when the program runs, such as in a constant.
    pub(crate) alone: BTreeSet<usize>,
    /// Names of functions that constants call: they must stay `const`, and their mutants stand alone.
    constant: BTreeSet<String>,
}

/// Writes the files of `tree` that have mutants, from those of `root`.
pub(crate) fn write(
    root: &Path,
    tree: &Path,
    mutants: &[Mutant],
    left: &mut Left,
) -> io::Result<BTreeMap<String, Woven>> {
    let mut files: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants.iter().enumerate().map(|(at, mutant)| (at + 1, mutant)) {
        let here = files.entry(&mutant.file).or_default();
        if !left.unviable.contains(&number) && !left.alone.contains(&number) {
            here.push((number, mutant));
        }
    }
    let mut woven = BTreeMap::new();
    for (file, here) in files {
        let pick = match file.split('/').next() {
            Some("evidence") => "crate::mutant::pick",
            _ => "signet_evidence::mutant::pick",
        };
        let source = fs::read_to_string(root.join(file))?;
        let one = weave(&source, &here, pick, &left.constant).map_err(io::Error::other)?;
        left.alone.extend(&one.missed);
        put(&tree.join(file), &one.source)?;
        woven.insert(file.to_owned(), one);
    }
    for package in PACKAGES {
        let file = format!("{package}/src/lib.rs");
        let library = fs::read_to_string(root.join(&file))?;
        let module = if package == "evidence" { "\n#[doc(hidden)]\npub mod mutant;\n" } else { "" };
        put(&tree.join(&file), &format!("{ALLOW}\n{library}{module}"))?;
    }
    put(&tree.join("evidence/src/mutant.rs"), include_str!("pick.rs"))?;
    Ok(woven)
}

/// Leaves the file alone if it says this, so that nothing is compiled again.
fn put(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

/// Runs cargo in `tree` and gives what it said, a JSON object a line.
fn cargo(tree: &Path, arguments: &[&str]) -> io::Result<(bool, Vec<Value>)> {
    let output = Command::new("cargo")
        .args(arguments)
        .arg("--message-format=json")
        .current_dir(tree)
        // A folder of its own: cargo takes the packages of two copies of a workspace for the same ones.
        .env("CARGO_TARGET_DIR", tree.with_file_name("target"))
        .stderr(Stdio::inherit())
        .output()?;
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Ok((output.status.success(), messages))
}

/// Compiles until nothing is wrong any more. What was found is kept in `kept`, for the same list again.
pub(crate) fn settle(
    root: &Path,
    tree: &Path,
    mutants: &[Mutant],
    kept: &Path,
) -> io::Result<Left> {
    let names: String = mutants.iter().map(|mutant| format!("{}\n", mutant.name)).collect();
    let before = fs::read(kept).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let before = before.filter(|(list, _): &(String, Left)| *list == names);
    let mut left = before.map_or_else(Left::default, |(_, left)| left);
    loop {
        let woven = write(root, tree, mutants, &mut left)?;
        let arguments = ["check", "-q", "--workspace", "--lib"];
        let (compiles, messages) = cargo(tree, &arguments)?;
        if compiles {
            fs::write(kept, serde_json::to_vec(&(names, &left)).map_err(io::Error::other)?)?;
            return Ok(left);
        }
        let known = |left: &Left| left.unviable.len() + left.alone.len() + left.constant.len();
        let before = known(&left);
        for message in &messages {
            blame(message, &woven, &mut left);
        }
        eprintln!("{} do not compile, {} stand alone", left.unviable.len(), left.alone.len());
        if before == known(&left) {
            return Err(io::Error::other(errors(&messages)));
        }
    }
}

/// What the compiler calls errors.
fn errors(messages: &[Value]) -> String {
    let errors = messages.iter().filter(|one| one["message"]["level"] == "error");
    errors.filter_map(|one| one["message"]["rendered"].as_str()).collect()
}

/// Finds the mutants that a message of the compiler is about.
fn blame(message: &Value, woven: &BTreeMap<String, Woven>, left: &mut Left) {
    let message = &message["message"];
    if message["level"] != "error" {
        return;
    }
    // "cannot call non-const function `a::b` in constants", wherever that is.
    if message["code"]["code"] == "E0015"
        && let Some(path) = message["message"].as_str().and_then(|text| text.split('`').nth(1))
        && let Some(name) = path.rsplit("::").next()
        && name != "pick"
    {
        left.constant.insert(name.to_owned());
        return;
    }
    let spans = message["spans"].as_array().map_or(&[][..], Vec::as_slice);
    for mut span in spans.iter().filter(|span| span["is_primary"] == true) {
        while span["expansion"].is_object() {
            span = &span["expansion"]["span"];
        }
        let (Some(file), Some(start), Some(end)) =
            (span["file_name"].as_str(), span["byte_start"].as_u64(), span["byte_end"].as_u64())
        else {
            continue;
        };
        let Some(woven) = woven.get(file) else { continue };
        let within =
            |range: &std::ops::Range<usize>| range.start as u64 <= start && end <= range.end as u64;
        if let Some((_, number)) = woven.arms.iter().find(|(range, _)| within(range)) {
            left.unviable.insert(*number);
        } else {
            let nodes = woven.nodes.iter().filter(|(range, _)| within(range));
            if let Some((_, numbers)) = nodes.min_by_key(|(range, _)| range.len()) {
                left.alone.extend(numbers);
            }
        }
    }
}

/// A program of tests.
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Where it runs.
    pub(crate) folder: PathBuf,
}

/// Builds the tests that judge: all of the two packages', and those of `tests` that cross packages. They are put into
/// `programs`, where nothing that is built later takes their place.
pub(crate) fn suites(tree: &Path, crossing: &[&str], programs: &Path) -> io::Result<Vec<Suite>> {
    let mut arguments = vec!["test", "-q", "--workspace", "--no-run", "--lib"];
    let own = |package: &str| -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(tree.join(package).join("tests"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
        Ok(names)
    };
    let mut names = own("evidence")?;
    names.extend(own("verifier")?);
    names.extend(crossing.iter().map(|&name| name.to_owned()));
    for name in &names {
        arguments.extend(["--test", name]);
    }
    let (built, messages) = cargo(tree, &arguments)?;
    if !built {
        return Err(io::Error::other(errors(&messages)));
    }
    let mut suites = Vec::new();
    for message in &messages {
        let (Some(program), Some(manifest), Some(name)) = (
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
            message["target"]["name"].as_str(),
        ) else {
            continue;
        };
        let Some(folder) = Path::new(manifest).parent() else { continue };
        let package = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let crosses = package == "tests" && crossing.contains(&name);
        if message["profile"]["test"] == true
            && (package == "evidence" || package == "verifier" || crosses)
        {
            fs::create_dir_all(programs)?;
            let kept = programs.join(format!("{package}-{name}"));
            fs::copy(program, &kept)?;
            suites.push(Suite {
                name: format!("{package}/{name}"),
                program: kept,
                folder: folder.into(),
            });
        }
    }
    Ok(suites)
}
