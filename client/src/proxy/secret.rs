//! The secret that a tool shows where a port of this machine does not say who calls.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::tokens::{CacheError, read_private, write_private};

/// Random bytes of a secret.
const LENGTH: usize = 32;
/// Longest `Basic` credential that is looked at.
const MAX_CREDENTIAL: usize = 512;

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file is not safe, or cannot be used.
    #[error(transparent)]
    File(#[from] CacheError),
    /// It holds something else.
    #[error("{0} holds no secret of `signet proxy`: remove it, and a new one is made")]
    NotASecret(PathBuf),
    /// It cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No random numbers.
    #[error("the system gives no random numbers: restart the machine")]
    Randomness,
}

/// The secret: 43 letters of base64url.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The secret in `path`, which is made where there is none: mode 0600.
    pub(super) fn in_file(path: &Path) -> Result<Self, SecretError> {
        if let Some(bytes) = read_private(path, 128)? {
            let text = std::str::from_utf8(bytes.trim_ascii()).ok();
            let sound = text.filter(|text| {
                URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == LENGTH)
            });
            let text = sound.ok_or_else(|| SecretError::NotASecret(path.to_owned()))?;
            return Ok(Self(Zeroizing::new(text.to_owned())));
        }
        let mut bytes = Zeroizing::new([0; LENGTH]);
        rand::fill(bytes.as_mut()).map_err(|_| SecretError::Randomness)?;
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()));
        let failed = |source| SecretError::Write { path: path.to_owned(), source };
        write_private(path, text.as_bytes()).map_err(failed)?;
        Ok(Self(text))
    }

    /// Whether this is it.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), text).is_ok()
    }

    /// Whether a header's value carries it: `Bearer SECRET`, or `Basic` with it as the password.
    pub(super) fn is_in(&self, header: &[u8]) -> bool {
        let Some(at) = header.iter().position(|byte| *byte == b' ') else { return false };
        let (scheme, rest) = header.split_at(at);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.is(rest);
        }
        if !scheme.eq_ignore_ascii_case(b"basic") || rest.len() > MAX_CREDENTIAL {
            return false;
        }
        let Ok(decoded) = STANDARD.decode(rest).map(Zeroizing::new) else { return false };
        let colon = decoded.iter().position(|byte| *byte == b':');
        colon.and_then(|at| decoded.get(at + 1..)).is_some_and(|password| self.is(password))
    }

    /// What follows the secret in a path of the form `/~SECRET/rest`: `/rest`.
    pub(super) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix("/~")?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (first, after) = rest.split_at(end);
        self.is(first.as_bytes()).then_some(if after.is_empty() { "/" } else { after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let first = Secret::in_file(&path).unwrap();
        let again = Secret::in_file(&path).unwrap();
        assert!(first.is(again.0.as_bytes()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{first:?}"), "Secret(..)");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = Secret::in_file(&path);
        assert!(matches!(open, Err(SecretError::File(CacheError::Unsafe { .. }))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "guessable").unwrap();
        assert!(matches!(Secret::in_file(&path), Err(SecretError::NotASecret(_))));
    }

    #[test]
    fn tools_carry_it_in_three_ways() {
        let secret = Secret(Zeroizing::new("s3cret".to_owned()));
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text)).into_bytes();
        assert!(secret.is_in(b"Bearer s3cret") && secret.is_in(b"bearer  s3cret"));
        assert!(secret.is_in(&basic("signet:s3cret")) && secret.is_in(&basic(":s3cret")));
        for wrong in [&b"Bearer s3cre"[..], b"Bearer", b"s3cret", b"Digest s3cret", b"Basic !"] {
            assert!(!secret.is_in(wrong), "{wrong:?}");
        }
        assert!(!secret.is_in(&basic("s3cret:x")) && !secret.is_in(&basic("s3cret")));
        assert_eq!(secret.strip("/~s3cret/a/b?c"), Some("/a/b?c"));
        assert_eq!(secret.strip("/~s3cret"), Some("/"));
        assert_eq!(secret.strip("/~s3cretx/a"), None);
        assert_eq!(secret.strip("/s3cret/a"), None);
    }
}
