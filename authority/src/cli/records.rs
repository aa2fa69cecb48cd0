//! Going through the records of the log.

use signet_authority::store::{AuditFilter, AuditRecord, Store};

const PAGE: u32 = 500;

/// Hands over the records after number `after` that `filter` lets through, one page at a time. It ends with those that
/// there are: others may write for as long as this reads.
pub(super) async fn each(
    store: &dyn Store,
    filter: &AuditFilter,
    mut after: i64,
    mut take: impl FnMut(&AuditRecord) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let page = store.audit_matching(filter, after, PAGE).await?;
        page.iter().try_for_each(&mut take)?;
        match page.last() {
            // A page that has room is the last one.
            Some(record) if page.len() == PAGE as usize => after = record.sequence,
            _ => return Ok(()),
        }
    }
}
