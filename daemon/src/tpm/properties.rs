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
    /// Wrong attempts that signetd spends. It leaves a quarter of the limit, so that no caller of it
    /// can lock the keys of other programs, such as that of an encrypted disk.
    fn spendable(self) -> u32 {
        let reserve = self.limit.div_ceil(4).min(self.limit.saturating_sub(1));
        self.limit.saturating_sub(reserve)
    }

    /// Wrong attempts that are left before signetd takes no PIN for a while.
    pub fn tries_left(self) -> u32 {
        if self.locked { 0 } else { self.spendable().saturating_sub(self.failures) }
    }

    /// Why no PIN is taken now, with the time after which one is at the latest.
    pub fn refusal(self) -> Option<TpmError> {
        let counts = !self.recovery.is_zero() && self.limit > 0;
        if !self.locked && (!counts || self.tries_left() > 0) {
            return None;
        }
        let to_forget = (self.failures + 1).saturating_sub(self.spendable()).max(1);
        Some(TpmError::PinLocked { wait: self.recovery.saturating_mul(to_forget) })
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
    let first = PropertyTag::Permanent.into();
    // One command for all: they stand close together (TPM 2.0 part 2 §6.13, PT_VAR).
    let (data, _) =
        link.plain(|context| context.get_capability(CapabilityType::TpmProperties, first, 32))?;
    let CapabilityData::TpmProperties(list) = data else {
        return Err(TpmError::MalformedResponse);
    };
    let value = |tag| list.find(tag).map_or(0, |property| property.value());
    let lockout = Lockout {
        locked: value(PropertyTag::Permanent) & IN_LOCKOUT != 0,
        failures: value(PropertyTag::LockoutCounter),
        limit: value(PropertyTag::MaxAuthFail),
        recovery: Duration::from_secs(value(PropertyTag::LockoutInterval).into()),
    };
    link.note_lockout(lockout);
    Ok(lockout)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lockout(failures: u32, limit: u32, locked: bool) -> Lockout {
        Lockout { locked, failures, limit, recovery: Duration::from_secs(600) }
    }

    fn wait(minutes: u64) -> Option<TpmError> {
        Some(TpmError::PinLocked { wait: Duration::from_secs(60 * minutes) })
    }

    #[test]
    fn the_last_quarter_of_the_tries_is_never_spent() {
        for (limit, spent) in [(1, 1), (2, 1), (3, 2), (4, 3), (10, 7), (31, 23), (32, 24)] {
            assert_eq!(lockout(0, limit, false).tries_left(), spent, "{limit}");
            assert_eq!(lockout(spent - 1, limit, false).refusal(), None);
            assert_eq!(lockout(spent, limit, false).tries_left(), 0);
            assert_eq!(lockout(spent, limit, false).refusal(), wait(10));
        }
    }

    #[test]
    fn the_wait_is_until_one_more_may_be_spent() {
        assert_eq!(lockout(3, 3, true).refusal(), wait(20));
        assert_eq!(lockout(32, 32, true).refusal(), wait(90));
        // Locked by an unclean shutdown: the counter may be lower.
        assert_eq!(lockout(1, 32, true).refusal(), wait(10));
    }

    #[test]
    fn a_tpm_that_forgets_at_once_never_refuses() {
        let never = Lockout { recovery: Duration::ZERO, ..lockout(9, 3, false) };
        assert_eq!(never.refusal(), None);
        assert_eq!(lockout(0, 0, false).refusal(), None);
    }
}
