//! What `status` shows of the TPM.

use std::time::Duration;

use tss_esapi::constants::{CapabilityType, PropertyTag};
use tss_esapi::structures::{CapabilityData, Data, SignatureScheme};

use super::error::TpmError;
use super::link::Link;

/// Maker, versions, clock and lockout of the TPM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Properties {
    /// The maker's four letters as registered with the TCG, without padding: `INTC`, `IFX`, `IBM`.
    pub manufacturer: String,
    /// The maker's free text (model).
    pub vendor: String,
    /// Firmware version, as in a quote.
    pub firmware: u64,
    /// The TPM's time and its counters.
    pub clock: Clock,
    /// State of the protection against guessing.
    pub lockout: Lockout,
}

/// `TPMS_CLOCK_INFO`, not obfuscated, since the AK is in the endorsement hierarchy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Milliseconds that the TPM was powered since it was last cleared.
    pub milliseconds: u64,
    /// Restarts since it was last cleared.
    pub reset_count: u32,
    /// Resumes and hibernations since the last restart.
    pub restart_count: u32,
    /// Whether no higher value of the clock can have been reported before.
    pub safe: bool,
}

/// Dictionary attack state. Of our own keys only user keys with a PIN are subject to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lockout {
    /// Whether protected keys are refused now.
    pub locked: bool,
    /// Wrong attempts that count now, and how many lock.
    pub failures: u32,
    /// Attempts after which the TPM locks.
    pub limit: u32,
    /// The time after which one attempt is forgotten (TPM_PT_LOCKOUT_INTERVAL). Zero: the TPM never
    /// locks.
    pub recovery: Duration,
}

impl Lockout {
    /// Wrong attempts that are left.
    pub fn tries_left(self) -> u32 {
        if self.locked { 0 } else { self.limit.saturating_sub(self.failures) }
    }
}

/// TPMA_PERMANENT bit 9, inLockout (TPM 2.0 part 2 §8.6).
const IN_LOCKOUT: u32 = 1 << 9;

pub(super) fn read(link: &mut Link) -> Result<Properties, TpmError> {
    let mut vendor = Vec::new();
    for tag in [
        PropertyTag::VendorString1,
        PropertyTag::VendorString2,
        PropertyTag::VendorString3,
        PropertyTag::VendorString4,
    ] {
        vendor.extend(property(link, tag)?.to_be_bytes());
    }
    let high = property(link, PropertyTag::FirmwareVersion1)?;
    let low = property(link, PropertyTag::FirmwareVersion2)?;
    Ok(Properties {
        manufacturer: text(&property(link, PropertyTag::Manufacturer)?.to_be_bytes()),
        vendor: text(&vendor),
        firmware: u64::from(high) << 32 | u64::from(low),
        clock: clock(link)?,
        lockout: lockout(link)?,
    })
}

pub(super) fn lockout(link: &mut Link) -> Result<Lockout, TpmError> {
    let recovery = property(link, PropertyTag::LockoutInterval)?;
    Ok(Lockout {
        locked: property(link, PropertyTag::Permanent)? & IN_LOCKOUT != 0,
        failures: property(link, PropertyTag::LockoutCounter)?,
        limit: property(link, PropertyTag::MaxAuthFail)?,
        recovery: Duration::from_secs(recovery.into()),
    })
}

/// One property, never from the library's cache: the lockout counter changes. Zero when the TPM
/// does not have it.
fn property(link: &mut Link, tag: PropertyTag) -> Result<u32, TpmError> {
    let (data, _) =
        link.plain(|context| context.get_capability(CapabilityType::TpmProperties, tag.into(), 1))?;
    let CapabilityData::TpmProperties(list) = data else {
        return Err(TpmError::MalformedResponse);
    };
    Ok(list.find(tag).map_or(0, |property| property.value()))
}

/// The library has no `TPM2_ReadClock`; `TPM2_GetTime` carries the same and goes to nobody.
fn clock(link: &mut Link) -> Result<Clock, TpmError> {
    let signer = link.attestation_key;
    let (attest, _) = link
        .password(2, |context| context.get_time(signer, Data::default(), SignatureScheme::Null))?;
    let info = attest.clock_info();
    Ok(Clock {
        milliseconds: info.clock(),
        reset_count: info.reset_count(),
        restart_count: info.restart_count(),
        safe: info.safe(),
    })
}

/// ASCII without the padding; what cannot be printed becomes a question mark.
fn text(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .filter(|byte| **byte != 0)
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect();
    text.trim().to_owned()
}
