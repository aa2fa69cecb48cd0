//! The machine's TPM as members of dictionaries.

use super::arguments::kind_name;
use super::request::Results;
use crate::tpm::{EndorsementKey, Properties};

/// An endorsement key of `BeginEnrolment`.
pub(super) fn endorsement_key(key: EndorsementKey) -> Results {
    let mut results =
        Results::from([("kind", kind_name(key.kind).into()), ("public", key.public.into())]);
    if let Some(certificate) = key.certificate {
        results.insert("certificate", certificate.into());
    }
    results
}

/// The TPM's part of `Status`.
pub(super) fn tpm_status(properties: Properties) -> Results {
    Results::from([
        ("tpm", "ok".into()),
        ("tpm_manufacturer", properties.manufacturer.into()),
        ("tpm_firmware", format!("{:016x}", properties.firmware).into()),
        ("reset_count", properties.clock.reset_count.into()),
        ("restart_count", properties.clock.restart_count.into()),
        ("lockout", properties.lockout.locked.into()),
    ])
}
