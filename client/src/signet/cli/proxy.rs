//! `signet proxy` on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use signet_client::proxy::{Listen, Target};

use super::MethodName;

/// Put this machine's key and your token under any tool that speaks HTTP: curl, kubectl, a browser
///
/// Tools speak plain HTTP to the proxy, over a Unix socket or a loopback port, or https through it, with a
/// certificate of your own CA (`signet proxy ca`); the proxy speaks TLS with this machine's key to the
/// gateways that --to names, and to nothing else. Where a gateway wants your presence, you are asked for a
/// touch and the request is sent once more.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Only you reach it: the socket has mode 0600 and looks who connects; a port wants the secret of a file
that only you can read. docs/proxy.md says how each tool carries it, and what the proxy does not protect.

Examples:
  signet proxy --to https://ctl.mesh.example
  curl --unix-socket $XDG_RUNTIME_DIR/signet/proxy.sock http://ctl.mesh.example/v1/routes

  signet proxy --to https://ctl.mesh.example:8443 --listen 127.0.0.1:8123
  secret=$(cat $XDG_RUNTIME_DIR/signet/proxy.secret)
  http_proxy=http://signet:$secret@127.0.0.1:8123 curl http://ctl.mesh.example/v1/routes

Tools that speak nothing but https, with the proxy above:
  signet proxy ca --to https://ctl.mesh.example:8443 > ca.pem
  export https_proxy=http://signet:$secret@127.0.0.1:8123
  curl --cacert ca.pem https://ctl.mesh.example:8443/v1/routes

A gateway that is to see you and not the machine, at a socket of its own:
  signet proxy --to https://mesh.example --as-operator --listen unix:$XDG_RUNTIME_DIR/signet/me.sock

Without --to, the setting proxy_to of client.toml names the gateways.")]
pub(crate) struct Proxy {
    /// What to do instead
    #[command(subcommand)]
    pub(crate) part: Option<ProxyPart>,
    /// A gateway by its https URL, without a path; may be given several times
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub(crate) to: Vec<Target>,
    /// Where tools connect: unix, unix:/PATH, a loopback address such as 127.0.0.1:8123, or - for a
    /// listening socket on standard input; may be given several times [default: unix]
    #[arg(long, value_name = "WHERE")]
    pub(crate) listen: Vec<Listen>,
    /// The gateways' CA, PEM or DER [default: the setting gateway_ca, else the authority's CA]
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// File of the secret for ports, made where there is none [default: proxy.secret beside the socket]
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Show certificates of yours and not the machine's, for gateways that know people by SPIFFE ID: each ends
    /// with its token, and its connections with it [default: the setting proxy_as_operator]
    #[arg(long)]
    pub(crate) as_operator: bool,
    /// Do not ask for a touch; pass the gateway's demand on to the tool
    #[arg(long)]
    pub(crate) no_step_up: bool,
    /// What to prove presence with, should it be asked for
    #[arg(long = "method", value_name = "BY")]
    pub(crate) by: Option<MethodName>,
}

/// What belongs to the proxy.
#[derive(Debug, Subcommand)]
pub(crate) enum ProxyPart {
    Ca(ProxyCa),
}

/// Print the CAs that tools must trust to speak https through the proxy, one for each gateway
///
/// Made on first use, each with a key that only you can read, and each good for its one host and for
/// nothing else. Needs neither signetd nor a running proxy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signet proxy ca --to https://kube.mesh.example:6443 > ca.pem
  curl --cacert ca.pem https://kube.mesh.example:6443/version

  signet proxy ca --json
  certutil -d sql:$HOME/.pki/nssdb -A -t C -n signet -i ~/.local/state/signet/proxy-ca/kube.mesh.example.pem

The files lie in ~/.local/state/signet/proxy-ca: HOST.pem for tools, and HOST.key, which nobody else may
have: to whoever trusts HOST.pem, its holder can pretend to be HOST. Remove both, and a new CA is made.")]
pub(crate) struct ProxyCa {
    /// A gateway by its https URL; may be given several times [default: the setting proxy_to]
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    pub(crate) to: Vec<Target>,
}
