//! Back to the factory's state.

use super::error::{Feature, OperationError};
use super::prompt::Prompt;
use crate::key::{CommandError, Key};
use crate::status::Status;

impl Key {
    /// Erases PIN, fingers, settings and every credential, those that are not stored on the key too.
    /// There is no way back.
    ///
    /// Keys allow it only as the first thing within ten seconds of being plugged in
    /// ([`OperationError::NotJustPlugged`]), and only with a touch, a long one where
    /// [`Info::long_touch_for_reset`](crate::commands::Info::long_touch_for_reset) says so. Dropping
    /// the future before the touch leaves the key as it was.
    pub async fn reset_to_factory(&mut self, prompt: &Prompt) -> Result<(), OperationError> {
        let over = &self.info().transports_for_reset;
        if self.info().u2f_only || !(over.is_empty() || over.iter().any(|name| name == "usb")) {
            return Err(OperationError::Unsupported(Feature::Reset));
        }
        match self.reset(&mut prompt.watch()).await {
            Err(CommandError::Status(Status::NOT_ALLOWED)) => Err(OperationError::NotJustPlugged),
            outcome => Ok(outcome?),
        }
    }
}
