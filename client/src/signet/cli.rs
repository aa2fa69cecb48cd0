//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use reqwest::Url;
use signet_client::daemon::Method;

mod keys;
mod proxy;
mod tickets;

pub(crate) use keys::{
    Configure, CredentialRemove, Credentials, Finger, FingerAdd, FingerRemove, FingerRename, Key,
    KeyAdd, KeyRemove, OnOff, Pin, PinChange, Platform, Reset, WhichKey,
};
pub(crate) use proxy::{Proxy, ProxyCa, ProxyPart};
pub(crate) use tickets::{Ticket, TicketApprove, TicketRequest};

/// Prove that you are present, at an enrolled machine, for exactly this request.
#[derive(Debug, Parser)]
#[command(name = "signet", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// D-Bus address of signetd's bus [env: SIGNET_BUS] [default: the system bus]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) bus: Option<String>,
    /// Read PINs from this open file descriptor, one a line in the order they are asked for
    /// [env: SIGNET_PIN_FD]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) pin_fd: Option<u32>,
    /// Say to the person why you ask, in at most 200 characters; prompts show it as your words
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: by the authority, by signetd, by a gateway, or cancelled by you
  2  wrong usage
  3  unavailable: something that is needed could not be reached or asked; nothing was decided

Settings, all optional: /etc/signet/client.toml, ~/.config/signet/client.toml
  bus, authority, authority_ca, gateway_ca, pinentry, proxy_to, socket

On a host reached by ssh, SIGNET_SOCKET names the forwarded socket of the workstation: `signet request`
then asks there (docs/remote.md).";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Enrol(Enrol),
    #[command(subcommand)]
    Key(Key),
    #[command(subcommand)]
    Finger(Finger),
    Login(Login),
    Logout(Logout),
    Approve(Approve),
    /// Tickets for a new key or machine, approved by administrators
    #[command(subcommand)]
    Ticket(Ticket),
    Token(Token),
    Present(Present),
    Inspect(Inspect),
    Request(Request),
    Proxy(Proxy),
    Agent(Agent),
    Status(Status),
    Doctor(Doctor),
    Completion(Completion),
}

/// Enrol this machine by its TPM, or renew its certificate
#[derive(Debug, Args)]
#[command(after_help = "\
The ticket is a secret and is never taken from the command line: it is asked for at a terminal,
and read from standard input otherwise.

Examples:
  signet enrol --authority https://authority.mesh.example --ca /etc/signet/authority-ca.pem
  signet enrol --authority https://authority.mesh.example --ca ca.pem --ticket-file ticket
  ssh admin signet-authority ticket device --operator alice | signet enrol
  signet enrol --renew

The certificate is renewed without anybody's doing when two thirds of its life have passed, at the
next login, token or request.")]
pub(crate) struct Enrol {
    /// The authority's URL [default: from the settings]
    #[arg(long, value_name = "URL")]
    pub(crate) authority: Option<String>,
    /// The authority's CA, PEM or DER [default: from the settings]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// File that holds the ticket; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Kind of endorsement key [default: a certified one]
    #[arg(long, value_name = "KIND")]
    pub(crate) ek: Option<EkKind>,
    /// Renew the certificate of this machine now; needs no ticket and nobody's touch
    #[arg(long, conflicts_with_all = ["authority", "ca", "ticket_file", "ek"])]
    pub(crate) renew: bool,
}

/// Kinds of endorsement keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EkKind {
    #[value(name = "ecc-p256")]
    EccP256,
    #[value(name = "ecc-p256-high")]
    EccP256High,
    #[value(name = "ecc-p384")]
    EccP384,
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-2048-high")]
    Rsa2048High,
}

impl EkKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::EccP256 => "ecc-p256",
            Self::EccP256High => "ecc-p256-high",
            Self::EccP384 => "ecc-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa2048High => "rsa-2048-high",
        }
    }
}

/// What presence is proved with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodName {
    /// A security key
    SecurityKey,
    /// This machine's own key, by a PIN that its TPM checks
    TpmPin,
    /// This machine's own key, by its fingerprint reader
    Fingerprint,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::SecurityKey => Self::SecurityKey,
            MethodName::TpmPin => Self::TpmPin,
            MethodName::Fingerprint => Self::Fingerprint,
        }
    }
}

/// Prove your presence and begin a session, or go on in the one there is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signet login
  signet login --scope 'mesh.route.read mesh.route.update'
  signet login --method tpm-pin
  signet login --pin-fd 3 3< <(pass show key-pin)")]
pub(crate) struct Login {
    /// Rights to ask for, separated by spaces [default: what policy gives]
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Assurance to ask for, such as signet.uv
    #[arg(long)]
    pub(crate) acr: Option<String>,
    /// What to prove it with [default: a security key where one fits, else this machine's own key]
    #[arg(long = "method", value_name = "BY")]
    pub(crate) by: Option<MethodName>,
    /// Begin a new session even where one could go on
    #[arg(long)]
    pub(crate) new: bool,
}

/// Revoke the current token and forget the session
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet logout
  signet logout --all")]
pub(crate) struct Logout {
    /// End every session of yours at this machine: no program renews one before the next login
    #[arg(long)]
    pub(crate) all: bool,
}

/// Approve exactly one request by a touch, and print the action token for it
#[derive(Debug, Args)]
#[command(after_help = "\
The token serves once, for this method, URL and body, within a minute, from this machine.

Examples:
  signet approve PUT https://ctl.mesh.example/v1/routes/payments --body route.json \\
      --action mesh.route.update
  signet approve DELETE https://ctl.mesh.example/v1/routes/old --action mesh.route.delete \\
      | signet request DELETE https://ctl.mesh.example/v1/routes/old --action-token -")]
pub(crate) struct Approve {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Name of the action, such as mesh.route.update; may be given several times
    #[arg(long, required = true, value_name = "NAME")]
    pub(crate) action: Vec<String>,
    /// Assurance to ask for, such as signet.uv
    #[arg(long)]
    pub(crate) acr: Option<String>,
    /// What to prove it with [default: a security key where one fits, else this machine's own key]
    #[arg(long = "method", value_name = "BY")]
    pub(crate) by: Option<MethodName>,
    /// Write the token to this file, which only you can read
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// A request.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// HTTP method
    #[arg(value_parser = method)]
    pub(crate) method: String,
    /// https URL
    #[arg(value_parser = https_url)]
    pub(crate) url: Url,
    /// File with the body; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Option<PathBuf>,
}

/// Print the current token, renewed first when it is time
#[derive(Debug, Args)]
#[command(after_help = "\
The token serves only together with this machine's TLS key.

Examples:
  signet token
  signet token --audience mesh-gateways --json")]
pub(crate) struct Token {
    /// Refuse unless the token is for this audience
    #[arg(long)]
    pub(crate) audience: Option<String>,
    /// Renew even if it is not time yet
    #[arg(long)]
    pub(crate) renew: bool,
}

/// Prove presence, and write the evidence to a file instead of exchanging it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signet present -o evidence.cose && signet inspect evidence.cose
  signet present --purpose workload -o evidence.cose
  signet present --purpose action --action-file action.json -o evidence.cose")]
pub(crate) struct Present {
    /// What the evidence is for
    #[arg(long, default_value = "session")]
    pub(crate) purpose: PresentPurpose,
    /// Rights to ask for
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Assurance to ask for
    #[arg(long)]
    pub(crate) acr: Option<String>,
    /// What to prove it with [default: a security key where one fits, else this machine's own key]
    #[arg(long = "method", value_name = "BY")]
    pub(crate) by: Option<MethodName>,
    /// File with the authorization_details bytes to approve; for purpose action
    #[arg(long, value_name = "FILE", required_if_eq("purpose", "action"))]
    pub(crate) action_file: Option<PathBuf>,
    /// Where to write the evidence
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Purposes that can be presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PresentPurpose {
    Session,
    Renew,
    Action,
    Workload,
}

/// Show what evidence or a token says, without verifying it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signet inspect evidence.cose
  signet token | signet inspect -
  signet inspect --json evidence.cose")]
pub(crate) struct Inspect {
    /// Evidence (CBOR or base64url) or a token (JWT); - for standard input
    pub(crate) file: PathBuf,
}

/// Send an HTTPS request with this machine's key and your token
#[derive(Debug, Args)]
#[command(after_help = "\
When the gateway answers that it wants your presence, you are asked for a touch and the request is
sent once more. The answer's body goes to standard output.

Examples:
  signet request GET https://ctl.mesh.example/v1/routes
  signet request PUT https://ctl.mesh.example/v1/routes/payments --body route.json \\
      --header 'content-type: application/json'
  signet request GET https://ctl.mesh.example/v1/routes --as-operator
  SIGNET_SOCKET=~/.signet.sock signet request DELETE https://ctl.mesh.example/v1/routes/old \\
      --action mesh.route.delete")]
pub(crate) struct Request {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Header, such as 'content-type: application/json'; may be given several times
    #[arg(long, short = 'H', value_name = "HEADER", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// The gateway's CA, PEM or DER [default: the authority's CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Use this action token instead of the session's; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) action_token: Option<PathBuf>,
    /// Name of the action, should a touch be asked for [default: what the gateway says]
    #[arg(long, value_name = "NAME")]
    pub(crate) action: Vec<String>,
    /// Do not ask for a touch; take the first answer
    #[arg(long)]
    pub(crate) no_step_up: bool,
    /// What to prove presence with, should it be asked for
    #[arg(long = "method", value_name = "BY")]
    pub(crate) by: Option<MethodName>,
    /// Send no token at all
    #[arg(long, conflicts_with = "action_token")]
    pub(crate) no_token: bool,
    /// Show a certificate of yours and not the machine's: for gateways that know people by SPIFFE ID
    #[arg(long, conflicts_with_all = ["action_token", "no_token"])]
    pub(crate) as_operator: bool,
}

/// Show in this session what signetd asks of you: what for, who asks, and where to enter a PIN
///
/// A notification follows each request and has a button to refuse it; a pinentry asks for PINs. The
/// desktop starts the agent when a program first asks. Without an agent, the program that asks shows the
/// prompt itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  systemctl --user start signet-agent
  signet agent --terminal
  PINENTRY=pinentry-curses GPG_TTY=$(tty) signet agent

The program that asks for PINs: $PINENTRY, the setting pinentry, or `pinentry`.
Actions may want a number (number_matching in signetd.toml): the program that asks shows it, and you
choose it here. A wrong number refuses.")]
pub(crate) struct Agent {
    /// Show prompts on this terminal: for consoles, and for hosts reached by ssh
    #[arg(long)]
    pub(crate) terminal: bool,
}

/// Show how this machine, its keys and your session are
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  signet status\n  signet status --json")]
pub(crate) struct Status {}

/// Look for problems with this machine, and say how to solve each
#[derive(Debug, Args)]
#[command(after_help = "\
Asks nobody for a PIN or a touch, changes nothing, tells no secrets. Each line is ok, warn, fail, or
unknown where another line's problem must be solved first. Ends with 1 when something fails.

Examples:
  signet doctor
  signet --json doctor | jq '.checks[] | select(.state == \"fail\")'")]
pub(crate) struct Doctor {
    /// Look for installed files and for the kernel's in this folder, such as that of an image
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    pub(crate) root: PathBuf,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signet completion bash > ~/.local/share/bash-completion/completions/signet
  signet completion zsh > ~/.zfunc/_signet")]
pub(crate) struct Completion {
    /// The shell
    pub(crate) shell: Shell,
}

fn method(text: &str) -> Result<String, &'static str> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    if valid { Ok(text.to_ascii_uppercase()) } else { Err("an HTTP method has letters only") }
}

fn https_url(text: &str) -> Result<Url, &'static str> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Ok(url),
        _ => Err("an https URL is needed: the key and the token go nowhere else"),
    }
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("a header has the form 'name: value'")?;
    let (name, value) = (name.trim(), value.trim());
    if name.eq_ignore_ascii_case("authorization") {
        return Err("the authorization header is signet's own");
    }
    let valid = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
        && reqwest::header::HeaderValue::from_str(value).is_ok();
    if valid { Ok((name.to_owned(), value.to_owned())) } else { Err("not a valid HTTP header") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                if sub.has_subcommands() {
                    check(sub);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Examples:"), "{}", sub.get_name());
                    assert!(sub.get_about().is_some(), "{}", sub.get_name());
                }
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn headers_and_methods() {
        assert_eq!(header("A: b: c").unwrap(), ("A".into(), "b: c".into()));
        assert!(header("Authorization: Bearer x").unwrap_err().contains("own"));
        assert_eq!(header("a\nb: c"), Err("not a valid HTTP header"));
        assert_eq!(method("put"), Ok("PUT".into()));
        assert_eq!(method("P T"), Err("an HTTP method has letters only"));
    }
}
