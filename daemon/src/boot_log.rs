//! The TCG event log of this boot: a file that only root can read where the kernel has it, so that a unit
//! copies it for us once per boot.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use signet_evidence::binding::{Sha256, sha256};
use signet_evidence::eventlog::{EventLog, EventLogError, Limits, PcrComparison};
use signet_evidence::header::{MAX_EVENT_LOG, SentLog, WithheldLog};
use signet_evidence::tpm::{HashAlgorithm, PcrValues};

/// Where `signet-boot-log.service` puts the copy.
pub const COPY: &str = "/run/signet/boot-log";
/// Where the kernel has it.
const KERNEL: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// The event log of this boot. Clones share what was last read and quoted.
#[derive(Clone, Debug)]
pub struct BootLog {
    paths: Vec<PathBuf>,
    read: Arc<Mutex<Option<Reading>>>,
    quoted: Arc<Mutex<BTreeMap<u8, Vec<u8>>>>,
}

/// A log as it was read. It counts as long as its file is the same.
#[derive(Clone, Debug)]
struct Reading {
    stamp: Stamp,
    log: Arc<[u8]>,
    digest: Sha256,
}

/// What tells one file from another: device, inode, length, and both times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([u64; 3], [(i64, i64); 2]);

impl Stamp {
    fn of(file: &Metadata) -> Self {
        let changed = (file.ctime(), file.ctime_nsec());
        Self([file.dev(), file.ino(), file.len()], [(file.mtime(), file.mtime_nsec()), changed])
    }
}

impl BootLog {
    /// The log in `path`; in place of the copy that is not there, the kernel's own.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let mut paths = vec![path.to_owned()];
        if path == Path::new(COPY) {
            paths.push(KERNEL.into());
        }
        Self { paths, read: Arc::default(), quoted: Arc::default() }
    }

    /// What is sent of it, to an authority that has the log of this digest.
    #[must_use]
    pub fn sent(&self, known: Option<&Sha256>) -> SentLog {
        match self.read() {
            Ok(read) if known == Some(&read.digest) => SentLog::Known(read.digest),
            Ok(read) => SentLog::Whole(read.log.to_vec()),
            Err(why) => SentLog::Withheld(why),
        }
    }

    /// Reads it ahead of [`Self::sent`]; what is wrong with it is told there.
    pub fn gather(&self) {
        let _ = self.read();
    }

    /// Keeps the values that were last quoted, for [`Self::status`].
    pub fn quoted(&self, pcrs: &BTreeMap<u8, Vec<u8>>) {
        self.quoted.lock().unwrap_or_else(PoisonError::into_inner).clone_from(pcrs);
    }

    /// One word for `Status`: `ok`, `missing`, `unreadable`, `too-long`, `truncated`, `malformed`, or
    /// `not-matching` where it does not lead to what was quoted last.
    #[must_use]
    pub fn status(&self) -> &'static str {
        let log = match self.read() {
            Ok(read) => read.log,
            Err(WithheldLog::Missing) => return "missing",
            Err(WithheldLog::TooLong) => return "too-long",
            Err(WithheldLog::Unreadable) => return "unreadable",
        };
        match EventLog::parse(&log, &Limits::default()) {
            Ok(log) if self.contradicts(&log) => "not-matching",
            Ok(_) => "ok",
            Err(EventLogError::Truncated { .. }) => "truncated",
            Err(EventLogError::TooLong { .. } | EventLogError::TooManyEvents { .. }) => "too-long",
            Err(_) => "malformed",
        }
    }

    fn contradicts(&self, log: &EventLog<'_>) -> bool {
        let quoted = self.quoted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let bank = match quoted.values().next().map(Vec::len) {
            Some(48) => HashAlgorithm::Sha384,
            _ => HashAlgorithm::Sha256,
        };
        let compared = PcrValues::of_bank(bank, quoted).ok();
        let compared = compared.and_then(|quoted| log.compare(bank, &quoted).ok());
        compared.is_some_and(|compared| {
            compared.values().any(|pcr| matches!(pcr, PcrComparison::Mismatch(_)))
        })
    }

    fn read(&self) -> Result<Reading, WithheldLog> {
        let mut why = WithheldLog::Missing;
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for path in &self.paths {
            match read(path, last.as_ref()) {
                Ok(read) if read.log.is_empty() => {}
                Ok(read) if read.log.len() > MAX_EVENT_LOG => return Err(WithheldLog::TooLong),
                Ok(read) => return Ok(last.insert(read).clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot read the event log");
                    why = WithheldLog::Unreadable;
                }
            }
        }
        Err(why)
    }
}

/// One byte more than is sent, at most; what was read `last` where it is the same file. Both files lie
/// in memory: this does not wait for a disk.
fn read(path: &Path, last: Option<&Reading>) -> io::Result<Reading> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let stamp = Stamp::of(&metadata);
    if let Some(last) = last.filter(|last| last.stamp == stamp) {
        return Ok(last.clone());
    }
    let mut log = Vec::new();
    file.take(MAX_EVENT_LOG as u64 + 1).read_to_end(&mut log)?;
    Ok(Reading { stamp, digest: sha256(&log), log: log.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = include_bytes!("../../fixtures/published/eventlogs/gce-cos-85.bin");

    #[test]
    fn each_way_to_have_no_log_has_its_own_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = BootLog::new(&path);
        let (missing, too_long) = (WithheldLog::Missing, WithheldLog::TooLong);
        assert_eq!((log.status(), log.sent(None)), ("missing", SentLog::Withheld(missing)));
        std::fs::write(&path, b"").unwrap();
        assert_eq!((log.status(), log.sent(None)), ("missing", SentLog::Withheld(missing)));
        std::fs::write(&path, vec![0; MAX_EVENT_LOG + 1]).unwrap();
        assert_eq!((log.status(), log.sent(None)), ("too-long", SentLog::Withheld(too_long)));
        std::fs::write(&path, &LOG[..LOG.len() - 1]).unwrap();
        assert_eq!(log.status(), "truncated");
        std::fs::write(&path, [0xff; 4096]).unwrap();
        assert_eq!(log.status(), "malformed");
        let unreadable = BootLog::new(folder.path());
        let why = WithheldLog::Unreadable;
        assert_eq!(
            (unreadable.status(), unreadable.sent(None)),
            ("unreadable", SentLog::Withheld(why))
        );
    }

    #[test]
    fn a_log_that_is_known_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, LOG).unwrap();
        let log = BootLog::new(&path);
        assert_eq!(log.sent(None), SentLog::Whole(LOG.to_vec()));
        assert_eq!(log.sent(Some(&[0; 32])), SentLog::Whole(LOG.to_vec()));
        assert_eq!(log.sent(Some(&sha256(LOG))), SentLog::Known(sha256(LOG)));
        assert_eq!(log.status(), "ok");
        log.quoted(&[(7, vec![1; 32])].into());
        assert_eq!(log.status(), "not-matching");
    }

    #[test]
    fn a_file_that_was_changed_or_replaced_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, LOG).unwrap();
        let log = BootLog::new(&path);
        log.gather();
        assert_eq!(log.sent(None), SentLog::Whole(LOG.to_vec()));
        std::fs::write(&path, &LOG[1..]).unwrap();
        assert_eq!(log.sent(None), SentLog::Whole(LOG[1..].to_vec()));
        let other = folder.path().join("other");
        std::fs::write(&other, &LOG[2..]).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(log.sent(None), SentLog::Whole(LOG[2..].to_vec()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(log.sent(None), SentLog::Withheld(WithheldLog::Missing));
    }
}
