//! Evidence as it was recorded, judged by a verifier that knows something else.

use super::{blank, genuine};
use crate::attester::Fault;
use crate::fixture::Fixture;
use crate::world::Change;

/// Code, file name, recorded fixture, connection (of its own where empty), seconds later, change, clause.
type Recorded =
    (&'static str, &'static str, &'static str, &'static str, i64, Option<Change>, &'static str);

const STEP_6: &str = "protocol 2.4 step 6";
const STEP_7: &str = "protocol 2.4 step 7";
const STEP_11: &str = "protocol 2.4 step 11";

const CASES: &[Recorded] = &[
    ("challenge-expired", "recorded-action", "action", "", 130, None, "protocol 2.3"),
    ("challenge-expired", "recorded-workload", "workload", "", 130, None, "protocol 2.3"),
    (
        "challenge-invalid",
        "recorded-action-over-another-connection",
        "action",
        "software",
        0,
        None,
        "protocol 2.3",
    ),
    ("device-unknown", "renewal", "renewal", "", 0, Some(Change::DeviceUnknown), STEP_6),
    ("device-unknown", "action", "action", "", 0, Some(Change::DeviceUnknown), STEP_6),
    ("device-unknown", "workload", "workload", "", 0, Some(Change::DeviceUnknown), STEP_6),
    (
        "device-unknown",
        "pin-session",
        "session-tpm-pin",
        "",
        0,
        Some(Change::DeviceUnknown),
        STEP_6,
    ),
    ("device-revoked", "renewal", "renewal", "", 0, Some(Change::DeviceRevoked), STEP_6),
    ("device-revoked", "action", "action", "", 0, Some(Change::DeviceRevoked), STEP_6),
    ("device-revoked", "workload", "workload", "", 0, Some(Change::DeviceRevoked), STEP_6),
    ("ak-mismatch", "recorded-session", "session", "", 0, Some(Change::SoftwareAk), STEP_7),
    ("ak-mismatch", "recorded-renewal", "renewal", "", 0, Some(Change::SoftwareAk), STEP_7),
    ("ak-mismatch", "recorded-workload", "workload", "", 0, Some(Change::SoftwareAk), STEP_7),
    (
        "boot-policy-refused",
        "recorded-action",
        "action",
        "",
        0,
        Some(Change::PcrsDrifted),
        "protocol 2.4 step 8",
    ),
    (
        "boot-log-missing",
        "recorded-workload",
        "workload",
        "",
        0,
        Some(Change::MachinesJudged),
        "protocol 2.4 step 8",
    ),
    (
        "tpm-clock-regressed",
        "recorded-action",
        "action",
        "",
        0,
        Some(Change::ClockAhead),
        "protocol 2.4 step 9",
    ),
    (
        "counter-regressed",
        "recorded-action",
        "action",
        "",
        0,
        Some(Change::CounterAhead),
        "WebAuthn L3 7.2 step 22",
    ),
    (
        "credential-unknown",
        "recorded-action",
        "action",
        "",
        0,
        Some(Change::CredentialUnknown),
        STEP_11,
    ),
    (
        "credential-unknown",
        "recorded-fingerprint-elsewhere",
        "session-fingerprint",
        "",
        0,
        Some(Change::PlatformKeyElsewhere),
        STEP_11,
    ),
    (
        "credential-revoked",
        "recorded-action",
        "action",
        "",
        0,
        Some(Change::CredentialRevoked),
        STEP_11,
    ),
    (
        "credential-revoked",
        "recorded-fingerprint",
        "session-fingerprint",
        "",
        0,
        Some(Change::CredentialRevoked),
        STEP_11,
    ),
    (
        "authenticator-status",
        "recorded-action",
        "action",
        "",
        0,
        Some(Change::ModelReported),
        STEP_11,
    ),
    (
        "challenge-replayed",
        "recorded-pin-session",
        "session-tpm-pin",
        "",
        0,
        Some(Change::ChallengeConsumed),
        "protocol 2.4 step 13",
    ),
    (
        "attestation-untrusted",
        "recorded",
        "registration",
        "",
        0,
        Some(Change::OtherAttestationRoots),
        "protocol 4.2",
    ),
    (
        "credential-duplicate",
        "recorded-fingerprint",
        "registration-fingerprint",
        "",
        0,
        Some(Change::CredentialEnrolled),
        "protocol 4.2",
    ),
    (
        "registration-not-authorised",
        "recorded-fingerprint",
        "registration-fingerprint",
        "",
        0,
        Some(Change::NoGrant),
        "protocol 4.2",
    ),
];

pub(super) fn all() -> Result<Vec<Fixture>, Fault> {
    CASES.iter().map(make).collect()
}

fn make(case: &Recorded) -> Result<Fixture, Fault> {
    let (code, name, from, connection, later, change, spec) = *case;
    let recorded = genuine(from)?;
    let comment = match (change, connection) {
        (Some(_), _) => "genuine evidence against what the verifier knows",
        (None, "") => "genuine evidence, too late",
        (None, _) => "genuine evidence over another machine's connection",
    };
    let mut fixture = blank(code, name, spec, comment);
    fixture.kind = recorded.kind;
    fixture.now = recorded.now + later;
    fixture.peer = if connection.is_empty() { recorded.peer } else { Some(connection.into()) };
    fixture.with = change.into_iter().collect();
    fixture.bytes = recorded.bytes;
    Ok(fixture)
}
