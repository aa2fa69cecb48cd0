//! The TPM's protection against guessing (TPM 2.0 part 1 §19.8).

use std::time::Duration;

use crate::daemon::DaemonStatus;

use super::ground::Ground;
use super::{Check, Finding};

/// From so few tries on it is worth a warning.
const FEW: u32 = 3;

pub(super) fn examine(ground: &Ground) -> Finding {
    let Ok(status) = &ground.status else {
        return Finding::unknown(Check::TpmLockout, "signetd does not answer");
    };
    let Some(locked) = status.lockout else {
        return Finding::unknown(Check::TpmLockout, "the TPM does not answer");
    };
    judged(status, locked)
        .fact("locked", locked)
        .fact("counter", status.lockout_counter)
        .fact("limit", status.lockout_limit)
        .fact("recovery_seconds", status.lockout_recovery)
}

fn judged(status: &DaemonStatus, locked: bool) -> Finding {
    let wait = match status.lockout_recovery {
        Some(0) => "it never forgets one".to_owned(),
        Some(seconds) => {
            let minutes = Duration::from_secs(seconds.into()).as_secs().div_ceil(60);
            format!("it forgets one in {minutes} min")
        }
        None => "it forgets one after a time of its own".to_owned(),
    };
    if locked {
        return Finding::fail(
            Check::TpmLockout,
            format!("the TPM is locked against guessing; {wait}"),
            "wait without trying PINs, use a security key meanwhile, or have the TPM's owner run `tpm2_dictionarylockout --clear-lockout`",
        );
    }
    if status.tpm_health.as_deref() == Some("lockout") {
        return Finding::fail(
            Check::TpmLockout,
            format!("so few tries are left that signetd spends none of them; {wait}"),
            "wait without trying PINs, use a security key meanwhile, or have the TPM's owner run `tpm2_dictionarylockout --clear-lockout`",
        );
    }
    let (Some(counter), Some(limit)) = (status.lockout_counter, status.lockout_limit) else {
        return Finding::ok(Check::TpmLockout, "not locked");
    };
    let left = limit.saturating_sub(counter);
    let summary = format!("{counter} wrong PINs of {limit} count; {wait}");
    if counter > 0 && left <= FEW {
        let fix =
            "enter the PIN with care, or use a security key, until the TPM has forgotten some";
        Finding::warn(Check::TpmLockout, summary, fix)
    } else {
        Finding::ok(Check::TpmLockout, summary)
    }
}
