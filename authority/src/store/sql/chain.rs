//! Takes over records from before there was a tree, when each named the digest of the one before it.

use signet_evidence::binding::sha256;
use signet_evidence::cbor::{self, Value};

use super::*;

const TABLE: &str = "audit";
const PAGE: i64 = 1000;

impl SqlStore {
    /// Moves all records of the chain into the tree, after checking that it is whole: all or none.
    pub(super) async fn take_over_chain(&self) -> Result<(), StoreError> {
        let first = query("SELECT 1 FROM audit_chain LIMIT 1")
            .fetch_optional(&mut self.reader().await?)
            .await?;
        if first.is_none() {
            return Ok(());
        }
        let corrupt = || StoreError::Corrupt { table: TABLE };
        let mut transaction = self.begin().await?;
        let mut previous = [0; 32];
        let mut after = 0;
        loop {
            let rows = query(
                "SELECT sequence, at, event, decision, code, subject, device, session, token,
                 credential, gateway, action, evidence, rule, detail, policy, request,
                 CAST(NULL AS TEXT) AS trace, previous, digest,
                 mac FROM audit_chain WHERE sequence > $1 ORDER BY sequence LIMIT $2",
            )
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut transaction)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let record = super::audit::read_record(row)?;
                let digest = chained_digest(&record, &previous);
                let mac: Vec<u8> = row.get("mac")?;
                self.integrity.check(TABLE, &[&digest], &mac)?;
                if record.sequence != after + 1 || row.get::<Vec<u8>>("previous")? != previous {
                    return Err(corrupt());
                }
                (previous, after) = (digest, record.sequence);
                self.insert_record(&mut transaction, record).await?;
            }
        }
        query("DELETE FROM audit_chain").execute(&mut transaction).await?;
        transaction.commit().await
    }
}

/// SHA-256 of the deterministic CBOR array of all members, the digest before among them.
fn chained_digest(record: &AuditRecord, previous: &Sha256) -> Sha256 {
    let text =
        |text: &Option<String>| text.as_ref().map_or(Value::Null, |text| Value::Text(text.clone()));
    let mut members = vec![
        record.sequence.into(),
        record.at.into(),
        record.event.as_str().into(),
        record.decision.as_str().into(),
        text(&record.code),
        text(&record.subject),
        text(&record.device),
        text(&record.session),
        text(&record.token),
        text(&record.credential),
        text(&record.gateway),
        text(&record.action),
        text(&record.evidence),
        text(&record.rule),
        record.detail.as_str().into(),
        Value::Bytes(previous.to_vec()),
    ];
    // Records of still earlier versions had neither.
    if record.policy.is_some() || record.request.is_some() {
        members.extend([text(&record.policy), text(&record.request)]);
    }
    sha256(&cbor::encode(&Value::Array(members)))
}

#[cfg(test)]
mod tests {
    use signet_evidence::UnixTime;
    use zeroize::Zeroizing;

    use super::*;

    fn integrity() -> IntegrityKey {
        IntegrityKey::new(&Zeroizing::new([7; 32]))
    }

    fn entry(number: i64) -> AuditEntry {
        let mut entry = AuditEntry::new(UnixTime(1_790_000_000), Event::Ticket, Decision::Allowed);
        entry.detail = format!("decision {number}");
        entry
    }

    /// A database with records as earlier versions wrote them.
    async fn chained(path: &Path, records: i64) {
        let store = SqlStore::create(path, integrity()).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        let mut previous = [0; 32];
        for number in 1..=records {
            let record = entry(number).into_record(number);
            let digest = chained_digest(&record, &previous);
            let mac = store.integrity.mac(TABLE, &[&digest]);
            query(
                "INSERT INTO audit_chain (sequence, at, event, decision, detail, previous, digest, mac)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(number)
            .bind(record.at)
            .bind(record.event)
            .bind(record.decision)
            .bind(record.detail)
            .bind(previous.as_slice())
            .bind(digest.as_slice())
            .bind(mac.as_slice())
            .execute(&mut transaction)
            .await
            .unwrap();
            previous = digest;
        }
        transaction.commit().await.unwrap();
        store.close().await;
    }

    #[tokio::test]
    async fn records_of_earlier_versions_get_their_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authority.db");
        chained(&path, 1500).await;
        let store = SqlStore::open(&path, integrity()).await.unwrap();
        let records = store.audit_after(0, 10_000).await.unwrap();
        let expected: Vec<_> = (1..=1500).map(|number| entry(number).into_record(number)).collect();
        assert_eq!(records, expected);
        let leaves: Vec<Sha256> = records.iter().map(AuditRecord::leaf).collect();
        assert_eq!(store.log_hashes(0, 0..2000).await.unwrap(), leaves);
        assert_eq!(store.log_hashes(1, 0..9).await.unwrap().len(), 5);
        store.append_audit(&entry(1501)).await.unwrap();
        store.close().await;
        let store = SqlStore::open(&path, integrity()).await.unwrap();
        assert_eq!(store.log_size().await.unwrap(), 1501);
    }

    #[tokio::test]
    async fn a_chain_with_a_record_missing_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authority.db");
        chained(&path, 5).await;
        let mut connection = sqlite::File::new(&path).connect().await.unwrap();
        sqlx::query("DELETE FROM audit_chain WHERE sequence = 3")
            .execute(&mut connection)
            .await
            .unwrap();
        drop(connection);
        let refused = SqlStore::open(&path, integrity()).await.err();
        let corrupt = StoreError::Corrupt { table: TABLE };
        assert!(
            matches!(&refused, Some(OpenError::Chain { source, .. })
                if source.to_string() == corrupt.to_string()),
            "{refused:?}"
        );
    }
}
