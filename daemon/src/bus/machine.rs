//! The machine's TPM as members of dictionaries.

use std::time::Duration;

use super::arguments::kind_name;
use super::request::Results;
use crate::tpm::{EndorsementKey, Health, Properties, TpmError};

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
        ("lockout_counter", properties.lockout.failures.into()),
        ("lockout_limit", properties.lockout.limit.into()),
        ("lockout_recovery", seconds(properties.lockout.recovery).into()),
    ])
}

/// The TPM's health for `Status`, whether it answered or not.
pub(super) fn tpm_health((health, advice): (Health, Option<TpmError>)) -> Results {
    let mut results = Results::from([("tpm_health", health.as_str().into())]);
    if let Some(advice) = advice {
        results.insert("tpm_advice", advice.to_string().into());
    }
    results
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
