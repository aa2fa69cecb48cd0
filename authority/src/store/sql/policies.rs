//! Versions of the action policy, and which of them is in force.

use super::*;

const SETS: &str = "policy_sets";
const ACTIVATIONS: &str = "policy_activations";

impl SqlStore {
    pub(super) async fn write_activation(
        &self,
        new: &NewActivation<'_>,
        audit: &AuditEntry,
    ) -> Result<Option<i64>, StoreError> {
        let mut transaction = self.begin().await?;
        if last_activation(&mut transaction).await? != new.after {
            return Ok(None);
        }
        if let Some((version, files)) = new.set {
            let mac = self.integrity.mac(SETS, &[&version, files.as_bytes()]);
            query(
                "INSERT INTO policy_sets (version, files, mac) VALUES ($1, $2, $3)
                 ON CONFLICT DO NOTHING",
            )
            .bind(version.to_vec())
            .bind(files)
            .bind(mac.to_vec())
            .execute(&mut transaction)
            .await?;
        }
        let one = PolicyActivation {
            number: new.after + 1,
            slot: new.slot,
            version: new.set.map(|(version, _)| version),
            at: new.at,
            by: new.by.to_owned(),
            reason: new.reason.to_owned(),
        };
        query(
            "INSERT INTO policy_activations (number, slot, version, at, by_whom, reason, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(one.number)
        .bind(one.slot.as_str())
        .bind(one.version.map(|version| version.to_vec()))
        .bind(one.at.0)
        .bind(&one.by)
        .bind(&one.reason)
        .bind(self.activation_mac(&one).to_vec())
        .execute(&mut transaction)
        .await?;
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await?;
        Ok(Some(one.number))
    }

    pub(super) async fn read_activations(&self) -> Result<Vec<PolicyActivation>, StoreError> {
        let rows = query(
            "SELECT number, slot, version, at, by_whom, reason, mac FROM policy_activations
             ORDER BY number DESC",
        )
        .fetch_all(&mut self.reader().await?)
        .await?;
        rows.iter().map(|row| self.activation(row)).collect()
    }

    pub(super) async fn read_position(&self) -> Result<i64, StoreError> {
        let mut reader = self.reader().await?;
        last_activation(&mut reader).await
    }

    pub(super) async fn read_policy_set(
        &self,
        version: &Sha256,
    ) -> Result<Option<String>, StoreError> {
        let row = query("SELECT files, mac FROM policy_sets WHERE version = $1")
            .bind(version.to_vec())
            .fetch_optional(&mut self.reader().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (files, mac): (String, Vec<u8>) = (column(&row, "files")?, column(&row, "mac")?);
        self.integrity.check(SETS, &[version, files.as_bytes()], &mac)?;
        Ok(Some(files))
    }

    fn activation(&self, row: &Row) -> Result<PolicyActivation, StoreError> {
        let corrupt = || StoreError::Corrupt { table: ACTIVATIONS };
        let (slot, version): (String, Option<Vec<u8>>) =
            (column(row, "slot")?, column(row, "version")?);
        let version: Option<Sha256> =
            version.map(TryInto::try_into).transpose().map_err(|_| corrupt())?;
        let one = PolicyActivation {
            number: column(row, "number")?,
            slot: PolicySlot::from_name(&slot).ok_or_else(corrupt)?,
            version,
            at: UnixTime(column(row, "at")?),
            by: column(row, "by_whom")?,
            reason: column(row, "reason")?,
        };
        let (found, due): (Vec<u8>, _) = (column(row, "mac")?, self.activation_mac(&one));
        if found == due { Ok(one) } else { Err(corrupt()) }
    }

    /// Over everything that the row says.
    fn activation_mac(&self, one: &PolicyActivation) -> Sha256 {
        let (number, at) = (one.number.to_be_bytes(), one.at.0.to_be_bytes());
        let version = one.version.as_ref().map_or(&[][..], |version| version);
        let (by, reason) = (one.by.as_bytes(), one.reason.as_bytes());
        let slot = one.slot.as_str().as_bytes();
        self.integrity.mac(ACTIVATIONS, &[&number, slot, version, &at, by, reason])
    }
}

async fn last_activation(connection: &mut Connection) -> Result<i64, StoreError> {
    let row = query("SELECT COALESCE(MAX(number), 0) FROM policy_activations")
        .fetch_one(connection)
        .await?;
    row.get(0)
}
