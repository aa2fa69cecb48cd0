//! From start to ready: `signetd` against a service that connects to the bus, draws a random number and
//! does nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use signet_tests::bus::PrivateBus;
use signet_tests::signetd::{Signetd, SignetdOptions};
use signet_tests::swtpm::Swtpm;

use crate::load::memory_of;
use crate::{Bench, Contest, Failure, Programs, Unit};

/// CPU time from start to ready. Most of it is the cryptographic library's gathering of entropy, which
/// every program that uses it pays once: where this was written 20 of 30 ms, of the 150 that are
/// promised.
pub const START: Bench = Bench {
    name: "start",
    about: "CPU time from start to ready: signetd (idle in 12 MiB), and a service on the same bus that does nothing",
    bar: 2.0,
    rounds: 15,
    unit: Unit::Time,
    prepare: |programs, _| Ok(Box::new(Start::prepare(programs)?)),
};

/// Proportional set size of a signetd that does nothing, in KiB; of one that was built to be used.
const MEMORY: u64 = 12 * 1024;

#[derive(Debug, thiserror::Error)]
#[error("idle signetd takes {0} KiB of memory, more than {MEMORY}")]
struct TooLarge(u64);

struct Start {
    signetd: PathBuf,
    nothing: PathBuf,
    options: SignetdOptions,
    _bus: PrivateBus,
    _tpm: Swtpm,
}

impl Start {
    fn prepare(programs: &Programs) -> Result<Self, Failure> {
        let bus = PrivateBus::start()?;
        let tpm = Swtpm::copy()?;
        let options = SignetdOptions {
            bus: bus.address().to_owned(),
            tcti: tpm.tcti(),
            authenticators: Vec::new(),
            extra: String::new(),
        };
        let start = Self {
            signetd: programs.path("signetd"),
            nothing: programs.path("do-nothing-service"),
            options,
            _bus: bus,
            _tpm: tpm,
        };
        let memory = start.memory()?;
        // Without optimisation the program is larger.
        if memory > MEMORY && !cfg!(debug_assertions) {
            return Err(TooLarge(memory).into());
        }
        Ok(start)
    }

    /// Proportional set size once it is ready, in KiB.
    fn memory(&self) -> Result<u64, Failure> {
        let running = Signetd::start(&self.signetd, &self.options)?;
        let pid = running.pid().ok_or("signetd has ended")?;
        memory_of(pid)
    }

    /// The CPU time of a process that was killed as soon as it was ready. Waiting for the TPM, which
    /// is another process, does not count.
    fn cpu_time(&self, program: &Path) -> Result<Duration, Failure> {
        let before = of_children()?;
        let mut running = Signetd::start(program, &self.options)?;
        running.kill();
        Ok(of_children()?.saturating_sub(before))
    }
}

impl Contest for Start {
    fn base(&mut self) -> Result<Duration, Failure> {
        self.cpu_time(&self.nothing)
    }

    fn ours(&mut self) -> Result<Duration, Failure> {
        self.cpu_time(&self.signetd)
    }
}

/// Of children that have ended and were waited for.
fn of_children() -> Result<Duration, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let time = |value: nix::sys::time::TimeVal| -> Result<Duration, Failure> {
        Ok(Duration::from_secs(value.tv_sec().try_into()?)
            + Duration::from_micros(value.tv_usec().try_into()?))
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}
