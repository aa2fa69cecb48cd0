//! From bytes to events, within bounds.

use thiserror::Error;

use super::kind::EventType;
use super::wire::Reader;
use crate::tpm::HashAlgorithm;

/// PCRs that a PC has.
pub(super) const PCRS: u32 = 24;
/// Signature of the Spec ID event of the crypto-agile format.
const AGILE: &[u8; 16] = b"Spec ID Event03\0";
/// What all Spec ID events begin with, whatever their version.
const SPEC_ID: &[u8] = b"Spec ID Event";
/// Signature of the event that says at which locality the TPM was started.
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// Banks in one log; no TPM has more.
const MOST_BANKS: u32 = 16;
/// The longest digest of a bank that is not known here: 512 bits.
const LONGEST_DIGEST: u16 = 64;

/// How much of a log is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole log.
    pub bytes: usize,
    /// Number of events, the Spec ID event among them.
    pub events: usize,
    /// Bytes of one event's data.
    pub event_data: usize,
}

impl Default for Limits {
    /// Above all that real machines send (up to 73 KB and 124 events), and small enough for each
    /// request: 256 KiB, 4,096 events, 128 KiB of data.
    fn default() -> Self {
        Self { bytes: 256 << 10, events: 4096, event_data: 128 << 10 }
    }
}

/// Why bytes are not an event log. Offsets are in bytes from the start of the log.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum EventLogError {
    /// There is nothing.
    #[error("there is no event log")]
    Missing,
    /// The log is longer than allowed.
    #[error("event log of {length} bytes where at most {limit} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// The log has more events than allowed.
    #[error("event log of more than {limit} events")]
    TooManyEvents {
        /// The bound.
        limit: usize,
    },
    /// The log ends inside a field.
    #[error("event log is cut at offset {offset}: {left} of {needed} bytes of a field are there")]
    Truncated {
        /// Where the field begins.
        offset: usize,
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A length field claims more than any event may hold.
    #[error("length field at offset {offset} claims {length} bytes, more than the {limit} allowed")]
    LengthOverflow {
        /// Where the length field stands.
        offset: usize,
        /// What it claims.
        length: u32,
        /// The bound.
        limit: usize,
    },
    /// The Spec ID event is wrong.
    #[error("event log has a wrong Spec ID event")]
    SpecId(#[source] SpecIdError),
    /// An event has another number of digests than the Spec ID event declares.
    #[error("event at offset {offset} has {found} digests where {declared} are declared")]
    DigestCount {
        /// Where the event begins.
        offset: usize,
        /// Digests that it claims.
        found: u32,
        /// Banks of the Spec ID event.
        declared: usize,
    },
    /// A digest of a bank that the Spec ID event does not declare: its length is unknown.
    #[error("digest at offset {offset} is of algorithm {id:#06x}, which the log does not declare")]
    UnknownAlgorithm {
        /// Where the digest begins.
        offset: usize,
        /// Its `TPM_ALG_ID`.
        id: u16,
    },
    /// Two digests of one bank in one event.
    #[error("second digest of algorithm {id:#06x} in one event at offset {offset}")]
    DuplicateDigest {
        /// Where the second digest begins.
        offset: usize,
        /// Its `TPM_ALG_ID`.
        id: u16,
    },
    /// An extended event in a PCR that no PC has.
    #[error("event at offset {offset} is in PCR {pcr}, which does not exist")]
    NoSuchPcr {
        /// Where the event begins.
        offset: usize,
        /// The PCR.
        pcr: u32,
    },
    /// A StartupLocality event that is malformed, comes after PCR 0 was extended, or comes twice
    /// (PFP 1.06 §10.4.5.3).
    #[error("StartupLocality event at offset {offset} is malformed or out of place")]
    StartupLocality {
        /// Where the event begins.
        offset: usize,
    },
}

/// What is wrong with a Spec ID event (PFP 1.06 §10.4.5.1).
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum SpecIdError {
    /// Of another version than 00, 02 and 03.
    #[error("its version is not known")]
    Version,
    /// Not in PCR 0, or with a digest that is not zero.
    #[error("it claims to have been measured")]
    Measured,
    /// No bank, or more than there are.
    #[error("it declares {found} banks")]
    BankCount {
        /// Banks that it claims.
        found: u32,
    },
    /// A known algorithm with another digest length than its own, or one above 64 bytes.
    #[error("it gives algorithm {id:#06x} digests of {length} bytes")]
    DigestLength {
        /// `TPM_ALG_ID`.
        id: u16,
        /// Length that it claims.
        length: u16,
    },
    /// The same bank twice.
    #[error("it declares algorithm {id:#06x} twice")]
    DuplicateBank {
        /// `TPM_ALG_ID`.
        id: u16,
    },
    /// Its fields do not fill its bytes.
    #[error("its fields do not fill its bytes")]
    Length,
}

/// The two formats of event logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `TCG_PCR_EVENT2` with a digest for each bank.
    CryptoAgile,
    /// `TCG_PCClientPCREvent` with SHA-1 digests only. They prove nothing about other banks.
    Sha1Only,
}

/// One event, as the firmware or a boot loader recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its number; the Spec ID event is 0.
    pub index: usize,
    /// Where it begins in the log.
    pub offset: usize,
    /// Its PCR. Any number where the event was not extended.
    pub pcr: u32,
    /// What it says it is. Not measured.
    pub kind: EventType,
    /// What it says was measured, or a description of that. Measured only where it hashes to the
    /// digest: see [`super::Content`].
    pub data: &'a [u8],
    digests: [Option<&'a [u8]>; 4],
}

impl<'a> Event<'a> {
    /// Its digest in `bank`.
    #[must_use]
    pub fn digest(&self, bank: HashAlgorithm) -> Option<&'a [u8]> {
        self.digests[slot(bank)]
    }

    /// The PCR that it was extended into; `None` where it says that it was not.
    #[must_use]
    pub fn extended(&self) -> Option<u8> {
        let pcr = u8::try_from(self.pcr).ok()?;
        (self.kind != EventType::NO_ACTION).then_some(pcr)
    }
}

fn slot(bank: HashAlgorithm) -> usize {
    match bank {
        HashAlgorithm::Sha1 => 0,
        HashAlgorithm::Sha256 => 1,
        HashAlgorithm::Sha384 => 2,
        HashAlgorithm::Sha512 => 3,
    }
}

/// A bank of a log: `TPM_ALG_ID` and length of its digests. It may be one that is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bank {
    id: u16,
    length: u16,
}

/// A TCG event log (PC Client Platform Firmware Profile 1.06 §10), borrowed from its bytes.
///
/// What it says is the sender's word until [`super::Replay`] has led it to quoted PCRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLog<'a> {
    format: LogFormat,
    banks: Vec<Bank>,
    events: Vec<Event<'a>>,
    locality: u8,
}

impl<'a> EventLog<'a> {
    /// Reads a whole log of either format. Zeros or 0xff to the end are room that the firmware did
    /// not use.
    ///
    /// # Errors
    /// [`EventLogError`]: the first fault from the start of the log.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, EventLogError> {
        if bytes.is_empty() {
            return Err(EventLogError::Missing);
        }
        if bytes.len() > limits.bytes {
            return Err(EventLogError::TooLong { length: bytes.len(), limit: limits.bytes });
        }
        let mut reader = Reader::new(bytes);
        let mut first = read_sha1_event(&mut reader, limits)?;
        let agile = first.kind == EventType::NO_ACTION && first.data.starts_with(SPEC_ID);
        let mut log = if agile && first.data.starts_with(AGILE) {
            let banks = read_banks(&first).map_err(EventLogError::SpecId)?;
            first.digests = [None; 4];
            Self { format: LogFormat::CryptoAgile, banks, events: vec![first], locality: 0 }
        } else {
            if agile && !matches!(first.data.get(SPEC_ID.len()..), Some([b'0', b'0' | b'2', 0, ..]))
            {
                return Err(EventLogError::SpecId(SpecIdError::Version));
            }
            let banks = vec![Bank { id: HashAlgorithm::Sha1.id(), length: 20 }];
            let mut log =
                Self { format: LogFormat::Sha1Only, banks, events: Vec::new(), locality: 0 };
            log.push(first, limits)?;
            log
        };
        while !is_unused(reader.rest()) {
            let event = match log.format {
                LogFormat::CryptoAgile => read_agile_event(&mut reader, &log.banks, limits)?,
                LogFormat::Sha1Only => read_sha1_event(&mut reader, limits)?,
            };
            log.push(event, limits)?;
        }
        Ok(log)
    }

    fn push(&mut self, mut event: Event<'a>, limits: &Limits) -> Result<(), EventLogError> {
        if self.events.len() >= limits.events {
            return Err(EventLogError::TooManyEvents { limit: limits.events });
        }
        let offset = event.offset;
        if event.kind != EventType::NO_ACTION {
            if event.pcr >= PCRS {
                return Err(EventLogError::NoSuchPcr { offset, pcr: event.pcr });
            }
        } else if let Some(rest) = event.data.strip_prefix(STARTUP_LOCALITY) {
            let again = self.events.iter().any(|earlier| {
                earlier.extended() == Some(0)
                    || (earlier.extended().is_none() && earlier.data.starts_with(STARTUP_LOCALITY))
            });
            self.locality = match *rest {
                [locality @ 0..=4] if !again => locality,
                _ => return Err(EventLogError::StartupLocality { offset }),
            };
        }
        event.index = self.events.len();
        self.events.push(event);
        Ok(())
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Its banks, of those that are known here.
    pub fn banks(&self) -> impl Iterator<Item = HashAlgorithm> + '_ {
        self.banks.iter().filter_map(|bank| HashAlgorithm::from_id(bank.id).ok())
    }

    /// Its events, in the order of their measurement.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The locality at which it says the TPM was started, which is what PCR 0 began with. The replay
    /// shows whether that is so.
    #[must_use]
    pub fn startup_locality(&self) -> u8 {
        self.locality
    }
}

fn is_unused(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte == 0) || rest.iter().all(|byte| *byte == 0xff)
}

fn read_data<'a>(reader: &mut Reader<'a>, limits: &Limits) -> Result<&'a [u8], EventLogError> {
    let offset = reader.offset();
    let length = reader.u32()?;
    match usize::try_from(length) {
        Ok(size) if size <= limits.event_data => reader.take(size),
        _ => Err(EventLogError::LengthOverflow { offset, length, limit: limits.event_data }),
    }
}

/// `TCG_PCClientPCREvent` (PFP 1.06 §10.2.1); the first event of both formats.
fn read_sha1_event<'a>(
    reader: &mut Reader<'a>,
    limits: &Limits,
) -> Result<Event<'a>, EventLogError> {
    let offset = reader.offset();
    let (pcr, kind) = (reader.u32()?, EventType(reader.u32()?));
    let digests = [Some(reader.take(20)?), None, None, None];
    Ok(Event { index: 0, offset, pcr, kind, data: read_data(reader, limits)?, digests })
}

/// `TCG_PCR_EVENT2` (PFP 1.06 §10.2.2).
fn read_agile_event<'a>(
    reader: &mut Reader<'a>,
    banks: &[Bank],
    limits: &Limits,
) -> Result<Event<'a>, EventLogError> {
    let offset = reader.offset();
    let (pcr, kind, found) = (reader.u32()?, EventType(reader.u32()?), reader.u32()?);
    let declared = banks.len();
    if usize::try_from(found) != Ok(declared) {
        return Err(EventLogError::DigestCount { offset, found, declared });
    }
    let mut digests = [None; 4];
    let mut seen = Vec::with_capacity(declared);
    for _ in 0..declared {
        let offset = reader.offset();
        let id = reader.u16()?;
        let bank = banks
            .iter()
            .find(|bank| bank.id == id)
            .ok_or(EventLogError::UnknownAlgorithm { offset, id })?;
        if seen.contains(&id) {
            return Err(EventLogError::DuplicateDigest { offset, id });
        }
        seen.push(id);
        let digest = reader.take(usize::from(bank.length))?;
        if let Ok(known) = HashAlgorithm::from_id(id) {
            digests[slot(known)] = Some(digest);
        }
    }
    Ok(Event { index: 0, offset, pcr, kind, data: read_data(reader, limits)?, digests })
}

/// `TCG_EfiSpecIDEvent` (PFP 1.06 §10.4.5.1).
fn read_banks(first: &Event<'_>) -> Result<Vec<Bank>, SpecIdError> {
    let unmeasured = first.digests[0].is_some_and(|digest| digest.iter().all(|byte| *byte == 0));
    if first.pcr != 0 || !unmeasured {
        return Err(SpecIdError::Measured);
    }
    let mut reader = Reader::new(first.data);
    let short = |_| SpecIdError::Length;
    // Signature, platformClass, specVersionMinor, specVersionMajor, specErrata, uintnSize.
    reader.take(AGILE.len() + 4 + 4).map_err(short)?;
    let found = reader.u32().map_err(short)?;
    if !(1..=MOST_BANKS).contains(&found) {
        return Err(SpecIdError::BankCount { found });
    }
    let mut banks: Vec<Bank> = Vec::new();
    for _ in 0..found {
        let bank = Bank { id: reader.u16().map_err(short)?, length: reader.u16().map_err(short)? };
        let Bank { id, length } = bank;
        let fits = match HashAlgorithm::from_id(id) {
            Ok(known) => usize::from(length) == known.digest_length(),
            Err(_) => (1..=LONGEST_DIGEST).contains(&length),
        };
        if !fits {
            return Err(SpecIdError::DigestLength { id, length });
        }
        if banks.iter().any(|earlier| earlier.id == id) {
            return Err(SpecIdError::DuplicateBank { id });
        }
        banks.push(bank);
    }
    let vendor = usize::from(reader.u8().map_err(short)?);
    if reader.rest().len() == vendor { Ok(banks) } else { Err(SpecIdError::Length) }
}
