//! A request under way: its progress, the PIN, and its one answer.

use std::io::Write;
use std::os::fd::AsFd;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use zbus::Message;
use zeroize::Zeroizing;

use super::dictionary::Dictionary;
use super::error::{DaemonError, DaemonRefusal};
use super::proxy::{Reply, RequestProxy};

/// What the person should do, or is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Others are before us.
    Queued {
        /// Requests before this one.
        position: u32,
    },
    /// The key waits for a touch.
    TouchNeeded,
    /// The key waits for a finger.
    FingerNeeded,
    /// The finger was not the right one.
    WrongFinger {
        /// Tries left.
        tries_left: u32,
    },
    /// A PIN must be given with [`Request::provide_pin`].
    PinNeeded {
        /// Tries left before the key locks.
        tries_left: u32,
        /// Fewest characters the key takes.
        min_length: u32,
    },
    /// The key works.
    Processing,
    /// The TPM works.
    Quoting,
    /// A stage that this version does not know.
    Unrecognised,
}

/// What comes next from a request.
#[derive(Debug)]
pub enum Event {
    /// Something to show, with the words that belong to it.
    Progress(Progress, Option<Prompt>),
    /// It is done.
    Completed(Completion),
}

/// What is asked, in the words of `signetd`: made from the structured action, not by the requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What kind of thing.
    pub title: String,
    /// What exactly.
    pub action: String,
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Presence Evidence.
    pub evidence: Vec<u8>,
    /// The credential that answered or was made.
    pub credential_id: Option<Vec<u8>>,
    /// How the host saw the person verified: `built-in` or `pin`.
    pub observed: Option<String>,
    /// Model of a newly registered authenticator.
    pub aaguid: Option<Vec<u8>>,
}

/// A request that `signetd` works on. Dropped without an answer, it is cancelled when the
/// connection closes.
pub struct Request {
    proxy: RequestProxy<'static>,
    events: BoxStream<'static, Signal>,
}

/// What one stream brings: a signal of the request, or the end of the daemon that made it.
enum Signal {
    Message(Message),
    OwnerGone,
}

impl Request {
    /// Listens at the request's path; to be called before the request is made.
    pub(super) async fn listen(proxy: RequestProxy<'static>) -> Result<Self, DaemonError> {
        let signals = proxy.inner().receive_all_signals().await?.map(Signal::Message);
        let owner = proxy.inner().receive_owner_changed().await?;
        let gone = owner.filter_map(|owner| async move {
            if owner.is_none() { Some(Signal::OwnerGone) } else { None }
        });
        Ok(Self { proxy, events: futures_util::stream::select(signals, gone).boxed() })
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// What `signetd` answered if it was not yes; [`DaemonError::Vanished`] when it stopped.
    pub async fn next(&mut self) -> Result<Event, DaemonError> {
        loop {
            let message = match self.events.next().await {
                Some(Signal::Message(message)) => message,
                Some(Signal::OwnerGone) | None => return Err(DaemonError::Vanished),
            };
            let header = message.header();
            match header.member().map(|member| member.as_str()) {
                Some("Progress") => return progress(&message),
                Some("Completed") => return completion(&message).map(Event::Completed),
                _ => {}
            }
        }
    }

    /// Asks `signetd` to stop; the answer still comes from [`Request::next`].
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn cancel(&self) -> Result<(), DaemonError> {
        Ok(self.proxy.cancel().await?)
    }

    /// Hands the PIN over through a pipe, so that it stands in no message that a bus monitor sees.
    ///
    /// # Errors
    /// When `signetd` cannot be reached, or did not ask for a PIN.
    pub async fn provide_pin(&self, pin: &Zeroizing<String>) -> Result<(), DaemonError> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (reader, writer) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|errno| DaemonError::PinPipe(errno.into()))?;
        // A PIN has at most 63 bytes (CTAP 2.1 §6.5.1) and any pipe holds 4096 without a reader.
        let pin = pin.as_bytes().get(..1024).unwrap_or(pin.as_bytes());
        let mut writer = std::fs::File::from(writer);
        writer.write_all(pin).map_err(DaemonError::PinPipe)?;
        drop(writer);
        Ok(self.proxy.provide_pin(reader.as_fd().into()).await?)
    }
}

fn progress(message: &Message) -> Result<Event, DaemonError> {
    let body = message.body();
    let (stage, details): (String, Reply) = body.deserialize().map_err(DaemonError::Call)?;
    let mut details = Dictionary::new(details);
    let prompt = match (details.optional("title")?, details.optional("action")?) {
        (Some(title), Some(action)) => Some(Prompt { title, action }),
        _ => None,
    };
    let progress = match stage.as_str() {
        "queued" => Progress::Queued { position: details.take("position")? },
        "touch-needed" => Progress::TouchNeeded,
        "finger-needed" => Progress::FingerNeeded,
        "wrong-finger" => Progress::WrongFinger { tries_left: details.take("tries_left")? },
        "pin-needed" => Progress::PinNeeded {
            tries_left: details.take("tries_left")?,
            min_length: details.optional("min_length")?.unwrap_or(4),
        },
        "processing" => Progress::Processing,
        "quoting" => Progress::Quoting,
        _ => Progress::Unrecognised,
    };
    Ok(Event::Progress(progress, prompt))
}

fn completion(message: &Message) -> Result<Completion, DaemonError> {
    let body = message.body();
    let (outcome, text, results): (String, String, Reply) =
        body.deserialize().map_err(DaemonError::Call)?;
    if outcome != "ok" {
        let refusal = DaemonRefusal::from_name(&outcome);
        return Err(DaemonError::Refused { refusal, message: text });
    }
    let mut results = Dictionary::new(results);
    Ok(Completion {
        evidence: results.take("evidence")?,
        credential_id: results.optional("credential_id")?,
        observed: results.optional("observed")?,
        aaguid: results.optional("aaguid")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::{OwnedVariant, Variant};

    fn signal<B: serde::Serialize + zbus::wire::DynamicType>(member: &str, body: &B) -> Message {
        Message::signal(
            "/org/signet/Presence1/request/1_1/t",
            "org.signet.Presence1.Request",
            member,
        )
        .build(body)
        .unwrap()
    }

    fn details(entries: &[(&str, u32)]) -> Reply {
        let owned = |value: u32| OwnedVariant::try_from(Variant::from(value)).unwrap();
        entries.iter().map(|(key, value)| ((*key).to_owned(), owned(*value))).collect()
    }

    #[test]
    fn stages() {
        let read = |stage: &str, entries: &[(&str, u32)]| {
            progress(&signal("Progress", &(stage, details(entries)))).map(|event| match event {
                Event::Progress(progress, None) => progress,
                other => panic!("{other:?}"),
            })
        };
        let queued = Progress::Queued { position: 3 };
        assert_eq!(read("queued", &[("position", 3)]).unwrap(), queued);
        let pin = Progress::PinNeeded { tries_left: 8, min_length: 6 };
        assert_eq!(read("pin-needed", &[("tries_left", 8), ("min_length", 6)]).unwrap(), pin);
        let wrong = read("wrong-finger", &[]);
        assert!(matches!(wrong, Err(DaemonError::Member { member: "tries_left" })));
        assert_eq!(read("dancing", &[]).unwrap(), Progress::Unrecognised);
    }

    #[test]
    fn an_answer_other_than_ok_is_an_error() {
        let no = signal("Completed", &("TimedOut", "touch the key sooner", Reply::new()));
        let Err(DaemonError::Refused { refusal, message }) = completion(&no) else { panic!() };
        assert_eq!(refusal, DaemonRefusal::TimedOut);
        assert_eq!(message, "touch the key sooner");
        let empty = signal("Completed", &("ok", "", Reply::new()));
        assert!(matches!(completion(&empty), Err(DaemonError::Member { member: "evidence" })));
    }
}
