//! The documents say what is true: CDDL against real samples, tables against the code, names of
//! tests against the tree, links against files.
#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signet_authority::config::{HttpsUrl, RpId, TrustDomain, render_template};
use signet_evidence::RejectionCode;
use signet_tests::fixture::{self, Kind};
use signet_tests::minted;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn text(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder`, but nothing that was built, installed or published by others.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let skipped = ["target", ".venv", ".git", "published"];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !skipped.contains(&name) {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

/// The cells of the table rows below the heading that begins with `heading`, head rows left out.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = document.split_once(&format!("\n{heading}")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in section.lines() {
        if !line.starts_with('|') {
            in_table = false;
        } else if line.starts_with("|---") {
            in_table = true;
        } else if in_table {
            let cells = line.trim_matches('|').split('|');
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// The words between single backticks.
fn code_words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn cddl_fits_recorded_evidence_and_refuses_edits() {
    let mut samples = String::new();
    for fixture in fixture::all().unwrap() {
        if fixture.expect == "accepted" && fixture.kind != Kind::Token {
            samples.push_str(&format!("evidence {}\n", STANDARD.encode(&fixture.bytes)));
        }
    }
    for fixture in ["session", "action", "workload"] {
        samples.push_str(&format!("cwt {}\n", STANDARD.encode(minted::cwt(fixture).unwrap())));
    }
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "the referee is not installed: run `make setup`");
    let mut oracle = Command::new(python)
        .arg(root().join("tests/oracles/cddl.py"))
        .arg(root().join("docs/protocol.md"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = oracle.stdin.take().unwrap().write_all(samples.as_bytes());
    let output = oracle.wait_with_output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && written.is_ok(), "{out}{err}");
    let rules = [
        "presence-evidence",
        "evidence-header",
        "statement",
        "fido-assertion",
        "fido-registration",
        "host-facts",
        "platform-assertion",
        "platform-registration",
        "tpm-evidence",
        "cwt-claims",
    ];
    let mut counts = BTreeMap::new();
    for line in out.lines() {
        let (rule, numbers) = line.split_once(' ').unwrap();
        let numbers: Vec<u32> = numbers.split(' ').map(|text| text.parse().unwrap()).collect();
        counts.insert(rule, numbers);
    }
    assert_eq!(counts.len(), rules.len(), "{out}");
    for rule in rules {
        let judged = counts[rule].iter().all(|count| *count > 0);
        assert!(judged, "{rule} judged no sample, or no edit of one: {out}");
    }
}

#[test]
fn the_table_of_rejection_codes_is_the_vocabulary() {
    let protocol = text("docs/protocol.md");
    let written: Vec<String> =
        rows(&protocol, "## 6. Rejection codes").iter().map(|cells| cells.join(" | ")).collect();
    assert_eq!(written.len(), RejectionCode::ALL.len(), "rows and codes differ in number");
    for (row, code) in written.iter().zip(RejectionCode::ALL) {
        let begins = format!("`{code}` | `{}` | ", code.coarse().as_str());
        let ends = format!(" | {}", code.advice());
        assert!(
            row.starts_with(&begins) && row.ends_with(&ends),
            "the row of {code} is {row:?}; it must begin with {begins:?} and end with {ends:?}"
        );
        let step = row.split(" | ").nth(2).and_then(|cell| cell.strip_prefix("step "));
        if let Some(step) = step {
            let number = step.split(',').next().and_then(|number| number.parse().ok());
            assert_eq!(number, code.step(), "the step of {code}");
        }
    }
}

#[test]
fn codes_in_the_steps_are_codes() {
    let protocol = text("docs/protocol.md");
    for heading in ["### 2.4", "### 3.3"] {
        let (_, section) = protocol.split_once(&format!("\n{heading}")).unwrap();
        let section = section.split("\n#").next().unwrap();
        let code = |word: &&str| {
            word.contains('-') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        // Headers and a whole family of codes are written with the same letters.
        let other = |word: &&str| !word.starts_with("x-") && !word.ends_with('-');
        for word in code_words(section).into_iter().filter(code).filter(other) {
            assert!(RejectionCode::from_name(word).is_some(), "{heading}: {word} is no code");
        }
    }
}

#[test]
fn every_test_that_attacks_names_exists() {
    let attacks = text("docs/attacks.md");
    let mut rows_found = 0;
    for line in attacks.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, mitigation, proof] = cells[..] else { panic!("not three cells: {line}") };
        if proof == "shown by" {
            continue;
        }
        rows_found += 1;
        if mitigation.starts_with("not built yet") {
            assert!(code_words(proof).is_empty(), "a test of what is not built: {line}");
            continue;
        }
        assert!(!code_words(proof).is_empty(), "nothing shows it: {line}");
        for word in code_words(proof) {
            match word.split_once("::") {
                Some((file, name)) => assert!(has_test(file, name), "no test {word}"),
                None => assert!(root().join(word).exists(), "no file {word}"),
            }
        }
    }
    assert!(rows_found > 40, "only {rows_found} attacks were found");
}

/// What can be a file is one: others can try these attacks on their own programs.
#[test]
fn every_attack_on_evidence_has_a_file() {
    let attacks = text("docs/attacks.md");
    let (_, chapter) = attacks.split_once("\n## Evidence taken apart").unwrap();
    let chapter = chapter.split("\n## ").next().unwrap();
    let rows: Vec<_> = chapter.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 16, "only {} rows were found", rows.len());
    for row in rows {
        assert!(row.contains("`fixtures/rejected/"), "no fixture: {row}");
    }
}

/// Whether `file` holds the test function `name`.
fn has_test(file: &str, name: &str) -> bool {
    let source = text(file);
    // A check that a macro makes into a test for each database.
    let listed = source.split_once("\nconformance! {\n").map_or("", |(_, listed)| listed);
    if listed.lines().take_while(|line| *line != "}").any(|line| line.trim() == name) {
        return true;
    }
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    let Some((before, _)) = before.rsplit_once('\n') else { return false };
    // The attribute stands in the lines above.
    let mut above = before.lines().rev().take_while(|line| !line.trim().is_empty());
    above.any(|line| {
        let line = line.trim();
        line == "#[test]" || line.starts_with("#[test(") || line.starts_with("#[tokio::test")
    })
}

fn recovery(operating: &str) -> &str {
    let (_, chapter) = operating.split_once("\n## Recovery\n").unwrap();
    chapter.split("\n## ").next().unwrap()
}

#[test]
fn every_test_that_the_recovery_chapter_names_exists() {
    let operating = text("docs/operating.md");
    let chapter = recovery(&operating);
    let tests: Vec<_> =
        code_words(chapter).into_iter().filter(|word| word.contains(".rs::")).collect();
    assert!(tests.len() >= 10, "only {} tests are named", tests.len());
    for word in tests {
        let (file, name) = word.split_once("::").unwrap();
        assert!(has_test(file, name), "no test {word}");
    }
    for case in chapter.split("\n### ").skip(1) {
        let title = case.lines().next().unwrap();
        assert!(case.contains("Test"), "{title:?} names no test");
    }
}

/// What a block of console lines says of its tests, in a comment that readers do not see: the tests, and the
/// beginnings of commands that none runs; or `None` where it says that no test runs it.
fn said_of_block(note: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    if note.starts_with("not run by a test: ") {
        return None;
    }
    let (run, not_run) = note.split_once("; not run: ").unwrap_or((note, ""));
    let run = run.strip_prefix("run by ").unwrap_or_else(|| panic!("{note}"));
    Some((run.split(", ").collect(), not_run.split(", ").filter(|one| !one.is_empty()).collect()))
}

/// Each command of `block`, one for each line or part of one.
fn single_commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let typed = joined.lines().filter_map(|line| {
        let (who, command) = line.split_once(['$', '#'])?;
        who.chars().all(char::is_alphanumeric).then_some(command)
    });
    let bare = typed.map(|command| command.split(" # ").next().unwrap());
    let each = bare.flat_map(|command| command.split(" && "));
    each.map(|one| one.trim().trim_start_matches("sudo ").to_owned()).collect()
}

/// Whether `word` stands in `text` by itself.
fn stands_in(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// The runbook is run as it stands (`authority/tests/operating.rs`), and so are blocks that say so. Every other block names the tests that run
/// its commands, in a comment before it or, in the recovery chapter, behind it; they hold the words of each.
#[test]
fn every_block_of_the_operating_guide_is_run_or_says_that_it_is_not() {
    let operating = text("docs/operating.md");
    let (guide, runbook) = operating.split_once("\n## Runbook\n").unwrap();
    let (mut not_run, mut as_they_stand) = (0, 0);
    let parts: Vec<&str> = guide.split("```console\n").collect();
    for (before, rest) in parts.iter().zip(&parts[1..]) {
        let (block, behind) = rest.split_once("```").unwrap();
        let note =
            before.trim_end().strip_suffix(" -->").and_then(|text| text.rsplit_once("<!-- "));
        if note.is_some_and(|(_, note)| note == "run as it stands") {
            as_they_stand += 1;
            continue;
        }
        let behind = behind.split("\n##").next().unwrap();
        let named = code_words(behind).into_iter().filter(|word| word.contains(".rs::")).collect();
        let said = note.map_or(Some((named, Vec::new())), |(_, note)| said_of_block(note));
        let Some((tests, left_out)) = said else {
            not_run += 1;
            continue;
        };
        assert!(!tests.is_empty(), "no test runs\n{block}");
        let mut sources = String::new();
        for test in tests {
            let (file, name) = test.split_once("::").unwrap_or((test, ""));
            assert!(name.is_empty() || has_test(file, name), "no test {test}");
            sources.push_str(&text(file));
            if file == "authority/tests/operating.rs" {
                sources.push_str(runbook);
            }
        }
        for command in single_commands(block) {
            let words = command.split(' ').skip(usize::from(command.starts_with("signet")));
            let is_plain = |word: &&str| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
            };
            let plain = words.take_while(is_plain).filter(|word| !word.is_empty()).take(2);
            let missing = |word: &&str| !stands_in(&sources, word);
            let missing: Vec<&str> = plain.filter(missing).collect();
            let left_out = left_out.iter().any(|begin| command.starts_with(begin));
            assert!(left_out || missing.is_empty(), "{missing:?} of `{command}` in no named test");
        }
    }
    assert!(as_they_stand >= 7, "only {as_they_stand} blocks are run as they stand");
    assert!(parts.len() > 15 && not_run <= 2, "{not_run} of {} blocks are not run", parts.len());
}

/// The command lines of the chapter, without the prompt that says who types them.
fn commands(chapter: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for block in chapter.split("```console\n").skip(1) {
        let joined = block.split("```").next().unwrap().replace("\\\n", " ");
        for line in joined.lines() {
            let command = line.split_once(['$', '#']).map_or(line, |(_, command)| command).trim();
            let mut quoted = false;
            let words = command.split(|character: char| {
                quoted ^= character == '"';
                character == ' ' && !quoted
            });
            found.push(words.filter(|word| !word.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

/// Each command line is one that its program knows: every word before the options is a command, and
/// every option stands in the help of that command.
#[test]
fn every_command_of_the_recovery_chapter_is_one_that_the_program_knows() {
    let operating = text("docs/operating.md");
    let chapter = recovery(&operating);
    let commands = commands(chapter);
    assert!(commands.len() > 15, "only {} commands were found", commands.len());
    let beside = std::env::current_exe().unwrap();
    let folder = beside.ancestors().nth(2).unwrap();
    for command in commands {
        let (program, words) = command.split_first().unwrap();
        let program = folder.join(program);
        assert!(program.exists(), "{} is missing: build it", program.display());
        let help = |words: &[String]| {
            let output = Command::new(&program).args(words).arg("--help").output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(said)
        };
        let options = words.iter().filter(|word| word.starts_with('-'));
        let plain = words.iter().take_while(|word| !word.starts_with('-')).count();
        let known = help(&words[..plain]).unwrap_or_else(|| panic!("no such command: {command:?}"));
        for option in options {
            assert!(known.contains(option.as_str()), "{option} of {command:?} is not in its help");
        }
    }
}

#[test]
fn settings_reference_says_the_defaults() {
    let template = render_template(
        "127.0.0.1:8443".parse().unwrap(),
        "127.0.0.1:9443".parse().unwrap(),
        &HttpsUrl::try_from("https://localhost:8443".to_owned()).unwrap(),
        &TrustDomain::try_from("mesh.example".to_owned()).unwrap(),
        &RpId::try_from("presence.mesh.example".to_owned()).unwrap(),
    );
    let mut settings = BTreeMap::new();
    let mut table = String::new();
    for line in template.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((name, value)) = line.split_once(" = ")
            && !line.starts_with('#')
        {
            settings.insert(format!("{table}{name}"), value.to_owned());
        }
    }
    let operating = text("docs/operating.md");
    let written: BTreeMap<String, String> = rows(&operating, "## Settings of the authority")
        .iter()
        .filter(|cells| settings.contains_key(code_words(&cells[0])[0]))
        .map(|cells| (code_words(&cells[0])[0].to_owned(), code_words(&cells[1])[0].to_owned()))
        .collect();
    assert_eq!(written, settings);
}

#[test]
fn the_d_bus_reference_is_current() {
    let xml = text("daemon/dbus/org.signet.Presence1.xml");
    assert!(
        text("docs/dbus.md") == signet_tests::dbus_reference::render(&xml),
        "run `cargo run -p signet-tests --bin dbus-reference`"
    );
}

#[test]
fn relative_links_lead_somewhere() {
    let mut documents = Vec::new();
    files(&root(), "md", &mut documents);
    assert!(documents.len() > 10, "only {} documents were found", documents.len());
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            let elsewhere = ["http://", "https://", "mailto:"];
            if target.is_empty() || elsewhere.iter().any(|scheme| target.starts_with(scheme)) {
                continue;
            }
            if !document.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn decisions_are_numbered_without_gaps_and_have_one_form() {
    let mut decisions = Vec::new();
    files(&root().join("docs/decisions"), "md", &mut decisions);
    decisions.sort();
    assert!(!decisions.is_empty());
    for (path, number) in decisions.iter().zip(1..) {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("{number:04}-")), "{name} is not number {number:04}");
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(&format!("# {number:04} ")), "{name}: heading");
        for part in ["\nDate: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"] {
            assert!(text.contains(part), "{name} has no {part:?}");
        }
    }
}
