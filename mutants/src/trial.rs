//! Runs the tests on each mutant.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::build::Suite;

/// A suite that passes when nothing is changed.
pub(crate) struct Judge {
    suite: Suite,
    /// What it took.
    took: Duration,
    /// The mutants that it comes past.
    reached: BTreeSet<usize>,
}

/// What a suite said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Passed,
    Failed,
    /// It did not end.
    Hung,
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Said> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Said::Passed } else { Said::Failed });
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(Said::Hung);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn run(suite: &Suite, variable: (&str, &str), limit: Duration) -> io::Result<Said> {
    let mut child = Command::new(&suite.program)
        .arg("-q")
        .env(variable.0, variable.1)
        .env("CARGO_MANIFEST_DIR", &suite.folder)
        .env("RUST_BACKTRACE", "0")
        .current_dir(&suite.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    wait(&mut child, limit)
}

/// Runs each suite as it is; the quickest first in what is given.
pub(crate) fn judges(suites: Vec<Suite>, folder: &Path) -> io::Result<Vec<Judge>> {
    let mut judges = Vec::new();
    for suite in suites {
        let reached = folder.join("reached");
        let _ = fs::remove_file(&reached);
        let path = reached.to_string_lossy().into_owned();
        let start = Instant::now();
        let said = run(&suite, ("SIGNET_MUTANTS_REACHED", &path), Duration::from_secs(1800))?;
        if said != Said::Passed {
            return Err(io::Error::other(format!("{} fails when nothing is changed", suite.name)));
        }
        let took = start.elapsed();
        let text = fs::read_to_string(&reached).unwrap_or_default();
        let reached: BTreeSet<_> = text.lines().filter_map(|line| line.parse().ok()).collect();
        eprintln!("{:7.2} s {:5} mutants {}", took.as_secs_f64(), reached.len(), suite.name);
        judges.push(Judge { suite, took, reached });
    }
    judges.sort_by_key(|judge| judge.took);
    Ok(judges)
}

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The suite of this name failed.
    Caught(String),
    /// The suite of this name did not end.
    Hung(String),
    /// No test noticed it.
    Survived,
    /// No test comes past it.
    Unreached,
}

fn judge(number: usize, judges: &[Judge]) -> io::Result<Fate> {
    let mut fate = Fate::Unreached;
    for judge in judges.iter().filter(|judge| judge.reached.contains(&number)) {
        let limit = Duration::from_secs(30) + judge.took * 10;
        match run(&judge.suite, ("SIGNET_MUTANT", &number.to_string()), limit)? {
            Said::Passed => fate = Fate::Survived,
            Said::Failed => return Ok(Fate::Caught(judge.suite.name.clone())),
            Said::Hung => return Ok(Fate::Hung(judge.suite.name.clone())),
        }
    }
    Ok(fate)
}

/// Judges `numbers`, some at a time, and tells of each as it is known.
pub(crate) fn all(
    numbers: &[usize],
    judges: &[Judge],
    jobs: usize,
    tell: impl Fn(usize, Fate) + Sync,
) -> io::Result<()> {
    let waiting = Mutex::new(numbers.iter());
    let take = || waiting.lock().ok()?.next().copied();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|_| {
                scope.spawn(|| -> io::Result<()> {
                    while let Some(number) = take() {
                        tell(number, judge(number, judges)?);
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| io::Error::other("a worker came to grief"))??;
        }
        Ok(())
    })
}
