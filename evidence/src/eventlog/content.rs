//! What of an event was measured: only what hashes to its digest.
//!
//! Neither the event's type nor a part of its data that no digest covers has a say. Where the digest
//! covers a part of the data only, the rest is a [hint](Content::hint) for people.

use super::parse::Event;
use super::variable::{Variable, utf16};
use super::wire::le_u32;
use crate::tpm::HashAlgorithm;

/// Labels that GRUB writes before what it hashes. Older and newer versions, with and without colon.
const GRUB_LABELS: [&str; 5] =
    ["grub_cmd: ", "grub_cmd ", "kernel_cmdline: ", "grub_kernel_cmdline ", "module_cmdline: "];
/// The longest text of a boot loader that is read as one.
const LONGEST_TEXT: usize = 16 << 10;

/// What was measured, as far as the event's data shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Four zero bytes, or four 0xff (PFP 1.06 §10.4.1): the firmware has finished with this PCR.
    Separator,
    /// A separator that says that something went wrong: one.
    ErrorSeparator,
    /// A whole variable: vendor, name and data.
    Variable(Variable<'a>),
    /// The data of a variable. Vendor and name were not measured.
    VariableData {
        /// The measured bytes.
        data: &'a [u8],
        /// The variable whose data the event says this is.
        said: Variable<'a>,
    },
    /// Text: a command, a command line, an action of the firmware.
    Text {
        /// The measured text, without a terminating zero.
        text: String,
        /// The label that stands before it in the log, which was not measured.
        label: Option<&'static str>,
    },
    /// Bytes without a meaning that is known here.
    Bytes(&'a [u8]),
    /// The digest is of something that the log does not hold, such as an image.
    Opaque,
}

impl<'a> Content<'a> {
    /// What `event` measured into `bank`; [`Content::Opaque`] where it has no digest of that bank.
    #[must_use]
    pub fn of(event: &Event<'a>, bank: HashAlgorithm) -> Self {
        let Some(digest) = event.digest(bank) else { return Self::Opaque };
        let covers = |parts: &[&[u8]]| bank.digest(parts) == digest;
        // A separator is known by its digest: no other data can stand in its place.
        if covers(&[&[0; 4]]) || covers(&[&[0xff; 4]]) {
            return Self::Separator;
        }
        if covers(&[&1_u32.to_le_bytes()]) {
            return Self::ErrorSeparator;
        }
        let data = event.data;
        if covers(&[data]) {
            return match Variable::parse(data) {
                Some(variable) => Self::Variable(variable),
                None => {
                    text(data).map_or(Self::Bytes(data), |text| Self::Text { text, label: None })
                }
            };
        }
        Self::of_part(data, &covers)
    }

    /// Events whose digest covers a part of their data.
    fn of_part(data: &'a [u8], covers: &dyn Fn(&[&[u8]]) -> bool) -> Self {
        for label in GRUB_LABELS {
            let Some(string) = data.strip_prefix(label.as_bytes()) else { continue };
            let bare = string.strip_suffix(b"\0").unwrap_or(string);
            if (covers(&[bare]) || covers(&[string]))
                && let Some(text) = text(bare)
            {
                return Self::Text { text, label: Some(label) };
            }
        }
        // systemd-boot hashes the terminator of its UTF-16 text and logs half of it.
        if let Some(text) = data.strip_suffix(&[0]).and_then(text)
            && covers(&[data, &[0]])
        {
            return Self::Text { text, label: None };
        }
        if let Some(said) = Variable::parse(data) {
            if covers(&[said.data]) {
                return Self::VariableData { data: said.data, said };
            }
            // shim hashes one byte less than it logs.
            if let Some((_, shorter)) = data.split_last()
                && covers(&[shorter])
                && let Some(variable) = Variable::parse(shorter)
            {
                return Self::Variable(variable);
            }
        }
        match tagged(data) {
            Some(inner) if covers(&[inner]) => {
                text(inner).map_or(Self::Bytes(inner), |text| Self::Text { text, label: None })
            }
            _ => Self::Opaque,
        }
    }
}

/// What an event says of itself in words, measured or not: for people, never for a decision.
#[must_use]
pub fn hint(event: &Event<'_>) -> Option<String> {
    let data = event.data;
    if let Some(variable) = Variable::parse(data) {
        return Some(variable.name);
    }
    if let Some(words) = text(data) {
        return Some(words);
    }
    if let Some(words) = tagged(data).and_then(text) {
        return Some(words);
    }
    image_path(data)
}

/// The file in the device path of `UEFI_IMAGE_LOAD_EVENT` (PFP 1.06 §10.4.3): never measured.
fn image_path(data: &[u8]) -> Option<String> {
    let mut path = data.get(32..)?;
    while let [kind, sub, low, high, ..] = *path {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (node, rest) = path.split_at_checked(length.max(4))?;
        match (kind, sub) {
            (0x04, 0x04) => return utf16(node.get(4..)?).and_then(printable),
            (0x7f, _) => return None,
            _ => path = rest,
        }
    }
    None
}

/// The content of `TCG_PCClientTaggedEvent` (PFP 1.06 §10.4.4).
fn tagged(data: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(le_u32(data, 4)?).ok()?;
    data.get(8..).filter(|inner| inner.len() == length)
}

/// Bytes as text: UTF-8 or UTF-16LE, with or without a terminating zero, without control characters.
fn text(bytes: &[u8]) -> Option<String> {
    if bytes.len() > LONGEST_TEXT {
        return None;
    }
    // ASCII text in UTF-16 is also UTF-8, with zeros in it.
    let wide = bytes.len() >= 4 && bytes[1] == 0;
    let text = if wide {
        let even = if bytes.len().is_multiple_of(2) { bytes } else { bytes.strip_suffix(&[0])? };
        utf16(even)?
    } else {
        str::from_utf8(bytes).ok()?.to_owned()
    };
    printable(text)
}

fn printable(text: String) -> Option<String> {
    let text = text.trim_end_matches('\0');
    let fits = |character: char| !character.is_control() || matches!(character, '\n' | '\t' | '\r');
    (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())
}
