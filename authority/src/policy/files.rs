//! The texts of a set: which files belong to it, and bounds on what anybody can make the authority
//! read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use signet_evidence::binding::sha256;

use super::decision::PolicyVersion;
use super::problem::{PolicyFault, PolicyLoadError, PolicyProblem, problem};
use super::table::TESTS;

/// The program's part of the schema: principals, context and the two groups of actions.
pub const SCHEMA: &str = include_str!("../../policies/signet.cedarschema");
/// The name under which it lies beside a set, for editors; never read.
pub(super) const OWN_SCHEMA: &str = "signet.cedarschema";
/// The entities' file name.
pub(super) const ENTITIES: &str = "entities.json";
/// The action map's file name.
pub(super) const ACTIONS: &str = "actions.toml";
const RULES: &str = "cedar";
const SCHEMAS: &str = "cedarschema";

/// Largest file, in bytes.
pub(super) const MAX_FILE: usize = 1024 * 1024;
/// Largest set, in bytes.
pub(super) const MAX_SET: usize = 4 * 1024 * 1024;
/// Most files of a set.
pub(super) const MAX_FILES: usize = 256;
/// Longest rule or declaration, in bytes: what Cedar builds of one is as deep as it is long.
pub(super) const MAX_STATEMENT: usize = 16 * 1024;
/// Deepest nesting of brackets in Cedar's texts.
pub(super) const MAX_NESTING: usize = 64;

/// Texts of a set of policies, by file name.
pub type PolicyFiles = BTreeMap<String, String>;

/// Whether a file takes part in decisions.
pub(super) fn decides(name: &str) -> bool {
    [ENTITIES, ACTIONS].contains(&name) || is_rules(name) || is_schema(name)
}

pub(super) fn is_rules(name: &str) -> bool {
    has_extension(name, RULES)
}

pub(super) fn is_schema(name: &str) -> bool {
    has_extension(name, SCHEMAS) && name != OWN_SCHEMA
}

fn has_extension(name: &str, extension: &str) -> bool {
    !name.starts_with('.') && Path::new(name).extension().is_some_and(|found| found == extension)
}

/// Names the texts that decide; the table of tests is not among them.
pub(super) fn version_of(files: &PolicyFiles) -> PolicyVersion {
    let mut bytes = b"signet-policy-v1\0".to_vec();
    for (name, text) in files.iter().filter(|(name, _)| decides(name)) {
        bytes.extend_from_slice(&sha256(name.as_bytes()));
        bytes.extend_from_slice(&sha256(text.as_bytes()));
    }
    PolicyVersion(sha256(&bytes))
}

/// Reads the files of a folder that belong to a set, the table of tests among them. Other files and
/// folders are left alone.
///
/// # Errors
/// What could not be read, or is larger than a set may be.
pub fn read_folder(folder: &Path) -> Result<PolicyFiles, PolicyLoadError> {
    let shown = folder.display().to_string();
    let failed = |file: &str, fault| PolicyLoadError::from(problem(file, None, fault));
    let listed = |error| failed(&shown, PolicyFault::Unreadable(error));
    let mut files = PolicyFiles::new();
    for entry in fs::read_dir(folder).map_err(listed)? {
        let path = entry.map_err(listed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !decides(name) && name != TESTS {
            continue;
        }
        let text = read_file(&path).map_err(|(line, fault)| problem(name, line, fault));
        files.insert(name.to_owned(), text?);
        check_size(&files)?;
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<String, (Option<usize>, PolicyFault)> {
    let unreadable = |error| (None, PolicyFault::Unreadable(error));
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err((None, PolicyFault::NotAFile));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.take(bound + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_FILE {
        return Err((None, PolicyFault::TooLarge { limit: MAX_FILE }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(good);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        (Some(line), PolicyFault::Unreadable(ErrorKind::InvalidData.into()))
    })
}

/// Bounds that hold for a set wherever its texts come from.
pub(super) fn check_bounds(files: &PolicyFiles) -> Result<(), PolicyLoadError> {
    check_size(files)?;
    let cedar = |(name, _): &(&String, &String)| is_rules(name) || is_schema(name);
    let problems: Vec<PolicyProblem> = files
        .iter()
        .filter(cedar)
        .filter_map(|(name, text)| {
            let (line, fault) = check_shape(text)?;
            Some(problem(name, Some(line), fault))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(PolicyLoadError { problems }) }
}

fn check_size(files: &PolicyFiles) -> Result<(), PolicyLoadError> {
    if files.len() > MAX_FILES {
        return Err(problem(".", None, PolicyFault::TooManyFiles { limit: MAX_FILES }).into());
    }
    if let Some((name, _)) = files.iter().find(|(_, text)| text.len() > MAX_FILE) {
        return Err(problem(name, None, PolicyFault::TooLarge { limit: MAX_FILE }).into());
    }
    if files.values().map(String::len).sum::<usize>() > MAX_SET {
        return Err(problem(".", None, PolicyFault::TooLarge { limit: MAX_SET }).into());
    }
    Ok(())
}

/// The first statement that is too long or nested too deep, with its line. Cedar works on a text by
/// recursion, so these bounds keep its stack small.
fn check_shape(text: &str) -> Option<(usize, PolicyFault)> {
    let (mut nesting, mut line, mut length) = (0_usize, 1, 0);
    let (mut quoted, mut escaped, mut comment) = (false, false, false);
    let mut before = b' ';
    for byte in text.bytes() {
        match byte {
            b'\n' => {
                line += 1;
                comment = false;
            }
            _ if comment => {}
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'/' if before == b'/' => comment = true,
            b'(' | b'[' | b'{' => nesting += 1,
            b')' | b']' | b'}' => nesting = nesting.saturating_sub(1),
            b';' => length = 0,
            _ => {}
        }
        length += usize::from(!comment);
        before = if comment || quoted { b' ' } else { byte };
        if nesting > MAX_NESTING {
            return Some((line, PolicyFault::TooDeep { limit: MAX_NESTING }));
        }
        if length > MAX_STATEMENT {
            return Some((line, PolicyFault::StatementTooLong { limit: MAX_STATEMENT }));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_do_not_nest() {
        let deep = "(".repeat(MAX_NESTING + 1);
        assert!(check_shape(&format!("// {deep}\n\"{deep}\\\"{deep}\"")).is_none());
        assert!(matches!(
            check_shape(&format!("\n\"//\" {deep}")),
            Some((2, PolicyFault::TooDeep { limit: MAX_NESTING }))
        ));
    }

    #[test]
    fn only_one_statement_is_measured_at_a_time() {
        let half = "a".repeat(MAX_STATEMENT / 2 + 1);
        assert!(check_shape(&format!("{half};{half};")).is_none());
        let long = check_shape(&format!("{half}\n{half}"));
        assert!(matches!(long, Some((2, PolicyFault::StatementTooLong { .. }))));
    }
}
