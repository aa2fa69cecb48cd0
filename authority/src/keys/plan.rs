//! Plans: files in the keys' directory that say which key serves when.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::KeyError;

/// The text of the plan in `path`, by which a change is noticed; `None` where there is none. One that cannot
/// be read is never taken for none: keys that ended would serve again.
pub(super) fn text(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyError::Io { path: path.to_owned(), source }),
    }
}

/// What the text of the plan in `path` says. `files` are those that it names: they lie beside it.
pub(super) fn parse<P: DeserializeOwned>(
    path: &Path,
    text: &[u8],
    files: impl Fn(&P) -> Vec<&str>,
) -> Result<P, KeyError> {
    let malformed = || KeyError::Malformed { path: path.to_owned() };
    let plan = serde_json::from_slice(text).map_err(|_| malformed())?;
    let beside = |file: &str| !file.contains('/') && file.ends_with(".key");
    if files(&plan).into_iter().all(beside) { Ok(plan) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Files(Vec<String>);

    fn parsed(text: &str) -> Result<Files, KeyError> {
        parse(Path::new("plan.json"), text.as_bytes(), |files: &Files| {
            files.0.iter().map(String::as_str).collect()
        })
    }

    #[test]
    fn only_a_plan_that_is_missing_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        assert_eq!(text(&path).unwrap(), None);
        fs::write(&path, "[]").unwrap();
        assert_eq!(text(&path).unwrap().unwrap(), b"[]");
        fs::remove_file(&path).unwrap();
        // Not even root reads that.
        fs::create_dir(&path).unwrap();
        assert!(matches!(text(&path), Err(KeyError::Io { .. })));
    }

    #[test]
    fn a_plan_names_keys_beside_it() {
        assert_eq!(parsed(r#"["log.key"]"#).unwrap(), Files(vec!["log.key".to_owned()]));
        for wrong in [r#"["../log.key"]"#, r#"["log.key", "/etc/shadow"]"#, r#"["log"]"#, "{}"] {
            assert!(matches!(parsed(wrong), Err(KeyError::Malformed { .. })), "{wrong}");
        }
    }
}
