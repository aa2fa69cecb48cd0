//! `tpm`: endorsement keys that no certificate vouches for, and the makers' certificates.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use signet_authority::config::Config;
use signet_authority::keys::{self, read_certificates};
use signet_authority::makers::{
    Listed, MANIFEST, MakerCertificates, Manifest, Role, SHIPPED, SHIPPED_MANIFEST, read_manifest,
};
use signet_authority::state::system_clock;
use signet_authority::store::{AuditEntry, Decision, EkApproval, Event, Store};
use signet_evidence::CertificateThumbprint;
use signet_evidence::thumbprint::hex;
use signet_verifier::certificate::{Certificate, TrustAnchors};

use super::output::Output;
use super::ticket::open_store;
use super::who::who;

const EXAMPLES: &str = "Examples:
  signet-authority tpm list
  signet-authority tpm approve 9b1f6e6a917f --reason \"serial number checked at LT-4712\"
  signet-authority tpm roots import --shipped --maker Infineon
  signet-authority tpm roots import ica.crt --role intermediate --maker AMD \\
    --source https://ftpm.amd.com/pki/aia/… --date 2026-11-22
  signet-authority tpm roots list

Whatever an anchor signs is a TPM of that maker from the authority's next start on: compare its digest with
the maker's own page. An intermediate only helps to build chains to an anchor.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum TpmCommand {
    /// List endorsement keys that came without a certificate, and who approved them.
    List,
    /// Answer for a TPM that no certificate vouches for: its tokens say so for good.
    Approve {
        /// SHA-256 of its endorsement key's public area, or its first digits (eight at least).
        digest: String,
        /// How you know that it is the right machine's, for the audit trail.
        #[arg(long)]
        reason: String,
    },
    /// The makers' certificates.
    #[command(subcommand)]
    Roots(RootsCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum RootsCommand {
    /// List them: maker, what each is for, digest, where it was taken from.
    List,
    /// Take a certificate into the directory, with its source.
    Import(ImportArguments),
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// One certificate, PEM or DER.
    #[arg(required_unless_present = "shipped", conflicts_with = "shipped")]
    file: Option<PathBuf>,
    /// Take those that come with this program, of --maker or of all makers.
    #[arg(long)]
    shipped: bool,
    /// Who makes the TPMs.
    #[arg(long, required_unless_present = "shipped")]
    maker: Option<String>,
    /// Where the certificate was taken from.
    #[arg(long, required_unless_present = "shipped", conflicts_with = "shipped")]
    source: Option<String>,
    /// When, YYYY-MM-DD.
    #[arg(long, required_unless_present = "shipped", conflicts_with = "shipped")]
    date: Option<String>,
    /// Whether chains may end there, or it only stands between.
    #[arg(long, value_enum, required_unless_present = "shipped", conflicts_with = "shipped")]
    role: Option<RoleArgument>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoleArgument {
    Anchor,
    Intermediate,
}

pub(super) async fn run(file: &Path, command: TpmCommand, output: Output) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    match command {
        TpmCommand::Roots(command) => {
            let directory = config.resolve(config.settings.tpm.ek_roots.get_ref());
            match command {
                RootsCommand::List => list_roots(&directory, output),
                RootsCommand::Import(arguments) if arguments.shipped => {
                    import_shipped(&directory, arguments.maker.as_deref(), output)
                }
                RootsCommand::Import(arguments) => import(&directory, arguments, output),
            }
        }
        TpmCommand::List => {
            let store = open_store(&config).await?;
            let listed = list(&store, output).await;
            store.close().await;
            listed
        }
        TpmCommand::Approve { digest, reason } => {
            let store = open_store(&config).await?;
            let approved = approve(&store, &digest, reason, output).await;
            store.close().await;
            approved
        }
    }
}

async fn list(store: &dyn Store, output: Output) -> anyhow::Result<()> {
    for pin in store.ek_pins().await? {
        let standing = match &pin.approved {
            Some(approved) => {
                format!("approved by {} at {}: {}", approved.by, approved.at, approved.reason)
            }
            None => "waits for `signet-authority tpm approve`".to_owned(),
        };
        let text = format!(
            "{} {:<12} {:<10} seen at {}, {standing}",
            hex(&pin.digest),
            pin.asset.as_deref().unwrap_or("-"),
            pin.operator,
            pin.seen_at
        );
        let value = json!({
            "ek": hex(&pin.digest), "operator": pin.operator, "asset": pin.asset,
            "seen_at": pin.seen_at.0, "approved": pin.approved.is_some(),
            "approved_by": pin.approved.as_ref().map(|approved| &approved.by),
            "reason": pin.approved.as_ref().map(|approved| &approved.reason),
            "approved_at": pin.approved.as_ref().map(|approved| approved.at.0),
        });
        output.line(&text, &value)?;
    }
    Ok(())
}

async fn approve(
    store: &dyn Store,
    digest: &str,
    reason: String,
    output: Output,
) -> anyhow::Result<()> {
    ensure!(
        !reason.trim().is_empty(),
        "--reason is empty; say how you know that it is the right TPM"
    );
    ensure!(digest.len() >= 8, "write eight digits of the endorsement key's digest at least");
    let pins =
        store.ek_pins().await?.into_iter().filter(|pin| hex(&pin.digest).starts_with(digest));
    let mut pins: Vec<_> = pins.collect();
    let Some(mut pin) = pins.pop() else {
        bail!(
            "no machine showed the endorsement key {digest} without a certificate; see `signet-authority tpm list`"
        )
    };
    ensure!(
        pins.is_empty(),
        "{digest} begins {} endorsement keys; write more of it",
        pins.len() + 1
    );
    let (by, at) = (who(), system_clock()());
    let mut entry = AuditEntry::new(at, Event::EkApprove, Decision::Allowed);
    entry.subject = Some(pin.operator.clone());
    entry.detail = format!("endorsement key {} by {by}: {reason}", hex(&pin.digest));
    pin.approved = Some(EkApproval { by: by.clone(), reason, at });
    store.pin_ek(&pin, &entry).await?;
    let text = format!(
        "approved: {} of {}; it can enrol now, with the same ticket while that lives",
        hex(&pin.digest),
        pin.operator
    );
    output.line(&text, &json!({"ek": hex(&pin.digest), "operator": pin.operator, "by": by}))
}

fn list_roots(directory: &Path, output: Output) -> anyhow::Result<()> {
    let makers = MakerCertificates::load(directory)?;
    for one in &makers.certificates {
        let digest = CertificateThumbprint::of_der(&one.der).to_hex();
        let certificate = Certificate::parse(&one.der)?;
        let listed = one.listed.as_ref();
        let role = match one.role() {
            Role::Anchor => "anchor",
            Role::Intermediate => "intermediate",
        };
        let file = one.path.file_name().unwrap_or_default().to_string_lossy();
        let text = format!(
            "{file}: {role} of {}, {digest}, until {}, {}",
            listed.map_or("the operator's own choice", |listed| listed.maker.as_str()),
            certificate.not_after(),
            listed.map_or_else(
                || format!("not in {MANIFEST}"),
                |listed| format!("from {} on {}", listed.source, listed.fetched)
            ),
        );
        let value = json!({
            "file": file, "role": role, "sha256": digest, "not_after": certificate.not_after().0,
            "maker": listed.map(|listed| &listed.maker),
            "source": listed.map(|listed| &listed.source),
            "fetched": listed.map(|listed| &listed.fetched),
            "version": makers.version,
        });
        output.line(&text, &value)?;
    }
    Ok(())
}

fn import_shipped(directory: &Path, maker: Option<&str>, output: Output) -> anyhow::Result<()> {
    let shipped: Manifest = toml::from_str(SHIPPED_MANIFEST)?;
    let wanted = |listed: &&Listed| maker.is_none_or(|maker| listed.maker == maker);
    let wanted: Vec<&Listed> = shipped.certificates.iter().filter(wanted).collect();
    let makers = || {
        let mut makers: Vec<&str> =
            shipped.certificates.iter().map(|listed| listed.maker.as_str()).collect();
        makers.dedup();
        makers.join(", ")
    };
    ensure!(
        !wanted.is_empty(),
        "no certificates of {} are shipped, but of {}",
        maker.unwrap_or_default(),
        makers()
    );
    for listed in wanted {
        let pem = SHIPPED.iter().find(|(name, _)| *name == listed.file);
        let (_, pem) = pem.context("the shipped manifest lists a file that is not there")?;
        add(directory, listed, pem, &shipped.version, output)?;
    }
    Ok(())
}

fn import(directory: &Path, arguments: ImportArguments, output: Output) -> anyhow::Result<()> {
    let ImportArguments { file, maker, source, date, role, .. } = arguments;
    let file = file.context("write a certificate's file")?;
    let date = date.unwrap_or_default();
    let digits =
        |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = date.split('-').collect();
    let is_date =
        matches!(parts.as_slice(), [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2));
    ensure!(is_date, "--date is a day as YYYY-MM-DD");
    let certificates = read_certificates(&file)?;
    let [der] = certificates.as_slice() else {
        bail!(
            "{} holds {} certificates; import one at a time, each with its source",
            file.display(),
            certificates.len()
        )
    };
    Certificate::parse(der).with_context(|| format!("{} is not a certificate", file.display()))?;
    let role = match role.context("--role is anchor or intermediate")? {
        RoleArgument::Anchor => {
            TrustAnchors::from_der([der.as_ref()])
                .with_context(|| format!("{} cannot be an anchor", file.display()))?;
            Role::Anchor
        }
        RoleArgument::Intermediate => Role::Intermediate,
    };
    let sha256 = CertificateThumbprint::of_der(der).to_hex();
    let listed = Listed {
        file: format!("{}.pem", sha256.get(..16).unwrap_or(&sha256)),
        maker: maker.unwrap_or_default(),
        role,
        sha256,
        source: source.unwrap_or_default(),
        fetched: date.clone(),
    };
    add(directory, &listed, &keys::pem(der), &date, output)
}

/// Writes the file first: a manifest never lists what is not there.
fn add(
    directory: &Path,
    listed: &Listed,
    pem: &str,
    version: &str,
    output: Output,
) -> anyhow::Result<()> {
    let mut manifest = read_manifest(directory)?.unwrap_or_default();
    let known = manifest.certificates.iter().any(|other| other.sha256 == listed.sha256);
    if !known {
        let file = directory.join(&listed.file);
        ensure!(!file.exists(), "{} exists already and is not in {MANIFEST}", file.display());
        keys::write_public(&file, pem.as_bytes())?;
        manifest.certificates.push(listed.clone());
        manifest.version = manifest.version.max(version.to_owned());
        let text = toml::to_string(&manifest)?;
        let partial = directory.join(format!(".{MANIFEST}.partial"));
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, directory.join(MANIFEST)))
            .with_context(|| format!("cannot write {}", directory.join(MANIFEST).display()))?;
    }
    let role = if listed.role == Role::Anchor { "anchor" } else { "intermediate" };
    let done = if known { "known already" } else { "imported" };
    let text = format!(
        "{done}: {role} of {}, {}; it counts from the authority's next start on",
        listed.maker, listed.sha256
    );
    let value = json!({
        "imported": !known, "file": listed.file, "maker": listed.maker, "role": role,
        "sha256": listed.sha256, "source": listed.source,
    });
    output.line(&text, &value)
}
