//! Time that the workstation's wall clock cannot turn back or forth.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time since boot, including sleep (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Now, in whole seconds.
    #[must_use]
    pub fn now() -> Self {
        Self(u64::try_from(clock_gettime(ClockId::Boottime).tv_sec).unwrap_or(0))
    }

    /// Seconds from now until this; zero when past.
    #[must_use]
    pub fn remaining(self, now: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(now.0))
    }
}

/// The kernel's name for this boot, so that boot times of two boots are never compared.
///
/// Empty when the kernel does not tell; then all boots look the same, and expiry at the authority
/// decides.
#[must_use]
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
