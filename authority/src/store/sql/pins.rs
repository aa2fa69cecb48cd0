//! Endorsement keys that no certificate vouches for.

use super::*;

const TABLE: &str = "ek_pins";

macro_rules! pins {
    ($which:literal) => {
        query(concat!(
            "SELECT digest, operator, asset, seen_at, approved_by, reason, approved_at, mac FROM ek_pins ",
            $which
        ))
    };
}

impl SqlStore {
    pub(super) async fn read_pins(&self) -> Result<Vec<EkPin>, StoreError> {
        let rows = pins!("ORDER BY seen_at, digest").fetch_all(&mut self.reader().await?).await?;
        rows.iter().map(|row| self.pin(row)).collect()
    }

    pub(super) async fn read_pin(&self, digest: &Sha256) -> Result<Option<EkPin>, StoreError> {
        let row = pins!("WHERE digest = $1")
            .bind(digest.to_vec())
            .fetch_optional(&mut self.reader().await?)
            .await?;
        row.map(|row| self.pin(&row)).transpose()
    }

    /// Replaces what is known of this key.
    pub(super) async fn write_pin(
        &self,
        pin: &EkPin,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let approved = pin.approved.as_ref();
        let at = approved.map(|approved| approved.at.0);
        let mac = self.integrity.mac(TABLE, &parts(pin, &at.unwrap_or(0).to_be_bytes()));
        query(
            "INSERT INTO ek_pins
             (digest, operator, asset, seen_at, approved_by, reason, approved_at, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (digest) DO UPDATE SET
             operator = excluded.operator, asset = excluded.asset, seen_at = excluded.seen_at,
             approved_by = excluded.approved_by, reason = excluded.reason,
             approved_at = excluded.approved_at, mac = excluded.mac",
        )
        .bind(pin.digest.to_vec())
        .bind(&pin.operator)
        .bind(&pin.asset)
        .bind(pin.seen_at.0)
        .bind(approved.map(|approved| &approved.by))
        .bind(approved.map(|approved| &approved.reason))
        .bind(at)
        .bind(mac.to_vec())
        .execute(&mut transaction)
        .await?;
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await
    }

    fn pin(&self, row: &Row) -> Result<EkPin, StoreError> {
        let corrupt = || StoreError::Corrupt { table: TABLE };
        let (digest, mac): (Vec<u8>, Vec<u8>) = (column(row, "digest")?, column(row, "mac")?);
        let by: Option<String> = column(row, "approved_by")?;
        let (reason, at): (Option<String>, Option<i64>) =
            (column(row, "reason")?, column(row, "approved_at")?);
        let approved = match (by, reason, at) {
            (Some(by), Some(reason), Some(at)) => Some(EkApproval { by, reason, at: UnixTime(at) }),
            (None, None, None) => None,
            _ => return Err(corrupt()),
        };
        let pin = EkPin {
            digest: digest.try_into().map_err(|_| corrupt())?,
            operator: column(row, "operator")?,
            asset: column(row, "asset")?,
            seen_at: UnixTime(column(row, "seen_at")?),
            approved,
        };
        self.integrity.check(TABLE, &parts(&pin, &at.unwrap_or(0).to_be_bytes()), &mac)?;
        Ok(pin)
    }
}

/// What the MAC covers: which key, and who answers for it.
fn parts<'a>(pin: &'a EkPin, at: &'a [u8]) -> [&'a [u8]; 5] {
    let approved = pin.approved.as_ref();
    [
        &pin.digest,
        pin.operator.as_bytes(),
        approved.map_or(&[][..], |approved| approved.by.as_bytes()),
        approved.map_or(&[][..], |approved| approved.reason.as_bytes()),
        at,
    ]
}
