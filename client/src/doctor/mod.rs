//! What is well with this machine and what is not, with a fix for each problem.
//!
//! Nobody is asked: no PIN, no touch. Nothing that is told is a secret. What cannot be looked at
//! because another part is missing is `unknown`, and the missing part says so itself.

mod agent;
mod authority;
mod boot_log;
mod bus;
mod certificates;
mod clock;
mod endorsement;
mod enrolment;
mod ground;
mod keys;
mod lockout;
mod polkit;
mod reader;
mod sandbox;
mod security_keys;
mod signetd;
mod tpm;
mod units;

use std::path::Path;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::daemon::Bus;
use ground::Ground;

macro_rules! names {
    ($(#[doc = $head:literal])* $type:ident { $($(#[doc = $doc:literal])* $variant:ident = $name:literal,)* }) => {
        $(#[doc = $head])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type {
            $($(#[doc = $doc])* $variant,)*
        }

        impl $type {
            /// All of them, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

names! {
    /// What is looked at. Names are stable; more may come.
    Check {
        /// Unit files and the bus's files are installed.
        Units = "units",
        /// The message bus answers.
        Bus = "bus",
        /// `signetd` answers, and is of our version.
        Signetd = "signetd",
        /// `signetd` has given up what it does not need.
        Sandbox = "sandbox",
        /// polkit knows our actions, and lets this session do them.
        Polkit = "polkit",
        /// An agent shows prompts.
        Agent = "agent",
        /// The TPM answers.
        Tpm = "tpm",
        /// The TPM's protection against guessing.
        TpmLockout = "tpm-lockout",
        /// The TPM's maker vouches for it.
        EndorsementKey = "ek",
        /// The log of what booted can be read.
        BootLog = "boot-log",
        /// This machine is enrolled.
        Enrolment = "enrolment",
        /// The TPM's keys sign, and are those of the certificates.
        Keys = "keys",
        /// The certificates of this machine count.
        Certificates = "certificates",
        /// This machine's clock agrees with the authority's.
        Clock = "clock",
        /// The authority answers, and knows this machine.
        Authority = "authority",
        /// Security keys are plugged in and usable.
        SecurityKeys = "security-keys",
        /// The machine's fingerprint reader.
        FingerprintReader = "fingerprint-reader",
    }
}

names! {
    /// How something is, from good to bad.
    State {
        /// As it should be.
        Ok = "ok",
        /// It cannot be looked at as long as something else is missing.
        Unknown = "unknown",
        /// Works, and wants looking after.
        Warn = "warn",
        /// Does not work.
        Fail = "fail",
    }
}

/// What was found about one part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The part.
    pub check: Check,
    /// How it is.
    pub state: State,
    /// In a sentence.
    pub summary: String,
    /// What to do, where something is to be done.
    pub fix: Option<String>,
    /// Details for programs.
    pub facts: Map<String, Value>,
}

impl Finding {
    fn new(check: Check, state: State, summary: impl Into<String>) -> Self {
        Self { check, state, summary: summary.into(), fix: None, facts: Map::new() }
    }

    fn ok(check: Check, summary: impl Into<String>) -> Self {
        Self::new(check, State::Ok, summary)
    }

    fn unknown(check: Check, summary: impl Into<String>) -> Self {
        Self::new(check, State::Unknown, summary)
    }

    fn warn(check: Check, summary: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, State::Warn, summary) }
    }

    fn fail(check: Check, summary: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, State::Fail, summary) }
    }

    fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

/// Everything that was found, each [`Check`] once and in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst of all states.
    #[must_use]
    pub fn state(&self) -> State {
        self.findings.iter().map(|finding| finding.state).max().unwrap_or(State::Unknown)
    }

    /// How many are in this state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

/// Looks at everything. `root` is the file system that the installed files and the kernel's are
/// looked for in: `/`.
pub async fn examine(bus: &Bus, root: &Path) -> Report {
    let ground = Ground::survey(bus, root).await;
    let findings = vec![
        units::examine(&ground),
        bus::examine(&ground),
        signetd::examine(&ground),
        sandbox::examine(&ground).await,
        polkit::examine(&ground).await,
        agent::examine(&ground),
        tpm::examine(&ground),
        lockout::examine(&ground),
        endorsement::examine(&ground),
        boot_log::examine(&ground),
        enrolment::examine(&ground),
        keys::examine(&ground).await,
        certificates::examine(&ground),
        clock::examine(&ground),
        authority::examine(&ground),
        security_keys::examine(&ground),
        reader::examine(&ground),
    ];
    Report { findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where nothing is installed, nothing runs and no bus answers.
    #[tokio::test]
    async fn a_bare_machine_gets_every_line_and_a_fix_for_each_problem() {
        let root = tempfile::tempdir().unwrap();
        let bus = Bus::Address("unix:path=/nonexistent/bus".into());
        let report = examine(&bus, root.path()).await;
        let found: Vec<Check> = report.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(found, Check::ALL);
        for finding in &report.findings {
            let problem = finding.state >= State::Warn;
            assert_eq!(finding.fix.is_some(), problem, "{finding:?}");
            assert!(!finding.summary.is_empty(), "{finding:?}");
        }
        let failed = |check| {
            let found = report.findings.iter().find(|finding| finding.check == check);
            found.unwrap().state == State::Fail
        };
        for check in [Check::Units, Check::Bus, Check::Tpm] {
            assert!(failed(check), "{check:?}");
        }
        assert_eq!(report.count(State::Fail), 3);
        assert_eq!(report.state(), State::Fail);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Check::ALL.len());
    }
}
