//! Setting and changing the PIN. Every PIN is put into Unicode NFC on its way to the key.

use zeroize::Zeroizing;

use super::error::{Feature, OperationError};
use crate::commands::client_pin::normalized;
use crate::key::{CommandError, Key};
use crate::status::Status;

/// Longest PIN in UTF-8 (CTAP 2.1 §6.5.1).
const MAX_BYTES: usize = 63;

impl Key {
    /// Sets the first PIN. A key with rules of its own (`pinComplexityPolicy`) may
    /// answer [`OperationError::PinPolicy`].
    pub async fn set_pin(&mut self, new: &Zeroizing<String>) -> Result<(), OperationError> {
        match self.info().options.client_pin {
            None => return Err(OperationError::Unsupported(Feature::Pin)),
            Some(true) => return Err(OperationError::PinAlreadySet),
            Some(false) => {}
        }
        self.check_new_pin(new)?;
        self.client_pin_set(new).await?;
        self.refresh().await?;
        Ok(())
    }

    /// Changes the PIN. A wrong old PIN costs one try.
    pub async fn change_pin(
        &mut self,
        old: &Zeroizing<String>,
        new: &Zeroizing<String>,
    ) -> Result<(), OperationError> {
        match self.info().options.client_pin {
            None => return Err(OperationError::Unsupported(Feature::Pin)),
            Some(false) => return Err(OperationError::PinNotSet),
            Some(true) => {}
        }
        self.check_new_pin(new)?;
        if normalized(old) == normalized(new) {
            return Err(OperationError::PinUnchanged);
        }
        match self.client_pin_change(old, new).await {
            Err(CommandError::Status(Status::PIN_INVALID)) => {
                Err(OperationError::WrongPin { tries_left: self.pin_retries().await?.left })
            }
            outcome => {
                outcome?;
                self.refresh().await?;
                Ok(())
            }
        }
    }

    fn check_new_pin(&self, new: &str) -> Result<(), OperationError> {
        let new = normalized(new);
        let min_length = self.info().min_pin_length;
        let length = new.chars().count();
        if new.len() > MAX_BYTES || length > self.info().max_pin_length as usize {
            return Err(OperationError::PinTooLong);
        }
        if length < min_length as usize {
            return Err(OperationError::PinTooShort { min_length });
        }
        Ok(())
    }
}
