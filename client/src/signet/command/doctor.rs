//! `signet doctor`.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;
use signet_client::doctor::{Finding, Report, State, examine};
use signet_client::settings::Settings;

use super::{chosen_bus, settings};
use crate::cli::Doctor;
use crate::failure::Failure;
use crate::output::{Output, Style};

/// Version of the JSON. Checks, facts and members may be added; those that are there stay.
const FORMAT: u32 = 1;

pub(super) async fn run(
    output: Output,
    options: &Doctor,
    bus: Option<String>,
) -> Result<ExitCode, Failure> {
    // Settings that cannot be read are a problem to tell of, not one to stop at.
    let (settings, fault) = match settings() {
        Ok(settings) => (settings, None),
        Err(error) => (Settings::default(), Some(Failure::from(error).message())),
    };
    let bus = chosen_bus(bus, &settings)?;
    let report = examine(&bus, &options.root).await;
    let failed = fault.is_some() || report.state() == State::Fail;
    if output.is_json() {
        let state = if failed { State::Fail } else { report.state() };
        let result = json!({
            "format": FORMAT,
            "signet": env!("CARGO_PKG_VERSION"),
            "state": state,
            "settings_fault": fault,
            "checks": report.findings,
        });
        output.result(&result, "")?;
    } else {
        if let Some(fault) = &fault {
            output.say(Some(Style::Bad), &format!("signet: {fault}"));
        }
        output.line(&text(output, &report))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(output: Output, report: &Report) -> String {
    let mut text = String::new();
    for Finding { check, state, summary, fix, .. } in &report.findings {
        let style = match state {
            State::Ok => Style::Good,
            State::Unknown => Style::Faint,
            State::Warn => Style::Ask,
            State::Fail => Style::Bad,
        };
        let word = output.emphasised(style, &format!("{:<7}", state.as_str()));
        let _ = writeln!(text, "{word} {:<18} {summary}", check.as_str());
        if let Some(fix) = fix {
            let _ = writeln!(text, "{:26} > {fix}", "");
        }
    }
    let (failed, warned) = (report.count(State::Fail), report.count(State::Warn));
    let unknown = match report.count(State::Unknown) {
        0 => String::new(),
        unknown => format!(", {unknown} not looked at"),
    };
    let _ = write!(text, "{failed} failed, {warned} to look after{unknown}");
    text
}
