//! What machines boot: noted when it changes, told to people where a policy warns or refuses.

use signet_evidence::{DeviceId, UnixTime};
use signet_verifier::boot::{BootReport, BootState, Finding};

use crate::metrics::Metrics;
use crate::store::{AuditEntry, BootRow, Decision, Event, NewBoot, Store, StoreError};

/// Notes what the machine showed where it is not what it showed last: a row, an audit record, a count.
/// Evidence that is refused for another reason than its boot changes nothing.
///
/// # Errors
/// [`StoreError`]: what cannot be put on record is not answered.
pub(crate) async fn note(
    store: &dyn Store,
    metrics: &Metrics,
    device: &DeviceId,
    last: Option<&BootRow>,
    report: &BootReport,
    now: UnixTime,
) -> Result<(), StoreError> {
    let boot = BootRow::of(report, now);
    if last.is_some_and(|last| last.is_same(&boot)) {
        return Ok(());
    }
    let mut entry = AuditEntry::new(now, Event::MachineBoot, Decision::Allowed);
    entry.device = Some(device.clone());
    entry.detail = detail(&boot);
    let new = NewBoot { device: device.clone(), boot, log: report.sent_log.clone() };
    store.note_boot(&new, &entry).await?;
    metrics.decided(entry.event, entry.decision);
    metrics.booted(report);
    if matches!(report.state, BootState::Recorded | BootState::Warned | BootState::Refused) {
        tracing::warn!(
            device = %device,
            state = report.state.as_str(),
            "a machine booted what its policy minds: see `signet-authority machine explain {device}`"
        );
    }
    Ok(())
}

fn detail(boot: &BootRow) -> String {
    let mut text = format!(
        "{}, event log {}, state {}, TPM reset {}, firmware {:016x}",
        boot.state.as_str(),
        boot.log.as_str(),
        boot.name(),
        boot.reset_count,
        boot.firmware
    );
    for minded in &boot.findings {
        text.push_str(&format!("; {} ({}): {}", minded.policy, minded.mode, minded.what));
    }
    text
}

/// What the machine's policies mind, for the person in front of it.
#[must_use]
pub fn said(report: &BootReport) -> Vec<String> {
    let said = |finding: &Finding| format!("{finding}: {}", finding.advice());
    report.findings().map(said).collect()
}
