//! `docs/authenticators.md` is true: every cell names tests that exist, every column has what comes
//! out of it, and the table of CTAP statuses is that of the code.

use std::path::Path;

use signet_ctap::Status;
use signet_ctap::operation::OperationError;
use signet_daemon::authenticator::operation_failure;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/authenticators.md");
    std::fs::read_to_string(path).unwrap()
}

/// The cells of the table below this heading, head row first.
fn table(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The words between single backticks.
fn code_words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// What a login with an authenticator proves.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) acr: String,
    pub(crate) amr: Vec<String>,
}

impl Outcome {
    /// What the document promises for `authenticator`.
    pub(crate) fn documented(authenticator: &str) -> Self {
        let rows = table("What comes out");
        let row = rows.iter().find(|row| row[0] == authenticator);
        let row = row.unwrap_or_else(|| panic!("{authenticator} has no row"));
        let acr = code_words(&row[1]).concat();
        Self { acr, amr: code_words(&row[2]).into_iter().map(str::to_owned).collect() }
    }
}

/// The test functions of a file of this suite.
fn tests_of(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/authenticators").join(file);
    let source = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no file {file}"));
    let after_attribute = source.split("#[tokio::test").skip(1);
    after_attribute
        .filter_map(|rest| rest.split_once("fn ")?.1.split_once('('))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_cell_names_tests_that_exist() {
    let rows = table("What works with what");
    let (head, capabilities) = rows.split_first().unwrap();
    assert!(capabilities.len() >= 9, "only {} capabilities", capabilities.len());
    for (column, title) in head.iter().enumerate().skip(1) {
        let [file] = code_words(title)[..] else { panic!("{title} names no file") };
        let known = tests_of(file);
        let mut named = Vec::new();
        for row in capabilities {
            let cell = &row[column];
            let tests = code_words(cell);
            assert!(!tests.is_empty(), "{} of {title}: nothing shows it", row[0]);
            for test in tests {
                assert!(known.iter().any(|name| name == test), "{title}: no test {test} in {file}");
                named.push(test.to_owned());
            }
        }
        // A test that shows no cell is lost to the reader.
        for test in &known {
            assert!(named.contains(test), "{file}: {test} is in no cell");
        }
    }
}

#[test]
fn every_column_has_what_comes_out_of_it() {
    let capabilities = table("What works with what");
    let outcomes = table("What comes out");
    for title in &capabilities[0][1..] {
        let name = title.split('`').next().unwrap().trim();
        assert!(outcomes.iter().any(|row| row[0] == name), "{name}: acr and amr are not said");
    }
    for row in &outcomes[1..] {
        assert!(code_words(&row[1]).len() == 1 && !code_words(&row[2]).is_empty(), "{row:?}");
    }
}

#[test]
fn every_ctap_status_is_in_the_table_with_its_words_and_its_error() {
    let written: Vec<String> =
        table("Statuses of CTAP").split_off(1).iter().map(|cells| cells.join(" | ")).collect();
    let due: Vec<String> = Status::ALL
        .iter()
        .map(|&status| {
            let error = match status {
                Status::OK => String::new(),
                status => format!("`{}`", operation_failure(&OperationError::from(status)).name()),
            };
            let (name, advice) = (status.name().unwrap(), status.advice());
            format!("`{:#04x}` | `{name}` | {advice} | {error}", status.0)
        })
        .collect();
    assert!(written == due, "the table must be\n| {} |", due.join(" |\n| "));
}
