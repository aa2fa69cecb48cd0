//! What the AK signs: quotes of the registers, and certifications of the TLS key.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use tss_esapi::constants::CapabilityType;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{
    Attest, AttestInfo, CapabilityData, Data, PcrSelectionList, PcrSelectionListBuilder, PcrSlot,
    Signature, SignatureScheme,
};
use tss_esapi::traits::Marshall;

use super::error::TpmError;
use super::link::Link;
use super::tls_key;

/// The attestation key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttestationKey {
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// Its Name: algorithm identifier and SHA-256 of the public area, 34 bytes.
    pub name: Vec<u8>,
}

/// Answer of `TPM2_Certify` about the TLS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certification {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE` over it.
    pub signature: Vec<u8>,
    /// `TPMT_PUBLIC` of the certified key.
    pub public: Vec<u8>,
}

/// Which hash the quoted registers hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PcrBank {
    /// 32 bytes per register.
    Sha256,
    /// 48 bytes per register; taken where SHA-256 is switched off.
    Sha384,
}

impl std::fmt::Display for PcrBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
        })
    }
}

impl PcrBank {
    /// `TPM_ALG_ID` (TPM 2.0 part 2 §6.3).
    pub(super) const fn algorithm_id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
        }
    }

    fn algorithm(self) -> HashingAlgorithm {
        match self {
            Self::Sha256 => HashingAlgorithm::Sha256,
            Self::Sha384 => HashingAlgorithm::Sha384,
        }
    }
}

/// Answer of `TPM2_Quote`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quote {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE` over it.
    pub signature: Vec<u8>,
    /// The bank of the values.
    pub bank: PcrBank,
    /// Register number to value; these values were quoted.
    pub pcrs: BTreeMap<u8, Vec<u8>>,
}

/// How often a quote is made again because a register changed between reading and quoting.
const QUOTE_ATTEMPTS: usize = 16;

pub(super) fn attestation_key(link: &mut Link) -> Result<AttestationKey, TpmError> {
    let handle = link.attestation_key;
    // Asks the TPM, not our memory, so that the answer is also a sign of life.
    let (public, name, _) = link.plain(|context| context.read_public(handle))?;
    let public = public.marshall().map_err(|error| link.explain(error))?;
    link.check_is_ours(&name)?;
    let name = name.value().to_vec();
    Ok(AttestationKey { public, name })
}

pub(super) fn certify_tls_key(
    link: &mut Link,
    qualifying_data: &[u8; 32],
) -> Result<Certification, TpmError> {
    let key = tls_key::handle(link)?;
    let signer = link.attestation_key;
    let data = qualifying(link, qualifying_data)?;
    let answer = link.password(2, |context| {
        context.certify(key.into(), signer, data.clone(), SignatureScheme::Null)
    })?;
    let (attest, signature) = marshal(link, &answer)?;
    let public = link.tls_key.as_ref().ok_or(TpmError::NoTlsKey)?;
    Ok(Certification { attest, signature, public: public.public.clone() })
}

/// Registers as they were read.
#[derive(Clone, Debug)]
pub(super) struct Registers {
    bank: PcrBank,
    values: BTreeMap<u8, Vec<u8>>,
}

/// Loads the TLS key, if there is one, and reads the registers, so that quote, certification and
/// signature go straight to work.
pub(super) fn prepare(link: &mut Link, pcrs: &[u8]) -> Result<(), TpmError> {
    match tls_key::handle(link) {
        Ok(_) | Err(TpmError::NoTlsKey) => {}
        Err(error) => return Err(error),
    }
    link.registers = Some(read_registers(link, &slots(pcrs)?)?);
    Ok(())
}

/// The values need not be read anew: those that were read before are good when they hash to what is
/// quoted now.
pub(super) fn quote(
    link: &mut Link,
    qualifying_data: &[u8; 32],
    pcrs: &[u8],
) -> Result<Quote, TpmError> {
    let slots = slots(pcrs)?;
    let signer = link.attestation_key;
    let data = qualifying(link, qualifying_data)?;
    let before = link.registers.take();
    let mut known = before.filter(|known| known.values.keys().eq(slots.keys()));
    for _ in 0..QUOTE_ATTEMPTS {
        let registers = match known.take() {
            Some(registers) => registers,
            None => read_registers(link, &slots)?,
        };
        let selection = selection(link, registers.bank, &slots)?;
        let answer = link.password(1, |context| {
            let selection = selection.clone();
            context.quote(signer, data.clone(), SignatureScheme::Null, selection)
        })?;
        if quotes(&answer.0, &registers.values)? {
            let (attest, signature) = marshal(link, &answer)?;
            link.registers = Some(registers.clone());
            let Registers { bank, values: pcrs } = registers;
            return Ok(Quote { attest, signature, bank, pcrs });
        }
    }
    Err(TpmError::PcrsUnstable)
}

/// Whether the quoted digest is that of `values`. It uses the hash of the signing scheme, whatever
/// the bank (TPM 2.0 part 3, TPM2_Quote).
fn quotes(attest: &Attest, values: &BTreeMap<u8, Vec<u8>>) -> Result<bool, TpmError> {
    let AttestInfo::Quote { info } = attest.attested() else {
        return Err(TpmError::MalformedResponse);
    };
    let concatenated: Vec<u8> = values.values().flatten().copied().collect();
    Ok(info.pcr_digest().value() == digest(&SHA256, &concatenated).as_ref())
}

/// Reads the registers; the TPM gives eight at a time at most.
fn read_registers(link: &mut Link, slots: &BTreeMap<u8, PcrSlot>) -> Result<Registers, TpmError> {
    let bank = bank(link)?;
    let mut left = slots.clone();
    let mut values = BTreeMap::new();
    while !left.is_empty() {
        let wanted = selection(link, bank, &left)?;
        let (_, selected, digests) = link.plain(|context| context.pcr_read(wanted.clone()))?;
        let read = selected.get_selections().iter().flat_map(|s| s.selected());
        let before = left.len();
        for (slot, value) in read.zip(digests.value()) {
            let index = left.iter().find(|(_, s)| **s == slot).map(|(i, _)| *i);
            if let Some(index) = index {
                left.remove(&index);
                values.insert(index, value.value().to_vec());
            }
        }
        if left.len() == before {
            return Err(TpmError::MalformedResponse);
        }
    }
    Ok(Registers { bank, values })
}

/// The configured bank, or the best one; it must be switched on.
pub(super) fn bank(link: &mut Link) -> Result<PcrBank, TpmError> {
    let (banks, _) =
        link.plain(|context| context.get_capability(CapabilityType::AssignedPcr, 0, 64))?;
    let CapabilityData::AssignedPcr(banks) = banks else {
        return Err(TpmError::MalformedResponse);
    };
    let is_on = |bank: &PcrBank| {
        let mut on = banks.get_selections().iter();
        on.any(|s| s.hashing_algorithm() == bank.algorithm() && !s.is_empty())
    };
    match link.bank {
        Some(bank) => Some(bank).filter(is_on).ok_or(TpmError::PcrBankOff { bank }),
        None => {
            let banks = [PcrBank::Sha256, PcrBank::Sha384];
            banks.into_iter().find(is_on).ok_or(TpmError::NoPcrBank)
        }
    }
}

fn slots(pcrs: &[u8]) -> Result<BTreeMap<u8, PcrSlot>, TpmError> {
    let slots = pcrs.iter().map(|&index| match index {
        0..=23 => PcrSlot::try_from(1u32 << index)
            .map(|slot| (index, slot))
            .map_err(|_| TpmError::PcrSelection),
        _ => Err(TpmError::PcrSelection),
    });
    let slots: BTreeMap<_, _> = slots.collect::<Result<_, _>>()?;
    match slots.is_empty() {
        true => Err(TpmError::PcrSelection),
        false => Ok(slots),
    }
}

/// These registers of this bank, as the TPM's commands want them.
pub(super) fn registers(
    link: &Link,
    bank: PcrBank,
    pcrs: &[u8],
) -> Result<PcrSelectionList, TpmError> {
    selection(link, bank, &slots(pcrs)?)
}

fn selection(
    link: &Link,
    bank: PcrBank,
    slots: &BTreeMap<u8, PcrSlot>,
) -> Result<PcrSelectionList, TpmError> {
    let slots: Vec<PcrSlot> = slots.values().copied().collect();
    PcrSelectionListBuilder::new()
        .with_selection(bank.algorithm(), &slots)
        .build()
        .map_err(|error| link.explain(error))
}

fn qualifying(link: &Link, data: &[u8; 32]) -> Result<Data, TpmError> {
    Data::try_from(data.as_slice()).map_err(|error| link.explain(error))
}

fn marshal(link: &Link, answer: &(Attest, Signature)) -> Result<(Vec<u8>, Vec<u8>), TpmError> {
    let attest = answer.0.marshall().map_err(|error| link.explain(error))?;
    let signature = answer.1.marshall().map_err(|error| link.explain(error))?;
    Ok((attest, signature))
}
