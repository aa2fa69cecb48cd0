//! `signet-bench`: measures, prints a table, writes `results.json`. Exit 0 when every bar is kept, 1
//! when one is not, 2 when something failed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use signet_bench::{ALL, Effort, Failure, Held, NotHere, Outcome, Programs, Report, measure, svg};

const USAGE: &str = "\
Measures Signet against the same work without it.

Usage: signet-bench RESULTS.json [NAME...]
       signet-bench --picture RESULTS.json PICTURE.svg

  RESULTS.json  gets a list of {name, ratio, bar, held, about, base, ours, unit}
  NAME          only these benches
  PICTURE.svg   gets a picture of it";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let names: Vec<String>;
    let file = match arguments.next() {
        Some(flag) if flag == "--picture" => {
            let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
            return ended(picture(&files).map(|()| Held::All));
        }
        Some(file) if !file.to_string_lossy().starts_with('-') => {
            names = arguments.map(|name| name.to_string_lossy().into_owned()).collect();
            PathBuf::from(file)
        }
        _ => {
            say(&format!("{USAGE}\n\nBenches:\n{}", list()));
            return ExitCode::from(2);
        }
    };
    ended(run(&file, &names))
}

fn ended(outcome: Result<Held, Failure>) -> ExitCode {
    match outcome {
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
        match measure(bench, &programs, Effort::Full) {
            Ok(figure) => report.add(bench, figure),
            Err(error) if error.is::<NotHere>() => say(&format!("{}: {error}", bench.name)),
            Err(error) => return Err(error),
        }
    }
    write!(std::io::stdout(), "{report}")?;
    report.write(file)?;
    Ok(report.held())
}

/// Draws what was written before.
fn picture(files: &[PathBuf]) -> Result<(), Failure> {
    let [results, picture] = files else { return Err(USAGE.into()) };
    let outcomes: Vec<Outcome> = serde_json::from_str(&std::fs::read_to_string(results)?)?;
    Ok(std::fs::write(picture, svg(&outcomes))?)
}

fn list() -> String {
    ALL.iter().map(|bench| format!("  {:<22} {}\n", bench.name, bench.about)).collect()
}

fn say(text: &str) {
    // Nothing better can be done when stderr is gone.
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}
