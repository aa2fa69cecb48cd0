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

#[cfg(test)]
mod tests {
    use signet_verifier::boot::LogFact;

    use super::*;

    /// Protocol §4.3: it is put on record, and neither the state's name nor what was decided about it
    /// changes. (No software TPM can change its firmware.)
    #[test]
    fn a_firmware_update_of_the_tpm_is_a_record_of_its_own_and_no_other_state() {
        let before = BootRow {
            since: UnixTime(1_795_340_000),
            pcrs: [(0, vec![1; 32]), (7, vec![2; 32])].into(),
            log: LogFact::Matching,
            log_digest: None,
            reset_count: 12,
            firmware: 0x0007_0002_0000_0001,
            state: BootState::Approved,
            findings: Vec::new(),
        };
        let rebooted =
            BootRow { reset_count: 13, since: UnixTime(1_795_350_000), ..before.clone() };
        assert!(rebooted.is_same(&before));
        let updated = BootRow { firmware: 0x0007_0003_0000_0000, ..rebooted };
        assert!(!updated.is_same(&before));
        assert_eq!(updated.name(), before.name());
        assert!(updated.is_good());
        assert!(detail(&updated).ends_with("TPM reset 13, firmware 0007000300000000"));
    }
}
