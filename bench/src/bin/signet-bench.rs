//! `signet-bench`: measures, prints a table, writes `results.json`. Exit 0 when every bar is kept, 1
//! when one is not, 2 when something failed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use signet_bench::{ALL, Effort, Failure, Held, Programs, Report, measure};

const USAGE: &str = "\
Measures Signet against the same work without it.

Usage: signet-bench RESULTS.json [NAME...]

  RESULTS.json  gets a list of {name, ratio, bar, held}
  NAME          only these benches";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let names: Vec<String>;
    let file = match arguments.next() {
        Some(file) if !file.to_string_lossy().starts_with('-') => {
            names = arguments.map(|name| name.to_string_lossy().into_owned()).collect();
            PathBuf::from(file)
        }
        _ => {
            say(&format!("{USAGE}\n\nBenches:\n{}", list()));
            return ExitCode::from(2);
        }
    };
    match run(&file, &names) {
        Ok(Held::All) => ExitCode::SUCCESS,
        Ok(Held::Not(missed)) => {
            say(&format!("{missed} of the bars not kept"));
            ExitCode::FAILURE
        }
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(error.as_ref());
            while let Some(error) = cause {
                say(&format!("signet-bench: {error}"));
                cause = error.source();
            }
            ExitCode::from(2)
        }
    }
}

fn run(file: &Path, names: &[String]) -> Result<Held, Failure> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|bench| bench.name == **name)) {
        return Err(format!("no bench is called {unknown}; there are:\n{}", list()).into());
    }
    let programs = Programs::beside()?;
    let mut report = Report::default();
    for bench in
        ALL.iter().filter(|bench| names.is_empty() || names.iter().any(|n| n == bench.name))
    {
        report.add(bench, measure(bench, &programs, Effort::Full)?);
    }
    write!(std::io::stdout(), "{report}")?;
    report.write(file)?;
    Ok(report.held())
}

fn list() -> String {
    ALL.iter().map(|bench| format!("  {:<22} {}\n", bench.name, bench.about)).collect()
}

fn say(text: &str) {
    // Nothing better can be done when stderr is gone.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}
