//! Holds records, tree, checkpoints and cosignatures against each other, and says what does not fit.

use std::fmt;

use serde::Serialize;
use signet_evidence::binding::Sha256;
use signet_verifier::log::{Checkpoint, Frontier, Note, NoteKey, NoteSignature, TreeHead};

use crate::store::{Event, FoundRecord, Mark, SignedCheckpoint, Store, StoreError, TILE};

const PAGE: u32 = 1024;
/// What a record of a deletion says: the first number that stays.
pub const KEPT_FROM: &str = "kept from ";

/// Something that the authority cannot have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "finding")]
pub enum Finding {
    /// Records are gone, and no record says that they were deleted for their age.
    Deleted {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A record is not the one that was written.
    Edited {
        /// Its number.
        record: u64,
    },
    /// Records stand where others stood.
    Moved {
        /// The first of them, by the number that it has.
        first: u64,
        /// The last of them.
        last: u64,
        /// The number that the first of them had.
        from: u64,
    },
    /// A record without a place in the tree.
    Added {
        /// Its number.
        record: u64,
    },
    /// A record is genuine, but its hash in the tree is another.
    Leaf {
        /// Its number.
        record: u64,
    },
    /// A hash above the leaves is not that of what is under it.
    Tile {
        /// Level of the hash.
        level: u8,
        /// Its number in the level.
        number: u64,
    },
    /// The records are not those that were signed.
    Rewritten {
        /// So many records are those that were signed.
        sound: u64,
        /// Size of the first checkpoint that says otherwise.
        signed: u64,
    },
    /// Records that were signed are gone at the end.
    Truncated {
        /// Records that there are.
        size: u64,
        /// Records that were signed.
        signed: u64,
    },
    /// A checkpoint that the log's key did not sign.
    Unsigned {
        /// The size that it says.
        size: u64,
    },
    /// A cosignature that the witness did not make.
    Cosignature {
        /// Size of the checkpoint.
        size: u64,
        /// The witness's name.
        witness: String,
    },
    /// A checkpoint that somebody kept is not of this log's past: it forked.
    Forked {
        /// Size of the checkpoint that was kept.
        size: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted { first, last } if first == last => {
                write!(f, "record {first} was deleted")
            }
            Self::Deleted { first, last } => write!(f, "records {first} to {last} were deleted"),
            Self::Edited { record } => write!(f, "record {record} was edited"),
            Self::Moved { first, last, from } if first == last => {
                write!(
                    f,
                    "record {first} is the one that was record {from}: records were reordered"
                )
            }
            Self::Moved { first, last, from } => write!(
                f,
                "records {first} to {last} are those that were {from} and on: records before them were \
                 deleted or added"
            ),
            Self::Added { record } => write!(f, "record {record} was added beside the log"),
            Self::Leaf { record } => write!(f, "the tree has another hash for record {record}"),
            Self::Tile { level, number } => {
                write!(f, "hash {number} of level {level} of the tree was changed")
            }
            Self::Rewritten { sound, signed } => write!(
                f,
                "the log was rewritten: records {} to {signed} are not those that were signed",
                sound + 1
            ),
            Self::Truncated { size, signed } => {
                write!(f, "records {} to {signed} were signed and are gone", size + 1)
            }
            Self::Unsigned { size } => {
                write!(f, "the checkpoint of {size} records was not signed by the log's key")
            }
            Self::Cosignature { size, witness } => {
                write!(f, "the cosignature of {witness} under {size} records is not the witness's")
            }
            Self::Forked { size } => write!(
                f,
                "the log forked: its first {size} records are not those of the checkpoint that was kept"
            ),
        }
    }
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records in the log.
    pub records: u64,
    /// Of them, those deleted for their age; their hashes are still there.
    pub pruned: u64,
    /// Of them, those that a checkpoint covers.
    pub signed: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Cosignatures.
    pub cosignatures: u64,
    /// What does not fit; empty for a sound log.
    pub findings: Vec<Finding>,
}

/// Checks the whole log: records against their leaves, leaves against the tree, the tree against all
/// checkpoints signed by one of `keys` and those that others `kept`. `progress` hears how many records of how many
/// were looked at. The log may grow and be pruned meanwhile: what is checked is the log as it was at the start.
///
/// # Errors
/// [`StoreError`] when the log cannot be read.
pub async fn verify(
    store: &dyn Store,
    keys: &[NoteKey],
    kept: &[Note],
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, StoreError> {
    // What was signed is read first: a record comes before the checkpoint over it.
    let signed = store.newest_checkpoint().await?.map_or(0, |newest| newest.size);
    let size = store.log_size().await?;
    let mut audit = Audit::new(store, keys, kept, signed, size).await?;
    loop {
        let page = store.audit_found_after(audit.last_row, PAGE).await?;
        // A page that has room is the last one, or a log that grows would never end.
        let last = page.len() < PAGE as usize;
        for found in page {
            audit.row(found).await?;
        }
        progress(audit.frontier.size(), size);
        if last {
            break;
        }
    }
    audit.finish().await
}

struct Audit<'a> {
    store: &'a dyn Store,
    keys: &'a [NoteKey],
    size: u64,
    /// Records that there were when one beyond `size` was met.
    grown: u64,
    /// Size of the newest checkpoint, of those that were kept too.
    signed: u64,
    /// Number of the last row that was read.
    last_row: i64,
    /// The tree so far, of what is genuine.
    frontier: Frontier,
    /// Hashes of the tile that grows, by level.
    tiles: Vec<Vec<Sha256>>,
    leaves: Leaves,
    witnesses: Vec<NoteKey>,
    /// Checkpoints that were not yet reached, the next one last.
    checkpoints: Vec<SignedCheckpoint>,
    checkpoints_read: u64,
    kept: Vec<TreeHead>,
    sound: u64,
    gone: Vec<(u64, u64)>,
    kept_from: u64,
    report: Report,
}

/// Leaf hashes as the tree has them, a tile at a time.
#[derive(Default)]
struct Leaves {
    first: u64,
    hashes: Vec<Sha256>,
}

impl<'a> Audit<'a> {
    async fn new(
        store: &'a dyn Store,
        keys: &'a [NoteKey],
        kept: &[Note],
        signed: u64,
        size: u64,
    ) -> Result<Self, StoreError> {
        let mut report = Report { records: size, ..Report::default() };
        let mut heads = Vec::new();
        for note in kept {
            match Checkpoint::verify_by_any(note, keys) {
                Ok(checkpoint) => heads.push(checkpoint.head),
                Err(_) => report.findings.push(Finding::Unsigned { size: 0 }),
            }
        }
        heads.sort_by_key(|head| head.size);
        Ok(Self {
            store,
            keys,
            size,
            grown: size,
            signed: heads.iter().map(|head| head.size).fold(signed, u64::max),
            last_row: 0,
            frontier: Frontier::default(),
            tiles: Vec::new(),
            leaves: Leaves::default(),
            witnesses: Vec::new(),
            checkpoints: Vec::new(),
            checkpoints_read: 0,
            kept: heads,
            sound: 0,
            gone: Vec::new(),
            kept_from: 1,
            report,
        })
    }

    /// The next row of the table, which may not be the next record.
    async fn row(&mut self, found: FoundRecord) -> Result<(), StoreError> {
        self.last_row = found.record.sequence;
        let number = u64::try_from(found.record.sequence).unwrap_or(0);
        if number > self.grown {
            self.grown = self.store.log_size().await?;
        }
        if number > self.grown || number <= self.frontier.size() {
            self.report.findings.push(Finding::Added { record: number });
            return Ok(());
        }
        let genuine = found.mark == Mark::Genuine;
        if genuine
            && found.record.event == Event::AuditPrune.as_str()
            && let Some(kept_from) = found.record.detail.strip_prefix(KEPT_FROM)
        {
            let kept_from = kept_from.split(' ').next().and_then(|number| number.parse().ok());
            self.kept_from = self.kept_from.max(kept_from.unwrap_or(1));
        }
        if number > self.size {
            return Ok(());
        }
        self.skip_to(number).await?;
        let in_tree = self.leaf(number - 1).await?;
        let leaf = found.record.leaf();
        match found.mark {
            Mark::Genuine if leaf != in_tree => {
                self.report.findings.push(Finding::Leaf { record: number });
            }
            Mark::Genuine => {}
            Mark::Moved { from } => self.moved(number, u64::try_from(from).unwrap_or(0)),
            Mark::Foreign => self.report.findings.push(Finding::Edited { record: number }),
        }
        self.push(if genuine { leaf } else { in_tree }).await
    }

    fn moved(&mut self, number: u64, from: u64) {
        let findings = self.report.findings.iter_mut().rev();
        let mut moved = findings.filter(|found| matches!(found, Finding::Moved { .. }));
        if let Some(Finding::Moved { first, last, from: start }) = moved.next()
            && *last + 1 == number
            && from.checked_sub(*start) == Some(number - *first)
        {
            *last = number;
            return;
        }
        self.report.findings.push(Finding::Moved { first: number, last: number, from });
    }

    /// Goes over records that are not there.
    async fn skip_to(&mut self, number: u64) -> Result<(), StoreError> {
        let first = self.frontier.size() + 1;
        if first < number {
            self.gone.push((first, number - 1));
        }
        while self.frontier.size() + 1 < number {
            let leaf = self.leaf(self.frontier.size()).await?;
            self.push(leaf).await?;
        }
        Ok(())
    }

    /// The tree's hash of record `index`, from zero.
    async fn leaf(&mut self, index: u64) -> Result<Sha256, StoreError> {
        let first = index - index % TILE;
        if self.leaves.hashes.is_empty() || self.leaves.first != first {
            let end = (first + TILE).min(self.size);
            let hashes = self.store.log_hashes(0, first..end).await?;
            self.leaves = Leaves { first, hashes };
        }
        let at = usize::try_from(index - first).unwrap_or(usize::MAX);
        let corrupt = StoreError::Corrupt { table: "log_hashes" };
        self.leaves.hashes.get(at).copied().ok_or(corrupt)
    }

    async fn push(&mut self, leaf: Sha256) -> Result<(), StoreError> {
        self.frontier.push(leaf);
        self.fill(leaf).await?;
        self.meet_checkpoints().await
    }

    /// Compares the hash over each tile that `leaf` fills.
    async fn fill(&mut self, leaf: Sha256) -> Result<(), StoreError> {
        let mut hash = leaf;
        let mut number = self.frontier.size() - 1;
        for level in 0_u8.. {
            let at = usize::from(level);
            if self.tiles.len() == at {
                self.tiles.push(Vec::new());
            }
            self.tiles[at].push(hash);
            if self.tiles[at].len() as u64 != TILE {
                break;
            }
            hash = Frontier::of(&std::mem::take(&mut self.tiles[at])).root();
            number /= TILE;
            let stored = self.store.log_hashes(level + 1, number..number + 1).await?;
            if stored != [hash] {
                self.report.findings.push(Finding::Tile { level: level + 1, number });
            }
        }
        Ok(())
    }

    async fn meet_checkpoints(&mut self) -> Result<(), StoreError> {
        let (size, root) = (self.frontier.size(), self.frontier.root());
        for head in self.kept.iter().filter(|head| head.size == size) {
            if head.root != root {
                self.report.findings.push(Finding::Forked { size });
            }
        }
        while let Some(checkpoint) = self.next_checkpoint().await? {
            if checkpoint.size > size {
                self.checkpoints.push(checkpoint);
                break;
            }
            self.checkpoint(&checkpoint, root).await?;
        }
        Ok(())
    }

    async fn next_checkpoint(&mut self) -> Result<Option<SignedCheckpoint>, StoreError> {
        if self.checkpoints.is_empty() {
            self.checkpoints = self.store.checkpoints_after(self.checkpoints_read, PAGE).await?;
            self.checkpoints.reverse();
        }
        let next = self.checkpoints.pop();
        if let Some(next) = &next {
            self.checkpoints_read = next.size;
        }
        Ok(next)
    }

    async fn checkpoint(
        &mut self,
        checkpoint: &SignedCheckpoint,
        root: Sha256,
    ) -> Result<(), StoreError> {
        let size = checkpoint.size;
        self.report.checkpoints += 1;
        let note = Note::parse(&checkpoint.note).ok();
        let signed = note.as_ref().and_then(|note| Checkpoint::verify_by_any(note, self.keys).ok());
        let (Some(note), Some(head)) = (note, signed.map(|signed| signed.head)) else {
            self.report.findings.push(Finding::Unsigned { size });
            return Ok(());
        };
        if head != (TreeHead { size, root }) {
            let rewritten = |found: &Finding| matches!(found, Finding::Rewritten { .. });
            if !self.report.findings.iter().any(rewritten) {
                let sound = self.sound;
                self.report.findings.push(Finding::Rewritten { sound, signed: size });
            }
        } else if self.sound < size {
            self.sound = size;
        }
        self.report.signed = self.report.signed.max(size);
        self.cosignatures(size, &note).await
    }

    async fn cosignatures(&mut self, size: u64, note: &Note) -> Result<(), StoreError> {
        for cosignature in self.store.cosignatures(size).await? {
            self.report.cosignatures += 1;
            let witness = cosignature.witness;
            if !self.witnesses.iter().any(|key| key.name() == witness) {
                // None was read yet, or this one is new.
                let known = self.store.witnesses().await?;
                self.witnesses = known.into_iter().map(|witness| witness.key).collect();
            }
            let key = self.witnesses.iter().find(|key| key.name() == witness);
            let mut cosigned = note.clone();
            let line = NoteSignature::parse(&cosignature.line);
            let good = line.is_ok_and(|line| {
                cosigned.add(line);
                // A line by an earlier key of the witness proves nothing any more, for or against.
                key.is_some_and(|key| {
                    cosigned.signatures().last().is_some_and(|line| line.key_id != key.id())
                        || key.verify_cosignature(&cosigned).is_ok()
                })
            });
            if !good {
                self.report.findings.push(Finding::Cosignature { size, witness });
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Report, StoreError> {
        self.skip_to(self.size + 1).await?;
        for (first, last) in std::mem::take(&mut self.gone) {
            // What may go for its age is told by a record; it may have gone while this was read.
            let kept_from = self.kept_from.clamp(first, last + 1);
            self.report.pruned += kept_from - first;
            if kept_from <= last {
                self.report.findings.push(Finding::Deleted { first: kept_from, last });
            }
        }
        if self.signed > self.size {
            self.report.findings.push(Finding::Truncated { size: self.size, signed: self.signed });
        }
        Ok(self.report)
    }
}
