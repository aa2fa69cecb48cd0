//! What a machine booted, in words: read from the measured parts of a log only.

use std::collections::BTreeSet;

use super::content::{Content, hint};
use super::kind::EventType;
use super::parse::EventLog;
use super::variable::{
    Guid, SignatureCertificate, SignatureDatabase, Variable, authority_certificate,
};
use crate::tpm::HashAlgorithm;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured<'a> {
    /// Number of its event.
    pub event: usize,
    /// Its PCR.
    pub pcr: u8,
    /// What was extended.
    pub digest: &'a [u8],
    /// What that digest covers.
    pub content: Content<'a>,
    /// What the log calls it. Not measured: for people only.
    pub kind: EventType,
    /// What the log says of it. Not measured: for people only.
    pub hint: Option<String>,
}

/// Whether Secure Boot was on (UEFI 2.10 §32.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureBoot {
    /// The firmware measured that it was on.
    On,
    /// The firmware measured that it was off.
    Off,
    /// Not known, which counts as off.
    Unproven(UnprovenSecureBoot),
}

/// Why a log does not show whether Secure Boot was on. Numbers are those of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnprovenSecureBoot {
    /// PCR 7 was not quoted, or the log does not explain it.
    NotProven,
    /// The variable was not measured before the separator of PCR 7.
    NotMeasured,
    /// The firmware never closed its measurements of PCR 7: anyone could have made them.
    NoSeparator,
    /// The firmware closed PCR 7 with an error.
    ErrorSeparator(usize),
    /// An event before the separator hides what was measured.
    Opaque(usize),
    /// The variable was measured more than once.
    Repeated(usize),
    /// The variable holds neither 0 nor 1.
    Value(usize),
    /// A debugger was attached to the firmware.
    DebugMode(usize),
}

/// A signature database as it was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Database<'a> {
    /// Not measured exactly once before the separator of PCR 7, or PCR 7 is not proven.
    #[default]
    Unproven,
    /// Measured, and not a list of signatures.
    Malformed,
    /// What it holds.
    Known(SignatureDatabase<'a>),
}

/// What verified an image (PFP 1.06 §3.3.4.8), or a variable of shim's that decides about images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Number of its event.
    pub event: usize,
    /// The variable: `db`, `Shim`, `MokList`, `SbatLevel` and so on.
    pub variable: Variable<'a>,
    /// The certificate in it, if there is one.
    pub certificate: Option<SignatureCertificate<'a>>,
}

/// A text that a boot loader measured before it acted on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootString {
    /// Number of its event.
    pub event: usize,
    /// Its PCR: 8 (GRUB), 12 (systemd-boot).
    pub pcr: u8,
    /// The text.
    pub text: String,
    /// Whether the log calls it a kernel command line. Not measured: who judges command lines has to
    /// judge every text, or a forged label hides the real one.
    pub said_command_line: bool,
}

/// What a machine booted, as far as the log and the PCRs in [`BootFacts::pcrs`] show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFacts<'a> {
    /// The bank that proves it.
    pub bank: HashAlgorithm,
    /// The PCRs whose events were looked at.
    pub pcrs: BTreeSet<u8>,
    /// Secure Boot.
    pub secure_boot: SecureBoot,
    /// Platform key.
    pub pk: Database<'a>,
    /// Key exchange keys.
    pub kek: Database<'a>,
    /// What may start.
    pub db: Database<'a>,
    /// What may not start.
    pub dbx: Database<'a>,
    /// What verified the images that were started (PCR 7 after its separator).
    pub authorities: Vec<Authority<'a>>,
    /// Texts that boot loaders measured (PCR 8 and 12).
    pub strings: Vec<BootString>,
    /// The boot order (PCR 1), the first one measured. Older firmware does not measure its name.
    pub boot_order: Option<Vec<u16>>,
    /// Every measurement of these PCRs, in order.
    pub measured: Vec<Measured<'a>>,
}

impl<'a> BootFacts<'a> {
    /// Reads the measurements of `pcrs`. Give only those that a quote confirmed: the rest of the log
    /// is a story.
    #[must_use]
    pub fn of(log: &EventLog<'a>, bank: HashAlgorithm, pcrs: &BTreeSet<u8>) -> Self {
        let measured: Vec<Measured<'a>> = log
            .events()
            .iter()
            .filter_map(|event| {
                let pcr = event.extended().filter(|pcr| pcrs.contains(pcr))?;
                Some(Measured {
                    event: event.index,
                    pcr,
                    digest: event.digest(bank)?,
                    content: Content::of(event, bank),
                    kind: event.kind,
                    hint: hint(event),
                })
            })
            .collect();
        let security = SecurityConfiguration::of(&measured);
        let database = |vendor, name| security.database(vendor, name);
        Self {
            bank,
            pcrs: pcrs.clone(),
            secure_boot: security.secure_boot(),
            pk: database(Guid::GLOBAL, "PK"),
            kek: database(Guid::GLOBAL, "KEK"),
            db: database(Guid::SECURITY_DATABASE, "db"),
            dbx: database(Guid::SECURITY_DATABASE, "dbx"),
            authorities: security.authorities(),
            strings: strings(&measured),
            boot_order: boot_order(&measured),
            measured,
        }
    }

    /// Digests in `pcr` of things that the log does not hold: images (PCR 4), option ROMs and drivers
    /// (PCR 2), files (PCR 9), shim's lists of keys (PCR 14).
    pub fn opaque(&self, pcr: u8) -> impl Iterator<Item = &Measured<'a>> {
        self.measured
            .iter()
            .filter(move |measured| measured.pcr == pcr && measured.content == Content::Opaque)
    }
}

/// The measurements of PCR 7, and where the firmware closed them.
struct SecurityConfiguration<'m, 'a> {
    /// Before the first separator: the configuration.
    configuration: Vec<&'m Measured<'a>>,
    /// The separator, and whether it says error.
    separator: Option<(usize, bool)>,
    /// After it: what verified images.
    after: Vec<&'m Measured<'a>>,
}

impl<'m, 'a> SecurityConfiguration<'m, 'a> {
    fn of(measured: &'m [Measured<'a>]) -> Self {
        let mut found = Self { configuration: Vec::new(), separator: None, after: Vec::new() };
        for event in measured.iter().filter(|event| event.pcr == 7) {
            let error = event.content == Content::ErrorSeparator;
            if found.separator.is_some() {
                found.after.push(event);
            } else if error || event.content == Content::Separator {
                found.separator = Some((event.event, error));
            } else {
                found.configuration.push(event);
            }
        }
        found
    }

    fn variables<'s>(
        &'s self,
        vendor: Guid,
        name: &'s str,
    ) -> impl Iterator<Item = (usize, &'a [u8])> + 's {
        self.configuration.iter().filter_map(move |event| match &event.content {
            Content::Variable(variable) if variable.is(vendor, name) => {
                Some((event.event, variable.data))
            }
            _ => None,
        })
    }

    /// What stands in the way of believing the configuration at all.
    fn doubt(&self) -> Option<UnprovenSecureBoot> {
        if self.configuration.is_empty() && self.separator.is_none() {
            return Some(UnprovenSecureBoot::NotProven);
        }
        match self.separator {
            None => return Some(UnprovenSecureBoot::NoSeparator),
            Some((event, true)) => return Some(UnprovenSecureBoot::ErrorSeparator(event)),
            Some((_, false)) => {}
        }
        self.configuration.iter().find_map(|event| match &event.content {
            Content::Opaque | Content::VariableData { .. } => {
                Some(UnprovenSecureBoot::Opaque(event.event))
            }
            Content::Text { text, .. } if text == "UEFI Debug Mode" => {
                Some(UnprovenSecureBoot::DebugMode(event.event))
            }
            _ => None,
        })
    }

    fn secure_boot(&self) -> SecureBoot {
        if let Some(doubt) = self.doubt() {
            return SecureBoot::Unproven(doubt);
        }
        let mut found = self.variables(Guid::GLOBAL, "SecureBoot");
        let Some((event, data)) = found.next() else {
            return SecureBoot::Unproven(UnprovenSecureBoot::NotMeasured);
        };
        if let Some((again, _)) = found.next() {
            return SecureBoot::Unproven(UnprovenSecureBoot::Repeated(again));
        }
        match data {
            [1] => SecureBoot::On,
            // A variable that does not exist is measured as an empty one.
            [] | [0] => SecureBoot::Off,
            _ => SecureBoot::Unproven(UnprovenSecureBoot::Value(event)),
        }
    }

    fn database(&self, vendor: Guid, name: &str) -> Database<'a> {
        let mut found = self.variables(vendor, name);
        match (found.next(), found.next(), self.doubt()) {
            (Some((_, data)), None, None) => {
                SignatureDatabase::parse(data).map_or(Database::Malformed, Database::Known)
            }
            _ => Database::Unproven,
        }
    }

    fn authorities(&self) -> Vec<Authority<'a>> {
        self.after
            .iter()
            .filter_map(|event| match &event.content {
                Content::Variable(variable) => Some(Authority {
                    event: event.event,
                    variable: variable.clone(),
                    certificate: authority_certificate(variable.data),
                }),
                _ => None,
            })
            .collect()
    }
}

fn strings(measured: &[Measured<'_>]) -> Vec<BootString> {
    measured
        .iter()
        .filter(|event| matches!(event.pcr, 8 | 12))
        .filter_map(|event| match &event.content {
            Content::Text { text, label } => Some(BootString {
                event: event.event,
                pcr: event.pcr,
                text: text.clone(),
                said_command_line: label.is_none_or(|label| label.contains("kernel_cmdline")),
            }),
            _ => None,
        })
        .collect()
}

fn boot_order(measured: &[Measured<'_>]) -> Option<Vec<u16>> {
    let data =
        measured.iter().filter(|event| event.pcr == 1).find_map(|event| match &event.content {
            Content::Variable(variable) | Content::VariableData { said: variable, .. } => {
                variable.is(Guid::GLOBAL, "BootOrder").then_some(variable.data)
            }
            _ => None,
        })?;
    let (units, []) = data.as_chunks::<2>() else { return None };
    Some(units.iter().map(|unit| u16::from_le_bytes(*unit)).collect())
}
