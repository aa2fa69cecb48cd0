//! Files of secrets put under a passphrase, and taken out again.

use std::fs;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::pkcs11::Location;
use super::secrets::{Secrets, credentials, seal};
use super::{KeyError, passphrase, replace_secret, sealed};

/// Puts all secrets that lie open in `directory` under a passphrase, and returns their files. URIs of keys
/// in a token stay as they are: they are no secrets.
///
/// # Errors
/// See [`KeyError`]; each file changes whole or not at all.
pub fn protect(directory: &Path) -> Result<Vec<String>, KeyError> {
    let open = |text: &str| !sealed::is_sealed(text) && !Location::is_one(text);
    let (found, others) =
        secrets(directory)?.into_iter().partition::<Vec<_>, _>(|one| open(&one.1));
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let credentials = credentials();
    let at = |source| KeyError::Passphrase { path: directory.to_owned(), source };
    let secrets = Secrets { directory, credentials: credentials.as_deref() };
    // One passphrase for all: it must open those that are under one.
    let sealed_before = others.iter().find(|one| sealed::is_sealed(&one.1));
    let said = match sealed_before {
        Some((path, _)) => {
            secrets.read(&name(path))?;
            passphrase::existing(credentials.as_deref()).map_err(at)?
        }
        None => passphrase::chosen(credentials.as_deref()).map_err(at)?,
    };
    for (path, text) in &found {
        replace_secret(path, seal(text, &said, path)?.as_bytes())?;
    }
    Ok(found.iter().map(|(path, _)| name(path)).collect())
}

/// Writes all secrets that are under the passphrase as they are, and returns their files.
///
/// # Errors
/// See [`KeyError`]; each file changes whole or not at all.
pub fn unprotect(directory: &Path) -> Result<Vec<String>, KeyError> {
    let credentials = credentials();
    let readable = Secrets { directory, credentials: credentials.as_deref() };
    let mut found = secrets(directory)?;
    found.retain(|one| sealed::is_sealed(&one.1));
    let opened = found.iter().map(|(path, _)| readable.read(&name(path)));
    // All of them first: with a wrong passphrase nothing changes.
    let opened = opened.collect::<Result<Vec<_>, _>>()?;
    for ((path, _), secret) in found.iter().zip(opened) {
        replace_secret(path, secret.text.as_bytes())?;
    }
    Ok(found.iter().map(|(path, _)| name(path)).collect())
}

/// All files of secrets, by name.
fn secrets(directory: &Path) -> Result<Vec<(PathBuf, Zeroizing<String>)>, KeyError> {
    let io = |source| KeyError::Io { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|found| found == "key" || found == "pin") {
            files.push(path);
        }
    }
    files.sort();
    files.into_iter().map(|path| Ok((path.clone(), super::read_secret(&path)?))).collect()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
