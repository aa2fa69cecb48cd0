//! `machine`: what machines booted, and policies about it; from the store, or from files. For files no
//! signature is checked: that is what `appraise` does.

mod decide;
mod explain;
mod shown;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use signet_authority::config::Config;
use signet_authority::store::Store;
use signet_verifier::boot::{Baseline, Mode};

use super::output::Output;
use super::ticket::open_store;
use shown::{Shown, find};

const EXAMPLES: &str = "Examples:
  signet-authority machine list
  signet-authority machine group LT-4711 pilot
  signet-authority machine baseline --group pilot --name laptops > machine-policies/laptops.toml
  signet-authority machine explain LT-4711
  signet-authority machine explain LT-4711 --policy new.toml
  signet-authority machine accept LT-4711 --state 1f0e2d3c4b5a --reason \"kernel 6.12.9, change 4711\"
  signet-authority machine explain --machine today.log today.json --before last.log last.json
  signet-authority machine explain \\
    --machine /sys/kernel/security/tpm0/binary_bios_measurements /sys/class/tpm/tpm0/pcr-sha256

DEVICE is a device id, its first digits (six at least), or an asset tag. A machine from files is its
event log and its PCR values: JSON, {\"bank\": \"sha256\", \"pcrs\": {\"0\": \"<hex>\", …}}, or a directory
with a file for each PCR as Linux has it. Whether a TPM really held these values is not asked then.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum MachineCommand {
    /// List machines: groups, what they booted, and what followed.
    List {
        /// Only machines of this group.
        #[arg(long)]
        group: Option<String>,
    },
    /// Put a machine into exactly these groups; with none, show them.
    Group {
        /// The machine.
        device: String,
        /// Its groups from now on.
        groups: Vec<String>,
        /// Take it out of all groups.
        #[arg(long, conflicts_with = "groups")]
        none: bool,
    },
    /// Learn a policy from machines that are in order, and print it with what differs between them.
    Baseline(BaselineArguments),
    /// Say what a machine booted, what changed, and what a policy minds. Fails where it is refused.
    Explain(ExplainArguments),
    /// Accept what a machine booted last: for this machine, these PCR values count as approved.
    Accept(AcceptArguments),
}

#[derive(Debug, Args)]
pub(super) struct BaselineArguments {
    /// Machines to learn from.
    device: Vec<String>,
    /// Learn from all machines of this group that are not refused.
    #[arg(long, conflicts_with = "device")]
    group: Option<String>,
    /// A machine from files: event log and PCR values; as often as there are machines.
    #[arg(
        long,
        num_args = 2,
        value_names = ["LOG", "PCRS"],
        required_unless_present_any = ["device", "group"],
        conflicts_with_all = ["device", "group"],
    )]
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
    /// The machine.
    device: Option<String>,
    /// A machine from files: event log and PCR values.
    #[arg(
        long,
        num_args = 2,
        value_names = ["LOG", "PCRS"],
        required_unless_present = "device",
        conflicts_with = "device",
    )]
    machine: Vec<PathBuf>,
    /// The same machine as it was, or another one.
    #[arg(long, num_args = 2, value_names = ["LOG", "PCRS"], conflicts_with = "device")]
    before: Option<Vec<PathBuf>>,
    /// A policy file to try, in place of what the authority said.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A group that the machine is in, for the policy's mode.
    #[arg(long, conflicts_with = "device")]
    group: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct AcceptArguments {
    /// The machine.
    device: String,
    /// Why, for the audit trail.
    #[arg(long)]
    reason: String,
    /// The state that you mean, as `explain` names it: fails when the machine shows another by now.
    #[arg(long)]
    state: Option<String>,
    /// Keep what counted before, such as an earlier kernel that may be started again.
    #[arg(long)]
    also: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArgument {
    Monitor,
    Warn,
    Enforce,
}

pub(super) async fn run(
    config: &Path,
    command: MachineCommand,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        MachineCommand::Baseline(arguments) if !arguments.machine.is_empty() => {
            let files = arguments.machine.chunks(2).map(Shown::read);
            baseline(&files.collect::<anyhow::Result<Vec<_>>>()?, &arguments, output)
        }
        MachineCommand::Explain(arguments) if arguments.device.is_none() => {
            explain::files(&arguments, output)
        }
        command => {
            let config = Config::load(config)?;
            let store = open_store(&config).await?;
            let done = stored(&config, &store, command, output).await;
            store.close().await;
            done
        }
    }
}

async fn stored(
    config: &Config,
    store: &dyn Store,
    command: MachineCommand,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        MachineCommand::List { group } => {
            decide::list(config, store, group.as_deref(), output).await
        }
        MachineCommand::Group { device, groups, none } => {
            decide::group(store, &device, groups, none, output).await
        }
        MachineCommand::Accept(arguments) => {
            decide::accept(config, store, &arguments, output).await
        }
        MachineCommand::Explain(arguments) => explain::stored(store, &arguments, output).await,
        MachineCommand::Baseline(arguments) => {
            let shown = to_learn_from(store, &arguments).await?;
            baseline(&shown, &arguments, output)
        }
    }
}

/// What the machines of a baseline show.
async fn to_learn_from(
    store: &dyn Store,
    arguments: &BaselineArguments,
) -> anyhow::Result<Vec<Shown>> {
    let machines = store.machines().await?;
    let chosen = match &arguments.group {
        Some(group) => {
            let of_group = machines
                .into_iter()
                .filter(|found| !found.device.revoked && found.machine.groups.contains(group));
            let chosen: Vec<_> = of_group.collect();
            ensure!(!chosen.is_empty(), "no machine is in the group {group}");
            chosen
        }
        None => {
            let named = arguments.device.iter();
            named.map(|name| find(machines.clone(), name)).collect::<anyhow::Result<_>>()?
        }
    };
    let mut shown = Vec::new();
    for found in chosen {
        let id = &found.device.id;
        let now = found.machine.now.with_context(|| {
            format!(
                "{id} has sent no evidence since it was enrolled; leave it out, or log in there"
            )
        })?;
        let one = Shown::stored(store, &now).await?;
        let proven = one.proven().map(|_| ());
        proven.with_context(|| format!("nothing can be learned from {id}; leave it out"))?;
        shown.push(one);
    }
    Ok(shown)
}

fn baseline(shown: &[Shown], arguments: &BaselineArguments, output: Output) -> anyhow::Result<()> {
    let machines = shown.iter().map(Shown::proven).collect::<Result<Vec<_>, _>>()?;
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
