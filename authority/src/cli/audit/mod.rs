//! `audit`: the log of all decisions.

mod check;
mod evidence;
mod export;
mod list;
mod retain;
mod when;
mod witness;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use signet_authority::config::Config;
use signet_authority::log::AuditLog;
use signet_authority::state::system_clock;
use signet_authority::store::{AuditFilter, SqlStore, Store};
use signet_authority::{journal, keys};

use super::output::Output;
use super::ticket::open_store;
use when::When;
pub(super) use when::shown;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print records, oldest first.
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Print one record, and the proof that it is in the log.
    Show {
        /// Its number.
        record: u64,
        /// Print only the proof, to be kept or given away (c2sp.org/tlog-proof).
        #[arg(long)]
        proof: bool,
    },
    /// Say what is kept of the evidence that a decision was made on, and write it to a file.
    Evidence {
        /// The record's number, or the SHA-256 of the evidence that a record names.
        which: String,
        /// A new file for the evidence; the certificate of the connection that it came over goes beside it, as
        /// .pem.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Judge again what a record was decided on: at the time of then, by the settings and enrolments of now.
    Reappraise {
        /// Its number.
        record: u64,
    },
    /// Check records, tree, checkpoints and cosignatures against each other; say what does not fit.
    Verify {
        /// Checkpoints that somebody else kept, such as a witness's file: shows a log that was signed
        /// anew.
        #[arg(long, value_name = "FILE")]
        against: Vec<PathBuf>,
    },
    /// Write records in a form that other programs read.
    Export {
        #[command(flatten)]
        which: Which,
        /// The form.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
    },
    /// Delete old records; their hashes stay, so that the log can be checked as before.
    Prune {
        /// Records from before then go: a date, a time, or an age such as 400d.
        #[arg(long)]
        before: When,
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Watch the log of an authority on another host: remember each checkpoint, demand that the next
    /// continues it, and say so when it does not. Runs until it is stopped.
    Witness(witness::WitnessArguments),
    /// Print the key that checkpoints are checked with, for witnesses.
    Key,
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only records after this number.
    #[arg(long, default_value_t = 0)]
    after: i64,
    /// Not before: a date, a time, or an age such as 7d.
    #[arg(long)]
    since: Option<When>,
    /// Not from then on.
    #[arg(long)]
    until: Option<When>,
    /// Only about this operator.
    #[arg(long)]
    subject: Option<String>,
    /// Only refusals with this code.
    #[arg(long)]
    code: Option<String>,
    /// Only this event, such as token-session.
    #[arg(long)]
    event: Option<String>,
}

impl Which {
    fn filter(self) -> AuditFilter {
        AuditFilter {
            since: self.since.map(|when| when.0),
            until: self.until.map(|when| when.0),
            subject: self.subject,
            code: self.code,
            event: self.event,
        }
    }
}

/// A form of records for other programs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line, as stored.
    Jsonl,
    /// One event of the Open Cybersecurity Schema Framework (1.5) a line.
    Ocsf,
    /// Journal Export Format, for `systemd-journal-remote -o FILE -`.
    Journald,
}

pub(super) async fn run(file: &Path, command: AuditCommand, output: Output) -> anyhow::Result<()> {
    if let AuditCommand::Witness(arguments) = command {
        // On the witness's host there is no authority, and no settings of one.
        return witness::run(arguments, output).await;
    }
    let config = Config::load(file)?;
    match command {
        AuditCommand::Witness(_) => Ok(()),
        AuditCommand::List { which } => list::list(&config, which, output).await,
        AuditCommand::Show { record, proof } => list::show(&config, record, proof, output).await,
        AuditCommand::Verify { against } => check::verify(&config, &against, output).await,
        AuditCommand::Evidence { which, out } => {
            evidence::evidence(&config, &which, out, output).await
        }
        AuditCommand::Reappraise { record } => evidence::reappraise(&config, record, output).await,
        AuditCommand::Export { which, format } => export::export(&config, which, format).await,
        AuditCommand::Prune { before, dry_run } => {
            retain::prune(&config, before, dry_run, output).await
        }
        AuditCommand::Key => {
            let key = log(&config)?.key().to_string();
            output.line(&key, &serde_json::json!({ "key": key }))
        }
    }
}

/// How long to wait for the authority that serves to hand its journal over.
const HANDED_OVER: Duration = Duration::from_secs(3);

/// The store, with what this node's journal held when the command was given.
pub(super) async fn open_log(config: &Config) -> anyhow::Result<SqlStore> {
    let store = open_store(config).await?;
    let Some(path) = config.journal() else { return Ok(store) };
    let newest = journal::newest(&path)?;
    let Some((name, last)) = newest else { return Ok(store) };
    let began = Instant::now();
    loop {
        let taken = store.journal_taken(&name).await?;
        if taken >= last {
            return Ok(store);
        }
        if began.elapsed() > HANDED_OVER {
            eprintln!(
                "note: {} records are in the journal {} and not in the log yet; the authority hands them over \
                 while it serves, or when it starts",
                last - taken,
                path.display()
            );
            return Ok(store);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The log's keys and its name.
pub(super) fn log(config: &Config) -> anyhow::Result<AuditLog> {
    let ring = keys::LogRing::load(&config.keys(), system_clock()())?;
    Ok(AuditLog::new(config.settings.issuer.as_str(), ring)?)
}
