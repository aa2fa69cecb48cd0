//! `audit export`: records for log collectors.

use serde_json::{Map, Value, json};
use signet_authority::config::Config;
use signet_authority::store::AuditRecord;
use signet_evidence::binding::sha256;
use signet_evidence::thumbprint::hex;

use super::super::output::to_stdout;
use super::list::each;
use super::{Format, Which};

/// Version of the schema that the events are of (schema.ocsf.io).
const OCSF: &str = "1.5.0";

pub(super) async fn export(config: &Config, which: Which, format: Format) -> anyhow::Result<()> {
    let log = super::log(config)?;
    let name = log.name().to_owned();
    each(config, which, |record| {
        let text = match format {
            Format::Jsonl => format!("{}\n", jsonl(record)),
            Format::Ocsf => format!("{}\n", ocsf(record, &name)),
            Format::Journald => journald(record, &name),
        };
        to_stdout(text.as_bytes())
    })
    .await
}

fn jsonl(record: &AuditRecord) -> Value {
    let mut value = json!(record);
    value["leaf"] = hex(&record.leaf()).into();
    value
}

/// Class and activity of the schema.
struct Class {
    class: u32,
    activity: u32,
}

impl Class {
    fn of(event: &str) -> Self {
        // 3002 Authentication, 3003 Authorize Session, 3004 Entity Management, 2004 Detection Finding.
        let (class, activity) = match event {
            "token-session" => (3002, 1),
            "token-renew" => (3002, 5),
            "token-action" | "token-workload" | "token" => (3002, 4),
            "challenge" => (3002, 6),
            "authorize" | "introspect" | "redeem" => (3003, 99),
            "alert" => (2004, 1),
            "ticket" | "device-enrol" | "key-enrol" | "gateway-certificate" => (3004, 1),
            "revoke" | "audit-prune" => (3004, 4),
            _ => (3004, 3),
        };
        Self { class, activity }
    }
}

fn ocsf(record: &AuditRecord, log: &str) -> Value {
    let Class { class, activity } = Class::of(&record.event);
    let allowed = record.code.is_none();
    let severity = match (record.event.as_str(), allowed) {
        ("alert", _) => 5,
        (_, true) => 1,
        (_, false) => 2,
    };
    let mut event = json!({
        "class_uid": class,
        "category_uid": class / 1000,
        "activity_id": activity,
        "type_uid": class * 100 + activity,
        "severity_id": severity,
        "status_id": if allowed { 1 } else { 2 },
        "time": record.at.saturating_mul(1000),
        "message": format!("{} {}: {}", record.event, record.decision, record.detail),
        "metadata": {
            "version": OCSF,
            "product": {
                "name": "signet-authority",
                "vendor_name": "Signet",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "log_name": log,
            "uid": hex(&record.leaf()),
            "sequence": record.sequence,
        },
    });
    if let Some(code) = &record.code {
        event["status_code"] = code.as_str().into();
        event["status_detail"] = record.detail.as_str().into();
    }
    // Required by all of these classes but the finding; nobody is nobody.
    event["user"] = json!({"name": record.subject.as_deref().unwrap_or("unknown")});
    if class == 3004 {
        let uid = record.device.as_ref().or(record.credential.as_ref()).or(record.subject.as_ref());
        event["entity"] = json!({"type": record.event, "uid": uid});
    }
    if class == 2004 {
        let title = record.code.as_deref().unwrap_or("alert");
        event["finding_info"] = json!({"title": title, "uid": hex(&record.leaf())});
    }
    if let Some(device) = &record.device {
        event["device"] = json!({"uid": device, "type_id": 0});
    }
    if let Some(session) = &record.session {
        event["session"] = json!({"uid": session});
    }
    let rest: Map<String, Value> = [
        ("event", Some(&record.event)),
        ("token", record.token.as_ref()),
        ("credential", record.credential.as_ref()),
        ("gateway", record.gateway.as_ref()),
        ("action_sha256", record.action.as_ref()),
        ("evidence_sha256", record.evidence.as_ref()),
        ("rule", record.rule.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?.as_str().into())))
    .collect();
    event["unmapped"] = Value::Object(rest);
    event
}

/// Journal Export Format (systemd.io/JOURNAL_EXPORT_FORMATS): an entry of fields, then an empty line. A
/// value with a newline would need the binary form; records have none, and what is left is replaced.
fn journald(record: &AuditRecord, log: &str) -> String {
    let number = record.sequence.to_string();
    let time = record.at.saturating_mul(1_000_000).to_string();
    // The log stands where a machine's boot would: the same for all of its entries.
    let boot = hex(&sha256(log.as_bytes())[..16]);
    let priority = match (record.event.as_str(), &record.code) {
        ("alert", _) => "1",
        (_, Some(_)) => "4",
        (_, None) => "6",
    };
    let message = format!("{} {}: {}", record.event, record.decision, record.detail);
    let mut fields = vec![
        ("__REALTIME_TIMESTAMP", time.clone()),
        ("__MONOTONIC_TIMESTAMP", number.clone()),
        ("_BOOT_ID", boot),
        ("MESSAGE", message),
        ("PRIORITY", priority.to_owned()),
        ("SYSLOG_IDENTIFIER", "signet-audit".to_owned()),
        ("SIGNET_LOG", log.to_owned()),
        ("SIGNET_RECORD", number),
        ("SIGNET_LEAF", hex(&record.leaf())),
        ("SIGNET_EVENT", record.event.clone()),
        ("SIGNET_DECISION", record.decision.clone()),
    ];
    let known = [
        ("SIGNET_CODE", &record.code),
        ("SIGNET_SUBJECT", &record.subject),
        ("SIGNET_DEVICE", &record.device),
        ("SIGNET_SESSION", &record.session),
        ("SIGNET_TOKEN", &record.token),
        ("SIGNET_CREDENTIAL", &record.credential),
        ("SIGNET_GATEWAY", &record.gateway),
        ("SIGNET_ACTION_SHA256", &record.action),
        ("SIGNET_EVIDENCE_SHA256", &record.evidence),
        ("SIGNET_RULE", &record.rule),
    ];
    fields.extend(known.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    let line = |(name, value): (&str, String)| {
        let value: String =
            value.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        format!("{name}={value}\n")
    };
    fields.into_iter().map(line).chain(["\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use signet_authority::store::{AuditEntry, Decision, Event};
    use signet_evidence::{RejectionCode, UnixTime};

    use super::*;

    fn record(event: Event, decision: Decision) -> AuditRecord {
        let mut entry = AuditEntry::new(UnixTime(1_795_352_400), event, decision);
        entry.subject = Some("alice".into());
        entry.detail = "two\nlines".into();
        entry.into_record(7)
    }

    #[test]
    fn events_have_what_the_schema_requires() {
        let refused = Decision::Refused(RejectionCode::CounterRegressed);
        for (event, decision, class) in [
            (Event::TokenSession, Decision::Allowed, 3002),
            (Event::Authorize, refused, 3003),
            (Event::Revoke, Decision::Allowed, 3004),
            (Event::Alert, refused, 2004),
        ] {
            let event = ocsf(&record(event, decision), "signet.example/log");
            for member in
                ["activity_id", "category_uid", "metadata", "severity_id", "time", "type_uid"]
            {
                assert!(!event[member].is_null(), "{member}");
            }
            assert_eq!(event["class_uid"], class);
            assert_eq!(event["category_uid"], class / 1000);
            assert_eq!(event["time"], 1_795_352_400_000_i64);
            assert_eq!(event["status_code"].is_null(), decision == Decision::Allowed);
        }
    }

    #[test]
    fn a_journal_entry_is_lines_of_fields_and_an_empty_one() {
        let text = journald(&record(Event::TokenSession, Decision::Allowed), "signet.example/log");
        assert!(text.starts_with("__REALTIME_TIMESTAMP=1795352400000000\n"));
        assert!(text.contains("\nMESSAGE=token-session allowed: two lines\n"));
        assert!(text.contains("\nSIGNET_SUBJECT=alice\n"));
        assert!(text.ends_with("\n\n") && text.matches("\n\n").count() == 1);
    }
}
