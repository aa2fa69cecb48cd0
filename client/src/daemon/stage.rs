//! What a request under way tells: the stages of its `Progress` signals.

use std::collections::HashMap;

use zbus::{Message, OwnedVariant};

use super::dictionary::Dictionary;
use super::error::DaemonError;
use super::method::Method;
use super::proxy::Reply;

/// What the person should do, or is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Others are before us.
    Queued {
        /// Requests before this one.
        position: u32,
    },
    /// No key is plugged in; one is waited for.
    KeyNeeded,
    /// The key waits for a touch.
    TouchNeeded,
    /// The key, or the machine's reader, waits for a finger.
    FingerNeeded,
    /// The finger was not the right one.
    WrongFinger {
        /// Tries left.
        tries_left: u32,
    },
    /// The machine's reader could not read the finger.
    FingerRetry {
        /// Why.
        reason: Sample,
    },
    /// A PIN must be given with [`super::Request::provide_pin`].
    PinNeeded {
        /// Tries left before it locks.
        tries_left: u32,
        /// Fewest characters.
        min_length: u32,
    },
    /// A new PIN must be given with [`super::Request::provide_pin`].
    NewPinNeeded {
        /// Fewest characters.
        min_length: u32,
        /// Most bytes.
        max_length: u32,
    },
    /// A sample of a finger was taken.
    Sample {
        /// How it came out.
        status: Sample,
        /// Good samples still needed.
        remaining: u32,
    },
    /// The person has to give this number to their agent.
    NumberShown {
        /// Two digits.
        number: u32,
    },
    /// For an agent: the person has to say which of these numbers the requester shows.
    NumberNeeded {
        /// The numbers.
        choices: [u32; 3],
    },
    /// The key works.
    Processing,
    /// The TPM works.
    Quoting,
    /// A stage that this version does not know.
    Unrecognised,
}

macro_rules! samples {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// How a sample of a finger came out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Sample {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Sample {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the bus.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The outcome of this name; [`Sample::Unknown`] for one that is not known here.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                Self::ALL.iter().copied().find(|known| known.as_str() == name).unwrap_or(Self::Unknown)
            }
        }
    };
}

samples! {
    /// Good.
    Good = "good",
    /// The finger was too high.
    TooHigh = "too-high",
    /// The finger was too low.
    TooLow = "too-low",
    /// The finger was too far left.
    TooLeft = "too-left",
    /// The finger was too far right.
    TooRight = "too-right",
    /// The finger moved too fast.
    TooFast = "too-fast",
    /// The finger moved too slowly.
    TooSlow = "too-slow",
    /// The image is poor.
    PoorQuality = "poor-quality",
    /// The finger was askew.
    TooSkewed = "too-skewed",
    /// The touch was too short.
    TooShort = "too-short",
    /// Not the finger that was begun with, or too different from it.
    MergeFailure = "merge-failure",
    /// The finger is enrolled already.
    AlreadyEnrolled = "already-enrolled",
    /// Nobody touched the sensor.
    NoActivity = "no-activity",
    /// The finger was not lifted.
    NotLifted = "not-lifted",
    /// The finger was not in the middle.
    NotCentered = "finger-not-centered",
    /// The machine's reader got no usable image.
    RetryScan = "retry-scan",
    /// The swipe was too short.
    SwipeTooShort = "swipe-too-short",
    /// The finger must be lifted first.
    RemoveAndRetry = "remove-and-retry",
    /// Something that this version has no word for.
    Unknown = "unknown",
}

/// What is asked, in the words of `signetd`: made from the structured action, not by the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What kind of thing.
    pub title: String,
    /// What exactly.
    pub action: String,
}

/// One stage of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub progress: Progress,
    /// The words that belong to it, while a person is asked.
    pub prompt: Option<Prompt>,
    /// What the person is asked to prove it with.
    pub method: Method,
    /// Whether the person's agent asks for what they have to enter.
    pub agent: bool,
}

impl Step {
    /// Reads a `Progress` signal.
    pub(super) fn read(message: &Message) -> Result<Self, DaemonError> {
        let body = message.body();
        let (stage, details): (String, Reply) = body.deserialize().map_err(DaemonError::Call)?;
        Self::from_parts(&stage, details)
    }

    /// A stage with its details, as `signetd` tells them to callers and agents.
    ///
    /// # Errors
    /// [`DaemonError::Member`].
    pub fn from_parts(
        stage: &str,
        details: HashMap<String, OwnedVariant>,
    ) -> Result<Self, DaemonError> {
        let mut details = Dictionary::new(details);
        let prompt = match (details.optional("title")?, details.optional("action")?) {
            (Some(title), Some(action)) => Some(Prompt { title, action }),
            _ => None,
        };
        let method = details.optional::<String>("method")?;
        let method = method.as_deref().and_then(Method::from_name).unwrap_or_default();
        let agent = details.optional("agent")?.unwrap_or(false);
        Ok(Self { progress: progress(stage, details)?, prompt, method, agent })
    }
}

fn progress(stage: &str, mut details: Dictionary) -> Result<Progress, DaemonError> {
    let mut sample = |member| details.take::<String>(member).map(|name| Sample::from_name(&name));
    Ok(match stage {
        "queued" => Progress::Queued { position: details.take("position")? },
        "key-needed" => Progress::KeyNeeded,
        "touch-needed" => Progress::TouchNeeded,
        "finger-needed" => Progress::FingerNeeded,
        "wrong-finger" => Progress::WrongFinger { tries_left: details.take("tries_left")? },
        "finger-retry" => Progress::FingerRetry { reason: sample("reason")? },
        "pin-needed" => Progress::PinNeeded {
            tries_left: details.take("tries_left")?,
            min_length: details.optional("min_length")?.unwrap_or(4),
        },
        "new-pin-needed" => Progress::NewPinNeeded {
            min_length: details.take("min_length")?,
            max_length: details.optional("max_length")?.unwrap_or(63),
        },
        "sample" => {
            Progress::Sample { status: sample("status")?, remaining: details.take("remaining")? }
        }
        "number-shown" => Progress::NumberShown { number: details.take("number")? },
        "number-needed" => {
            let choices: Vec<u32> = details.take("choices")?;
            let choices = choices.try_into();
            Progress::NumberNeeded {
                choices: choices.map_err(|_| DaemonError::Member { member: "choices" })?,
            }
        }
        "processing" => Progress::Processing,
        "quoting" => Progress::Quoting,
        _ => Progress::Unrecognised,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn read(stage: &str, details: &[(&str, Variant<'static>)]) -> Result<Step, DaemonError> {
        let owned = |value: &Variant<'static>| OwnedVariant::try_from(value.clone()).unwrap();
        let details: Reply =
            details.iter().map(|(key, value)| ((*key).to_owned(), owned(value))).collect();
        let message = Message::signal("/t", "org.signet.Presence1.Request", "Progress")
            .build(&(stage, details))
            .unwrap();
        Step::read(&message)
    }

    #[test]
    fn stages() {
        let plain = |stage, details: &[_]| read(stage, details).unwrap().progress;
        let queued = Progress::Queued { position: 3 };
        assert_eq!(plain("queued", &[("position", 3_u32.into())]), queued);
        let pin = Progress::PinNeeded { tries_left: 8, min_length: 6 };
        let details = [("tries_left", 8_u32.into()), ("min_length", 6_u32.into())];
        assert_eq!(plain("pin-needed", &details), pin);
        let wrong = read("wrong-finger", &[]);
        assert!(matches!(wrong, Err(DaemonError::Member { member: "tries_left" })));
        assert_eq!(plain("dancing", &[]), Progress::Unrecognised);
        let number = plain("number-shown", &[("number", 42_u32.into())]);
        assert_eq!(number, Progress::NumberShown { number: 42 });
        let offered = plain("number-needed", &[("choices", vec![11_u32, 42, 97].into())]);
        assert_eq!(offered, Progress::NumberNeeded { choices: [11, 42, 97] });
        let offered = read("number-needed", &[("choices", vec![11_u32].into())]);
        assert!(matches!(offered, Err(DaemonError::Member { member: "choices" })));
        let details = [("status", "too-fast".into()), ("remaining", 2_u32.into())];
        let sample = Progress::Sample { status: Sample::TooFast, remaining: 2 };
        assert_eq!(plain("sample", &details), sample);
        let details = [("min_length", 6_u32.into()), ("max_length", 63_u32.into())];
        let new = Progress::NewPinNeeded { min_length: 6, max_length: 63 };
        assert_eq!(plain("new-pin-needed", &details), new);
    }

    #[test]
    fn methods_and_samples_have_names() {
        let step = read("finger-needed", &[("method", "fingerprint".into())]).unwrap();
        assert_eq!(step.method, Method::Fingerprint);
        assert_eq!(read("touch-needed", &[]).unwrap().method, Method::SecurityKey);
        for sample in Sample::ALL {
            assert_eq!(Sample::from_name(sample.as_str()), *sample);
        }
        assert_eq!(Sample::from_name("too-cold"), Sample::Unknown);
    }
}
