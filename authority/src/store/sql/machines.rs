//! What machines boot, their groups, and what administrators accepted.

use std::collections::BTreeSet;

use super::mint::require_live_device;
use super::read::{pcrs_of, pcrs_text};
use super::*;

const GROUPS: &str = "machine_groups";
const STATES: &str = "boot_states";
const ACCEPTANCES: &str = "boot_acceptances";

impl SqlStore {
    pub(super) async fn read_machine(&self, device: &DeviceId) -> Result<MachineRow, StoreError> {
        let mut connection = self.reader().await?;
        let (accepted, enrolment_replaced) = self.acceptances(&mut connection, device).await?;
        Ok(MachineRow {
            groups: self.groups(&mut connection, device).await?,
            accepted,
            enrolment_replaced,
            now: self.boot_state(&mut connection, device, "now").await?,
            before: self.boot_state(&mut connection, device, "before").await?,
        })
    }

    pub(super) async fn read_machines(&self) -> Result<Vec<ListedMachine>, StoreError> {
        let rows = query("SELECT id FROM devices ORDER BY enrolled_at, id")
            .fetch_all(&mut self.reader().await?)
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let id: Vec<u8> = column(&row, "id")?;
            let id = DeviceId::from_bytes(&id).ok_or(StoreError::Corrupt { table: "devices" })?;
            let Some(device) = self.read_device(&id).await? else { continue };
            found.push(ListedMachine { device, machine: self.read_machine(&id).await? });
        }
        Ok(found)
    }

    pub(super) async fn read_event_log(
        &self,
        digest: &Sha256,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row = query("SELECT log FROM event_logs WHERE digest = $1")
            .bind(digest.to_vec())
            .fetch_optional(&mut self.reader().await?)
            .await?;
        row.map(|row| column(&row, "log")).transpose()
    }

    /// Replaces what the machine showed last; what it showed before stays where it was not minded.
    pub(super) async fn write_boot(
        &self,
        new: &NewBoot,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        if let (Some(log), Some(digest)) = (&new.log, &new.boot.log_digest) {
            query("INSERT INTO event_logs (digest, log) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(digest.to_vec())
                .bind(log)
                .execute(&mut transaction)
                .await?;
        }
        let last = self.boot_state(&mut transaction, &new.device, "now").await?;
        if let Some(last) = last.filter(BootRow::is_good) {
            self.put_state(&mut transaction, &new.device, "before", &last).await?;
        }
        self.put_state(&mut transaction, &new.device, "now", &new.boot).await?;
        query(
            "DELETE FROM event_logs WHERE NOT EXISTS
             (SELECT 1 FROM boot_states WHERE boot_states.log = event_logs.digest)",
        )
        .execute(&mut transaction)
        .await?;
        self.write_audit(&mut transaction, audit).await?;
        transaction.commit().await
    }

    async fn put_state(
        &self,
        connection: &mut Connection,
        device: &DeviceId,
        place: &'static str,
        boot: &BootRow,
    ) -> Result<(), StoreError> {
        let content = boot.content();
        let since = boot.since.0.to_be_bytes();
        let log = boot.log_digest.map(|digest| digest.to_vec());
        let parts = state_parts(device, place, &since, &content, log.as_deref());
        let mac = self.integrity.mac(STATES, &parts);
        query(
            "INSERT INTO boot_states (device, place, since, content, log, mac)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (device, place) DO UPDATE SET
             since = excluded.since, content = excluded.content, log = excluded.log, mac = excluded.mac",
        )
        .bind(device.as_bytes())
        .bind(place)
        .bind(boot.since.0)
        .bind(&content)
        .bind(&log)
        .bind(mac.to_vec())
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn boot_state(
        &self,
        connection: &mut Connection,
        device: &DeviceId,
        place: &'static str,
    ) -> Result<Option<BootRow>, StoreError> {
        let row = query(
            "SELECT since, content, log, mac FROM boot_states WHERE device = $1 AND place = $2",
        )
        .bind(device.as_bytes())
        .bind(place)
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = || StoreError::Corrupt { table: STATES };
        let (since, content): (i64, String) = (column(&row, "since")?, column(&row, "content")?);
        let (log, mac): (Option<Vec<u8>>, Vec<u8>) = (column(&row, "log")?, column(&row, "mac")?);
        let since_bytes = since.to_be_bytes();
        let parts = state_parts(device, place, &since_bytes, &content, log.as_deref());
        self.integrity.check(STATES, &parts, &mac)?;
        let log = log.map(|log| log.try_into().map_err(|_| corrupt())).transpose()?;
        BootRow::from_content(&content, UnixTime(since), log).map(Some).ok_or_else(corrupt)
    }

    async fn groups(
        &self,
        connection: &mut Connection,
        device: &DeviceId,
    ) -> Result<BTreeSet<String>, StoreError> {
        let row = query("SELECT names, mac FROM machine_groups WHERE device = $1")
            .bind(device.as_bytes())
            .fetch_optional(connection)
            .await?;
        let Some(row) = row else { return Ok(BTreeSet::new()) };
        let (names, mac): (String, Vec<u8>) = (column(&row, "names")?, column(&row, "mac")?);
        self.integrity.check(GROUPS, &[device.as_bytes(), names.as_bytes()], &mac)?;
        serde_json::from_str(&names).map_err(|_| StoreError::Corrupt { table: GROUPS })
    }

    /// Within the caller's transaction.
    pub(super) async fn put_groups(
        &self,
        connection: &mut Connection,
        device: &DeviceId,
        groups: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let names =
            serde_json::to_string(groups).map_err(|_| StoreError::Corrupt { table: GROUPS })?;
        let mac = self.integrity.mac(GROUPS, &[device.as_bytes(), names.as_bytes()]);
        query(
            "INSERT INTO machine_groups (device, names, mac) VALUES ($1, $2, $3)
             ON CONFLICT (device) DO UPDATE SET names = excluded.names, mac = excluded.mac",
        )
        .bind(device.as_bytes())
        .bind(&names)
        .bind(mac.to_vec())
        .execute(connection)
        .await?;
        Ok(())
    }

    pub(super) async fn write_groups(
        &self,
        device: &DeviceId,
        groups: &BTreeSet<String>,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let mut transaction = self.begin().await?;
        require_live_device(&mut transaction, device).await?;
        self.put_groups(&mut transaction, device, groups).await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn write_acceptance(
        &self,
        device: &DeviceId,
        accepted: &AcceptedBoot,
        audit: &AuditEntry,
    ) -> Result<(), CommitError> {
        let mut transaction = self.begin().await?;
        require_live_device(&mut transaction, device).await?;
        let pcrs = pcrs_text(&accepted.pcrs);
        let at = accepted.at.0.to_be_bytes();
        let mac = self.integrity.mac(ACCEPTANCES, &acceptance_parts(device, accepted, &pcrs, &at));
        query(
            "INSERT INTO boot_acceptances (device, pcrs, accepted_by, reason, accepted_at, replaces, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(device.as_bytes())
        .bind(&pcrs)
        .bind(&accepted.by)
        .bind(&accepted.reason)
        .bind(accepted.at.0)
        .bind(accepted.replaces)
        .bind(mac.to_vec())
        .execute(&mut transaction)
        .await?;
        self.write_audit(&mut transaction, audit).await?;
        Ok(transaction.commit().await?)
    }

    /// Those that count, and whether the enrolment's values count no longer.
    async fn acceptances(
        &self,
        connection: &mut Connection,
        device: &DeviceId,
    ) -> Result<(Vec<AcceptedBoot>, bool), StoreError> {
        let rows = query("SELECT pcrs, accepted_by, reason, accepted_at, replaces, mac FROM boot_acceptances WHERE device = $1 ORDER BY sequence")
            .bind(device.as_bytes())
            .fetch_all(connection)
            .await?;
        let all = rows.iter().map(|row| self.acceptance(device, row));
        let mut all = all.collect::<Result<Vec<_>, _>>()?;
        let first = all.iter().rposition(|accepted| accepted.replaces);
        all.drain(..first.unwrap_or(0));
        Ok((all, first.is_some()))
    }

    fn acceptance(&self, device: &DeviceId, row: &Row) -> Result<AcceptedBoot, StoreError> {
        let (pcrs, mac): (String, Vec<u8>) = (column(row, "pcrs")?, column(row, "mac")?);
        let accepted = AcceptedBoot {
            pcrs: pcrs_of(&pcrs).ok_or(StoreError::Corrupt { table: ACCEPTANCES })?,
            by: column(row, "accepted_by")?,
            reason: column(row, "reason")?,
            at: UnixTime(column(row, "accepted_at")?),
            replaces: column(row, "replaces")?,
        };
        let at = accepted.at.0.to_be_bytes();
        let parts = acceptance_parts(device, &accepted, &pcrs, &at);
        self.integrity.check(ACCEPTANCES, &parts, &mac)?;
        Ok(accepted)
    }
}

fn state_parts<'a>(
    device: &'a DeviceId,
    place: &'a str,
    since: &'a [u8],
    content: &'a str,
    log: Option<&'a [u8]>,
) -> [&'a [u8]; 5] {
    [device.as_bytes(), place.as_bytes(), since, content.as_bytes(), log.unwrap_or_default()]
}

fn acceptance_parts<'a>(
    device: &'a DeviceId,
    accepted: &'a AcceptedBoot,
    pcrs: &'a str,
    at: &'a [u8],
) -> [&'a [u8]; 6] {
    [
        device.as_bytes(),
        pcrs.as_bytes(),
        accepted.by.as_bytes(),
        accepted.reason.as_bytes(),
        at,
        if accepted.replaces { b"1" } else { b"0" },
    ]
}
