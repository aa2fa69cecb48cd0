//! The forgeries: what is done to a genuine log, whose PCRs it is held against, and the reason for
//! which it must be refused.

mod form;
mod measurements;

use crate::machine::{Machine, SHA256, SHA384};
use signet_evidence::tpm::HashAlgorithm;

/// One fixture.
pub(crate) struct Forgery {
    /// The folder: what kind of refusal.
    pub(crate) code: &'static str,
    /// The file.
    pub(crate) name: &'static str,
    /// The exact reason.
    pub(crate) reason: String,
    /// Tighter limits, as `bytes=N` or `events=N`.
    pub(crate) limits: &'static str,
    /// The machine whose TPM is quoted.
    pub(crate) quoted: Machine,
    /// The bank that is quoted.
    pub(crate) bank: HashAlgorithm,
    /// What was done.
    pub(crate) comment: &'static str,
    /// The forged log.
    pub(crate) log: Vec<u8>,
}

/// All forgeries, and the genuine log.
pub(crate) fn all() -> Vec<Forgery> {
    [accepted(), form::all(), measurements::all()].into_iter().flatten().collect()
}

fn accepted() -> Vec<Forgery> {
    let log = Machine::genuine().log();
    let genuine = |name, comment, log| forgery(("accepted", name), "On", comment, log);
    let unused = |byte: u8| [log.clone(), vec![byte; 64]].concat();
    vec![
        genuine("sha256", "the genuine log", log.clone()),
        genuine("sha384", "the genuine log", log.clone()).in_bank(SHA384),
        genuine("zeros-behind", "room that the firmware did not use", unused(0)),
        genuine("ones-behind", "room that the firmware did not use", unused(0xff)),
    ]
}

fn forgery(
    (code, name): (&'static str, &'static str),
    reason: impl Into<String>,
    comment: &'static str,
    log: Vec<u8>,
) -> Forgery {
    let quoted = Machine::genuine();
    Forgery {
        code,
        name,
        reason: reason.into(),
        limits: "default",
        quoted,
        bank: SHA256,
        comment,
        log,
    }
}

impl Forgery {
    fn against(self, quoted: Machine) -> Self {
        Self { quoted, ..self }
    }

    fn within(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }

    fn in_bank(self, bank: HashAlgorithm) -> Self {
        Self { bank, ..self }
    }
}

/// A genuine log with one byte string in the place of another.
fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut log = Machine::genuine().log();
    log[at..at + bytes.len()].copy_from_slice(bytes);
    log
}

fn edited(edit: impl FnOnce(&mut Machine)) -> Machine {
    let mut machine = Machine::genuine();
    edit(&mut machine);
    machine
}
