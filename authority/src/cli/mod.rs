//! The command line.

mod appraise;
mod audit;
mod backup;
mod init;
mod keys;
mod machine;
mod metadata;
pub(crate) mod output;
mod policy;
mod records;
mod revoke;
mod serve;
mod ticket;
mod tpm;
mod who;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use signet_authority::config::Config;
use signet_authority::state::{Authority, system_clock};

use output::Output;

const EXAMPLES: &str = "Examples:
  signet-authority init --dir /var/lib/signet-authority --operator alice --asset LT-4711
  signet-authority serve --config /var/lib/signet-authority/authority.toml
  signet-authority ticket device --operator bob --asset LT-4712
  signet-authority gateway edge --out /etc/envoy/signet
  signet-authority revoke device 01f0c2…
  signet-authority metadata import blob.jwt
  signet-authority machine explain LT-4711
  signet-authority policy replay next --days 7
  signet-authority audit list --since 7d --subject alice
  signet-authority audit verify
  signet-authority keys rotate
  signet-authority backup /var/backups/signet.jsonl

The settings file is --config, or SIGNET_AUTHORITY_CONFIG, or ./authority.toml.";

/// Enrols machines and security keys, judges evidence, mints tokens, answers gateways.
#[derive(Debug, Parser)]
#[command(name = "signet-authority", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Settings file.
    #[arg(long, global = true, env = "SIGNET_AUTHORITY_CONFIG", default_value = "authority.toml")]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make keys, certificates, settings, database and the first enrolment ticket.
    Init(InitArguments),
    /// Serve clients and gateways until SIGTERM or SIGINT.
    Serve,
    /// Make an enrolment ticket: one use, for one operator.
    #[command(subcommand)]
    Ticket(TicketCommand),
    /// Issue a gateway's client certificate.
    Gateway(GatewayArguments),
    /// Revoke something and everything under it; counts at once, and is pushed to every verifier.
    Revoke(RevokeArguments),
    /// The log of all decisions.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Say what would be said to a piece of evidence, and which step refuses it; consumes nothing.
    Appraise(appraise::AppraiseArguments),
    /// FIDO metadata: what is published of models of security key.
    #[command(subcommand)]
    Metadata(metadata::MetadataCommand),
    /// What machines booted, and policies about it.
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// TPMs that no certificate vouches for, and the makers' certificates.
    #[command(subcommand)]
    Tpm(tpm::TpmCommand),
    /// Signing keys and CA certificates.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// The settings file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The action policy: check, test, explain, compare, ship, roll back.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Write every row of the database into one file; keys are not in it.
    Backup {
        /// A new file.
        file: PathBuf,
    },
    /// Put a backup into an empty database. Live sessions end, and revocations made since are missing.
    Restore {
        /// What `backup` wrote.
        file: PathBuf,
    },
    /// Print a completion script.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct InitArguments {
    /// New directory for everything.
    #[arg(long, default_value = "signet-authority")]
    dir: PathBuf,
    /// The first operator.
    #[arg(long)]
    operator: String,
    /// Inventory tag of the first machine.
    #[arg(long)]
    asset: Option<String>,
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Where gateways connect.
    #[arg(long, default_value = "127.0.0.1:9443")]
    gateway_listen: SocketAddr,
    /// The authority's URL; by default https://localhost and the port of --listen.
    #[arg(long)]
    issuer: Option<String>,
    /// SPIFFE trust domain.
    #[arg(long, default_value = "mesh.example")]
    trust_domain: String,
    /// PostgreSQL database, for several authorities: postgres://signet@db.example.org/signet. By default
    /// a SQLite file in the directory.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Reserved relying party id; by default `presence.` and the trust domain.
    #[arg(long)]
    rp_id: Option<String>,
}

#[derive(Debug, Subcommand)]
enum TicketCommand {
    /// For the enrolment of one machine, with a grant for its operator's first key.
    Device {
        #[command(flatten)]
        ticket: TicketArguments,
        /// For a machine that is enrolled already, such as after its TPM was cleared: the same TPM and
        /// operator; the earlier device is revoked.
        #[arg(long)]
        rebind: bool,
    },
    /// For the enrolment of one security key.
    Authenticator {
        #[command(flatten)]
        ticket: TicketArguments,
        /// All earlier keys are lost: they and their sessions are revoked when the ticket is used.
        #[arg(long)]
        lost: bool,
    },
}

#[derive(Debug, Args)]
struct TicketArguments {
    /// Whom it is for.
    #[arg(long)]
    operator: String,
    /// Inventory tag of the machine.
    #[arg(long)]
    asset: Option<String>,
    /// Group of machines that it joins: chooses the policies that judge it.
    #[arg(long)]
    group: Option<String>,
    /// The only TPM that it opens: SHA-256 of its endorsement key's public area, in hex.
    #[arg(long)]
    ek: Option<String>,
}

#[derive(Debug, Args)]
struct GatewayArguments {
    /// Its name: spiffe://<trust domain>/gateway/NAME.
    name: String,
    /// Directory for NAME.pem, NAME.key (mode 0600), authority-ca.pem and authority-log.vkey (the public
    /// key that a witness checks the audit log with).
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// How long the certificate lives, in days.
    #[arg(long, default_value_t = 90)]
    days: u16,
}

const REVOKE_EXAMPLES: &str = "Examples:
  signet-authority revoke session 5f0c… --wait
  signet-authority revoke operator bob --wait=10 --json
  signet-authority revoke all --wait

With --wait the exit code is 0 only when every verifier that follows the events has it in force. Gateways
that ask /v1/authorize for each request need no push.";

#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArguments {
    #[command(subcommand)]
    target: RevokeTarget,
    /// Wait until every connected verifier has it in force, for at most this many seconds, and say who
    /// did not answer.
    #[arg(
        long, global = true, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "5"
    )]
    wait: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum RevokeTarget {
    /// One token, by its `jti`.
    Token {
        /// 32 hex digits.
        id: String,
    },
    /// One session, by its `sid`.
    Session {
        /// 32 hex digits.
        id: String,
    },
    /// A key and the sessions that were proved with it.
    #[command(alias = "credential")]
    Key {
        /// Credential id, base64url.
        id: String,
    },
    /// A machine and its sessions.
    Device {
        /// Device id, hex.
        id: String,
    },
    /// A person, their machines, keys and sessions.
    Operator {
        /// Name.
        id: String,
    },
    /// Every session of everybody; machines and keys stay, and people log in again.
    All,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the settings, and everything that they name.
    Check,
}

/// Does what the command line says.
///
/// # Errors
/// What could not be done, and why.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let output = Output::new(arguments.json);
    let config = arguments.config;
    match arguments.command {
        Command::Init(init) => init::run(init, output).await,
        Command::Serve => serve::run(&config).await,
        Command::Ticket(ticket) => ticket::run(&config, ticket, output).await,
        Command::Gateway(gateway) => ticket::issue_gateway(&config, gateway, output).await,
        Command::Revoke(target) => revoke::run(&config, target, output).await,
        Command::Audit(command) => audit::run(&config, command, output).await,
        Command::Appraise(arguments) => appraise::run(&config, arguments, output).await,
        Command::Metadata(command) => metadata::run(&config, command, output).await,
        Command::Machine(command) => machine::run(&config, command, output).await,
        Command::Tpm(command) => tpm::run(&config, command, output).await,
        Command::Keys(command) => keys::run(&config, command, output).await,
        Command::Config(ConfigCommand::Check) => {
            Authority::start(Config::load(&config)?, system_clock())
                .await
                .with_context(|| format!("{} is not usable", config.display()))?;
            output.line(&format!("{}: ok", config.display()), &serde_json::json!({"ok": true}))
        }
        Command::Policy(command) => policy::run(&config, command, output).await,
        Command::Backup { file } => backup::back_up(&config, &file, output).await,
        Command::Restore { file } => backup::restore(&config, &file, output).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "signet-authority",
                &mut script,
            );
            output::to_stdout(&script)
        }
    }
}
