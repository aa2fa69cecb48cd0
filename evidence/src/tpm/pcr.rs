//! Platform configuration registers: which were chosen, what they held, and the digest a quote signs.

use std::collections::BTreeMap;

use thiserror::Error;

use super::algorithm::HashAlgorithm;
use super::wire::{Reader, Structure, WireError, put_u16};

/// Banks in one selection list; no TPM has more.
const MOST_BANKS: usize = 16;
/// `sizeofSelect`: 24 PCRs in three bytes, and room for one byte more.
const LONGEST_BITMAP: usize = 4;

/// `TPMS_PCR_SELECTION` (Part 2 §10.6.2): PCRs of one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrSelection {
    bank: HashAlgorithm,
    bitmap: Vec<u8>,
}

impl PcrSelection {
    /// Selects `indices` of `bank` with the usual three-byte bitmap.
    ///
    /// # Errors
    /// [`PcrError::NoSuchPcr`] for an index above 23.
    pub fn new(
        bank: HashAlgorithm,
        indices: impl IntoIterator<Item = u8>,
    ) -> Result<Self, PcrError> {
        let mut bitmap = vec![0_u8; 3];
        for index in indices {
            let byte =
                bitmap.get_mut(usize::from(index / 8)).ok_or(PcrError::NoSuchPcr { index })?;
            *byte |= 1 << (index % 8);
        }
        Ok(Self { bank, bitmap })
    }

    /// The bank.
    #[must_use]
    pub fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// The selected indices, ascending: the order in which the TPM hashes them.
    pub fn indices(&self) -> impl Iterator<Item = u8> + '_ {
        (0_u8..32).filter(|index| self.has(*index))
    }

    fn has(&self, index: u8) -> bool {
        let byte = self.bitmap.get(usize::from(index / 8)).copied().unwrap_or(0);
        byte >> (index % 8) & 1 == 1
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let bank = HashAlgorithm::from_id(reader.u16()?)?;
        let length = usize::from(reader.u8()?);
        if length > LONGEST_BITMAP {
            return Err(WireError::TooLong {
                structure: Structure::PcrSelection,
                length,
                limit: LONGEST_BITMAP,
            });
        }
        Ok(Self { bank, bitmap: reader.take(length)?.to_vec() })
    }
}

/// `TPML_PCR_SELECTION` (Part 2 §10.9.7).
pub(super) fn read_selections(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, WireError> {
    let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
    if length > MOST_BANKS {
        return Err(WireError::TooLong {
            structure: Structure::PcrSelection,
            length,
            limit: MOST_BANKS,
        });
    }
    (0..length).map(|_| PcrSelection::read(reader)).collect()
}

pub(super) fn write_selections(out: &mut Vec<u8>, selections: &[PcrSelection]) {
    let count = u32::try_from(selections.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    for selection in selections {
        put_u16(out, selection.bank.id());
        out.push(u8::try_from(selection.bitmap.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&selection.bitmap);
    }
}

/// Why PCR values do not fit each other.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PcrError {
    /// TPMs have PCRs 0 to 23.
    #[error("there is no PCR {index}")]
    NoSuchPcr {
        /// The index asked for.
        index: u8,
    },
    /// A value is not as long as its bank's digest.
    #[error("PCR {index} of bank {bank:?} has {length} bytes")]
    ValueLength {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        index: u8,
        /// Length found.
        length: usize,
    },
    /// The same PCR was given twice.
    #[error("PCR {index} of bank {bank:?} is given twice")]
    Duplicate {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        index: u8,
    },
    /// A selected PCR has no value.
    #[error("PCR {index} of bank {bank:?} was quoted but its value is missing")]
    Missing {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        index: u8,
    },
    /// A value was given for a PCR that is not selected: the digest says nothing about it.
    #[error("PCR {index} of bank {bank:?} was not quoted")]
    NotSelected {
        /// The bank.
        bank: HashAlgorithm,
        /// The PCR.
        index: u8,
    },
}

/// PCR values by bank and index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PcrValues(BTreeMap<(HashAlgorithm, u8), Vec<u8>>);

impl PcrValues {
    /// Values of a single bank.
    ///
    /// # Errors
    /// See [`PcrValues::insert`].
    pub fn of_bank(
        bank: HashAlgorithm,
        values: impl IntoIterator<Item = (u8, Vec<u8>)>,
    ) -> Result<Self, PcrError> {
        let mut all = Self::default();
        for (index, value) in values {
            all.insert(bank, index, value)?;
        }
        Ok(all)
    }

    /// Adds one value.
    ///
    /// # Errors
    /// [`PcrError::NoSuchPcr`], [`PcrError::ValueLength`] or [`PcrError::Duplicate`].
    pub fn insert(
        &mut self,
        bank: HashAlgorithm,
        index: u8,
        value: Vec<u8>,
    ) -> Result<(), PcrError> {
        if index > 23 {
            return Err(PcrError::NoSuchPcr { index });
        }
        if value.len() != bank.digest_length() {
            return Err(PcrError::ValueLength { bank, index, length: value.len() });
        }
        match self.0.insert((bank, index), value) {
            None => Ok(()),
            Some(_) => Err(PcrError::Duplicate { bank, index }),
        }
    }

    /// The value of one PCR.
    #[must_use]
    pub fn value(&self, bank: HashAlgorithm, index: u8) -> Option<&[u8]> {
        self.0.get(&(bank, index)).map(Vec::as_slice)
    }

    /// All values, by bank and index.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlgorithm, u8, &[u8])> {
        self.0.iter().map(|((bank, index), value)| (*bank, *index, value.as_slice()))
    }
}

/// `pcrDigest` of a quote (Part 3 §18.4, Part 1 §17.9): the selected values in the order of the
/// list, ascending within each entry, hashed with the *signing scheme's* hash, not the bank's.
///
/// # Errors
/// [`PcrError::Missing`] when a selected value is not there, [`PcrError::NotSelected`] when there is
/// one that the digest would not cover.
pub fn pcr_digest(
    selections: &[PcrSelection],
    values: &PcrValues,
    scheme_hash: HashAlgorithm,
) -> Result<Vec<u8>, PcrError> {
    let mut parts = Vec::with_capacity(values.0.len());
    for selection in selections {
        let bank = selection.bank;
        for index in selection.indices() {
            parts.push(values.value(bank, index).ok_or(PcrError::Missing { bank, index })?);
        }
    }
    let selected = |bank, index| selections.iter().any(|one| one.bank == bank && one.has(index));
    match values.0.keys().find(|(bank, index)| !selected(*bank, *index)) {
        None => Ok(scheme_hash.digest(&parts)),
        Some((bank, index)) => Err(PcrError::NotSelected { bank: *bank, index: *index }),
    }
}
