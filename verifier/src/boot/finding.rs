//! What a policy minds, in words.

use std::fmt;

use signet_evidence::CertificateThumbprint;
use signet_evidence::eventlog::{Mismatch, MismatchCause, SecureBoot, UnprovenSecureBoot};
use signet_evidence::thumbprint::hex;

use super::policy::Allowed;
use super::proven::LogError;
use super::words::{Measurement, brief, purpose, shown};

/// A signature database of Secure Boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureStore {
    /// Platform key.
    Pk,
    /// Key exchange keys.
    Kek,
    /// What may start.
    Db,
    /// What may not start.
    Dbx,
}

impl fmt::Display for SignatureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
        })
    }
}

/// Something that a policy minds. `Display` says what was found, [`Finding::advice`] what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The log proves nothing.
    Log(LogError),
    /// A PCR that the policy names was not quoted.
    NotQuoted {
        /// The PCR.
        pcr: u8,
    },
    /// The log's events do not lead to the quoted PCR.
    NotMatching {
        /// The PCR.
        pcr: u8,
        /// The value that the TPM holds.
        quoted: Vec<u8>,
        /// Where and why.
        mismatch: Mismatch,
    },
    /// The PCR was extended, and the log has no event of it.
    NotInLog {
        /// The PCR.
        pcr: u8,
        /// The value that the TPM holds.
        quoted: Vec<u8>,
    },
    /// A PCR of the firmware was never extended, and firmware extends each of them.
    NothingMeasured {
        /// The PCR.
        pcr: u8,
    },
    /// A PCR holds a value that is not allowed.
    PcrValue {
        /// The PCR.
        pcr: u8,
        /// The value that the TPM holds.
        found: Vec<u8>,
        /// The allowed values.
        allowed: Vec<Allowed>,
    },
    /// A measurement that is not allowed.
    Measurement {
        /// The measurement.
        found: Measurement,
        /// What is allowed under the same description: probably what it was before.
        before: Vec<Allowed>,
    },
    /// Secure Boot is not on.
    SecureBoot(SecureBoot),
    /// shim was told not to check what it starts.
    ShimValidationOff {
        /// Number of the event.
        event: usize,
    },
    /// A signature database was not measured, or cannot be read.
    StoreUnproven(SignatureStore),
    /// A signature database holds a certificate that is not allowed.
    Certificate {
        /// The database.
        store: SignatureStore,
        /// SHA-256 of the certificate.
        thumbprint: CertificateThumbprint,
        /// Its subject, where it can be read.
        subject: Option<String>,
    },
    /// A signature database holds the digest of an image that is not allowed.
    Image {
        /// The database.
        store: SignatureStore,
        /// SHA-256 of the image.
        digest: Vec<u8>,
    },
    /// A signature database holds entries that are neither certificates nor SHA-256 digests.
    OtherEntries {
        /// The database.
        store: SignatureStore,
        /// How many.
        count: usize,
    },
    /// dbx does not forbid an image that it must forbid.
    NotForbidden(Allowed),
    /// An image was verified by a certificate that is not allowed.
    Signer {
        /// Number of the event.
        event: usize,
        /// The variable that holds the certificate.
        variable: String,
        /// SHA-256 of the certificate; `None` where a digest let the image start.
        thumbprint: Option<CertificateThumbprint>,
        /// Its subject, where it can be read.
        subject: Option<String>,
    },
    /// An event of the Secure Boot PCR hides what verified an image.
    SignerHidden(Measurement),
    /// A boot loader measured a text that is not allowed.
    BootText {
        /// Number of the event.
        event: usize,
        /// Its PCR.
        pcr: u8,
        /// The text.
        text: String,
    },
    /// An event hides what a boot loader measured.
    BootTextHidden(Measurement),
}

impl Finding {
    /// The rule of the policy file that minded.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Log(LogError::Missing | LogError::Unreadable | LogError::Withheld) => {
                "log.required"
            }
            Self::Log(_)
            | Self::NotMatching { .. }
            | Self::NotInLog { .. }
            | Self::NothingMeasured { .. } => "log.explains",
            Self::NotQuoted { .. } | Self::PcrValue { .. } => "pcrs",
            Self::Measurement { .. } => "measurements",
            Self::SecureBoot(_) | Self::ShimValidationOff { .. } => "rules.secure_boot",
            Self::StoreUnproven(store)
            | Self::Certificate { store, .. }
            | Self::Image { store, .. }
            | Self::OtherEntries { store, .. } => match store {
                SignatureStore::Pk => "rules.pk_certificates",
                SignatureStore::Kek => "rules.kek_certificates",
                SignatureStore::Db => "rules.db_certificates",
                SignatureStore::Dbx => "rules.dbx_images",
            },
            Self::NotForbidden(_) => "rules.dbx_images",
            Self::Signer { .. } | Self::SignerHidden(_) => "rules.signers",
            Self::BootText { .. } | Self::BootTextHidden(_) => "rules.boot_texts",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Log(LogError::Missing) => {
                "let signetd read the event log, or start the machine with its TPM switched on in the firmware"
            }
            Self::Log(LogError::Unreadable) => {
                "start signet-boot-log.service on the machine; `signet doctor` there says what is in the way"
            }
            Self::Log(LogError::TooLong(_) | LogError::Withheld) => {
                "accept this state with `signet-authority machine accept`, or judge its group by whole PCRs"
            }
            Self::Log(LogError::WeakBank | LogError::OtherBank(_)) => {
                "switch the SHA-256 bank on in the firmware"
            }
            Self::Log(LogError::Truncated(_)) => "restart the machine and send the whole log",
            Self::Log(LogError::Malformed(_))
            | Self::NotMatching { .. }
            | Self::NothingMeasured { .. } => {
                "restart the machine; if it stays, treat the machine as tampered with"
            }
            Self::NotInLog { .. } => {
                "leave this PCR out of log.explains if the running system extends it"
            }
            Self::NotQuoted { .. } => "quote the PCRs that the policy names",
            Self::PcrValue { .. } | Self::Measurement { .. } => {
                "if an update explains it, accept the new value; else find out who changed the machine"
            }
            Self::SecureBoot(SecureBoot::Off) => "switch Secure Boot on in the firmware",
            Self::SecureBoot(_) => "restart the machine; if it stays, update its firmware",
            Self::ShimValidationOff { .. } => "run `mokutil --enable-validation` and restart",
            Self::StoreUnproven(_) => "restore the firmware's Secure Boot keys",
            Self::Certificate { .. } | Self::Image { .. } | Self::OtherEntries { .. } => {
                "remove the entry in the firmware, or allow it if your organisation put it there"
            }
            Self::NotForbidden(_) => "install the dbx update of the firmware",
            Self::Signer { .. } | Self::SignerHidden(_) => {
                "start a system whose boot loader is signed by an allowed key"
            }
            Self::BootText { .. } | Self::BootTextHidden(_) => {
                "restart with the approved boot entry, or allow the text if an update explains it"
            }
        }
    }
}

fn named(subject: Option<&String>, thumbprint: CertificateThumbprint) -> String {
    let digest = thumbprint.to_hex();
    subject.map_or_else(|| digest.clone(), |subject| format!("\"{subject}\" ({digest})"))
}

fn list(allowed: &[Allowed]) -> String {
    let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" or ") }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::NotQuoted { pcr } => write!(f, "PCR {pcr} ({}) was not quoted", purpose(*pcr)),
            Self::NotMatching { pcr, quoted, mismatch } => not_matching(f, *pcr, quoted, mismatch),
            Self::NotInLog { pcr, quoted } => write!(
                f,
                "PCR {pcr} ({}) holds {}, and the event log has no event of it",
                purpose(*pcr),
                brief(quoted)
            ),
            Self::NothingMeasured { pcr } => {
                write!(f, "nothing was measured into PCR {pcr} ({})", purpose(*pcr))
            }
            Self::PcrValue { pcr, found, allowed } => write!(
                f,
                "PCR {pcr} ({}) holds {}, allowed is {}",
                purpose(*pcr),
                hex(found),
                list(allowed)
            ),
            Self::Measurement { found, before } if before.is_empty() => {
                write!(f, "{found}, is {}, which is not allowed", hex(&found.digest))
            }
            Self::Measurement { found, before } => write!(
                f,
                "{found}, changed: it is {}, allowed is {}",
                hex(&found.digest),
                list(before)
            ),
            Self::SecureBoot(state) => secure_boot(f, *state),
            Self::ShimValidationOff { event } => {
                write!(f, "shim was told not to check what it starts (event {event})")
            }
            Self::StoreUnproven(store) => {
                write!(f, "the event log does not show what {store} holds")
            }
            Self::Certificate { store, thumbprint, subject } => {
                write!(
                    f,
                    "{store} holds the certificate {}, which is not allowed",
                    named(subject.as_ref(), *thumbprint)
                )
            }
            Self::Image { store, digest } => {
                write!(
                    f,
                    "{store} holds the digest {} of an image, which is not allowed",
                    hex(digest)
                )
            }
            Self::OtherEntries { store, count } => {
                write!(
                    f,
                    "{store} holds {count} entries that are neither certificates nor digests of images"
                )
            }
            Self::NotForbidden(image) => write!(f, "dbx does not forbid {image}"),
            Self::Signer { event, variable, thumbprint: Some(thumbprint), subject } => write!(
                f,
                "an image was verified by the certificate {} of {} (event {event}), which is not allowed",
                named(subject.as_ref(), *thumbprint),
                shown(variable)
            ),
            Self::Signer { event, variable, thumbprint: None, .. } => write!(
                f,
                "an image was verified by {} (event {event}), which holds no certificate",
                shown(variable)
            ),
            Self::SignerHidden(event) => write!(f, "{event}, hides what verified an image"),
            Self::BootText { event, pcr, text } => write!(
                f,
                "the boot loader measured \"{}\" (event {event} in PCR {pcr}), which is not allowed",
                shown(text)
            ),
            Self::BootTextHidden(event) => write!(f, "{event}, hides what the boot loader did"),
        }
    }
}

fn not_matching(
    f: &mut fmt::Formatter<'_>,
    pcr: u8,
    quoted: &[u8],
    mismatch: &Mismatch,
) -> fmt::Result {
    write!(
        f,
        "the event log does not match PCR {pcr} ({}): the TPM holds {}, the log leads to {}; ",
        purpose(pcr),
        brief(quoted),
        brief(&mismatch.replayed)
    )?;
    let event = mismatch.first_unexplained;
    match mismatch.cause {
        MismatchCause::LogGoesOn => {
            write!(f, "event {event} and those after it were never measured")
        }
        MismatchCause::OtherLocality(locality) => {
            write!(f, "it would match had the TPM been started at locality {locality}")
        }
        MismatchCause::Unknown => write!(f, "no event from {event} on can be explained"),
    }
}

fn secure_boot(f: &mut fmt::Formatter<'_>, state: SecureBoot) -> fmt::Result {
    let why = match state {
        SecureBoot::On => return f.write_str("Secure Boot is on"),
        SecureBoot::Off => return f.write_str("Secure Boot is off"),
        SecureBoot::Unproven(why) => why,
    };
    f.write_str("it is not proven that Secure Boot is on: ")?;
    match why {
        UnprovenSecureBoot::NotProven => f.write_str("the log does not explain PCR 7"),
        UnprovenSecureBoot::NotMeasured => f.write_str("the firmware did not measure it"),
        UnprovenSecureBoot::NoSeparator => f.write_str("the firmware did not close PCR 7"),
        UnprovenSecureBoot::ErrorSeparator(event) => {
            write!(f, "the firmware closed PCR 7 with an error (event {event})")
        }
        UnprovenSecureBoot::Opaque(event) => write!(f, "event {event} hides what was measured"),
        UnprovenSecureBoot::Repeated(event) => write!(f, "event {event} measured it again"),
        UnprovenSecureBoot::Value(event) => write!(f, "event {event} measured neither on nor off"),
        UnprovenSecureBoot::DebugMode(event) => {
            write!(f, "a debugger was attached to the firmware (event {event})")
        }
    }
}
