//! Where PINs come from.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use signet_client::ceremony::CannotAsk;
use zeroize::Zeroizing;

use crate::output::{Output, Style};
use crate::secret_input;

/// A descriptor that was named, line by line; otherwise the terminal.
#[derive(Debug)]
pub(crate) struct PinSource {
    descriptor: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The descriptor's lines that were not given yet; `None` before it was read.
    lines: Option<VecDeque<Zeroizing<String>>>,
    /// Whether a PIN was given to the question that is asked now.
    given: bool,
    /// Whether the PIN of one key is used for a whole command.
    remembers: bool,
    last: Option<Zeroizing<String>>,
    proved: Option<Zeroizing<String>>,
}

impl PinSource {
    /// From `descriptor` where one is named.
    pub(crate) fn new(descriptor: Option<u32>) -> Self {
        Self { descriptor, state: Mutex::default() }
    }

    /// From here on requests are about one key: a PIN that it took is not asked for again.
    pub(crate) fn remember(&self) {
        self.state().remembers = true;
    }

    /// Whether PINs come from a descriptor, or one is remembered.
    pub(crate) fn has_pins(&self) -> bool {
        self.descriptor.is_some() || self.state().proved.is_some()
    }

    /// Another question begins, of another key or for another purpose.
    pub(crate) fn another_question(&self) {
        self.state().given = false;
    }

    /// The request that took the last PIN was done: it was right.
    pub(crate) fn proved(&self) {
        let mut state = self.state();
        if let Some(pin) = state.last.take()
            && state.remembers
        {
            state.proved = Some(pin);
        }
    }

    /// Gives the PIN. A line serves once: giving the same wrong PIN again would lock the key.
    pub(crate) async fn pin(&self, prompt: &str) -> Result<Zeroizing<String>, CannotAsk> {
        let asked_again = {
            let mut state = self.state();
            let asked_again = std::mem::replace(&mut state.given, true);
            if let Some(pin) = state.proved.take().filter(|_| !asked_again) {
                state.last = Some(pin.clone());
                return Ok(pin);
            }
            asked_again
        };
        let pin = match self.descriptor {
            Some(_) if asked_again => return Err(CannotAsk::PinUsed),
            Some(number) => self.line(number).await?.ok_or(CannotAsk::PinUsed)?,
            None => secret_input::ask(prompt).await?,
        };
        self.state().last = Some(pin.clone());
        Ok(pin)
    }

    /// Gives a PIN to be; at a terminal it is typed twice.
    pub(crate) async fn new_pin(
        &self,
        output: Output,
        prompt: &str,
    ) -> Result<Zeroizing<String>, CannotAsk> {
        if let Some(number) = self.descriptor {
            return self.line(number).await?.ok_or(CannotAsk::NewPinMissing);
        }
        loop {
            let first = secret_input::ask(prompt).await?;
            let second = secret_input::ask("The same once more: ").await?;
            if first == second {
                return Ok(first);
            }
            output.say(Some(Style::Bad), "The two are not the same.");
        }
    }

    /// The next line of the descriptor, which is read at the first call.
    async fn line(&self, number: u32) -> Result<Option<Zeroizing<String>>, CannotAsk> {
        if self.state().lines.is_none() {
            let read = tokio::task::spawn_blocking(move || secret_input::read_descriptor(number));
            let lines = read.await.map_err(|error| CannotAsk::Io(error.into()))??;
            self.state().lines = Some(lines.into());
        }
        Ok(self.state().lines.as_mut().and_then(VecDeque::pop_front))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
