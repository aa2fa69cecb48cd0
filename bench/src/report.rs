//! Table and `results.json`.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::{Bench, Figure};

/// Whether a bar was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// All were.
    All,
    /// This many were not.
    Not(usize),
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(&'static str, &'static str, f64, Figure)>,
}

/// One element of the list in `results.json`.
#[derive(Serialize)]
struct Outcome<'a> {
    name: &'a str,
    ratio: f64,
    bar: f64,
    held: bool,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, bench: &Bench, figure: Figure) {
        self.rows.push((bench.name, bench.about, bench.bar, figure));
    }

    /// Whether all bars were kept.
    #[must_use]
    pub fn held(&self) -> Held {
        match self.rows.iter().filter(|(_, _, bar, figure)| figure.ratio > *bar).count() {
            0 => Held::All,
            missed => Held::Not(missed),
        }
    }

    /// Writes the list of `{name, ratio, bar, held}`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let outcomes: Vec<Outcome<'_>> = self
            .rows
            .iter()
            .map(|(name, _, bar, figure)| Outcome {
                name,
                ratio: figure.ratio,
                bar: *bar,
                held: figure.ratio <= *bar,
            })
            .collect();
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut text = serde_json::to_string_pretty(&outcomes)?;
        text.push('\n');
        fs::write(file, text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<24} {:>10} {:>10} {:>7} {:>6}  {:<5} {:>11} {:>7}",
            "bench", "base", "ours", "ratio", "bar", "held", "base : base", "batches"
        )?;
        for (name, about, bar, figure) in &self.rows {
            let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
            writeln!(
                out,
                "{name:<24} {:>7.2} ms {:>7.2} ms {:>7.3} {bar:>6.2}  {:<5} {:>11.3} {:>7}",
                milliseconds(figure.base),
                milliseconds(figure.ours),
                figure.ratio,
                if figure.ratio <= *bar { "yes" } else { "NO" },
                figure.calibration,
                figure.batches,
            )?;
            writeln!(out, "  {about}")?;
        }
        Ok(())
    }
}
