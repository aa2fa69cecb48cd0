//! The file: a head, then frames that are only ever added, each with a MAC.
//!
//! `signet journal 1\n`, 16 bytes that name this journal; then for each record its length (32 bits), its number
//! (64 bits), the record as the log holds it (CBOR), and HMAC-SHA256 over journal, number and leaf hash. Integers are
//! big-endian.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use signet_evidence::binding::Sha256;
use thiserror::Error;

use super::Noted;
use crate::random;
use crate::store::{AuditRecord, IntegrityKey};

const MAGIC: &[u8; 17] = b"signet journal 1\n";
const HEAD: usize = MAGIC.len() + 16;
const MAC: usize = 32;
/// Far above what a decision takes: the longest path that is recorded has 4 KiB.
const MAX_RECORD: usize = 64 * 1024;
/// What the MACs are for, beside the names of tables.
const PURPOSE: &str = "journal";

/// The journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("cannot use the journal {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "the journal {} belongs to another process that serves; give each authority its own `journal`",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Something else is in that file.
    #[error("{} is not a journal; move it away, or write another `journal`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// What a file held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Genuine records, in order.
    pub(super) records: Vec<Arc<Noted>>,
    /// Something follows them that nobody wrote whole.
    pub(super) damaged: bool,
}

/// An open journal, which no other process can open.
pub(super) struct JournalFile {
    file: File,
    path: PathBuf,
    name: [u8; 16],
    end: u64,
    integrity: IntegrityKey,
}

impl JournalFile {
    /// Opens the journal in `path` or makes a new one, and says what it holds.
    pub(super) fn open(
        path: &Path,
        integrity: IntegrityKey,
    ) -> Result<(Self, Found), JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            bytes.extend_from_slice(MAGIC);
            bytes.extend_from_slice(&random::bytes::<16>());
            file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let foreign = || JournalError::Foreign { path: path.to_owned() };
        let (name, frames) = body(&bytes).ok_or_else(foreign)?;
        let found = read(&name, frames, &integrity);
        let end = bytes.len() as u64;
        Ok((Self { file, path: path.to_owned(), name, end, integrity }, found))
    }

    /// Names this journal in the store.
    pub(super) fn name(&self) -> &[u8; 16] {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of frames.
    pub(super) fn len(&self) -> u64 {
        self.end.saturating_sub(HEAD as u64)
    }

    /// Adds a record: all of it or nothing. It outlives this process, and this machine's power once the system has
    /// written it back.
    pub(super) fn append(&mut self, number: u64, record: &[u8], leaf: &Sha256) -> io::Result<()> {
        let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= MAX_RECORD);
        let length = length.ok_or(io::ErrorKind::FileTooLarge)?;
        let mac = mac(&self.integrity, &self.name, number, leaf);
        let mut frame = Vec::with_capacity(12 + record.len() + MAC);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&number.to_be_bytes());
        frame.extend_from_slice(record);
        frame.extend_from_slice(&mac);
        if let Err(error) = self.file.write_all(&frame) {
            // The part that was written must not stand before the next one.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Forgets all records.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(HEAD as u64)?;
        self.end = HEAD as u64;
        Ok(())
    }

    /// Copies the file beside itself, for a person to look at.
    pub(super) fn keep_copy(&mut self, name: &str) -> io::Result<PathBuf> {
        let copy = self.path.with_extension(name);
        self.file.seek(SeekFrom::Start(0))?;
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy)?;
        io::copy(&mut self.file, &mut to)?;
        to.sync_all()?;
        Ok(copy)
    }
}

/// The journal's name and the number of its last record, while another process may be writing to it; nothing where
/// there is no journal, or no record in it. Whoever wants the records checks them.
pub(super) fn last(path: &Path) -> io::Result<Option<([u8; 16], u64)>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Some((name, mut frames)) = body(&bytes) else { return Ok(None) };
    let mut last = None;
    while let Some(Parts { number, rest, .. }) = parts(frames) {
        last = Some((name, number));
        frames = rest;
    }
    Ok(last)
}

fn body(bytes: &[u8]) -> Option<([u8; 16], &[u8])> {
    let (name, frames) = bytes.strip_prefix(MAGIC)?.split_first_chunk()?;
    Some((*name, frames))
}

/// Genuine frames up to the first thing that is none. A frame that ends too early was never answered for.
fn read(name: &[u8; 16], mut frames: &[u8], integrity: &IntegrityKey) -> Found {
    let mut found = Found::default();
    while !frames.is_empty() {
        match frame(name, frames, integrity) {
            Frame::Whole(noted, rest) => {
                found.records.push(Arc::new(noted));
                frames = rest;
            }
            Frame::CutShort => break,
            Frame::Damaged => {
                found.damaged = true;
                break;
            }
        }
    }
    found
}

#[allow(clippy::large_enum_variant)] // one at a time
enum Frame<'a> {
    Whole(Noted, &'a [u8]),
    CutShort,
    Damaged,
}

struct Parts<'a> {
    number: u64,
    record: &'a [u8],
    mac: &'a [u8],
    rest: &'a [u8],
}

/// The first frame; nothing where it is not there to its end.
fn parts(bytes: &[u8]) -> Option<Parts<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (record, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (mac, rest) = rest.split_at_checked(MAC)?;
    Some(Parts { number: u64::from_be_bytes(*number), record, mac, rest })
}

fn frame<'a>(name: &[u8; 16], bytes: &'a [u8], integrity: &IntegrityKey) -> Frame<'a> {
    let Some(Parts { number, record, mac, rest }) = parts(bytes) else { return Frame::CutShort };
    let Some(record) = AuditRecord::from_entry(record) else { return Frame::Damaged };
    let leaf = record.leaf();
    let parts: [&[u8]; 3] = [name, &number.to_be_bytes(), &leaf];
    match integrity.check(PURPOSE, &parts, mac) {
        Ok(()) => Frame::Whole(Noted { number, record, leaf }, rest),
        Err(_) => Frame::Damaged,
    }
}

fn mac(integrity: &IntegrityKey, name: &[u8; 16], number: u64, leaf: &Sha256) -> Sha256 {
    integrity.mac(PURPOSE, &[name, &number.to_be_bytes(), leaf])
}

#[cfg(test)]
mod tests {
    use signet_evidence::UnixTime;
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::{AuditEntry, Decision, Event};

    fn key(byte: u8) -> IntegrityKey {
        IntegrityKey::new(&Zeroizing::new([byte; 32]))
    }

    fn noted(number: u64) -> Arc<Noted> {
        let mut entry =
            AuditEntry::new(UnixTime(1_795_317_301), Event::Authorize, Decision::Allowed);
        entry.detail = format!("decision {number}");
        entry.subject = Some("alice".into());
        let record = entry.into_record(0);
        Arc::new(Noted { number, leaf: record.leaf(), record })
    }

    struct Made {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    /// A journal with so many records, closed.
    fn made(records: u64) -> Made {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.journal");
        let (mut file, found) = JournalFile::open(&path, key(1)).unwrap();
        assert_eq!(found, Found::default());
        for number in 1..=records {
            let noted = noted(number);
            file.append(number, &noted.record.entry(), &noted.leaf).unwrap();
        }
        Made { _folder: folder, path }
    }

    #[test]
    fn what_was_noted_is_found_again() {
        let made = made(3);
        let (mut file, found) = JournalFile::open(&made.path, key(1)).unwrap();
        let three = Found { records: (1..=3).map(noted).collect(), damaged: false };
        assert_eq!(found, three);
        assert_eq!(last(&made.path).unwrap(), Some((*file.name(), 3)));
        let name = *file.name();
        file.clear().unwrap();
        assert_eq!((file.len(), last(&made.path).unwrap()), (0, None));
        file.append(4, &noted(4).record.entry(), &noted(4).leaf).unwrap();
        drop(file);
        let (file, found) = JournalFile::open(&made.path, key(1)).unwrap();
        assert_eq!((file.name(), found.records), (&name, vec![noted(4)]));
    }

    #[test]
    fn only_one_process_has_it() {
        let made = made(1);
        let (_file, _) = JournalFile::open(&made.path, key(1)).unwrap();
        let second = JournalFile::open(&made.path, key(1)).err();
        assert!(matches!(second, Some(JournalError::InUse { .. })), "{second:?}");
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authority.toml");
        std::fs::write(&path, "issuer = \"https://authority.mesh.example\"").unwrap();
        let refused = JournalFile::open(&path, key(1)).err();
        assert!(matches!(refused, Some(JournalError::Foreign { .. })), "{refused:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "issuer = \"https://authority.mesh.example\"");
    }

    /// A process that dies while it writes was not going to be answered for.
    #[test]
    fn a_frame_cut_short_anywhere_is_passed_over_and_no_other() {
        let made = made(2);
        let whole = std::fs::read(&made.path).unwrap();
        let second = HEAD + (whole.len() - HEAD) / 2;
        for end in second..whole.len() {
            std::fs::write(&made.path, &whole[..end]).unwrap();
            let (_, found) = JournalFile::open(&made.path, key(1)).unwrap();
            assert_eq!(found, Found { records: vec![noted(1)], damaged: false }, "{end}");
        }
    }

    #[test]
    fn a_byte_that_is_another_is_noticed_wherever_it_is() {
        let made = made(2);
        let whole = std::fs::read(&made.path).unwrap();
        let second = HEAD + (whole.len() - HEAD) / 2;
        for place in second..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(&made.path, &changed).unwrap();
            let (_, found) = JournalFile::open(&made.path, key(1)).unwrap();
            assert_eq!(found.records, vec![noted(1)], "{place}");
            // A longer length looks like a frame cut short.
            assert!(found.damaged || place < second + 4, "{place}");
        }
        std::fs::write(&made.path, &whole).unwrap();
        let (_, found) = JournalFile::open(&made.path, key(2)).unwrap();
        assert_eq!(found, Found { records: vec![], damaged: true });
    }

    #[test]
    fn records_of_another_journal_are_not_taken() {
        let (mine, other) = (made(1), made(1));
        let (mine_bytes, other_bytes) =
            (std::fs::read(&mine.path).unwrap(), std::fs::read(&other.path).unwrap());
        std::fs::write(&mine.path, [&mine_bytes[..HEAD], &other_bytes[HEAD..]].concat()).unwrap();
        let (_, found) = JournalFile::open(&mine.path, key(1)).unwrap();
        assert_eq!(found, Found { records: vec![], damaged: true });
    }
}
