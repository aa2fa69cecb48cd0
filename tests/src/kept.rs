//! What the programs of a test say, kept for a search through it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Names a folder in which everything is kept that programs wrote: in `errors` their logs and standard
/// error, in `output` what they gave to whoever asked.
pub const FOLDER: &str = "SIGNET_KEEP_OUTPUT";

/// Keeps a program's log or standard error.
pub fn errors(text: impl AsRef<[u8]>) {
    append("errors", text.as_ref());
}

/// Keeps a program's standard output.
pub fn output(text: impl AsRef<[u8]>) {
    append("output", text.as_ref());
}

fn append(name: &str, bytes: &[u8]) {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let file = OpenOptions::new().create(true).append(true).open(Path::new(&folder).join(name));
    if let Ok(mut file) = file {
        let _ = file.write_all(&[bytes, b"\n"].concat());
    }
}
