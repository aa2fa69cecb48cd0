//! Whether the TPM's maker vouches for it.

use super::ground::Ground;
use super::{Check, Finding};

pub(super) fn examine(ground: &Ground) -> Finding {
    let certified = match &ground.status {
        Err(_) => return Finding::unknown(Check::EndorsementKey, "signetd does not answer"),
        Ok(status) if status.tpm != "ok" => {
            return Finding::unknown(Check::EndorsementKey, "the TPM does not answer");
        }
        Ok(status) => status.ek_certificates.clone(),
    };
    let finding = match certified.as_deref() {
        None => Finding::unknown(Check::EndorsementKey, "this signetd does not tell"),
        Some([]) => Finding::warn(
            Check::EndorsementKey,
            "unproven: the TPM's maker left no certificate in it",
            "the authority takes such a machine only as unproven, once an administrator approves; a firmware update or the maker's tool may bring the certificate",
        ),
        Some(kinds) => {
            let kinds = kinds.join(", ");
            // Which makers count, the authority says when the machine enrols.
            let judged = match ground.enrolled() {
                Some(_) => "; the authority has enrolled this machine",
                None => "; whether the maker is known, the authority says at enrolment",
            };
            Finding::ok(Check::EndorsementKey, format!("certificate there ({kinds}){judged}"))
        }
    };
    finding.fact("certificates", certified)
}
