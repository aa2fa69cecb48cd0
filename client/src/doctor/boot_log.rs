//! The log of what booted.

use crate::authority::printable;

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    let told = match &ground.status {
        Err(_) => return Finding::unknown(Check::BootLog, "signetd does not answer"),
        Ok(status) => status.boot_log.clone(),
    };
    let finding = match told.as_deref() {
        None => Finding::unknown(Check::BootLog, "this signetd does not tell"),
        Some("ok") => Finding::ok(Check::BootLog, "signetd can read it"),
        Some("missing") => Finding::warn(
            Check::BootLog,
            "there is none for signetd: policies that judge what booted cannot",
            "`systemctl start signet-boot-log`; if the kernel has none itself (/sys/kernel/security/tpm0), boot by UEFI with the TPM enabled",
        ),
        Some("unreadable") => Finding::fail(
            Check::BootLog,
            "signetd may not read it",
            "`systemctl restart signet-boot-log`, and check that /run/signet/boot-log is of group signet",
        ),
        Some("not-matching") => Finding::fail(
            Check::BootLog,
            "it does not lead to the values in the TPM",
            "restart the machine; if this stays, show `signet-authority machine explain` to who runs the authority",
        ),
        Some(other) => Finding::warn(
            Check::BootLog,
            format!("not usable: {}", printable(other)),
            "`systemctl restart signet-boot-log`, and look into its journal",
        ),
    };
    finding.fact("boot_log", told)
}
