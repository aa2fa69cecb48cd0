//! User verification: how a token for one operation is got.

use super::error::{Feature, OperationError};
use super::prompt::{Event, Prompt};
use crate::commands::{Info, Permissions};
use crate::key::{CommandError, Key};
use crate::pin_protocol::Token;
use crate::status::Status;

/// Most tries for built-in verification that a key may have (CTAP 2.1 §6.5.5.2 maxUvRetries).
const MAX_FINGER_TRIES: usize = 25;

/// Whether the key must verify its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserVerification {
    /// Yes. Built-in verification (finger) where the key has it.
    Required {
        /// The PIN is good too, when there is no finger or it is not recognised.
        pin_fallback: bool,
    },
    /// No, a touch is enough. A key that insists (`alwaysUv`) is verified all the same.
    Discouraged,
}

/// How the user was verified, as seen by the host. Unsigned: the key does not vouch for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UvMethod {
    /// The key did it by itself.
    BuiltIn = 1,
    /// By PIN, typed on the host.
    Pin = 2,
}

/// Outcome of user verification.
pub(super) enum Verified {
    /// Not wanted.
    Not,
    /// A token to attach to the command.
    Token(Token, UvMethod),
    /// The key does it during the command itself (CTAP 2.0 keys with a sensor).
    DuringCommand,
}

impl Verified {
    pub(super) fn token(&self) -> Option<&Token> {
        match self {
            Self::Token(token, _) => Some(token),
            Self::Not | Self::DuringCommand => None,
        }
    }

    pub(super) fn during_command(&self) -> bool {
        matches!(self, Self::DuringCommand)
    }

    pub(super) fn method(&self) -> Option<UvMethod> {
        match self {
            Self::Not => None,
            Self::Token(_, method) => Some(*method),
            Self::DuringCommand => Some(UvMethod::BuiltIn),
        }
    }
}

impl Key {
    /// Verifies the user as the policy wants, for one command with `permissions`.
    pub(super) async fn verify_user(
        &mut self,
        policy: UserVerification,
        permissions: Permissions,
        rp_id: &str,
        prompt: &Prompt,
    ) -> Result<Verified, OperationError> {
        let pin_fallback = match policy {
            UserVerification::Required { pin_fallback } => pin_fallback,
            UserVerification::Discouraged if self.info().options.always_uv == Some(true) => true,
            UserVerification::Discouraged => return Ok(Verified::Not),
        };
        let may_use_pin = pin_fallback && pin_allows(self.info(), permissions);
        if !self.info().has_built_in_uv() {
            return match (pin_fallback, self.info().options.client_pin) {
                (true, Some(true)) if may_use_pin => {
                    self.verify_by_pin(permissions, Some(rp_id), prompt).await
                }
                (true, Some(false)) => Err(OperationError::PinNotSet),
                _ => Err(OperationError::Unsupported(Feature::BuiltInUserVerification)),
            };
        }
        if !self.info().has_permissions() {
            prompt.send(Event::FingerNeeded);
            return Ok(Verified::DuringCommand);
        }
        match self.verify_by_finger(permissions, rp_id, prompt).await {
            Err(OperationError::UvBlocked) if may_use_pin && self.info().has_pin() => {
                prompt.send(Event::FingerBlocked);
                self.verify_by_pin(permissions, Some(rp_id), prompt).await
            }
            outcome => outcome,
        }
    }

    /// Asks for fingers until one is right, or no tries are left.
    async fn verify_by_finger(
        &mut self,
        permissions: Permissions,
        rp_id: &str,
        prompt: &Prompt,
    ) -> Result<Verified, OperationError> {
        for _ in 0..MAX_FINGER_TRIES {
            prompt.send(Event::FingerNeeded);
            match self.token_by_uv(permissions, Some(rp_id), &mut |_| {}).await {
                Ok(token) => return Ok(Verified::Token(token, UvMethod::BuiltIn)),
                Err(CommandError::Status(Status::UV_INVALID)) => {
                    let tries_left = self.uv_retries().await?;
                    prompt.send(Event::WrongFinger { tries_left });
                    if tries_left == 0 {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(OperationError::UvBlocked)
    }

    /// Asks for the PIN until it is right, or the key blocks it.
    pub(super) async fn verify_by_pin(
        &mut self,
        permissions: Permissions,
        rp_id: Option<&str>,
        prompt: &Prompt,
    ) -> Result<Verified, OperationError> {
        if self.info().force_pin_change {
            return Err(OperationError::PinChangeRequired);
        }
        let min_length = self.info().min_pin_length;
        let mut wrong_before = false;
        loop {
            let retries = self.pin_retries().await?;
            if retries.left == 0 {
                return Err(OperationError::PinBlocked);
            }
            if retries.power_cycle_needed || self.pin_auth_blocked {
                return Err(OperationError::PinAuthBlocked);
            }
            // People take their time; a key pulled out meanwhile must not leave them typing.
            let pin = tokio::select! {
                pin = prompt.ask_pin(retries.left, min_length, wrong_before) => pin?,
                error = self.channel().removed() => return Err(CommandError::from(error).into()),
            };
            match self.token_by_pin(&pin, permissions, rp_id).await {
                Ok(token) => return Ok(Verified::Token(token, UvMethod::Pin)),
                Err(CommandError::Status(Status::PIN_INVALID)) => wrong_before = true,
                Err(error) => {
                    self.pin_auth_blocked =
                        matches!(error, CommandError::Status(Status::PIN_AUTH_BLOCKED));
                    return Err(error.into());
                }
            }
        }
    }
}

/// Some keys with a sensor take the PIN for management only.
fn pin_allows(info: &Info, permissions: Permissions) -> bool {
    let signs =
        permissions == Permissions::MAKE_CREDENTIAL || permissions == Permissions::GET_ASSERTION;
    !(signs && info.options.no_mc_ga_permissions_with_client_pin == Some(true))
}
