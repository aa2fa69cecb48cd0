//! Attackers who write to the database against `audit verify`, against the running authority and
//! against a witness.
//!
//! They change records as they like and make the tree anew, so that it fits what they wrote. What
//! they do not have is the key that marks rows, and the log's key; the last of them has both.
#![allow(clippy::unwrap_used)] // A test's helper may fail as its test may.

use std::path::PathBuf;
use std::sync::Arc;

use signet_authority::keys::{self, LogRing, Urgency};
use signet_authority::log::verify::{Finding, KEPT_FROM, Report, verify};
use signet_authority::log::{AuditLog, SignError, consistency, inclusion, root_at};
use signet_authority::store::{
    AuditEntry, AuditFilter, Cosignature, Decision, Event, IntegrityKey, SqlStore, Store,
    StoreError, TILE,
};
use signet_evidence::UnixTime;
use signet_verifier::log::{
    Checkpoint, FileLogSigner, Frontier, Inconsistent, LogSigner, Note, NoteKey, ProofError,
    Receipt, SignatureKind, TreeHead, Update, UpdateError,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use zeroize::Zeroizing;

const NOW: UnixTime = UnixTime(1_790_000_000);

/// A log and everything that its authority knows.
struct House {
    folder: tempfile::TempDir,
    store: SqlStore,
    log: AuditLog,
    log_key: Zeroizing<Vec<u8>>,
}

fn integrity() -> IntegrityKey {
    IntegrityKey::new(&Zeroizing::new([7; 32]))
}

fn audit_log(pkcs8: &Zeroizing<Vec<u8>>) -> AuditLog {
    let signer = FileLogSigner::from_pkcs8(pkcs8).unwrap();
    let signer: Arc<dyn LogSigner> = Arc::new(signer);
    AuditLog::new("https://signet.example", signer.into()).unwrap()
}

fn entry(number: u64) -> AuditEntry {
    let mut entry = AuditEntry::new(NOW, Event::Authorize, Decision::Allowed);
    entry.subject = Some("alice".into());
    entry.detail = format!("decision {number}");
    entry
}

impl House {
    async fn new() -> Self {
        Self::with_key(FileLogSigner::generate().unwrap()).await
    }

    async fn with_key(log_key: Zeroizing<Vec<u8>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            SqlStore::create(&folder.path().join("authority.db"), integrity()).await.unwrap();
        Self { folder, store, log: audit_log(&log_key), log_key }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("authority.db")
    }

    /// Writes so many further records and signs them.
    async fn grow(&self, records: u64) {
        let size = self.store.log_size().await.unwrap();
        for number in size..size + records {
            self.store.append_audit(&entry(number)).await.unwrap();
        }
        self.sign().await.unwrap();
    }

    async fn sign(&self) -> Result<bool, SignError> {
        self.log.sign_news(&self.store, NOW).await
    }

    /// A witness that nobody knew cosigns the log's end; that it did is a record.
    async fn cosigned_by(&self, name: &str) {
        let signer = FileLogSigner::from_pkcs8(&FileLogSigner::generate().unwrap()).unwrap();
        let key = NoteKey::new(name, SignatureKind::Witness, signer.public_key()).unwrap();
        let pinned = AuditEntry::new(NOW, Event::Witness, Decision::Allowed);
        self.store.pin_witness(&key, &pinned).await.unwrap();
        let (note, size) = (self.newest().await, self.head().await.size);
        let line = note.cosign(name, &signer, NOW).unwrap().to_string();
        let cosignature = Cosignature { size, witness: name.to_owned(), at: NOW, line };
        self.store.add_cosignature(&cosignature).await.unwrap();
    }

    /// The same authority after a restart: it remembers nothing but its keys.
    fn restarted(&self) -> AuditLog {
        audit_log(&self.log_key)
    }

    fn key(&self) -> NoteKey {
        self.log.key()
    }

    async fn newest(&self) -> Note {
        Note::parse(&self.store.newest_checkpoint().await.unwrap().unwrap().note).unwrap()
    }

    async fn head(&self) -> TreeHead {
        Checkpoint::verify(&self.newest().await, &self.key()).unwrap().head
    }

    async fn verify(&self, kept: &[Note]) -> Report {
        verify(&self.store, &[self.key()], kept, |_, _| {}).await.unwrap()
    }

    /// What a witness that knows `known` is answered, as the endpoint answers it.
    async fn witness(&self, known: &TreeHead) -> Result<Checkpoint, UpdateError> {
        let note = self.newest().await;
        let size = Checkpoint::verify(&note, &self.key()).unwrap().head.size;
        let old = known.size.min(size);
        let proof = consistency(&self.store, old, size).await.unwrap();
        Update { old, proof, note }.accept(Some(known), &self.key())
    }

    /// Runs statements on the file, past the authority and its triggers.
    async fn attack(&self, statements: &str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
        let mut connection = options.connect().await.unwrap();
        for trigger in [
            "audit_is_append_only_update",
            "audit_is_append_only_delete",
            "log_hashes_are_append_only_update",
            "log_hashes_are_append_only_delete",
        ] {
            let drop = AssertSqlSafe(format!("DROP TRIGGER IF EXISTS {trigger}"));
            sqlx::raw_sql(drop).execute(&mut connection).await.unwrap();
        }
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Makes the tree anew over whatever the records are now.
    async fn rebuild_tree(&self) {
        let mut statements = "DELETE FROM log_hashes;".to_owned();
        let found = self.store.audit_found_after(0, 10_000).await.unwrap();
        let mut hashes: Vec<_> = found.iter().map(|found| found.record.leaf()).collect();
        for level in 0.. {
            for (number, hash) in hashes.iter().enumerate() {
                let hex = signet_evidence::thumbprint::hex(hash);
                statements +=
                    &format!("INSERT INTO log_hashes VALUES ({level}, {number}, x'{hex}');");
            }
            let tiles = hashes.chunks_exact(usize::try_from(TILE).unwrap());
            hashes = tiles.map(|tile| Frontier::of(tile).root()).collect();
            if hashes.is_empty() {
                break;
            }
        }
        self.attack(&statements).await;
    }

    /// What every forged log shows to whom.
    async fn is_caught(&self, known: &TreeHead, findings: &[Finding]) {
        assert_eq!(self.verify(&[]).await.findings, findings);
        let size = self.head().await.size;
        let source = ProofError::Root;
        let forked = Inconsistent::Forked { known: known.size, size, source };
        assert_eq!(self.witness(known).await, Err(forked.into()));
        // The authority lends its key to nobody's history.
        self.store.append_audit(&entry(1000)).await.unwrap();
        for log in [&self.log, &self.restarted()] {
            let refused = log.sign_news(&self.store, NOW).await;
            assert!(matches!(refused, Err(SignError::Rewritten { .. })), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_sound_log_proves_every_record_and_all_of_its_past() {
    let house = House::new().await;
    let mut heads: Vec<TreeHead> = Vec::new();
    for records in [1, 2, 250, 3, 1, 300] {
        house.grow(records).await;
        heads.push(house.head().await);
    }
    assert!(!house.sign().await.unwrap(), "nothing new");
    let newest = heads.pop().unwrap();
    assert_eq!(newest.size, 557);
    for known in heads {
        assert_eq!(root_at(&house.store, known.size).await.unwrap(), known.root);
        assert_eq!(house.witness(&known).await.unwrap().head, newest);
    }
    let note = house.newest().await;
    for record in house.store.audit_after(0, 1000).await.unwrap() {
        let index = u64::try_from(record.sequence).unwrap() - 1;
        let proof = inclusion(&house.store, index, newest.size).await.unwrap();
        let receipt = Receipt { index, proof, note: note.clone() };
        receipt.verify(&record.entry(), &house.key()).unwrap();
    }
    let report = house.verify(std::slice::from_ref(&note)).await;
    let expected = Report { records: 557, signed: 557, checkpoints: 6, ..Report::default() };
    assert_eq!(report, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_grows_while_it_is_verified_is_sound() {
    let house = House::new().await;
    house.grow(1030).await;
    let mut grown = 0;
    // After each page of records a new witness cosigns, and the log's end is signed again.
    let grow = |_, _| {
        grown += 1;
        let grow = async {
            house.cosigned_by(&format!("witness-{grown}")).await;
            house.sign().await.unwrap();
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(grow));
    };
    let report = verify(&house.store, &[house.key()], &[], grow).await.unwrap();
    assert_eq!(report.findings, []);
    let counted = (report.records, report.signed, report.checkpoints, report.cosignatures);
    assert_eq!(counted, (1030, 1030, 1, 1));
    assert_eq!(grown, 2);
    let report = house.verify(&[]).await;
    assert_eq!((report.findings, report.records), (vec![], 1032));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_pruned_while_it_is_verified_is_sound() {
    for kept_from in [500, 1500, 2101] {
        let house = House::new().await;
        house.grow(2100).await;
        let mut prune = AuditEntry::new(NOW, Event::AuditPrune, Decision::Allowed);
        prune.detail = format!("{KEPT_FROM}{kept_from} by root");
        let mut is_due = true;
        // After the first page of records.
        let pruned = |_, _| {
            if std::mem::take(&mut is_due) {
                let prune = house.store.prune_audit(kept_from, &prune);
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(prune).unwrap()
                });
            }
        };
        let report = verify(&house.store, &[house.key()], &[], pruned).await.unwrap();
        assert_eq!((report.findings, report.records), (vec![], 2100), "{kept_from}");
        // What was read before it went counts as there.
        let expected = u64::try_from(kept_from).unwrap().saturating_sub(1025);
        assert_eq!(report.pruned, expected, "{kept_from}");
        // What no record speaks of is missed, in the middle too.
        house.attack("DELETE FROM audit WHERE sequence = 2050").await;
        let findings = house.verify(&[]).await.findings;
        let missed = [Finding::Deleted { first: 2050, last: 2050 }];
        assert_eq!(findings, if kept_from > 2050 { &[] } else { &missed[..] }, "{kept_from}");
    }
}

#[tokio::test]
async fn a_deleted_record_is_missed_by_all() {
    let house = House::new().await;
    house.grow(20).await;
    let known = house.head().await;
    house.grow(20).await;
    house.attack("DELETE FROM audit WHERE sequence = 5").await;
    assert_eq!(house.verify(&[]).await.findings, [Finding::Deleted { first: 5, last: 5 }]);
    // Closing the gap and making the tree anew does not help.
    house
        .attack(
            "UPDATE audit SET sequence = -sequence WHERE sequence > 5;
             UPDATE audit SET sequence = -sequence - 1 WHERE sequence < 0;",
        )
        .await;
    house.rebuild_tree().await;
    let findings = [
        Finding::Moved { first: 5, last: 39, from: 6 },
        Finding::Rewritten { sound: 0, signed: 20 },
        Finding::Truncated { size: 39, signed: 40 },
    ];
    assert_eq!(house.verify(&[]).await.findings, findings);
    let shown = findings[0].to_string();
    assert!(shown.starts_with("records 5 to 39 are those that were 6 and on"), "{shown}");
    // A gap at the end is filled with a record of somebody's own.
    house
        .attack(
            "INSERT INTO audit SELECT 40, at, event, decision, code, subject, device, session,
                 token, credential, gateway, action, evidence, rule, 'made up', policy, request, mac, trace
                 FROM audit WHERE sequence = 39",
        )
        .await;
    house.rebuild_tree().await;
    let findings = [
        Finding::Moved { first: 5, last: 39, from: 6 },
        Finding::Rewritten { sound: 0, signed: 20 },
        Finding::Edited { record: 40 },
    ];
    house.is_caught(&known, &findings).await;
}

#[tokio::test]
async fn an_edited_record_is_seen_by_all() {
    let house = House::new().await;
    house.grow(20).await;
    let known = house.head().await;
    house.grow(20).await;
    house.attack("UPDATE audit SET subject = 'mallory' WHERE sequence = 5").await;
    assert_eq!(house.verify(&[]).await.findings, [Finding::Edited { record: 5 }]);
    let read = house.store.audit_after(4, 1).await;
    assert!(matches!(read, Err(StoreError::Corrupt { table: "audit" })), "{read:?}");
    house.rebuild_tree().await;
    let findings = [Finding::Edited { record: 5 }, Finding::Rewritten { sound: 0, signed: 20 }];
    house.is_caught(&known, &findings).await;
}

#[tokio::test]
async fn reordered_records_are_seen_by_all() {
    let house = House::new().await;
    house.grow(20).await;
    let known = house.head().await;
    house.grow(20).await;
    house
        .attack(
            "UPDATE audit SET sequence = -3 WHERE sequence = 7;
             UPDATE audit SET sequence = 7 WHERE sequence = 3;
             UPDATE audit SET sequence = 3 WHERE sequence = -3;",
        )
        .await;
    house.rebuild_tree().await;
    let findings = [
        Finding::Moved { first: 3, last: 3, from: 7 },
        Finding::Moved { first: 7, last: 7, from: 3 },
        Finding::Rewritten { sound: 0, signed: 20 },
    ];
    assert_eq!(
        findings[0].to_string(),
        "record 3 is the one that was record 7: records were reordered"
    );
    house.is_caught(&known, &findings).await;
}

#[tokio::test]
async fn a_log_that_was_signed_anew_is_seen_by_whoever_kept_a_checkpoint() {
    let house = House::new().await;
    house.grow(20).await;
    let (kept, known) = (house.newest().await, house.head().await);
    house.grow(20).await;
    // The attacker holds all keys of the authority and writes another history.
    let forged = House::with_key(house.log_key.clone()).await;
    for number in 0..50 {
        let number = if number == 4 { 999 } else { number };
        forged.store.append_audit(&entry(number)).await.unwrap();
    }
    forged.sign().await.unwrap();
    // Nothing in it is wrong by itself.
    assert_eq!(forged.verify(&[]).await.findings, []);
    let source = ProofError::Root;
    let forked = Inconsistent::Forked { known: 20, size: 50, source };
    assert_eq!(forged.witness(&known).await, Err(forked.into()));
    let findings = forged.verify(std::slice::from_ref(&kept)).await.findings;
    assert_eq!(findings, [Finding::Forked { size: 20 }]);
    // The authority that ran all the while does not forget what it signed.
    let refused = house.log.sign_news(&forged.store, NOW).await;
    assert!(matches!(refused, Err(SignError::Rewritten { size: 40 })), "{refused:?}");
}

#[tokio::test]
async fn a_log_that_was_cut_short_is_seen_by_whoever_kept_a_checkpoint() {
    let house = House::new().await;
    house.grow(20).await;
    house.grow(20).await;
    let (kept, known) = (house.newest().await, house.head().await);
    house
        .attack(
            "DELETE FROM audit WHERE sequence > 20;
             DELETE FROM log_hashes WHERE number >= 20;",
        )
        .await;
    let truncated = Finding::Truncated { size: 20, signed: 40 };
    assert_eq!(house.verify(&[]).await.findings, std::slice::from_ref(&truncated));
    assert_eq!(truncated.to_string(), "records 21 to 40 were signed and are gone");
    house.attack("DELETE FROM checkpoints WHERE size > 20").await;
    assert_eq!(house.verify(&[]).await.findings, []);
    assert_eq!(house.verify(&[kept]).await.findings, [truncated]);
    let shrunk = Inconsistent::Shrunk { known: 40, size: 20 };
    assert_eq!(house.witness(&known).await, Err(shrunk.into()));
    let refused = house.sign().await;
    assert!(matches!(refused, Err(SignError::Rewritten { size: 40 })), "{refused:?}");
}

#[tokio::test]
async fn nobody_has_the_authority_sign_a_record_of_their_own() {
    let house = House::new().await;
    house.grow(3).await;
    house
        .attack(
            "INSERT INTO audit SELECT 4, at, event, decision, code, subject, device, session,
                 token, credential, gateway, action, evidence, rule, 'made up', policy, request, mac, trace
                 FROM audit WHERE sequence = 3",
        )
        .await;
    assert_eq!(house.verify(&[]).await.findings, [Finding::Added { record: 4 }]);
    house.rebuild_tree().await;
    let refused = house.sign().await;
    let corrupt = matches!(refused, Err(SignError::Store(StoreError::Corrupt { table: "audit" })));
    assert!(corrupt, "{refused:?}");
    assert_eq!(house.verify(&[]).await.findings, [Finding::Edited { record: 4 }]);
}

/// What this process wrote it need not read back: it knows the tree that comes of it.
#[tokio::test]
async fn nothing_is_signed_in_place_of_what_was_written() {
    let house = House::new().await;
    house.grow(300).await;
    for number in 300..303 {
        house.store.append_audit(&entry(number)).await.unwrap();
    }
    // Genuine, with its leaf and its mark, but not what stands there.
    let other = House::new().await;
    for number in [0, 1, 2].into_iter().cycle().take(303) {
        other.store.append_audit(&entry(number)).await.unwrap();
    }
    let place = other.path();
    house
        .attack(&format!(
            "ATTACH '{}' AS other; DELETE FROM audit WHERE sequence = 302;
             INSERT INTO audit SELECT * FROM other.audit WHERE sequence = 302;
             DELETE FROM log_hashes WHERE level = 0 AND number = 301;
             INSERT INTO log_hashes SELECT * FROM other.log_hashes WHERE level = 0 AND number = 301;",
            place.display()
        ))
        .await;
    assert_eq!(house.verify(&[]).await.findings, [], "whoever knows the key cannot tell it");
    for _ in 0..2 {
        let refused = house.sign().await;
        let other = matches!(refused, Err(SignError::Other { first: 301, last: 303 }));
        assert!(other, "{refused:?}");
    }
    assert_eq!(house.head().await.size, 300);
}

/// Its leaf is in the tree, so whoever checks the log sees it.
#[tokio::test]
async fn a_record_that_is_edited_before_it_is_signed_is_signed_as_it_was() {
    let house = House::new().await;
    house.grow(3).await;
    house.store.append_audit(&entry(3)).await.unwrap();
    house.attack("UPDATE audit SET subject = 'mallory' WHERE sequence = 4").await;
    assert!(house.sign().await.unwrap());
    let leaves: Vec<_> = (0..4).map(|number| entry(number).into_record(0).leaf()).collect();
    assert_eq!(house.head().await.root, Frontier::of(&leaves).root());
    assert_eq!(house.verify(&[]).await.findings, [Finding::Edited { record: 4 }]);
}

#[tokio::test]
async fn nodes_sign_what_others_wrote() {
    let house = House::new().await;
    let second = SqlStore::open(&house.path(), integrity()).await.unwrap();
    let other = house.restarted();
    let mut size = 0;
    for (first, then) in [(2, 0), (1, 3), (0, 2), (2, 1), (260, 2), (3, 0), (1, 0)] {
        for (store, records) in [(&house.store, first), (&second, then)] {
            for _ in 0..records {
                store.append_audit(&entry(size)).await.unwrap();
                size += 1;
            }
        }
        assert!(house.sign().await.unwrap());
        assert_eq!(house.head().await.size, size);
        second.append_audit(&entry(size)).await.unwrap();
        size += 1;
        assert!(other.sign_news(&second, NOW).await.unwrap());
    }
    assert_eq!(house.verify(&[]).await.findings, []);
    // What another node wrote is read.
    second.append_audit(&entry(size)).await.unwrap();
    let edit = format!("UPDATE audit SET subject = 'mallory' WHERE sequence = {}", size + 1);
    house.attack(&edit).await;
    let refused = house.sign().await;
    let corrupt = matches!(refused, Err(SignError::Store(StoreError::Corrupt { table: "audit" })));
    assert!(corrupt, "{refused:?}");
}

#[tokio::test]
async fn changed_hashes_and_signatures_are_named() {
    let house = House::new().await;
    house.grow(300).await;
    house
        .attack(
            "UPDATE log_hashes SET hash = zeroblob(32) WHERE level = 0 AND number = 8;
             UPDATE log_hashes SET hash = zeroblob(32) WHERE level = 1 AND number = 0;
             UPDATE checkpoints SET note = replace(note, '300', '299');",
        )
        .await;
    let expected = [
        Finding::Leaf { record: 9 },
        Finding::Tile { level: 1, number: 0 },
        Finding::Unsigned { size: 300 },
    ];
    assert_eq!(house.verify(&[]).await.findings, expected);
}

#[tokio::test]
async fn old_records_go_and_the_log_stays_whole() {
    let house = House::new().await;
    house.grow(300).await;
    let known = house.head().await;
    house.grow(10).await;
    let mut prune = AuditEntry::new(NOW, Event::AuditPrune, Decision::Allowed);
    prune.detail = format!("{KEPT_FROM}291 by root");
    assert_eq!(house.store.prune_audit(291, &prune).await.unwrap(), 290);
    house.sign().await.unwrap();
    let report = house.verify(&[]).await;
    let expected =
        Report { records: 311, pruned: 290, signed: 311, checkpoints: 3, ..Report::default() };
    assert_eq!(report, expected);
    assert_eq!(house.witness(&known).await.unwrap().head.size, 311);
    let left = house.store.audit_matching(&AuditFilter::default(), 0, 1).await.unwrap();
    let proof = inclusion(&house.store, 290, 311).await.unwrap();
    let receipt = Receipt { index: 290, proof, note: house.newest().await };
    receipt.verify(&left[0].entry(), &house.key()).unwrap();
    // A deletion that no record speaks of is none for age.
    house
        .attack(
            "UPDATE audit_retention SET kept_from = 294; DELETE FROM audit WHERE sequence < 294",
        )
        .await;
    assert_eq!(house.verify(&[]).await.findings, [Finding::Deleted { first: 291, last: 293 }]);
}

#[tokio::test]
async fn triggers_keep_records_and_hashes() {
    let house = House::new().await;
    house.grow(2).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(house.path());
    let mut connection = options.connect().await.unwrap();
    for statement in [
        "DELETE FROM audit",
        "UPDATE audit SET detail = ''",
        "DELETE FROM log_hashes",
        "UPDATE log_hashes SET hash = zeroblob(32)",
    ] {
        let refused = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn a_directory_from_before_the_log_gets_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("keys");
    keys::create(&directory, NOW).unwrap();
    let key = || LogRing::load(&directory, NOW).unwrap().note_keys("log").unwrap();
    let before = key();
    keys::ensure_log(&directory).unwrap();
    assert_eq!(key(), before);
    std::fs::remove_file(directory.join("log.key")).unwrap();
    keys::ensure_log(&directory).unwrap();
    assert_ne!(key(), before);
    // Where a plan says which keys there are, none is made beside them.
    keys::rotate_log(&directory, "log", NOW, Urgency::Emergency).unwrap().unwrap();
    assert!(!directory.join("log.key").exists());
    keys::ensure_log(&directory).unwrap();
    assert!(!directory.join("log.key").exists());
}
