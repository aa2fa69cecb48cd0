//! Settings of the key itself (authenticatorConfig).

use super::error::{Feature, OperationError};
use super::prompt::Prompt;
use crate::commands::{MinPinLength, Permissions};
use crate::key::Key;
use crate::pin_protocol::Token;

/// One setting of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// Whether the key wants its user verified for everything, whatever the relying party asks.
    AlwaysUv(bool),
    /// Rules for the PIN. They can only become stricter; only a reset takes them back.
    MinPinLength {
        /// New minimum, code points; `None`: as before.
        length: Option<u32>,
        /// The PIN must be changed before it is good for anything.
        force_change: bool,
        /// Relying parties that may read the minimum; empty: as before.
        rp_ids: Vec<String>,
    },
    /// Lets relying parties ask for an attestation that names this single key. Only a reset takes
    /// it back.
    EnterpriseAttestation,
}

impl Key {
    /// Changes a setting; asks for the PIN first where one is set. A setting that is already as
    /// wanted is left alone.
    pub async fn configure(
        &mut self,
        config: &Config,
        prompt: &Prompt,
    ) -> Result<(), OperationError> {
        if self.info().options.authenticator_config != Some(true) {
            return Err(OperationError::Unsupported(Feature::Configuration));
        }
        match config {
            Config::AlwaysUv(wanted) => self.set_always_uv(*wanted, prompt).await?,
            Config::MinPinLength { length, force_change, rp_ids } => {
                let wanted = MinPinLength { length: *length, rp_ids, force_change: *force_change };
                self.check_min_pin_length(&wanted)?;
                let token = self.config_token(prompt).await?;
                self.set_min_pin_length(&wanted, token.as_ref()).await?;
            }
            Config::EnterpriseAttestation => self.enable_attestation(prompt).await?,
        }
        self.refresh().await?;
        match config {
            Config::AlwaysUv(wanted) if self.info().always_uv() != *wanted => {
                Err(OperationError::NotApplied)
            }
            _ => Ok(()),
        }
    }

    async fn set_always_uv(&mut self, wanted: bool, prompt: &Prompt) -> Result<(), OperationError> {
        match self.info().options.always_uv {
            None => Err(OperationError::Unsupported(Feature::AlwaysUv)),
            Some(now) if now == wanted => Ok(()),
            // A key that came with it on and has no PIN yet lets it be turned off (§6.11 step 3).
            Some(true) if !self.info().is_protected() => Ok(self.toggle_always_uv(None).await?),
            Some(_) => {
                let token = self.config_token(prompt).await?;
                Ok(self.toggle_always_uv(token.as_ref()).await?)
            }
        }
    }

    async fn enable_attestation(&mut self, prompt: &Prompt) -> Result<(), OperationError> {
        match self.info().options.enterprise_attestation {
            None => Err(OperationError::Unsupported(Feature::EnterpriseAttestation)),
            Some(true) => Ok(()),
            Some(false) => {
                let token = self.config_token(prompt).await?;
                Ok(self.enable_enterprise_attestation(token.as_ref()).await?)
            }
        }
    }

    fn check_min_pin_length(&self, wanted: &MinPinLength<'_>) -> Result<(), OperationError> {
        let info = self.info();
        if info.options.set_min_pin_length != Some(true) {
            return Err(OperationError::Unsupported(Feature::MinPinLength));
        }
        let (from, to) = (info.min_pin_length, info.max_pin_length);
        if wanted.length.is_some_and(|length| length < from || length > to) {
            return Err(OperationError::MinPinLengthOutOfRange { from, to });
        }
        let limit = info.max_rp_ids_for_min_pin_length;
        if wanted.rp_ids.len() > limit as usize {
            return Err(OperationError::TooManyRelyingParties { limit });
        }
        if wanted.force_change && !info.has_pin() {
            return Err(OperationError::PinNotSet);
        }
        Ok(())
    }

    /// Keys that verify nobody yet are configured freely (§6.11 step 4).
    async fn config_token(&mut self, prompt: &Prompt) -> Result<Option<Token>, OperationError> {
        if !self.info().is_protected() && !self.info().always_uv() {
            return Ok(None);
        }
        self.management_token(Permissions::CONFIGURATION, prompt).await.map(Some)
    }
}
