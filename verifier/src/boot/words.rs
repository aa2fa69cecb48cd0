//! Measurements in words.

use std::fmt;

use signet_evidence::eventlog::{Content, EventType, Measured};
use signet_evidence::thumbprint::hex;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The longest text that is shown in full.
const SHOWN: usize = 200;

/// One measurement, as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// Number of its event in the log.
    pub event: usize,
    /// Its PCR.
    pub pcr: u8,
    /// What was extended.
    pub digest: Vec<u8>,
    /// What it is. In brackets what the log says and nothing measured.
    pub what: String,
}

impl Measurement {
    pub(super) fn of(measured: &Measured<'_>) -> Self {
        Self {
            event: measured.event,
            pcr: measured.pcr,
            digest: measured.digest.to_vec(),
            what: what(measured),
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} in PCR {}, {}", self.event, self.pcr, self.what)
    }
}

/// What a measurement is, without its digest: the same words for the same thing on every machine.
pub(super) fn what(measured: &Measured<'_>) -> String {
    match &measured.content {
        Content::Separator => "separator".to_owned(),
        Content::ErrorSeparator => "separator that reports an error".to_owned(),
        Content::Variable(variable) => format!("variable {}", shown(&variable.name)),
        Content::VariableData { said, .. } => {
            format!("data of a variable (said to be {})", shown(&said.name))
        }
        Content::Text { text, .. } => format!("text \"{}\"", shown(text)),
        Content::Bytes(bytes) => format!("{} bytes (said to be {})", bytes.len(), measured.kind),
        Content::Opaque => {
            let kind = thing(measured.pcr, measured.kind);
            match &measured.hint {
                Some(hint) => format!("{kind} (said to be {})", shown(hint)),
                None => kind.to_owned(),
            }
        }
    }
}

/// What an opaque digest in a PCR usually is (PFP 1.06 §3.3.4).
const THINGS: [(u8, &str); 10] = [
    (0, "firmware"),
    (1, "firmware configuration"),
    (2, "option ROM or driver"),
    (4, "boot manager code"),
    (5, "partition table or boot manager data"),
    (7, "hidden Secure Boot event"),
    (8, "hidden boot loader text"),
    (9, "file read by the boot loader"),
    (12, "hidden boot loader text"),
    (14, "shim's key list"),
];

fn thing(pcr: u8, kind: EventType) -> &'static str {
    if (pcr, kind) == (4, EventType::EFI_BOOT_SERVICES_APPLICATION) {
        return "boot image";
    }
    let found = THINGS.iter().find(|(of, _)| *of == pcr);
    found.map_or("something", |(_, thing)| *thing)
}

/// What a PCR is for, in one or two words.
const PURPOSES: [&str; 15] = [
    "firmware",
    "firmware configuration",
    "option ROMs and drivers",
    "option ROM configuration",
    "boot loaders and kernel",
    "partition table and boot manager configuration",
    "manufacturer",
    "Secure Boot",
    "boot loader commands and kernel command line",
    "files read by the boot loader",
    "files measured by Linux",
    "unified kernel image",
    "kernel command line and credentials",
    "other",
    "shim's key lists",
];

pub(super) fn purpose(pcr: u8) -> &'static str {
    PURPOSES.get(usize::from(pcr)).copied().unwrap_or("other")
}

/// The beginning of a text of the machine's, without what could move a cursor or turn the direction.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().take(SHOWN) {
        let turns = matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        if character.is_control() || turns {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// Subject of a certificate; `None` where it cannot be read.
pub(super) fn subject(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let common = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    Some(shown(&common.map_or_else(|| subject.to_string(), str::to_owned)))
}

/// The beginning of a digest, enough to tell it from others.
pub(super) fn brief(digest: &[u8]) -> String {
    hex(digest.get(..8).unwrap_or(digest))
}
