//! Files that the person names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use signet_client::tls::read_anchors;
use signet_client::tokens::{AccessToken, write_private};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Largest CA file.
const MAX_CA: usize = 1024 * 1024;
/// Largest body of a request.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;

/// The file's bytes, or those of standard input for `-`; at most `limit`.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    if bytes.len() > limit {
        return Err(Failure::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// The body of a request; empty without a file.
pub(super) fn body(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    path.map_or(Ok(Vec::new()), |path| read(path, MAX_BODY))
}

/// The certificates of a CA file.
pub(super) fn anchors(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    Ok(read_anchors(&read(path, MAX_CA)?)?)
}

/// A token from a file.
pub(super) fn token(path: &Path) -> Result<AccessToken, Failure> {
    let bytes = Zeroizing::new(read(path, 64 * 1024)?);
    let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| Failure::NotAToken)?;
    AccessToken::new(Zeroizing::new(text.to_owned())).ok_or(Failure::NotAToken)
}

/// Writes a file that only its owner can read, whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write_private(path, bytes).map_err(|source| Failure::Write { path: path.to_owned(), source })
}
