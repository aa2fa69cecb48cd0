//! `policy check` and `policy test`.

use std::path::Path;

use anyhow::{bail, ensure};
use serde_json::{Value, json};
use signet_authority::policy::{ActionPolicySet, PolicyProblem, TESTS, Verdict};

use super::super::output::{Output, to_stderr};

pub(super) fn check(folder: &Path, output: Output) -> anyhow::Result<()> {
    let set = match ActionPolicySet::load(folder) {
        Ok(set) => set,
        Err(error) => {
            let problems: Vec<Value> =
                error.problems.iter().map(|one| fault(folder, one)).collect();
            let text =
                error.problems.iter().map(|one| format!("{}/{}", folder.display(), one.report()));
            let text: Vec<String> = text.collect();
            output.line(&text.join("\n"), &json!({ "ok": false, "problems": problems }))?;
            bail!("the set does not take effect: {} problem(s)", problems.len());
        }
    };
    let (version, rules) = (set.version().to_string(), set.rules().len());
    let text = format!("{}: {rules} rules, version {version}", folder.display());
    output.line(&text, &json!({ "ok": true, "rules": rules, "version": version }))
}

fn fault(folder: &Path, problem: &PolicyProblem) -> Value {
    json!({ "file": folder.join(&problem.file), "line": problem.line, "problem": problem.report() })
}

pub(super) fn test(folder: &Path, output: Output) -> anyhow::Result<()> {
    let set = ActionPolicySet::load(folder)?;
    let Some(table) = set.files().get(TESTS) else {
        bail!("{} has no {TESTS}: write what the set must decide", folder.display());
    };
    let outcomes = set.run_table(table)?;
    let place = folder.join(TESTS);
    let mut failures = Vec::new();
    for outcome in &outcomes {
        let Some(difference) = &outcome.difference else { continue };
        to_stderr(&format!(
            "{}:{}: {}: expected {}, found {}\n",
            place.display(),
            outcome.line,
            outcome.name,
            shown(&difference.expected),
            shown(&difference.found),
        ));
        failures.push(json!({
            "file": place, "line": outcome.line, "name": outcome.name,
            "expected": difference.expected, "found": difference.found,
        }));
    }
    let (tests, failed) = (outcomes.len(), failures.len());
    let text = format!("{}: {tests} tests, {failed} failed", folder.display());
    let version = set.version().to_string();
    let value = json!({
        "ok": failed == 0, "tests": tests, "failed": failed, "version": version,
        "failures": failures,
    });
    output.line(&text, &value)?;
    ensure!(failed == 0, "{failed} of the policy's tests failed");
    Ok(())
}

/// A verdict in words.
pub(super) fn shown(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Permit(rules) => format!("permit by {}", rules.join(", ")),
        Verdict::Deny(why) => format!("deny ({why})"),
        Verdict::StepUp { acr_values, max_age, no_pin } => {
            let when = match max_age {
                0 => "for this very request".to_owned(),
                seconds => format!("within {seconds} s"),
            };
            let key = if *no_pin { ", with a key on which no PIN can stand in" } else { "" };
            format!("step-up to {} {when}{key}", acr_values.join(" or "))
        }
    }
}
