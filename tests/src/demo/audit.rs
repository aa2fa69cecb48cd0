//! The audit trail: what each step decided must be on record, with its exact code.

use super::notes::{Fault, Notes};
use super::{Decided, Stage};
use crate::house::Audited;

impl Stage {
    /// The records since the last step hold, in order, what this step must have decided.
    pub(super) fn check_audit(&mut self, step: usize, notes: &mut Notes) -> Result<(), Fault> {
        let last = self.trail.last().map_or(0, |record| record.sequence);
        let new = self.house.authority.audit_after(last)?;
        let decided: Vec<Decided> = std::mem::take(&mut notes.decided)
            .into_iter()
            .map(|(event, code)| Decided { step, event, code })
            .collect();
        let mut records = new.iter();
        for expected in &decided {
            let found = records.find(|record| expected.is(record)).ok_or_else(|| {
                let said: Vec<String> = new.iter().map(line).collect();
                format!("{} is not on record; what is: {}", expected.words(), said.join(" | "))
            })?;
            if found.code.is_some() {
                notes.back(format!("on record: {}", expected.words()));
            }
        }
        self.decided.extend(decided);
        self.trail.extend(new);
        Ok(())
    }
}

impl Decided {
    fn is(&self, record: &Audited) -> bool {
        record.event == self.event && record.code.as_deref() == self.code
    }

    fn words(&self) -> String {
        match self.code {
            None => format!("{} allowed", self.event),
            Some(code) => format!("{} refused, {code}", self.event),
        }
    }
}

pub(super) fn trail(stage: &mut Stage, notes: &mut Notes) -> Result<(), Fault> {
    notes.did("signet-authority audit list   (each record is a leaf of a signed Merkle tree)");
    let trail = stage.house.authority.audit()?;
    let mut records = trail.iter();
    for expected in &stage.decided {
        records
            .by_ref()
            .find(|record| expected.is(record))
            .ok_or_else(|| format!("step {}: {} is missing", expected.step, expected.words()))?;
    }
    for record in &trail {
        notes.back(line(record));
    }
    Ok(())
}

fn line(record: &Audited) -> String {
    let decision = record.code.as_deref().unwrap_or(&record.decision);
    let subject = record.subject.as_deref().unwrap_or("-");
    let who = if subject.len() > 24 { "a workload" } else { subject };
    format!("{:>3}  {:<20} {:<30} {who}", record.sequence, record.event, decision)
}
