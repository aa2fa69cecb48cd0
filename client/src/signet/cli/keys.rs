//! `signet key` and `signet finger`.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, RangedU64ValueParser};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

/// Your keys: enrol them here, and take care of them
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    Add(KeyAdd),
    /// List your keys: those that are plugged in, and those that are enrolled
    #[command(after_help = "\
Which plugged-in key holds which enrolled credential is known by the model only: no key tells
without a touch.

Examples:
  signet key list
  signet key list --json")]
    List,
    Remove(KeyRemove),
    #[command(subcommand)]
    Pin(Pin),
    #[command(subcommand)]
    Credentials(Credentials),
    Configure(Configure),
    Reset(Reset),
}

/// Which of the plugged-in keys.
#[derive(Debug, Args)]
pub(crate) struct WhichKey {
    /// The key, as `signet key list` shows it [default: the only one that fits]
    #[arg(long, value_name = "PATH", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) key: Option<String>,
}

/// Register a security key, or a key of this machine's own
#[derive(Debug, Args)]
#[command(after_help = "\
The first key needs nothing more for 15 minutes after enrolment. A further key is authorised by a
touch of one that you have, or by a ticket. Have two: who loses the only one needs an administrator.

Examples:
  signet key add --name blue
  signet key add --ticket-file ticket
  signet key add --platform pin --name laptop")]
pub(crate) struct KeyAdd {
    /// What you call it
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// File that holds a ticket, when no key of yours can agree; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// A key of this machine's own in the place of a security key
    #[arg(long, value_name = "BY")]
    pub(crate) platform: Option<Platform>,
}

/// What sets a key of this machine's own free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// A PIN that the TPM checks
    Pin,
    /// This machine's fingerprint reader
    Fingerprint,
}

/// Remove a key; sessions that began with it end
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  signet key list\n  signet key remove blue")]
pub(crate) struct KeyRemove {
    /// Credential id, the beginning of one, or a name, as `signet key list` shows them
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
}

/// The PIN of a security key, or of this machine's own key
#[derive(Debug, Subcommand)]
pub(crate) enum Pin {
    /// Set the first PIN of a security key
    #[command(after_help = "\
A PIN is typed at the terminal, twice, or read with --pin-fd.

Examples:
  signet key pin set
  signet key pin set --key /dev/hidraw3
  signet --pin-fd 3 key pin set 3< <(pass show key-pin)")]
    Set(WhichKey),
    Change(PinChange),
}

/// Change the PIN of a security key, or of this machine's own key
#[derive(Debug, Args)]
#[command(after_help = "\
With --pin-fd: the present PIN on the first line, the new one on the second.

With --platform a wrong PIN counts in the TPM as at a login. The key stays the same, so nothing is
enrolled anew. A copy of signetd's state from before still opens with the old PIN, in this TPM only:
if somebody else knew the old PIN, remove the key and add another.

Examples:
  signet key pin change
  signet key pin change --platform
  signet --pin-fd 3 key pin change 3< pins")]
pub(crate) struct PinChange {
    #[command(flatten)]
    pub(crate) which: WhichKey,
    /// The PIN of this machine's own key, which its TPM checks
    #[arg(long, conflicts_with = "key")]
    pub(crate) platform: bool,
}

/// What a security key keeps for services (discoverable credentials)
#[derive(Debug, Subcommand)]
pub(crate) enum Credentials {
    /// List the discoverable credentials of a security key
    #[command(after_help = "\
Signet's own credentials are not among them unless the key keeps them so.

Examples:
  signet key credentials list
  signet key credentials list --key /dev/hidraw3 --json")]
    List(WhichKey),
    Remove(CredentialRemove),
}

/// Delete a discoverable credential from a security key
#[derive(Debug, Args)]
#[command(after_help = "\
The service that it belongs to is not told; you cannot log in there with this key any more.

Examples:
  signet key credentials list
  signet key credentials remove 3f9c21 --yes")]
pub(crate) struct CredentialRemove {
    /// Credential id in hex, or the beginning of one
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) which: WhichKey,
}

/// Change how a security key behaves
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("setting").required(true).multiple(true))]
#[command(after_help = "\
A longer PIN, a forced change and enterprise attestation cannot be taken back, but by a reset.

Examples:
  signet key configure --always-uv on
  signet key configure --min-pin-length 8 --force-pin-change
  signet key configure --enterprise-attestation --key /dev/hidraw3")]
pub(crate) struct Configure {
    /// Ask for finger or PIN for everything, also where a touch would do
    #[arg(long, value_name = "ON|OFF", group = "setting")]
    pub(crate) always_uv: Option<OnOff>,
    /// Fewest characters of its PIN; can only be raised
    #[arg(long, value_name = "N", group = "setting")]
    #[arg(value_parser = RangedU64ValueParser::<u32>::new().range(4..=63))]
    pub(crate) min_pin_length: Option<u32>,
    /// Want a new PIN before anything else
    #[arg(long, group = "setting")]
    pub(crate) force_pin_change: bool,
    /// Show which very key it is to the services that it names
    #[arg(long, group = "setting")]
    pub(crate) enterprise_attestation: bool,
    #[command(flatten)]
    pub(crate) which: WhichKey,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnOff {
    On,
    Off,
}

/// Erase a security key: PIN, fingers, and all credentials, also those of other services
#[derive(Debug, Args)]
#[command(after_help = "\
You are asked to confirm, then to unplug the key and plug it in again, then to touch it.

Examples:
  signet key list
  signet key reset /dev/hidraw3
  signet key reset /dev/hidraw3 --yes")]
pub(crate) struct Reset {
    /// The key, as `signet key list` shows it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) path: String,
    /// Do not ask whether it is meant
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The fingers that a security key knows
#[derive(Debug, Subcommand)]
pub(crate) enum Finger {
    Add(FingerAdd),
    /// List the fingers
    #[command(after_help = "Examples:\n  signet finger list\n  signet finger list --json")]
    List(WhichKey),
    Rename(FingerRename),
    Remove(FingerRemove),
    /// Show what the fingerprint sensor is like
    #[command(after_help = "Examples:\n  signet finger sensor\n  signet finger sensor --json")]
    Sensor(WhichKey),
}

/// Enrol one more finger
#[derive(Debug, Args)]
#[command(after_help = "\
The key tells after each touch how it came out, and how many more it needs. With --json every touch
is one line of JSON, and so is the result.

Examples:
  signet finger add
  signet finger add 'right index'
  signet finger add 'left thumb' --key /dev/hidraw3 --json")]
pub(crate) struct FingerAdd {
    /// What you call it [default: finger 1, finger 2, …]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) which: WhichKey,
}

/// Give a finger another name
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  signet finger rename 'finger 1' 'right index'")]
pub(crate) struct FingerRename {
    /// Its name or id, as `signet finger list` shows them
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) finger: String,
    /// The new name
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) which: WhichKey,
}

/// Let the key forget a finger
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  signet finger list\n  signet finger remove 'left thumb'")]
pub(crate) struct FingerRemove {
    /// Its name or id, as `signet finger list` shows them
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) finger: String,
    #[command(flatten)]
    pub(crate) which: WhichKey,
}
