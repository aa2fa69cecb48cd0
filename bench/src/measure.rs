//! How a ratio is taken.

use std::time::Duration;

use crate::{Bench, Contest, Failure, Programs};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// One round: that it runs at all. The ratio says nothing.
    Short,
    /// A warm-up and up to three batches, until one keeps the bar: noise of the machine spoils a batch
    /// now and then, but does not make ours cheap in a whole one.
    Full,
}

/// The outcome of a bench.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Median of the base's times.
    pub base: Duration,
    /// Median of our times.
    pub ours: Duration,
    /// Ours to base, by medians, of the best batch.
    pub ratio: f64,
    /// Base to base in that batch: how far from 1 the machine's noise alone moves a ratio.
    pub calibration: f64,
    /// Batches that were run.
    pub batches: usize,
}

impl Effort {
    /// How many of something: few, or as many as it takes.
    #[must_use]
    pub fn of(self, short: usize, full: usize) -> usize {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

const BATCHES: usize = 3;
const WARM_UP: usize = 2;

/// Runs one bench.
///
/// # Errors
/// When it cannot be prepared or a run of it fails.
pub fn measure(bench: &Bench, programs: &Programs, effort: Effort) -> Result<Figure, Failure> {
    let mut contest = (bench.prepare)(programs, effort)?;
    if effort == Effort::Short {
        return batch(contest.as_mut(), 1);
    }
    for _ in 0..WARM_UP {
        contest.base()?;
        contest.ours()?;
    }
    run_batches(contest.as_mut(), bench.bar, bench.rounds)
}

fn run_batches(contest: &mut dyn Contest, bar: f64, rounds: usize) -> Result<Figure, Failure> {
    let mut best = batch(contest, rounds)?;
    let mut batches = 1;
    while best.ratio > bar && batches < BATCHES {
        let next = batch(contest, rounds)?;
        batches += 1;
        if next.ratio < best.ratio {
            best = next;
        }
    }
    Ok(Figure { batches, ..best })
}

/// Base, ours, base, and so on: what changes slowly on the machine meets both.
fn batch(contest: &mut dyn Contest, rounds: usize) -> Result<Figure, Failure> {
    let (mut before, mut ours, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        before.push(contest.base()?);
        ours.push(contest.ours()?);
        after.push(contest.base()?);
    }
    let calibration = ratio(median(&mut after.clone()), median(&mut before.clone()));
    before.append(&mut after);
    let (base, ours) = (median(&mut before), median(&mut ours));
    Ok(Figure { base, ours, ratio: ratio(ours, base), calibration, batches: 1 })
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ratio(of: Duration, to: Duration) -> f64 {
    of.as_secs_f64() / to.as_secs_f64().max(1e-9)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]
mod tests {
    use super::*;

    /// Base always takes 100 µs, ours the next of these.
    struct Scripted<'a>(std::slice::Iter<'a, u64>);

    impl Contest for Scripted<'_> {
        fn base(&mut self) -> Result<Duration, Failure> {
            Ok(Duration::from_micros(100))
        }

        fn ours(&mut self) -> Result<Duration, Failure> {
            Ok(Duration::from_micros(*self.0.next().ok_or("no further run was expected")?))
        }
    }

    fn run(ours: &[u64]) -> Result<Figure, Failure> {
        run_batches(&mut Scripted(ours.iter()), 1.5, 3)
    }

    #[test]
    fn the_ratio_is_that_of_medians() {
        let figure = run(&[120, 9_000, 110]).unwrap();
        assert_eq!((figure.ours, figure.batches), (Duration::from_micros(120), 1));
        assert!((figure.ratio - 1.2).abs() < 1e-9 && (figure.calibration - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_spoilt_batch_is_repeated_and_the_best_of_three_counts() {
        let figure = run(&[900, 900, 100, 130, 130, 130]).unwrap();
        assert_eq!((figure.ours, figure.batches), (Duration::from_micros(130), 2));
        let figure = run(&[900, 900, 900, 700, 700, 700, 800, 800, 800]).unwrap();
        assert_eq!((figure.ours, figure.batches), (Duration::from_micros(700), 3));
    }
}
