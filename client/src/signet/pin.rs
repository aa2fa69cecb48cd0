//! Where the PIN comes from.

use std::sync::Mutex;

use signet_client::ceremony::CannotAsk;
use zeroize::Zeroizing;

use crate::secret_input;

/// A descriptor that was named, once; then the terminal.
#[derive(Debug)]
pub(crate) struct PinSource {
    descriptor: Option<u32>,
    used: Mutex<bool>,
}

impl PinSource {
    /// From `descriptor` where one is named.
    pub(crate) fn new(descriptor: Option<u32>) -> Self {
        Self { descriptor, used: Mutex::new(false) }
    }

    /// Gives the PIN. A descriptor serves once: giving the same wrong PIN again would lock the key.
    pub(crate) async fn pin(&self, prompt: &str) -> Result<Zeroizing<String>, CannotAsk> {
        let Some(number) = self.descriptor else { return secret_input::ask(prompt).await };
        let first = {
            let mut used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            !std::mem::replace(&mut *used, true)
        };
        if !first {
            return Err(CannotAsk::PinUsed);
        }
        let read = tokio::task::spawn_blocking(move || secret_input::read_descriptor(number));
        read.await.map_err(|error| CannotAsk::Io(error.into()))?
    }
}
