//! A request under way: its progress, the PIN, and its one answer.

use std::io::Write;
use std::os::fd::AsFd;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use zbus::Message;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::dictionary::Dictionary;
use super::error::{DaemonError, DaemonRefusal};
use super::proxy::{Reply, RequestProxy};
use super::stage::Step;

/// What comes next from a request.
#[derive(Debug)]
pub enum Event {
    /// Something to show, or to answer.
    Progress(Step),
    /// It is done.
    Completed(Answer),
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
                Some("Progress") => return Step::read(&message).map(Event::Progress),
                Some("Completed") => return completion(&message).map(Event::Completed),
                _ => {}
            }
        }
    }

    /// Asks `signetd` to stop; the answer still comes from [`Request::next`].
    ///
    /// # Errors
    /// When `signetd` cannot be reached.
    pub async fn cancel(&mut self) -> Result<(), DaemonError> {
        Ok(self.proxy.cancel().await?)
    }

    /// Hands the PIN over through a pipe, so that it stands in no message that a bus monitor sees.
    ///
    /// # Errors
    /// When `signetd` cannot be reached, or did not ask for a PIN.
    pub async fn provide_pin(&mut self, pin: &Zeroizing<String>) -> Result<(), DaemonError> {
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

fn completion(message: &Message) -> Result<Answer, DaemonError> {
    let body = message.body();
    let (outcome, text, results): (String, String, Reply) =
        body.deserialize().map_err(DaemonError::Call)?;
    if outcome != "ok" {
        let refusal = DaemonRefusal::from_name(&outcome);
        return Err(DaemonError::Refused { refusal, message: text });
    }
    Ok(Answer::new(Dictionary::new(results)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal<B: serde::Serialize + zbus::wire::DynamicType>(member: &str, body: &B) -> Message {
        Message::signal(
            "/org/signet/Presence1/request/1_1/t",
            "org.signet.Presence1.Request",
            member,
        )
        .build(body)
        .unwrap()
    }

    #[test]
    fn an_answer_other_than_ok_is_an_error() {
        let no = signal("Completed", &("TimedOut", "touch the key sooner", Reply::new()));
        let Err(DaemonError::Refused { refusal, message }) = completion(&no) else { panic!() };
        assert_eq!(refusal, DaemonRefusal::TimedOut);
        assert_eq!(message, "touch the key sooner");
        let empty = signal("Completed", &("ok", "", Reply::new()));
        let presence = completion(&empty).unwrap().presence();
        assert!(matches!(presence, Err(DaemonError::Member { member: "evidence" })));
    }
}
