//! The TPM.

use crate::authority::printable;
use crate::daemon::DaemonStatus;

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    match &ground.status {
        Ok(status) => judged(status),
        Err(_) => seen_by_the_kernel(ground),
    }
}

fn judged(status: &DaemonStatus) -> Finding {
    let health = status.tpm_health.as_deref().unwrap_or("ok");
    let maker = status.tpm_manufacturer.as_deref().map(printable).unwrap_or_default();
    let finding = if status.tpm != "ok" {
        // signetd's words say what to do.
        let (summary, fix) = parted(&status.tpm);
        Finding::fail(Check::Tpm, summary, fix)
    } else if !matches!(health, "ok" | "busy" | "lockout") {
        let advice = status.tpm_advice.as_deref();
        let advice = advice.unwrap_or("restart the machine, and look for updates of its firmware");
        let summary = format!("answers, but is not well ({})", printable(health));
        Finding::warn(Check::Tpm, summary, printable(advice))
    } else {
        let firmware = status.tpm_firmware.as_deref().map(printable).unwrap_or_default();
        Finding::ok(Check::Tpm, format!("answers ({maker}, firmware {firmware})"))
    };
    finding
        .fact("manufacturer", status.tpm_manufacturer.clone())
        .fact("firmware", status.tpm_firmware.clone())
        .fact("health", status.tpm_health.clone())
        .fact("reset_count", status.reset_count)
        .fact("restart_count", status.restart_count)
}

/// `what is wrong: what to do`, in its two parts.
fn parted(words: &str) -> (String, String) {
    let words = printable(words);
    match words.split_once(": ") {
        Some((summary, fix)) => (summary.to_owned(), fix.to_owned()),
        None => (words, "look into `journalctl -u signetd`".to_owned()),
    }
}

/// Without signetd, only whether there is one.
fn seen_by_the_kernel(ground: &Ground) -> Finding {
    let version = std::fs::read_to_string(ground.file("/sys/class/tpm/tpm0/tpm_version_major"));
    let node = ground.file("/dev/tpmrm0").exists();
    match version.as_deref().map(str::trim) {
        Ok("2") if node => Finding::unknown(
            Check::Tpm,
            "the kernel has a TPM 2.0; signetd, which would tell more, does not answer",
        ),
        Ok("2") => Finding::fail(
            Check::Tpm,
            "the kernel has a TPM 2.0, but there is no /dev/tpmrm0",
            "load the module tpm_crb or tpm_tis, and restart the machine",
        ),
        Ok(other) => Finding::fail(
            Check::Tpm,
            format!("the TPM is of version {}", printable(other)),
            "Signet needs a TPM 2.0: update the firmware, or use another machine",
        ),
        Err(_) => Finding::fail(
            Check::Tpm,
            "the kernel has no TPM",
            "enable the TPM in the firmware's settings (also called fTPM, PTT or security device)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_signetd_has_two_parts() {
        let words = "no TPM at device:/dev/tpmrm0: check that it is enabled";
        let (summary, fix) = parted(words);
        assert_eq!(summary, "no TPM at device:/dev/tpmrm0");
        assert_eq!(fix, "check that it is enabled");
        assert_eq!(parted("gone").0, "gone");
    }
}
