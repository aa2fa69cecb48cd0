//! Table and `results.json`.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Bench, Figure, Unit};

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
    rows: Vec<(Bench, Figure)>,
}

/// One element of the list in `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The bench.
    pub name: String,
    /// Ours to base.
    pub ratio: f64,
    /// Highest ratio that holds.
    pub bar: f64,
    /// Whether it held.
    pub held: bool,
    /// What is compared with what.
    pub about: String,
    /// Median of the base, in the unit.
    pub base: f64,
    /// Our median, in the unit.
    pub ours: f64,
    /// `s` or `MiB`.
    pub unit: String,
}

impl Report {
    /// Adds a figure.
    pub fn add(&mut self, bench: &Bench, figure: Figure) {
        self.rows.push((*bench, figure));
    }

    /// Whether all bars were kept.
    #[must_use]
    pub fn held(&self) -> Held {
        match self.rows.iter().filter(|(bench, figure)| figure.ratio > bench.bar).count() {
            0 => Held::All,
            missed => Held::Not(missed),
        }
    }

    /// Every figure as it is written.
    #[must_use]
    pub fn outcomes(&self) -> Vec<Outcome> {
        let outcome = |(bench, figure): &(Bench, Figure)| {
            let (unit, base) = bench.unit.value(figure.base);
            Outcome {
                name: bench.name.into(),
                ratio: figure.ratio,
                bar: bench.bar,
                held: figure.ratio <= bench.bar,
                about: bench.about.into(),
                base,
                ours: bench.unit.value(figure.ours).1,
                unit: unit.into(),
            }
        };
        self.rows.iter().map(outcome).collect()
    }

    /// Writes the list of [`Outcome`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut text = serde_json::to_string_pretty(&self.outcomes())?;
        text.push('\n');
        fs::write(file, text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<24} {:>11} {:>11} {:>7} {:>6}  {:<5} {:>11} {:>7}",
            "bench", "base", "ours", "ratio", "bar", "held", "base : base", "batches"
        )?;
        for (bench, figure) in &self.rows {
            let shown = |time: std::time::Duration| match bench.unit {
                Unit::Time => format!("{:.2} ms", time.as_secs_f64() * 1e3),
                Unit::Memory => format!("{:.1} MiB", bench.unit.value(time).1),
            };
            writeln!(
                out,
                "{:<24} {:>11} {:>11} {:>7.3} {:>6.2}  {:<5} {:>11.3} {:>7}",
                bench.name,
                shown(figure.base),
                shown(figure.ours),
                figure.ratio,
                bench.bar,
                if figure.ratio <= bench.bar { "yes" } else { "NO" },
                figure.calibration,
                figure.batches,
            )?;
            writeln!(out, "  {}", bench.about)?;
        }
        Ok(())
    }
}
