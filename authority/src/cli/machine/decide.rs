//! `machine list`, `machine group` and `machine accept`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, ensure};
use serde_json::json;
use signet_authority::config::{Config, is_name};
use signet_authority::state::system_clock;
use signet_authority::store::{
    AcceptedBoot, AuditEntry, CommitError, Decision, Event, ListedMachine, Store,
};
use signet_authority::{jws, keys, trust};
use signet_evidence::DeviceId;
use signet_evidence::thumbprint::hex;
use signet_verifier::boot::{MachinePolicy, policies_for};

use super::super::output::Output;
use super::AcceptArguments;
use super::shown::find;
use crate::cli::who::who;

pub(super) async fn list(
    config: &Config,
    store: &dyn Store,
    group: Option<&str>,
    output: Output,
) -> anyhow::Result<()> {
    let policies = trust::machine_policies(config)?;
    let in_group =
        |found: &ListedMachine| group.is_none_or(|group| found.machine.groups.contains(group));
    let machines = store.machines().await?.into_iter().filter(in_group);
    for found in machines {
        let (text, value) = listed(&found, &policies);
        output.line(&text, &value)?;
    }
    Ok(())
}

/// One line, and the same for programs.
fn listed(found: &ListedMachine, policies: &[MachinePolicy]) -> (String, serde_json::Value) {
    let ListedMachine { device, machine } = found;
    let applying = policies_for(policies, &machine.groups);
    let modes: Vec<String> = applying
        .iter()
        .map(|(policy, mode)| format!("{}:{}", policy.name, mode.as_str()))
        .collect();
    let boot = machine.now.as_ref();
    let groups: Vec<&str> = machine.groups.iter().map(String::as_str).collect();
    let or_dash = |texts: &[String]| if texts.is_empty() { "-".into() } else { texts.join(",") };
    let text = format!(
        "{} {:<12} {:<10} groups={} policies={} boot={} log={} state={} findings={} ek={}{}",
        device.id,
        device.asset.as_deref().unwrap_or("-"),
        device.operator,
        if groups.is_empty() { "-".to_owned() } else { groups.join(",") },
        or_dash(&modes),
        boot.map_or("-", |boot| boot.state.as_str()),
        boot.map_or("-", |boot| boot.log.as_str()),
        boot.map_or_else(|| "-".to_owned(), signet_authority::store::BootRow::name),
        boot.map_or(0, |boot| boot.findings.len()),
        if device.ek_proven { "proven" } else { "unproven" },
        if device.revoked { " revoked" } else { "" },
    );
    let value = json!({
        "device": device.id.to_string(),
        "asset": device.asset,
        "operator": device.operator,
        "groups": groups,
        "policies": applying.iter().map(|(policy, mode)| json!({
            "name": policy.name, "mode": mode.as_str(),
        })).collect::<Vec<_>>(),
        "boot": boot.map(|boot| json!({
            "state": boot.name(), "verdict": boot.state.as_str(), "log": boot.log.as_str(),
            "since": boot.since.0, "findings": boot.findings.len(),
            "firmware": format!("{:016x}", boot.firmware),
        })),
        "reset_count": device.clock.reset_count,
        "ek": if device.ek_proven { "proven" } else { "unproven" },
        "revoked": device.revoked,
    });
    (text, value)
}

pub(super) async fn group(
    store: &dyn Store,
    name: &str,
    groups: Vec<String>,
    none: bool,
    output: Output,
) -> anyhow::Result<()> {
    let found = find(store.machines().await?, name)?;
    let id = &found.device.id;
    if groups.is_empty() && !none {
        return said_groups(id, &found.machine.groups, output);
    }
    let wrong = groups.iter().find(|group| !is_name(group));
    if let Some(wrong) = wrong {
        bail!("{wrong:?} is not a group's name; use letters, digits, '.', '-' and '_', at most 64");
    }
    let groups: BTreeSet<String> = groups.into_iter().collect();
    let mut entry = AuditEntry::new(system_clock()(), Event::MachineGroup, Decision::Allowed);
    entry.device = Some(id.clone());
    entry.subject = Some(found.device.operator.clone());
    let names = |groups: &BTreeSet<String>| match groups.is_empty() {
        true => "none".to_owned(),
        false => groups.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    entry.detail =
        format!("groups {} were {}, by {}", names(&groups), names(&found.machine.groups), who());
    committed(store.set_groups(id, &groups, &entry).await)?;
    said_groups(id, &groups, output)
}

fn said_groups(id: &DeviceId, groups: &BTreeSet<String>, output: Output) -> anyhow::Result<()> {
    let names: Vec<&str> = groups.iter().map(String::as_str).collect();
    let text = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    output.line(&text, &json!({"device": id.to_string(), "groups": names}))
}

/// `typ` of a signed decision.
const DECISION: &str = "signet-machine-accept+jwt";

pub(super) async fn accept(
    config: &Config,
    store: &dyn Store,
    arguments: &AcceptArguments,
    output: Output,
) -> anyhow::Result<()> {
    let found = find(store.machines().await?, &arguments.device)?;
    let id = &found.device.id;
    let Some(now) = &found.machine.now else {
        bail!("{id} has sent no evidence since it was enrolled: there is no state to accept")
    };
    let state = now.name();
    if arguments.state.as_ref().is_some_and(|meant| *meant != state) {
        bail!(
            "{id} shows state {state} by now, not {}: look at it with `signet-authority machine explain {id}`",
            arguments.state.as_deref().unwrap_or_default()
        );
    }
    ensure!(!arguments.reason.trim().is_empty(), "--reason is empty; say why, for the audit trail");
    let not_quoted = now.findings.iter().find(|minded| minded.what.ends_with("was not quoted"));
    if let Some(minded) = not_quoted {
        bail!(
            "{}: what that PCR holds cannot be accepted unseen; add it to `pcrs` in the machine's signetd.toml, then log in there",
            minded.what
        );
    }
    let accepted = AcceptedBoot {
        pcrs: now.pcrs.clone(),
        by: who(),
        reason: arguments.reason.clone(),
        at: system_clock()(),
        replaces: !arguments.also,
    };
    let mut entry = AuditEntry::new(accepted.at, Event::BootAccept, Decision::Allowed);
    entry.device = Some(id.clone());
    entry.subject = Some(found.device.operator.clone());
    entry.detail = format!("state {state} by {}: {}", accepted.by, accepted.reason);
    for minded in &now.findings {
        entry.detail.push_str(&format!("; {}: {}", minded.policy, minded.what));
    }
    let decision = decision(config, id, &now.name(), &accepted)?;
    entry.detail.push_str(&format!("; signed: {decision}"));
    committed(store.accept_boot(id, &accepted, &entry).await)?;
    let text = format!(
        "accepted: state {state} of {id}, {} finding(s) waived; it counts from its next evidence on",
        now.findings.len()
    );
    let value = json!({
        "device": id.to_string(), "state": state, "by": accepted.by, "reason": accepted.reason,
        "at": accepted.at.0, "findings": now.findings, "also": arguments.also, "decision": decision,
    });
    output.line(&text, &value)
}

/// The decision, signed with the key of the authority's tokens, for who does not have its database.
fn decision(
    config: &Config,
    device: &DeviceId,
    state: &str,
    accepted: &AcceptedBoot,
) -> anyhow::Result<String> {
    let keys = keys::load(&config.keys())?;
    let pcrs: BTreeMap<String, String> =
        accepted.pcrs.iter().map(|(pcr, value)| (pcr.to_string(), hex(value))).collect();
    let claims = json!({
        "iss": config.settings.issuer.to_string(), "iat": accepted.at.0,
        "device": device.to_string(), "state": state, "pcrs": pcrs,
        "by": accepted.by, "reason": accepted.reason, "replaces": accepted.replaces,
    });
    Ok(jws::signed(DECISION, &claims, &*keys.token.signer(accepted.at))?)
}

fn committed(outcome: Result<(), CommitError>) -> anyhow::Result<()> {
    match outcome {
        Err(CommitError::Rejected(_)) => {
            bail!("the machine, or its operator, is revoked: nothing was changed")
        }
        outcome => Ok(outcome?),
    }
}
