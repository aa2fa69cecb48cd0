//! What a person reads while a finger is enrolled.

use signet_client::daemon::Sample;

/// A sample in words: how it was, and what to do.
pub(crate) fn words(sample: Sample) -> &'static str {
    match sample {
        Sample::Good => "good",
        Sample::TooHigh => "too high: move your finger down",
        Sample::TooLow => "too low: move your finger up",
        Sample::TooLeft => "too far left: centre your finger",
        Sample::TooRight => "too far right: centre your finger",
        Sample::NotCentered => "not in the middle: centre your finger",
        Sample::TooFast => "too fast: move more slowly",
        Sample::TooSlow => "too slow: move faster",
        Sample::PoorQuality => "poor image: clean your finger and the sensor",
        Sample::TooSkewed => "askew: hold your finger straight",
        Sample::TooShort => "too short: leave your finger on longer",
        Sample::MergeFailure => {
            "not the same finger, or another side of it: use the one you began with"
        }
        Sample::AlreadyEnrolled => "this finger is enrolled already: use another one",
        Sample::NoActivity => "no finger yet",
        Sample::NotLifted => "lift your finger between the touches",
        Sample::RetryScan => "no clear image: place your finger again",
        Sample::SwipeTooShort => "too short: swipe the whole finger",
        Sample::RemoveAndRetry => "lift your finger, then place it again",
        Sample::Unknown => "not usable: try again",
    }
}

/// How far an enrolment has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enrolment {
    good: u32,
    remaining: u32,
}

impl Enrolment {
    /// Longest bar, in characters.
    const WIDTH: u32 = 40;

    /// Takes note of a sample.
    pub(crate) fn sampled(&mut self, sample: Sample, remaining: u32) {
        self.good += u32::from(sample == Sample::Good);
        self.remaining = remaining;
    }

    /// The samples as a bar: those that were good, and those that are still needed.
    pub(crate) fn bar(self) -> String {
        let total = (self.good + self.remaining).max(1);
        let width = total.min(Self::WIDTH);
        let full = (self.good * width / total) as usize;
        format!("[{}{}]", "#".repeat(full), "-".repeat(width as usize - full))
    }

    /// What is left to do.
    pub(crate) fn left(self) -> String {
        match self.remaining {
            0 => "done".to_owned(),
            1 => "1 more touch".to_owned(),
            more => format!("{more} more touches"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_good_samples_only() {
        let mut enrolment = Enrolment::default();
        enrolment.sampled(Sample::NoActivity, 4);
        assert_eq!(
            (enrolment.bar().as_str(), enrolment.left().as_str()),
            ("[----]", "4 more touches")
        );
        enrolment.sampled(Sample::Good, 3);
        enrolment.sampled(Sample::PoorQuality, 3);
        assert_eq!(enrolment.bar(), "[#---]");
        for remaining in [2, 1] {
            enrolment.sampled(Sample::Good, remaining);
        }
        assert_eq!(
            (enrolment.bar().as_str(), enrolment.left().as_str()),
            ("[###-]", "1 more touch")
        );
        enrolment.sampled(Sample::Good, 0);
        assert_eq!((enrolment.bar().as_str(), enrolment.left().as_str()), ("[####]", "done"));
    }

    #[test]
    fn a_sensor_that_wants_very_many_samples_gets_a_bar_of_one_line() {
        let mut enrolment = Enrolment::default();
        enrolment.sampled(Sample::Good, 3_000_000);
        assert_eq!(enrolment.bar().len(), 42);
    }

    #[test]
    fn every_sample_has_words_of_its_own() {
        let words: std::collections::HashSet<_> =
            Sample::ALL.iter().map(|one| words(*one)).collect();
        assert_eq!(words.len(), Sample::ALL.len());
    }
}
