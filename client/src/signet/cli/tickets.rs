//! The command line of `signet ticket`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};

/// Tickets for a new key or machine, approved by administrators
#[derive(Debug, Subcommand)]
pub(crate) enum Ticket {
    Request(TicketRequest),
    /// List the tickets that you asked for, that are for you, or that you may approve
    #[command(after_help = "Examples:\n  signet ticket list\n  signet ticket list --json")]
    List,
    Approve(TicketApprove),
}

/// Ask for a ticket and print it; it opens something once two administrators approved it
#[derive(Debug, Args)]
#[command(after_help = "\
The ticket is a secret: give it only to the person whom it is for.

Examples:
  signet ticket request --kind recovery --reason 'lost both keys on the train'
  signet ticket request --kind device --operator bob --asset LT-4712 --reason 'new laptop'
  signet ticket request --kind rebinding --reason 'the board was replaced' -o ticket")]
pub(crate) struct TicketRequest {
    /// What it is to open
    #[arg(long)]
    pub(crate) kind: TicketKind,
    /// Whom it is for [default: the operator of this machine]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) operator: Option<String>,
    /// Inventory tag of the machine
    #[arg(long, value_name = "TAG")]
    pub(crate) asset: Option<String>,
    /// Why, for those who approve it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) reason: String,
    /// Write the ticket to this file, which only you can read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What a ticket is to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TicketKind {
    /// The enrolment of a machine
    Device,
    /// The enrolment of a machine in the place of the one with the same TPM
    Rebinding,
    /// A further key
    Authenticator,
    /// A key for somebody who lost all keys: the earlier ones are revoked
    Recovery,
}

impl TicketKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Rebinding => "rebinding",
            Self::Authenticator => "authenticator",
            Self::Recovery => "recovery",
        }
    }
}

/// Approve a ticket by a touch; for administrators
#[derive(Debug, Args)]
#[command(after_help = "\
Ask the person whom it is for, by a way that you trust, before you touch your key.

Examples:
  signet ticket list
  signet ticket approve 5f0c6a")]
pub(crate) struct TicketApprove {
    /// Its id, or the beginning of it, as `signet ticket list` shows it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
}
