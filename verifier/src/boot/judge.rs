//! The judgement: quoted PCRs and a log against a policy.

use std::collections::BTreeSet;

use signet_evidence::eventlog::{
    BootFacts, Content, Database, Limits, Measured, PcrComparison, SecureBoot, SignatureDatabase,
};
use signet_evidence::tpm::PcrValues;

use super::finding::{Finding, SignatureStore};
use super::policy::{Allowed, MachinePolicy, Mode, Rules, allows};
use super::proven::{LogError, ProvenLog, strong_bank};
use super::words::{Measurement, subject};

/// Variables that shim measures and that verify nothing. What they hold is judged where the policy
/// lists the measurements of PCR 7.
const SHIM_SETTINGS: [&str; 3] = ["SbatLevel", "MokListTrusted", "MokSBState"];

/// What follows from a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The policy minds nothing.
    Approved,
    /// The policy minds something, and its mode is to record that.
    Recorded,
    /// The policy minds something, and its mode is to warn.
    Warned,
    /// The machine is refused.
    Refused,
}

/// What a policy says of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootJudgement {
    policy: String,
    mode: Mode,
    findings: Vec<Finding>,
    secure_boot: Option<SecureBoot>,
}

impl BootJudgement {
    /// The judgement by the values of the enrolment, where no policy file is for a machine.
    pub(super) fn of_baseline(findings: Vec<Finding>) -> Self {
        Self { policy: "enrolment".to_owned(), mode: Mode::Enforce, findings, secure_boot: None }
    }

    /// Name of the policy.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// What follows.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.findings.is_empty(), self.mode) {
            (true, _) => Verdict::Approved,
            (false, Mode::Monitor) => Verdict::Recorded,
            (false, Mode::Warn) => Verdict::Warned,
            (false, Mode::Enforce) => Verdict::Refused,
        }
    }

    /// The mode in which it was judged.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the policy minds, in the order of the PCRs and rules.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Secure Boot as the log shows it; `None` without a log that proves something.
    #[must_use]
    pub fn secure_boot(&self) -> Option<SecureBoot> {
        self.secure_boot
    }
}

/// Judges a machine: `quoted` are the values of a [`crate::tpm::VerifiedQuote`], `log` is its event log
/// or why there is none, `mode` is [`MachinePolicy::mode_for`] its groups.
#[must_use]
pub fn judge(
    quoted: &PcrValues,
    log: Result<&[u8], LogError>,
    limits: &Limits,
    policy: &MachinePolicy,
    mode: Mode,
) -> BootJudgement {
    let mut findings = pcr_values(quoted, policy);
    let proven = log.and_then(|log| ProvenLog::verify(Some(log), quoted, limits));
    let secure_boot = match proven {
        Ok(log) => {
            explained(&log, quoted, policy, &mut findings);
            let facts = log.facts();
            measurements(&facts, policy, &mut findings);
            rules(&facts, &policy.rules, policy, &mut findings);
            Some(facts.secure_boot)
        }
        // Only a log that is missing may be waived, and only where nothing is read from it.
        Err(LogError::Missing) if !policy.log.required && !policy.reads_log() => None,
        Err(error) => {
            findings.push(Finding::Log(error));
            None
        }
    };
    BootJudgement { policy: policy.name.clone(), mode, findings, secure_boot }
}

impl MachinePolicy {
    /// The PCRs that it looks at: a quote has to cover them.
    #[must_use]
    pub fn judged_pcrs(&self) -> BTreeSet<u8> {
        let listed = self.pcrs.keys().chain(self.measurements.keys());
        let mut judged: BTreeSet<u8> = listed.map(|pcr| pcr.get()).collect();
        if self.log.required || self.reads_log() {
            judged.extend(self.explained_pcrs());
        }
        judged
    }

    /// What is judged by its measurements has to be explained too.
    fn explained_pcrs(&self) -> BTreeSet<u8> {
        let mut due = self.log.explains.clone();
        due.extend(self.measurements.keys().map(|pcr| pcr.get()));
        if self.rules.judges_texts() {
            due.extend([8, 12]);
        }
        if self.rules.judges_secure_boot() {
            due.insert(7);
        }
        due
    }

    /// Whether it has rules about what was measured.
    fn reads_log(&self) -> bool {
        !self.measurements.is_empty() || self.rules != Rules::default()
    }
}

fn pcr_values(quoted: &PcrValues, policy: &MachinePolicy) -> Vec<Finding> {
    let value = |pcr| quoted.value(strong_bank(quoted)?, pcr);
    let judged = policy.pcrs.iter().filter_map(|(pcr, allowed)| {
        let pcr = pcr.get();
        let Some(found) = value(pcr) else { return Some(Finding::NotQuoted { pcr }) };
        let fits = allowed.iter().any(|allowed| allowed.digest == found);
        (!fits).then(|| Finding::PcrValue { pcr, found: found.to_vec(), allowed: allowed.clone() })
    });
    judged.collect()
}

fn explained(
    log: &ProvenLog<'_>,
    quoted: &PcrValues,
    policy: &MachinePolicy,
    findings: &mut Vec<Finding>,
) {
    for pcr in policy.explained_pcrs() {
        let value = || quoted.value(log.bank(), pcr).unwrap_or_default().to_vec();
        match log.compared().get(&pcr) {
            None => findings.push(Finding::NotQuoted { pcr }),
            // Firmware closes each of these PCRs with a separator at least.
            Some(PcrComparison::Untouched) if pcr <= 7 => {
                findings.push(Finding::NothingMeasured { pcr });
            }
            Some(PcrComparison::Explained | PcrComparison::Untouched) => {}
            Some(PcrComparison::NotInLog) => {
                findings.push(Finding::NotInLog { pcr, quoted: value() });
            }
            Some(PcrComparison::Mismatch(mismatch)) => findings.push(Finding::NotMatching {
                pcr,
                quoted: value(),
                mismatch: mismatch.clone(),
            }),
        }
    }
}

fn measurements(facts: &BootFacts<'_>, policy: &MachinePolicy, findings: &mut Vec<Finding>) {
    for (pcr, allowed) in &policy.measurements {
        let of_pcr = facts.measured.iter().filter(|measured| measured.pcr == pcr.get());
        for measured in of_pcr.filter(|measured| measured.content != Content::Separator) {
            if allowed.iter().any(|allowed| allowed.digest == measured.digest) {
                continue;
            }
            let found = Measurement::of(measured);
            let before =
                allowed.iter().filter(|allowed| allowed.what == found.what).cloned().collect();
            findings.push(Finding::Measurement { found, before });
        }
    }
}

fn rules(
    facts: &BootFacts<'_>,
    rules: &Rules,
    policy: &MachinePolicy,
    findings: &mut Vec<Finding>,
) {
    if rules.secure_boot {
        secure_boot(facts, findings);
    }
    let stores = [
        (SignatureStore::Pk, &facts.pk, &rules.pk_certificates),
        (SignatureStore::Kek, &facts.kek, &rules.kek_certificates),
        (SignatureStore::Db, &facts.db, &rules.db_certificates),
    ];
    for (store, database, allowed) in stores {
        if let Some(allowed) = allowed {
            let images = if store == SignatureStore::Db { &rules.db_images } else { [].as_slice() };
            signatures(store, database, (allowed, images), findings);
        }
    }
    if let Some(forbidden) = &rules.dbx_images {
        match &facts.dbx {
            Database::Known(dbx) => findings.extend(missing(dbx, forbidden)),
            _ => findings.push(Finding::StoreUnproven(SignatureStore::Dbx)),
        }
    }
    if let Some(allowed) = &rules.signers {
        signers(facts, allowed, policy, findings);
    }
    if rules.judges_texts() {
        boot_texts(facts, rules, findings);
    }
}

fn boot_texts(facts: &BootFacts<'_>, rules: &Rules, findings: &mut Vec<Finding>) {
    let strange = facts.strings.iter().filter(|string| !rules.allows_text(&string.text));
    findings.extend(strange.map(|string| Finding::BootText {
        event: string.event,
        pcr: string.pcr,
        text: string.text.clone(),
    }));
    let hidden = facts.measured.iter().filter(|measured| {
        let shown = matches!(measured.content, Content::Text { .. } | Content::Separator);
        matches!(measured.pcr, 8 | 12) && !shown
    });
    findings.extend(hidden.map(|measured| Finding::BootTextHidden(Measurement::of(measured))));
}

fn secure_boot(facts: &BootFacts<'_>, findings: &mut Vec<Finding>) {
    if facts.secure_boot != SecureBoot::On {
        findings.push(Finding::SecureBoot(facts.secure_boot));
    }
    let off = facts.authorities.iter().filter(|authority| {
        authority.variable.name == "MokSBState" && authority.variable.data.first() == Some(&1)
    });
    findings.extend(off.map(|authority| Finding::ShimValidationOff { event: authority.event }));
}

fn signatures(
    store: SignatureStore,
    database: &Database<'_>,
    (allowed, images): (&[Allowed], &[Allowed]),
    findings: &mut Vec<Finding>,
) {
    let Database::Known(database) = database else {
        return findings.push(Finding::StoreUnproven(store));
    };
    for certificate in &database.certificates {
        let thumbprint = certificate.thumbprint();
        if !allows(allowed, thumbprint) {
            let subject = subject(certificate.der);
            findings.push(Finding::Certificate { store, thumbprint, subject });
        }
    }
    for image in &database.images {
        if !images.iter().any(|allowed| allowed.digest == *image) {
            findings.push(Finding::Image { store, digest: image.to_vec() });
        }
    }
    if database.others > 0 {
        findings.push(Finding::OtherEntries { store, count: database.others });
    }
}

fn missing(dbx: &SignatureDatabase<'_>, forbidden: &[Allowed]) -> Vec<Finding> {
    let absent = forbidden.iter().filter(|image| !dbx.images.contains(&image.digest.as_slice()));
    absent.cloned().map(Finding::NotForbidden).collect()
}

fn signers(
    facts: &BootFacts<'_>,
    allowed: &[Allowed],
    policy: &MachinePolicy,
    findings: &mut Vec<Finding>,
) {
    let of_pcr_7 = facts.measured.iter().filter(|measured| measured.pcr == 7);
    let after = of_pcr_7
        .skip_while(|measured| {
            !matches!(measured.content, Content::Separator | Content::ErrorSeparator)
        })
        .skip(1);
    let listed = |measured: &&Measured<'_>| {
        policy.measurements.iter().any(|(pcr, allowed)| {
            pcr.get() == 7 && allowed.iter().any(|allowed| allowed.digest == measured.digest)
        })
    };
    for measured in after.filter(|measured| !listed(measured)) {
        let authority =
            facts.authorities.iter().find(|authority| authority.event == measured.event);
        let Some(authority) = authority else {
            if measured.content != Content::Separator {
                findings.push(Finding::SignerHidden(Measurement::of(measured)));
            }
            continue;
        };
        let name = &authority.variable.name;
        let certificate = authority.certificate.as_ref();
        let thumbprint = certificate.map(|certificate| certificate.thumbprint());
        let fits = match thumbprint {
            Some(thumbprint) => allows(allowed, thumbprint),
            None => SHIM_SETTINGS.contains(&name.as_str()),
        };
        if !fits {
            findings.push(Finding::Signer {
                event: measured.event,
                variable: name.clone(),
                thumbprint,
                subject: certificate.and_then(|certificate| subject(certificate.der)),
            });
        }
    }
}
