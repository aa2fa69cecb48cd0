//! `machine`: what machines booted, from files. Nothing here asks the store, and no signature is
//! checked: that is what `appraise` does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use signet_evidence::eventlog::{Limits, PcrComparison};
use signet_evidence::thumbprint::{hex, unhex};
use signet_evidence::tpm::{HashAlgorithm, PcrValues};
use signet_verifier::boot::{
    Baseline, BootJudgement, Finding, MachinePolicy, Mode, ProvenLog, Verdict, differences, judge,
};

use super::output::Output;

const EXAMPLES: &str = "Examples:
  signet-authority machine baseline --name laptops --machine a.log a.json --machine b.log b.json
  signet-authority machine explain --machine b.log b.json --policy laptops.toml --group pilot
  signet-authority machine explain --machine today.log today.json --before last.log last.json
  signet-authority machine explain \\
    --machine /sys/kernel/security/tpm0/binary_bios_measurements /sys/class/tpm/tpm0/pcr-sha256

A machine is two files: its event log, and its PCR values. Those are JSON,
{\"bank\": \"sha256\", \"pcrs\": {\"0\": \"<hex>\", …}}, or a directory with a file for each PCR as Linux
has it. Whether a TPM really held these values is not asked here.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum MachineCommand {
    /// Learn a policy from machines that are in order, and print it with what differs between them.
    Baseline(BaselineArguments),
    /// Say what a machine booted, what changed, and what a policy minds. Fails where it refuses.
    Explain(ExplainArguments),
}

#[derive(Debug, Args)]
pub(super) struct BaselineArguments {
    /// A machine: event log and PCR values; as often as there are machines.
    #[arg(long, num_args = 2, value_names = ["LOG", "PCRS"], required = true)]
    machine: Vec<PathBuf>,
    /// Name of the policy.
    #[arg(long, default_value = "learned")]
    name: String,
    /// Mode of the policy.
    #[arg(long, value_enum, default_value = "monitor")]
    mode: ModeArgument,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The machine: event log and PCR values.
    #[arg(long, num_args = 2, value_names = ["LOG", "PCRS"], required = true)]
    machine: Vec<PathBuf>,
    /// The same machine as it was, or another one.
    #[arg(long, num_args = 2, value_names = ["LOG", "PCRS"])]
    before: Option<Vec<PathBuf>>,
    /// A policy file.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A group that the machine is in, for the policy's mode.
    #[arg(long)]
    group: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArgument {
    Monitor,
    Warn,
    Enforce,
}

/// What a file of PCR values holds.
#[derive(Deserialize)]
struct PcrFile {
    bank: String,
    pcrs: BTreeMap<u8, String>,
}

struct Files {
    log: Vec<u8>,
    pcrs: PcrValues,
}

impl Files {
    fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let [log, pcrs] = paths else { bail!("a machine is two files: LOG and PCRS") };
        let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        let pcrs = if pcrs.is_dir() { pcr_directory(pcrs) } else { pcr_file(pcrs) }
            .with_context(|| format!("{} does not hold PCR values", pcrs.display()))?;
        Ok(Self { log: bytes, pcrs })
    }

    fn proven(&self) -> anyhow::Result<ProvenLog<'_>> {
        Ok(ProvenLog::verify(Some(&self.log), &self.pcrs, &Limits::default())?)
    }
}

fn pcr_file(path: &Path) -> anyhow::Result<PcrValues> {
    let file: PcrFile = serde_json::from_slice(&fs::read(path)?)?;
    let bank = match file.bank.as_str() {
        "sha1" => HashAlgorithm::Sha1,
        "sha256" => HashAlgorithm::Sha256,
        "sha384" => HashAlgorithm::Sha384,
        other => bail!("bank {other:?} is none of sha1, sha256, sha384"),
    };
    let values = file.pcrs.iter().map(|(pcr, value)| {
        Ok((*pcr, unhex(value).with_context(|| format!("PCR {pcr} is not hex"))?))
    });
    let values = values.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(PcrValues::of_bank(bank, values)?)
}

/// `/sys/class/tpm/tpm0/pcr-sha256`: a file for each PCR, upper-case hex and a line end.
fn pcr_directory(path: &Path) -> anyhow::Result<PcrValues> {
    let mut values = Vec::new();
    for pcr in 0..24_u8 {
        let text = match fs::read_to_string(path.join(pcr.to_string())) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let value = unhex(text.trim()).with_context(|| format!("PCR {pcr} is not hex"))?;
        values.push((pcr, value));
    }
    let bank = match values.first().map(|(_, value)| value.len()) {
        Some(32) => HashAlgorithm::Sha256,
        Some(48) => HashAlgorithm::Sha384,
        _ => bail!("no files 0 to 23 with values of SHA-256 or SHA-384"),
    };
    Ok(PcrValues::of_bank(bank, values)?)
}

pub(super) fn run(command: MachineCommand, output: Output) -> anyhow::Result<()> {
    match command {
        MachineCommand::Baseline(arguments) => baseline(&arguments, output),
        MachineCommand::Explain(arguments) => explain(&arguments, output),
    }
}

fn baseline(arguments: &BaselineArguments, output: Output) -> anyhow::Result<()> {
    let files = arguments.machine.chunks(2).map(Files::read).collect::<anyhow::Result<Vec<_>>>()?;
    let machines = files.iter().map(Files::proven).collect::<anyhow::Result<Vec<_>>>()?;
    let learned = Baseline::learn(&machines)?;
    let mode = match arguments.mode {
        ModeArgument::Monitor => Mode::Monitor,
        ModeArgument::Warn => Mode::Warn,
        ModeArgument::Enforce => Mode::Enforce,
    };
    let policy = learned.to_toml(&arguments.name, mode);
    let differing: Vec<Value> = learned
        .differing()
        .into_iter()
        .map(|(what, machines)| json!({"what": what, "machines": machines}))
        .collect();
    let value = json!({"machines": learned.machines(), "differing": differing, "policy": policy});
    output.line(policy.trim_end(), &value)
}

fn explain(arguments: &ExplainArguments, output: Output) -> anyhow::Result<()> {
    let files = Files::read(&arguments.machine)?;
    let before = arguments.before.as_deref().map(Files::read).transpose()?;
    let judgement = arguments
        .policy
        .as_deref()
        .map(|path| judged(&files, path, &arguments.group))
        .transpose()?
        .flatten();
    let mut lines = Vec::new();
    let mut value = json!({});
    match files.proven() {
        Ok(log) => booted(&log, &mut lines, &mut value),
        Err(error) => {
            lines.push(format!("{error:#}"));
            value["log"] = json!(format!("{error:#}"));
        }
    }
    if let Some(before) = &before {
        let changes = differences(&before.proven()?, &files.proven()?);
        let said: Vec<String> = changes.iter().map(ToString::to_string).collect();
        lines.push(format!("{} differences:", said.len()));
        lines.extend(said.iter().map(|change| format!("  {change}")));
        value["differences"] = json!(said);
    }
    if let Some(judgement) = &judgement {
        minded(judgement, &mut lines, &mut value);
    } else if arguments.policy.is_some() {
        lines.push("the policy does not judge machines of these groups".to_owned());
    }
    output.line(&lines.join("\n"), &value)?;
    match judgement {
        Some(judgement) if judgement.verdict() == Verdict::Refused => {
            bail!("the policy refuses this machine")
        }
        _ => Ok(()),
    }
}

fn judged(
    files: &Files,
    policy: &Path,
    groups: &[String],
) -> anyhow::Result<Option<BootJudgement>> {
    let text =
        fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let policy = MachinePolicy::from_toml(&text)
        .with_context(|| format!("{} is not usable", policy.display()))?;
    let mode = policy.mode_for(groups.iter().map(String::as_str));
    Ok(mode.map(|mode| judge(&files.pcrs, Some(&files.log), &Limits::default(), &policy, mode)))
}

/// What the PCR values confirm of the log.
fn booted(log: &ProvenLog<'_>, lines: &mut Vec<String>, value: &mut Value) {
    let facts = log.facts();
    lines.push(format!("bank: {:?}", log.bank()));
    let mut pcrs = BTreeMap::new();
    for (pcr, comparison) in log.compared() {
        let said = match comparison {
            PcrComparison::Explained => "explained",
            PcrComparison::Untouched => "untouched",
            PcrComparison::NotInLog => "not-in-log",
            PcrComparison::Mismatch(_) => "not-matching",
        };
        pcrs.entry(said).or_insert_with(Vec::new).push(*pcr);
    }
    lines.extend(pcrs.iter().map(|(said, pcrs)| format!("PCRs {said}: {pcrs:?}")));
    let secure_boot = Finding::SecureBoot(facts.secure_boot).to_string();
    lines.push(secure_boot.clone());
    for authority in &facts.authorities {
        let certificate = authority.certificate.as_ref();
        let certificate = certificate
            .map_or_else(String::new, |found| format!(" {}", found.thumbprint().to_hex()));
        let name = &authority.variable.name;
        lines.push(format!("verified by: {name:?}{certificate} (event {})", authority.event));
    }
    let texts = facts.strings.iter().filter(|string| string.said_command_line);
    lines.extend(texts.map(|string| format!("command line (by its label): {:?}", string.text)));
    let events: Vec<Value> = facts
        .measured
        .iter()
        .map(|event| {
            json!({
                "event": event.event, "pcr": event.pcr, "digest": hex(event.digest),
                "type": event.kind.to_string(), "hint": event.hint,
            })
        })
        .collect();
    value["pcrs"] = json!(pcrs);
    value["secure_boot"] = json!(secure_boot);
    value["events"] = json!(events);
}

fn minded(judgement: &BootJudgement, lines: &mut Vec<String>, value: &mut Value) {
    let verdict = format!("{:?}", judgement.verdict()).to_lowercase();
    lines.push(format!("policy, mode {}: {verdict}", judgement.mode().as_str()));
    for finding in judgement.findings() {
        lines.push(format!("  {finding}"));
        lines.push(format!("    rule: {}; what to do: {}", finding.rule(), finding.advice()));
    }
    let finding = |finding: &Finding| {
        json!({
            "what": finding.to_string(), "rule": finding.rule(), "advice": finding.advice(),
        })
    };
    value["verdict"] = json!(verdict);
    value["mode"] = json!(judgement.mode().as_str());
    value["findings"] = judgement.findings().iter().map(finding).collect();
}
