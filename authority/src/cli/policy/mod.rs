//! `policy`: who may do what, written, tried, shipped and taken back.

mod check;
mod compare;
mod explain;
mod sets;
mod versions;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use signet_authority::config::Config;
use signet_authority::policy::SCHEMA;

use super::output::{Output, to_stdout};
use super::ticket::open_store;
use sets::Choice;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check a set against the schema; say every fault with file and line.
    Check(Folder),
    /// Run a set's table of tests.
    Test(Folder),
    /// Print the program's part of the schema: principals and context.
    Schema,
    /// Say why a request is decided as it is, and which rule or which presence would allow it.
    Explain(Box<explain::ExplainArguments>),
    /// Say what changes between two sets: rules, and which recorded decisions and tests flip.
    Diff {
        /// Folder, version, `live` or `shadow`.
        old: Choice,
        /// Folder, version, `live` or `shadow`.
        new: Choice,
        #[command(flatten)]
        window: Window,
    },
    /// Put the recorded decisions of the last days to a set before it goes live.
    Replay {
        /// Folder, version, `live` or `shadow`.
        set: Choice,
        #[command(flatten)]
        window: Window,
        /// End with an error when a decision flips.
        #[arg(long)]
        strict: bool,
    },
    /// Put a set into force on every node, once it is sound and its tests pass.
    Activate {
        /// Folder; the one of the settings when left out.
        folder: Option<PathBuf>,
        /// Let it be asked beside the live set, without effect; differences are counted and logged.
        #[arg(long)]
        shadow: bool,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Stop asking the shadow set.
    Unshadow {
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// What was in force, when and by whom; newest first.
    History,
    /// Put an earlier version into force again.
    Rollback {
        /// Version, or its first eight digits or more.
        version: String,
        /// Why, for the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Write the files of a version into a new folder.
    Export {
        /// Version, `live` or `shadow`.
        set: Choice,
        /// The folder; it must not exist.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// Folder of the set; the one of the settings when left out.
    folder: Option<PathBuf>,
}

/// Which recorded decisions count.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Window {
    /// Recorded decisions of this many days.
    #[arg(long, default_value_t = 7)]
    days: u32,
}

pub(super) async fn run(file: &Path, command: PolicyCommand, output: Output) -> anyhow::Result<()> {
    let folder = |given: Option<PathBuf>| match given {
        Some(folder) => Ok(folder),
        None => configured(file),
    };
    match command {
        PolicyCommand::Schema => to_stdout(SCHEMA.as_bytes()),
        PolicyCommand::Check(Folder { folder: given }) => check::check(&folder(given)?, output),
        PolicyCommand::Test(Folder { folder: given }) => check::test(&folder(given)?, output),
        PolicyCommand::Explain(arguments) => explain::run(file, *arguments, output).await,
        PolicyCommand::Diff { old, new, window } => {
            compare::diff(file, &old, &new, window, output).await
        }
        PolicyCommand::Replay { set, window, strict } => {
            compare::replay(file, &set, window, strict, output).await
        }
        PolicyCommand::Activate { folder: given, shadow, reason } => {
            versions::activate(file, &folder(given)?, shadow, reason, output).await
        }
        PolicyCommand::Unshadow { reason } => versions::unshadow(file, reason, output).await,
        PolicyCommand::History => versions::history(file, output).await,
        PolicyCommand::Rollback { version, reason } => {
            versions::rollback(file, &version, reason, output).await
        }
        PolicyCommand::Export { set, folder } => {
            versions::export(file, &set, &folder, output).await
        }
    }
}

fn configured(file: &Path) -> anyhow::Result<PathBuf> {
    let config = Config::load(file)?;
    Ok(config.resolve(config.settings.policy.directory.get_ref()))
}
