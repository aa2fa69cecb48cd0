//! authenticatorSelection and authenticatorReset (CTAP 2.1 §6.9, §6.6): commands that only want a touch.

use crate::channel::Watch;
use crate::key::{CommandError, Key};
use crate::status::Status;

const RESET: u8 = 0x07;
const SELECTION: u8 = 0x0B;

impl Key {
    /// Blinks until the key is touched. Keys before CTAP 2.1 do it by a request that must fail.
    pub async fn selection(&mut self, watch: &mut Watch<'_>) -> Result<(), CommandError> {
        if self.info().has_ctap_2_1() {
            return self.call(SELECTION, None, watch).await.map(drop);
        }
        match self.blink_by_credential(watch).await {
            Err(CommandError::Status(
                Status::PIN_INVALID | Status::PIN_AUTH_INVALID | Status::PIN_NOT_SET,
            )) => Ok(()),
            other => other,
        }
    }

    /// Erases PIN, fingers and all credentials. Keys allow it only shortly after they were plugged in.
    pub async fn reset(&mut self, watch: &mut Watch<'_>) -> Result<(), CommandError> {
        self.call(RESET, None, watch).await?;
        self.refresh().await.map(drop)
    }
}
