//! Policies learned from machines that are in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use signet_evidence::eventlog::{Content, Database, PcrComparison, SecureBoot};
use signet_evidence::thumbprint::hex;
use signet_evidence::tpm::HashAlgorithm;
use thiserror::Error;

use super::policy::Mode;
use super::proven::ProvenLog;
use super::words::{subject, what};

/// Why a baseline cannot be learned.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum BaselineError {
    /// No machine.
    #[error("a baseline needs one machine at least")]
    NoMachine,
    /// Machines with quotes of different banks.
    #[error("the machines' quotes are of different banks; learn a baseline for each")]
    Banks,
}

/// Texts, and how many machines have them.
type Seen = BTreeMap<String, usize>;
/// Digests with their words, and how many machines have them.
type SeenDigests = BTreeMap<(String, String), usize>;

/// What machines have in common, and in what they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    machines: usize,
    /// PCRs that every machine's log explains.
    explained: BTreeSet<u8>,
    /// On how many machines Secure Boot is proven to be on.
    secure_boot: usize,
    /// (digest, words) → machines, of the PCRs that hold digests of things outside the log.
    measurements: BTreeMap<u8, SeenDigests>,
    pk: SeenDigests,
    kek: SeenDigests,
    db: SeenDigests,
    db_images: SeenDigests,
    signers: SeenDigests,
    texts: Seen,
    /// Whether every machine's log shows all signature databases.
    stores_proven: bool,
    /// Whether every machine's quote confirms all texts.
    texts_proven: bool,
}

/// PCRs whose single measurements are worth a list: firmware, option ROMs, boot images, shim's keys.
const LISTED: [u8; 4] = [0, 2, 4, 14];

impl Baseline {
    /// Learns from machines that are in order: of each, what its quote confirms.
    ///
    /// # Errors
    /// [`BaselineError`].
    pub fn learn(machines: &[ProvenLog<'_>]) -> Result<Self, BaselineError> {
        let banks: BTreeSet<HashAlgorithm> = machines.iter().map(ProvenLog::bank).collect();
        match banks.len() {
            0 => return Err(BaselineError::NoMachine),
            1 => {}
            _ => return Err(BaselineError::Banks),
        }
        let mut learned = Self {
            machines: machines.len(),
            explained: (0..24).collect(),
            secure_boot: 0,
            measurements: BTreeMap::new(),
            pk: BTreeMap::new(),
            kek: BTreeMap::new(),
            db: BTreeMap::new(),
            db_images: BTreeMap::new(),
            signers: BTreeMap::new(),
            texts: Seen::new(),
            stores_proven: true,
            texts_proven: true,
        };
        for machine in machines {
            learned.add(machine);
        }
        Ok(learned)
    }

    fn add(&mut self, machine: &ProvenLog<'_>) {
        let facts = machine.facts();
        self.explained.retain(|pcr| facts.pcrs.contains(pcr));
        self.secure_boot += usize::from(facts.secure_boot == SecureBoot::On);
        for pcr in LISTED {
            let measured = facts.measured.iter().filter(|measured| measured.pcr == pcr);
            let digests: BTreeSet<_> = measured
                .filter(|measured| measured.content != Content::Separator)
                .map(|measured| (hex(measured.digest), what(measured)))
                .collect();
            count(self.measurements.entry(pcr).or_default(), digests);
        }
        self.stores_proven &= [&facts.pk, &facts.kek, &facts.db]
            .iter()
            .all(|store| matches!(store, Database::Known(_)));
        count(&mut self.pk, certificates(&facts.pk));
        count(&mut self.kek, certificates(&facts.kek));
        count(&mut self.db, certificates(&facts.db));
        if let Database::Known(db) = &facts.db {
            let images = db.images.iter().map(|image| (hex(image), String::new()));
            count(&mut self.db_images, images.collect());
        }
        let signers = facts.authorities.iter().filter_map(|authority| {
            let certificate = authority.certificate.as_ref()?;
            Some((certificate.thumbprint().to_hex(), subject(certificate.der).unwrap_or_default()))
        });
        count(&mut self.signers, signers.collect());
        count(&mut self.texts, facts.strings.iter().map(|string| string.text.clone()).collect());
        self.texts_proven &= [8, 12].iter().all(|pcr| {
            let compared = machine.compared().get(pcr);
            matches!(compared, Some(PcrComparison::Explained | PcrComparison::Untouched))
        });
    }

    /// Machines that it was learned from.
    #[must_use]
    pub fn machines(&self) -> usize {
        self.machines
    }

    /// What some of the machines have and others do not, in words, with how many have it.
    #[must_use]
    pub fn differing(&self) -> Vec<(String, usize)> {
        let mut out = Vec::new();
        let mut digests = |rule: &str, seen: &SeenDigests| {
            let some = seen.iter().filter(|(_, count)| **count < self.machines);
            out.extend(
                some.map(|((digest, what), count)| (format!("{rule}: {what} {digest}"), *count)),
            );
        };
        for (pcr, seen) in &self.measurements {
            digests(&format!("PCR {pcr}"), seen);
        }
        for (rule, seen) in [
            ("PK", &self.pk),
            ("KEK", &self.kek),
            ("db", &self.db),
            ("db", &self.db_images),
            ("signer", &self.signers),
        ] {
            digests(rule, seen);
        }
        let some = self.texts.iter().filter(|(_, count)| **count < self.machines);
        out.extend(some.map(|(text, count)| (format!("text: {text}"), *count)));
        if (1..self.machines).contains(&self.secure_boot) {
            out.push(("Secure Boot is on".to_owned(), self.secure_boot));
        }
        out
    }

    /// A policy file that allows what all machines have. What only some have stands in it as comments,
    /// with how many have it, for a person to decide.
    #[must_use]
    pub fn to_toml(&self, name: &str, mode: Mode) -> String {
        let mut out = format!(
            "# Learned from {} machine(s). Lines that begin with # are not on all of them: decide.\n\
             name = {}\nmode = \"{}\"\n\n[log]\nrequired = true\nexplains = {:?}\n",
            self.machines,
            quoted(name),
            mode.as_str(),
            self.explained.iter().filter(|pcr| **pcr < 10 || **pcr == 14).collect::<Vec<_>>(),
        );
        out.push_str("\n[measurements]\n");
        for (pcr, seen) in self.measurements.iter().filter(|(pcr, _)| self.explained.contains(pcr))
        {
            self.digests(&mut out, &pcr.to_string(), seen);
        }
        let all_on = self.secure_boot == self.machines;
        let _ = writeln!(out, "\n[rules]\nsecure_boot = {all_on}");
        if self.stores_proven {
            for (rule, seen) in [
                ("pk_certificates", &self.pk),
                ("kek_certificates", &self.kek),
                ("db_certificates", &self.db),
                ("db_images", &self.db_images),
                ("signers", &self.signers),
            ] {
                self.digests(&mut out, rule, seen);
            }
        }
        if self.texts_proven {
            out.push_str("boot_texts = [\n");
            for (text, seen) in &self.texts {
                let _ =
                    writeln!(out, "  {}{},{}", self.mark(*seen), quoted(text), self.share(*seen));
            }
            out.push_str("]\n");
        } else {
            out.push_str(
                "# No boot_texts: PCR 8 or 12 was not quoted, or its log does not lead to it. Kernel command\n\
                 # lines are not judged.\n",
            );
        }
        out
    }

    fn digests(&self, out: &mut String, key: &str, seen: &SeenDigests) {
        let _ = writeln!(out, "{key} = [");
        for ((digest, what), count) in seen {
            let _ = writeln!(
                out,
                "  {}{{ digest = \"{digest}\", what = {} }},{}",
                self.mark(*count),
                quoted(what),
                self.share(*count)
            );
        }
        out.push_str("]\n");
    }

    fn mark(&self, seen: usize) -> &'static str {
        if seen == self.machines { "" } else { "# " }
    }

    fn share(&self, seen: usize) -> String {
        if seen == self.machines {
            String::new()
        } else {
            format!(" # on {seen} of {}", self.machines)
        }
    }
}

fn count<T: Ord>(into: &mut BTreeMap<T, usize>, seen: BTreeSet<T>) {
    for item in seen {
        *into.entry(item).or_default() += 1;
    }
}

fn certificates(database: &Database<'_>) -> BTreeSet<(String, String)> {
    let Database::Known(database) = database else { return BTreeSet::new() };
    database
        .certificates
        .iter()
        .map(|entry| (entry.thumbprint().to_hex(), subject(entry.der).unwrap_or_default()))
        .collect()
}

/// A TOML string. On one line: it may stand in a comment.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}
